"""The figures of the report: one function each, one question each, answered in the alt text.

Every function returns (figure, alt text); show both with `alexnet.figures.display.show`. The alt text states what the
figure shows in numbers computed from what is drawn. Figures are matplotlib `Figure`s of their own, so that drawing one
changes no global state.
"""

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import seaborn
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..errors import NothingToDraw, SpecError
from ..records.record import RunRecord
from ..statistics.board import Row, epochs_to_target
from ..statistics.effects import LABELS, Effect, relative, smallest_detectable
from .tables import counted, listed

# Okabe and Ito's colour-blind safe hues, dark enough to be read as text on white (contrast of at least 4.5)
BLUE, VERMILION, GREEN, PURPLE, GREY, BLACK = "#0067a6", "#b84a00", "#00785a", "#9a3d77", "#5f5f5f", "#1a1a1a"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE)

NAMES = {"relu": "ReLU", "tanh": "tanh"}  # arms as they are written
ARMS = {"relu": (BLUE, "solid"), "tanh": (VERMILION, "dashed")}  # figure 1 of the paper: solid ReLU, dashed tanh
# As on the pages (style.css), where each label has a sign as well; told apart with every kind of colour vision.
VERDICT_COLOURS: dict[str, str] = {
    "reproduced": "#00694f",
    "weaker than claimed": "#5a2382",
    "direction reproduced": "#1a6fbf",
    "contradicted": "#8f1d00",
    "no effect of that size": "#14181d",
    "inconclusive": "#846400",
    "not tested": "#666d76",
}

Drawn = tuple[Figure, str]


def theme() -> dict[Any, Any]:
    """Seaborn's settings for all figures, as matplotlib parameters."""
    settings = seaborn.axes_style("ticks") | seaborn.plotting_context("notebook", font_scale=0.9)
    return settings | {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that figures look the same everywhere
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": BLACK,
        "text.color": BLACK,
        "xtick.color": BLACK,
        "ytick.color": BLACK,
        "svg.fonttype": "path",
        "svg.hashsalt": "alexnet",  # the same picture gives the same bytes
    }


@contextmanager
def themed() -> Iterator[None]:
    """Draw and save with the theme on matplotlib's defaults, whatever the user's own files say, and leave the global
    settings as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(theme())
        yield


def arm_style(arm: str, place: int = 0) -> tuple[str, str]:
    """Colour and line style of an arm; those of no fixed style take theirs by place."""
    return ARMS.get(arm, (PALETTE[place % len(PALETTE)], ("solid", "dashed", "dotted", "dashdot")[place % 4]))


def arm_name(arm: str) -> str:
    """An arm as it is written in figures and sentences."""
    return NAMES.get(arm, arm)


# ---- forest plot -----------------------------------------------------------------------------------------------------

FARTHEST = (-3.0, 6.0)  # margins from no effect that a forest plot shows at most; what lies beyond is an arrow


def forest_plot(rows: Sequence[Row], title: str = "Which effects come to the margin of their claim?") -> Drawn:
    """All effects with their intervals and every pair's dot on one axis, in margins of their claims.

    0 is no effect and 1 the margin, on the claimed side; ratios count by their logarithms. A diamond marks the paper's
    figure, a grey one where it was measured on another scale; an arrow leads to what lies beyond the axis or has no
    limit. Exact counts and rows without runs are left out. Raises `NothingToDraw` when no row has an effect.
    """
    drawn = [row for row in rows if isinstance(row.effect, Effect) and not math.isnan(row.effect.estimate)]
    if not drawn:
        raise NothingToDraw(
            "No row has an effect to draw; `make runs` makes the records that effects are computed from."
        )
    titles = [row.question.title for row in drawn]
    names = [row.question.title if titles.count(row.question.title) == 1 else row_name(row) for row in drawn]
    labels = [textwrap.fill(name, 70) for name in names]
    heights = [0.104 + 0.1 * label.count("\n") for label in labels]  # half of a row's, inches
    places = np.cumsum([0.0, *(one + other for one, other in itertools.pairwise(heights))])
    with themed():
        figure = Figure(figsize=(10.8, 1.0 + 2 * sum(heights)), layout="constrained")
        axis = figure.subplots()
        left, right = _edges(drawn)
        axis.set_xlim(left, right)
        axis.set_ylim(places[-1] + heights[-1], -heights[0])
        for mark, name, side, line in ((0, "no effect ", "right", "solid"), (1, " the margin", "left", "dashed")):
            axis.axvline(mark, color=BLACK, linewidth=1.1, linestyle=line, zorder=0)
            axis.text(mark, 1.0, name, transform=axis.get_xaxis_transform(), ha=side, va="bottom", fontsize=9)
        for place, row in zip(places, drawn, strict=True):
            _interval(axis, float(place), row, left, right)
        axis.set_yticks(places, labels, fontsize=10)
        axis.tick_params(axis="y", length=0, pad=9)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(
            "effect in margins of its claim (ratios by their logarithms); the claimed side is to the right\n"
            "○ one pair of runs   ● their mean   ◇ the paper's figure, grey where it was measured on another scale",
            fontsize=9,
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, _forest_alt(drawn, names)


def row_name(row: Row) -> str:
    """A claim and its condition in words."""
    return f"{row.question.title} ({row.question.condition_title})"


def in_margins(row: Row) -> tuple[float, float, float]:
    """The lower limit, the estimate and the upper limit of a row's effect, in margins of its claim."""
    effect = row.effect
    if not isinstance(effect, Effect):
        return math.nan, math.nan, math.nan
    low, high = sorted(relative(row.question, effect, limit) for limit in (effect.low, effect.high))
    return low, relative(row.question, effect, effect.estimate), high


