"""The forest plot of all effects, and how small an effect so many pairs of runs can find."""

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from ..statistics.board import Row
from ..statistics.effects import Effect, smallest_detectable
from ..statistics.verdicts import LABELS, STEP, relative
from .base import BLACK, BLUE, VERDICT_COLOURS, Drawn, drawing, label, needed
from .tables import counted, listed

PALE = 0.45  # opacity of a first look
FARTHEST = (-3.0, 6.0)  # margins from no effect that a forest plot shows at most; what lies beyond is an arrow


def forest_plot(rows: Sequence[Row], title: str = "Which effects come to the margin of their claim?") -> Drawn:
    """All effects with their intervals and every pair's dot on one axis, in margins of their claims.

    0 is no effect and 1 the margin, on the claimed side; ratios count by their logarithms. A diamond marks the paper's
    figure, a grey one where it was measured on another scale; an arrow leads to what lies beyond the axis or has no
    limit. Exact counts and rows that wait for runs are left out. Raises `NothingToDraw` when no row has an effect.
    """
    drawn = needed(
        [row for row in rows if isinstance(row.told, Effect) and not math.isnan(row.told.estimate)],
        "No row has an effect to draw; `make runs` makes the records that effects are computed from.",
    )
    titles = [row.question.title for row in drawn]
    names = [row.question.title if titles.count(row.question.title) == 1 else row_name(row) for row in drawn]
    own = [" °" if row.question.margin == 0 else "" for row in drawn]
    labels = [textwrap.fill(name + mark, 70) for name, mark in zip(names, own, strict=True)]
    heights = [0.104 + 0.1 * label.count("\n") for label in labels]  # half of a row's, inches
    places = np.cumsum([0.0, *(one + other for one, other in itertools.pairwise(heights))])
    note = "\npale: a first look, which decides nothing" * any(row.question.seen for row in drawn)
    note += f"\n° its margin is no effect itself, and 1 stands for {STEP:.0f} points" * any(own)
    with drawing(10.8, 1.0 + 0.15 * note.count("\n") + 2 * sum(heights), heading=title) as (figure, axis):
        left, right = _edges(drawn)
        axis.set(xlim=(left, right), ylim=(places[-1] + heights[-1], -heights[0]))
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
            "○ one pair of runs   ● their mean   ◇ the paper's figure, grey where it was measured on another scale"
            + note,
            fontsize=9,
        )
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


def seeds_in_margins(row: Row) -> list[float]:
    """The values of a row's pairs of runs in margins of its claim, those that are known."""
    effect = row.effect
    if not isinstance(effect, Effect) or effect.parts:
        return []
    return [relative(row.question, effect, value) for value in effect.lowest if math.isfinite(value)]


def _edges(rows: Sequence[Row]) -> tuple[float, float]:
    """Limits of the axis: around all intervals, as far as it goes."""
    finite = [value for row in rows for value in in_margins(row) if math.isfinite(value)]
    least, most = FARTHEST
    return max(least, min([-1.0, *finite]) - 0.3), min(most, max([2.0, *finite]) + 0.3)


def _interval(axis: Axes, place: float, row: Row, left: float, right: float) -> None:
    effect, question = row.effect, row.question
    assert isinstance(effect, Effect)
    full = VERDICT_COLOURS[row.verdict.label]
    colour = to_rgba(full, PALE if question.seen else 1.0)
    low, estimate, high = in_margins(row)
    if effect.has_interval:
        ends = [float(end) for end in np.clip([low, high], left, right)]
        axis.plot(ends, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        for end, cut, arrow in ((ends[0], low < left, "<"), (ends[1], high > right, ">")):
            axis.plot([end], [place], marker=arrow if cut else "|", color=colour, markersize=8, clip_on=False)

    pairs = [relative(question, effect, value) for value in effect.values if not math.isnan(value)]
    inside = [pair for pair in pairs if left <= pair <= right]
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.0}
    axis.plot(inside, [place] * len(inside), "o", markersize=4, zorder=3, clip_on=False, **hollow)

    above = effect.lower_bound if question.direction == "above" else effect.upper_bound
    bounded = effect.lower_bound or effect.upper_bound
    sign = (">" if above else "<") if bounded else ">" if estimate > right else "<" if estimate < left else "o"
    axis.plot([min(max(estimate, left), right)], [place], marker=sign, color=colour, markersize=7, zorder=4)

    if question.figure is not None and question.figure.value is not None:
        there = relative(question, effect, question.figure.value)
        edge = BLACK if question.comparable is not None else "#9a9a9a"
        if left <= there <= right:
            axis.plot([there], [place], "D", markeredgecolor=edge, markerfacecolor="none", markersize=7, zorder=2)
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "color": full}
    label(axis, row.verdict.label, (1.0, place), (8, 0), fontsize=10, **beside)


def _forest_alt(rows: Sequence[Row], names: Sequence[str]) -> str:
    """How many rows got which verdict, and each row's numbers."""
    counts = [(label, sum(row.verdict.label == label for row in rows)) for label in LABELS]
    seen = sum(row.question.seen for row in rows)
    tally = listed(f"{count} {label}" for label, count in counts if count)
    tally += f" ({'all' if seen == len(rows) else seen} of them first looks, which decide nothing)" * bool(seen)
    each = []
    for row, name in zip(rows, names, strict=True):
        paper = f"; the paper has {row.question.figure.text}" if row.question.comparable and row.question.figure else ""
        if isinstance(row.effect, Effect):
            each.append(f"{name}: {row.effect.text} ({row.effect.unit}{paper}), {row.verdict.label}.")
    return f"Forest plot of {counted(len(rows), 'effect')} in margins of their claims: {tally}. {' '.join(each)}"


def power_curve(title: str) -> Drawn:
    """The smallest effect that so many pairs find in four tries of five, in standard deviations of a pair's value."""
    found = {pairs: smallest_detectable(pairs) for pairs in (*range(3, 13), 16, 20, 30)}
    with drawing(6.4, 3.4) as (figure, axis):
        axis.plot(list(found), list(found.values()), color=BLUE, marker="o", markersize=4)
        for n in (3, 6, 12):
            label(axis, f"{n} pairs: {found[n]:.2f}", (n, found[n]), (8, 2))  # to the right, where the curve falls
        axis.set(ylim=(0, None), xlabel="pairs of runs", title=title)
        axis.set_ylabel("smallest effect found\n(standard deviations)")
    said = ", ".join(f"{value:.2f} with {n}" for n, value in found.items())
    return figure, f"Smallest effect found with 80% power against the number of pairs of runs: {said}."
