"""`make bench`: baseline and ours side by side, alternating, as a record that the cost page reads.

A case is a function that yields `Arms`: what to compare, and how much work one call does. The harness calls the two
in turn, so that a machine that slows down slows both, and keeps every time it took. Cases live in `bench_cases`.
"""

import gc
import math
import os
import re
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch

from .. import paths
from ..errors import SpecError
from ..records.bench import BenchRecord, LayerTime, Result, load
from ..records.files import write_atomically
from ..training import machine

__all__ = ["CASES", "Arms", "BenchRecord", "Case", "Result", "case", "load"]

MOST_WARM_UPS, WARM_UP_SECONDS = 3, 2.0  # calls before anything is timed, unless so much time has gone by
REPEATS = 5  # measurements of each side of a case
LEAST_SECONDS = 0.05  # a shorter call is repeated until a measurement takes this long


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
    memory: Callable[[], tuple[int, int] | None] = lambda: None  # most bytes held by baseline and ours; asked last


@dataclass(frozen=True)
class Case:
    """One comparison by name."""

    name: str
    question: str  # the first line of the function's docstring
    goal: float | None  # the least ratio, baseline over ours, that issue and page call enough
    prepare: Callable[[], AbstractContextManager[Arms]]
    share_goal: float | None = None  # the least share of the machine's measured peak
    repeats: int = REPEATS  # fewer where one call takes long, more where the two sides are nearly equal


CASES: dict[str, Case] = {}


def case(
    name: str, goal: float | None = None, share_goal: float | None = None, repeats: int = REPEATS
) -> Callable[[Callable[[], Iterator[Arms]]], Case]:
    """Register a generator function that yields one `Arms`; what follows its `yield` cleans up."""

    def register(prepare: Callable[[], Iterator[Arms]]) -> Case:
        question = (prepare.__doc__ or name).splitlines()[0]
        CASES[name] = Case(name, question, goal, contextmanager(prepare), share_goal, repeats)
        return CASES[name]

    return register


def machine_name() -> str:
    """A file name for this machine: its GPU, or its processor and cores."""
    facts = machine.describe()
    words = facts["gpu"] if facts["gpu"] != "none" else f"{facts['cpu']} {facts['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", str(words).lower()).strip("-")


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
        seconds = _seconds(call, 1)
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
    return seconds


def _seconds(call: Callable[[], object], calls: int) -> float:
    """Wall time of one call, averaged over `calls`, without the garbage collector."""
    gc.disable()
    try:
        machine.wait()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        machine.wait()
        return (time.perf_counter() - start) / calls
    finally:
        gc.enable()


def precisions() -> list[str]:
    """Those that the machine is fast at."""
    return ["float32", "bfloat16"] if machine.has_fast_bfloat16() else ["float32"]


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
    return max(flop / _seconds(probe, 1) for probe, flop in probes.items() for _ in range(repeats))


def peaks() -> dict[str, float]:
    """The peak of each precision."""
    return {precision: peak(precision) for precision in precisions()}


def run_cases(
    cases: list[Case],
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
    for one in cases:
        say(f"{one.name}: {one.question}")
        start = time.perf_counter()
        with one.prepare() as arms:
            times = measure(arms, min(one.repeats, repeats or one.repeats))
            memory = arms.memory()
        say(
            f"  {statistics.median(times.baseline):.3g} s and {statistics.median(times.ours):.3g} s a call; "
            f"{time.perf_counter() - start:.0f} s in all"
        )
        results.append(
            Result(
                case=one.name,
                question=one.question,
                goal=one.goal,
                baseline_seconds=times.baseline,
                ours_seconds=times.ours,
                peak_flop_per_second=times.peaks,
                images=arms.images,
                flop=arms.flop,
                precision=arms.precision,
                share_goal=one.share_goal,
                errors=arms.errors,
                error_goal=arms.error_goal,
                memory_bytes=memory,
            )
        )
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


def table(record: BenchRecord) -> str:
    """The record for a terminal."""
    rows = []
    for result in record.results:
        rates, share = result.images_per_second, record.share_of_peak(result)
        low, high = min(result.ratios), max(result.ratios)
        goals = [f"{g.what} {g.wanted:.3g} {'reached' if g.reached else 'MISSED'}" for g in record.goals(result)]
        rows.append(
            [
                result.case,
                *(f"{1000 * seconds:.1f}" for seconds in result.seconds),
                f"{result.ratio:.2f} ({low:.2f} to {high:.2f})",
                "" if rates is None else f"{rates[1]:.0f}",
                "" if share is None else f"{share:.0%}",
                ", ".join(goals),
            ]
        )
    heads = ["case", "baseline ms", "ours ms", "ratio", "images/s", "of peak", "goals"]
    peak = ", ".join(f"{name} {flops / 1e9:.0f} GFLOP/s" for name, flops in record.peak_flop_per_second.items())
    where = f"{record.machine['cpu']}, {record.threads} threads; at most {peak}"
    return f"{where}\n{pd.DataFrame(rows, columns=heads).to_string(index=False)}"


def run(arguments: Namespace) -> int:
    """Measure, print, and store the record when every case was measured. Raises `SpecError` for unknown cases."""
    from . import cases as bench_cases  # registers the cases; torchvision and fastai are slow to import

    if arguments.list:
        for one in CASES.values():
            print(f"{one.name:20} {one.question}")
        return 0
    patterns = arguments.cases or ["*"]
    unknown = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in CASES)]
    if unknown:
        raise SpecError(f"There is no bench case {unknown[0]!r}; the cases are {', '.join(CASES)}.")
    chosen = [one for name, one in CASES.items() if any(fnmatch(name, pattern) for pattern in patterns)]
    layers = bench_cases.layer_times if arguments.cases is None else list
    record = run_cases(chosen, arguments.repeats, lambda line: print(line, file=sys.stderr), layers)
    print(table(record))
    if arguments.cases is None:
        path = paths.BENCH / f"{machine_name()}.json"
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
        print(f"Stored as {os.path.relpath(path)}.")
    return 0
