"""What the notebook on transfer shows, a function a cell; runs without a record are named with their command."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..experiments import transfer
from ..experiments.transfer import ALL, CLASSIFIER, RANDOM, SHORT
from ..figures import tables
from ..figures.base import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILION, Drawn, drawing, label, needed
from ..figures.curves import along, over_epochs, whole_epochs
from ..figures.display import show_if_any
from ..figures.tables import counted, listed, say
from ..networks.anatomy import layers
from ..paper.claims import published
from ..records.record import RunRecord
from ..runs.planning import Runs
from ..statistics.accuracy import Accuracy, accuracy
from . import published_report

ROW = "cifar-transfer"
REFERENCES = ("cifar-upscaled-scratch", "cifar-finetuned-2015", "cifar-finetuned")  # what others published
COMMAND = "make runs CLAIM=transfer"
MISSING = f"There is no transfer run to draw; `{COMMAND}` makes the missing ones."
STYLES = {  # colour, line and marker of an approach
    "linear probe": (BLUE, "dashed", "s"),
    "new classifier": (BLUE, "solid", "o"),
    "fine-tuning": (GREEN, "solid", "D"),
    RANDOM: (VERMILION, "solid", "^"),
    SHORT: (VERMILION, "dotted", "v"),
}
OTHERS = (PURPLE, "dotted", "v")


# ---- cells -----------------------------------------------------------------------------------------------------------


def answer(runs: Runs) -> None:
    """What transfer reaches with the fewest labelled images and with the most, and what that is worth; first of all."""
    curves = transfer.curves(runs)
    found = {name: curve for name, curve in curves.items() if name not in (RANDOM, SHORT)}
    sizes = sorted({size for curve in found.values() for size in curve})
    if not sizes:
        return
    said = []
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        reached = listed(f"{name} {curve[size].text}" for name, curve in found.items() if size in curve)
        said.append(f"with {size:,} labelled images {reached}")
    start = transfer.start_curve(runs)
    least = f"A random start of as many steps has {start[min(start)].text} with {min(start):,}." if start else (
        "What that is worth in labelled images waits for random starts of as many steps."
    )  # fmt: skip
    say(f"**From ImageNet's layers**, on the test set: {'; '.join(said)}. {least}")
    few = " The first runs of a random start, dotted, made fewer steps and are not to be compared." * (SHORT in curves)
    say(f"**The doubt.** CIFAR-10's images show the same kinds of things as ImageNet's, and may be among them.{few}")
    show_if_any(draw_against_images, curves, published()[ROW].headline.value, "a published training without ImageNet")


def state(profile: str, runs: Runs) -> None:
    """How many of the runs have their records, and what makes the others."""
    lacking = transfer.missing(runs)
    if not transfer.approaches(profile):
        say("*This profile has no transfer runs: computing the features alone takes longer than it has.*")
    elif not lacking:
        say(f"All {len(runs)} runs have their records.")
    else:
        command = COMMAND if profile == "cpu" else f"{COMMAND} PROFILE={profile}"
        say(
            f"*{lacking} of the {len(runs)} runs that can be named now wait for their records:* `{command}` makes "
            "them. The runs that count are named once their learning rate is chosen."
        )


def sources(runs: Runs) -> None:
    """Where the weights come from, what they have to be, and which weights the records used."""
    tables.show(transfer.sources(), "Sources of ImageNet's weights, asked in this order")
    tables.show(transfer.pinned(), "What each of them has to give")
    used = [record for _, record in runs if record is not None and record.spec.transfer is not None]
    if used:
        strange = transfer.foreign(runs)
        which = f"{len(used) - len(strange)} of {len(used)} records" if strange else f"All {len(used)} records"
        say(f"{which} of runs that start from ImageNet were made with these weights, by the hash in each record.")


def network() -> None:
    """The network of the fine-tuned approaches, layer by layer."""
    table = layers(CLASSIFIER.net, CLASSIFIER.side)
    said = f"torchvision's convolutional layers and a new classifier: {table['parameters'].sum():,} parameters"
    tables.show(table, said, published_report.LAYERS)


def _table(table: pd.DataFrame, caption: str) -> bool:
    """Show a table if it has rows; whether it had."""
    if len(table):
        tables.show(table, caption)
    return len(table) > 0


def approaches(profile: str) -> None:
    """What each approach starts from, and how much of it is run."""
    _table(transfer.described(profile), "Approaches (batches, epochs and seeds for each number of images)")


def rates(runs: Runs) -> None:
    """The learning rates that were tried, and where a better one may lie beyond them."""
    _table(transfer.rates(runs), "Validation accuracy by learning rate, of a seed that does not count")
    if edges := transfer.at_the_edge(runs):
        say(f"The best rate is the first or last of its row for {'; '.join(edges)}: beyond it may lie a better one.")


def overview(runs: Runs) -> None:
    """All labelled images: every approach, and whether the published figure is reached."""
    caption = f"With all {ALL:,} labelled images of the training split; minutes of epochs, without those of computing "
    if not _table(transfer.overview(runs), f"{caption}frozen layers' features once"):
        published_report.not_run(COMMAND)
    elif found := transfer.best(runs):
        (name, value), row = found, published()[ROW].headline
        say(
            f"The approach with the best validation accuracy is **{name}**: {value.text} on the test set. The "
            f"published row has {row.value:g}%, on {row.measured_on}.{_before(runs, name)}"
        )


def _before(runs: Runs, name: str) -> str:
    """What the first plan's runs of an approach had, which were known when its plan was changed; or nothing."""
    records = transfer.by_size(runs, "replaced").get(name, {}).get(ALL, [])
    value = accuracy(records) if records else None
    if value is None:
        return ""
    epochs = counted(records[0].final.epochs, "epoch")
    return f" Its first plan, of {epochs}, had {value.mean:.2f}%; that was known when it was changed, as told below."


