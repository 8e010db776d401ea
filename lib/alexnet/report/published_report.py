"""What the notebook on the published reimplementations shows, a function a cell; records that are missing are named."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..experiments import reimplementations
from ..experiments.reimplementations import HELD_BACK_5000, PROTOCOLS, PUBLISHED, PUBLISHED_32, Found, find, protocol
from ..figures import tables
from ..figures.base import BLUE, GREEN, GREY, PALETTE, VERMILION, Drawn, drawing, label, needed
from ..figures.curves import Value, along, mean_of, over_epochs, whole_epochs
from ..figures.diagrams import Pixels, gallery
from ..figures.display import show, show_if_any
from ..figures.learned import feature_maps
from ..figures.tables import counted, say
from ..networks.anatomy import layers, listing
from ..paper.claims import Log, claims, published
from ..records.record import RunRecord
from ..records.store import Store
from ..statistics.accuracy import accuracy
from ..training.prepared import dataset_of, split_for

SPLITS = {"loss": ".4f", "published loss": ".2f", "accuracy": ".2f", "published accuracy": ".2f"}
AS_IT_CAME = "train accuracy, as it came"
ARMS = dict.fromkeys(("train accuracy", AS_IT_CAME, "validation accuracy", "test accuracy"), ".1%")
LAYERS = {"neurons": ",d", "parameters": ",d", "multiply-adds": ",d"}
CHANCE_MARGIN = 0.02  # a training error so close to that of guessing has not begun to fall
SHOWN = 20  # images of a grid of predictions


# ---- cells -----------------------------------------------------------------------------------------------------------


def not_run(command: str, arms: Iterable[reimplementations.ArmResult] = ()) -> None:
    """What stands in the place of a result without records; below others, the arms that lack runs are named."""
    lacking = ""
    for one in arms:
        runs, epochs = counted(one.planned - len(one.records), "run"), counted(one.arm.spec.recipe.epochs, "epoch")
        lacking += f"{one.arm.title} ({runs} of up to {epochs}); "
    say(f"*Not run yet:* {lacking}`{command}`")


def answer(found: Found) -> None:
    """The verdicts of all rows, one picture of them, and the doubt; first of all."""
    arms = [(row, found.get(row.id, [])) for row in published().row]
    looked = {row.id: " (first look)" * reimplementations.first_look(of) for row, of in arms}
    say(tables.by_label((row.title, reimplementations.verdict(row, of).label + looked[row.id]) for row, of in arms))
    say(
        "**The doubt.** Published figures were chosen or measured in ways of their own, and ours are clean: where ours "
        "is lower, the network, the protocol or the way of measuring may be the reason."
    )
    show_if_any(beside_published, found, "Do our accuracies reach the published ones?")


def describe(row: str) -> None:
    """What was published, how it was trained, and what has to be named about it."""
    entry = published()[row]
    tables.show(reimplementations.published_figures(entry), f"What was published: {entry.title}")
    source = "read in its code" if entry.code_read else "from its description; its code was not found"
    paragraphs = [f"**Network.** {entry.network}. Input: {entry.input}.", f"**Protocol** ({source}). {entry.protocol}."]
    named = {
        "Flaws": entry.flaws,
        "Contradictions": entry.inconsistencies,
        "What we take": entry.taken,
        "Open questions": entry.open_questions,
    }
    for name, found in named.items():
        if found:
            said = "; ".join(found)
            paragraphs.append(f"**{name}.** {said[0].upper()}{said[1:]}.")
    say("\n\n".join(paragraph.replace("..", ".") for paragraph in paragraphs))


def network(row: str, variant: bool = False) -> None:
    """The network, layer by layer, and its number of parameters beside the published one."""
    published_count = None if variant else published()[row].parameters
    spec = reimplementations.TOWERS_32 if variant else PROTOCOLS[row]
    table = layers(spec.net, spec.side).assign(kind=listing(spec.net, spec.side)["what it is"])
    total = int(table["parameters"].sum())
    said = f"{total:,} parameters"
    if published_count is not None:
        said += ", as published" if total == published_count else f"; published are {published_count:,}"
    tables.show(table, f"The network: {said}", LAYERS)


def beside(row: str, found: Found) -> None:
    """Ours beside theirs: the verdict, every arm, and the three splits of the first run."""
    entry, arms = published()[row], found.get(row, [])
    result = protocol(arms)
    if result is None:
        say("*This profile has no run of this protocol.*")
        return
    if not result.records:
        not_run(result.command)
        return
    verdict, own = reimplementations.verdict(entry, arms), reimplementations.own(row, arms)
    said = f"**{verdict.label.capitalize()}{' (first look)' * reimplementations.first_look(arms)}.** {verdict.reason}"
    if own:
        said += f" As its own protocol measures ({reimplementations.MEASURED_AS[row]}), ours is {own.text}."
    elif result.arm.partial:
        said += " On a share of the images the test set is looked at once, so its own measure has no value here."
    say(said)
    tables.show(reimplementations.arms_table(arms), "All our runs of this row, means over seeds", ARMS)
    splits = reimplementations.splits_table(entry, result.records[0])
    tables.show(splits, f"The three splits, {result.extent}, seed 0", SPLITS)


def pictures(row: str, found: Found, store: Store, name: str = "") -> None:
    """Curves, per-class figures, confusion, predictions right and wrong, and feature maps of the first run."""
    entry, arms = published()[row], found.get(row, [])
    result = find(arms, name) if name else protocol(arms)
    if result is None or not result.records:
        return
    record, share = result.records[0], result.extent
    whole = not result.arm.partial
    heading = f"How does it learn? ({share})"
    show(*training_curves(record, heading, entry.log if whole else None, entry.headline.value if whole else None))
    ours, theirs = reimplementations.class_table(record, store), reimplementations.published_class_table(entry)
    for table, whose in ((ours, f"ours ({share})"), (theirs, "as published")):
        if table is not None:
            tables.show(table, f"Every class on every split, {whose}", dict.fromkeys(table.columns[1:], ".4f"))
    show(*confusion(record, store, "Which classes are taken for which?"))
    for right in (True, False):
        show(*predictions(record, store, right, f"What is seen {'rightly' if right else 'wrongly'}?"))
    show(*maps(record, store, "What does each layer make of one image?"))


def remedies(found: Found) -> None:
    """What each remedy against overfitting does, after the same number of epochs."""
    arms = found.get("cifar-bn", [])
    recorded = [result for result in arms if result.records]
    full = [result for result in recorded if result.arm.spec.recipe.epochs == PROTOCOLS["cifar-bn"].recipe.epochs]
    shown = full if any(result.arm.name not in (PUBLISHED, HELD_BACK_5000) for result in full) else recorded
    have = {result.arm.title: result.records for result in shown}
    if len(have) > 1:
        show(*draw_remedies(have, "How far apart are training and validation?"))
        tables.show(at_same_epoch(have), "After the same number of epochs, means over seeds", ARMS)
    if lacking := [result for result in arms if len(result.records) < result.planned]:
        not_run(lacking[0].command, lacking)


def at_same_epoch(found: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """Accuracies of some arms after as many epochs as the shortest of them has; how far apart then, and at the end."""
    epochs = min(len(record.history) for records in found.values() for record in records)
    lines = []
    for title, records in found.items():
        recipe = records[0].spec.recipe
        drops = f"{sum(drop < epochs for drop in recipe.drops)} of {len(recipe.drops)}" if recipe.drops else None
        rows, last = ([record.history[at] for record in records] for at in (epochs - 1, -1))
        train, valid = 1 - fmean(row.train_error for row in rows), 1 - fmean(row.valid_error for row in rows)
        gaps = (f"{100 * fmean(row.valid_error - row.train_error for row in of):.1f} points" for of in (rows, last))
        lines.append((title, f"{epochs} of {recipe.epochs}", drops, train, valid, *gaps))
    columns = ["arm", "epochs", "drops of the rate by then", AS_IT_CAME, "validation accuracy"]
    return pd.DataFrame(lines, columns=[*columns, "train less validation", "the same at the run's end"])


def variant(found: Found) -> None:
    """The row's open line: accuracy and time of the variant for 32 pixels, beside the faithful network's."""
    entry, result = published()["cifar-towers"], find(found.get("cifar-towers", []), PUBLISHED_32)
    if result is None or not result.records:
        not_run("make runs CLAIM=cifar-towers")
        return
    records = result.records
    own = accuracy(records, [reimplementations.own_accuracy("cifar-towers", record) for record in records])
    clean, time = accuracy(records), reimplementations.arms_table([result])["time an epoch"].iloc[0]
    theirs = next(figure for figure in entry.figures if figure.metric == "time per epoch")
    measured = reimplementations.MEASURED_AS["cifar-towers"]
    rows = [
        ("224 pixels, published", f"{entry.headline.value:g}%", f"{theirs.value:g} s ({theirs.measured_on})"),
        (f"32 pixels, ours, {measured}", own and own.text, time),
        ("32 pixels, ours, clean protocol", clean and clean.text, None),
    ]
    table = pd.DataFrame(rows, columns=["model", "accuracy", "time an epoch"])
    tables.show(table, f"The line that was left open ({result.extent})")
    splits = reimplementations.splits_table(entry, records[0])[["split", "loss", "accuracy"]]
    tables.show(splits, "The three splits, seed 0", SPLITS)


def enlarging(found: Found) -> None:
    """The network's two forms on the same images for the same epochs."""
    arms = found.get("cifar-towers", [])
    enlarged = protocol(arms)
    small = find(arms, "share-32" if enlarged and enlarged.arm.name == reimplementations.SHARE else PUBLISHED_32)
    if not enlarged or not small or enlarged is small or not enlarged.records or not small.records:
        not_run("make runs CLAIM=cifar-towers")
        return
    records = {"224 pixels": enlarged.records[0], "32 pixels": small.records[0]}
    show(*images_seen(records, "Does enlarging cost accuracy?"))
    one, other = accuracy(enlarged.records), accuracy(small.records)
    if one and other:
        gain = other.mean - one.mean
        meet = one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]
        say(
            f"Test accuracy: {one.text} with 224 pixels, {other.text} with 32: {abs(gain):.2f} points "
            f"{'more' if gain > 0 else 'less'} without enlarging ({enlarged.extent}). The intervals "
            f"{'meet' if meet else 'do not meet'}.{_sure(enlarged.records, small.records)}"
        )
    specs = [of.arm.spec for of in (enlarged, small)]
    sizes = [f"{layers(spec.net, spec.side)['parameters'].sum() / 1e6:.1f}" for spec in specs]
    wrong = [f"{fmean(record.final.train_error for record in of.records):.0%}" for of in (enlarged, small)]
    say(
        f"The networks differ in their first layer and what follows from its size: {sizes[0]} million parameters with "
        f"224 pixels, {sizes[1]} with 32. What is compared is two networks by one recipe, not enlarging alone; in the "
        f"last of their {specs[0].recipe.epochs} epochs they get {wrong[0]} and {wrong[1]} of the training images "
        "wrong."
    )


