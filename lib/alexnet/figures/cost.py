"""Figures of what runs cost and where a training step spends its time; conventions in `alexnet.figures.base`."""

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from ..errors import NothingToDraw
from ..records.bench import BenchRecord
from .base import BLUE, GREY, VERMILION, Drawn, themed


def hours(table: pd.DataFrame, title: str = "Which claims cost most?") -> Drawn:
    """A bar a claim: hours of one thread, from `costs.by_claim`. Raises `NothingToDraw` without records."""
    made = table[table["runs"] > 0].sort_values("hours", ascending=False)
    if made.empty:
        raise NothingToDraw("No run has a record yet; `make runs` makes them.")
    names, values = list(made["claim"]), list(made["hours"])
    with themed():
        figure = Figure(figsize=(8.6, 1.2 + 0.42 * len(made)), layout="constrained")
        axis = figure.subplots()
        axis.barh(range(len(made)), values, color=BLUE, height=0.65)
        for place, value in enumerate(values):
            axis.annotate(f"{value:.2g}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
        axis.set_yticks(range(len(made)), [textwrap.fill(name, 48) for name in names], fontsize=9)
        axis.set_ylim(len(made) - 0.4, -0.6)
        axis.set_xlabel("hours of one thread; a run that serves several claims counts for each")
        axis.set_title(title)
    alt = (
        f"Bars of the hours that the runs of {len(made)} claims took. Most took {names[0]}, with {values[0]:.2g} "
        f"hours; least {names[-1]}, with {values[-1]:.2g}."
    )
    return figure, alt


def layer_bars(record: BenchRecord, net: str, title: str | None = None) -> Drawn:
    """A bar a layer, forward and backward, in milliseconds a batch. Raises `NothingToDraw` without layers."""
    layers = [layer for layer in record.layers if layer.net == net]
    if not layers:
        raise NothingToDraw(f"No layers of {net} were measured; `make bench` does it.")
    forward = [1000 * layer.forward_seconds for layer in layers]
    backward = [1000 * layer.backward_seconds for layer in layers]
    with themed():
        figure = Figure(figsize=(8.6, 1.3 + 0.27 * len(layers)), layout="constrained")
        axis = figure.subplots()
        places = range(len(layers))
        axis.barh(places, forward, color=BLUE, height=0.7, label="forward")
        axis.barh(places, backward, left=forward, color=VERMILION, height=0.7, hatch="//", edgecolor="white",
                  label="backward")  # fmt: skip
        for place, layer in enumerate(layers):
            share = record.share_of_peak(layer)
            if layer.multiply_adds and share is not None:
                axis.annotate(
                    f"{share:.0%} of peak", (forward[place] + backward[place], place), (4, 0),
                    textcoords="offset points", va="center", fontsize=8, color=GREY,
                )  # fmt: skip
        axis.set_yticks(places, [layer.layer for layer in layers], fontsize=9)
        axis.set_ylim(len(layers) - 0.4, -0.6)
        axis.margins(x=0.12)
        axis.set_xlabel(f"milliseconds for {layers[0].images} images, {layers[0].precision}")
        axis.set_title(title or f"Where does a training step of {net} spend its time?")
        axis.legend(loc="lower right", frameon=False)
    whole = sum(layer.seconds for layer in layers)
    groups = {
        "convolutions": [layer for layer in layers if layer.layer.startswith("conv")],
        "response normalisation": [layer for layer in layers if "norm" in layer.layer],
        "fully connected layers": [layer for layer in layers if layer.layer.startswith("fc")],
    }
    parts = [f"{name} {sum(one.seconds for one in found) / whole:.0%}" for name, found in groups.items() if found]
    return figure, f"Time by layer, forward and backward, of {net}. Of the sum: {', '.join(parts)}."
