"""Pictures of images, of the network itself, and of what its layers compute, for the notebooks on data and model.

Each function that states a finding returns (figure, alt text), and a figure answers the question in its title.
`gallery` and `framed` show images and leave the finding to whoever chose them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..records.record import Signal
from .base import BLACK, BLUE, GREY, PALETTE, VERMILION, Drawn, arm_name, arm_styles, drawing, label, needed

Pixels = NDArray[np.uint8]
ACROSS = 1.08  # from one image to the next beside it, in sides of an image
SIGNALS = {  # column of `signal_table`: title of its panels, and how values are written
    "input": ("standard deviation of\nthe inputs (logarithmic)", ".2g"),
    "gradient": ("standard deviation of\nthe gradient (logarithmic)", ".1e"),
    "flat units": ("share of units that are flat", ".0%"),
}

# ---- images ----------------------------------------------------------------------------------------------------------


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
    above = 0.2 * max((title.count("\n") + 1 for title in titles), default=0.2)  # inches
    height = count * (size + above) + (0.45 if heading else 0.05)
    width = columns * (size + 0.06) + (1.2 if rows else 0.1)
    with drawing(width, height, heading=heading, tight=True) as (figure, axis):
        down = 1 + above / size
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            put(axis, image, down * row, column, cmap="gray", vmin=0, vmax=255)
            if titles:
                words = {"fontsize": 8, "ha": "center", "va": "bottom"}
                axis.text(ACROSS * column, down * row - 0.52, titles[place], **words)
        for row, name in enumerate(rows):
            axis.text(-0.6, down * row, name, ha="right", va="center", fontsize=9)
        bounded(axis, down * (count - 1), columns)
    return figure


def put(axis: Axes, image: ArrayLike, row: float, column: int, **style: Any) -> None:
    """An image around a place of a grid with columns `ACROSS` apart, its longer side 1, every pixel a sharp square.

    One axis for all images: one for each takes a hundredth of a second to make and another to draw.
    """
    height, width = np.shape(image)[:2]
    x, y = (0.5 * length / max(height, width) for length in (width, height))
    centre = ACROSS * column
    axis.imshow(image, extent=(centre - x, centre + x, row + y, row - y), interpolation="nearest", **style)


def bounded(axis: Axes, last_row: float, columns: int) -> None:
    """Let the axis end with the images that were put into it, and hide it."""
    axis.set(xlim=(-0.5, ACROSS * (columns - 1) + 0.5), ylim=(last_row + 0.5, -0.5), aspect="equal")
    axis.axis("off")


def framed(image: Pixels, frames: Mapping[str, tuple[int, int]], side: int, heading: str) -> Figure:
    """One image, enlarged, with the outlines of square crops: name to (row, column) of the upper left pixel."""
    with drawing(4.6, 3.4, heading=heading) as (figure, axis):
        axis.imshow(image, interpolation="nearest")
        axis.axis("off")
        for place, (name, (row, column)) in enumerate(frames.items()):
            colour = (*PALETTE, GREY)[place % 5]  # hues, which are known again where a dark page lightens the names
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=colour, linewidth=2))
            height, beside = 0.95 - 0.1 * place, {"xycoords": "axes fraction", "fontsize": 9}
            axis.annotate(name, (1.09, height), color=BLACK, **beside)
            axis.annotate("■", (1.08, height), ha="right", color=colour, **beside)
    return figure


def colour_shifts(image: Pixels, axes: ArrayLike, steps: Sequence[float]) -> list[Pixels]:
    """One uint8 image [H, W, 3] shifted along each colour axis (columns of [3, 3]), by so many times its length."""
    directions = np.asarray(axes, dtype=float).T
    shifted = [image + np.rint(step * axis) for axis in directions for step in steps]
    return [np.clip(pixels, 0, 255).astype(np.uint8) for pixels in shifted]


# ---- the network -----------------------------------------------------------------------------------------------------


def shares(table: pd.DataFrame) -> Drawn:
    """Each layer's share of the parameters and of the multiply-adds, from `anatomy.learned_layers`."""
    names, places = list(table["layer"]), np.arange(len(table))
    kinds = {"parameters": (VERMILION, -0.2), "multiply-adds": (BLUE, 0.2)}  # and where in a row their bars lie
    share = {kind: 100 * table[kind].to_numpy(dtype=float) / table[kind].sum() for kind in kinds}
    with drawing(7.5, 4.2) as (figure, axis):
        for kind, (colour, shift) in kinds.items():
            axis.barh(places + shift, share[kind], height=0.38, color=colour)
            for place, value in zip(places, share[kind], strict=True):
                label(axis, f"{value:.1f}", (value, place + shift), (3, 0), fontsize=8, va="center", color=colour)
            top = int(share[kind].argmax())
            bold = {"va": "center", "color": colour, "fontweight": "bold"}
            label(axis, kind, (share[kind][top], top + shift), (34, 0), fontsize=10, **bold)
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.set_xlim(0, max(values.max() for values in share.values()) * 1.25)
        axis.set(xlabel="share of the whole network (%)", title="Where are the weights, and where is the work?")
    weights, work = share["parameters"], share["multiply-adds"]
    convolutions = np.array([name.startswith("conv") for name in names])
    largest = int(weights.argmax())
    return figure, (
        f"Share of each layer in the parameters and in the multiply-adds. The convolutions hold "
        f"{weights[convolutions].sum():.1f}% of the parameters and do {work[convolutions].sum():.1f}% of the work; the "
        f"fully connected layers hold {weights[~convolutions].sum():.1f}% of the parameters, {names[largest]} alone "
        f"{weights[largest]:.1f}%."
    )


