"""How strong signal and gradient are, layer by layer, at initialisation or after training."""

import torch
from torch import Tensor, nn

from ..records.record import Signal
from ..records.specs import RunSpec
from .prepared import prepare

SATURATED = 0.95  # a tanh beyond this, either side, has less than a tenth of its greatest slope


def at_initialisation(spec: RunSpec) -> list[Signal]:
    """The signals of a fresh build of the spec on its first batch."""
    fresh = prepare(spec).beginning()
    return measure(fresh.model, fresh.images, fresh.labels)


def common_input(inputs: Tensor) -> float:
    """Squared norm of what the last layer's inputs [N, features] have in common, the constant 1 that its biases see
    included."""
    return float(inputs.mean(0).square().sum()) + 1


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
