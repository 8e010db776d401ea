"""One image and what a network takes it for, after figure 4; conventions in `alexnet.figures.base`."""

import numpy as np
from matplotlib.figure import Figure

from ..data.photograph import Photograph
from ..figures.base import BLACK, BLUE, GREY, VERMILION, Drawn, themed

LARGEST_SHOWN = 640  # pixels a side of the image in the picture


def ranked_bars(
    photograph: Photograph,
    seen: np.ndarray,  # uint8 [S, S, C]: what the network is given of it
    ranked: list[tuple[str, float]],  # the most probable classes with their probabilities
    classes: int,  # how many there are
) -> Drawn:
    """The image, what the network is given of it, and a bar for each of the most probable classes, the first marked."""
    shown = photograph.image.copy()
    shown.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
    with themed():
        figure = Figure(figsize=(7.2, 5.0), layout="constrained")
        axes = figure.subplot_mosaic([["image", "seen"], ["bars", "bars"]], height_ratios=[1.5, 1])
        axes["image"].imshow(np.asarray(shown), cmap="gray", vmin=0, vmax=255)
        axes["seen"].imshow(seen.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        given = f"what the network is given: {len(seen)}×{len(seen)} pixels"
        for name, title in (("image", "the image"), ("seen", given)):
            axes[name].axis("off")
            axes[name].set_title(title, fontsize=10, fontweight="normal", loc="center")
        bars = axes["bars"]
        for rank, (_, share) in enumerate(ranked):
            bars.barh(rank, share, color=BLUE if rank else VERMILION, alpha=0.85, height=0.8)
            bars.text(share + 0.01, rank, f"{share:.1%}", va="center", color=BLACK)
        bars.set_yticks(range(len(ranked)), [label for label, _ in ranked])
        bars.tick_params(length=0)
        bars.set_xticks([])
        bars.set_xlim(0, 1.1)
        bars.set_ylim(len(ranked) - 0.5, -0.5)
        bars.spines[:].set_visible(False)
        figure.suptitle("What does the network take it for?", x=0.01, ha="left", fontsize=12, fontweight="bold")
        if photograph.notes:
            figure.supxlabel("; ".join(photograph.notes), x=0.01, ha="left", fontsize=8, color=GREY)
    said = ", ".join(f"{label} {share:.1%}" for label, share in ranked)
    return figure, f"An image and the {len(ranked)} most probable of {classes} classes: {said}."
