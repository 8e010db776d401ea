"""Figures of the published reimplementations beside our runs; conventions in `alexnet.figures.base`."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import NothingToDraw
from ..experiments.published_results import labelled
from ..paper.claims import Log
from ..records.record import Epoch, RunRecord
from ..records.store import Store
from ..training import batches
from .base import BLUE, GREEN, GREY, PALETTE, VERMILION, Drawn, themed
from .diagrams import Pixels, gallery
from .learned import feature_maps

SHOWN = 20  # images of a grid of predictions
MISSING = "There is no record to draw; `make runs` makes the missing ones."


def training_curves(record: RunRecord, title: str, log: Log | None = None) -> Drawn:
    """Loss and accuracy against epochs on training, validation and, where it was written down, test images.

    The published log, if there is one, lies under them in grey.
    """
    epochs = np.arange(1, len(record.history) + 1)
    lines: list[tuple[str, str, Callable[[Epoch], float | None], Callable[[Epoch], float | None]]] = [
        ("training, as it came", BLUE, lambda e: e.train_loss, lambda e: e.train_error),
        ("validation", VERMILION, lambda e: e.valid_loss, lambda e: e.valid_error),
    ]
    if record.history[-1].test_error is not None:
        lines.append(("test, not chosen by", GREEN, lambda e: e.test_loss, lambda e: e.test_error))
    with themed():
        figure = Figure(figsize=(9.5, 4.3), layout="constrained")
        losses, accuracies = figure.subplots(1, 2)
        if log is not None:
            _published(losses, accuracies, log)
        for name, colour, loss, error in lines:
            dots = "o" if len(epochs) == 1 else None
            losses.plot(epochs, _of(record, loss), color=colour, label=name, marker=dots)
            accuracies.plot(epochs, 100 * (1 - _of(record, error)), color=colour, label=name, marker=dots)
        for axis, label in ((losses, "loss (nats)"), (accuracies, "accuracy (%)")):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set_xlabel("epochs")
            axis.set_ylabel(label)
        figure.legend(  # below both: curves may fill either panel
            *losses.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(losses.lines),
            frameon=False,
            fontsize=9,
        )
        figure.suptitle(textwrap.fill(title, 90), x=0.01, ha="left", fontsize=12, fontweight="bold")
    last = record.history[-1]
    said = (
        f"Loss and accuracy after each of {len(epochs)} epochs. At the end, the training accuracy is "
        f"{1 - last.train_error:.1%}, the validation accuracy {1 - last.valid_error:.1%}"
    )
    if log is not None:
        said += f"; published were {log.train_accuracy[-1]:.1%} and {log.validation_accuracy[-1]:.1%}"
    return figure, f"{said}."


def _of(record: RunRecord, value: Callable[[Epoch], float | None]) -> np.ndarray:
    return np.array([np.nan if (number := value(epoch)) is None else number for epoch in record.history])


def _published(losses: Axes, accuracies: Axes, log: Log) -> None:
    epochs = np.arange(1, len(log.train_loss) + 1)
    for name, line, loss, accuracy in (
        ("published, training", "solid", log.train_loss, log.train_accuracy),
        ("published, validation", "dashed", log.validation_loss, log.validation_accuracy),
    ):
        losses.plot(epochs, loss, color=GREY, linestyle=line, linewidth=1.1, label=name)
        accuracies.plot(epochs, 100 * np.array(accuracy), color=GREY, linestyle=line, linewidth=1.1, label=name)


def remedies(found: Mapping[str, Sequence[RunRecord]], title: str) -> Drawn:
    """Training (as it came) and validation accuracy against epochs, an arm a colour: how far apart do they lie?"""
    arms = {name: records for name, records in found.items() if records}
    if not arms:
        raise NothingToDraw(MISSING)
    longest = max(len(record.history) for records in arms.values() for record in records)
    said = []
    with themed():
        figure = Figure(figsize=(9.5, 4.4), layout="constrained")
        axis = figure.subplots()
        for place, (name, records) in enumerate(arms.items()):
            colour = (*PALETTE, GREY)[place % (len(PALETTE) + 1)]
            curves = {}
            for line, error in (("solid", "valid_error"), ("dotted", "train_error")):
                shortest = min(len(record.history) for record in records)
                values = [[100 * (1 - getattr(e, error)) for e in r.history[:shortest]] for r in records]
                curves[error] = np.mean(values, axis=0)
                axis.plot(
                    np.arange(1, shortest + 1), curves[error], color=colour, linestyle=line,
                    label=name if line == "solid" else None,
                )  # fmt: skip
            said.append(
                f"{name}: training {curves['train_error'][-1]:.1f}%, validation {curves['valid_error'][-1]:.1f}% after "
                f"{len(curves['valid_error'])} epochs"
            )
        axis.set_xlim(0, longest)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("epochs (solid: validation, dotted: training as it came)")
        axis.set_ylabel("accuracy (%)")
        axis.set_title(title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, f"Training and validation accuracy of {len(arms)} recipes. {'; '.join(said)}."


def images_seen(found: Mapping[str, RunRecord], title: str) -> Drawn:
    """Validation accuracy against the training images seen, so that runs of other sizes can be compared."""
    if not found:
        raise NothingToDraw(MISSING)
    said = []
    with themed():
        figure = Figure(figsize=(8.0, 4.2), layout="constrained")
        axis = figure.subplots()
        for place, (name, record) in enumerate(found.items()):
            size = record.spec.recipe.batch_size
            an_epoch = len(batches.split_for(record.spec)[1]) // size * size
            seen = an_epoch * np.arange(1, len(record.history) + 1) / 1000
            values = 100 * (1 - np.array([epoch.valid_error for epoch in record.history]))
            axis.plot(seen, values, marker="o", markersize=3, color=PALETTE[place % len(PALETTE)], label=name)
            said.append(f"{name}: {values[-1]:.1f}% after {seen[-1]:,.0f} thousand images")
        axis.set_xlabel("training images seen (thousands)")
        axis.set_ylabel("validation accuracy (%)")
        axis.set_title(title)
        axis.legend(frameon=False, fontsize=9)
    return figure, f"Validation accuracy against training images seen. {'; '.join(said)}."


def confusion(record: RunRecord, store: Store, title: str) -> Drawn:
    """How many test images of each class (rows) were taken for each class (columns)."""
    from sklearn.metrics import confusion_matrix  # a second to import

    labels, predicted = labelled(record, store)["test"]
    classes = batches.split_of(record.spec.dataset)[0].classes
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    with themed():
        figure = Figure(figsize=(6.6, 5.6), layout="constrained")
        axis = figure.subplots()
        axis.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum(axis=1).max())
        for row, column in np.ndindex(*counts.shape):
            dark = counts[row, column] > counts.sum(axis=1).max() / 2
            axis.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8,
                      color="white" if dark else "black")  # fmt: skip
        axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axis.set_yticks(range(len(classes)), classes)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        axis.set_title(title)
    wrong = counts - np.diag(counts.diagonal())
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    return figure, (
        f"Confusion matrix on {counts.sum():,} test images; {counts.trace() / counts.sum():.1%} are right. The most "
        f"frequent mistake: {wrong.max()} of {counts[row].sum()} images of {classes[row]} taken for {classes[column]}."
    )


def predictions(record: RunRecord, store: Store, right: bool, title: str) -> Drawn:
    """The first test images whose prediction is right, or wrong, with what each was taken for."""
    labels, predicted = labelled(record, store)["test"]
    dataset = batches.split_of(record.spec.dataset)[0]
    every = np.flatnonzero((labels == predicted) == right)
    chosen = every[:SHOWN]
    if not len(chosen):
        raise NothingToDraw(f"No prediction is {'right' if right else 'wrong'}.")
    names = dataset.classes
    words = [
        names[predicted[place]] if right else f"{names[predicted[place]]},\nis {names[labels[place]]}"
        for place in chosen
    ]
    figure = gallery(dataset.test_images[chosen], words, heading=title, size=0.95)
    kind = "right" if right else "wrong"
    said = ", ".join(word.replace("\n", " ") for word in words[:3])
    return figure, f"The first {len(chosen)} of {len(every):,} test images with a {kind} prediction: {said}, and so on."


def maps(record: RunRecord, store: Store, title: str) -> Drawn:
    """What each convolution's nonlinearity makes of the first test image."""
    arrays = store.predictions(record)
    found = {name.removeprefix("maps_"): values for name, values in arrays.items() if name.startswith("maps_")}
    if not found:
        raise NothingToDraw("No feature maps were kept of this run.")
    image: Pixels = batches.split_of(record.spec.dataset)[0].test_images[0]
    return feature_maps(found, image, title)
