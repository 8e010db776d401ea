"""AlexNet on an ImageNet-style folder, as the paper trains it, on as many processes as there are (sections 4 and 5)."""

import hashlib
import json
from pathlib import Path

import torch
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.distributed import DistributedTrainer
from fastai.learner import Recorder
from fastcore.basics import noop
from torch import nn

from ..errors import RecordError
from ..networks import models
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, Spec
from ..runs import resuming
from ..runs.resuming import Keeper
from ..training.batches import WEIGHTS_STREAM, seed_of
from ..training.callbacks import Ending, EpochSeeds, History, Precision, Schedule
from ..training.learners import coupled
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


class SharedKeeper(Keeper):
    """Of several processes the first keeps the state, and says how the epoch went."""

    def write(self) -> RecordError | None:
        """Write and speak; where the first process cannot write, every process ends its training."""
        failure = None
        if processes.first():
            failure = super().write()
            row = self.history.rows[-1]
            print(
                f"epoch {row['epoch']}: learning rate {row['learning_rate']:g}, training error "
                f"{row['train_error']:.1%}, validation error {row['valid_error']:.1%}, {self.seconds[-1]:.0f} s",
                flush=True,
            )
        return processes.of_the_first(failure)


def fit(
    spec: ImagenetSpec,
    train: FolderBatches,
    valid: FolderBatches,
    checkpoint: Path,
    identity: str,
    precision: str,
) -> tuple[nn.Module, list[dict], list[float]]:
    """Train until the recipe ends it, from the checkpoint if there is one: the model, the history, seconds an epoch.

    The processes share each batch. Raises `RecordError` when the checkpoint cannot be written.
    """
    kept = resuming.read(checkpoint, lambda state: processes.first() and state["identity"] == identity)
    state = processes.of_the_first(kept)
    device, recipe = processes.device(), spec.recipe
    model = models.build(spec.net, train.preparation.side, seed_of(WEIGHTS_STREAM, spec.seed)).to(device)
    # Dropout differs between the processes, the initial weights do not.
    own_seed = spec.seed if processes.first() else seed_of(spec.seed, processes.rank())
    callbacks = [EpochSeeds(own_seed), Precision(precision), SharedHistory(state["rows"])]
    callbacks += [Ending(recipe), Schedule(recipe)]
    if processes.number() > 1:
        callbacks.append(Distributed(sync_bn=False, cpu=device.type == "cpu"))
    learn = coupled(recipe, DataLoaders(train, valid, device=device), model, callbacks)
    # fastai's own bookkeeping gathers over the processes batch by batch, and they need not have as many batches.
    learn.remove_cbs([ProgressCallback, Recorder])
    learn.logger = noop
    keeper = SharedKeeper(checkpoint, {"identity": identity}, state["seconds"])
    resuming.go_on(learn, state, keeper)
    return learn.model, learn.history.rows, keeper.seconds
