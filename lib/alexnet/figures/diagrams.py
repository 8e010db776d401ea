"""Pictures of images and of the network itself, for the notebooks on data and model.

Like those of `alexnet.figures.base`, each function that states a finding returns (figure, alt text), and a figure
answers the question in its title. `gallery` shows images and leaves the finding to whoever chose them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .base import BLACK, BLUE, GREY, VERMILION, Drawn, themed

Pixels = NDArray[np.uint8]


def to_pixels(batch: Tensor) -> Pixels:
    """Float batch [B, C, S, S] on 0..255 -> uint8 images [B, S, S, C], rounded and cut off at black and white."""
    return batch.permute(0, 2, 3, 1).round().clamp(0, 255).byte().cpu().numpy()


def gallery(
    images: Pixels | Sequence[Pixels],  # uint8 [N, H, W, 3] or [N, H, W, 1]; sizes may differ
    titles: Sequence[str] = (),  # one an image, above it
    columns: int = 10,
    rows: Sequence[str] = (),  # one a row of the gallery, at its left
    heading: str = "",
    size: float = 0.75,  # inches a side of each image
) -> Figure:
    """Images side by side, every pixel a sharp square."""
    count = math.ceil(len(images) / columns)
    room = 0.28 if titles else 0.04
    with themed():
        height = count * (size + room) + (0.45 if heading else 0.05)
        width = columns * (size + 0.06) + (1.2 if rows else 0.1)
        tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        figure = Figure(figsize=(width, height), layout=tight)
        axes = figure.subplots(count, columns, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for place, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if titles:
                axis.set_title(titles[place], fontsize=8, fontweight="normal", loc="center", pad=2)
        for axis, name in zip(axes[:, 0], rows, strict=False):
            axis.text(-0.12, 0.5, name, transform=axis.transAxes, ha="right", va="center", fontsize=9)
        if heading:
            figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def framed(image: Pixels, frames: Mapping[str, tuple[int, int]], side: int, heading: str) -> Figure:
    """One image, enlarged, with the outlines of square crops: name to (row, column) of the upper left pixel."""
    with themed():
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axis = figure.subplots()
        axis.imshow(image, interpolation="nearest")
        axis.axis("off")
        for place, (name, (row, column)) in enumerate(frames.items()):
            colour = (BLUE, VERMILION, BLACK, GREY, "white")[place % 5]
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=colour, linewidth=2))
            axis.annotate(name, (1.09, 0.95 - 0.1 * place), xycoords="axes fraction", color=BLACK, fontsize=9)
            axis.annotate(
                "■", (1.08, 0.95 - 0.1 * place), xycoords="axes fraction", ha="right", color=colour, fontsize=9
            )
        figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def shares(table: pd.DataFrame) -> Drawn:
    """Each layer's share of the parameters and of the multiply-adds, from `anatomy.learned_layers`."""
    kinds = {"parameters": VERMILION, "multiply-adds": BLUE}
    names = list(table["layer"])
    share = {kind: 100 * table[kind].to_numpy(dtype=float) / table[kind].sum() for kind in kinds}
    places = np.arange(len(names))
    with themed():
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axis = figure.subplots()
        for shift, (kind, colour) in zip((-0.2, 0.2), kinds.items(), strict=True):
            axis.barh(places + shift, share[kind], height=0.38, color=colour)
            for place, value in zip(places, share[kind], strict=True):
                axis.annotate(
                    f"{value:.1f}", (value, place + shift), (3, 0), textcoords="offset points", va="center",
                    fontsize=8, color=colour,
                )  # fmt: skip
            top = int(share[kind].argmax())
            axis.annotate(
                kind, (share[kind][top], top + shift), (34, 0), textcoords="offset points", va="center", color=colour,
                fontweight="bold", fontsize=10,
            )  # fmt: skip
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.set_xlim(0, max(values.max() for values in share.values()) * 1.25)
        axis.set_xlabel("share of the whole network (%)")
        axis.set_title("Where are the weights, and where is the work?")
    weights, work = share["parameters"], share["multiply-adds"]
    convolutions = np.array([name.startswith("conv") for name in names])
    largest = int(weights.argmax())
    alt = (
        f"Share of each layer in the parameters and in the multiply-adds. The convolutions hold "
        f"{weights[convolutions].sum():.1f}% of the parameters and do {work[convolutions].sum():.1f}% of the work; the "
        f"fully connected layers hold {weights[~convolutions].sum():.1f}% of the parameters, {names[largest]} alone "
        f"{weights[largest]:.1f}%."
    )
    return figure, alt


