"""Response normalisation, across channels (section 3.3) and within a map (the original code).

torch's own `LocalResponseNorm` spends half of an AlexNet training step in pooling over the channel axis, with large
temporaries. Here the work goes through in pieces that stay in the processor's cache, with a gradient written by hand.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import SpecError

PIECE = 5 << 16  # elements a thread works on at a time: cached by the processor, and large against the cost of a call


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
    bfloat16 numbers around k. Under `torch.compile` a plain formula is traced, which the compiler fuses by itself.
    On a GPU the same steps run over the whole tensor at once, which has not been timed. Gradients of gradients work,
    at the speed of the plain formula. Raises `SpecError` for an impossible window or an input without channels.
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
        if torch.compiler.is_compiling():
            return plain_response_norm(maps, self.window)
        return _ResponseNorm.apply(maps, self.window)

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


def reference_response_norm(
    maps: Tensor,  # [N, C, ...]
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    divide: bool = False,
) -> Tensor:
    """Section 3.3 word for word, channel by channel in float64: what every fast path is tested against."""
    maps = maps.double()
    channels = maps.shape[1]
    factor = alpha / size if divide else alpha
    normalised = []
    for channel in range(channels):
        first, last = max(0, channel - size // 2), min(channels - 1, channel + (size - 1) // 2)
        total = sum(maps[:, neighbour] ** 2 for neighbour in range(first, last + 1))
        normalised.append(maps[:, channel] / (k + factor * total) ** beta)
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
    """The norm and its gradient, piece by piece.

    Only the input is kept for the gradient: to compute the scale again costs less than to store and load it.
    """

    @staticmethod
    def forward(maps: Tensor, window: Window) -> Tensor:
        if not maps.numel():
            return torch.empty_like(maps)
        last = _channels_last(maps)
        rows = _as_rows(maps, last)
        output = torch.empty_like(rows)
        work = _Workspace(rows, window)
        for piece in work.pieces():
            work.normalise(rows[piece], output[piece])
        return _as_maps(output, maps.shape, last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        maps, ctx.window = inputs
        ctx.save_for_backward(maps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (maps,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # asked for with create_graph=True
            return _plain_gradient(maps, gradient, ctx.window), None
        if not maps.numel():
            return torch.empty_like(maps), None
        last = _channels_last(maps)
        rows, passed = _as_rows(maps, last), _as_rows(gradient, last)
        output = torch.empty_like(rows)
        work = _Workspace(rows, ctx.window)
        for piece in work.pieces():
            work.differentiate(rows[piece], passed[piece], output[piece])
        return _as_maps(output, maps.shape, last), None


def _channels_last(maps: Tensor) -> bool:
    """Whether channels are the innermost axis in memory."""
    return not maps.is_contiguous() and maps.shape[1] > 1 and maps.stride(1) == 1


def _as_rows(maps: Tensor, last: bool) -> Tensor:
    """[N, C, ...] as contiguous [rows, C, inner]: pixels, C, 1 with channels last, else N, C, pixels."""
    if last:
        return maps.movedim(1, -1).contiguous().view(-1, maps.shape[1], 1)
    return maps.contiguous().view(maps.shape[0], maps.shape[1], -1)


def _as_maps(rows: Tensor, shape: torch.Size, last: bool) -> Tensor:
    """The inverse of `_as_rows`."""
    return rows.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1) if last else rows.view(shape)


class _Workspace:
    """Scratch memory for pieces of [rows, C, inner], and what is done to a piece.

    Channels lie in flat buffers with a gap after each row (and before the first), as wide as a window reaches. So
    the sum over a window is a sum of shifted flat vectors, with no border to look after. The gaps hold what a
    channel of zeros would: a share k / size of the scale, or no gradient.
    """

    def __init__(self, rows: Tensor, window: Window):
        count, self.channels, inner = rows.shape
        self.count, self.inner, self.window = count, inner, window
        limit = PIECE * torch.get_num_threads() if rows.device.type == "cpu" else rows.numel()
        self.width = -(-inner // -(-inner * self.channels // limit))  # of a piece; even shares of a row too long
        self.height = max(1, min(count, limit // (self.channels * self.width)))  # rows of a piece
        self.gap = window.before
        self.stride = self.channels + self.gap
        size = (self.height * self.stride + 2 * self.gap) * self.width
        options: dict[str, Any] = {"dtype": _working_dtype(rows), "device": rows.device}
        self.share = torch.tensor(window.k / window.size, **options)
        self.scales = torch.full((size,), window.k / window.size, **options)
        self.gradients = torch.zeros(size, **options)
        self.spare = torch.empty(size, **options), torch.empty(size, **options)
        shape = self.height, self.channels, self.width
        self.direct = torch.empty(shape, **options)
        self.wide = None if rows.dtype == options["dtype"] else torch.empty(shape, **options)

    def pieces(self) -> Iterator[tuple[slice, slice, slice]]:
        """Index the pieces. The last part of a long row overlaps its neighbour rather than being narrower."""
        for row in range(0, self.count, self.height):
            for start in range(0, self.inner, self.width):
                start = min(start, self.inner - self.width)
                yield slice(row, row + self.height), slice(None), slice(start, start + self.width)

    def normalise(self, maps: Tensor, output: Tensor) -> None:
        """Write the normalised `maps` [n, C, width] to `output`."""
        wide = self._widened(maps)
        scale, spare = self._scale(wide)
        power = self._cells(_inverse_power(scale, self.window.beta, spare, invert=False), len(maps))
        if self.wide is None:
            torch.mul(wide, power, out=output)
        else:
            output.copy_(wide.mul_(power))

    def differentiate(self, maps: Tensor, gradient: Tensor, output: Tensor) -> None:
        """Write d loss / d maps to `output`: `_plain_gradient`, in place."""
        count, window = len(maps), self.window
        wide, direct = self._widened(maps), self.direct[:count]
        scale, spare = self._scale(wide)
        power = self._cells(_inverse_power(scale, window.beta, spare, invert=True), count)
        if self.wide is None:
            torch.mul(gradient, power, out=direct)
        else:
            direct.copy_(gradient).mul_(power)
        gradients = self._flat(self.gradients, count)
        cells = self._cells(gradients[self.gap * self.width :], count)
        torch.mul(direct, wide, out=cells).mul_(self._cells(scale, count))
        sums, _ = _window_sums(gradients, self.width, window.size, self.spare)
        sums = self._cells(sums[(window.before - window.after) * self.width :], count)
        if self.wide is None:
            torch.addcmul(direct, wide, sums, value=-2 * window.alpha * window.beta, out=output)
        else:
            output.copy_(direct.addcmul_(wide, sums, value=-2 * window.alpha * window.beta))

    def _widened(self, maps: Tensor) -> Tensor:
        return maps if self.wide is None else self.wide[: len(maps)].copy_(maps)

    def _scale(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """k + alpha * sum of squares, flat, in one spare buffer; and the other one, of the same length."""
        scales = self._flat(self.scales, len(maps))
        cells = self._cells(scales[self.gap * self.width :], len(maps))
        torch.addcmul(self.share, maps, maps, value=self.window.alpha, out=cells)
        scale, spare = _window_sums(scales, self.width, self.window.size, self.spare)
        return scale, spare[: scale.numel()]

    def _flat(self, buffer: Tensor, count: int) -> Tensor:
        """The part of a buffer that `count` rows take, with the gaps at both ends."""
        return buffer[: (count * self.stride + 2 * self.gap) * self.width]

    def _cells(self, flat: Tensor, count: int) -> Tensor:
        """The channels [count, C, width] in a flat vector that starts with a channel, without the gaps."""
        rows = flat[: count * self.stride * self.width].view(count, self.stride, self.width)
        return rows[:, : self.channels]


def _window_sums(values: Tensor, step: int, size: int, spare: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """sums[i] = values[i] + values[i + step] + ... (`size` terms), flat; and the spare buffer left over.

    Windows double in width, or double and grow by one: 3 additions for 5 terms, 4 for 9.
    """
    (free, other), sums, width = spare, values, 1
    for digit in f"{size:b}"[1:]:
        length = sums.numel() - width * step
        sums = torch.add(sums[:length], sums[width * step :], out=free[:length])
        (free, other), width = (other, free), 2 * width
        if digit == "1":
            length = values.numel() - width * step
            sums, width = sums[:length].add_(values[width * step :]), width + 1
    return sums, free


def _inverse_power(scale: Tensor, beta: float, out: Tensor, invert: bool) -> Tensor:
    """scale^-beta, in `out`. `scale` is lost; with `invert` it becomes 1 / scale."""
    if beta == 0.75 and scale.device.type == "cpu":  # x^(-1/2) and its root are ten times as fast as a power
        torch.sqrt(scale.rsqrt_(), out=out).mul_(scale)
        if invert:
            scale.square_()
    else:
        torch.pow(scale, -beta, out=out)
        if invert:
            scale.reciprocal_()
    return out
