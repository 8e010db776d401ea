"""AlexNet on an ImageNet-style folder, as the paper trains it, on as many processes as there are (sections 4 and 5)."""

import hashlib
import io
import json
import pickle
import time
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.distributed import DistributedTrainer
from fastai.learner import Recorder
from fastai.losses import CrossEntropyLossFlat
from fastcore.basics import noop
from torch import nn

from ..errors import RecordError
from ..networks import models
from ..records.files import write_atomically
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, Spec
from ..training import learners
from ..training.batches import WEIGHTS_STREAM, seed_of
from ..training.learners import CoupledLearner, Drops, EpochSeeds, History, Precision, StopWhenDiverged
from . import processes
from .images import FolderBatches

PAPER_IMAGES = ImageSpec(scaling="mean-image", crop=227, flip=True, colour=0.1)
PAPER_RECIPE = RecipeSpec(schedule="plateau", epochs=90)


class ImagenetSpec(Spec):
    """All that determines the training, but for the images and the number of processes."""

    net: NetSpec
    images: ImageSpec = PAPER_IMAGES
    recipe: RecipeSpec = PAPER_RECIPE
    seed: int = 0

    def identity(self, fingerprint: str) -> str:
        """16 hexadecimal digits that name this training on the images of that fingerprint.

        The cap on the epochs has no part in it: with a larger one the training goes on where it ended.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"recipe": {"epochs"}})
        text = json.dumps([fields, fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SharedHistory(History):
    """The rows of all processes together: each process has the same."""

    name = "history"  # what the other callbacks know it by

    def _means(self) -> tuple[float, float]:
        sums = torch.tensor([float(self._loss), float(self._wrong), float(self._count)], dtype=torch.float64)
        loss, wrong, count = processes.total(sums).tolist()
        return loss / count, wrong / count


class Distributed(DistributedTrainer):
    """fastai's distributed training, for loaders that give each process its share themselves.

    fastai's own splitting needs CUDA, draws crops and reflections that depend on the number of processes, and repeats
    validation images until each process has as many.
    """

    def _wrap_dl(self, dl: FolderBatches) -> FolderBatches:
        return dl


class Keeper(Callback):
    """Write a checkpoint after every epoch, and say how the epoch went; the first process does both."""

    order = 40  # after the history has its row, before anything ends the run

    def __init__(self, path: Path, identity: str, seconds: list[float]):
        self.path, self.identity, self.seconds = path, identity, seconds
        self.failure: RecordError | None = None  # fastai would rewrite the message of an error that leaves a callback

    def before_train(self) -> None:
        """Start the clock of the epoch."""
        self._start = time.perf_counter()

    def after_epoch(self) -> None:
        """Stop the clock and write. Where that fails, every process ends its training."""
        if not self.history.fresh:
            return
        self.seconds.append(time.perf_counter() - self._start)
        if processes.first():
            self.failure = self._write()
            print(epoch_line(self.history.rows[-1], self.seconds[-1]), flush=True)
        self.failure = processes.of_the_first(self.failure)
        if self.failure:
            raise CancelFitException

    def _write(self) -> RecordError | None:
        content = io.BytesIO()
        wrapped = processes.number() > 1
        model: nn.Module = self.model.module if wrapped else self.model  # within what the distributed training adds
        state = {"identity": self.identity, "rows": self.history.rows, "seconds": self.seconds}
        torch.save({**state, "model": model.state_dict(), "optimiser": self.opt.opt.state_dict()}, content)
        digest = hashlib.sha256(content.getbuffer()).hexdigest().encode()  # torch reads flipped bits without a word
        try:
            write_atomically(self.path, digest + b"\n" + content.getvalue())
        except RecordError as error:
            return error
        return None


def epoch_line(row: dict, seconds: float) -> str:
    """An epoch in one line."""
    return (
        f"epoch {row['epoch']}: learning rate {row['learning_rate']:g}, training error {row['train_error']:.1%}, "
        f"validation error {row['valid_error']:.1%}, {seconds:.0f} s"
    )


def read_checkpoint(path: Path, identity: str) -> dict | None:
    """The state that an earlier training left, or None: a damaged or foreign checkpoint is as good as none."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return state if state["identity"] == identity else None
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, pickle.UnpicklingError):
        return None


def learner(
    spec: ImagenetSpec,
    train: FolderBatches,
    valid: FolderBatches,
    precision: str,
    history: list[dict],  # rows of the epochs already done
) -> CoupledLearner:
    """A fastai Learner whose processes share each batch. Dropout differs between them, the initial weights do not."""
    device, recipe = processes.device(), spec.recipe
    model = models.build(spec.net, train.preparation.side, seed_of(WEIGHTS_STREAM, spec.seed)).to(device)
    own_seed = spec.seed if processes.first() else seed_of(spec.seed, processes.rank())
    callbacks = [EpochSeeds(own_seed), Precision(precision), SharedHistory(history), StopWhenDiverged(), Drops(recipe)]
    learn = CoupledLearner(
        DataLoaders(train, valid, device=device),
        model,
        loss_func=CrossEntropyLossFlat(),
        opt_func=learners.optimiser(recipe),
        splitter=learners.weights_and_biases,
        lr=recipe.learning_rate,
        wd=recipe.weight_decay,
        wd_bn_bias=True,
        cbs=callbacks,
    )
    learn.recipe = recipe
    # fastai's own bookkeeping gathers over the processes batch by batch, and they need not have as many batches.
    learn.remove_cbs([ProgressCallback, Recorder])
    learn.logger = noop
    return learn


def fit(
    spec: ImagenetSpec,
    train: FolderBatches,
    valid: FolderBatches,
    checkpoint: Path,
    identity: str,
    precision: str,
) -> tuple[nn.Module, list[dict], list[float]]:
    """Train until the recipe ends it, from the checkpoint if there is one: the model, the history, seconds an epoch.

    Raises `RecordError` when the checkpoint cannot be written.
    """
    state = processes.of_the_first(read_checkpoint(checkpoint, identity) if processes.first() else None)
    state = state or {"rows": [], "seconds": []}
    learn = learner(spec, train, valid, precision, state["rows"])
    rows, seconds = learn.history.rows, list(state["seconds"])
    if "model" in state:
        learn.model.load_state_dict(state["model"])
        learn.create_opt()
        learn.opt.opt.load_state_dict(state["optimiser"])
    remaining = spec.recipe.epochs - len(rows)
    if remaining > 0 and not learners.diverged(rows):
        keeper = Keeper(checkpoint, identity, seconds)
        if processes.number() > 1:
            learn.add_cb(Distributed(sync_bn=False, cpu=processes.device().type == "cpu"))
        learn.fit(remaining, cbs=keeper)
        if keeper.failure:
            raise keeper.failure
    return learn.model, rows, seconds
