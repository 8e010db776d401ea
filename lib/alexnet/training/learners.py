"""fastai Learners for the paper's recipe, and the small callbacks it is made of (section 5)."""

import copy
import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import fastai.callback.hook  # gives every Learner its summary()
import fastai.callback.schedule  # noqa: F401  gives every Learner its lr_find()
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import combined_cos
from fastai.callback.tracker import ReduceLROnPlateau
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import error_rate
from fastai.optimizer import OptimWrapper
from fastcore.basics import even_mults, noop
from torch import Tensor, nn

from ..data.compat import declare_operators
from ..errors import SpecError
from ..records.specs import LEARNING, RecipeSpec, RunSpec, StageSpec, TransferSpec
from . import machine, pretrained
from .batches import DROPOUT_STREAM, WEIGHTS_STREAM, Batches, seed_of, test_batches, unaugmented_training_batches
from .device_metrics import DeviceMetric, OnDevice

declare_operators()  # whoever imports learners may go on with torchvision or fastai.vision

CLEAN_IMAGES = 5000  # training images that are looked at with dropout off after each epoch, where a run asks for it
ONE_CYCLE = (0.25, 1 / 25, 1.0, 1e-5)  # share of the way up; factors at the start, the top and the end (fastai's own)
ADAM_SECOND_BETA = 0.999  # torch's default
DROP = 10.0  # each drop divides the learning rate by this (section 5)
INSTEAD = {  # fastai's callbacks that this learner refuses, and what to use
    MixedPrecision: 'use to_bf16(), or learner(spec, precision="bfloat16")',
    ReduceLROnPlateau: 'use a recipe with schedule="plateau"',  # fastai's sets nothing on torch's optimisers
}


class EpochSeeds(Callback):
    """Start every epoch from its own seed, so that a resumed run repeats what an uninterrupted one does.

    Epochs are counted by the history, over all calls of `fit`.
    """

    order = -20

    def __init__(self, seed: int):
        self.seed = seed

    def before_train(self) -> None:
        """Dropout follows torch's generator; order and augmentation follow the loader's epoch."""
        epoch = len(self.history.rows)
        torch.manual_seed(seed_of(DROPOUT_STREAM, self.seed, epoch))
        self.dls.train.epoch = epoch


class Precision(Callback):
    """Run the forward pass in bfloat16 where the hardware is fast at it; weights and their updates stay float32."""

    order = 5

    def __init__(self, precision: str):
        self.precision = precision
        self._autocast: torch.autocast | None = None

    def before_batch(self) -> None:
        """Enter autocast for the model."""
        enabled = self.precision == "bfloat16"
        self._autocast = torch.autocast(self.dls.device.type, torch.bfloat16, enabled=enabled)
        self._autocast.__enter__()

    def after_pred(self) -> None:
        """The softmax and the loss are computed in float32 on every path."""
        self.leave()
        self.learn.pred = self.pred.float()

    def leave(self) -> None:
        """Leave autocast, if the forward pass is in it."""
        if self._autocast is not None:
            self._autocast.__exit__(None, None, None)
            self._autocast = None


class History(Callback):
    """One row an epoch: learning rate, running training loss and error, validation loss and error.

    The training figures are means over the epoch's batches while the weights move, as the original code printed
    them. Sums stay on the device until the epoch ends. `fresh` tells whether this epoch has added a row: validation
    on its own, as `learn.validate()` does it, adds none.
    """

    order = 10

    def __init__(self, rows: list[dict] | None = None):
        self.rows, self.fresh = list(rows or []), False
        self._train: tuple[float, float] | None = None
        self._reset()

    def before_epoch(self) -> None:
        """Nothing has been trained yet."""
        self.fresh, self._train = False, None

    def before_train(self) -> None:
        """Start the sums."""
        self._reset()

    def after_train(self) -> None:
        """Keep the training sums aside."""
        if self._count:
            self._train = self._means()

    def before_validate(self) -> None:
        """Start the sums, whatever a training or validation that was interrupted has left there."""
        self._reset()

    def after_cancel_validate(self) -> None:
        """Without validation there is no row: fastai's search for a learning rate skips it."""
        if not self._count:
            self._train = None

    def _reset(self) -> None:
        self._loss, self._wrong, self._count = 0.0, 0.0, 0

    def after_loss(self) -> None:
        """Add a batch, unless it has no labels."""
        if self.yb:
            labels = self.yb[0]
            self._loss = self._loss + self.loss.detach().mean() * len(labels)  # one loss an image, where they are asked
            self._wrong = self._wrong + (self.pred.detach().argmax(1) != labels).sum()
            self._count += len(labels)

    def _means(self) -> tuple[float, float]:
        return float(self._loss) / self._count, float(self._wrong) / self._count

    def after_validate(self) -> None:
        """Write the epoch's row."""
        if self._train is not None:
            names = ("epoch", "learning_rate", "train_loss", "train_error", "valid_loss", "valid_error")
            rate = self.opt.hypers[0]["lr"]
            self.rows.append(dict(zip(names, (len(self.rows) + 1, rate, *self._train, *self._means()), strict=True)))
            self.fresh, self._train = True, None
        self._reset()


