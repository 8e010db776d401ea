"""What the machine has, and the settings that follow from it. Recorded with each run, never part of its hash."""

import ctypes
import functools
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from .. import paths

PRECISION_VARIABLE = "ALEXNET_PRECISION"
PAYS = 1.2  # times as fast, from which bfloat16 is worth its rounding


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks instead of returning them to the kernel; True where that was possible.

    Each training step frees and takes back the same tens of megabytes. By default glibc maps every large block anew,
    and the page faults of those maps took two fifths of a training step of the four-layer net. Must be called before
    the memory is taken; other C libraries are left alone. Threads share one arena: in one of its own, whose parts are
    of limited size, large blocks leave holes that nothing fits into, and a worker grew by a gigabyte in ten epochs.
    """
    if platform.libc_ver()[0] != "glibc" or not sys.platform.startswith("linux"):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    megabyte = 1 << 20
    settings = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 64 * megabyte, arena_max: 1}
    return all(mallopt(name, value) for name, value in settings.items())


def return_freed_memory() -> None:
    """Give what `keep_freed_memory` has kept back to the kernel, between runs."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Count numbers below 1.2e-38 as zero, in this thread and in those that are started meanwhile.

    Adam's moments and SGD's momentum decay to such numbers wherever a gradient stays exactly zero, as at dead units,
    and processors take a hundred times as long with each: mnist-alexnet trained a third slower from its 800th step on.
    """
    warnings.filterwarnings("ignore", "The value of the smallest subnormal")  # numpy notices
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def peak_memory() -> int | None:
    """The most memory this process has held, in bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    # getrusage would count what the parent held before it started this process.
    lines = status.read_text().splitlines() if status.exists() else []
    held = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return held[0] if held else None


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores other processes keep busy, over a time in which this one sleeps."""
    return psutil.cpu_percent(seconds) / 100 * (os.cpu_count() or 1)


def wait() -> None:
    """Until the GPU has done what it was asked for; nothing without one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@functools.cache
def has_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16 (AVX512-BF16 or AMX), or the GPU does."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return "avx512_bf16" in processor_flags() or "amx_bf16" in processor_flags()


@functools.cache
def bfloat16_pays() -> bool:
    """Whether products are faster in bfloat16 than in float32, which the instructions alone do not promise: on a
    processor whose AMX a virtual machine hides, they take twice as long."""
    if torch.cuda.is_available() or not has_bfloat16():
        return has_bfloat16()
    return seconds_of_a_product(torch.float32) > PAYS * seconds_of_a_product(torch.bfloat16)


def seconds_of_a_product(dtype: torch.dtype, side: int = 768, tries: int = 4) -> float:
    """The shortest time of some products of square matrices; a few milliseconds each."""
    matrix = torch.ones(side, side, dtype=dtype)

    def once() -> float:
        start = time.perf_counter()
        matrix @ matrix
        return time.perf_counter() - start

    return min(once() for _ in range(tries))


@functools.cache
def processor_flags() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty elsewhere."""
    return frozenset(_processor_info().get("flags", "").split())


def _processor_info() -> dict[str, str]:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    pairs = (line.split(":", 1) for line in file.read_text().split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def default_device() -> torch.device:
    """The GPU when there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_precision() -> str:
    """bfloat16 where it is measured to be faster here, else float32; `ALEXNET_PRECISION` overrides."""
    return paths.environment(PRECISION_VARIABLE) or ("bfloat16" if bfloat16_pays() else "float32")


def compiler() -> str | None:
    """The `torch.compile` backend that networks are compiled with, such as inductor: `ALEXNET_COMPILE`; None unset.

    Nothing is compiled unless asked for: it takes a minute a network, and what it saves on a GPU has not been measured.
    """
    return paths.environment("ALEXNET_COMPILE")


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads, where there are as many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(number, cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe() -> dict[str, str | int]:
    """Hardware and versions, as they stand in a run record."""
    device = default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    return {
        "cpu": _processor_info().get("model name", platform.processor() or "unknown"),
        "cores": cores(),
        "gpu": name,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
