"""`python -m alexnet bench`: measure the cases, print what came out, and store the record that the cost page reads."""

import os
import re
import sys
from argparse import Namespace
from fnmatch import fnmatch
from functools import partial

import pandas as pd

from .. import paths
from ..errors import SpecError
from ..records.bench import BenchRecord
from ..records.files import write_atomically
from ..training import machine
from . import harness
from .cases import CASES, layer_times


def machine_name() -> str:
    """A file name for this machine: its GPU, or its processor and cores."""
    facts = machine.describe()
    words = facts["gpu"] if facts["gpu"] != "none" else f"{facts['cpu']} {facts['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", str(words).lower()).strip("-")


def table(record: BenchRecord) -> str:
    """The record for a terminal."""
    rows = []
    for result in record.results:
        rates, share = result.images_per_second, record.share_of_peak(result)
        goals = [f"{g.what} {g.wanted:.3g} {'reached' if g.reached else 'MISSED'}" for g in record.goals(result)]
        rows.append(
            {
                "case": result.case,
                "baseline ms": f"{1000 * result.seconds[0]:.1f}",
                "ours ms": f"{1000 * result.seconds[1]:.1f}",
                "ratio": f"{result.ratio:.2f} ({min(result.ratios):.2f} to {max(result.ratios):.2f})",
                "images/s": "" if rates is None else f"{rates[1]:.0f}",
                "of peak": "" if share is None else f"{share:.0%}",
                "goals": ", ".join(goals),
            }
        )
    peak = ", ".join(f"{name} {flops / 1e9:.0f} GFLOP/s" for name, flops in record.peak_flop_per_second.items())
    where = f"{record.machine['cpu']}, {record.threads} threads; at most {peak}"
    return f"{where}\n{pd.DataFrame(rows).to_string(index=False)}"


def run(arguments: Namespace) -> int:
    """Measure, print, and store the record when every case was measured. Raises `SpecError` for unknown cases."""
    if arguments.list:
        for case in CASES.values():
            print(f"{case.name:20} {case.question}")
        return 0
    patterns = arguments.cases or ["*"]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in CASES):
            raise SpecError(f"There is no bench case {pattern!r}; the cases are {', '.join(CASES)}.")
    chosen = [case for name, case in CASES.items() if any(fnmatch(name, pattern) for pattern in patterns)]
    whole = arguments.cases is None
    progress = partial(print, file=sys.stderr)
    record = harness.run_cases(chosen, arguments.repeats, progress, layer_times if whole else list)
    print(table(record))
    if whole:
        path = paths.BENCH / f"{machine_name()}.json"
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
        print(f"Stored as {os.path.relpath(path)}.")
    return 0
