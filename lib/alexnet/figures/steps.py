"""How far a row of steps leads, each on top of those before; and a network layer by layer, before and after a step."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ..experiments.since_2012 import Bought
from .base import BLUE, GREY, VERMILION, Drawn, arm_styles, drawing, label, needed


def climb(found: Sequence[Bought], title: str) -> Drawn:
    """Test accuracy after each step, with an interval and every seed's dot; a step that takes away is vermilion.

    Steps whose runs all ended near guessing are an arrow at the edge, so that those that train can be told apart.
    """
    shown = needed([one for one in found if one.accuracy is not None])
    trained = [one.accuracy for one in shown if one.accuracy and not one.lost]
    least = min((min(*one.interval, *one.values) for one in trained), default=0.0)
    most = max((max(*one.interval, *one.values) for one in trained), default=100.0)
    left, right = (least - 0.15 * (most - least), most + 0.05 * (most - least)) if trained else (least, most)
    said = []
    with drawing(9.5, 0.5 * len(shown) + 1.4) as (figure, axis):
        for place, one in enumerate(shown):
            if one.accuracy is None:
                continue
            said.append(f"{one.step.name} {one.accuracy.mean:.1f}%")
            if one.lost and trained:
                axis.plot(left, place, "<", color=GREY, markersize=7, clip_on=False)
                label(axis, f"{one.accuracy.mean:.1f}%: near guessing", (left, place), (9, 0), va="center", color=GREY)
                continue
            loses = one.gain is not None and one.gain.high < 0
            colour = VERMILION if loses else BLUE
            axis.hlines(place, *one.accuracy.interval, color=colour, linewidth=2)
            axis.plot(one.accuracy.values, [place] * len(one.accuracy.values), "o", color=GREY, markersize=3.5)
            axis.plot(one.accuracy.mean, place, "|", color=colour, markersize=14, markeredgewidth=2.5)
            gain = "" if one.gain is None else f"{one.gain.estimate:+.1f}"
            label(axis, gain, (one.accuracy.mean, place), (0, 9), ha="center", color=colour)
        axis.set_yticks(range(len(shown)), [f"{'+ ' if one.gain else ''}{one.step.name}" for one in shown])
        axis.invert_yaxis()
        axis.set_ylim(len(shown) - 0.5, -0.8)
        axis.set(xlim=(left, right), xlabel="test accuracy (%)", title=title)
    return figure, f"Test accuracy after each of {len(shown)} steps, one on top of the other: {', '.join(said)}."


class Panel(NamedTuple):
    """What is drawn of several networks along their layers."""

    name: str  # of the quantity, with its unit
    values: pd.DataFrame  # a row a layer, a column a network
    before: pd.DataFrame | None = None  # the same before the step, drawn faint
    share: bool = False  # of 1, on a linear axis; else logarithmic


def by_layer(panels: Sequence[Panel], title: str, notes: Mapping[str, str] | None = None) -> Drawn:
    """Panels side by side, a line a network; `notes` are added to the networks' names.

    Values are drawn to two digits, those that are the same on every machine. Raises `NothingToDraw` without a network.
    """
    names = needed([str(name) for name in panels[0].values])
    styles, said = arm_styles(names), []
    with drawing(9.5, 3.4 + 0.18 * len(names), columns=len(panels), heading=title) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            form, ends = ".0%" if panel.share else ".1e", []
            for name in names:
                style = dict(zip(("color", "linestyle"), styles[name], strict=True))
                values = panel.values[name].map(_two_digits)
                if panel.before is not None:
                    axis.plot(panel.before[name].map(_two_digits).to_numpy(), linewidth=3, alpha=0.25, **style)
                axis.plot(values.to_numpy(), marker="o", markersize=3, linewidth=1.6, label=name, **style)
                ends.append(f"{name} from {values.iloc[0]:{form}} to {values.iloc[-1]:{form}}")
            layers = list(panel.values.index)
            axis.set_xticks(range(len(layers)), layers, fontsize=8)
            axis.set_title(panel.name, fontsize=9.5, fontweight="normal")
            axis.set_yscale("linear" if panel.share else "log")
            if panel.share:
                axis.set_ylim(bottom=0)
                axis.yaxis.set_major_formatter("{x:.0%}")
            said.append(f"{panel.name}, {layers[0]} to {layers[-1]}: {', '.join(ends)}.")
        lines = axes[0].get_legend_handles_labels()[0]
        words = [name + (f": {notes[name]}" if notes else "") for name in names]
        figure.legend(lines, words, loc="outside lower center", fontsize=8, frameon=False)
    listed = f" {'; '.join(words)}." if notes else ""
    return figure, f"{' '.join(said)}{listed}"


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")
