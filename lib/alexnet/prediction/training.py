"""Train one network and keep its weights: `python -m alexnet train`, which makes the checkpoint that `predict` uses.

By default that is the report's 32-pixel AlexNet, the baseline of its comparisons. The training is a run like any
other: the same code, data order and seeds, a checkpoint an epoch, resumed where it was stopped. Where the report has
a record of the same run, it proves the weights: on the hardware, threads and precision of the record they are equal to
the last bit; elsewhere float32 sums round differently, and the errors have to be close.
"""

from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

import torch

from .. import paths
from ..audit import repetition
from ..errors import RecordError, SpecError
from ..experiments.ablations import ALEXNET_32
from ..records.record import Epoch, RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..runs import execution, pool
from ..runs.resuming import Report
from ..training import machine
from ..training.evaluation import log_probabilities, loss_and_error
from ..training.prepared import prepare
from ..training.recipe import diverged
from . import checkpoints
from .checkpoints import Description

WORK = paths.CHECKPOINTS / "training"  # what trainings under way need
DEFAULTS = {
    "cifar10": ALEXNET_32,
    # Digits have neither colour nor mirror images; crops of 27 pixels fit their 28.
    "mnist": ALEXNET_32.with_(
        dataset="mnist", images={"flip": False, "colour": 0.0}, recipe={"epochs": 4, "drops": (3,)}, measured="errors"
    ),
}


def train(
    spec: RunSpec,
    out: Path,
    store: Store | None = None,  # where the training can be resumed from
    precision: str | None = None,  # None: what the hardware is fast at
    report: Report | None = None,  # called after each epoch
) -> Description:
    """Train the run `spec` and write its checkpoint; what it says of itself is returned.

    A second process that trains the same waits. Raises `RecordError` when nothing can be written, or when the
    training diverged.
    """
    store = store or Store(WORK)
    if out.suffix != checkpoints.SUFFIX:
        raise SpecError(f"{out} is no name for a checkpoint; let it end in {checkpoints.SUFFIX}.")
    if out.is_dir():
        raise SpecError(f"{out} is a folder; name a file.")
    with store.hold(spec.hash):
        done = execution.trained(prepare(spec, precision=precision), store, report)
        if diverged(done.learn.history.rows):
            raise RecordError(f"The training of {spec.hash} diverged; nothing was saved. Train with a lower rate.")
        description = describe(done)
        checkpoints.save(out, description, done.run.whole(done.learn.model), done.run.preparation.statistics)
        store.remove_leftovers(spec.hash)
    return description


def describe(done: execution.Training) -> Description:
    """What the checkpoint of a trained run says of itself; the test set is looked at here, once."""
    run, rows = done.run, done.learn.history.rows
    test_error = None
    if run.spec.test:
        _, test_error = loss_and_error(*log_probabilities(done.learn.model, run.test()))
    return Description(
        spec=run.spec,
        classes=run.split.dataset.classes,
        epochs=len(rows),
        valid_error=rows[-1]["valid_error"],
        test_error=test_error,
        data=run.hashes,
        weights_sha256=execution.weights_sha256(done.learn.model),
        precision=run.precision,
        torch=torch.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def proof(description: Description, record: RunRecord | None) -> str:
    """What the record of the same run says of a checkpoint, in a sentence."""
    if record is None:
        return "There is no record of this run to compare with."
    if description.weights_sha256 == record.weights_sha256:
        return f"Its weights are those of the record {record.hash}, to the last bit."
    apart = abs(description.valid_error - record.final.valid_error)
    near = apart <= repetition.ERROR_TOLERANCE
    return (
        f"Its weights are not those of the record {record.hash}, as is to be expected on other hardware, threads, "
        f"precision or torch; its validation error is {100 * apart:.1f} points "
        f"{'away, as close as seeds are' if near else 'AWAY, farther than seeds are'}."
    )


def chosen(arguments: Namespace, records: Store) -> RunSpec:
    """The specification that the options ask for. Raises `SpecError` for what makes no sense."""
    spec = DEFAULTS[arguments.dataset]
    if arguments.record is not None:
        if arguments.record not in records.hashes():
            raise SpecError(f"There is no record {arguments.record} in {records.folder}; its file names name them.")
        spec = records.load(arguments.record).spec
    if arguments.seed is not None:
        spec = spec.with_(seed=arguments.seed)
    if arguments.epochs is not None:
        spec = shortened(spec, arguments.epochs)
    return spec


def shortened(spec: RunSpec, epochs: int) -> RunSpec:
    """The same run ended after `epochs`, without the drops of the learning rate that would come later."""
    drops = tuple(drop for drop in spec.recipe.drops if drop < epochs)
    schedule = "constant" if spec.recipe.drops and not drops else spec.recipe.schedule
    return spec.with_(recipe={"epochs": epochs, "drops": drops, "schedule": schedule})


def run(arguments: Namespace) -> int:
    """`python -m alexnet train`: say how long it takes, train, save, and compare with the record."""
    records = Store(paths.RUNS)
    spec = chosen(arguments, records)
    out = arguments.out or paths.CHECKPOINTS / f"{spec.dataset}{checkpoints.SUFFIX}"
    record = records.get(spec)
    threads = arguments.threads or (record.environment.threads if record else machine.cores())
    print(announcement(spec, record, records, threads))
    if arguments.dry_run:
        return 0
    precision = record.environment.precision if record and machine.has_bfloat16() else None
    with machine.threads(threads), pool.stopping_cleanly("The same command goes on from the last epoch."):
        description = train(spec, out, precision=precision, report=_say)
    kind = "validation" if description.test_error is None else "test"
    error = description.valid_error if description.test_error is None else description.test_error
    print(f"{out}: {description.epochs} epochs, {kind} error {error:.1%}. {proof(description, record)}")
    if out != paths.DEFAULT_CHECKPOINT:
        print(f"Use it with --checkpoint {out}")
    return 0


def announcement(spec: RunSpec, record: RunRecord | None, records: Store, threads: int) -> str:
    """What will be trained, and how long that takes."""
    size = f"{spec.net.name} on {spec.dataset}, {spec.recipe.epochs} epochs, run {spec.hash}"
    seconds = record.wall_seconds if record else pool.expected_seconds(spec, records.all()) / threads
    how = f"{threads} thread{'s' if threads > 1 else ''}"
    where = "as recorded" if record else "an estimate"
    return (
        f"Training {size}: about {pool.hours_and_minutes(seconds)} with {how} ({where}). "
        "Ctrl-C stops, the same command goes on."
    )


def _say(epoch: Epoch) -> None:
    print(
        f"epoch {epoch.epoch}: training error {epoch.train_error:.1%}, validation error {epoch.valid_error:.1%}, "
        f"{epoch.seconds:.0f} s",
        flush=True,
    )