def replaced(runs: Runs) -> None:
    """The runs that the first plan had, which do not count, beside those that took their place."""
    caption = "Runs of the first plan, which do not count, and those in their place"
    if not _table(transfer.replaced(runs), caption):
        say("No run was replaced by another.")


def published_row() -> None:
    """What the published row of that name did, and what others published for true transfer."""
    row = published()[ROW]
    said = "; ".join(row.flaws)
    say(f"**{row.title}** ({row.protocol}). {said[0].upper()}{said[1:]}.")
    known = {anchor.id: anchor for anchor in published().anchor}
    others = [known[name] for name in REFERENCES]
    lines = [(f"{row.title}: {one.split}", f"{one.value:g}%", one.measured_on, False) for one in row.figures]
    lines += [(one.title, f"{one.figures['top-1']:g}%", one.protocol, "ImageNet" in one.title) for one in others]
    table = pd.DataFrame(lines, columns=["figure", "accuracy", "measured on", "ImageNet's weights"])
    tables.show(table, "Published by others")


def against_images(runs: Runs) -> None:
    """The accuracies against labelled images in numbers."""
    if transfer.curves(runs):
        over = "where n = 1 the interval is over test images, else over seeds"
        tables.show(transfer.grid(runs), f"Test accuracy by number of labelled images; {over}")
    cells = transfer.by_size(runs)
    for (name, size), count in transfer.diverged(runs).items():
        say(
            f"With {size:,} labelled images {count} of {len(cells[name][size])} runs of the approach *{name}* diverged "
            "at the chosen rate. They are in the mean with the accuracy they were left with."
        )


def worth(runs: Runs) -> None:
    """What transfer is worth in labelled images."""
    if not transfer.by_size(runs):
        published_report.not_run(COMMAND)
    _table(transfer.worth(runs), "How many labelled images does transfer stand for?")
    fewer, first = (listed(f"{size:,}" for size in sizes) for sizes in transfer.waiting(runs))
    (tried,) = (approach.grid_sizes[-1] for approach in transfer.approaches("cpu") if approach.name == SHORT)
    steps = "as many steps as the frozen approaches"
    said = f"With {fewer} images no random start has made {steps} yet. " if fewer else ""
    if first:
        said += f"With {first} images the random start that made {steps} did so at a rate chosen with {tried:,}. "
    if said:
        say(f"{said}A random start is not compared there; `{COMMAND}` makes the missing runs.")


def epochs(profile: str, runs: Runs, size: int = ALL) -> None:
    """Validation accuracy by epoch with all labelled images."""
    specs = {approach.name: approach.spec for approach in transfer.approaches(profile)}
    unfrozen = {name: spec.transfer.unfreeze for name, spec in specs.items() if spec.transfer is not None}
    cells = transfer.by_size(runs)
    show_if_any(draw_epochs, {name: sizes.get(size, []) for name, sizes in cells.items()}, unfrozen)


