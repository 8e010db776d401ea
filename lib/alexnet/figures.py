"""The figures of the report: one function each, one question each, answered in the alt text.

Every function returns (figure, alt text); show both with `alexnet.figures_display.show`. The alt text states what the
figure shows in numbers computed from what is drawn. Figures are matplotlib `Figure`s of their own, so that drawing one
changes no global state.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import seaborn
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from .board import Row, epochs_to_target
from .effects import LABELS, Effect
from .errors import NothingToDraw, SpecError
from .records import RunRecord

# Okabe and Ito's colour-blind safe hues, dark enough to be read as text on white (contrast of at least 4.5)
BLUE, VERMILION, GREEN, PURPLE, GREY, BLACK = "#0067a6", "#b84a00", "#00785a", "#9a3d77", "#5f5f5f", "#1a1a1a"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE)

NAMES = {"relu": "ReLU", "tanh": "tanh"}  # arms as they are written
ARMS = {"relu": (BLUE, "solid"), "tanh": (VERMILION, "dashed")}  # figure 1 of the paper: solid ReLU, dashed tanh
VERDICT_COLOURS = dict(zip(LABELS, (GREEN, BLUE, GREY, VERMILION, GREY), strict=True))

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


def _and(parts: Iterable[str]) -> str:
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# ---- forest plot -----------------------------------------------------------------------------------------------------


def forest_plot(rows: Sequence[Row], title: str = "On which side of no effect does each interval lie?") -> Drawn:
    """All effects with their intervals, one panel a unit, ratios on a logarithmic axis.

    Differences of very different sizes share an axis that is linear around nothing and logarithmic beyond.
    A line marks the null; a hollow diamond the paper's figure, where it may be compared; an arrow an interval without
    a limit. Exact counts and rows without runs are left out. Raises `SpecError` when no row has an effect.
    """
    panels: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        if isinstance(row.effect, Effect) and not math.isnan(row.effect.estimate):
            panels.setdefault((row.effect.kind, row.effect.unit, row.effect.null), []).append(row)
    if not panels:
        raise NothingToDraw(
            "No row has an effect to draw; `make runs` makes the records that effects are computed from."
        )
    sizes = [len(found) for found in panels.values()]
    with themed():
        # fixed room for titles and axis labels, so that a panel of one row is not squeezed
        figure = Figure(figsize=(9.0, 0.7 + sum(0.52 * size + 1.0 for size in sizes)), layout="constrained")
        ratios = [0.52 * size + 0.25 for size in sizes]
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for axis, ((kind, unit, null), found) in zip(axes, panels.items(), strict=True):
            _forest_panel(axis, found, kind, unit, null)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, _forest_alt([row for found in panels.values() for row in found])


def _row_name(row: Row) -> str:
    return f"{row.question.title} ({row.question.condition_title})"


def _forest_panel(axis: Axes, rows: Sequence[Row], kind: str, unit: str, null: float) -> None:
    effects = [row.effect for row in rows if isinstance(row.effect, Effect)]
    left, right = _range_of(rows, effects, null, ratio=kind == "ratio")
    if kind == "ratio":
        axis.set_xscale("log")
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100) if left <= tick <= right]
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
    scale = " (logarithmic)" if kind == "ratio" else ""
    linear = None if kind == "ratio" else _linear_part([effect.estimate for effect in effects], left, right)
    if linear is not None:
        axis.set_xscale("symlog", linthresh=linear)
        left, right = _to_decades(left, linear), _to_decades(right, linear)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        scale = f" (logarithmic beyond {linear:g})"
    axis.set_xlim(left, right)
    axis.set_ylim(len(rows) - 0.45, -0.65)
    axis.axvline(null, color=BLACK, linewidth=1.2)
    axis.text(null, 1.0, "no effect", transform=axis.get_xaxis_transform(), ha="center", va="bottom", fontsize=8)
    for place, (row, effect) in enumerate(zip(rows, effects, strict=True)):
        _interval(axis, place, row, effect, left, right)
    axis.set_yticks(range(len(rows)), [textwrap.fill(_row_name(row), 46) for row in rows], fontsize=9)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    directions = {row.question.direction for row in rows}
    claimed = {"above": "; the claimed side is to the right", "below": "; the claimed side is to the left"}
    side = claimed[directions.pop() or "above"] if len(directions) == 1 else ""
    axis.set_xlabel(f"{unit}{scale}{side}")


def _linear_part(estimates: Sequence[float], left: float, right: float) -> float | None:
    """Where an axis from `left` to `right` shall become logarithmic, or None where a linear one shows all effects."""
    middle = float(np.median(np.abs(estimates)))
    if middle == 0 or max(abs(left), abs(right)) <= 10 * middle:
        return None
    return 10.0 ** math.floor(math.log10(middle))


def _to_decades(limit: float, linear: float) -> float:
    """A limit of the axis moved outwards, to where a label stands."""
    size = max(abs(limit) / linear, 1.0)
    decade = 10.0 ** math.floor(math.log10(size))
    return math.copysign(linear * next(step * decade for step in (1, 2, 5, 10) if size <= step * decade * 1.001), limit)


def _range_of(rows: Sequence[Row], effects: Sequence[Effect], null: float, ratio: bool) -> tuple[float, float]:
    """Limits of the axis around all that is finite, with room for arrows."""
    ends = [null, *(value for effect in effects for value in (effect.low, effect.high, effect.estimate))]
    ends += [row.question.comparable for row in rows if row.question.comparable is not None]
    finite = [value for value in ends if math.isfinite(value) and (value > 0 or not ratio)]
    low, high = min(finite), max(finite)
    if ratio:
        margin = max((high / low) ** 0.12, 1.15)
        return low / margin, high * margin
    margin = max(0.12 * (high - low), 0.05)
    return low - margin, high + margin


def _interval(axis: Axes, place: int, row: Row, effect: Effect, left: float, right: float) -> None:
    colour = VERDICT_COLOURS[row.verdict.label]
    lowest = 0.0 if effect.kind == "ratio" else -math.inf
    if effect.has_interval:
        ends = [left if effect.low == lowest else effect.low, right if effect.high == math.inf else effect.high]
        axis.plot(ends, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        for end, is_open, arrow in ((ends[0], effect.low == lowest, "<"), (ends[1], effect.high == math.inf, ">")):
            axis.plot([end], [place], marker=arrow if is_open else "|", color=colour, markersize=9, clip_on=False)
    sign = ">" if effect.lower_bound else "<" if effect.upper_bound else "o"
    axis.plot([effect.estimate], [place], marker=sign, color=colour, markersize=7)
    figure = row.question.comparable
    if figure is not None:
        axis.plot([figure], [place], marker="D", color=BLACK, markerfacecolor="white", markersize=7, linestyle="none")
        axis.annotate("paper", (figure, place), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    text = f"{effect.text}\n{row.verdict.label}"
    axis.annotate(
        text, (1.0, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        fontsize=9, color=colour,
    )  # fmt: skip


def _forest_alt(rows: Sequence[Row]) -> str:
    """How many rows got which verdict, and each row's numbers."""
    counts = [(label, sum(row.verdict.label == label for row in rows)) for label in LABELS]
    tally = _and(f"{count} {label}" for label, count in counts if count)
    each = []
    for row in rows:
        paper = f"; the paper has {row.question.figure.text}" if row.question.comparable and row.question.figure else ""
        effect = row.effect
        if isinstance(effect, Effect):
            each.append(f"{_row_name(row)}: {effect.text} ({effect.unit}{paper}), {row.verdict.label}.")
    return f"Forest plot of {_counted(len(rows), 'effect')}: {tally}. {' '.join(each)}"


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
            said.append(f"comes to {target:.0%} after {mean} ({_counted(len(arrived), 'run')})")
        diverged = sum(record.final.outcome == "diverged" for record in late)
        if len(late) > diverged:
            cap = max(record.spec.recipe.epochs for record in late)
            ends = [record.final.train_error for record in late if record.final.outcome != "diverged"]
            stood = f"{min(ends):.1%}" if len(ends) == 1 else f"{min(ends):.1%} to {max(ends):.1%}"
            said.append(f"stands at {stood} after {cap} epochs in {_counted(len(late) - diverged, 'run')}")
        if diverged:
            said.append(f"diverges in {_counted(diverged, 'run')}")
        parts.append(f"{arm_name(arm)} {_and(said)}.")
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
        missed = f"; {late} of {_counted(len(readings), 'rate')} missed the target" if late else ""
        parts.append(f"{arm_name(arm)} does best at {chosen[arm]:g}{edge}, {how}{missed}.")
    return f"Epochs to the target against the learning rate. {' '.join(parts)}"
