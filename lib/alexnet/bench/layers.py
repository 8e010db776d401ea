"""Where a training step spends its time: each layer of a network on its own, forward and backward, on one batch."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks import models
from ..records.bench import LayerTime
from ..records.specs import NetSpec
from ..training import machine

REPEATS = 5


def layer_times(name: str, net: NetSpec, side: int, images: int) -> list[LayerTime]:
    """The layers of a network in training, fed with noise of `side` pixels a side; medians of several repeats.

    The sum is less than a step: the loss, the optimiser, the preparation of the batch and memory that one layer
    takes from another's cache are not in it.
    """
    device, precision = machine.default_device(), machine.default_precision()
    model = models.build(net, side).to(device)
    maps = torch.randn(images, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    found: list[LayerTime] = []
    for layer, part in model.named_children():
        part.train()
        inputs = maps.detach().requires_grad_(bool(found))

        def forward(part: nn.Module = part, inputs: torch.Tensor = inputs) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                return part(inputs)

        output = forward()
        given = torch.randn_like(output)
        wanted = [numbers for numbers in (inputs, *part.parameters()) if numbers.requires_grad]

        def backward(
            output: torch.Tensor = output, wanted: list = wanted, given: torch.Tensor = given
        ) -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(output, wanted, given, retain_graph=True)

        found.append(
            LayerTime(
                net=name,
                layer=layer,
                images=images,
                precision=precision,
                forward_seconds=_median_seconds(forward),
                backward_seconds=_median_seconds(backward) if wanted else 0.0,
                multiply_adds=_multiply_adds(part, maps),
                first=not found,
            )
        )
        maps = output.detach()
    return found


def _median_seconds(call: Callable[[], object]) -> float:
    return statistics.median(_times(call))


def _times(call: Callable[[], object]) -> Iterator[float]:
    call()
    for _ in range(REPEATS):
        machine.wait()
        start = time.perf_counter()
        call()
        machine.wait()
        yield time.perf_counter() - start


def _multiply_adds(part: nn.Module, maps: torch.Tensor) -> float:
    """Of the layer's forward pass for one image; torch counts matrix products and convolutions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        part(maps[:2].float())
    return counter.get_total_flops() / 4
