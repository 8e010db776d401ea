"""The page with a trained network inside: drop an image, see what it is taken for (figure 4) and the first maps.

Weights are whole numbers of 8 bits with a factor for each filter, a quarter of their size. They live in the committed
page alone: `python -m alexnet try` writes it from a checkpoint, and every later report takes them from there.
"""

import base64
import json
import re
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import paths
from ..data import datasets
from ..errors import SpecError
from ..networks.layers import LocalResponseNorm
from ..networks.models import TowerNorm
from ..prediction import checkpoints
from ..prediction.checkpoints import Checkpoint
from ..records.files import write_atomically
from .assemble import from_template
from .convert import Article

NAME, TITLE = "try", "Show it an image"
SHOWN = 12  # test images to pick from
LEVELS = 127  # of a weight of 8 bits, on each side of zero
LAYERS = re.compile(r'<script[^>]* id="network"[^>]*>(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Network:
    """A network as the page holds it."""

    layers: list[dict[str, Any]]  # kind and sizes; arrays as base64 of int8 weights, float32 factors and biases
    images: dict[str, Any]  # side, crop, scale, and the mean image [crop, crop, 3] float32 as base64
    classes: list[str]
    shown: list[dict[str, Any]]  # test images to pick: pixels uint8 [side, side, 3] as base64, and their class
    facts: dict[str, float | int | str]  # its size and its errors on the test set, whole and as the page has it

    @property
    def text(self) -> str:
        """All of it as JSON that may stand in a page."""
        return json.dumps(vars(self), separators=(",", ":")).replace("<", "\\u003c")


def _packed(values: Tensor | np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(torch.as_tensor(values).detach(), dtype=kind).tobytes()).decode()


def _share(these: Tensor) -> float:
    return these.double().mean().item()


def rounded(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [filters, ...] as whole numbers from -127 to 127 and a factor for each filter."""
    factors = weights.abs().flatten(1).amax(1).clamp_min(1e-12) / LEVELS
    return (weights / factors.view(-1, *[1] * (weights.dim() - 1))).round(), factors


def with_rounded_weights(model: nn.Sequential) -> nn.Sequential:
    """Round the weights of a network in place, as the page has them."""
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            whole, factors = rounded(layer.weight)
            layer.weight.copy_(whole * factors.view(-1, *[1] * (whole.dim() - 1)))
    return model


def described(model: nn.Sequential) -> Iterator[dict[str, Any]]:
    """What the page's script computes, layer by layer. Raises `SpecError` for a layer that it does not know."""
    for name, layer in model.named_children():
        match layer:
            case nn.Conv2d() | nn.Linear():
                whole, factors = rounded(layer.weight)
                arrays = {"weights": _packed(whole, "<i1"), "factors": _packed(factors, "<f4")}
                arrays["biases"] = _packed(layer.get_parameter("bias"), "<f4")
                shape: dict[str, Any] = {"shape": list(whole.shape)}
                if isinstance(layer, nn.Conv2d):
                    if layer.stride != (1, 1):
                        raise SpecError(f"The page's script knows convolutions of stride 1; {name} has another.")
                    shape |= {"padding": layer.padding[0], "groups": layer.groups}
                yield {"name": name, "kind": "convolution" if "groups" in shape else "linear", **shape, **arrays}
            case nn.ReLU():
                yield {"name": name, "kind": "relu"}
            case nn.MaxPool2d():
                yield {"name": name, "kind": "pool", "size": layer.kernel_size, "stride": layer.stride}
            case LocalResponseNorm():
                towers = layer.towers if isinstance(layer, TowerNorm) else 1
                alpha = layer.alpha / layer.size if layer.divide else layer.alpha
                norm = {"size": layer.size, "alpha": alpha, "beta": layer.beta, "k": layer.k, "towers": towers}
                yield {"name": name, "kind": "norm", **norm}
            case nn.Flatten() | nn.Dropout():  # the page keeps maps flat, and drops nothing
                pass
            case _:
                raise SpecError(f"The page's script knows no {type(layer).__name__}, which {name} is.")


def network(checkpoint: Checkpoint) -> Network:
    """A trained network of CIFAR-10's form, measured on the test set before and after its weights are rounded.

    Raises `SpecError` for a network that the page cannot run.
    """
    spec, preparation = checkpoint.description.spec, checkpoint.preparation
    if (spec.dataset, spec.images.scaling, spec.images.resize) != ("cifar10", "mean-image-unit", None):
        raise SpecError("The page takes a network for CIFAR-10 on its own pixels, as `make checkpoint` makes one.")
    data = datasets.load("cifar10")
    images = torch.tensor(data.test_images)
    with torch.inference_mode():
        inputs = [preparation(part, preparation.centre(len(part))) for part in images.split(500)]
        layers = list(described(checkpoint.model))
        whole = torch.cat([checkpoint.model(part) for part in inputs])
        small = torch.cat([with_rounded_weights(checkpoint.model)(part) for part in inputs])
    labels = torch.tensor(data.test_labels).long()
    edge = (checkpoint.side - preparation.side) // 2
    inside = slice(edge, edge + preparation.side)
    first = [int(np.flatnonzero(data.test_labels == label)[0]) for label in range(len(data.classes))]
    others = [place for place in range(len(labels)) if place not in first]
    chosen = sorted([*first, *others[: SHOWN - len(first)]])
    return Network(
        layers=layers,
        images={
            "side": checkpoint.side,
            "crop": preparation.side,
            "spread": preparation.statistics.spread,
            "mean": _packed(preparation.statistics.mean_image[inside, inside], "<f4"),
        },
        classes=list(data.classes),
        shown=[
            {"pixels": _packed(data.test_images[place], "u1"), "label": data.classes[data.test_labels[place]]}
            for place in chosen
        ],
        facts={
            "run": spec.hash,
            "epochs": checkpoint.description.epochs,
            "parameters": sum(weights.numel() for weights in checkpoint.model.parameters()),
            "test images": len(labels),
            "whole": _share(whole.argmax(1) != labels),
            "rounded": _share(small.argmax(1) != labels),
            "same": _share(whole.argmax(1) == small.argmax(1)),
        },
    )


def read(page: Path) -> Network | None:
    """The network inside a page; None where there is no such page."""
    found = LAYERS.search(page.read_text(encoding="utf-8")) if page.exists() else None
    return None if found is None else Network(**json.loads(found[1]))


def article(found: Network) -> Article:
    """The page as an article."""
    made = from_template(NAME, "try.html.j2", title=TITLE, network=found)
    return replace(made, together=False)  # the file of all pages would be half as large again


def run(arguments: Namespace) -> int:
    """`python -m alexnet try`: put a checkpoint's network into its page; the next report shows it."""
    found = network(checkpoints.load(arguments.checkpoint))
    page = paths.REPORTS / f"{NAME}.html"
    write_atomically(page, f'<script type="application/json" id="network">{found.text}</script>\n'.encode())
    facts = found.facts
    print(
        f"{page}: {facts['parameters']:,} weights of 8 bits, test error {facts['rounded']:.2%} "
        f"(whole: {facts['whole']:.2%}); `make report` builds the page around them."
    )
    return 0
