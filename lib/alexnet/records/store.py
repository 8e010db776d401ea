"""A folder of run records.

A record is a JSON file named by the hash of its spec, with a small .npz of test predictions beside it. Both are
written to a temporary name and renamed; the JSON comes last, so a record that exists is complete.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import ValidationError

from .. import paths
from ..errors import RecordError, at_fault
from .files import TEMPORARY, not_writable, write_atomically
from .record import SCHEMA_VERSION, Predictions, RunRecord
from .specs import RunSpec


class Store:
    """A folder of run records."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.work = self.folder / ".work"  # locks and checkpoints of runs under way; never committed

    @property
    def checkpoints(self) -> Path:
        """The folder in which runs under way keep their last epoch."""
        return paths.checkpoints_folder() if self.folder == paths.RUNS else self.work

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

    def lock(self, run_hash: str, folder: Path | None = None) -> FileLock:
        """The lock a process holds while it executes that run. Raises `RecordError` where none can be kept."""
        folder = folder or self.work
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(folder, error) from error
        return FileLock(folder / f"{run_hash}.lock")

    @contextmanager
    def hold(self, run_hash: str, seconds: float = -1) -> Iterator[None]:
        """Wait for the locks of a run and hold them: another clone may share its checkpoint. Raises `RecordError`
        where a folder does not take them, or after so many seconds."""
        with ExitStack() as held:
            for folder in dict.fromkeys((self.work, self.checkpoints)):
                try:
                    held.enter_context(self.lock(run_hash, folder).acquire(seconds))
                except OSError as error:
                    raise not_writable(folder, error) from error
            yield

    def checkpoint(self, label: str) -> Path:
        """Where a run under way keeps its last epoch; its label ends with its hash."""
        return self.checkpoints / f"{label}.checkpoint"

    def foreign_checkpoints(self, run_hash: str) -> list[Path]:
        """What other training code has left of a run: it is neither used nor removed."""
        found = self.checkpoints.parent.glob(f"*/*{run_hash}.checkpoint")
        return sorted(path for path in found if path.parent != self.checkpoints)

    def leftovers(self, run_hash: str = "") -> list[Path]:
        """Checkpoints and unfinished files of a run, or of all."""
        unfinished, kept = f"{TEMPORARY}*{run_hash}.*", f"*{run_hash}.checkpoint"
        found = {*self.folder.glob(unfinished)}
        for folder in (self.work, self.checkpoints):
            found |= {*folder.glob(unfinished), *folder.glob(kept)}
        return sorted(found)

    def remove_leftovers(self, run_hash: str) -> None:
        """Delete a run's leftovers; only for the holder of its lock, when its record is complete."""
        for path in self.leftovers(run_hash):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what killed processes left of runs whose records are complete; runs under way are not touched."""
        names = {path.name.removeprefix(TEMPORARY).split(".")[0][-16:] for path in self.leftovers()}
        for run_hash in sorted(names & set(self.hashes())):
            with suppress(RecordError), self.hold(run_hash, seconds=0):  # held by another process: its business
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
        raise RecordError(
            f"{path} is not a run record: {at_fault(error, most=1)}. Restore it, or delete it and run `make runs`."
        ) from error
