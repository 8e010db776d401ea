"""Figures of what a trained network has learned, after the paper's figures 3 and 4, and of where training starts."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from ..training.evaluation import colour_selectivity, tower_means
from .base import BLACK, BLUE, GREY, PALETTE, VERMILION, Drawn, arm_styles, drawing, label, needed
from .diagrams import ACROSS, Pixels, bounded, put

NO_KERNELS = "There are no kernels to draw; `make runs` makes the missing records."


def kernels(weights: np.ndarray, title: str, columns: int = 12) -> Drawn:
    """First-layer kernels [filters, 3, height, width], each on its own range, one tower above the other (figure 3).

    Within a tower, kernels come in the order of their colour selectivity. Raises `NothingToDraw` without kernels.
    """
    needed(len(weights), NO_KERNELS)
    weights = np.asarray(weights, dtype=np.float64)
    selectivity, half = colour_selectivity(weights), len(weights) // 2
    rows = -(-half // columns)
    with drawing(0.62 * columns + 1.4, 0.66 * 2 * rows + 0.9, heading=title, tight=True) as (figure, axis):
        for tower in (0, 1):
            first = (tower * (rows + 0.2)) * ACROSS
            order = tower * half + np.argsort(selectivity[tower * half : (tower + 1) * half])
            for place, kernel in enumerate(order):
                image = weights[kernel].transpose(1, 2, 0)
                low, high = image.min(), image.max()
                row, column = divmod(place, columns)
                put(axis, np.round((image - low) / max(high - low, 1e-12), 3), first + ACROSS * row, column)
            axis.text(-0.65, first, f"tower {tower + 1}", ha="right", va="center", fontsize=9)
        bounded(axis, ACROSS * (2 * rows - 0.8), columns)
    said = " and ".join(f"{mean:.3f} in tower {place}" for place, mean in enumerate(tower_means(weights), start=1))
    return figure, f"The {len(weights)} kernels of the first layer. Mean colour selectivity (0 grey, 1 colour): {said}."


def selectivities(found: Mapping[str, np.ndarray], title: str) -> Drawn:
    """Each kernel's colour selectivity, the two towers side by side, a row a run: name -> kernels [filters, 3, ...].

    Raises `NothingToDraw` without runs.
    """
    needed(found, NO_KERNELS)
    said = []
    with drawing(7.5, 1.2 + 0.62 * len(found)) as (figure, axis):
        for row, (name, weights) in enumerate(found.items()):
            values = colour_selectivity(weights)
            half = len(values) // 2
            for tower, part in enumerate((values[:half], values[half:])):
                height = row + 0.3 * (tower - 0.5)
                axis.plot(part, np.full(len(part), height), "|", color=PALETTE[tower], markersize=10, alpha=0.7)
                axis.plot([part.mean()], [height], "os"[tower], color=PALETTE[tower], markersize=7)
            said.append("{}: {:.3f} and {:.3f}".format(name, *tower_means(weights)))
        axis.set_yticks(range(len(found)), [textwrap.fill(name, 32) for name in found])
        axis.set(ylim=(len(found) - 0.5, -0.6), xlim=(0, 1), title=title)
        axis.set_xlabel("colour selectivity of a kernel: share of its energy that is colour")
        for tower in (0, 1):
            at, bold = (0.01 + 0.13 * tower, -0.42), {"va": "center", "fontsize": 9, "fontweight": "bold"}
            place = {"xycoords": ("axes fraction", "data"), "color": PALETTE[tower]}
            axis.annotate(f"tower {tower + 1}", at, **place, **bold)
    return figure, f"Colour selectivity of first-layer kernels, mean of each tower. {'; '.join(said)}."


def ranked_labels(
    images: Sequence[Pixels],  # uint8 [H, W, 3]
    truth: Sequence[str],
    labels: Sequence[Sequence[str]],  # the most probable classes of each image, first to fifth
    probabilities: np.ndarray,  # [N, 5]
    title: str,
    columns: int = 4,
) -> Drawn:
    """Test images with their five most probable labels as bars, the true one marked (figure 4, left)."""
    rows = -(-len(images) // columns)
    size, heights = (2.3 * columns, 2.9 * rows + 0.4), [1.25, 1] * rows
    with drawing(*size, 2 * rows, columns, heading=title, squeeze=False, height_ratios=heights) as (figure, axes):
        for axis in axes.flat:
            axis.axis("off")
        for place, (image, true) in enumerate(zip(images, truth, strict=True)):
            row, column = 2 * (place // columns), place % columns
            axes[row, column].imshow(image, interpolation="nearest")
            axes[row, column].set_title(true, fontsize=10, fontweight="normal", loc="center")
            bars = axes[row + 1, column]
            for rank, (name, share) in enumerate(zip(labels[place], probabilities[place], strict=True)):
                colour = VERMILION if name == true else BLUE
                bars.barh(rank, share, color=to_rgba(colour, 0.35), edgecolor=colour, linewidth=0.8, height=0.8)
                bars.text(0.02, rank, name, va="center", fontsize=8, color=BLACK)
            bars.set(xlim=(0, 1), ylim=(len(labels[place]) - 0.4, -0.6))
    right = sum(ranked[0] == true for ranked, true in zip(labels, truth, strict=True))
    among = sum(true in ranked for ranked, true in zip(labels, truth, strict=True))
    return figure, (
        f"{len(images)} test images with their five most probable labels; the true one is orange. It is the first for "
        f"{right} and among the five for {among} of them."
    )


def neighbours(
    queries: Sequence[Pixels],
    nearest: Mapping[str, Sequence[Sequence[Pixels]]],  # "features" or "pixels": the neighbours of each query
    same: Mapping[str, Sequence[Sequence[bool]]],  # whether each has the query's class
    title: str,
) -> Drawn:
    """Test images in the first column, then their nearest training images, framed where the class is another."""
    count = len(next(iter(nearest.values()))[0])
    columns = 1 + len(nearest) * count
    size = (0.66 * columns + 0.3, 0.68 * len(queries) + 0.8)
    with drawing(*size, heading=title, tight=True) as (figure, axis):
        for row, query in enumerate(queries):
            put(axis, query, ACROSS * row, 0)
            images = [image for found in nearest.values() for image in found[row]]
            right = [known for kind in nearest for known in same[kind][row]]
            for column, (image, known) in enumerate(zip(images, right, strict=True), start=1):
                put(axis, image, ACROSS * row, column)
                if not known:
                    corner = (ACROSS * column - 0.5, ACROSS * row - 0.5)
                    axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=VERMILION, linewidth=2.5))
        axis.text(0, -0.6, "test", ha="center", va="bottom", fontsize=9)
        for place, name in enumerate(nearest):
            axis.text(ACROSS * (1 + place * count) - 0.5, -0.6, f"nearest in {name}", va="bottom", fontsize=9)
        bounded(axis, ACROSS * (len(queries) - 1), columns)
    shares = ", ".join(f"{np.mean(same[name]):.0%} nearest in {name}" for name in nearest)
    return figure, f"{len(queries)} test images and their nearest training images. Of the same class: {shares}."


def feature_maps(maps: Mapping[str, np.ndarray], image: Pixels, title: str, shown: int = 10) -> Drawn:
    """The strongest maps of each layer for one image: layer -> [channels, H, W]; the image stands first."""
    alive = []
    with drawing(0.72 * (shown + 1) + 0.6, 0.9 * len(maps) + 0.7, heading=title, tight=True) as (figure, axis):
        put(axis, image, 0, 0, cmap="gray", vmin=0, vmax=255)  # grey if it has one channel
        for row, (name, values) in enumerate(maps.items()):
            values = np.asarray(values, dtype=np.float64)
            strength = values.mean(axis=(1, 2))
            alive.append(f"{name} {np.mean(strength > 0):.0%}")
            for place, channel in enumerate(np.argsort(-strength)[:shown], start=1):
                put(axis, np.round(values[channel], 2), 1.25 * row, place, cmap="gray")
            axis.text(ACROSS - 0.5, 1.25 * row - 0.52, name, va="bottom", fontsize=9)
        bounded(axis, 1.25 * (len(maps) - 1), shown + 1)
    said = f"Feature maps of one image, the strongest of each layer. Maps that respond at all: {', '.join(alive)}."
    return figure, said


def starts(table: pd.DataFrame, trained_from: float, title: str) -> Drawn:
    """Training error at the end of the budget against the predicted size of the scores at the start.

    `table` has a row a run: `start`, `predicted` (scale of the scores), `error` in percent. Raises
    `NothingToDraw` for an empty one.
    """
    needed(len(table), "There is no run to draw; `make runs` makes the missing records.")
    said, styles = [], arm_styles(table["start"].unique())
    with drawing(7.8, 5.2) as (figure, axis):
        axis.axhline(trained_from, color=GREY, linewidth=1, zorder=0)
        right = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "top", "color": GREY}
        label(axis, "counts as trained below", (1, trained_from), (0, -4), **right)
        for place, (start, rows) in enumerate(table.groupby("start", sort=False)):
            style = {"color": styles[str(start)][0], "markersize": 7, "alpha": 0.8, "label": str(start)}
            axis.plot(rows["predicted"], rows["error"], "osD^v<>pXP*h"[place % 12], **style)
            said.append(f"{start}: predicted {rows['predicted'].mean():.1e}, error {rows['error'].mean():.0f}%")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        axis.set_xlabel("predicted size of the scores before training (logarithmic)")
        axis.set(xscale="log", ylim=(0, 100), ylabel="training error at the end (%)", title=title)
    return figure, f"Training error after the budget against the predicted size of the scores. {'; '.join(said)}."
