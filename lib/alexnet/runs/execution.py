"""RunSpec -> RunRecord: probe, train with a checkpoint an epoch, evaluate, record; resume where a run was killed."""

import gc
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor, nn

from .. import paths
from ..networks import models
from ..records.record import DataUsed, Environment, Epoch, Final, Probe, RunRecord, Signal, epochs_to
from ..records.specs import RunSpec
from ..records.store import Store
from ..training import batches, evaluation, learners, machine, pretrained, signals
from . import resuming
from .resuming import Keeper, Report


def probe(spec: RunSpec) -> Probe:
    """What a fresh build of the spec gives before training, on the CPU in float32 with dropout off (a second)."""
    cpu = torch.device("cpu")
    training = batches.loaders(spec, cpu).train
    places, _ = training.order(epoch=0)
    images, labels = training.one_batch()
    model = pretrained.build(spec, training.preparation.side)  # the whole network, even if a part of it is frozen
    model.eval()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    weights_sum, weights_norm = _sum_and_norm(p.detach() for p in model.parameters())
    return Probe(
        parameters=models.parameter_count(model),
        weights_sum=weights_sum,
        weights_norm=weights_norm,
        first_batch_sha256=hashlib.sha256(places[: training.bs].numpy().tobytes()).hexdigest(),
        loss=loss.item(),
        gradient_norm=_sum_and_norm(p.grad for p in model.parameters() if p.grad is not None)[1],
    )


def _sum_and_norm(tensors: Iterable[Tensor]) -> tuple[float, float]:
    """In float64, a tensor at a time: all at once would take half a gigabyte for the full network."""
    total = squares = 0.0
    for values in map(Tensor.double, tensors):
        total, squares = total + values.sum().item(), squares + values.square().sum().item()
    return total, squares**0.5


def execute(spec: RunSpec, store: Store, precision: str | None = None, report: Report | None = None) -> RunRecord:
    """Run `spec` unless its record exists; resume from its checkpoint if there is one; store and return the record.

    A second process that asks for the same run waits for the first and takes its record. Raises `RecordError` when
    the store cannot be written; all that it holds by then stays.
    """
    record = store.get(spec)
    if record is None:
        with store.hold(spec.hash):
            record = store.get(spec)
            if record is None:
                record = _execute(spec, store, precision or machine.default_precision(), report)
                store.put(record)
                gc.collect()  # learner and callbacks refer to each other, and a process may make many runs
                machine.return_freed_memory()
            store.remove_leftovers(spec.hash)
    return record


@dataclass(frozen=True)
class Training:
    """A network that was trained to its recipe's end."""

    learn: learners.CoupledLearner  # its `history.rows` has a row an epoch
    seconds: list[float]  # an epoch
    probe: Probe


def trained(spec: RunSpec, store: Store, precision: str, report: Report | None = None) -> Training:
    """Train a run to its end, from its checkpoint in the store if there is one. Only for the holder of its lock."""
    machine.keep_freed_memory()
    fresh = probe(spec)
    path = store.checkpoint(spec.hash)
    # One of code whose networks or batches are others is foreign too: its probe tells.
    state = resuming.read(
        path, lambda kept: kept["hash"] == spec.hash and not any(fresh.differences(Probe(**kept["probe"])))
    )
    learn = learners.learner(spec, precision=precision, progress=False, history=state["rows"])
    keeper = Keeper(path, {"hash": spec.hash, "probe": fresh.model_dump()}, state["seconds"], report)
    resuming.go_on(learn, state, keeper, finished(spec, learn.history.rows))
    return Training(learn, keeper.seconds, fresh)


def _execute(spec: RunSpec, store: Store, precision: str, report: Report | None) -> RunRecord:
    done = trained(spec, store, precision, report)
    learn, seconds, fresh = done.learn, done.seconds, done.probe
    rows = learn.history.rows
    history = [Epoch(**row, seconds=s) for row, s in zip(rows, seconds, strict=True)]
    outcome, epochs_to_target = ending(spec, rows)
    found = evaluation.evaluate(spec, learn) if spec.test else None
    predictions = store.put_predictions(spec.hash, found.arrays) if found else None
    dataset, train, _ = batches.split_for(spec)
    images = len(train) // spec.recipe.batch_size * spec.recipe.batch_size * len(rows)
    device = learn.dls.device
    threads = torch.get_num_threads()
    return RunRecord(
        hash=spec.hash,
        spec=spec,
        history=history,
        final=Final(
            outcome=outcome,
            epochs=len(rows),
            epochs_to_target=epochs_to_target,
            train_error=rows[-1]["train_error"],
            valid_error=rows[-1]["valid_error"],
            test_error=found.test_error if found else None,
            test_loss=found.test_loss if found else None,
            clean_train_error=found.clean_train_error if found else None,
            clean_train_loss=found.clean_train_loss if found else None,
        ),
        wall_seconds=sum(seconds),
        images_per_second=images / sum(seconds),
        environment=Environment(
            device=device.type, precision=precision, threads=threads, code=paths.training_code(), **machine.describe()
        ),
        data=DataUsed(name=dataset.name, source=dataset.source, hashes=dataset.hashes | pretrained.hashes(spec)),
        probe=fresh,
        predictions=predictions,
        learned=found.learned if found else None,
        signals=_signals(learn),
        weights_sha256=weights_sha256(learn.model),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _signals(learn: learners.CoupledLearner) -> list[Signal]:
    """The signals after training, on the first batch of the first epoch, as the probe has it."""
    training = learn.dls.train
    training.epoch = 0
    return signals.measure(learn.model, *training.one_batch())


def finished(spec: RunSpec, rows: list[dict]) -> bool:
    """Whether a history needs no further epoch, whatever the cap."""
    target = spec.recipe.stop_at_train_error
    return learners.diverged(rows) or (target is not None and bool(rows) and rows[-1]["train_error"] <= target)


def ending(spec: RunSpec, rows: list[dict]) -> tuple[str, float | None]:
    """The outcome of a history, and the epochs to the target if it was reached."""
    if learners.diverged(rows):
        return "diverged", None
    if spec.recipe.stop_at_train_error is None:
        return "completed", None
    reached = epochs_to(spec.recipe.stop_at_train_error, [row["train_error"] for row in rows])
    return ("censored", None) if reached is None else ("reached", reached)


def weights_sha256(model: nn.Module) -> str:
    """The hash of all weights and buffers, in the model's order."""
    digest = hashlib.sha256()
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights.detach().cpu().contiguous().numpy()).tobytes())
    return digest.hexdigest()
