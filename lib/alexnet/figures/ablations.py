"""Figures and tables of comparisons of two arms; see `alexnet.figures.base` for the conventions."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import NothingToDraw
from ..paper.claims import Question
from ..records.record import Epoch, RunRecord
from ..statistics.board import PlannedRun, Row, Runs, paired_records, readings
from ..statistics.effects import decimals
from .base import GREY, PALETTE, Drawn, themed

Arms = Mapping[str, Sequence[RunRecord]]
# The sign before a change whose first, second value is at a cap: the true one lies above.
BOUNDS = {(False, False): "", (True, False): "> ", (False, True): "< ", (True, True): "? "}
UNDERFIT = 10.0  # percent of the training images on which a network still errs that does not fit them
LINES = ("solid", "dashed", "dashdot", "dotted")


def arms_of(question: Question, runs: Runs) -> dict[str, list[RunRecord]]:
    """The records that count for a question, by arm, in the order of its arms and seeds; missing ones left out."""
    pairs = paired_records(question, list(runs)).values()
    names = question.arms or ()
    return {
        name: [record for pair in pairs for record in pair[place] if record is not None]
        for place, name in enumerate(names)
    }


def pairs_table(question: Question, runs: Runs, test_errors: bool = False) -> pd.DataFrame:
    """A row a seed: the measure of each arm, in the question's unit, and their difference or ratio; if asked for, the
    test error of each arm too.

    A value that is only a bound, because a run was censored or diverged, has a sign before it.
    """
    names = question.arms or ("", "")
    effect = "ratio" if question.effect == "ratio" else "difference"
    pairs = {
        seed: (pair, found)
        for seed, pair in paired_records(question, list(runs)).items()
        if (found := readings(question, pair)) is not None
    }
    digits = decimals([reading.value for _, found in pairs.values() for reading in found])
    rows = []
    for seed, (records, found) in pairs.items():
        one, other = (reading.value for reading in found)
        change = one / other if question.effect == "ratio" else one - other
        row: dict[str, object] = {"seed": seed}
        row |= {name: f"{BOUNDS[r.censored, False]}{r.value:.{digits}f}" for name, r in zip(names, found, strict=True)}
        row[effect] = f"{BOUNDS[found[0].censored, found[1].censored]}{change:.{digits}f}"
        if test_errors:
            row |= {f"test error, {name}": _test_error(arm) for name, arm in zip(names, records, strict=True)}
        rows.append(row)
    columns = ["seed", *names, effect, *(f"test error, {name}" for name in names if test_errors)]
    return pd.DataFrame(rows, columns=columns)


def _test_error(found: Sequence[RunRecord | None]) -> str:
    """The mean test error of an arm's runs, those that have one."""
    errors = [r.final.test_error for r in found if r is not None and r.final.test_error is not None]
    return f"{np.mean(errors):.1%}" if errors else ""


def mean_errors(question: Question, runs: Runs) -> dict[str, tuple[float, float]]:
    """Mean training and test error of each arm in percent, dropout off, over the runs that have both."""
    found = {}
    for name, records in arms_of(question, runs).items():
        both = [
            (100 * record.final.clean_train_error, 100 * record.final.test_error)
            for record in records
            if record.final.clean_train_error is not None and record.final.test_error is not None
        ]
        if both:
            train, test = np.mean(both, axis=0)
            found[name] = (float(train), float(test))
    return found


def doubt(errors: Mapping[str, tuple[float, float]], what: str) -> str:
    """What the errors of both arms say of a comparison, as Markdown: which errs less, and whether they fit at all."""
    if len(errors) < 2:
        return ""
    (first, (_, one)), (second, (train, other)) = list(errors.items())[:2]
    better = first if one < other else second
    fits = "; ".join(f"{name}: {a:.1f}% on training images, {b:.1f}% on test images" for name, (a, b) in errors.items())
    said = f"**The doubt.** Mean errors, {fits}. On test images *{better}* errs less, by {abs(one - other):.2f} points."
    if train > UNDERFIT:
        said += (
            f" Networks that err on {train:.0f}% of the images they were trained on have not come near to fitting "
            f"them, so this says little of what {what} does for a network that could."
        )
    return said


def factors(question: Question, runs: Runs, step: float = 0.1) -> pd.DataFrame:
    """Ratio of the epochs that both arms take until the training loss, dropout off, is at a level: a row a level that
    every run comes to, from 2 nats down; mean over seeds (geometric), and the smallest and largest seed."""
    pairs = [arms for arms in paired_records(question, list(runs)).values() if all(map(all, arms))]
    rows = []
    for level in np.arange(2.0, 0.0, -step).round(6):
        asked = question.model_copy(update={"levels": (float(level),)})
        found = [pair for arms in pairs if (pair := readings(asked, arms)) is not None]
        if not found or any(reading.censored for pair in found for reading in pair):
            continue
        ratios = [one.value / other.value for one, other in found]
        mean = float(np.exp(np.mean(np.log(ratios))))
        rows.append({"level (nats)": level, "mean": mean, "smallest": min(ratios), "largest": max(ratios)})
    columns = ["level (nats)", "mean", "smallest", "largest"]
    return pd.DataFrame(rows, columns=columns).map(lambda value: round(value, 2))


