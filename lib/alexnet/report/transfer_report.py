"""What the notebook on transfer shows, a function a cell; runs without a record are named with their command."""

import math

import pandas as pd

from ..experiments import transfer_results
from ..experiments.published_results import Accuracy
from ..experiments.transfer import ALL, CLASSIFIER
from ..experiments.transfer_results import RANDOM, Runs
from ..figures import tables, transfer
from ..figures.display import show_if_any
from ..figures.tables import say
from ..paper.claims import published
from . import published_report

ROW = "cifar-transfer"
REFERENCES = ("cifar-upscaled-scratch", "cifar-finetuned-2015", "cifar-finetuned")  # what others published
COMMAND = "make runs CLAIM=transfer"


def state(profile: str, runs: Runs) -> None:
    """How many of the runs have their records, and what makes the others."""
    if not transfer_results.approaches(profile):
        say("*This profile has no transfer runs: computing the features alone takes longer than it has.*")
        return
    lacking = transfer_results.missing(runs)
    if not lacking:
        say(f"All {len(runs)} runs have their records.")
        return
    command = COMMAND if profile == "cpu" else f"{COMMAND} PROFILE={profile}"
    say(
        f"*{lacking} of the {len(runs)} runs that can be named now wait for their records:* `{command}` makes them. "
        "The runs that count are named once their learning rate is chosen."
    )


def sources(runs: Runs) -> None:
    """Where the weights come from, what they have to be, and which weights the records used."""
    tables.show(transfer_results.sources(), "Sources of ImageNet's weights, asked in this order")
    tables.show(transfer_results.pinned(), "What each of them has to give")
    used = [record for _, record in runs if record is not None and record.spec.transfer is not None]
    if used:
        strange = transfer_results.foreign(runs)
        which = f"{len(used) - len(strange)} of {len(used)} records" if strange else f"All {len(used)} records"
        say(f"{which} of runs that start from ImageNet were made with these weights, by the hash in each record.")


def network() -> None:
    """The network of the fine-tuned approaches, layer by layer."""
    table = published_report.layers(CLASSIFIER)
    total = int(table["parameters"].sum())
    formats = {"neurons": ",d", "parameters": ",d", "multiply-adds": ",d"}
    tables.show(table, f"torchvision's convolutional layers and a new classifier: {total:,} parameters", formats)


def approaches(profile: str) -> None:
    """What each approach starts from, and how much of it is run."""
    table = transfer_results.described(profile)
    if len(table):
        tables.show(table, "Approaches (epochs and seeds for each number of images)")


def rates(runs: Runs) -> None:
    """The learning rates that were tried, and where a better one may lie beyond them."""
    table = transfer_results.rates(runs)
    if len(table):
        tables.show(table, "Validation accuracy by learning rate, of a seed that does not count")
    edges = transfer_results.at_the_edge(runs)
    if edges:
        say(f"The best rate is the first or last of its row for {'; '.join(edges)}: beyond it may lie a better one.")


def overview(runs: Runs) -> None:
    """All labelled images: every approach, and whether the published figure is reached."""
    table = transfer_results.overview(runs)
    if not len(table):
        published_report.not_run(COMMAND)
        return
    tables.show(table, f"With all {ALL:,} labelled images of the training split")
    found = transfer_results.best(runs)
    row = published()[ROW]
    if found is not None:
        name, value = found
        above = value.mean > row.headline.value
        say(
            f"The approach with the best validation accuracy is **{name}**: {value.text} on the test set, "
            f"{'above' if above else 'not above'} the {row.headline.value:g}% of the published row."
        )


def replaced(runs: Runs) -> None:
    """The runs that the first plan had, which do not count, beside those that took their place."""
    table = transfer_results.replaced(runs)
    if not len(table):
        say("No run was replaced by another.")
        return
    tables.show(table, "Runs of the first plan, which do not count, and those in their place")


def published_row() -> None:
    """What the published row of that name did, and what others published for true transfer."""
    row = published()[ROW]
    said = "; ".join(row.flaws)
    say(f"**{row.title}** ({row.protocol}). {said[0].upper()}{said[1:]}.")
    known = {anchor.id: anchor for anchor in published().anchor}
    table = pd.DataFrame(
        [{"figure": f"{row.title}: {figure.split}", "accuracy": f"{figure.value:g}%", "measured on": figure.measured_on,
          "ImageNet's weights": False} for figure in row.figures]
        + [{"figure": known[name].title, "accuracy": f"{known[name].figures[0].value:g}%",
            "measured on": known[name].protocol, "ImageNet's weights": "ImageNet" in known[name].title}
           for name in REFERENCES]
    )  # fmt: skip
    tables.show(table, "Published by others")


def against_images(runs: Runs) -> None:
    """The curves of accuracy against labelled images, and their numbers."""
    found = transfer_results.curves(runs)
    row = published()[ROW]
    show_if_any(transfer.against_images, found, row.headline.value, f"{ROW} as published, without ImageNet")
    if found:
        tables.show(transfer_results.grid(runs), "Test accuracy by number of labelled images")
    for (name, size), count in transfer_results.diverged(runs).items():
        total = len(transfer_results.by_size(runs)[name][size])
        say(
            f"With {size:,} labelled images {count} of {total} runs of the approach *{name}* diverged at the chosen "
            "rate. They are in the mean with the accuracy they were left with."
        )


def worth(runs: Runs) -> None:
    """What transfer is worth in labelled images."""
    table = transfer_results.worth(runs)
    if not len(table):
        published_report.not_run(COMMAND)
        return
    tables.show(table, "How many labelled images does transfer stand for?")


def epochs(profile: str, runs: Runs, size: int = ALL) -> None:
    """Validation accuracy by epoch with all labelled images."""
    cells = transfer_results.by_size(runs)
    unfrozen = {
        approach.name: approach.spec.transfer.unfreeze
        for approach in transfer_results.approaches(profile)
        if approach.spec.transfer is not None
    }
    show_if_any(transfer.epochs, {name: sizes.get(size, []) for name, sizes in cells.items()}, unfrozen)


def play(runs: Runs, images: int) -> None:
    """What each approach is expected to reach with so many labelled images, and what a random start would need."""
    found = transfer_results.curves(runs)
    if not found:
        published_report.not_run(COMMAND)
        return
    start = found.get(RANDOM, {})
    lines = [_expected(name, curve, images, {} if name == RANDOM else start) for name, curve in found.items()]
    known = [line for line in lines if line["accuracy"] is not None]
    if not known:
        sizes = [size for curve in found.values() for size in curve]
        say(f"Nothing was measured near {images:,} images; choose a number from {min(sizes):,} to {max(sizes):,}.")
        return
    table = pd.DataFrame(lines).sort_values("accuracy", ascending=False, na_position="last")
    table["accuracy"] = [None if math.isnan(value) else f"{value:.1f}%" for value in table["accuracy"].astype(float)]
    tables.show(table, f"Expected with {images:,} labelled images, between the sizes that were measured")


def _expected(name: str, curve: dict[int, Accuracy], images: int, start: dict[int, Accuracy]) -> dict[str, object]:
    value = transfer_results.at(curve, images)
    needs = transfer_results.images_needed(start, value)[1] if value is not None and start else None
    return {"approach": name, "accuracy": value, "a random start needs": needs}
