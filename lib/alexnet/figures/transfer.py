"""Figures of transfer from ImageNet; conventions in `alexnet.figures.base`."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..errors import NothingToDraw
from ..experiments.published_results import Accuracy
from ..records.record import RunRecord
from .base import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILION, Drawn, themed

STYLES = {
    "linear probe": (BLUE, "dashed", "s"),
    "new classifier": (BLUE, "solid", "o"),
    "fine-tuning": (GREEN, "solid", "D"),
    "random start": (VERMILION, "solid", "^"),
}
MISSING = "There is no transfer run to draw; `make runs CLAIM=transfer` makes the missing ones."


def style(name: str) -> tuple[str, str, str]:
    """Colour, line and marker of an approach."""
    return STYLES.get(name, (PURPLE, "dotted", "v"))


def against_images(
    curves: Mapping[str, Mapping[int, Accuracy]],  # approach -> number of labelled images -> test accuracy
    published: float,  # percent, a line across
    published_name: str,
    title: str = "Where does transfer matter most?",
) -> Drawn:
    """Test accuracy against labelled images, with intervals, one line an approach. Raises `NothingToDraw`."""
    drawn = {name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}
    if not drawn:
        raise NothingToDraw(MISSING)
    sizes = sorted({size for curve in drawn.values() for size in curve})
    with themed():
        figure = Figure(figsize=(8.0, 4.8), layout="constrained")
        axis = figure.subplots()
        axis.axhline(published, color=GREY, linewidth=1, linestyle="dotted", zorder=0)
        axis.annotate(
            f"{published:g}%, {published_name}", (0, published), (4, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=GREY, fontsize=8,
        )  # fmt: skip
        for place, (name, curve) in enumerate(drawn.items()):
            colour, line, marker = style(name)
            means = np.array([value.mean for value in curve.values()])
            low, high = np.array([value.interval for value in curve.values()]).T
            shifted = np.array(list(curve)) * 1.03 ** (place - (len(drawn) - 1) / 2)  # so that intervals do not hide
            axis.errorbar(
                shifted, means, [means - low.clip(0), high.clip(max=100) - means], color=colour, linestyle=line,
                marker=marker, markersize=5, capsize=3, elinewidth=1, label=name,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_xlabel("labelled images (logarithmic)")
        axis.set_ylabel("test accuracy (%)")
        axis.set_ylim(0, 100)
        axis.set_title(title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    said = [
        f"{name} from {next(iter(curve.values())).mean:.1f}% with {next(iter(curve)):,} to "
        f"{next(reversed(curve.values())).mean:.1f}% with {next(reversed(curve)):,}"
        for name, curve in drawn.items()
    ]
    return figure, f"Test accuracy against the number of labelled images, with 95% intervals. {'; '.join(said)}."


def epochs(
    found: Mapping[str, Sequence[RunRecord]],
    unfrozen: Mapping[str, Sequence[int]],  # approach -> epochs after which more layers are trained
    title: str = "How fast does each approach learn?",
) -> Drawn:
    """Validation accuracy against epochs, one line a run. Raises `NothingToDraw` without records."""
    drawn = {name: records for name, records in found.items() if records}
    if not drawn:
        raise NothingToDraw(MISSING)
    said = []
    with themed():
        figure = Figure(figsize=(8.0, 4.4), layout="constrained")
        axis = figure.subplots()
        for name, records in drawn.items():
            colour, line, marker = style(name)
            for seed, record in enumerate(records):
                values = 100 * (1 - np.array([epoch.valid_error for epoch in record.history]))
                steps = np.arange(1, len(values) + 1)
                axis.plot(steps, values, color=colour, linestyle=line, marker=marker, markersize=4, linewidth=1.4,
                          label=None if seed else name)  # fmt: skip
                for after in unfrozen.get(name, ()) if not seed else ():
                    if after < len(values):
                        axis.annotate(
                            "unfrozen", (after, values[after - 1]), (0, -44), textcoords="offset points", ha="center",
                            fontsize=8, color=BLACK, arrowprops={"arrowstyle": "-", "color": GREY},
                        )  # fmt: skip
            first, last = (np.mean([100 * (1 - r.history[end].valid_error) for r in records]) for end in (0, -1))
            said.append(f"{name} from {first:.1f}% to {last:.1f}% in {len(records[0].history)} epochs")
        axis.set_xlim(0, None)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("epochs")
        axis.set_ylabel("validation accuracy (%)")
        axis.set_title(title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, f"Validation accuracy against epochs, means: {'; '.join(said)}."
