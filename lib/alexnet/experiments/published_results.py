"""The published reimplementations beside our runs: the figure under a row's own protocol, and the clean one.

A row's own protocol may choose its epoch by test images, or keep dropout on in validation. Its figure is read from
what a run wrote down after each epoch; the run itself chooses nothing by it. The clean figure is the test accuracy
after the last epoch of a recipe that was fixed before; where a setting is chosen, validation images choose it.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..paper.claims import Reimplementation, published
from ..records.record import RunRecord
from ..records.store import Store
from ..runs.planning import Planned
from ..statistics.verdicts import Label
from ..training.prepared import dataset_of, split_for
from .published_runs import CLEAN, PAPER_START, PUBLISHED, PUBLISHED_32, SHARE, Arm, PublishedRuns

MARGIN = 1.0  # points below a published accuracy within which ours agrees with it
CONFIDENCE = 0.95

BEST_TEST = "the best test accuracy of all epochs"
NOISY_VALIDATION = "the best validation accuracy of all epochs, with dropout on"
LAST_TEST = "the test accuracy after the last epoch"
MEASURED_AS = {  # what each row's headline figure is, under its own protocol
    "mnist-alexnet": LAST_TEST,
    "cifar-bn": LAST_TEST,
    "cifar-towers": BEST_TEST,
    "cifar-transfer": BEST_TEST,
    "cifar-lrn": NOISY_VALIDATION,
}


@dataclass(frozen=True)
class ArmResult:
    """An arm and its records, seed by seed."""

    arm: Arm
    records: tuple[RunRecord, ...]
    planned: int

    @property
    def command(self) -> str:
        """What makes its missing records."""
        return f"make runs CLAIM={self.arm.row}"


Found = Mapping[str, Sequence[ArmResult]]  # a row's id -> its arms


@dataclass(frozen=True)
class Accuracy:
    """A test accuracy in percent: the mean over runs, and an interval for it.

    With several runs a t interval over them; with one, Wilson's interval for the test images of that run.
    """

    values: tuple[float, ...]
    images: int  # that each was measured on

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit, percent."""
        if len(self.values) == 1:
            right = round(self.values[0] * self.images / 100)
            found = stats.binomtest(right, self.images).proportion_ci(CONFIDENCE, method="wilson")
            return 100 * found.low, 100 * found.high
        spread = statistics.stdev(self.values) / math.sqrt(len(self.values))
        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(self.values) - 1)) * spread
        return self.mean - margin, self.mean + margin

    @property
    def text(self) -> str:
        """As a table shows it: "76.8% [75.9, 77.6], n = 1"."""
        low, high = self.interval
        return f"{self.mean:.2f}% [{low:.2f}, {high:.2f}], n = {len(self.values)}"


@dataclass(frozen=True)
class Verdict:
    """Whether a row's figure was reached, and why we say so."""

    label: Label
    reason: str


def results(runs: PublishedRuns, store: Store, seeds: int | None = None) -> dict[str, list[ArmResult]]:
    """Row to its arms with their records, its own protocol first."""
    every = list(runs.plan(store, seeds))
    return {
        row.id: [_result(arm, every, store) for arm in runs.arms_of(row.id)]
        for row in published().row
        if row.id in runs.claims
    }


def _result(arm: Arm, every: Iterable[Planned], store: Store) -> ArmResult:
    own = [planned for planned in every if (planned.claim, planned.arm) == (arm.row, arm.name)]
    found = (store.get(planned.spec) for planned in own)
    return ArmResult(arm, tuple(record for record in found if record is not None), len(own))


def find(arms: Sequence[ArmResult], name: str) -> ArmResult | None:
    """The arm of that name, if the profile has it."""
    return next((result for result in arms if result.arm.name == name), None)