# --- both arms, seed by seed ----------------------------------------------------------------------------------


def paired_dots(rows: Sequence[Row], runs: Runs, label: str, title: str) -> Drawn:
    """Each comparison on a line of its own: a dot an arm and seed, pairs joined, means as larger rings.

    `label` names the quantity and its unit. Raises `NothingToDraw` when no comparison has a complete pair.
    """
    runs = list(runs)
    found = []
    for row in rows:
        pairs = [readings(row.question, arms) for arms in paired_records(row.question, runs).values()]
        values = np.array([[reading.value for reading in pair] for pair in pairs if pair is not None])
        if len(values):
            found.append((row.question, values))
    if not found:
        raise NothingToDraw("No comparison has a complete pair of runs to draw; `make runs` makes the missing ones.")
    with themed():
        figure = Figure(figsize=(8.6, 1.3 + 0.75 * len(found)), layout="constrained")
        axis = figure.subplots()
        for place, (question, values) in enumerate(found):
            _dots(axis, place, question, values)
        names = [textwrap.fill(f"{question.title} ({question.condition_title})", 44) for question, _ in found]
        axis.set_yticks(range(len(found)), names, fontsize=9)
        axis.set_ylim(len(found) - 0.5, -0.7)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.margins(x=0.22)
        axis.set_xlabel(label)
        axis.set_title(title)
    said = [
        f"{question.title} ({question.condition_title}): {question.arms[0]} {values[:, 0].mean():.2f}, "
        f"{question.arms[1]} {values[:, 1].mean():.2f} over {len(values)} seeds."
        for question, values in found
        if question.arms
    ]
    return figure, f"{label[0].upper()}{label[1:]}, means of both arms. {' '.join(said)}"


def _dots(axis: Axes, place: int, question: Question, values: np.ndarray) -> None:
    heights = place + np.linspace(-0.11, 0.11, len(values)) if len(values) > 1 else np.array([float(place)])
    for pair, height in zip(values, heights, strict=True):
        axis.plot(pair, [height, height], color=GREY, linewidth=0.8, alpha=0.6, zorder=1)
    means = values.mean(axis=0)
    for arm, name in enumerate(question.arms or ()):
        colour = PALETTE[arm]
        axis.scatter(values[:, arm], heights, color=colour, s=22, marker="os"[arm], zorder=2)
        axis.plot([means[arm]], [place], "os"[arm], markersize=12, markerfacecolor="none", color=colour, zorder=3)
        right = means[arm] >= means[1 - arm]
        axis.annotate(
            f"{name} {means[arm]:.1f}", (values[:, arm].max() if right else values[:, arm].min(), place),
            (12 if right else -12, 9), textcoords="offset points", ha="left" if right else "right", color=colour,
            fontsize=9,
        )  # fmt: skip


# --- along the epochs -----------------------------------------------------------------------------------------


def epoch_curves(
    arms: Arms,
    value: Callable[[Epoch], float | None],  # what is drawn of an epoch
    label: str,  # the quantity and its unit
    title: str,
    level: float | None = None,  # a line across, such as a target
    drops: Sequence[int] = (),  # epochs after which the learning rate was divided
) -> Drawn:
    """One thin line a run and the mean of each arm. Raises `NothingToDraw` when there is no record."""
    drawn = {name: [_values(record, value) for record in records] for name, records in arms.items() if records}
    if not drawn:
        raise NothingToDraw("There is no record to draw; `make runs` makes the missing ones.")
    ends = []
    with themed():
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axis = figure.subplots()
        if level is not None:
            axis.axhline(level, color=GREY, linewidth=1, zorder=0)
            axis.annotate(f"{level:g}", (0, level), (2, 3), textcoords="offset points", color=GREY, fontsize=9)
        for epoch in drops:
            axis.axvline(epoch, color=GREY, linewidth=0.8, linestyle="dotted", zorder=0)
        for place, (name, curves) in enumerate(drawn.items()):
            colour, line = PALETTE[place % len(PALETTE)], LINES[place % len(LINES)]
            for curve in curves:
                axis.plot(np.arange(1, len(curve) + 1), curve, color=colour, linestyle=line, linewidth=0.8, alpha=0.4)
            length = min(map(len, curves))
            mean = np.mean([curve[:length] for curve in curves], axis=0)
            axis.plot(np.arange(1, length + 1), mean, color=colour, linestyle=line, linewidth=2.2)
            ends.append((mean[-1], length, name, colour))
        _labels_without_overlap(axis, ends)
        axis.set_xlim(0, None)
        axis.set_xlabel("epochs")
        axis.set_ylabel(label)
        axis.set_title(title)
        if drops:
            axis.annotate(
                "dotted: the learning rate drops", (1, 1.01), xycoords="axes fraction", ha="right", va="bottom",
                fontsize=8, color=GREY,
            )  # fmt: skip
    said = ", ".join(
        f"{name} from {np.mean([c[0] for c in curves]):.2f} to {np.mean([c[-1] for c in curves]):.2f} "
        f"({len(curves)} runs)"
        for name, curves in drawn.items()
    )
    return figure, f"{label[0].upper()}{label[1:]} against epochs, means: {said}."