def _sure(*arms: Sequence[RunRecord]) -> str:
    """What a comparison of arms that are no plan's pairs does not cover, and whether some of it is a first look."""
    said = " Where there is one run, its interval covers the test images and not the seeds." * (min(map(len, arms)) < 2)
    old = any(not claims().rule.precedes(record.created) for records in arms for record in records)
    return said + " Some of these runs are older than the rule: a first look." * old


def paper_start(found: Found) -> None:
    """Whether the network begins to learn from the paper's initial weights, where it does from the author's own."""
    every = found.get("cifar-towers", [])
    starts = [result for result in every if result.arm.name in reimplementations.PAPER_STARTS]
    for result in starts:
        if result.records:
            twin = find(every, reimplementations.PAPER_STARTS[result.arm.name])
            said = _begun(result.records, twin.records if twin else ())
            say(f"**{result.arm.title[0].upper()}{result.arm.title[1:]}**: {said}")
    if lacking := [result for result in starts if len(result.records) < result.planned]:
        not_run(lacking[0].command, lacking)


def _begun(paper: Sequence[RunRecord], own: Sequence[RunRecord]) -> str:
    """Whether runs from the paper's weights begin to learn, beside runs from the author's after as many epochs."""
    last = min(len(record.history) for record in (*paper, *own))
    chance = 1 - 1 / paper[0].spec.net.classes
    ours, theirs = (
        fmean(record.history[last - 1].train_error for record in arm) if arm else 1.0 for arm in (paper, own)
    )
    runs = counted(len(paper), "run")
    said = f"after {last} epochs of {runs}, the training error is {ours:.1%} ({chance:.0%} is guessing)"
    if own:
        said += f", and {theirs:.1%} from the weights that the author draws instead"
    if ours <= chance - CHANCE_MARGIN:
        return f"{said}. It does not fail."
    if theirs <= chance - CHANCE_MARGIN:
        return f"{said}. It has not begun to learn by then, at this one rate, where the other start has."
    either = "From the author's own it has not learned by then either, so this" if own else "Without the author's, this"
    return f"{said}. {either} tells nothing about the paper's."