def play(runs: Runs, images: int) -> None:
    """What each approach is expected to reach with so many labelled images, and what a random start would need."""
    found = transfer.curves(runs)
    if not found:
        published_report.not_run(COMMAND)
        return
    start, lines = transfer.start_curve(runs), []
    for name, curve in found.items():
        value = transfer.at(curve, images)
        compared = start if name not in (RANDOM, SHORT) else {}
        needs = transfer.images_needed(compared, value)[1] if compared and value is not None else None
        lines.append((name, value, needs))
    if all(value is None for _, value, _ in lines):
        sizes = [size for curve in found.values() for size in curve]
        say(f"Nothing was measured near {images:,} images; choose a number from {min(sizes):,} to {max(sizes):,}.")
        return
    table = pd.DataFrame(lines, columns=["approach", "accuracy", "a random start needs"])
    table = table.sort_values("accuracy", ascending=False, na_position="last")
    table["accuracy"] = [None if np.isnan(value) else f"{value:.1f}%" for value in table["accuracy"].astype(float)]
    tables.show(table, f"Expected with {images:,} labelled images, between the sizes that were measured")


# ---- figures ---------------------------------------------------------------------------------------------------------


def draw_against_images(
    curves: Mapping[str, Mapping[int, Accuracy]],  # approach -> number of labelled images -> test accuracy
    published: float,  # percent, a line across
    published_name: str,
    title: str = "Where does transfer matter most?",
) -> Drawn:
    """Test accuracy against labelled images, with intervals, one line an approach. Raises `NothingToDraw`."""
    drawn = needed({name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}, MISSING)
    sizes = sorted({size for curve in drawn.values() for size in curve})
    said = []
    with drawing(8.0, 4.8) as (figure, axis):
        axis.axhline(published, color=GREY, linewidth=1, linestyle="dotted", zorder=0)
        left = {"xycoords": ("axes fraction", "data"), "color": GREY}
        label(axis, f"{published:g}%, {published_name}", (0, published), (4, 3), fontsize=8, **left)
        for place, (name, curve) in enumerate(drawn.items()):
            colour, line, marker = STYLES.get(name, OTHERS)
            means = np.array([value.mean for value in curve.values()])
            low, high = np.array([value.interval for value in curve.values()]).T
            shifted = np.array(list(curve)) * 1.03 ** (place - (len(drawn) - 1) / 2)  # so that intervals do not hide
            arms = [means - low.clip(0), high.clip(max=100) - means]
            style = {"linestyle": line, "marker": marker, "markersize": 5, "capsize": 3, "elinewidth": 1}
            axis.errorbar(shifted, means, arms, color=colour, label=name, **style)
            fewest, most = min(curve), max(curve)
            said.append(f"{name} from {means[0]:.1f}% with {fewest:,} to {means[-1]:.1f}% with {most:,}")
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set(xlabel="labelled images (logarithmic)", ylabel="test accuracy (%)", ylim=(0, 100), title=title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, f"Test accuracy against the number of labelled images, with 95% intervals. {'; '.join(said)}."


def draw_epochs(
    found: Mapping[str, Sequence[RunRecord]],
    unfrozen: Mapping[str, Sequence[int]],  # approach -> epochs after which more layers are trained
    title: str = "How fast does each approach learn?",
) -> Drawn:
    """Validation accuracy against epochs, one line a run. Raises `NothingToDraw` without records."""
    drawn = needed({name: records for name, records in found.items() if records}, MISSING)
    said = []
    with drawing(8.0, 4.4) as (figure, axis):
        for name, records in drawn.items():
            colour, line, marker = STYLES.get(name, OTHERS)
            curves = [100 * (1 - along(record, lambda epoch: epoch.valid_error)) for record in records]
            for seed, curve in enumerate(curves):
                style = {"marker": marker, "markersize": 4, "linewidth": 1.4, "label": None if seed else name}
                over_epochs(axis, curve, color=colour, linestyle=line, **style)
            for after in unfrozen.get(name, ()):
                if after < len(curves[0]):
                    below = {"ha": "center", "color": BLACK, "arrowprops": {"arrowstyle": "-", "color": GREY}}
                    label(axis, "unfrozen", (after, curves[0][after - 1]), (0, -44), fontsize=8, **below)
            first, last = (np.mean([curve[end] for curve in curves]) for end in (0, -1))
            said.append(f"{name} from {first:.1f}% to {last:.1f}% in {len(curves[0])} epochs")
        whole_epochs(axis)
        axis.set(xlim=(0, None), xlabel="epochs", ylabel="validation accuracy (%)", title=title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, f"Validation accuracy against epochs, means: {'; '.join(said)}."