def towers(links: pd.DataFrame, table: pd.DataFrame) -> Drawn:
    """Both towers, layer by layer, and whose maps each sees, from `anatomy.tower_links` and `learned_layers`."""
    names, centres = list(table["layer"]), {1: 1.0, 2: 0.0}
    centred = {"ha": "center", "va": "center", "fontsize": 8}
    with drawing(9, 3.6, heading="Which layers see both towers?") as (figure, axis):
        axis.add_patch(Rectangle((-0.95, 0.3), 0.5, 0.4, facecolor="white", edgecolor=BLACK))
        axis.text(-0.7, 0.5, "image", **centred)
        for tower, height in centres.items():
            axis.plot([-0.45, -0.3], [0.5, height], color=GREY, linewidth=1)
            axis.text(-1.0, height, f"tower {tower}", ha="left", va="center", fontsize=9, fontweight="bold")
        for place, (name, output) in enumerate(zip(names, table["output"], strict=True)):
            whole = name == names[-1]
            for height in [0.5] if whole else centres.values():
                axis.add_patch(Rectangle((place - 0.3, height - 0.2), 0.6, 0.4, facecolor="#eef3f7", edgecolor=BLACK))
                channels = output[0] if whole else output[0] // 2
                size = f"\n{output[1]}×{output[2]}" if len(output) == 3 else ""
                axis.text(place, height, f"{channels}{size}", **centred)
            axis.text(place, 1.32, name, ha="center", fontsize=9, fontweight="bold")
        crossing = set()
        for name, to, source in links.loc[links["seen"], ["layer", "to", "from"]].itertuples(index=False):
            place, last = names.index(name), name == names[-1]
            crosses = source != to and not last
            crossing |= {name} if crosses else set()
            ends = [centres[source], 0.5 if last else centres[to]]
            colour, width = (VERMILION, 2) if crosses else (GREY, 1)
            axis.plot([place - 0.7, place - 0.3], ends, color=colour, linewidth=width)
        axis.set(xlim=(-1.05, len(names) - 0.6), ylim=(-0.35, 1.5))
        axis.axis("off")
    seeing = [name for name in names if name in crossing]
    apart = [name for name in names[1:-1] if name not in crossing]
    return figure, (
        f"Two rows of boxes, one a tower, with the maps of each layer. Lines cross between the towers before "
        f"{', '.join(seeing)} only; {', '.join(apart)} see their own tower. The scores of {names[-1]} come from both."
    )


# ---- what layers compute ---------------------------------------------------------------------------------------------