# ---- figures ---------------------------------------------------------------------------------------------------------


def beside_published(found: Found, title: str) -> Drawn:
    """A line a row: the published accuracy, and our clean one with its interval. Raises `NothingToDraw`."""
    every = [(row, reimplementations.clean(found.get(row.id, []))) for row in published().row]
    drawn = needed([(row, ours) for row, ours in every if ours is not None], "No row has a run to draw.")
    said = []
    with drawing(8.0, 0.9 + 0.5 * len(drawn)) as (figure, axis):
        for place, (row, ours) in enumerate(drawn):
            partial = reimplementations.extent(found[row.id]).startswith("partial")
            style = {"markerfacecolor": "white" if partial else BLUE, "color": BLUE, "capsize": 3}
            low, high = ours.interval
            axis.errorbar(ours.mean, place, xerr=[[ours.mean - low], [high - ours.mean]], fmt="o", **style)
            axis.plot(row.headline.value, place, "D", color=GREY, markersize=6)
            share = " on a part of its images" * partial
            said.append(f"{row.title}: {row.headline.value:g}% published, {ours.mean:.2f}% here{share}")
        axis.set_yticks(range(len(drawn)), [textwrap.fill(row.title, 36) for row, _ in drawn], fontsize=9)
        axis.set(ylim=(len(drawn) - 0.5, -0.5), title=title)
        axis.set_xlabel("accuracy (%): diamonds published, dots ours with intervals, hollow on a part of the images")
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    return figure, f"Published accuracies and ours. {'; '.join(said)}."


