"""What the notebook on the published reimplementations shows, a function a cell; records that are missing are named."""

import statistics
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from ..experiments import published_results
from ..experiments.published_results import Found, find, protocol
from ..experiments.published_runs import PAPER_START, PUBLISHED_32, SHARE
from ..experiments.reimplementations import PROTOCOLS, TOWERS_32
from ..figures import published as figures_published
from ..figures import tables
from ..figures.display import show
from ..figures.tables import say
from ..networks import models
from ..paper.claims import published
from ..records.record import RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..training.batches import side_of

SPLITS = {"loss": ".4f", "published loss": ".2f", "accuracy": ".2f", "published accuracy": ".2f"}
ARMS = {
    "train accuracy": ".1%", "validation accuracy": ".1%", "test accuracy": ".1%", "seconds an epoch": ".0f",
}  # fmt: skip
CHANCE_MARGIN = 0.02  # a training error so close to that of guessing has not begun to fall


def not_run(command: str) -> None:
    """What stands in the place of a result without records."""
    say(f"*Not run yet:* `{command}`")


def describe(row: str) -> None:
    """What was published, how it was trained, and what has to be named about it."""
    entry = published()[row]
    tables.show(published_results.published_figures(entry), f"What was published: {entry.title}")
    source = "read in its code" if entry.code_read else "from its description; its code was not found"
    paragraphs = [f"**Network.** {entry.network}. Input: {entry.input}.", f"**Protocol** ({source}). {entry.protocol}."]
    for name, found in (
        ("Flaws", entry.flaws),
        ("Contradictions", entry.inconsistencies),
        ("What we take", entry.taken),
        ("Open questions", entry.open_questions),
    ):
        if found:
            said = "; ".join(found)
            paragraphs.append(f"**{name}.** {said[0].upper()}{said[1:]}.")
    say("\n\n".join(paragraph.replace("..", ".") for paragraph in paragraphs))


def layers(spec: RunSpec) -> pd.DataFrame:
    """The layer table of a run's network; no weights are drawn."""
    side = side_of(spec)
    with torch.device("meta"):
        model = models.build(spec.net, side)
    return models.layer_table(model, side)


def network(row: str, variant: bool = False) -> None:
    """The network, layer by layer, and its number of parameters beside the published one."""
    entry, spec = published()[row], TOWERS_32 if variant else PROTOCOLS[row]
    table = layers(spec)
    total = int(table["parameters"].sum())
    said = f"{total:,} parameters"
    if entry.parameters is not None and not variant:
        said += ", as published" if total == entry.parameters else f"; published are {entry.parameters:,}"
    tables.show(table, f"The network: {said}", {"neurons": ",d", "parameters": ",d", "multiply-adds": ",d"})


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
    verdict = published_results.verdict(entry, arms)
    own = published_results.own(row, arms)
    words = [f"**{verdict.label.capitalize()}.** {verdict.reason}"]
    if own:
        words.append(f"As its own protocol measures ({published_results.MEASURED_AS[row]}), ours is {own.text}.")
    elif result.arm.partial:
        words.append("On a share of the images the test set is looked at once, so its own measure has no value here.")
    say(" ".join(words))
    tables.show(published_results.arms_table(arms), "All our runs of this row, means over seeds", ARMS)
    first = result.records[0]
    tables.show(published_results.splits_table(entry, first), f"The three splits, {result.arm.share}, seed 0", SPLITS)


def pictures(row: str, found: Found, store: Store, name: str = "") -> None:
    """Curves, per-class figures, confusion, predictions right and wrong, and feature maps of the first run."""
    entry = published()[row]
    result = find(found.get(row, []), name) if name else protocol(found.get(row, []))
    if result is None or not result.records:
        return
    record, share = result.records[0], result.arm.share
    log = None if result.arm.partial else entry.log
    show(*figures_published.training_curves(record, f"How does it learn? ({share})", log))
    ours, theirs = published_results.class_table(record, store), published_results.published_class_table(entry)
    tables.show(ours, f"Every class on every split, ours ({share})", dict.fromkeys(ours.columns[1:], ".4f"))
    if theirs is not None:
        tables.show(theirs, "Every class on every split, as published", dict.fromkeys(theirs.columns[1:], ".4f"))
    show(*figures_published.confusion(record, store, "Which classes are taken for which?"))
    for right in (True, False):
        title = f"What is seen {'rightly' if right else 'wrongly'}?"
        show(*figures_published.predictions(record, store, right, title))
    show(*figures_published.maps(record, store, "What does each layer make of one image?"))


def remedies(found: Found) -> None:
    """What each remedy against overfitting buys, after the same number of epochs."""
    arms = {result.arm.title: result for result in found.get("cifar-bn", [])}
    have = {title: result.records for title, result in arms.items() if result.records}
    missing = [result for result in arms.values() if len(result.records) < result.planned]
    if len(have) > 1:
        show(*figures_published.remedies(have, "What does each remedy buy?"))
        tables.show(at_same_epoch(have), "After the same number of epochs, means over seeds", ARMS)
    for result in missing[:1]:
        not_run(result.command)


