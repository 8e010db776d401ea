"""How far a row of steps leads, each on top of those before."""

from collections.abc import Sequence

from ..experiments.since_2012 import Bought
from .base import BLUE, GREY, VERMILION, Drawn, drawing, label, needed


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