class CleanTraining(Callback):
    """Add to each row the loss and error on training images with dropout off and without augmentation.

    `batches` are the images it looks at, some thousands: a full pass would cost a third of an epoch.
    """

    order = 30  # after the row is written, before the checkpoint stores it

    def __init__(self, batches: Batches):
        self.batches = batches

    def after_epoch(self) -> None:
        """Look at them once an epoch. The generators of order and dropout are not touched."""
        if self.history.fresh:
            found, labels = log_probabilities(self.model, self.batches, self.learn.precision.precision)
            loss, error = loss_and_error(found, labels)
            self.history.rows[-1] |= {"clean_train_loss": loss, "clean_train_error": error}


class Watching(Callback):
    """Add to each row the test loss and error, and the validation loss and error with dropout on.

    Published protocols chose their best epoch by these. Here they are only written down: no callback, schedule or
    choice reads them.
    """

    order = 30  # after the row is written, before the checkpoint stores it

    def __init__(self, test: Batches, seed: int):
        self.test, self.seed = test, seed

    def after_epoch(self) -> None:
        """Look at both once an epoch. The next epoch seeds torch's generator anew."""
        if not self.history.fresh:
            return
        rows, precision = self.history.rows, self.learn.precision.precision
        test = loss_and_error(*log_probabilities(self.model, self.test, precision))
        torch.manual_seed(seed_of(DROPOUT_STREAM, self.seed, len(rows), 1))
        noisy = loss_and_error(*log_probabilities(self.model, self.dls.valid, precision, dropout=True))
        names = ("test_loss", "test_error", "dropout_valid_loss", "dropout_valid_error")
        rows[-1] |= dict(zip(names, (*test, *noisy), strict=True))


class Rates(Callback):
    """Base of what moves the learning rates away from those that `fit` was called with.

    It sets them when they change and not in between, so that a callback of the user's can move them as well.
    """

    def before_fit(self) -> None:
        """Note the rates that `fit` was called with."""
        if self.opt is not None:
            self._rates = self._now = [hypers["lr"] for hypers in self.opt.hypers]

    def use(self, rates: list[float]) -> None:
        """Set the rates, if they are not those set last."""
        if rates != self._now:
            self.opt.set_hypers(lr=rates)
            self._now = rates


class SecondStage(Rates):
    """Begin the second stage of a training: a fresh optimiser, its own rate, and a new last layer if it asks for one.

    What has happened is read from the history, so that a resumed run goes on where it was.
    """

    order = 53  # after Drops, which sets the first stage's rates

    def __init__(self, recipe: RecipeSpec, stage: StageSpec, seed: int):
        self.recipe, self.stage, self.seed = recipe, stage, seed

    def before_train(self) -> None:
        """At the start of every epoch of the second stage."""
        done = len(self.history.rows)
        if done < self.stage.after:
            return
        factor = rate_factor(self.recipe, self.history.rows, 0.0)
        self.use([rate * factor for rate in self._rates])
        last = list(self.model.children())[-1]
        if done == self.stage.after:
            self.opt.opt.state.clear()
            if self.stage.last_layer:
                draw_anew(last, seed_of(WEIGHTS_STREAM, self.seed, done))
        if self.stage.last_layer:
            self.model.requires_grad_(False)
            last.requires_grad_(True)