def at_same_epoch(found: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """Accuracies of some arms after as many epochs as the shortest of them has."""
    epochs = min(len(record.history) for records in found.values() for record in records)
    lines = []
    for title, records in found.items():
        rows = [record.history[epochs - 1] for record in records]
        train = 1 - sum(row.train_error for row in rows) / len(rows)
        valid = 1 - sum(row.valid_error for row in rows) / len(rows)
        lines.append(
            {
                "arm": title,
                "epochs": f"{epochs}",
                "train accuracy": train,
                "validation accuracy": valid,
                "train less validation": f"{100 * (train - valid):.1f} points",
            }
        )
    return pd.DataFrame(lines)


def variant(found: Found) -> None:
    """The row's open line: accuracy and time of the variant for 32 pixels, beside the faithful network's."""
    entry, arms = published()["cifar-towers"], found.get("cifar-towers", [])
    result = find(arms, PUBLISHED_32)
    if result is None or not result.records:
        not_run("make runs CLAIM=cifar-towers")
        return
    own = published_results.accuracy(
        (published_results.own_accuracy("cifar-towers", record) for record in result.records), result.records
    )
    clean = published_results.accuracy(map(published_results.clean_accuracy, result.records), result.records)
    line = published_results.arms_table([result]).iloc[0]
    theirs = next(figure for figure in entry.figures if figure.metric == "time per epoch")
    place = result.records[0].environment.place
    table = pd.DataFrame(
        [
            {"model": "224 pixels, published", "accuracy": f"{entry.headline.value:g}%",
             "time an epoch": f"{theirs.value:g} s ({theirs.measured_on})"},
            {"model": f"32 pixels, ours, {published_results.MEASURED_AS['cifar-towers']}",
             "accuracy": own.text if own else None, "time an epoch": f"{line['seconds an epoch']:.0f} s ({place})"},
            {"model": "32 pixels, ours, clean protocol", "accuracy": clean.text if clean else None,
             "time an epoch": None},
        ]
    )  # fmt: skip
    tables.show(table, f"The line that was left open ({result.arm.share})")
    tables.show(published_results.splits_table(entry, result.records[0]).iloc[:, [0, 1, 3]], "The three splits, seed 0",
                SPLITS)  # fmt: skip


def enlarging(found: Found) -> None:
    """The same network's two forms on the same images for the same epochs: what enlarging costs."""
    arms = found.get("cifar-towers", [])
    enlarged = protocol(arms)
    small = find(arms, "share-32" if enlarged and enlarged.arm.name == SHARE else PUBLISHED_32)
    if not enlarged or not small or not enlarged.records or not small.records:
        not_run("make runs CLAIM=cifar-towers")
        return
    one, other = enlarged.records[0], small.records[0]
    show(*figures_published.images_seen({"224 pixels": one, "32 pixels": other}, "Does enlarging cost accuracy?"))
    both = [published_results.accuracy(map(published_results.clean_accuracy, r.records), r.records)
            for r in (enlarged, small)]  # fmt: skip
    if both[0] and both[1]:
        gain = both[1].mean - both[0].mean
        way = "more" if gain > 0 else "less"
        meet = both[0].interval[0] <= both[1].interval[1] and both[1].interval[0] <= both[0].interval[1]
        say(
            f"Test accuracy: {both[0].text} with 224 pixels, {both[1].text} with 32: {abs(gain):.2f} points {way} "
            f"without enlarging ({enlarged.arm.share}). The intervals {'meet' if meet else 'do not meet'}."
        )


def paper_start(found: Found) -> None:
    """Whether the network begins to learn from the paper's initial weights, where it does from the author's own."""
    every = found.get("cifar-towers", [])
    for result in every:
        if not result.arm.name.startswith(PAPER_START):
            continue
        if not result.records:
            not_run(result.command)
            continue
        twin = protocol(every) if result.arm.name == PAPER_START else find(every, PUBLISHED_32)
        say(f"**{result.arm.title.capitalize()}**: {_begun(result.records, twin.records if twin else ())}")


def _begun(paper: Sequence[RunRecord], own: Sequence[RunRecord]) -> str:
    """Whether runs from the paper's weights begin to learn, beside runs from the author's after as many epochs."""
    last = min(len(record.history) for record in (*paper, *own))
    chance = 1 - 1 / paper[0].spec.net.classes
    errors = [[record.history[last - 1].train_error for record in records] for records in (paper, own)]
    learns = [bool(arm) and statistics.fmean(arm) <= chance - CHANCE_MARGIN for arm in errors]
    said = (
        f"after {last} epochs of {len(paper)} run{'s' if len(paper) > 1 else ''}, the training error is "
        f"{statistics.fmean(errors[0]):.1%} ({chance:.0%} is guessing)"
    )
    if own:
        said += f", and {statistics.fmean(errors[1]):.1%} from the weights that the author draws instead"
    if learns[0]:
        return f"{said}. It does not fail."
    if learns[1]:
        return f"{said}. It does fail, where the other start has begun to learn."
    return f"{said}. So few steps tell nothing about the start: no other start is known to have learned by then."
