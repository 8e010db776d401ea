"""Where a training step spends its time: each layer of a network on its own, forward and backward, on one batch."""

import statistics
import timeit
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.benchmark import timer  # waits for a GPU
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

        def forward(part: nn.Module = part, inputs: Tensor = inputs) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                return part(inputs)

        output = forward()
        wanted = [numbers for numbers in (inputs, *part.parameters()) if numbers.requires_grad]
        backward = partial(torch.autograd.grad, output, wanted, torch.randn_like(output), retain_graph=True)
        time = LayerTime(
            net=name,
            layer=layer,
            images=images,
            precision=precision,
            forward_seconds=_median_seconds(forward),
            backward_seconds=_median_seconds(backward) if wanted else 0.0,
            multiply_adds=forward_flop(part, maps[:2].float()) / 2,
            first=not found,
        )
        found.append(time)
        maps = output.detach()
    return found


def _median_seconds(call: Callable[[], object]) -> float:
    call()
    return statistics.median(timeit.repeat(call, number=1, repeat=REPEATS, timer=timer))


def forward_flop(part: nn.Module, images: Tensor) -> float:
    """Multiplications and additions of a forward pass, an image; torch counts matrix products and convolutions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        part(images)
    return counter.get_total_flops() / len(images)