def draw_anew(layer: nn.Module, seed: int) -> None:
    """Draw a linear layer's weights again as torch does by default, on the CPU, whatever device it is on."""
    if not isinstance(layer, nn.Linear):
        raise SpecError(f"Only a fully connected last layer can be drawn anew, and this is a {type(layer).__name__}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = nn.Linear(layer.in_features, layer.out_features)
    layer.load_state_dict(fresh.state_dict())


class Unfreezing(Callback):
    """Release ImageNet's layers from the top to the bottom, a group at a time (gradual unfreezing)."""

    order = -10

    def __init__(self, transfer: TransferSpec):
        self.transfer = transfer

    def before_train(self) -> None:
        """How many are released follows from the history, so that a resumed run does the same."""
        released = sum(len(self.history.rows) >= epoch for epoch in self.transfer.unfreeze)
        self.opt.freeze_to(-1 - released)


class StopWhenDiverged(Callback):
    """End a run whose loss is no longer a number. The record says so; it is a result."""

    order = 50

    def after_epoch(self) -> None:
        """Look at the last row once an epoch."""
        if self.history.fresh and diverged(self.history.rows):
            raise CancelFitException


def diverged(rows: list[dict]) -> bool:
    """Whether the last epoch's training or validation loss is infinite or not a number."""
    return bool(rows) and not (math.isfinite(rows[-1]["train_loss"]) and math.isfinite(rows[-1]["valid_loss"]))


class StopAtTrainError(Callback):
    """End the run once an epoch's running training error is at the target (section 3.1, figure 1)."""

    order = 51

    def __init__(self, target: float):
        self.target = target

    def after_epoch(self) -> None:
        """Compare the last row."""
        if self.history.fresh and self.history.rows[-1]["train_error"] <= self.target:
            raise CancelFitException


class Drops(Rates):
    """Divide the learning rate by 10 at chosen epochs, or when validation stops improving (section 5).

    What has happened is read from the history alone, so a resumed run drops where it would have dropped.
    """

    order = 52

    def __init__(self, recipe: RecipeSpec):
        self.recipe = recipe
        self._kept = 0  # the last epoch at whose start the velocity was kept

    def before_train(self) -> None:
        """Set the rates of this epoch; a plateau after the last drop ends the run."""
        rows = self.history.rows
        drops = drops_before(self.recipe, rows)
        if drops > self.recipe.most_drops and self.recipe.schedule == "plateau":
            raise CancelFitException
        self.use([rate / DROP**drops for rate in self._rates])
        drops_now = drops - drops_before(self.recipe, rows[:-1])
        if drops_now and self._kept != len(rows):  # an epoch that was interrupted starts again
            self._keep_velocity(DROP**drops_now)
            self._kept = len(rows)

    def _keep_velocity(self, factor: float) -> None:
        """The paper's velocity contains the learning rate, torch's momentum buffer does not: a drop must not shrink
        the step already under way."""
        for state in self.opt.opt.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].mul_(factor)


class OneCycle(Rates):
    """Move the learning rates along one cycle over all epochs of the recipe, batch by batch (fastai's schedule).

    The place in the cycle is read from the history and the batch, so that a resumed run goes on where it was.
    """

    order = 53  # after Drops, which sets the rates the cycle starts from

    def __init__(self, recipe: RecipeSpec):
        self.recipe = recipe

    def before_batch(self) -> None:
        """Set the rates of this batch; those that `fit` was called with are at the top of the cycle."""
        if self.training:
            factor = rate_factor(self.recipe, self.history.rows, self.iter / self.n_iter)
            self.use([rate * factor for rate in self._rates])


def rate_factor(recipe: RecipeSpec, rows: list[dict], share: float) -> float:
    """What the learning rates are multiplied with after these rows and a share (0 to 1) of the next epoch."""
    if recipe.schedule == "one-cycle":
        return combined_cos(*ONE_CYCLE)((len(rows) + share) / recipe.epochs)
    if recipe.second is not None:
        return recipe.second.learning_rate / recipe.learning_rate if len(rows) >= recipe.second.after else 1.0
    return 1 / DROP ** drops_before(recipe, rows)


