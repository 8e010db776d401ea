"""Response normalisation across channels in one pass over memory: code for the processor at hand, compiled by numba.

Maps come flat, channels innermost, as float32 or as the bits of bfloat16 in uint16; all arithmetic is in float32. A few
rows at a time go through buffers that stay in the processor's first cache. Importing this module needs numba, and the
first use on a machine compiles for some seconds; the result lies in the folder of verified data.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import overload

from .. import paths

FOLDER = "CACHE_DIR"  # numba's setting of where compiled code is kept
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}  # as C divides; fused a*b + c


def widened(value: Any) -> Any:
    """A number of a map as float32; its bits are bfloat16 if it comes as uint16."""
    raise NotImplementedError  # compiled code alone


def narrowed(value: Any, like: Any) -> Any:
    """float32 as the maps have it, to the nearest bfloat16 (ties to even) if `like` is uint16."""
    raise NotImplementedError


@overload(widened)
def _widened(value):  # type: ignore[no-untyped-def]  # numba compares the parameters, annotations included
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(narrowed)
def _narrowed(value, like):  # type: ignore[no-untyped-def]
    if like != types.uint16:
        return lambda value, like: value

    def nearest(value, like):  # type: ignore[no-untyped-def]
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
        rounded = np.uint32(bits + np.uint32(0x7FFF) + odd)
        return np.uint16(rounded >> np.uint32(16)) if value == value else np.uint16(0x7FC0)  # not a number stays so

    return nearest


@njit(**FLAGS)
def _window_sums(values: Any, sums: Any, places: Any, channels: int, before: int, after: int) -> None:
    """sums[i] = the sum of elements i - before to i + after of the same row, of which element 0 is values[before].

    `places` holds the channel of each element: neighbours beyond the ends of its row do not count.
    """
    count, zero = len(places), np.float32(0)
    if before == after == 2:  # the window of section 3.3, in one go
        last = np.int32(channels - 1)
        for i in range(count):
            place = places[i]
            total = values[i + 2]
            total += values[i] if place > 1 else zero
            total += values[i + 1] if place > 0 else zero
            total += values[i + 3] if place < last else zero
            total += values[i + 4] if place < last - 1 else zero
            sums[i] = total
    else:
        sums[:count] = zero
        for shift in range(-before, after + 1):
            neighbours = values[before + shift : before + shift + count]
            for i in range(count):
                inside = 0 <= places[i] + shift < channels
                sums[i] += neighbours[i] if inside else zero


def _forward(maps: Any, output: Any, channels: int, size: int, alpha: Any, beta: Any, k: Any, piece: int) -> None:
    """Write the normalised maps to `output`."""
    before, after = size // 2, (size - 1) // 2
    root, one = beta == 0.75, np.float32(1)
    alpha, power, k = np.float32(alpha), np.float32(-beta), np.float32(k)
    step = max(1, piece // channels) * channels
    places = (np.arange(step) % channels).astype(np.int32)
    squares, sums = np.zeros(step + size, np.float32), np.empty(step, np.float32)
    for start in range(0, len(maps), step):
        count = min(step, len(maps) - start)
        a, b = maps[start : start + count], output[start : start + count]
        own = squares[before : before + count]  # a view: an offset in the loop would keep it from being vectorised
        for i in range(count):
            wide = widened(a[i])
            own[i] = wide * wide
        _window_sums(squares, sums, places[:count], channels, before, after)
        if root:  # roots take a fraction of a power's time
            for i in range(count):
                scale = np.sqrt(k + alpha * sums[i])
                b[i] = narrowed(widened(a[i]) * (one / (scale * np.sqrt(scale))), a[i])
        else:
            for i in range(count):
                b[i] = narrowed(widened(a[i]) * (k + alpha * sums[i]) ** power, a[i])


def _backward(
    maps: Any, gradient: Any, output: Any, channels: int, size: int, alpha: Any, beta: Any, k: Any, piece: int
) -> None:
    """Write d loss / d maps to `output`, given gradient = d loss / d normalised maps."""
    before, after = size // 2, (size - 1) // 2
    root, one, factor = beta == 0.75, np.float32(1), np.float32(-2 * alpha * beta)
    alpha, power, k = np.float32(alpha), np.float32(-beta), np.float32(k)
    step = max(1, piece // channels) * channels
    squares, shares = np.zeros(step + size, np.float32), np.zeros(step + size, np.float32)
    places = (np.arange(step) % channels).astype(np.int32)
    sums, direct = np.empty(step, np.float32), np.empty(step, np.float32)
    for start in range(0, len(maps), step):
        count = min(step, len(maps) - start)
        a, given = maps[start : start + count], gradient[start : start + count]
        found, own, share = (
            output[start : start + count],
            squares[before : before + count],
            shares[after : after + count],
        )
        for i in range(count):
            wide = widened(a[i])
            own[i] = wide * wide
        _window_sums(squares, sums, places[:count], channels, before, after)
        if root:
            for i in range(count):
                inverse = one / np.sqrt(k + alpha * sums[i])
                direct[i] = widened(given[i]) * (inverse * np.sqrt(inverse))
                share[i] = direct[i] * widened(a[i]) * (inverse * inverse)
        else:
            for i in range(count):
                scale = k + alpha * sums[i]
                direct[i] = widened(given[i]) * scale**power
                share[i] = direct[i] * widened(a[i]) / scale
        _window_sums(
            shares, sums, places[:count], channels, after, before
        )  # over those whose window holds the own channel
        for i in range(count):
            found[i] = narrowed(direct[i] + factor * widened(a[i]) * sums[i], a[i])


@functools.cache
def compiled(dtype: str) -> tuple[Callable, Callable]:
    """Forward and backward for float32 or uint16: as compiled before, or now, without a copy where none can be kept."""
    kept = getattr(config, FOLDER)
    setattr(config, FOLDER, kept or str(paths.data_folder() / "compiled"))
    try:
        return _compile(dtype, cache=True)
    except Exception:  # a full disk, a folder that is not ours, a damaged copy: errors of many kinds
        return _compile(dtype, cache=False)
    finally:
        setattr(config, FOLDER, kept)


def _compile(dtype: str, cache: bool) -> tuple[Callable, Callable]:
    maps = types.Array(getattr(types, dtype), 1, "C")
    constants = (types.int64, types.int64, types.float64, types.float64, types.float64, types.int64)
    forward, backward = (
        njit(types.void(*(maps,) * arrays, *constants), cache=cache, **FLAGS)(function)
        for function, arrays in ((_forward, 2), (_backward, 3))
    )
    return forward, backward
