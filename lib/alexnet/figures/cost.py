"""Figures of what runs cost and where a training step spends its time."""

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from ..records.bench import BenchRecord
from .base import BLUE, GREY, VERMILION, Drawn, drawing, label, needed


def hours(table: pd.DataFrame, title: str = "What cost most?") -> Drawn:
    """A bar a part: hours of one thread, from `costs.by_claim`. Raises `NothingToDraw` without records."""
    made = table[table["runs"] > 0].sort_values("hours", ascending=False)
    names = needed(list(made["part"]), "No run has a record yet; `make runs` makes them.")
    values = list(made["hours"])
    with drawing(8.6, 1.2 + 0.42 * len(made)) as (figure, axis):
        axis.barh(range(len(made)), values, color=BLUE, height=0.65)
        for place, value in enumerate(values):
            label(axis, f"{value:.2g}", (value, place), (4, 0), va="center")
        _name_bars(axis, [textwrap.fill(name, 48) for name in names])
        axis.set(xlabel="hours of one thread; a run that serves several claims counts for each", title=title)
    return figure, (
        f"Bars of the hours that the runs took, by part of the report, {len(made)} in all. Most hours: {names[0]}, "
        f"{values[0]:.2g}; fewest: {names[-1]}, {values[-1]:.2g}."
    )


def layer_bars(record: BenchRecord, net: str, title: str | None = None) -> Drawn:
    """A bar a layer, forward and backward, in milliseconds a batch. Raises `NothingToDraw` without layers."""
    layers = [layer for layer in record.layers if layer.net == net]
    needed(layers, f"No layers of {net} were measured; `make bench` does it.")
    forward = [1000 * layer.forward_seconds for layer in layers]
    backward = [1000 * layer.backward_seconds for layer in layers]
    with drawing(8.6, 1.3 + 0.27 * len(layers)) as (figure, axis):
        axis.barh(range(len(layers)), forward, color=BLUE, height=0.7, label="forward")
        hatched = {"hatch": "//", "edgecolor": "white", "label": "backward"}
        axis.barh(range(len(layers)), backward, left=forward, color=VERMILION, height=0.7, **hatched)
        for place, layer in enumerate(layers):
            share = record.share_of_peak(layer)
            if layer.multiply_adds and share is not None:
                end = (forward[place] + backward[place], place)
                label(axis, f"{share:.0%} of peak", end, (4, 0), fontsize=8, va="center", color=GREY)
        _name_bars(axis, [layer.layer for layer in layers])
        axis.margins(x=0.12)
        axis.set_xlabel(f"milliseconds for {layers[0].images} images, {layers[0].precision}")
        axis.set_title(title or f"Where does a training step spend its time? ({net})")
        axis.legend(loc="lower right", frameon=False)
    whole = sum(layer.seconds for layer in layers)
    groups = {
        "convolutions": [layer for layer in layers if layer.layer.startswith("conv")],
        "response normalisation": [layer for layer in layers if "norm" in layer.layer],
        "fully connected layers": [layer for layer in layers if layer.layer.startswith("fc")],
    }
    parts = [f"{name} {sum(one.seconds for one in found) / whole:.0%}" for name, found in groups.items() if found]
    return figure, f"Time by layer, forward and backward, of {net}. Of the sum: {', '.join(parts)}."


def _name_bars(axis: Axes, names: Sequence[str]) -> None:
    """One name a bar, the first bar on top."""
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
