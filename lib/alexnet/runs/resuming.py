"""How a training outlives a kill: its state is kept after every epoch, and it goes on from there, bit by bit."""

import hashlib
import io
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, CancelFitException

from ..errors import RecordError
from ..records.files import write_atomically
from ..records.record import Epoch
from ..training import machine
from ..training.learners import CoupledLearner
from ..training.recipe import finished

Report = Callable[[Epoch], None]


class Keeper(Callback):
    """Keep model, optimiser and history in a checkpoint after every epoch, and report the epoch."""

    order = 40  # after the history has its row, before anything ends the run

    def __init__(self, path: Path, owner: dict, seconds: list[float], report: Report | None = None):
        self.path, self.owner, self.report = path, owner, report  # `owner` tells a foreign checkpoint from one's own
        self.seconds = list(seconds)  # an epoch
        self.failure: RecordError | None = None  # fastai would rewrite the message of an error that leaves a callback

    def before_train(self) -> None:
        """Start the clock of the epoch."""
        self._start = time.perf_counter()

    def after_epoch(self) -> None:
        """Stop the clock and write the checkpoint; where that fails, the training ends."""
        if not self.history.fresh:
            return
        machine.wait()
        self.seconds.append(time.perf_counter() - self._start)
        self.failure = self.write()
        if self.failure:
            raise CancelFitException
        if self.report:
            self.report(Epoch(**self.history.rows[-1], seconds=self.seconds[-1]))

    def write(self) -> RecordError | None:
        """Write the checkpoint; what keeps it from being written."""
        content = io.BytesIO()
        model: Any = getattr(self.model, "module", self.model)  # within what distributed training adds
        state = self.owner | {"rows": self.history.rows, "seconds": self.seconds}
        torch.save(state | {"model": model.state_dict(), "optimiser": self.opt.opt.state_dict()}, content)
        # torch reads a file whose weights have a flipped bit without a word, so the file starts with its own hash.
        digest = hashlib.sha256(content.getbuffer()).hexdigest().encode()
        try:
            write_atomically(self.path, digest + b"\n" + content.getvalue())
        except RecordError as error:
            return error
        return None


def read(path: Path, is_own: Callable[[dict], bool]) -> dict:
    """The state that a stopped training left; that of none: a damaged or foreign checkpoint is as good as none."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() == digest:
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            if is_own(state):
                return state
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, pickle.UnpicklingError):
        pass  # not there, or of another form, as another version of torch or of this code writes it
    return {"rows": [], "seconds": []}


def go_on(learn: CoupledLearner, state: dict, keeper: Keeper) -> None:
    """Train from a state to the recipe's end. Raises `RecordError` where the state cannot be kept."""
    if "model" in state:
        learn.model.load_state_dict(state["model"])
        learn.create_opt()
        learn.opt.opt.load_state_dict(state["optimiser"])
    rows = learn.history.rows
    remaining = learn.recipe.epochs - len(rows)
    if remaining > 0 and not finished(learn.recipe, rows):
        learn.fit(remaining, cbs=keeper)
        if keeper.failure:
            raise keeper.failure
