"""The small fastai callbacks that a recipe is made of (section 5)."""

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.learner import AvgSmoothLoss, Learner
from torch import Tensor, nn

from ..errors import SpecError
from ..records.specs import RecipeSpec, TransferSpec
from .batches import DROPOUT_STREAM, WEIGHTS_STREAM, Batches, seed_of
from .evaluation import log_probabilities, loss_and_error
from .recipe import DROP, drops_before, finished, handed_over, rate_at


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


class Watching(Callback):
    """Add to each row what the run asks to have looked at: loss and error on training images with dropout off and
    without augmentation; on test images; and on validation images with dropout on.

    Published protocols chose their best epoch by the latter two. Here all are only written down: no callback, schedule
    or choice reads them.
    """

    order = 30  # after the row is written, before the checkpoint stores it

    def __init__(self, seed: int, clean: Batches | None = None, test: Batches | None = None):
        self.seed, self.clean, self.test = seed, clean, test

    def after_epoch(self) -> None:
        """Look once an epoch. The next epoch seeds torch's generator anew."""
        if not self.history.fresh:
            return
        if self.clean is not None:
            self._note("clean_train", self.clean)
        if self.test is not None:
            self._note("test", self.test)
            torch.manual_seed(seed_of(DROPOUT_STREAM, self.seed, len(self.history.rows), 1))
            self._note("dropout_valid", self.dls.valid, dropout=True)

    def _note(self, what: str, batches: Batches, dropout: bool = False) -> None:
        found = log_probabilities(self.model, batches, self.learn.precision.precision, dropout=dropout)
        loss, error = loss_and_error(*found)
        self.history.rows[-1] |= {f"{what}_loss": loss, f"{what}_error": error}


class Schedule(Callback):
    """Move the learning rates as the recipe says, from those that `fit` was called with, and begin its second stage.

    Rates are set when they change and not in between, so that a callback of the user's can move them as well. What has
    happened is read from the history, so that a resumed run goes on where it was.
    """

    order = 52

    def __init__(self, recipe: RecipeSpec, seed: int = 0):
        self.recipe, self.seed = recipe, seed
        self._kept = 0  # the last epoch at whose start the velocity was kept

    def before_fit(self) -> None:
        """Note the rates that `fit` was called with."""
        if self.opt is not None:
            self._first = self._now = [hypers["lr"] for hypers in self.opt.hypers]

    def before_train(self) -> None:
        """The rates of this epoch, and what a drop or a second stage changes besides."""
        rows = self.history.rows
        self._use(0.0)
        drops_now = drops_before(self.recipe, rows) - drops_before(self.recipe, rows[:-1])
        if drops_now and self._kept != len(rows):  # an epoch that was interrupted starts again
            self._keep_velocity(DROP**drops_now)
            self._kept = len(rows)
        begun = handed_over(self.recipe, rows)
        if begun is not None:
            self._second_stage(anew=begun == len(rows))

    def before_batch(self) -> None:
        """The rates of this batch, where they move along one cycle over all epochs of the recipe (fastai's)."""
        if self.training and self.recipe.schedule == "one-cycle":
            self._use(self.iter / self.n_iter)

    def _use(self, share: float) -> None:
        rates = [rate_at(self.recipe, first, self.history.rows, share) for first in self._first]
        if rates != self._now:
            self.opt.set_hypers(lr=rates)
            self._now = rates

    def _keep_velocity(self, factor: float) -> None:
        """The paper's velocity contains the learning rate, torch's momentum buffer does not: a drop must not shrink
        the step already under way."""
        for state in self.opt.opt.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].mul_(factor)

    def _second_stage(self, anew: bool) -> None:
        """A fresh optimiser, and a new last layer that is trained alone, if the stage asks for one."""
        last = list(self.model.children())[-1]
        if anew:
            self.opt.opt.state.clear()
        if self.recipe.second.last_layer:  # type: ignore[union-attr]  # only where there is a second stage
            if anew:
                draw_anew(last, seed_of(WEIGHTS_STREAM, self.seed, len(self.history.rows)))
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


class Smoothing(Callback):
    """Label smoothing in training (Szegedy and others 2016, section 7): validation losses are those of the labels."""

    order = 0

    def __init__(self, share: float):
        self.share = share

    def before_train(self) -> None:
        """Spread a share of each label over all classes."""
        self.loss_func.func.label_smoothing = self.share

    def before_validate(self) -> None:
        """Leave the labels as they are."""
        self.loss_func.func.label_smoothing = 0.0


class Ending(Callback):
    """End a run that its recipe has finished, or whose loss is no longer a number: the record says so."""

    order = 50

    def __init__(self, recipe: RecipeSpec):
        self.recipe = recipe

    def after_epoch(self) -> None:
        """Look at the history once an epoch."""
        if self.history.fresh and finished(self.recipe, self.history.rows):
            raise CancelFitException


class SmoothLoss(AvgSmoothLoss):
    """fastai's smoothed loss, kept on the training device: its own copies the loss of every batch to the host, and a
    GPU then waits, batch after batch, for work that could already be queued behind."""

    val: Tensor

    def accumulate(self, learn: Learner) -> None:
        """Add a batch."""
        self.count += 1
        loss = learn.loss.detach().mean()
        self.val = torch.lerp(loss, self.val.to(loss.device), self.beta)


class OnDevice(Callback):
    """Let fastai's recorder sum on the device; the list of losses comes to the host when training ends."""

    order = 49  # before the recorder

    def after_create(self) -> None:
        """Put our sum in the place of fastai's."""
        self.recorder.smooth_loss = SmoothLoss()

    def after_fit(self) -> None:
        """So that they can be plotted."""
        if len(losses := self.recorder.losses):
            self.recorder.losses = list(torch.stack(list(losses)).cpu())