def curve_panels(
    comparisons: Mapping[str, Arms],  # a panel each: its title, and its arms
    value: Callable[[Epoch], float | None],
    label: str,  # the quantity and its unit
    title: str,
    columns: int = 3,
) -> Drawn:
    """The mean of each arm's runs along the epochs, a panel a comparison, all on the same axes.

    Comparisons without a record in each arm are left out. Raises `NothingToDraw` when that leaves none.
    """
    drawn = {name: arms for name, arms in comparisons.items() if len(arms) > 1 and all(arms.values())}
    if not drawn:
        raise NothingToDraw("No comparison has a record in each arm; `make runs` makes the missing ones.")
    rows = math.ceil(len(drawn) / columns)
    said = []
    with themed():
        figure = Figure(figsize=(9.0, 0.5 + 2.5 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axis in axes.flat[len(drawn) :]:
            axis.set_visible(False)
        for axis, (name, arms) in zip(axes.flat, drawn.items(), strict=False):
            ends = []
            for place, (arm, records) in enumerate(arms.items()):
                curves = [_values(record, value) for record in records]
                length = min(map(len, curves))
                mean = np.mean([curve[:length] for curve in curves], axis=0)
                axis.plot(np.arange(1, length + 1), mean, color=PALETTE[place], linestyle=LINES[place])
                ends.append(f"{arm} {mean[-1]:.1f}")
                axis.annotate(
                    f"{arm} ({len(records)})", (0.98, 0.97 - 0.11 * place), xycoords="axes fraction", ha="right",
                    va="top", fontsize=8.5, fontweight="bold", color=PALETTE[place],
                )  # fmt: skip
            axis.set_title(textwrap.fill(name, 36), fontsize=9.5)
            axis.set_xlim(0, None)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            said.append(f"{name}: {' and '.join(ends)}")
        figure.supxlabel("epochs", fontsize=10)
        figure.supylabel(label, fontsize=10)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, f"{label[0].upper()}{label[1:]} after the last epoch, means. {'; '.join(said)}."


def _values(record: RunRecord, value: Callable[[Epoch], float | None]) -> np.ndarray:
    found = [value(epoch) for epoch in record.history]
    return np.array([math.nan if number is None else number for number in found])


def _labels_without_overlap(axis: Axes, ends: Sequence[tuple[float, int, str, str]]) -> None:
    """Names at the ends of lines, pushed apart where they would cover each other."""
    low, high = axis.get_ylim()
    gap, ends = 0.06 * (high - low), sorted(ends)
    last, limit = -math.inf, high  # not above the axis, where the title stands
    heights = [last := max(height, last + gap) for height, *_ in ends]
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], limit)
        limit = heights[place] - gap
    for height, (_, epoch, name, colour) in zip(heights, ends, strict=True):
        axis.annotate(
            name, (epoch, height), (6, 0), textcoords="offset points", color=colour, va="center", fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip


def selected(runs: Runs, claim: str) -> list[tuple[PlannedRun, RunRecord | None]]:
    """The runs that are planned for a claim."""
    return [(planned, record) for planned, record in runs if planned.claim == claim]


def waiting(rows: Sequence[Row]) -> str:
    """How many pairs of runs the rows still lack, and the command that makes them, as Markdown; empty if none is."""
    missing = {
        row.question: row.planned - getattr(row.effect, "n", 0)
        for row in rows
        if row.planned > getattr(row.effect, "n", 0) and not row.collapses
    }
    if not missing:
        return ""
    named = "; ".join(f"{question.condition_title} ({count} pairs)" for question, count in missing.items())
    claims = ",".join(dict.fromkeys(question.claim for question in missing))
    return f"Not recorded yet: {named}. `make runs CLAIM={claims}` makes the rest."
