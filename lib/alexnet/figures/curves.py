"""Runs along their epochs, arm against arm, and the grid of learning rates that was searched before."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from ..errors import SpecError
from ..records.record import Epoch, RunRecord
from ..statistics.measures import epochs_to_target
from .base import GREY, Drawn, arm_name, arm_styles, drawing, label, needed
from .tables import counted, listed

Arms = Mapping[str, Sequence[RunRecord]]  # arm: its records, one a seed
Value = Callable[[Epoch], float | None]  # what is drawn of an epoch


def along(record: RunRecord, value: Value) -> np.ndarray:
    """A value after each epoch of a run, [epochs]; NaN where it was not measured."""
    return np.array([value(epoch) for epoch in record.history], dtype=float)


def mean_of(curves: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of curves of several lengths, as far as all of them go."""
    shortest = min(map(len, curves))
    return np.mean([curve[:shortest] for curve in curves], axis=0)


def over_epochs(axis: Axes, values: np.ndarray, **style: Any) -> None:
    """A line of values after the first epoch, the second, and so on."""
    axis.plot(np.arange(1, len(values) + 1), values, **style)


def whole_epochs(axis: Axes, most: int = 10) -> None:
    """Only whole numbers along the axis of epochs."""
    axis.xaxis.set_major_locator(MaxNLocator(most, integer=True))


# ---- until the target is reached -------------------------------------------------------------------------------------