def towers(links: pd.DataFrame, table: pd.DataFrame) -> Drawn:
    """Both towers, layer by layer, and whose maps each sees, from `anatomy.tower_links` and `learned_layers`."""
    names = list(table["layer"])
    with themed():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axis = figure.subplots()
        centres = {1: 1.0, 2: 0.0}
        axis.add_patch(Rectangle((-0.95, 0.3), 0.5, 0.4, facecolor="white", edgecolor=BLACK))
        axis.text(-0.7, 0.5, "image", ha="center", va="center", fontsize=8)
        for tower, height in centres.items():
            axis.plot([-0.45, -0.3], [0.5, height], color=GREY, linewidth=1)
            axis.text(-1.0, height, f"tower {tower}", ha="left", va="center", fontsize=9, fontweight="bold")
        for place, (name, output) in enumerate(zip(names, table["output"], strict=True)):
            whole = name == names[-1]
            for height in [0.5] if whole else centres.values():
                axis.add_patch(Rectangle((place - 0.3, height - 0.2), 0.6, 0.4, facecolor="#eef3f7", edgecolor=BLACK))
                channels = output[0] if whole else output[0] // 2
                size = f"\n{output[1]}×{output[2]}" if len(output) == 3 else ""
                axis.text(place, height, f"{channels}{size}", ha="center", va="center", fontsize=8)
            axis.text(place, 1.32, name, ha="center", fontsize=9, fontweight="bold")
        crossing = set()
        seen = links[links["seen"]]
        for name, to, source in zip(seen["layer"], seen["to"], seen["from"], strict=True):
            place, last = names.index(name), name == names[-1]
            crosses = source != to and not last
            crossing |= {name} if crosses else set()
            axis.plot(
                [place - 0.7, place - 0.3], [centres[source], 0.5 if last else centres[to]],
                color=VERMILION if crosses else GREY, linewidth=2 if crosses else 1,
            )  # fmt: skip
        axis.set(xlim=(-1.05, len(names) - 0.6), ylim=(-0.35, 1.5))
        axis.axis("off")
        figure.suptitle("Which layers see both towers?", x=0.01, ha="left", fontsize=12, fontweight="bold")
    seeing = [name for name in names if name in crossing]
    apart = [name for name in names[1:-1] if name not in crossing]
    alt = (
        f"Two rows of boxes, one a tower, with the maps of each layer. Lines cross between the towers before "
        f"{', '.join(seeing)} only; {', '.join(apart)} see their own tower. The scores of {names[-1]} come from both."
    )
    return figure, alt


def norm_at_work(activities: ArrayLike, normalised: ArrayLike) -> Drawn:
    """One pixel through local response normalisation: activities [maps] before, and the share of each that is kept."""
    before, after = np.asarray(activities, dtype=float), np.asarray(normalised, dtype=float)
    kept = after / before
    maps = np.arange(1, len(before) + 1)
    with themed():
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.bar(maps, before, color=GREY)
        upper.set_ylabel("activity before")
        upper.set_title("What does one strong response do to its neighbours?")
        lower.bar(maps, kept, color=BLUE)
        lower.set_ylabel("share kept")
        lower.set_xlabel("map")
        lower.set_xticks(maps)
        for place, value in zip(maps, kept, strict=True):
            lower.annotate(
                f"{value:.2f}", (place, value), (0, 2), textcoords="offset points", ha="center", fontsize=7.5,
                color=BLUE,
            )  # fmt: skip
        lower.set_ylim(0, kept.max() * 1.2)
    strongest = int(before.argmax())
    near = kept[max(0, strongest - 2) : strongest + 3]
    alt = (
        f"Bars of the activities of {len(before)} maps at one pixel, and below them the share that normalisation "
        f"keeps. Map {strongest + 1} responds strongly; it and its two neighbours on either side keep {near.max():.2f} "
        f"or less, the others up to {kept.max():.2f}."
    )
    return figure, alt


