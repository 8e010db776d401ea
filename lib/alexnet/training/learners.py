"""fastai Learners for the paper's recipe."""

import copy
import importlib
from functools import partial
from typing import Any

import fastai.callback.hook  # gives every Learner its summary()
import fastai.callback.schedule  # noqa: F401  gives every Learner its lr_find()
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.callback.tracker import ReduceLROnPlateau
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import error_rate
from fastai.optimizer import OptimWrapper
from fastcore.basics import noop
from torch import Tensor, nn

from ..data.compat import declare_operators
from ..errors import SpecError
from ..records.specs import LEARNING, RecipeSpec, RunSpec, TransferSpec
from . import machine
from . import recipe as recipes
from .batches import Batches
from .callbacks import Ending, EpochSeeds, History, OnDevice, Precision, Schedule, Smoothing, Unfreezing, Watching
from .evaluation import log_probabilities
from .prepared import Prepared, prepare

declare_operators()  # whoever imports learners may go on with torchvision or fastai.vision

CLEAN_IMAGES = 5000  # training images that are looked at with dropout off after each epoch, where a run asks for it
INSTEAD = {  # fastai's callbacks that this learner refuses, and what to use
    MixedPrecision: 'use to_bf16(), or learner(spec, precision="bfloat16")',
    ReduceLROnPlateau: 'use a recipe with schedule="plateau"',  # fastai's sets nothing on torch's optimisers
}


class CrossEntropy(CrossEntropyLossFlat):
    """fastai's cross-entropy on plain tensors: its own tensor class makes each small operation several times slower."""

    def _contiguous(self, values: Tensor) -> Tensor:
        return values.transpose(self.axis, -1).contiguous()