def activations(
    inputs: ArrayLike,  # [points] what a unit adds up to
    outputs: Mapping[str, ArrayLike],  # arm: [points]
    slopes: Mapping[str, ArrayLike],  # arm: [points]
    flat_slope: float = 0.1,  # a slope below this counts as flat
) -> Drawn:
    """Output and slope of each activation, side by side."""
    inputs, styles = np.asarray(inputs), arm_styles(outputs)
    with drawing(8.2, 3.4, 1, 2, heading="Where is each activation flat?") as (figure, axes):
        for axis, curves, name in zip(axes, (outputs, slopes), ("output", "slope"), strict=True):
            for arm, values in curves.items():
                values, (colour, line) = np.asarray(values), styles[arm]
                axis.plot(inputs, values, color=colour, linestyle=line, linewidth=2.2)
                end = (inputs[-1], float(values[-1]))
                label(axis, arm_name(arm), end, (4, 0), fontsize=None, color=colour, va="center")
            axis.set(xlabel="input of the unit", ylabel=name)
            axis.axvline(0, color=GREY, linewidth=0.6)
    shares = {arm: float(np.mean(np.asarray(slope) < flat_slope)) for arm, slope in slopes.items()}
    said = ", ".join(f"{arm_name(arm)} on {share:.0%}" for arm, share in shares.items())
    alt = (
        f"Output and slope of each activation. For inputs from {inputs.min():g} to {inputs.max():g}, the slope is below"
    )
    return figure, f"{alt} {flat_slope:g}: {said}."


def signal_table(found: Mapping[tuple[str, str, str], Sequence[Signal]]) -> pd.DataFrame:
    """A row a condition, arm, time ("before" or "after" training) and layer: standard deviations of input and gradient,
    share of flat units."""
    columns = ["condition", "activation", "when", "layer", "input", "gradient", "flat units"]
    rows = [
        (condition, arm, when, place, signal.input, signal.gradient, signal.flat)
        for (condition, arm, when), signals in found.items()
        for place, signal in enumerate(signals, start=1)
    ]
    return pd.DataFrame(rows, columns=columns)


def signal_panels(table: pd.DataFrame, title: str) -> Drawn:
    """The signals of `signal_table` along the layers: a row of panels a condition, a line an activation and time.

    Values are drawn with two digits, so that the figure is the same on every machine. Raises `NothingToDraw` without
    signals.
    """
    needed(len(table), "There are no signals to draw; `make runs` makes the missing records.")
    styles, conditions = arm_styles(table["activation"].unique()), list(table["condition"].unique())
    size, said = (9.0, 1.3 + 2.1 * len(conditions)), []
    with drawing(*size, len(conditions), 3, heading=title, squeeze=False, sharex=True, sharey="col") as (figure, axes):
        for key, rows in table.groupby(["condition", "activation", "when"], sort=False):
            condition, arm, when = map(str, key)
            name = f"{arm_name(arm)} {when} training"
            row = axes[conditions.index(condition)]
            row[0].set_ylabel(condition, fontweight="bold")
            spans = [
                _signal_line(axis, rows, column, styles[arm], name) for axis, column in zip(row, SIGNALS, strict=True)
            ]
            said.append(f"{condition}, {name}: {', '.join(spans)}")
        for axis, (words, _) in zip(axes[0], SIGNALS.values(), strict=True):
            axis.set_title(words, fontsize=9.5, fontweight="normal")
        for axis in axes[-1]:
            axis.set_xlabel("layer")
        for axis in axes[0, :2]:
            axis.set_yscale("log")
        axes[0, 2].set_ylim(-0.04, 1.04)
        axes[0, 2].yaxis.set_major_formatter(PercentFormatter(1))
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure, f"Signals along the layers, smallest to largest. {'; '.join(said)}."


def _signal_line(axis: Axes, rows: pd.DataFrame, column: str, style: tuple[str, str], name: str) -> str:
    """One line of a panel, thin and with hollow dots before training; what the alt text says of it."""
    colour, line = style
    early = "before" in name
    values = rows[column].map(lambda value: float(f"{value:.2g}"))
    dots: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "white" if early else colour}
    axis.plot(rows["layer"], values, color=colour, linestyle=line, linewidth=1.2 if early else 2.2, label=name, **dots)
    axis.set_xticks(rows["layer"])
    written = SIGNALS[column][1]
    return f"{column} {values.min():{written}} to {values.max():{written}}"