def training_curves(record: RunRecord, title: str, log: Log | None = None, published: float | None = None) -> Drawn:
    """Loss and accuracy against epochs on training, validation and, where it was written down, test images.

    The published log, if there is one, lies under them in grey, else the published accuracy (percent) as a line across.
    """
    lines: list[tuple[str, str, Value, Value]] = [
        ("training, as it came", BLUE, lambda e: e.train_loss, lambda e: e.train_error),
        ("validation", VERMILION, lambda e: e.valid_loss, lambda e: e.valid_error),
    ]
    last, epochs = record.history[-1], len(record.history)
    if last.test_error is not None:
        lines.append(("test, not chosen by", GREEN, lambda e: e.test_loss, lambda e: e.test_error))
    with drawing(9.5, 4.3, 1, 2, heading=textwrap.fill(title, 90)) as (figure, (losses, accuracies)):
        if log is not None:
            _published(losses, accuracies, log)
        for name, colour, loss, error in lines:
            style = {"color": colour, "label": name, "marker": "o" if epochs == 1 else None}
            over_epochs(losses, along(record, loss), **style)
            over_epochs(accuracies, 100 * (1 - along(record, error)), **style)
        if log is None and published is not None:
            accuracies.axhline(published, color=GREY, linewidth=1, linestyle="dotted", zorder=0)
            place = {"xycoords": ("axes fraction", "data"), "color": GREY, "fontsize": 8}
            label(accuracies, f"{published:g}% published", (0, published), (4, 3), **place)
        for axis, name in ((losses, "loss (nats)"), (accuracies, "accuracy (%)")):
            whole_epochs(axis)
            axis.set(xlabel="epochs", ylabel=name)
        handles, names = losses.get_legend_handles_labels()  # below both panels: curves may fill either
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    said = (
        f"Loss and accuracy after each of {epochs} epochs. At the end, the training accuracy as it came is "
        f"{1 - last.train_error:.1%}, the validation accuracy {1 - last.valid_error:.1%}"
    )
    if log is not None:
        said += f"; published were {log.train_accuracy[-1]:.1%} and {log.validation_accuracy[-1]:.1%}"
    elif published is not None:
        said += f"; {published:g}% were published"
    return figure, f"{said}."


def _published(losses: Axes, accuracies: Axes, log: Log) -> None:
    for name, line, loss, right in (
        ("published, training", "solid", log.train_loss, log.train_accuracy),
        ("published, validation", "dashed", log.validation_loss, log.validation_accuracy),
    ):
        style = {"color": GREY, "linestyle": line, "linewidth": 1.1, "label": name}
        over_epochs(losses, np.array(loss), **style)
        over_epochs(accuracies, 100 * np.array(right), **style)


