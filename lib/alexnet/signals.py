"""How strong signal and gradient are, layer by layer, at initialisation or after training."""

import pandas as pd
import torch
from torch import Tensor, nn

from . import anatomy, batches, pretrained
from .records import Signal
from .specs import RunSpec

SATURATED = 0.95  # a tanh beyond this, either side, has less than a tenth of its greatest slope


def at_initialisation(spec: RunSpec, count: int | None = None) -> list[Signal]:
    """The signals of a fresh build of the spec on its first batch, or on the first `count` images of it."""
    model, images, labels = _fresh(spec, count)
    return measure(model, images, labels)


def between_images(spec: RunSpec, count: int | None = None) -> pd.Series:
    """What is left of the differences between the first images after each layer of a fresh build of the spec."""
    model, images, _ = _fresh(spec, count)
    return anatomy.signal(model, images)


def common_input(spec: RunSpec, count: int | None = None) -> float:
    """Squared norm of what all images have in common in the input of the last layer of a fresh build of the spec, the
    constant 1 that its biases see included: the mean over the first images, dropout off."""
    model, images, _ = _fresh(spec, count)
    model.eval()
    with torch.no_grad():
        return float(model[:-1](images).mean(0).square().sum()) + 1


def _fresh(spec: RunSpec, count: int | None) -> tuple[nn.Sequential, Tensor, Tensor]:
    training = batches.loaders(spec, torch.device("cpu")).train
    images, labels = training.one_batch()
    return pretrained.build(spec, training.preparation.side), images[:count], labels[:count]


def measure(model: nn.Module, images: Tensor, labels: Tensor) -> list[Signal]:
    """One `Signal` a nonlinearity, on a batch [N, C, S, S] with labels [N], in float32 with dropout off.

    The gradient is that of the batch's mean loss; frozen layers at the bottom have none and are left out. The model's
    own gradients and mode are left as they were.
    """
    given: dict[str, Tensor] = {}
    nonlinear = [(name, layer) for name, layer in model.named_children() if isinstance(layer, nn.ReLU | nn.Tanh)]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: given.update({name: inputs[0]}))
        for name, layer in nonlinear
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(model(images), labels)
            given = {name: inputs for name, inputs in given.items() if inputs.requires_grad}
            gradients = torch.autograd.grad(loss, list(given.values())) if given else ()
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [
        Signal(layer=name, input=inputs.std().item(), gradient=gradient.std().item(), flat=_flat(name, inputs))
        for (name, inputs), gradient in zip(given.items(), gradients, strict=True)
    ]


def _flat(name: str, inputs: Tensor) -> float:
    flat = inputs <= 0 if name.startswith("relu") else inputs.tanh().abs() > SATURATED
    return flat.float().mean().item()