def _edges(rows: Sequence[Row]) -> tuple[float, float]:
    """Limits of the axis: around all intervals, as far as it goes."""
    finite = [value for row in rows for value in in_margins(row) if math.isfinite(value)]
    least, most = FARTHEST
    return max(least, min([-1.0, *finite]) - 0.3), min(most, max([2.0, *finite]) + 0.3)


def _interval(axis: Axes, place: float, row: Row, left: float, right: float) -> None:
    effect = row.effect
    assert isinstance(effect, Effect)
    colour = VERDICT_COLOURS[row.verdict.label]
    low, estimate, high = in_margins(row)
    if effect.has_interval:
        ends = [float(end) for end in np.clip([low, high], left, right)]
        axis.plot(ends, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        for end, cut, arrow in ((ends[0], low < left, "<"), (ends[1], high > right, ">")):
            axis.plot([end], [place], marker=arrow if cut else "|", color=colour, markersize=8, clip_on=False)
    pairs = [relative(row.question, effect, value) for value in effect.values if not math.isnan(value)]
    inside = [pair for pair in pairs if left <= pair <= right]
    axis.plot(
        inside, [place] * len(inside), "o", markersize=4, markerfacecolor="white",
        markeredgecolor=colour, markeredgewidth=1.0, linestyle="none", zorder=3, clip_on=False,
    )  # fmt: skip
    above = effect.lower_bound if row.question.direction == "above" else effect.upper_bound
    bounded = effect.lower_bound or effect.upper_bound
    sign = (">" if above else "<") if bounded else ">" if estimate > right else "<" if estimate < left else "o"
    axis.plot([min(max(estimate, left), right)], [place], marker=sign, color=colour, markersize=7, zorder=4)
    figure = row.question.figure
    if figure is not None and figure.value is not None:
        there = relative(row.question, effect, figure.value)
        edge = BLACK if row.question.comparable is not None else "#9a9a9a"
        if left <= there <= right:
            axis.plot(
                [there], [place], marker="D", markeredgecolor=edge, markerfacecolor="none", markersize=7,
                linestyle="none", zorder=2,
            )  # fmt: skip
    axis.annotate(
        row.verdict.label, (1.0, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        va="center", fontsize=10, color=colour,
    )  # fmt: skip


def _forest_alt(rows: Sequence[Row], names: Sequence[str]) -> str:
    """How many rows got which verdict, and each row's numbers."""
    counts = [(label, sum(row.verdict.label == label for row in rows)) for label in LABELS]
    tally = listed(f"{count} {label}" for label, count in counts if count)
    each = []
    for row, name in zip(rows, names, strict=True):
        paper = f"; the paper has {row.question.figure.text}" if row.question.comparable and row.question.figure else ""
        if isinstance(row.effect, Effect):
            each.append(f"{name}: {row.effect.text} ({row.effect.unit}{paper}), {row.verdict.label}.")
    return f"Forest plot of {counted(len(rows), 'effect')} in margins of their claims: {tally}. {' '.join(each)}"


def power_curve(title: str) -> Drawn:
    """The smallest effect that so many pairs find in four tries of five, in standard deviations of a pair's value."""
    pairs = [*range(3, 13), 16, 20, 30]
    found = [smallest_detectable(n) for n in pairs]
    with themed():
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axis = figure.subplots()
        axis.plot(pairs, found, color=BLUE, marker="o", markersize=4)
        for n in (3, 6, 12):
            axis.annotate(f"{n} pairs: {smallest_detectable(n):.2f}", (n, smallest_detectable(n)), (8, 8),
                          textcoords="offset points", fontsize=9)  # fmt: skip
        axis.set_ylim(0, None)
        axis.set_xlabel("pairs of runs")
        axis.set_ylabel("smallest effect found\n(standard deviations)")
        axis.set_title(title)
    said = ", ".join(f"{value:.2f} with {n}" for n, value in zip(pairs, found, strict=True))
    return figure, f"Smallest effect found with 80% power against the number of pairs of runs: {said}."


# ---- learning curves -------------------------------------------------------------------------------------------------


def learning_curves(
    runs: Mapping[str, Sequence[RunRecord]],  # arm: its records, one a seed
    target: float = 0.25,  # training error, as a fraction
    title: str | None = None,
) -> Drawn:
    """Training error against epochs, after the paper's figure 1: ReLU solid, tanh dashed, a line at the target.

    One thin line a seed and their mean as far as all seeds went; a dot where a run comes to the target. Raises
    `SpecError` when there is no record.
    """
    arms = {arm: list(records) for arm, records in runs.items() if records}
    if not arms:
        raise NothingToDraw("There is no record to draw; `make runs` makes the missing ones.")
    with themed():
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        axis = figure.subplots()
        longest = max(len(record.history) for records in arms.values() for record in records)
        axis.axhline(100 * target, color=GREY, linewidth=1, zorder=0)
        axis.set_xlim(0, longest * 1.02)
        axis.set_ylim(0, 100 * max(0.8, _worst(arms)))
        for place, (arm, records) in enumerate(arms.items()):
            _curves(axis, arm, place, records, target, longest)
        axis.annotate(
            f"{target:.0%}", (0, 100 * target), (4, -4), textcoords="offset points", va="top", fontsize=9, color=GREY
        )
        axis.set_xlabel("epochs")
        axis.set_ylabel("training error rate (%)")
        axis.set_title(title or f"How soon does each network come to {target:.0%} training error?")
    return figure, _curves_alt(arms, target)


def _worst(arms: Mapping[str, Sequence[RunRecord]]) -> float:
    errors = [row.train_error for records in arms.values() for record in records for row in record.history]
    return max((error for error in errors if math.isfinite(error)), default=1.0)


def _errors(record: RunRecord) -> np.ndarray:
    """Training error after each epoch, percent, [epochs]."""
    return 100 * np.array([row.train_error for row in record.history])


def _curves(axis: Axes, arm: str, place: int, records: Sequence[RunRecord], target: float, longest: int) -> None:
    colour, line = arm_style(arm, place)
    for record in records:
        errors = _errors(record)
        axis.plot(np.arange(1, len(errors) + 1), errors, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
        if record.final.epochs_to_target is not None:
            axis.plot([record.final.epochs_to_target], [100 * target], "o", color=colour, markersize=4, alpha=0.7)
    shortest = min(len(record.history) for record in records)
    mean = np.mean([_errors(record)[:shortest] for record in records], axis=0)
    axis.plot(np.arange(1, shortest + 1), mean, color=colour, linestyle=line, linewidth=2.4)
    # below the line at the target there is room; a mean that never comes there has room above its end
    if any(record.final.outcome == "reached" for record in records):
        where, offset, side = (_mean_arrival(records), 100 * target), (0, -22 - 16 * place), "top"
    else:
        above = max(float(_errors(record)[shortest - 1 - shortest // 3 :].max()) for record in records)
        where, offset, side = (shortest, above), (0, 8), "bottom"
    right = where[0] > 0.75 * longest
    axis.annotate(
        f"{arm_name(arm)}: {_arrival(records)}", where, offset, textcoords="offset points", color=colour, va=side,
        ha="right" if right else "center" if where[0] > 0.2 * longest else "left", fontweight="bold", fontsize=10,
    )  # fmt: skip


def _mean_arrival(records: Sequence[RunRecord]) -> float:
    return float(np.mean([epochs_to_target(record).value for record in records]))


def _arrival(records: Sequence[RunRecord]) -> str:
    """When the runs of an arm came to their target, as the label says it."""
    readings = [epochs_to_target(record) for record in records]
    late = sum(reading.censored for reading in readings)
    if not late:
        return f"{_mean_arrival(records):.1f} epochs"
    cap = max(reading.value for reading in readings if reading.censored)
    return f"not within {cap:.0f} epochs" + (f" ({late} of {len(readings)} runs)" if late < len(readings) else "")


def _curves_alt(arms: Mapping[str, Sequence[RunRecord]], target: float) -> str:
    parts = []
    for arm, records in arms.items():
        readings = [epochs_to_target(record) for record in records]
        arrived = [reading.value for reading in readings if not reading.censored]
        late = [record for record, reading in zip(records, readings, strict=True) if reading.censored]
        said = []
        if arrived:
            spread = f", from {min(arrived):.1f} to {max(arrived):.1f}" if len(arrived) > 1 else ""
            mean = f"{np.mean(arrived):.1f} epochs on average{spread}"
            said.append(f"comes to {target:.0%} after {mean} ({counted(len(arrived), 'run')})")
        diverged = sum(record.final.outcome == "diverged" for record in late)
        if len(late) > diverged:
            cap = max(record.spec.recipe.epochs for record in late)
            ends = [record.final.train_error for record in late if record.final.outcome != "diverged"]
            stood = f"{min(ends):.1%}" if len(ends) == 1 else f"{min(ends):.1%} to {max(ends):.1%}"
            said.append(f"stands at {stood} after {cap} epochs in {counted(len(late) - diverged, 'run')}")
        if diverged:
            said.append(f"diverges in {counted(diverged, 'run')}")
        parts.append(f"{arm_name(arm)} {listed(said)}.")
    return f"Training error against epochs, as in the paper's figure 1. {' '.join(parts)}"


# ---- the grid of learning rates --------------------------------------------------------------------------------------


def learning_rates(
    runs: Mapping[str, Sequence[RunRecord]],  # arm: its grid's records
    chosen: Mapping[str, float],  # arm: the rate that was chosen
    title: str = "Which learning rate is best for each activation?",
) -> Drawn:
    """Epochs to the target against the learning rate, one line an arm, the chosen rate ringed.

    A run that did not come to its target stands as an arrow at its cap, a diverged one as a cross. Where no run came
    there, the rates are told apart by the training error at the cap, and so is the figure. Raises `SpecError` when
    there is no record, or when a chosen rate is not in the grid.
    """
    arms = {arm: sorted(records, key=_rate) for arm, records in runs.items() if records}
    if not arms:
        raise NothingToDraw("There is no record to draw; `make runs` makes the missing ones.")
    readings = [epochs_to_target(record) for records in arms.values() for record in records]
    none_arrived = all(reading.censored for reading in readings)
    with themed():
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axis = figure.subplots()
        for place, (arm, records) in enumerate(arms.items()):
            _rate_line(axis, arm, place, records, chosen[arm], none_arrived)
        axis.set_xscale("log")
        rates = sorted({_rate(record) for records in arms.values() for record in records})
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(0, 1.15 * max(axis.dataLim.y1, 1e-9))
        if any(reading.censored for reading in readings):
            note = "cross: diverged" if none_arrived else "arrow: not there at the cap; cross: diverged"
            axis.annotate(note, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=9, color=GREY)
        axis.set_xlabel("learning rate (logarithmic)")
        axis.set_ylabel("training error at the cap (%)" if none_arrived else "epochs to the target")
        axis.set_title(title)
    return figure, _rates_alt(arms, chosen, none_arrived)


def _rate(record: RunRecord) -> float:
    return record.spec.recipe.learning_rate


def _rate_line(
    axis: Axes, arm: str, place: int, records: Sequence[RunRecord], chosen: float, none_arrived: bool
) -> None:
    colour, line = arm_style(arm, place)
    readings = [epochs_to_target(record) for record in records]
    heights = [
        100 * record.final.train_error if none_arrived else reading.value
        for record, reading in zip(records, readings, strict=True)
    ]
    rates = [_rate(record) for record in records]
    if chosen not in rates:
        raise SpecError(f"The rate chosen for {arm}, {chosen:g}, is not in its grid.")
    axis.plot(rates, heights, color=colour, linestyle=line, linewidth=1.2, alpha=0.6)
    for record, reading, height in zip(records, readings, heights, strict=True):
        late = "o" if none_arrived else "^"
        marker = "x" if record.final.outcome == "diverged" else late if reading.censored else "o"
        axis.plot([_rate(record)], [height], marker, color=colour, markersize=10 - 3 * place)
    best, height = readings[rates.index(chosen)], heights[rates.index(chosen)]
    axis.plot([chosen], [height], "o", color=colour, markerfacecolor="none", markersize=14, markeredgewidth=1.6)
    above = none_arrived and place == 0  # errors lie close together: one label above, one below
    axis.annotate(
        f"{arm_name(arm)}: {chosen:g}{', by its error at the cap' if best.censored else ''}",
        (chosen, height), (0, 14 if above else -22), textcoords="offset points", ha="center",
        color=colour, fontweight="bold",
    )  # fmt: skip


def _rates_alt(arms: Mapping[str, Sequence[RunRecord]], chosen: Mapping[str, float], none_arrived: bool) -> str:
    if none_arrived:
        said = [
            f"{arm_name(arm)} does best at {chosen[arm]:g}, with "
            f"{next(record.final.train_error for record in records if _rate(record) == chosen[arm]):.1%}."
            for arm, records in arms.items()
        ]
        return f"Training error at the cap against the learning rate; no run came to the target. {' '.join(said)}"
    parts = []
    for arm, records in arms.items():
        readings = {_rate(record): epochs_to_target(record) for record in records}
        best = readings[chosen[arm]]
        how = f"not there after {best.value:.0f} epochs" if best.censored else f"there after {best.value:.1f} epochs"
        late = sum(reading.censored for reading in readings.values())
        edge = ", at the edge of the grid" if chosen[arm] in (min(readings), max(readings)) else ""
        missed = f"; {late} of {counted(len(readings), 'rate')} missed the target" if late else ""
        parts.append(f"{arm_name(arm)} does best at {chosen[arm]:g}{edge}, {how}{missed}.")
    return f"Epochs to the target against the learning rate. {' '.join(parts)}"
