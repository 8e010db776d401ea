"""Figures of what nonlinearities do to signals; see `alexnet.figures.base` for the conventions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..records.record import Signal
from .base import BLACK, GREY, Drawn, arm_name, arm_style, themed


def activations(
    inputs: ArrayLike,  # [points] what a unit adds up to
    outputs: Mapping[str, ArrayLike],  # arm: [points]
    slopes: Mapping[str, ArrayLike],  # arm: [points]
    flat_slope: float = 0.1,  # a slope below this counts as flat
) -> Drawn:
    """Output and slope of each activation, side by side."""
    inputs = np.asarray(inputs)
    with themed():
        figure = Figure(figsize=(8.2, 3.4), layout="constrained")
        panels = zip(figure.subplots(1, 2), (outputs, slopes), ("output", "slope"), strict=True)
        for axis, curves, name in panels:
            for place, (arm, values) in enumerate(curves.items()):
                colour, line = arm_style(arm, place)
                axis.plot(inputs, np.asarray(values), color=colour, linestyle=line, linewidth=2.2)
                label = (inputs[-1], float(np.asarray(values)[-1]))
                axis.annotate(arm_name(arm), label, (4, 0), textcoords="offset points", color=colour, va="center")
            axis.set_xlabel("input of the unit")
            axis.set_ylabel(name)
            axis.axvline(0, color=GREY, linewidth=0.6)
        figure.suptitle(
            "Where is each activation flat?", x=0.01, ha="left", fontsize=12, fontweight="bold", color=BLACK
        )
    shares = {arm: float(np.mean(np.asarray(slope) < flat_slope)) for arm, slope in slopes.items()}
    said = ", ".join(f"{arm_name(arm)} on {share:.0%}" for arm, share in shares.items())
    low, high = inputs.min(), inputs.max()
    alt = f"Output and slope of each activation. For inputs from {low:g} to {high:g}, the slope is below"
    return figure, f"{alt} {flat_slope:g}: {said}."


def signal_table(found: Mapping[tuple[str, str, str], Sequence[Signal]]) -> pd.DataFrame:
    """A row a condition, arm, time and layer: standard deviations of input and gradient, share of flat units."""
    rows = [
        {
            "condition": condition,
            "activation": arm_name(arm),
            "when": when,
            "layer": place,
            "input": signal.input,
            "gradient": signal.gradient,
            "flat units": signal.flat,
        }
        for (condition, arm, when), signals in found.items()
        for place, signal in enumerate(signals, start=1)
    ]
    return pd.DataFrame(rows)
