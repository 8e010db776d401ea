"""Baseline and ours side by side, alternating: what a case is, and how it is measured.

A case prepares `Arms`: what to compare, and how much work one call does. The two are called in turn, so that a machine
that slows down slows both, and every time that one took is kept.
"""

import gc
import math
import statistics
import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from multiprocessing import get_context
from typing import NamedTuple

import torch
from torch.utils.benchmark import timer  # waits for a GPU

from ..errors import AlexnetError
from ..records.bench import BenchRecord, LayerTime, Result
from ..training import machine

MOST_WARM_UPS, WARM_UP_SECONDS = 3, 2.0  # calls before anything is timed, unless so much time has gone by
LEAST_SECONDS = 0.05  # a shorter call is repeated until a measurement takes this long

Make = Callable[..., Callable[[], object]]  # as from a spec and the precision of ours to one call of an arm


@dataclass(frozen=True)
class Arms:
    """The two things a case compares, and the work that one call of either does."""

    baseline: Callable[[], object]
    ours: Callable[[], object]
    images: int | None = None  # images one call works through
    flop: float | None = None  # multiplications and additions of one call, a multiply-add counting as two
    precision: str = "float32"  # ours; the peak is measured in it as well
    errors: dict[str, float] = field(default_factory=dict)  # of ours against float64
    error_goal: float | None = None
    processes: tuple[Iterable[object], Iterable[object]] = ((), ())  # of either arm, where they tell their `memory`


@dataclass(frozen=True)
class Case:
    """One comparison by name."""

    name: str
    question: str
    prepare: Callable[[], AbstractContextManager[Arms]]
    goal: float | None = None  # the least ratio, baseline over ours, that issue and page call enough
    share_goal: float | None = None  # the least share of the machine's measured peak
    repeats: int = 5  # of each arm; fewer where a call takes long, more where the two are nearly equal


class Times(NamedTuple):
    """What `measure` took, one number a repeat."""

    baseline: list[float]  # seconds of one call
    ours: list[float]
    peaks: list[float]  # multiplications and additions a second, see `peak`; none where a case counts no arithmetic


def measure(arms: Arms, repeats: int) -> Times:
    """Time baseline and ours `repeats` times each, taking turns at going first, and the machine's peak after both."""
    pair = (arms.baseline, arms.ours)
    calls = [max(1, math.ceil(LEAST_SECONDS / max(_warmed_up(call), 1e-9))) for call in pair]
    times = Times([], [], [])
    for repeat in range(repeats):
        gc.collect()
        for arm in (0, 1) if repeat % 2 == 0 else (1, 0):
            times[arm].append(_seconds(pair[arm], calls[arm]))
        if arms.flop is not None and arms.precision in precisions():
            times.peaks.append(peak(arms.precision))
    return times


def _warmed_up(call: Callable[[], object]) -> float:
    """Call until memory is taken and caches are filled; seconds of the last call."""
    start = time.perf_counter()
    for _ in range(MOST_WARM_UPS):
        seconds = _seconds(call)
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
    return seconds


def _seconds(call: Callable[[], object], calls: int = 1) -> float:
    """Wall time of one call, averaged over `calls`, without the garbage collector."""
    return timeit.timeit(call, number=calls, timer=timer) / calls


def precisions() -> list[str]:
    """Those that the machine has instructions for."""
    return ["float32", "bfloat16"] if machine.has_bfloat16() else ["float32"]


def peak(precision: str, repeats: int = 2) -> float:
    """Multiplications and additions a second: the machine's limit here, the best of several.

    Of a large matrix product and a large convolution, since the two may come from different libraries, of which one
    may know the processor better.
    """
    device, dtype = machine.default_device(), getattr(torch, precision)
    side = 2048 if device.type == "cpu" else 8192
    square = torch.ones(side, side, device=device, dtype=dtype)
    maps, kernels = torch.ones(16, 256, 28, 28), torch.ones(256, 256, 3, 3)
    images, weights = (one.to(device, dtype, memory_format=torch.channels_last) for one in (maps, kernels))
    probes = {
        partial(torch.mm, square, square): 2 * side**3,
        partial(torch.nn.functional.conv2d, images, weights): 2 * 16 * 26**2 * weights.numel(),
    }
    for probe in probes:
        probe()
    return max(flop / _seconds(probe) for probe, flop in probes.items() for _ in range(repeats))


