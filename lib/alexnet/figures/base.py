"""The convention of all figures: a theme, colours, and the few things that every drawing repeats.

A figure is a function that answers one question and returns (figure, alt text); show both with
`alexnet.figures.display.show`. The alt text states what the figure shows in numbers computed from what is drawn.
Figures are matplotlib `Figure`s of their own, so that drawing one changes no global state.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import matplotlib
import seaborn
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..errors import NothingToDraw

# Okabe and Ito's colour-blind safe hues, dark enough to be read as text on white (contrast of at least 4.5)
BLUE, VERMILION, GREEN, PURPLE, GREY, BLACK = "#0067a6", "#b84a00", "#00785a", "#9a3d77", "#5f5f5f", "#1a1a1a"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE)

NAMES = {"relu": "ReLU", "tanh": "tanh"}  # arms as they are written
LINES = ("solid", "dashed", "dashdot", "dotted")
# Each arm's colour and line in every figure: those of ReLU in the paper's figure 1 for what the paper has or expects to
# do better, those of tanh for what it is compared with.
ARMS = {
    **dict.fromkeys(("relu", "with", "full", "two-towers", "overlapping", "ones", "drops"), (BLUE, "solid")),
    **dict.fromkeys(("ten-crop", "trained", "towers", "features", "network"), (BLUE, "solid")),
    **dict.fromkeys(("tanh", "without", "one-tower", "plain", "zeros", "constant"), (VERMILION, "dashed")),
    **dict.fromkeys(("one-crop", "guessing", "untrained", "random-halves", "one-half"), (VERMILION, "dashed")),
}
TITLED = {"biases of one": "ones", "biases of zero": "zeros"}  # the arm that a start is of, by words of its title
# As on the pages (style.css), where each label has a sign as well; told apart with every kind of colour vision.
VERDICT_COLOURS: dict[str, str] = {
    "reproduced": "#00694f",
    "weaker than claimed": "#5a2382",
    "direction reproduced": "#1a6fbf",
    "contradicted": "#8f1d00",
    "no effect of that size": "#14181d",
    "inconclusive": "#846400",
    "not tested": "#666d76",
}
MISSING = "There is no record to draw; `make runs` makes the missing ones."

Drawn = tuple[Figure, str]
Found = TypeVar("Found")


def theme() -> dict[Any, Any]:
    """Seaborn's settings for all figures, as matplotlib parameters."""
    settings = seaborn.axes_style("ticks") | seaborn.plotting_context("notebook", font_scale=0.9)
    return settings | {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that figures look the same everywhere
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": BLACK,
        "text.color": BLACK,
        "xtick.color": BLACK,
        "ytick.color": BLACK,
        "svg.fonttype": "path",
        "svg.hashsalt": "alexnet",  # the same picture gives the same bytes
    }


@contextmanager
def themed() -> Iterator[None]:
    """Draw and save with the theme on matplotlib's defaults, whatever the user's own files say, and leave the global
    settings as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(theme())
        yield


@contextmanager
def drawing(
    width: float,  # inches
    height: float,
    rows: int = 1,
    columns: int = 1,
    heading: str = "",  # of the whole figure; one of a single axis has its title there
    tight: bool = False,  # hardly any room between panels
    **subplots: Any,
) -> Iterator[tuple[Figure, Any]]:
    """A new figure in the theme and its axes, as `Figure.subplots` gives them."""
    with themed():
        close = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        figure = Figure(figsize=(width, height), layout=close if tight else "constrained")
        axes = figure.subplots(rows, columns, **subplots)
        if heading:
            figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
        yield figure, axes


def label(axis: Axes, text: str, at: tuple[float, float], offset: tuple[float, float] = (0, 0), **style: Any) -> None:
    """Words beside a point: at its coordinates (of the data, or `xycoords`), moved by some points."""
    axis.annotate(text, at, offset, textcoords="offset points", **{"fontsize": 9} | style)


def needed(found: Found, otherwise: str = MISSING) -> Found:
    """What is to be drawn. Raises `NothingToDraw` when it is empty."""
    if not found:
        raise NothingToDraw(otherwise)
    return found


def arm_styles(arms: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and line of each arm of a figure, given by its name or by a title that tells of it.

    An arm of `ARMS` has the same colour everywhere, another one that of its place; arms of one colour differ in line.
    """
    styles: dict[str, tuple[str, str]] = {}
    for place, arm in enumerate(arms):
        known = next((name for words, name in TITLED.items() if words in arm), arm)
        colour, line = ARMS.get(known, (PALETTE[place % 4], LINES[place % 4]))
        unused = [one for one in (line, *LINES) if (colour, one) not in styles.values()]
        styles[arm] = (colour, [*unused, line][0])
    return styles


def arm_name(arm: str) -> str:
    """An arm as it is written in figures and sentences."""
    return NAMES.get(arm, arm.replace("-", " "))