def drops_before(recipe: RecipeSpec, rows: list[dict]) -> int:
    """How many times the learning rate has been divided before the epoch that follows these rows."""
    if recipe.schedule in ("constant", "one-cycle"):
        return 0
    if recipe.schedule == "steps":
        return sum(len(rows) >= epoch for epoch in recipe.drops)
    drops, best, waited = 0, math.inf, 0
    for row in rows:
        waited = 0 if row["valid_error"] < best else waited + 1
        best = min(best, row["valid_error"])
        if waited == recipe.patience:
            drops, waited = drops + 1, 0
    return drops


def learning_rates(recipe: RecipeSpec, transfer: TransferSpec | None = None) -> list[float]:
    """The first rates of the parameter groups: weights, biases, weights with a decay of their own.

    When ImageNet's layers are trained on: conv1 and conv2, conv3 to conv5, the classifier.
    """
    if transfer is not None and not transfer.frozen:
        return list(even_mults(recipe.learning_rate / transfer.rate_ratio, recipe.learning_rate, 3))
    own = [recipe.learning_rate] * len(recipe.layer_weight_decay)
    return [recipe.learning_rate, recipe.learning_rate * recipe.bias_learning_rate_factor, *own]


def weight_decays(recipe: RecipeSpec, transfer: TransferSpec | None = None) -> list[float]:
    """The weight decays of the same groups."""
    if transfer is not None and not transfer.frozen:
        return [recipe.weight_decay] * 3
    return [recipe.weight_decay, recipe.weight_decay, *(decay for _, decay in recipe.layer_weight_decay)]


