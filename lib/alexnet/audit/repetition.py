"""Runs that are trained again from nothing, and how close each comes to its record.

- On the hardware, threads, precision and torch version of the record, training repeats itself bit by bit. If weights,
  history and predictions are all equal, the record is proven; if only some of them are, a part of it was altered.
- Elsewhere float32 sums round differently and training amplifies that, at most to the difference between two seeds.
  With three or more other seeds of the same arm, the difference between record and repetition has to lie within the
  99% interval for two new runs of that arm (Student's t on the spread of the others, times the root of 2); with fewer,
  within the fixed tolerances below. The arm's spread leaves out the record in question, which may be the false one.
"""

import math
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from scipy import stats
from tqdm import tqdm

from ..errors import AlexnetError, RecordError
from ..records.files import Part
from ..records.record import Epoch, RunRecord
from ..records.store import Store
from ..runs import execution
from ..training import features, machine
from ..training.prepared import WEIGHTS, dataset_of

CONFIDENCE = 0.99  # of the interval for a repetition: some ten figures are compared in an audit
GRACE = 1.5  # a repetition that was expected to end in time is given up at this multiple of the time allowed
FEWEST_SEEDS = 3  # other seeds of an arm from which a spread is estimated
ERROR_TOLERANCE = 0.03  # with fewer seeds: a fraction of the images; seeds of these nets differ by about 0.01
EPOCHS_TOLERANCE = 0.25  # with fewer seeds: a fraction of the epochs to the target, and one epoch
MEASURES = ("epochs_to_target", "train_error", "valid_error", "test_error")
SAME_BITS = ("device", "precision", "threads", "cpu", "system", "torch")  # where these agree, so do the last bits


class OutOfTime(AlexnetError):
    """A repetition takes far longer than the record's seconds let expect."""


class Measure(Part):
    """One final figure of a run and of its repetition."""

    name: str
    recorded: float
    repeated: float
    tolerance: float


class Repetition(Part):
    """A run that was trained again, and how close it came."""

    hash: str
    title: str
    same_machine: bool  # hardware, threads, precision and torch as in the record, so that equal bits are expected
    bit_equal: bool  # weights, history, predictions and signals
    measures: list[Measure]
    differences: list[str]  # empty: the record is confirmed
    seconds: float

    @property
    def closeness(self) -> str:
        """How close it came, in words."""
        if self.differences:
            return "; ".join(self.differences)
        if self.bit_equal:
            return "weights, history, predictions and signals equal to the last bit"
        where = "not bit-equal, though on a machine of the same description" if self.same_machine else "other machine"
        figures = [f"{m.name} {m.recorded:.4g} and {m.repeated:.4g} (±{m.tolerance:.2g})" for m in self.measures]
        return f"{where}; {', '.join(figures) or 'the same outcome'}"


def say(line: str) -> None:
    """Print a line above whatever bar is shown."""
    tqdm.write(line, file=sys.stdout)


def repeat_some(
    store: Store, records: Mapping[str, RunRecord], titles: Mapping[str, str], minutes: float, seed: int, notes: list
) -> Iterator[Repetition]:
    """Train runs again, in a random order, each if it is expected to end in time; what is left out becomes a note."""
    start, budget, slowdown = time.perf_counter(), 60 * minutes, 1.0
    order = [records[run_hash] for run_hash in sorted(records)]
    random.Random(seed).shuffle(order)
    here = [record for record in order if record.environment.device in ("cpu", machine.default_device().type)]
    trainable = [record for record in here if not record.spec.frozen or features_are_made(record)]
    if on_gpu := len(order) - len(here):
        notes.append(f"{on_gpu} records were made on a GPU and are not trained again here")
    if without_features := len(here) - len(trainable):
        notes.append(
            f"{without_features} records are of classifiers on features that are not computed here, and are not "
            "trained again; `python -m alexnet features` computes them"
        )
    done = 0
    for record in trainable:
        if record.wall_seconds * slowdown > budget - (time.perf_counter() - start):
            continue
        say(f"training  {record.hash}: {titles[record.hash]}, recorded with {record.wall_seconds:.0f} s")
        try:
            repetition = repeat(
                record, store, arm(record, records.values()), titles[record.hash], start + GRACE * budget
            )
        except OutOfTime:
            notes.append(f"{record.hash}: given up after {GRACE:g} x {minutes:g} minutes: the machine is busy or slow")
            return
        slowdown = max(0.1, repetition.seconds / max(record.wall_seconds, 1.0))  # this machine, now
        say(f"{'REFUTED  ' if repetition.differences else 'confirmed'} {record.hash}: {repetition.closeness}")
        done += 1
        yield repetition
    if not done:
        shortest = min((record.wall_seconds for record in trainable), default=math.nan)
        notes.append(f"no run fits into {minutes:g} minutes; the shortest took {shortest / 60:.1f}")