def learning_curves(
    runs: Arms,
    target: float = 0.25,  # training error, as a fraction
    title: str | None = None,
) -> Drawn:
    """Training error against epochs, after the paper's figure 1: ReLU solid, tanh dashed, a line at the target.

    One thin line a seed and their mean as far as all seeds went; a dot where a run comes to the target. Raises
    `NothingToDraw` when there is no record.
    """
    arms = needed({arm: list(records) for arm, records in runs.items() if records})
    errors = {arm: [100 * along(record, lambda epoch: epoch.train_error) for record in arms[arm]] for arm in arms}
    longest = max(len(curve) for curves in errors.values() for curve in curves)
    every = np.concatenate([curve for curves in errors.values() for curve in curves])
    worst = max(every[np.isfinite(every)], default=100.0)
    styles = arm_styles(arms)
    with drawing(7.5, 4.6) as (figure, axis):
        axis.axhline(100 * target, color=GREY, linewidth=1, zorder=0)
        axis.set(xlim=(0, longest * 1.02), ylim=(0, max(80.0, worst)))
        for place, (arm, records) in enumerate(arms.items()):
            colour, line = styles[arm]
            for record, curve in zip(records, errors[arm], strict=True):
                over_epochs(axis, curve, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
                if record.final.epochs_to_target is not None:
                    axis.plot(
                        [record.final.epochs_to_target], [100 * target], "o", color=colour, markersize=4, alpha=0.7
                    )
            over_epochs(axis, mean_of(errors[arm]), color=colour, linestyle=line, linewidth=2.4)
            _arrival_label(axis, arm, place, colour, records, errors[arm], 100 * target, longest)
        label(axis, f"{target:.0%}", (0, 100 * target), (4, -4), va="top", color=GREY)
        axis.set(xlabel="epochs", ylabel="training error rate (%)")
        axis.set_title(title or f"How soon does each network come to {target:.0%} training error?")
    return figure, _curves_alt(arms, target)


def _arrival_label(
    axis: Axes,
    arm: str,
    place: int,
    colour: str,
    records: Sequence[RunRecord],
    curves: Sequence[np.ndarray],
    target: float,
    longest: int,
) -> None:
    """An arm's name and its epochs: below the line at the target, where there is room, or above the end of its mean."""
    if any(record.final.outcome == "reached" for record in records):
        where, offset, side = (_mean_arrival(records), target), (0, -22 - 16 * place), "top"
    else:
        shortest = min(map(len, curves))
        where = (shortest, max(float(curve[shortest - 1 - shortest // 3 :].max()) for curve in curves))
        offset, side = (0, 8), "bottom"
    aligned = "right" if where[0] > 0.75 * longest else "center" if where[0] > 0.2 * longest else "left"
    style = {"color": colour, "va": side, "ha": aligned, "fontweight": "bold"}
    label(axis, f"{arm_name(arm)}: {_arrival(records)}", where, offset, fontsize=10, **style)


def _mean_arrival(records: Sequence[RunRecord]) -> float:
    return float(np.mean([epochs_to_target(record).value for record in records]))


def _arrival(records: Sequence[RunRecord]) -> str:
    """When the runs of an arm came to their target, as the label says it."""
    readings = [epochs_to_target(record) for record in records]
    late = [reading.value for reading in readings if reading.censored]
    if not late:
        return f"{_mean_arrival(records):.1f} epochs"
    some = f" ({len(late)} of {len(readings)} runs)" if len(late) < len(readings) else ""
    return f"not within {max(late):.0f} epochs{some}"


def _curves_alt(arms: Arms, target: float) -> str:
    parts = []
    for arm, records in arms.items():
        readings = [(record, epochs_to_target(record)) for record in records]
        arrived = [reading.value for _, reading in readings if not reading.censored]
        diverged = [record for record, reading in readings if reading.censored and record.final.outcome == "diverged"]
        late = [record for record, reading in readings if reading.censored and record not in diverged]
        said = []
        if arrived:
            spread = f", from {min(arrived):.1f} to {max(arrived):.1f}" if len(arrived) > 1 else ""
            mean = f"{np.mean(arrived):.1f} epochs on average{spread}"
            said.append(f"comes to {target:.0%} after {mean} ({counted(len(arrived), 'run')})")
        if late:
            cap = max(record.spec.recipe.epochs for record in (*late, *diverged))
            ends = [record.final.train_error for record in late]
            stood = f"{min(ends):.1%}" if len(ends) == 1 else f"{min(ends):.1%} to {max(ends):.1%}"
            said.append(f"stands at {stood} after {cap} epochs in {counted(len(late), 'run')}")
        if diverged:
            said.append(f"diverges in {counted(len(diverged), 'run')}")
        parts.append(f"{arm_name(arm)} {listed(said)}.")
    return f"Training error against epochs, as in the paper's figure 1. {' '.join(parts)}"


# ---- any value along the epochs --------------------------------------------------------------------------------------


def epoch_curves(
    arms: Arms,
    value: Value,
    name: str,  # the quantity and its unit
    title: str,
    level: float | None = None,  # a line across, such as a target
    drops: Sequence[int] = (),  # epochs after which the learning rate was divided
) -> Drawn:
    """One thin line a run and the mean of each arm. Raises `NothingToDraw` when there is no record."""
    drawn = needed({arm: [along(record, value) for record in records] for arm, records in arms.items() if records})
    names, styles = [], arm_styles(drawn)
    with drawing(7.5, 4.2) as (figure, axis):
        if level is not None:
            axis.axhline(level, color=GREY, linewidth=1, zorder=0)
            label(axis, f"{level:g}", (0, level), (2, 3), color=GREY)
        for epoch in drops:
            axis.axvline(epoch, color=GREY, linewidth=0.8, linestyle="dotted", zorder=0)
        for arm, curves in drawn.items():
            style = dict(zip(("color", "linestyle"), styles[arm], strict=True))
            for curve in curves:
                over_epochs(axis, curve, linewidth=0.8, alpha=0.4, **style)
            mean = mean_of(curves)
            over_epochs(axis, mean, linewidth=2.2, **style)
            names.append((mean[-1], len(mean), arm, style["color"]))
        _labels_without_overlap(axis, names)
        along_them = "epochs (dotted: the learning rate drops)" if drops else "epochs"
        axis.set(xlim=(0, None), xlabel=along_them, ylabel=name, title=title)
    ends = {arm: [np.mean([curve[end] for curve in curves]) for end in (0, -1)] for arm, curves in drawn.items()}
    said = ", ".join(f"{arm} from {a:.2f} to {b:.2f} ({len(drawn[arm])} runs)" for arm, (a, b) in ends.items())
    return figure, f"{name[0].upper()}{name[1:]} against epochs, means: {said}."


def _labels_without_overlap(axis: Axes, ends: Sequence[tuple[float, int, str, str]]) -> None:
    """Names at the ends of lines, pushed apart where they would cover each other."""
    low, high = axis.get_ylim()
    gap, ends = 0.06 * (high - low), sorted(ends)
    last, limit = -math.inf, high  # not above the axis, where the title stands
    heights = [last := max(height, last + gap) for height, *_ in ends]
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], limit)
        limit = heights[place] - gap
    bold = {"va": "center", "fontweight": "bold", "annotation_clip": False}
    for height, (_, epoch, name, colour) in zip(heights, ends, strict=True):
        label(axis, name, (epoch, height), (6, 0), fontsize=None, color=colour, **bold)


def curve_panels(
    comparisons: Mapping[str, Arms],  # a panel each: its title, and its arms
    value: Value,
    name: str,  # the quantity and its unit
    title: str,
    columns: int = 3,
) -> Drawn:
    """The mean of each arm's runs along the epochs, a panel a comparison, all on the same axes.

    Comparisons without a record in each arm are left out. Raises `NothingToDraw` when that leaves none.
    """
    drawn = needed(
        {comparison: arms for comparison, arms in comparisons.items() if len(arms) > 1 and all(arms.values())},
        "No comparison has a record in each arm; `make runs` makes the missing ones.",
    )
    rows = math.ceil(len(drawn) / columns)
    said = []
    panels = drawing(9.0, 0.5 + 2.5 * rows, rows, columns, heading=title, squeeze=False, sharey=True)
    with panels as (figure, axes):
        for axis in axes.flat[len(drawn) :]:
            axis.set_visible(False)
        for axis, (comparison, arms) in zip(axes.flat, drawn.items(), strict=False):
            ends, styles = [], arm_styles(arms)
            for place, (arm, records) in enumerate(arms.items()):
                colour, line = styles[arm]
                mean = mean_of([along(record, value) for record in records])
                over_epochs(axis, mean, color=colour, linestyle=line)
                ends.append(f"{arm_name(arm)} {mean[-1]:.1f}")
                corner = {"xycoords": "axes fraction", "ha": "right", "va": "top", "fontweight": "bold"}
                at = (0.98, 0.97 - 0.11 * place)
                axis.annotate(f"{arm_name(arm)} ({len(records)})", at, fontsize=8.5, color=colour, **corner)
            axis.set_title(textwrap.fill(comparison, 36), fontsize=9.5)
            axis.set_xlim(0, None)
            whole_epochs(axis, 6)
            said.append(f"{comparison}: {' and '.join(ends)}")
        figure.supxlabel("epochs", fontsize=10)
        figure.supylabel(name, fontsize=10)
    return figure, f"{name[0].upper()}{name[1:]} after the last epoch, means. {'; '.join(said)}."


# ---- the grid of learning rates --------------------------------------------------------------------------------------


def learning_rates(
    runs: Arms,  # of each arm its grid's records
    chosen: Mapping[str, float],  # arm: the rate that was chosen
    title: str = "Which learning rate is best for each activation?",
) -> Drawn:
    """Epochs to the target against the learning rate, one line an arm, the chosen rate ringed.

    A run that did not come to its target stands as an arrow at its cap, a diverged one as a cross. Where no run came
    there, the rates are told apart by the training error at the cap, and so is the figure. Raises `NothingToDraw` when
    there is no record, and `SpecError` when a chosen rate is not in the grid.
    """
    arms = needed({arm: sorted(records, key=_rate) for arm, records in runs.items() if records})
    late = [epochs_to_target(record).censored for records in arms.values() for record in records]
    none_arrived, styles = all(late), arm_styles(arms)
    with drawing(7.5, 4.2) as (figure, axis):
        for place, (arm, records) in enumerate(arms.items()):
            _rate_line(axis, arm, place, styles[arm], records, chosen[arm], none_arrived)
        axis.set_xscale("log")
        rates = sorted({_rate(record) for records in arms.values() for record in records})
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(0, 1.15 * max(axis.dataLim.y1, 1e-9))
        if any(late):
            note = "cross: diverged" if none_arrived else "arrow: not there at the cap; cross: diverged"
            axis.annotate(note, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=9, color=GREY)
        axis.set(xlabel="learning rate (logarithmic)", title=title)
        axis.set_ylabel("training error at the cap (%)" if none_arrived else "epochs to the target")
    if none_arrived:
        start = "Training error at the cap against the learning rate; no run came to the target."
    else:
        start = "Epochs to the target against the learning rate."
    said = [_best_rate(arm_name(arm), arms[arm], chosen[arm], none_arrived) for arm in arms]
    return figure, f"{start} {' '.join(said)}"


def _rate(record: RunRecord) -> float:
    return record.spec.recipe.learning_rate


def _rate_line(
    axis: Axes,
    arm: str,
    place: int,
    style: tuple[str, str],  # colour and line
    records: Sequence[RunRecord],
    chosen: float,
    none_arrived: bool,
) -> None:
    colour, line = style
    readings = {_rate(record): epochs_to_target(record) for record in records}
    if chosen not in readings:
        raise SpecError(f"The rate chosen for {arm}, {chosen:g}, is not in its grid.")
    heights = {rate: reading.value for rate, reading in readings.items()}
    if none_arrived:
        heights = {_rate(record): 100 * record.final.train_error for record in records}
    axis.plot(list(heights), list(heights.values()), color=colour, linestyle=line, linewidth=1.2, alpha=0.6)
    for record in records:
        late = readings[_rate(record)].censored and not none_arrived
        marker = "x" if record.final.outcome == "diverged" else "^" if late else "o"
        axis.plot([_rate(record)], [heights[_rate(record)]], marker, color=colour, markersize=10 - 3 * place)
    ring: dict[str, Any] = {"markerfacecolor": "none", "markersize": 14, "markeredgewidth": 1.6}
    axis.plot([chosen], [heights[chosen]], "o", color=colour, **ring)
    above = none_arrived and place == 0  # errors lie close together: one label above, one below
    why = ", by its error at the cap" if readings[chosen].censored else ""
    bold = {"ha": "center", "color": colour, "fontweight": "bold"}
    said = f"{arm_name(arm)}: {chosen:g}{why}"
    label(axis, said, (chosen, heights[chosen]), (0, 14 if above else -22), fontsize=None, **bold)


def _best_rate(name: str, records: Sequence[RunRecord], chosen: float, none_arrived: bool) -> str:
    """What the alt text says of an arm."""
    best = next(record for record in records if _rate(record) == chosen)
    if none_arrived:
        return f"{name} does best at {chosen:g}, with {best.final.train_error:.1%}."
    readings = {_rate(record): epochs_to_target(record) for record in records}
    reading = readings[chosen]
    how = (
        f"not there after {reading.value:.0f} epochs" if reading.censored else f"there after {reading.value:.1f} epochs"
    )
    late = sum(reading.censored for reading in readings.values())
    edge = ", at the edge of the grid" if chosen in (min(readings), max(readings)) else ""
    missed = f"; {late} of {counted(len(readings), 'rate')} missed the target" if late else ""
    return f"{name} does best at {chosen:g}{edge}, {how}{missed}."
