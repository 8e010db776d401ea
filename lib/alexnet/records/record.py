"""Run records: what a run gave, where, and what proves that it belongs to this code.

A record is a JSON file named by the hash of its spec, with a small .npz of test predictions beside it. Both are
written to a temporary name and renamed; the JSON comes last, so a record that exists is complete.
"""

import hashlib
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import RecordError
from .specs import RunSpec

SCHEMA_VERSION: Literal[1] = 1


class Part(BaseModel):
    """Base of the parts of a record: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Epoch(Part):
    """One epoch. Errors are fractions; the training figures are means over the epoch's batches as they came."""

    epoch: int  # from 1
    learning_rate: float
    train_loss: float
    train_error: float
    valid_loss: float
    valid_error: float
    clean_train_loss: float | None = None  # on a fixed part of the training images, dropout off, not augmented
    clean_train_error: float | None = None
    # what some published protocols chose their epoch by; nothing here does
    test_loss: float | None = None
    test_error: float | None = None
    dropout_valid_loss: float | None = None  # with dropout on
    dropout_valid_error: float | None = None
    seconds: float


class Final(Part):
    """How a run ended."""

    outcome: Literal["reached", "censored", "completed", "diverged"]
    # reached: the training error came to its target; censored: it did not within the cap; completed: no target was
    # set; diverged: the loss was no longer a number
    epochs: int
    epochs_to_target: float | None  # interpolated linearly between epochs; None unless reached
    train_error: float
    valid_error: float
    test_error: float | None  # None for runs that choose something
    test_loss: float | None
    clean_train_error: float | None = None  # on all training images, dropout off, not augmented; None: not measured
    clean_train_loss: float | None = None


class Learned(Part):
    """What a trained network has learned; each figure follows from the arrays beside the record. None: not measured."""

    ten_crop_error: float | None = None  # test error with ten crops (section 4.1), a fraction
    tower_colour: float | None = None  # difference of the towers in their first kernels' colour selectivity, 0..1
    half_colour: float | None = None  # the same between random halves of the kernels, its mean
    untrained_tower_colour: float | None = None  # difference of the towers before training
    runner_up_kind: float | None = None  # share of the labels ranked second to fifth that are of the true one's kind
    random_kind: float | None = None  # the same in a random order
    feature_neighbours_share: float | None = None  # share of the nearest training images that have the image's class
    pixel_neighbours_share: float | None = None  # the same, nearest in pixels


class Probe(Part):
    """What a fresh build of the spec gives before training; it does not depend on the device."""

    parameters: int
    weights_sum: float
    weights_norm: float
    first_batch_sha256: str  # of the int64 places in the training set of the first batch
    loss: float  # float32, on the first batch, dropout off
    gradient_norm: float

    def differences(self, other: "Probe") -> Iterator[str]:
        """What another probe of the same spec has otherwise, beyond rounding; each difference in words.

        The draw is the same everywhere up to the last bit of a logarithm or cosine. Sums over the weights lose at most
        that, so 1e-6 is generous, and another draw moves the norm by more, whatever the size of the network. Loss and
        gradient depend on the order of float32 sums: with one thread, two threads and without oneDNN they differed
        by up to 1e-7 and 1e-5 (cuda-convnet's initial weights of 1e-4 make the gradient the most sensitive).
        """
        for name in ("parameters", "first_batch_sha256"):
            if getattr(self, name) != getattr(other, name):
                yield f"{name} is {getattr(self, name)}, recomputed {getattr(other, name)}"
        # The sum of n weights around zero is itself like one draw: its rounding is measured by what it adds up.
        sum_tolerance = 1e-6 * self.weights_norm * math.sqrt(max(self.parameters, 1))
        tolerances = {"weights_sum": (0.0, sum_tolerance), "weights_norm": (1e-6, 0.0)}
        tolerances |= {"loss": (1e-4, 0.0), "gradient_norm": (1e-3, 0.0)}
        for name, (relative, absolute) in tolerances.items():
            here, there = getattr(self, name), getattr(other, name)
            if not math.isclose(here, there, rel_tol=relative, abs_tol=absolute):
                yield f"{name} is {here:.9g}, recomputed {there:.9g}"


class Environment(Part):
    """Where a run happened."""

    device: str
    precision: str
    threads: int
    cpu: str
    cores: int
    gpu: str
    system: str
    python: str
    torch: str
    code: str | None = None  # `paths.training_code()` of what made a run; None in records made before this field

    @property
    def place(self) -> str:
        """What trained, in words: the GPU, or the processor and its threads."""
        if self.device == "cuda":
            return self.gpu
        return f"{self.cpu}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class DataUsed(Part):
    """Which arrays were used."""

    name: str
    source: str
    hashes: dict[str, str]


class Signal(Part):
    """What a nonlinearity is given on one batch, and how the loss depends on it."""

    layer: str
    input: float  # standard deviation of its inputs
    gradient: float  # standard deviation of the derivative of the batch's mean loss by its inputs
    flat: float  # share of units where its slope is (nearly) zero: ReLU below 0, tanh beyond +-0.95


class Predictions(Part):
    """The file of test predictions beside the record."""

    file: str
    sha256: str