def protocol(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm that stands for a row's own protocol: in full, else on a share, else its variant; recorded ones first."""
    known = [result for name in (PUBLISHED, SHARE, PUBLISHED_32) if (result := find(arms, name)) is not None]
    return next((result for result in known if result.records), known[0] if known else None)


# ---- figures ---------------------------------------------------------------------------------------------------------


def own_accuracy(row: str, record: RunRecord) -> float | None:
    """The accuracy in percent that a row's own protocol would have published of this run; None where it wasn't written
    down (a run on a share of the images looks at the test set once)."""
    kind = MEASURED_AS[row]
    if kind == LAST_TEST:
        errors: list[float | None] = [record.final.test_error]
    elif kind == BEST_TEST:
        errors = [epoch.test_error for epoch in record.history]
        if errors[-1] is not None:  # the clean figure measured the last epoch again, in float32
            errors[-1] = record.final.test_error
    else:
        errors = [epoch.dropout_valid_error for epoch in record.history]
    known = [error for error in errors if error is not None]
    return 100 * (1 - min(known)) if known else None


def clean_accuracy(record: RunRecord) -> float | None:
    """The test accuracy in percent after the last epoch."""
    return None if record.final.test_error is None else 100 * (1 - record.final.test_error)


def clean_records(arms: Sequence[ArmResult]) -> list[RunRecord]:
    """The runs that give the clean figure: for each seed, of the settings tried, that with the lowest validation error;
    where none are tried, the runs of the row's protocol."""
    tried = [record for result in arms if result.arm.name.startswith(CLEAN) for record in result.records]
    if tried:
        seeds = sorted({record.spec.seed for record in tried})
        of = [[record for record in tried if record.spec.seed == seed] for seed in seeds]
        return [min(found, key=lambda record: record.final.valid_error) for found in of]
    own = protocol(arms)
    return list(own.records) if own else []


def accuracy(values: Iterable[float | None], records: Sequence[RunRecord]) -> Accuracy | None:
    """The mean of some accuracies, or None where there is none."""
    known = tuple(value for value in values if value is not None)
    if not known:
        return None
    return Accuracy(known, len(split_for(records[0].spec).test_labels))


def own(row: str, arms: Sequence[ArmResult]) -> Accuracy | None:
    """Ours under the row's own protocol, flaws included."""
    found = protocol(arms)
    records = found.records if found else ()
    return accuracy((own_accuracy(row, record) for record in records), records)


def clean(arms: Sequence[ArmResult]) -> Accuracy | None:
    """Ours under the clean protocol."""
    records = clean_records(arms)
    return accuracy(map(clean_accuracy, records), records)


def best(arms: Sequence[ArmResult]) -> tuple[ArmResult, Accuracy] | None:
    """The arm that does best on validation images, with its test accuracy: how far the network goes."""
    known = [result for result in arms if result.records and not result.arm.name.startswith(PAPER_START)]
    if not known:
        return None
    found = min(known, key=lambda result: statistics.fmean(r.final.valid_error for r in result.records))
    value = accuracy(map(clean_accuracy, found.records), found.records)
    return None if value is None else (found, value)


def partial(arms: Sequence[ArmResult]) -> str:
    """How much of a row's protocol is run, if less than all; else nothing."""
    found = protocol(arms)
    return found.arm.share if found and found.arm.partial else ""


def extent(arms: Sequence[ArmResult]) -> str:
    """The same in few words."""
    found = protocol(arms)
    return f"partial: {found.arm.part:.1%} of the images seen" if found and found.arm.partial else "in full"


def verdict(row: Reimplementation, arms: Sequence[ArmResult]) -> Verdict:
    """Whether the clean test accuracy reaches the published figure, whatever that was measured on, within a point.

    reproduced: the whole interval is at least a point below the figure or higher; contradicted: it is wholly lower, and
    the protocol was run in full; inconclusive: anything between.
    """
    found, target, share = clean(arms), row.headline.value, partial(arms)
    if found is None:
        return Verdict("not tested", "It waits for its runs: none is recorded yet.")
    over = "seeds" if len(found.values) > 1 else "the test images of one run"
    said = f"Published {target:g}% on {row.headline.measured_on}; ours {found.text} on the test set, clean protocol"
    said = f"{said}, interval over {over}{f' ({share})' if share else ''}."
    if found.interval[0] >= target - MARGIN:
        return Verdict("reproduced", said)
    if share or found.interval[1] >= target - MARGIN:
        return Verdict("inconclusive", said)
    return Verdict("contradicted", said)


# ---- tables ----------------------------------------------------------------------------------------------------------


def overview(found: Found) -> pd.DataFrame:
    """A line a row: theirs, what it was measured on, ours under the same protocol, ours clean, how far it goes."""
    lines = []
    for row in published().row:
        arms = found.get(row.id, [])
        value, same, top = clean(arms), own(row.id, arms), best(arms)
        lines.append(
            {
                "row": row.id,
                "published": f"{row.headline.value:g}%",
                "measured on": row.headline.measured_on,
                "ours, its protocol": same.text if same else None,
                "ours, clean": value.text if value else None,
                "best recipe": f"{top[1].mean:.2f}%, {top[0].arm.title}" if top and value else None,
                "run": extent(arms) if value else None,
                "verdict": verdict(row, arms).label,
            }
        )
    return pd.DataFrame(lines)


def arms_table(arms: Sequence[ArmResult]) -> pd.DataFrame:
    """A line an arm: how much was run, accuracies and gap at the end, seconds an epoch (means over seeds)."""
    return pd.DataFrame([_arm_line(result) for result in arms])


def _arm_line(result: ArmResult) -> dict[str, object]:
    records = result.records

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    train = mean(None if r.final.clean_train_error is None else 1 - r.final.clean_train_error for r in records)
    test = mean(None if r.final.test_error is None else 1 - r.final.test_error for r in records)
    return {
        "arm": result.arm.title,
        "epochs": f"{result.arm.spec.recipe.epochs}",
        "runs": f"{len(records)} of {result.planned}",
        "train accuracy": train,
        "validation accuracy": mean(1 - r.final.valid_error for r in records),
        "test accuracy": test,
        "train less test": None if train is None or test is None else f"{100 * (train - test):.1f} points",
        "seconds an epoch": mean(r.wall_seconds / r.final.epochs for r in records),
    }


def published_figures(row: Reimplementation) -> pd.DataFrame:
    """Every figure a row published and what it was measured on."""
    units = {"percent": "%", "nats": " nats", "seconds": " s"}
    return pd.DataFrame(
        [
            {
                "figure": f"{figure.metric}, {figure.split}",
                "published": f"{figure.value:g}{units[figure.unit]}",
                "measured on": figure.measured_on,
            }
            for figure in row.figures
        ]
    )


def splits_table(row: Reimplementation, record: RunRecord) -> pd.DataFrame:
    """Loss and accuracy on the three splits, dropout off, beside what was published for them."""
    final, last = record.final, record.history[-1]
    ours = {
        "train": (final.clean_train_loss, final.clean_train_error),
        "validation": (last.valid_loss, final.valid_error),
        "test": (final.test_loss, final.test_error),
    }
    theirs = {(figure.split, figure.metric): figure.value for figure in row.figures}
    return pd.DataFrame(
        [
            {
                "split": split,
                "loss": loss,
                "published loss": theirs.get((split, "loss")),
                "accuracy": None if error is None else 100 * (1 - error),
                "published accuracy": theirs.get((split, "accuracy")),
            }
            for split, (loss, error) in ours.items()
        ]
    ).astype({"published loss": float, "published accuracy": float})


def labelled(record: RunRecord, store: Store) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split to its labels and predictions, both [N]. Raises `RecordError` when the predictions are damaged."""
    arrays = store.predictions(record)
    split = split_for(record.spec)
    labels = split.dataset.train_labels
    return {
        "train": (labels[split.train], arrays["train_predicted"]),
        "validation": (labels[split.valid], arrays["valid_predicted"]),
        "test": (split.test_labels, arrays["predicted"]),
    }


def class_table(record: RunRecord, store: Store) -> pd.DataFrame:
    """Precision, recall and F1 of each class on each split."""
    from sklearn.metrics import precision_recall_fscore_support  # a second to import

    classes = dataset_of(record.spec.dataset).classes
    columns: dict[str, Sequence[object]] = {"class": list(classes)}
    for split, (labels, predicted) in labelled(record, store).items():
        figures = precision_recall_fscore_support(labels, predicted, labels=range(len(classes)), zero_division=0.0)
        for name, values in zip(("precision", "recall", "F1"), figures, strict=False):
            columns[f"{split} {name}"] = list(values)
    return pd.DataFrame(columns)


def published_class_table(row: Reimplementation) -> pd.DataFrame | None:
    """The same as it was published; None where it was not."""
    if row.per_class is None:
        return None
    columns: dict[str, Sequence[object]] = {"class": [str(place) for place in range(len(row.per_class["test"].f1))]}
    for split, figures in row.per_class.items():
        columns |= {
            f"{split} precision": figures.precision,
            f"{split} recall": figures.recall,
            f"{split} F1": figures.f1,
        }
    return pd.DataFrame(columns)