def norm_at_work(activities: ArrayLike, normalised: ArrayLike) -> Drawn:
    """One pixel through local response normalisation: activities [maps] before, and the share of each that is kept."""
    before = np.asarray(activities, dtype=float)
    kept = np.asarray(normalised, dtype=float) / before
    maps = np.arange(1, len(before) + 1)
    with drawing(7.5, 4.2, 2, 1, sharex=True) as (figure, (upper, lower)):
        upper.bar(maps, before, color=GREY)
        upper.set(ylabel="activity before", title="What does one strong response do to its neighbours?")
        lower.bar(maps, kept, color=BLUE)
        lower.set(ylabel="share kept", xlabel="map", xticks=maps, ylim=(0, kept.max() * 1.2))
        for place, value in enumerate(kept, start=1):
            label(lower, f"{value:.2f}", (place, value), (0, 2), fontsize=7.5, ha="center", color=BLUE)
    strongest = int(before.argmax())
    near = kept[max(0, strongest - 2) : strongest + 3]
    return figure, (
        f"Bars of the activities of {len(before)} maps at one pixel, and below them the share that normalisation "
        f"keeps. Map {strongest + 1} responds strongly; it and its two neighbours on either side keep {near.max():.2f} "
        f"or less, the others up to {kept.max():.2f}."
    )


def norm_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], ceiling: float, half: Mapping[str, float]) -> Drawn:
    """Share kept against the activity of a window of equal neighbours, one curve a convention.

    `curves` maps a convention to (activities, shares); `ceiling` is the share kept of a vanishing activity; `half` maps
    a convention to the activity at which half of that is left.
    """
    styles = (  # of the curves, and of the labels at their halves
        (BLUE, "solid", (-8, -4), {"ha": "right", "va": "top"}),
        (VERMILION, "dashed", (8, 4), {"ha": "left", "va": "bottom"}),
    )
    with drawing(7.5, 4.0) as (figure, axis):
        axis.axhline(ceiling, color=GREY, linewidth=1)
        label(axis, f"{ceiling:.2f}", (1, ceiling), (4, 3), color=GREY)
        for (name, (activity, share)), (colour, line, offset, side) in zip(curves.items(), styles, strict=False):
            axis.plot(activity, share, color=colour, linestyle=line, linewidth=2.2)
            axis.plot([half[name]], [ceiling / 2], "o", color=colour)
            said = f"{name}: half at {half[name]:.0f}"
            label(axis, said, (half[name], ceiling / 2), offset, fontsize=10, color=colour, fontweight="bold", **side)
        axis.set_xlabel("activity of a unit and of all its neighbours in the window (logarithmic)")
        axis.set(xscale="log", ylim=(0, ceiling * 1.15), ylabel="share kept")
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
    places = np.arange(len(table))
    with drawing(8.5, 4.6) as (figure, axis):
        for (name, values), (colour, line) in zip(table.items(), styles, strict=False):
            axis.plot(places, values, color=colour, linestyle=line, marker="o", markersize=4, linewidth=2)
            end = (len(table) - 1, float(values.iloc[-1]))
            bold = {"va": "center", "color": colour, "fontweight": "bold", "annotation_clip": False}
            label(axis, f"{name}: {end[1]:.2g}", end, (8, 0), **bold)
        axis.set_yscale("log")
        axis.set_xticks(places, list(table.index))
        axis.set_ylabel("differences between images (logarithmic)")
        axis.set_title("How much of the image reaches the scores, before any training?")
    said = "; ".join(f"{name}: {value:.2g}" for name, value in table.iloc[-1].sort_values().items())
    return figure, (
        f"Standard deviation over images of what each layer of an untrained network puts out, on a logarithmic axis. "
        f"At {table.index[-1]} it is, from the smallest: {said}."
    )