class RunRecord(Part):
    """All that is known of one run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    hash: str
    spec: RunSpec
    history: list[Epoch]
    final: Final
    wall_seconds: float
    images_per_second: float  # training images, while training
    environment: Environment
    data: DataUsed
    probe: Probe
    predictions: Predictions | None
    learned: Learned | None = None
    signals: list[Signal] | None = None  # after training, on the probe's batch; None in records made before this field
    weights_sha256: str
    created: str  # UTC, ISO 8601

    @property
    def sha256(self) -> str:
        """Of all it says; fields at their defaults are left out, so that one added later does not change it."""
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def epochs_to(target: float, errors: list[float]) -> float | None:
    """Epochs until the error falls to `target`, linear between the ends of epochs; None if it never does.

    An error at or below the target in the first epoch counts as one epoch.
    """
    for place, error in enumerate(errors):
        if error <= target:
            before = errors[place - 1] if place else target
            return place + 1.0 if before <= target else place + (before - target) / (before - error)
    return None


TEMPORARY = ".tmp-"  # what the names of unfinished files begin with; the name they shall have follows


class Store:
    """A folder of run records."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.work = self.folder / ".work"  # checkpoints, locks and logs of runs under way; never committed

    def path(self, run_hash: str) -> Path:
        """Where the record of that hash lies."""
        return self.folder / f"{run_hash}.json"

    def get(self, spec: RunSpec) -> RunRecord | None:
        """The record of a spec, or None when it has not been run."""
        return self.load(spec.hash) if self.path(spec.hash).exists() else None

    def load(self, run_hash: str) -> RunRecord:
        """The record of that hash. Raises `RecordError` when it is damaged or its spec does not hash to its name."""
        path = self.path(run_hash)
        if not re.fullmatch("[0-9a-f]{16}", run_hash):
            raise RecordError(f"{path} is not named as a record, by 16 hexadecimal digits: a copy? Move it elsewhere.")
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} cannot be read ({error}); delete it and run `make runs`.") from error
        record = read_record(text, path)
        if run_hash != record.hash == record.spec.hash:
            raise RecordError(f"{path} holds the record {record.hash}; rename it to {record.hash}.json, or delete it.")
        if record.hash != record.spec.hash:
            raise RecordError(
                f"{path}: the spec inside hashes to {record.spec.hash}, but the record calls itself {record.hash}. "
                "It was altered or belongs to another version of the code; delete it and run `make runs`."
            )
        return record

    def hashes(self) -> list[str]:
        """The names of all records, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def all(self) -> Iterator[RunRecord]:
        """Every record, in the order of the hashes."""
        return map(self.load, self.hashes())

    def predictions(self, record: RunRecord) -> dict[str, np.ndarray]:
        """`predicted` uint8 [N] and `true_log_probability` float16 [N] on the test set, in its order, and what else
        `alexnet.training.evaluation` kept of the run.

        Raises `RecordError` when the file is missing or is not the one that was recorded.
        """
        if record.predictions is None:
            raise RecordError(f"Run {record.hash} did not use the test set, so it has no predictions.")
        path = self.folder / record.predictions.file
        if not path.exists():
            raise RecordError(f"{path} is missing; restore it, or delete {record.hash}.json and run `make runs`.")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.predictions.sha256:
            raise RecordError(f"{path} is not the file that was recorded; delete {record.hash}.json and `make runs`.")
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)

    def put_predictions(self, run_hash: str, arrays: dict[str, np.ndarray]) -> Predictions:
        """Store a run's arrays, the test predictions among them, and say what to record of them."""
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
        write_atomically(self.folder / f"{run_hash}.npz", content.getvalue())
        return Predictions(file=f"{run_hash}.npz", sha256=hashlib.sha256(content.getvalue()).hexdigest())

    def put(self, record: RunRecord) -> Path:
        """Store a record; its predictions must be there already."""
        path = self.path(record.hash)
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def lock(self, run_hash: str) -> FileLock:
        """The lock a process holds while it executes that run. Raises `RecordError` where none can be kept."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(self.work, error) from error
        return FileLock(self.work / f"{run_hash}.lock")

    @contextmanager
    def hold(self, run_hash: str) -> Iterator[None]:
        """Wait for the lock of a run and hold it. Raises `RecordError` where the folder does not take it."""
        lock = self.lock(run_hash)
        try:
            lock.acquire()
        except OSError as error:
            raise _not_writable(self.work, error) from error
        try:
            yield
        finally:
            lock.release()

    def checkpoint(self, run_hash: str) -> Path:
        """Where a run under way keeps its last epoch."""
        return self.work / f"{run_hash}.checkpoint"

    def leftovers(self, run_hash: str = "*") -> list[Path]:
        """Checkpoints and unfinished files of a run, or of all."""
        unfinished = f"{TEMPORARY}{run_hash}.*"
        return sorted(
            [*self.folder.glob(unfinished), *self.work.glob(unfinished), *self.work.glob(f"{run_hash}.checkpoint")]
        )

    def remove_leftovers(self, run_hash: str) -> None:
        """Delete a run's leftovers; only for the holder of its lock, when its record is complete."""
        for path in self.leftovers(run_hash):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what killed processes left of runs whose records are complete; runs under way are not touched."""
        names = {path.name.removeprefix(TEMPORARY).split(".")[0] for path in self.leftovers()}
        for run_hash in sorted(names & set(self.hashes())):
            with suppress(OSError), self.lock(run_hash).acquire(timeout=0):  # held by another process: its business
                self.remove_leftovers(run_hash)


def read_record(text: str, path: Path | str) -> RunRecord:
    """Parse a record. Raises `RecordError` that tells a newer schema from damage."""
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",):
            raise RecordError(
                f"{path} has schema version {first['input']!r}; this code reads version {SCHEMA_VERSION}. "
                "Update the code, or delete the record and run `make runs`."
            ) from error
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RecordError(
            f"{path} is not a run record: {place}: {first['msg']}. Restore it, or delete it and run `make runs`."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there. Raises `RecordError` when the disk does not take it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{TEMPORARY}{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> RecordError:
    return RecordError(f"{path} cannot be written: {error.strerror or error}. Free the disk or check its rights.")