class CoupledLearner(Learner):
    """A Learner whose `fit` trains as its recipe says unless told otherwise."""

    recipe: RecipeSpec
    transfer: TransferSpec | None = None
    opt: Any  # None before the first training
    _present: tuple[Callback, ...] = ()
    _listeners: dict[str, list[Callback]]

    @property
    def by_layers(self) -> bool:
        """Whether the parameter groups are layers, and not weights and biases."""
        return self.transfer is not None and not self.transfer.frozen

    def __call__(self, event_name: object) -> None:
        """Tell the callbacks of an event; fastai makes a list of its own of each name first."""
        if isinstance(event_name, str):
            self._call_one(event_name)
        else:
            super().__call__(event_name)

    def _set_device(self, b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Our batches are made on the device; fastai looks at every parameter and tensor to find that out."""
        return b if isinstance(self.dl, Batches) else super()._set_device(b)

    def _call_one(self, event: str) -> None:
        """Ask only the callbacks that listen to this event; fastai sorts and asks all of them, several times a batch.

        After `fit` each is asked, since fastai then switches those on again that had been switched off.
        """
        if event == "after_fit":
            return super()._call_one(event)
        present = tuple(self.cbs)
        if self._present != present:
            self._present, self._listeners = present, {}
        if event not in self._listeners:
            self._listeners[event] = self.ordered_cbs(event)
        for callback in self._listeners[event]:
            callback(event)

    def to_detach(self, b: object, cpu: bool = True, gather: bool = True) -> object:
        """Single numbers stay on the device, where fastai's figures are summed; all else is as fastai has it."""
        single = isinstance(b, Tensor) and b.dim() == 0
        return super().to_detach(b, cpu=cpu and not single, gather=gather)

    def fit(self, n_epoch: int | None = None, lr: object = None, wd: float | None = None, **options: object) -> None:
        """Train for `n_epoch` epochs (the recipe's cap by default) at the recipe's rates, weight decay and momentum.

        Raises `SpecError` when there is nothing to train on, as in a learner that was exported.
        """
        if not len(self.dls.train):
            raise SpecError("This learner has no images to train on; make one with learner(spec) and load its weights.")
        epochs = self.recipe.epochs if n_epoch is None else n_epoch
        rates = recipes.learning_rates(self.recipe, self.transfer) if lr is None else lr
        decays = recipes.weight_decays(self.recipe, self.transfer) if wd is None else wd
        if self.opt is not None:
            self.opt.set_hypers(mom=self.recipe.momentum)  # fit_one_cycle leaves another
        super().fit(epochs, rates, decays, **options)

    def one_batch(self, i: int, b: tuple[Tensor, ...]) -> None:
        """Train or validate on a batch. Ctrl-C in a forward pass must not leave the whole process in autocast."""
        try:
            super().one_batch(i, b)
        finally:
            self.precision.leave()

    def lr_find(self, *arguments: object, **options: object) -> object:
        """fastai's search for a learning rate; weights and optimiser are as before, however it ends.

        Raises `SpecError` when it saw too few losses to suggest a rate.
        """
        optimiser = None if self.opt is None else copy.deepcopy(self.opt.state_dict())
        weights = copy.deepcopy(self.model.state_dict())
        try:
            return super().lr_find(*arguments, **options)
        except IndexError as error:
            if self.dl is not None:
                raise  # it comes from the training, and not from what looks at its losses
            seen = len(self.recorder.losses)
            raise SpecError(
                f"{seen} losses are too few to suggest a learning rate; give more steps (num_it) or a lower start_lr."
            ) from error
        finally:
            self.model.load_state_dict(weights)
            if optimiser is None:
                self.opt = None
            else:
                self.opt.load_state_dict(optimiser)

    def freeze_to(self, n: int) -> None:
        """Train only the layers from the n-th on, of those that have parameters: -1 is the last alone, 0 are all."""
        self.remove_cb(Unfreezing)  # who freezes by hand does it instead of the recipe
        if self.by_layers:
            super().freeze_to(n)
            return
        if self.opt is None:
            self.create_opt()
        layers = [layer for layer in self.model.children() if len(list(layer.parameters()))]
        self.model.requires_grad_(False)
        for layer in layers[n:]:
            layer.requires_grad_(True)
        self.opt.clear_state()

    def fine_tune(self, *arguments: object, **options: object) -> None:
        """fastai's fine-tuning. Raises `SpecError` where no layer comes from another training."""
        if not self.by_layers:
            raise SpecError("No layers from elsewhere are trained here: use fit_one_cycle, or a spec with transfer.")
        super().fine_tune(*arguments, **options)

    def add_cb(self, cb: Callback | type[Callback]) -> "CoupledLearner":
        """Add a callback. Raises `SpecError` for those of fastai's that would do nothing or undo ours."""
        for kind, instead in INSTEAD.items():
            if cb is kind or isinstance(cb, kind):
                raise SpecError(f"{kind.__name__} does not work with this learner: {instead}.")
        return super().add_cb(cb)

    def to_bf16(self) -> "CoupledLearner":
        """Run the forward pass in bfloat16 from now on."""
        return self.remove_cb(Precision).add_cb(Precision("bfloat16"))

    def to_fp32(self) -> "CoupledLearner":
        """Run everything in float32 from now on."""
        return self.remove_cb(Precision).add_cb(Precision("float32"))

    def tta(self, ds_idx: int = 1, dl: Batches | None = None, **options: object) -> tuple[Tensor, Tensor | None]:
        """Softmax [N, classes] averaged over the paper's ten crops (section 4.1), and the labels [N] if there are any.

        Raises `SpecError` for options of fastai's own, random, test-time augmentation.
        """
        if options:
            raise SpecError(f"Test-time augmentation is the paper's ten crops; leave out {', '.join(options)}.")
        images = self.dls[ds_idx] if dl is None else dl
        found, labels = log_probabilities(self.model, images, self.precision.precision, ten_crop=True)
        return found.exp(), labels if images.dataset.labelled else None

    def export(self, *arguments: object, **options: object) -> None:
        """Write the learner without any images, for predictions."""
        with self.removed_cbs([cb for cb in self.cbs if isinstance(cb, Watching)]):
            self._present, self._listeners = (), {}
            super().export(*arguments, **options)


def learner(
    spec: RunSpec,
    device: torch.device | None = None,  # None: the GPU if there is one
    precision: str | None = None,  # "float32" or "bfloat16"; None: what the hardware is fast at
    progress: bool = True,  # fastai's progress bar and table
) -> CoupledLearner:
    """A fastai Learner ready to train the run `spec` describes: `learner(spec).fit()`.

    `learn.history.rows` holds the figures of each epoch. Raises `SpecError` for options that do not go together.
    """
    importlib.import_module("fastai.vision.learner")  # teaches fastai how images with classes and losses are shown
    return learner_of(prepare(spec, device, precision), progress)


def learner_of(
    run: Prepared,
    progress: bool = True,
    history: list[dict] | None = None,  # rows of the epochs already done, when resuming
) -> CoupledLearner:
    """The same for a run that is prepared already."""
    machine.keep_freed_memory()
    recipe, transfer, seed = run.spec.recipe, run.spec.transfer, run.spec.seed
    dls = run.loaders()
    model = run.trained_part().to(run.device)
    if backend := machine.compiler():
        model.compile(backend=backend)
    clean = run.clean_training(CLEAN_IMAGES) if run.spec.measured in LEARNING else None
    test = run.test() if run.spec.measured == "epochs" else None
    callbacks = [EpochSeeds(seed), Precision(run.precision), History(history), Watching(seed, clean, test)]
    callbacks += [Ending(recipe), Schedule(recipe, seed), OnDevice()]
    if recipe.label_smoothing:
        callbacks.append(Smoothing(recipe.label_smoothing))
    thawing = transfer is not None and not transfer.frozen
    if transfer is not None and thawing:
        callbacks.append(Unfreezing(transfer))
    options = {"splitter": recipes.layer_groups, "opt_func": recipes.optimiser(recipe, OptimWrapper)} if thawing else {}
    learn = coupled(recipe, dls, model, callbacks, metrics=error_rate, **options)
    learn.transfer = transfer
    if not progress:
        learn.remove_cb(ProgressCallback)
        learn.logger = noop
    return learn


def coupled(
    recipe: RecipeSpec,
    dls: DataLoaders,
    model: nn.Module,
    callbacks: list[Callback],
    **options: Any,  # of fastai's Learner, in the place of those that follow from the recipe
) -> CoupledLearner:
    """A learner that trains a model by a recipe, with weights and biases in groups of their own."""
    by_recipe = {
        "opt_func": recipes.optimiser(recipe),
        "splitter": partial(recipes.weights_and_biases, recipe=recipe),
        "lr": recipe.learning_rate,
        "wd": recipe.weight_decay,
    }
    learn = CoupledLearner(dls, model, CrossEntropy(), wd_bn_bias=True, cbs=callbacks, **by_recipe | options)
    learn.recipe = recipe
    return learn