def peaks() -> dict[str, float]:
    """The peak of each precision."""
    return {precision: peak(precision) for precision in precisions()}


def run_case(case: Case, repeats: int | None, say: Callable[[str], None]) -> Result:
    """Measure one case, at most so many times."""
    say(f"{case.name}: {case.question}")
    start = time.perf_counter()
    with case.prepare() as arms:
        times = measure(arms, min(case.repeats, repeats or case.repeats))
        memory = _memory(arms)
    say(
        f"  {statistics.median(times.baseline):.3g} s and {statistics.median(times.ours):.3g} s a call; "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    of_case = {name: getattr(case, name) for name in ("question", "goal", "share_goal")}
    of_arms = {name: getattr(arms, name) for name in ("images", "flop", "precision", "errors", "error_goal")}
    return Result(
        case=case.name,
        baseline_seconds=times.baseline,
        ours_seconds=times.ours,
        peak_flop_per_second=times.peaks,
        memory_bytes=memory,
        **of_case,
        **of_arms,
    )


def _memory(arms: Arms) -> tuple[int, int] | None:
    """The most bytes that the processes of baseline and ours held; None where they do not tell."""
    baseline, ours = ([getattr(one, "memory", None) for one in processes] for processes in arms.processes)
    return (sum(filter(None, baseline)), sum(filter(None, ours))) if baseline and None not in baseline + ours else None


def run_cases(
    cases: Iterable[Case],
    repeats: int | None = None,  # at most so many; None: what each case asks for
    say: Callable[[str], None] = print,
    layers: Callable[[], list[LayerTime]] = list,  # measures single layers, after the cases
) -> BenchRecord:
    """Measure the cases one after the other."""
    kept = machine.keep_freed_memory()
    load = machine.busy_cores()
    if load > 0.5:
        say(f"Other processes keep {load:.1f} cores busy: these times are rough, though the arms take turns.")
    before, results = peaks(), []
    for case in cases:
        results.append(run_case(case, repeats, say))
        gc.collect()
    after = peaks()  # something else may have been going on when the first were taken
    return BenchRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine.describe(),
        threads=torch.get_num_threads(),
        freed_memory_kept=kept,
        other_load=load,
        peak_flop_per_second={name: max(best, after[name]) for name, best in before.items()},
        results=results,
        layers=layers(),
    )


# Arms in processes of their own: with their own threads, settings and memory


class Elsewhere:
    """A function in another process: calling it runs it there and waits."""

    memory: int | None = None  # most bytes its process held, known after a call

    def __init__(self, pool: ProcessPoolExecutor, make: Make, arguments: tuple):
        self._pool, self._make, self._arguments = pool, make, arguments

    def __call__(self) -> None:
        """Run it once. Raises `AlexnetError` when it fails there."""
        try:
            self.memory = self._pool.submit(_call, self._make, self._arguments).result()
        except BrokenProcessPool as error:
            raise AlexnetError("The process that runs a bench arm died; is there memory enough?") from error
        except Exception as error:  # whatever it was there
            raise AlexnetError(f"A bench arm failed in its own process: {type(error).__name__}: {error}.") from error


@contextmanager
def elsewhere(make: Make, *arguments: object, threads: int | None = None) -> Iterator[Elsewhere]:
    """`make(*arguments)` in a process of its own, with that many threads, as a function that runs it there and waits.

    For arms that must not share this process's settings, such as how freed memory is kept. Calls raise
    `AlexnetError` when that process fails.
    """
    prepare = partial(torch.set_num_threads, threads) if threads else None
    with ProcessPoolExecutor(1, get_context("spawn"), prepare) as pool:
        yield Elsewhere(pool, make, arguments)


def side_by_side(calls: Sequence[Callable[[], object]]) -> None:
    """Run calls into other processes at the same time, until the last is done."""
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda call: call(), calls))


_made = cache(lambda make, arguments: make(*arguments))  # once a process, when it is first called


def _call(make: Make, arguments: tuple) -> int | None:
    _made(make, arguments)()
    return machine.peak_memory()