def weights_and_biases(model: nn.Module, recipe: RecipeSpec | None = None) -> list[list[nn.Parameter]]:
    """fastai splitter: weights and biases, since cuda-convnet gives biases a rate of their own, and the weights of
    each layer for which the recipe has its own weight decay.

    Raises `SpecError` when the network has no such layer.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own = [f"{layer}.weight" for layer, _ in recipe.layer_weight_decay] if recipe else []
    if unknown := [name for name in own if name not in named]:
        raise SpecError(f"The recipe has a weight decay for {unknown[0]}, which this network lacks.")
    rest = [(name, p) for name, p in named.items() if name not in own]
    groups = [[p for name, p in rest if name.endswith("bias") == biases] for biases in (False, True)]
    return groups + [[named[name]] for name in own]


class WeightsAndBiases(OptimWrapper):
    """An optimiser whose groups are no layers, so that rates from the lowest layer to the highest mean nothing."""

    def set_hyper(self, k: str, v: object) -> None:
        """Set a hyperparameter of all groups (one number), or of each. Raises `SpecError` for a slice."""
        if isinstance(v, slice):
            raise SpecError(f"{k} {v} is for groups of layers, and these are weights and biases: give one number.")
        super().set_hyper(k, v)


def optimiser(recipe: RecipeSpec, wrapper: Callable = WeightsAndBiases) -> partial:
    """SGD with momentum, and weight decay as L2 inside the velocity (section 5); or Adam, with the same L2."""
    if recipe.optimiser == "adam":
        betas = (recipe.momentum, ADAM_SECOND_BETA)
        return partial(wrapper, opt=torch.optim.Adam, betas=betas, weight_decay=recipe.weight_decay, fused=True)
    options = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay, "fused": True}
    return partial(wrapper, opt=torch.optim.SGD, **options)


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

    def fit(self, n_epoch: int | None = None, lr: object = None, wd: float | None = None, **options: object) -> None:
        """Train for `n_epoch` epochs (the recipe's cap by default) at the recipe's rates, weight decay and momentum.

        Raises `SpecError` when there is nothing to train on, as in a learner that was exported.
        """
        if not len(self.dls.train):
            raise SpecError("This learner has no images to train on; make one with learner(spec) and load its weights.")
        epochs = self.recipe.epochs if n_epoch is None else n_epoch
        rates = learning_rates(self.recipe, self.transfer) if lr is None else lr
        decays = weight_decays(self.recipe, self.transfer) if wd is None else wd
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
        with self.removed_cbs([cb for cb in self.cbs if isinstance(cb, CleanTraining | Watching)]):
            self._present, self._listeners = (), {}
            super().export(*arguments, **options)


def learner(
    spec: RunSpec,
    device: torch.device | None = None,  # None: the GPU if there is one
    precision: str | None = None,  # "float32" or "bfloat16"; None: what the hardware is fast at
    progress: bool = True,  # fastai's progress bar and table
    history: list[dict] | None = None,  # rows of the epochs already done, when resuming
) -> CoupledLearner:
    """A fastai Learner ready to train the run `spec` describes: `learner(spec).fit()`.

    `learn.history.rows` holds the figures of each epoch. Raises `SpecError` for options that do not go together.
    """
    importlib.import_module("fastai.vision.learner")  # teaches fastai how images with classes and losses are shown
    machine.keep_freed_memory()
    device = device or machine.default_device()
    recipe = spec.recipe
    precision = precision or machine.default_precision()
    dls = pretrained.loaders(spec, device, precision)
    model = pretrained.trained_part(spec, dls.train.preparation.side).to(device)
    if backend := machine.compiler():
        model.compile(backend=backend)
    callbacks = [EpochSeeds(spec.seed), Precision(precision), History(history), StopWhenDiverged(), Drops(recipe)]
    callbacks.append(OnDevice())
    if spec.measured in LEARNING:
        callbacks.append(CleanTraining(unaugmented_training_batches(spec, device, CLEAN_IMAGES)))
    if spec.measured == "epochs":
        callbacks.append(Watching(test_batches(spec, device), spec.seed))
    if recipe.second is not None:
        callbacks.append(SecondStage(recipe, recipe.second, spec.seed))
    if recipe.stop_at_train_error is not None:
        callbacks.append(StopAtTrainError(recipe.stop_at_train_error))
    if recipe.schedule == "one-cycle":
        callbacks.append(OneCycle(recipe))
    thawing = spec.transfer is not None and not spec.transfer.frozen
    if spec.transfer is not None and thawing:
        callbacks.append(Unfreezing(spec.transfer))
    learn = CoupledLearner(
        dls,
        model,
        loss_func=CrossEntropy(),
        opt_func=optimiser(recipe, OptimWrapper if thawing else WeightsAndBiases),
        splitter=pretrained.groups if thawing else partial(weights_and_biases, recipe=recipe),
        metrics=DeviceMetric(error_rate),
        lr=recipe.learning_rate,
        wd=recipe.weight_decay,
        wd_bn_bias=True,
        cbs=callbacks,
    )
    learn.recipe, learn.transfer = recipe, spec.transfer
    if not progress:
        learn.remove_cb(ProgressCallback)
        learn.logger = noop
    return learn


def loss_and_error(found: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and error as a fraction, from log softmax [N, classes] and labels [N]."""
    true = found.gather(1, labels[:, None])[:, 0]
    return -true.double().mean().item(), (found.argmax(1) != labels).double().mean().item()


def log_probabilities(
    model: nn.Module, batches: Batches, precision: str = "float32", ten_crop: bool = False, dropout: bool = False
) -> tuple[Tensor, Tensor]:
    """Log softmax [N, classes] in float32 and labels [N], on the CPU, dropout off unless asked for.

    With `ten_crop`, the log of the mean softmax over ten crops (section 4.1).
    """
    model.eval()
    if dropout:
        for layer in model.modules():
            layer.train(isinstance(layer, nn.Dropout))
    device, prepare = batches.device, batches.preparation
    found, labels = [], []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for chosen in batches.indices.split(batches.bs):
            chosen = chosen.to(device)
            pixels = batches.dataset.pixels[chosen]
            views = prepare.ten_crops(len(chosen)) if ten_crop else [prepare.centre(len(chosen))]
            scores = torch.stack([model(prepare(pixels, view)).float().log_softmax(1) for view in views])
            found.append(scores.logsumexp(0) - math.log(len(views)))
            labels.append(batches.dataset.labels[chosen])
    return torch.cat(found).cpu(), torch.cat(labels).cpu()