def draw_remedies(found: Mapping[str, Sequence[RunRecord]], title: str) -> Drawn:
    """Training (as it came) and validation accuracy against epochs, an arm a colour: how far apart do they lie?"""
    arms = needed({name: records for name, records in found.items() if records})
    said = []
    with drawing(9.5, 4.4) as (figure, axis):
        for place, (name, records) in enumerate(arms.items()):
            valid = mean_of([100 * (1 - along(record, lambda epoch: epoch.valid_error)) for record in records])
            train = mean_of([100 * (1 - along(record, lambda epoch: epoch.train_error)) for record in records])
            colour = (*PALETTE, GREY)[place % 5]
            over_epochs(axis, valid, color=colour, linestyle="solid", label=name)
            over_epochs(axis, train, color=colour, linestyle="dotted")
            said.append(f"{name}: training {train[-1]:.1f}%, validation {valid[-1]:.1f}% after {len(valid)} epochs")
        axis.set_xlim(0, max(len(record.history) for records in arms.values() for record in records))
        whole_epochs(axis)
        axis.set_xlabel("epochs (solid: validation, dotted: training as it came)")
        axis.set(ylabel="accuracy (%)", title=title)
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, f"Training and validation accuracy of {len(arms)} recipes. {'; '.join(said)}."


def images_seen(found: Mapping[str, RunRecord], title: str) -> Drawn:
    """Validation accuracy against the training images seen, so that runs of other sizes can be compared."""
    needed(found)
    said = []
    with drawing(8.0, 4.2) as (figure, axis):
        for place, (name, record) in enumerate(found.items()):
            size = record.spec.recipe.batch_size
            an_epoch = len(split_for(record.spec).train) // size * size
            values = 100 * (1 - along(record, lambda epoch: epoch.valid_error))
            seen = an_epoch * np.arange(1, len(values) + 1) / 1000
            axis.plot(seen, values, marker="o", markersize=3, color=PALETTE[place % 4], label=name)
            said.append(f"{name}: {values[-1]:.1f}% after {seen[-1]:,.0f} thousand images")
        axis.set(xlabel="training images seen (thousands)", ylabel="validation accuracy (%)", title=title)
        axis.legend(frameon=False, fontsize=9)
    return figure, f"Validation accuracy against training images seen. {'; '.join(said)}."


def confusion(record: RunRecord, store: Store, title: str) -> Drawn:
    """How many test images of each class (rows) were taken for each class (columns)."""
    from sklearn.metrics import confusion_matrix  # a second to import

    labels, predicted = reimplementations.labelled(record, store)["test"]
    classes = dataset_of(record.spec.dataset).classes
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    most = counts.sum(axis=1).max()
    with drawing(6.6, 5.6) as (figure, axis):
        axis.imshow(counts, cmap="Blues", vmin=0, vmax=most)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if count > most / 2 else "black"
            axis.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
        axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axis.set_yticks(range(len(classes)), classes)
        axis.set(xlabel="predicted", ylabel="true", title=title)
    wrong = counts - np.diag(counts.diagonal())
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    return figure, (
        f"Confusion matrix on {counts.sum():,} test images; {counts.trace() / counts.sum():.1%} are right. The most "
        f"frequent mistake: {wrong.max()} of {counts[row].sum()} images of {classes[row]} taken for {classes[column]}."
    )


def predictions(record: RunRecord, store: Store, right: bool, title: str) -> Drawn:
    """The first test images whose prediction is right, or wrong, with what each was taken for."""
    labels, predicted = reimplementations.labelled(record, store)["test"]
    dataset, kind = dataset_of(record.spec.dataset), "right" if right else "wrong"
    every = needed(np.flatnonzero((labels == predicted) == right).tolist(), f"No prediction is {kind}.")
    chosen, names = every[:SHOWN], dataset.classes
    words = [names[predicted[place]] + ("" if right else f",\nis {names[labels[place]]}") for place in chosen]
    figure = gallery(dataset.test_images[chosen], words, heading=title, size=0.95)
    said = ", ".join(word.replace("\n", " ") for word in words[:3])
    return figure, f"The first {len(chosen)} of {len(every):,} test images with a {kind} prediction: {said}, and so on."


def maps(record: RunRecord, store: Store, title: str) -> Drawn:
    """What each convolution's nonlinearity makes of the first test image."""
    arrays = store.predictions(record)
    found = {name.removeprefix("maps_"): values for name, values in arrays.items() if name.startswith("maps_")}
    needed(found, "No feature maps were kept of this run.")
    image: Pixels = dataset_of(record.spec.dataset).test_images[0]
    return feature_maps(found, image, title)
