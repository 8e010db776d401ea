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
from ..records.record import DataUsed, Environment, Epoch, Final, Probe, RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..training import evaluation, learners, machine, signals
from ..training.prepared import Prepared, prepare
from ..training.recipe import ending
from . import resuming
from .resuming import Keeper, Report

CACHED = 2**16  # float64 numbers that are summed at a time


def execute(spec: RunSpec, store: Store, precision: str | None = None, report: Report | None = None) -> RunRecord:
    """Run `spec` unless its record exists; resume from its checkpoint if there is one; store and return the record.

    A second process that asks for the same run waits for the first and takes its record. Raises `RecordError` when
    the store cannot be written; all that it holds by then stays.
    """
    record = store.get(spec)
    if record is None:
        with store.hold(spec.hash), machine.denormals_as_zero():
            record = store.get(spec)
            if record is None:
                run = prepare(spec, precision=precision)
                done = trained(run, store, report)
                found = evaluation.evaluate(run, done.learn.model, done.learn.dls.valid) if spec.test else None
                record = recorded(done, found, store)
                gc.collect()  # learner and callbacks refer to each other, and a process may make many runs
                machine.return_freed_memory()
            store.remove_leftovers(spec.hash)
    return record


@dataclass(frozen=True)
class Training:
    """A network that was trained to its recipe's end."""

    run: Prepared
    learn: learners.CoupledLearner  # its `history.rows` has a row an epoch
    seconds: list[float]  # an epoch
    probe: Probe


def trained(run: Prepared, store: Store, report: Report | None = None) -> Training:
    """Train a run to its end, from its checkpoint in the store if there is one. Only for the holder of its lock."""
    machine.keep_freed_memory()
    fresh, path = probe_of(run), store.checkpoint(run.spec.label)
    owner = {"hash": run.spec.hash, "code": paths.training_code(), "precision": run.precision}

    def is_own(state: dict) -> bool:
        """Not of another spec, code or precision, nor of packages that draw otherwise: its probe tells."""
        same = all(state[name] == value for name, value in owner.items())
        return same and not any(fresh.differences(Probe(**state["probe"])))

    state = resuming.read(path, is_own)
    learn = learners.learner_of(run, progress=False, history=state["rows"])
    keeper = Keeper(path, owner | {"probe": fresh.model_dump()}, state["seconds"], report)
    resuming.go_on(learn, state, keeper)
    return Training(run, learn, keeper.seconds, fresh)


def probe(spec: RunSpec, model: nn.Sequential | None = None) -> Probe:
    """What a fresh build of the spec gives before training, on the CPU in float32 with dropout off (a second); it is
    not built again where it is given."""
    return probe_of(prepare(spec), model)


def probe_of(run: Prepared, model: nn.Sequential | None = None) -> Probe:
    """The same for a run that is prepared already."""
    model, places, images, labels = run.beginning(model)
    model.zero_grad()
    model.eval()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    weights_sum, weights_norm = _sum_and_norm(p.detach() for p in model.parameters())
    return Probe(
        parameters=models.parameter_count(model),
        weights_sum=weights_sum,
        weights_norm=weights_norm,
        first_batch_sha256=hashlib.sha256(places.numpy().tobytes()).hexdigest(),
        loss=loss.item(),
        gradient_norm=_sum_and_norm(p.grad for p in model.parameters() if p.grad is not None)[1],
    )


def _sum_and_norm(tensors: Iterable[Tensor]) -> tuple[float, float]:
    """In float64, in parts that a core's cache holds: a whole layer at once takes eight times as long."""
    total = squares = 0.0
    for values in tensors:
        for part in map(Tensor.double, values.reshape(-1).split(CACHED)):
            total, squares = total + part.sum().item(), squares + part.dot(part).item()
    return total, squares**0.5


def recorded(done: Training, found: evaluation.Evaluation | None, store: Store) -> RunRecord:
    """The record of a training and of what was found of its network; both are put into the store."""
    run, learn, seconds = done.run, done.learn, done.seconds
    spec, rows = run.spec, learn.history.rows
    predictions = store.put_predictions(spec.hash, found.arrays) if found else None
    outcome, epochs_to_target = ending(spec.recipe, rows)
    environment = {"device": run.device.type, "precision": run.precision, "threads": torch.get_num_threads()}
    record = RunRecord(
        hash=spec.hash,
        spec=spec,
        history=[Epoch(**row, seconds=s) for row, s in zip(rows, seconds, strict=True)],
        final=Final(
            outcome=outcome,
            epochs=len(rows),
            epochs_to_target=epochs_to_target,
            train_error=rows[-1]["train_error"],
            valid_error=rows[-1]["valid_error"],
            **(found.figures if found else {"test_error": None, "test_loss": None}),
        ),
        wall_seconds=sum(seconds),
        images_per_second=run.images_an_epoch * len(rows) / sum(seconds),
        environment=Environment(code=paths.training_code(), **environment, **machine.describe()),
        data=DataUsed(name=run.split.dataset.name, source=run.split.dataset.source, hashes=run.hashes),
        probe=done.probe,
        predictions=predictions,
        learned=found.learned if found else None,
        signals=signals.measure(learn.model, *learn.dls.train.first_batch()),
        weights_sha256=weights_sha256(learn.model),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.put(record)
    return record


def weights_sha256(model: nn.Module) -> str:
    """The hash of all weights and buffers, in the model's order."""
    digest = hashlib.sha256()
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights.detach().cpu().contiguous().numpy()).tobytes())
    return digest.hexdigest()
