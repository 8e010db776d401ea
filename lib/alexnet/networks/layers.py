"""Layers of the paper and its code that torch lacks, or computes slowly."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpecError
from .response_norm import LocalResponseNorm, SpatialResponseNorm, reference_response_norm

__all__ = ["LocalResponseNorm", "LocallyConnected2d", "SpatialResponseNorm", "reference_response_norm"]


class LocallyConnected2d(nn.Module):
    """A convolution of stride 1 whose weights are not shared between places (the nets of section 3.3).

    Input [N, in_channels, S, S] with S = `input_size`; output [N, out_channels, T, T] with
    T = S + 2 * padding - kernel_size + 1. As in the original code, each place has its own weights and biases:
    `weight` is [T * T, kernel_size * kernel_size * in_channels, out_channels] (places row by row; within a kernel row,
    column, channel), `bias` [T * T, out_channels]. Weights start as torch starts a convolution's. Raises `SpecError`
    for sizes that do not go together.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, input_size: int, padding: int = 0):
        super().__init__()
        self.output_size = input_size + 2 * padding - kernel_size + 1
        if min(in_channels, out_channels, kernel_size, input_size, self.output_size) < 1 or padding < 0:
            raise SpecError(
                f"A locally connected layer with kernels of {kernel_size} pixels, padding {padding}, {in_channels} "
                f"and {out_channels} channels does not fit maps of {input_size} pixels a side."
            )
        self.in_channels, self.out_channels, self.input_size = in_channels, out_channels, input_size
        self.kernel_size, self.padding = kernel_size, padding
        self.fan_in = in_channels * kernel_size**2
        places = self.output_size**2
        self.weight = nn.Parameter(torch.empty(places, self.fan_in, out_channels))
        self.bias = nn.Parameter(torch.empty(places, out_channels))
        for numbers in (self.weight, self.bias):
            nn.init.uniform_(numbers, -(self.fan_in**-0.5), self.fan_in**-0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """One matrix product a place: [N, fan_in] times [fan_in, out_channels].

        With places outermost in memory the patches are joined from large blocks, which takes a third of the time
        of `F.unfold` and an `einsum`, gradients included.
        """
        expected = (self.in_channels, self.input_size, self.input_size)
        if maps.dim() != 4 or tuple(maps.shape[1:]) != expected:
            raise SpecError(f"This locally connected layer takes maps {['N', *expected]}, not {list(maps.shape)}.")
        side, border = self.output_size, (self.padding, self.padding)
        padded = F.pad(maps.permute(2, 3, 0, 1), (0, 0, 0, 0, *border, *border))  # [rows, columns, N, in_channels]
        steps = range(self.kernel_size)
        views = [padded[row : row + side, column : column + side] for row in steps for column in steps]
        patches = torch.cat(views, -1).flatten(0, 1)  # [places, N, fan_in]
        sums = torch.baddbmm(self.bias[:, None], patches, self.weight)  # [places, N, out_channels]
        return sums.permute(1, 2, 0).unflatten(2, (side, side))

    def extra_repr(self) -> str:
        """The sizes, as torch prints them."""
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{sizes}, input_size={self.input_size}, padding={self.padding}"