def features_are_made(record: RunRecord) -> bool:
    """Computing them would take far longer than the run, and a gigabyte of disk."""
    dataset = dataset_of(record.spec.dataset)
    used = record.data.hashes[WEIGHTS]
    return features.are_made(dataset, precision_here(record), used, machine.default_device())


def precision_here(record: RunRecord) -> str:
    """The record's precision, where this machine has instructions for it."""
    return record.environment.precision if machine.has_bfloat16() else "float32"


def arm(record: RunRecord, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs that differ from this one in nothing but the seed."""
    same = record.spec.with_(seed=0)
    return [other for other in records if other.spec.with_(seed=0) == same and other.hash != record.hash]


def repeat(
    record: RunRecord, store: Store, others: Sequence[RunRecord], title: str = "", deadline: float = math.inf
) -> Repetition:
    """Train a run again in a store of its own, with the record's threads and precision where this machine has them.

    `others` are the other seeds of its arm. Raises `OutOfTime` after the first epoch that ends past the deadline.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="alexnet-audit-") as folder, machine.threads(record.environment.threads):
        again = _execute(record, Store(folder), deadline)
        equal = {
            "weights": record.weights_sha256 == again.weights_sha256,
            "history": _bits(record) == _bits(again),
            "predictions": _same_predictions(record, store, again, Store(folder)),
            "signals": record.signals is None or repr(record.signals) == repr(again.signals),
        }
    same_machine = all(getattr(record.environment, name) == getattr(again.environment, name) for name in SAME_BITS)
    measures = [] if all(equal.values()) else list(_measures(record, again, others))
    differences = [
        f"{m.name} is {m.recorded:.6g}, trained again {m.repeated:.6g}, more than {m.tolerance:.2g} away"
        for m in measures
        if not abs(m.recorded - m.repeated) <= m.tolerance
    ]
    if again.final.outcome not in {one.final.outcome for one in (record, *others)}:
        differences.append(f"the outcome is {record.final.outcome}, trained again {again.final.outcome}")
    # Weights or a history that are equal to the last bit come from the same training, so what else differs was
    # altered. A diverged run has little history that could differ.
    same_training = equal["weights"] or (equal["history"] and again.final.outcome != "diverged")
    altered = [name for name, same in equal.items() if not same]
    if same_machine and same_training and altered:
        differences.append(f"{', '.join(altered)} altered: all else is equal to the last bit")
    return Repetition(
        hash=record.hash,
        title=title,
        same_machine=same_machine,
        bit_equal=not altered,
        measures=measures,
        differences=differences,
        seconds=time.perf_counter() - start,
    )


def _execute(record: RunRecord, store: Store, deadline: float) -> RunRecord:
    with tqdm(total=record.final.epochs, unit="epoch", disable=not sys.stderr.isatty(), leave=False) as bar:

        def report(_: Epoch) -> None:
            bar.update()
            if time.perf_counter() > deadline:
                raise OutOfTime("The time allowed is over.")

        return execution.execute(record.spec, store, precision_here(record), report)


def _bits(record: RunRecord) -> list[str]:
    """The history as text in which equal bits are equal, not-a-number included."""
    return [epoch.model_dump_json(exclude={"seconds"}) for epoch in record.history]


def _same_predictions(record: RunRecord, store: Store, again: RunRecord, other: Store) -> bool:
    """Compares the arrays: the bytes of the file also depend on the compressor's version."""
    if record.predictions is None or again.predictions is None:
        return record.predictions is again.predictions
    try:
        recorded = store.predictions(record)
    except RecordError:
        return False
    repeated = other.predictions(again)
    return recorded.keys() == repeated.keys() and all(
        np.array_equal(recorded[name], repeated[name], equal_nan=name != "predicted") for name in repeated
    )


def _measures(record: RunRecord, again: RunRecord, others: Sequence[RunRecord]) -> Iterator[Measure]:
    """Final figures that both have; a diverged run has none that mean anything."""
    if "diverged" in (record.final.outcome, again.final.outcome):
        return
    for name in MEASURES:
        recorded, repeated, *spread = (getattr(one.final, name) for one in (record, again, *others))
        if recorded is not None and repeated is not None:
            allowed = tolerance(name, repeated, [value for value in spread if value is not None])
            yield Measure(name=name, recorded=recorded, repeated=repeated, tolerance=allowed)


def tolerance(name: str, repeated: float, others: Sequence[float]) -> float:
    """How far a record may lie from its repetition, given the same figure of the other seeds of its arm."""
    if len(others) >= FEWEST_SEEDS:
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(others) - 1)
        return float(quantile * np.std(others, ddof=1) * math.sqrt(2))
    return 1 + EPOCHS_TOLERANCE * repeated if name == "epochs_to_target" else ERROR_TOLERANCE
