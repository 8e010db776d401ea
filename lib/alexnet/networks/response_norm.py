"""Response normalisation, across channels (section 3.3) and within a map (the original code).

torch's own `LocalResponseNorm` spends half of an AlexNet training step in pooling over the channel axis, with large
temporaries. Here `norm_kernels` goes over memory once, with a gradient written by hand.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpecError

PIECE = 1024  # channels of pixels a thread works on at a time: its seven buffers fit a first cache of 32 kB
LEAST_SHARE = 1 << 16  # channels of pixels worth waking another thread for


class Window(NamedTuple):
    """b = a / (k + alpha * sum of a^2 over `size` channels around a's)^beta."""

    size: int
    alpha: float
    beta: float
    k: float

    @property
    def before(self) -> int:
        """Channels before the own one; an even window reaches one further back than forth, as torch's does."""
        return self.size // 2

    @property
    def after(self) -> int:
        """Channels after the own one."""
        return (self.size - 1) // 2

    def mirrored(self) -> tuple[int, int]:
        """Channels before and after in the gradient: those whose window holds the own channel."""
        return self.after, self.before


class LocalResponseNorm(nn.Module):
    """Local response normalisation across channels (section 3.3): b = a / (k + alpha * sum of a^2)^beta.

    Input and output: [N, C, ...] in the input's dtype and memory format; the sum runs over `size` adjacent channels,
    cut off at the first and last. The constants of section 3.3 are the defaults. As printed there, alpha multiplies
    the sum; the original code, Caffe and `torch.nn.LocalResponseNorm` divide it by the window size first
    (`divide=True`). bfloat16 and float16 are computed in float32: alpha times the sum is far below the spacing of
    bfloat16 numbers around k. `torch.compile`, `torch.export` and `torch.jit.trace` see a plain formula, which also
    serves float64, GPUs and gradients of gradients. Raises `SpecError` for an impossible window, an input without
    channels, and for `torch.jit.script`.
    """

    def __init__(
        self,
        size: int = 5,  # adjacent channels in a window, the own one included
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        divide: bool = False,  # True: alpha / size, the convention of torch, Caffe and the original code
    ):
        super().__init__()
        if size < 1 or int(size) != size:
            raise SpecError(f"A response normalisation window of {size} channels is impossible; use 1 or more.")
        self.size, self.alpha, self.beta, self.k, self.divide = int(size), alpha, beta, k, divide
        self.window = Window(self.size, alpha / size if divide else alpha, beta, k)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise [N, C, ...]."""
        if maps.dim() < 3 or not maps.is_floating_point():
            raise SpecError(
                f"Response normalisation takes floating-point [N, C, ...] of three or more dimensions, not "
                f"{maps.dtype} {list(maps.shape)}."
            )
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return plain_response_norm(maps, self.window)
        return _ResponseNorm.apply(maps, self.window)

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` asks a layer for."""
        raise SpecError("torch.jit.script cannot read response normalisation; use torch.jit.trace or torch.export.")

    def extra_repr(self) -> str:
        """The constants, as torch prints them."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, divide={self.divide}"


class SpatialResponseNorm(nn.Module):
    """Response normalisation within a map, from the original code (not in the paper).

    b = a / (1 + scale / size^2 * sum of a^2)^power, the sum over the size x size pixels around a's, cut off at the
    borders. The original code divides its scale by size^2 for this norm, and so does this. Input and output:
    [N, C, H, W] in the input's dtype; computed in float32 at least. Raises `SpecError` for an impossible window.
    """

    def __init__(self, size: int = 5, scale: float = 0.001, power: float = 0.75):
        super().__init__()
        if size < 1 or int(size) != size:
            raise SpecError(f"A response normalisation window of {size} pixels is impossible; use 1 or more.")
        self.size, self.scale, self.power = int(size), scale, power

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise [N, C, H, W]."""
        if maps.dim() != 4 or not maps.is_floating_point():
            raise SpecError(f"This norm takes floating-point [N, C, H, W], not {maps.dtype} {list(maps.shape)}.")
        wide = maps.to(_working_dtype(maps))
        # Zeros beyond the border count in the mean, so it is the sum over size^2. An even window makes one line more.
        means = F.avg_pool2d(wide.square(), self.size, stride=1, padding=self.size // 2)
        scale = 1 + self.scale * means[..., : maps.shape[2], : maps.shape[3]]
        return (wide * scale**-self.power).to(maps.dtype)

    def extra_repr(self) -> str:
        """The constants, as torch prints them."""
        return f"{self.size}, scale={self.scale}, power={self.power}"


def reference_response_norm(maps: Tensor, size: int = 5, alpha: float = 1e-4, divide: bool = False) -> Tensor:
    """Section 3.3 word for word, channel by channel of [N, C, ...] in float64, with k = 2 and beta = 0.75: what every
    fast path is tested against."""
    maps = maps.double()
    channels = maps.shape[1]
    factor = alpha / size if divide else alpha
    normalised = []
    for channel in range(channels):
        first, last = max(0, channel - size // 2), min(channels - 1, channel + (size - 1) // 2)
        total = sum(maps[:, neighbour] ** 2 for neighbour in range(first, last + 1))
        normalised.append(maps[:, channel] / (2 + factor * total) ** 0.75)
    return torch.stack(normalised, 1) if normalised else maps


def plain_response_norm(maps: Tensor, window: Window) -> Tensor:
    """The norm in a few differentiable steps, for compilers and for gradients of gradients."""
    wide = maps.to(_working_dtype(maps))
    return (wide * _scale(wide, window) ** -window.beta).to(maps.dtype)


def _plain_gradient(maps: Tensor, gradient: Tensor, window: Window) -> Tensor:
    """d loss / d maps, given gradient = d loss / d output; itself differentiable."""
    wide, passed = maps.to(_working_dtype(maps)), gradient.to(_working_dtype(maps))
    scale = _scale(wide, window)
    direct = passed * scale**-window.beta
    through_sums = _channel_sums(direct * wide / scale, *window.mirrored())
    return (direct - 2 * window.alpha * window.beta * wide * through_sums).to(maps.dtype)


def _scale(wide: Tensor, window: Window) -> Tensor:
    """k + alpha * sum of squares."""
    return window.k + window.alpha * _channel_sums(wide * wide, window.before, window.after)


def _channel_sums(values: Tensor, before: int, after: int) -> Tensor:
    """Sums over neighbouring channels, zero beyond the first and last."""
    padding = [0, 0] * (values.dim() - 2) + [before, after]
    padded, channels = F.pad(values, padding), values.shape[1]
    total = padded.narrow(1, 0, channels)
    for shift in range(1, before + after + 1):
        total = total + padded.narrow(1, shift, channels)
    return total


def _working_dtype(maps: Tensor) -> torch.dtype:
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


class _ResponseNorm(torch.autograd.Function):
    """The norm and its gradient, each in one pass over memory where there is compiled code for the maps.

    Only the input is kept for the gradient: to compute the scale again costs less than to store and load it.
    """

    @staticmethod
    def forward(maps: Tensor, window: Window) -> Tensor:
        kernels = _kernels(maps)
        return plain_response_norm(maps, window) if kernels is None else _run(kernels[0], window, maps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        maps, ctx.window = inputs
        ctx.save_for_backward(maps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (maps,) = ctx.saved_tensors
        # Grad mode is on where gradients of gradients were asked for.
        kernels = None if torch.is_grad_enabled() else _kernels(maps)
        if kernels is None:
            return _plain_gradient(maps, gradient, ctx.window), None
        return _run(kernels[1], ctx.window, maps, gradient), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], maps: Tensor, window: Window) -> tuple[Tensor, int]:
        """Images of all calls in a row."""
        together = maps.movedim(in_dims[0], 0)
        return _ResponseNorm.apply(together.flatten(0, 1), window).unflatten(0, together.shape[:2]), 0


def _kernels(maps: Tensor) -> tuple[Callable, Callable] | None:
    """Compiled code for these maps, if they are on the processor and have at most 32 bits a number.

    None also where numba is missing: a new version of Python has to wait for it.
    """
    if maps.device.type != "cpu" or maps.dtype == torch.float64 or not maps.shape[1]:
        return None
    try:
        from . import norm_kernels  # slow to import
    except ImportError:
        return None
    return norm_kernels.compiled("uint16" if maps.dtype == torch.bfloat16 else "float32")


def _run(kernel: Callable, window: Window, maps: Tensor, *others: Tensor) -> Tensor:
    """What a kernel makes of tensors [N, C, ...], in the dtype and memory format of `maps`; torch's number of threads
    share the work."""
    channels = maps.shape[1]
    dtype = torch.float32 if maps.dtype == torch.float16 else maps.dtype
    inputs = [tensor.detach().movedim(1, -1).to(dtype).contiguous() for tensor in (maps, *others)]
    output = torch.empty_like(maps)
    place = output.movedim(1, -1)
    result = place if place.is_contiguous() and dtype == maps.dtype else torch.empty_like(inputs[0])
    flat = [_numbers(tensor) for tensor in (*inputs, result)]
    rows = result.numel() // channels

    def work(share: int) -> None:
        part = slice(*(rows * edge // shares * channels for edge in (share, share + 1)))
        kernel(*(numbers[part] for numbers in flat), channels, *window, PIECE)

    shares = min(torch.get_num_threads(), 1 + result.numel() // LEAST_SHARE)
    waiting = [_pool(shares).submit(work, share) for share in range(1, shares)]
    work(0)
    for share in waiting:
        share.result()
    if result is not place:
        place.copy_(result)
    return output


def _numbers(tensor: Tensor) -> np.ndarray:
    """The memory of a contiguous tensor, flat, in a type that numpy has."""
    flat = tensor.view(-1)
    return (flat.view(torch.uint16) if tensor.dtype == torch.bfloat16 else flat).numpy()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay behind in the parent
