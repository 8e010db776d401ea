"""What a recipe says of a training: rates, drops and ends, all read from the history, so that a resumed run does the
same; and the optimiser with its groups of parameters (section 5)."""

import math
from collections.abc import Callable
from functools import partial

import torch
from fastai.callback.schedule import combined_cos
from fastai.optimizer import OptimWrapper
from fastcore.basics import even_mults
from torch import nn

from ..errors import SpecError
from ..records.record import epochs_to
from ..records.specs import RecipeSpec, TransferSpec

ONE_CYCLE = (0.25, 1 / 25, 1.0, 1e-5)  # share of the way up; factors at the start, the top and the end (fastai's own)
ADAM_SECOND_BETA = 0.999  # torch's default
DROP = 10.0  # each drop divides the learning rate by this (section 5)
LOWEST = ("conv1", "conv2")  # of ImageNet's layers, what is unfrozen last

Rows = list[dict]  # of the epochs done, as `callbacks.History` writes them


def rate_at(recipe: RecipeSpec, first: float, rows: Rows, share: float = 0.0) -> float:
    """The learning rate of a group that began with `first`, after these rows and a share (0 to 1) of an epoch."""
    if recipe.schedule == "one-cycle":
        return first * combined_cos(*ONE_CYCLE)((len(rows) + share) / recipe.epochs)
    if recipe.second is not None and handed_over(recipe, rows) is not None:
        return first * (recipe.second.learning_rate / recipe.learning_rate)
    return first / DROP ** drops_before(recipe, rows)


def drops_before(recipe: RecipeSpec, rows: Rows) -> int:
    """How many times the learning rate has been divided before the epoch that follows these rows."""
    if recipe.schedule == "steps":
        return sum(len(rows) >= epoch for epoch in recipe.drops)
    drops, best, waited = 0, math.inf, 0
    for row in rows if recipe.schedule == "plateau" else ():
        waited = 0 if row["valid_error"] < best else waited + 1
        best = min(best, row["valid_error"])
        if waited == recipe.patience:
            drops, waited = drops + 1, 0
    return drops


def handed_over(recipe: RecipeSpec, rows: Rows) -> int | None:
    """The epochs after which the second stage began, or begins now; None while the first one goes on."""
    if recipe.second is None:
        return None
    for done in range(min(len(rows), recipe.second.after) + 1):
        if done == recipe.second.after or _stale(recipe, rows[:done]):
            return done
    return None


def _stale(recipe: RecipeSpec, rows: Rows) -> bool:
    """Whether the validation error has not become better for as many epochs as the recipe waits (`stop_after`)."""
    if recipe.stop_after is None or not rows:
        return False
    errors = [row["valid_error"] for row in rows]
    return len(errors) - errors.index(min(errors)) > recipe.stop_after


def diverged(rows: Rows) -> bool:
    """Whether the last epoch's training or validation loss is infinite or not a number."""
    return bool(rows) and not (math.isfinite(rows[-1]["train_loss"]) and math.isfinite(rows[-1]["valid_loss"]))


def finished(recipe: RecipeSpec, rows: Rows) -> bool:
    """Whether a history needs no further epoch before the cap: it diverged, is at its target, or gets no better."""
    if not rows or diverged(rows):
        return diverged(rows)
    target = recipe.stop_at_train_error
    if target is not None and rows[-1]["train_error"] <= target:
        return True
    if recipe.schedule == "plateau" and drops_before(recipe, rows) > recipe.most_drops:
        return True
    if recipe.second is None:
        return _stale(recipe, rows)
    start = handed_over(recipe, rows)
    own = [] if start is None else rows[start:]
    return _stale(recipe, own) or len(own) >= recipe.epochs - recipe.second.after


def ending(recipe: RecipeSpec, rows: Rows) -> tuple[str, float | None]:
    """The outcome of a history, and the epochs to the target if it was reached."""
    if diverged(rows):
        return "diverged", None
    if recipe.stop_at_train_error is None:
        return "completed", None
    reached = epochs_to(recipe.stop_at_train_error, [row["train_error"] for row in rows])
    return ("censored", None) if reached is None else ("reached", reached)


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


def layer_groups(model: nn.Sequential) -> list[list[nn.Parameter]]:
    """fastai splitter: conv1 and conv2, conv3 to conv5, the classifier."""
    found: list[list[nn.Parameter]] = [[], [], []]
    for name, parameter in model.named_parameters():
        group = 2 if not name.startswith("conv") else 0 if name.startswith(LOWEST) else 1
        found[group].append(parameter)
    return found


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
    """SGD with momentum, and weight decay as L2 inside the velocity (section 5); Adam, with the same L2; or AdamW."""
    options = {"weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser != "sgd":
        kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
        return partial(wrapper, opt=kind, betas=(recipe.momentum, ADAM_SECOND_BETA), **options)
    return partial(wrapper, opt=torch.optim.SGD, momentum=recipe.momentum, **options)