def norm_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], ceiling: float, half: Mapping[str, float]) -> Drawn:
    """Share kept against the activity of a window of equal neighbours, one curve a convention.

    `curves` maps a convention to (activities, shares); `ceiling` is the share kept of a vanishing activity; `half` maps
    a convention to the activity at which half of that is left.
    """
    with themed():
        figure = Figure(figsize=(7.5, 4.0), layout="constrained")
        axis = figure.subplots()
        axis.axhline(ceiling, color=GREY, linewidth=1)
        axis.annotate(f"{ceiling:.2f}", (1, ceiling), (4, 3), textcoords="offset points", color=GREY, fontsize=9)
        for (name, (activity, share)), colour, line in zip(
            curves.items(), (BLUE, VERMILION), ("solid", "dashed"), strict=False
        ):
            axis.plot(activity, share, color=colour, linestyle=line, linewidth=2.2)
            axis.plot([half[name]], [ceiling / 2], "o", color=colour)
            left = colour == BLUE
            axis.annotate(
                f"{name}: half at {half[name]:.0f}", (half[name], ceiling / 2), (-8 if left else 8, -4 if left else 4),
                textcoords="offset points", ha="right" if left else "left", va="top" if left else "bottom",
                color=colour, fontweight="bold", fontsize=10,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_ylim(0, ceiling * 1.15)
        axis.set_xlabel("activity of a unit and of all its neighbours in the window (logarithmic)")
        axis.set_ylabel("share kept")
        axis.set_title("From which activity on does normalisation do anything?")
    said = " and ".join(f"at {activity:.0f} with {name}" for name, activity in half.items())
    alt = f"Share of the activity that normalisation keeps: at most {ceiling:.2f}; half of that is left {said}."
    return figure, alt


def signals(table: pd.DataFrame) -> Drawn:
    """What is left of the differences between images after each layer, one line a column, on a logarithmic axis.

    `table` has layers as rows, "input" first (see `anatomy.signal`), and a case a column. Values are drawn as given:
    round them first, so that the figure is the same on every machine.
    """
    styles = [(BLUE, "solid"), (VERMILION, "solid"), (BLUE, "dashed"), (VERMILION, "dashed")]
    with themed():
        figure = Figure(figsize=(8.5, 4.6), layout="constrained")
        axis = figure.subplots()
        places = np.arange(len(table))
        ends = table.iloc[-1].sort_values()
        for (name, values), (colour, line) in zip(table.items(), styles, strict=False):
            axis.plot(places, values, color=colour, linestyle=line, marker="o", markersize=4, linewidth=2)
            axis.annotate(
                f"{name}: {values.iloc[-1]:.2g}", (places[-1], values.iloc[-1]), (8, 0), textcoords="offset points",
                va="center", color=colour, fontsize=9, fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        axis.set_yscale("log")
        axis.set_xticks(places, list(table.index))
        axis.set_ylabel("differences between images (logarithmic)")
        axis.set_title("How much of the image reaches the scores, before any training?")
    said = "; ".join(f"{name}: {value:.2g}" for name, value in ends.items())
    alt = (
        f"Standard deviation over images of what each layer of an untrained network puts out, on a logarithmic axis. "
        f"At {table.index[-1]} it is, from the smallest: {said}."
    )
    return figure, alt


def colour_shifts(image: Pixels, axes: ArrayLike, steps: Sequence[float]) -> list[Pixels]:
    """One uint8 image [H, W, 3] shifted along each colour axis (columns of [3, 3]), by so many times its length."""
    directions = np.asarray(axes, dtype=float).T
    shifted = [image + np.rint(step * axis) for axis in directions for step in steps]
    return [np.clip(pixels, 0, 255).astype(np.uint8) for pixels in shifted]
