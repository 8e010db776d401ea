"""Does bfloat16 move results? The same runs, seed by seed, once more in float32, and the difference in test error.

A run's spec does not say in which precision it is computed, so both runs of a pair have the same hash. Repetitions in
float32 have a folder of records of their own, and nothing else reads it.
"""

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import paths
from ..errors import SpecError
from ..experiments import profiles
from ..records.record import RunRecord
from ..records.store import Store
from ..runs import pool
from ..runs.planning import Planned, Runs
from ..statistics import effects, measures
from ..statistics.effects import Effect
from ..training import machine

# Runs that are cheap to repeat, of both kinds of network that most claims rest on: claim, condition, arm.
REPEATED = {
    ("relu-speed", "modern", "relu"): "four-layer, 32 pixels",
    ("kernel-towers", "small", "network"): "AlexNet, 32 pixels, quarter width",
}


class Pair(NamedTuple):
    """One run in bfloat16 and, once it is made, its repetition in float32."""

    network: str
    planned: Planned
    record: RunRecord
    repetition: RunRecord | None


def folder(profile: str) -> Path:
    """Where the repetitions lie."""
    return paths.runs_folder(profile).with_name("runs-float32") if profile == "smoke" else paths.FLOAT32_RUNS


def pairs(profile: str, store: Store, repetitions: Store, seeds: int | None = None) -> list[Pair]:
    """The runs that are repeated and were computed in bfloat16. Raises `RecordError` for damaged records."""
    found = []
    for planned, record in profiles.records(profile, store, seeds):
        network = REPEATED.get((planned.claim, planned.condition, planned.arm))
        if network and planned.stage == "seeds" and record and record.environment.precision == "bfloat16":
            repetition = repetitions.get(planned.spec)
            if repetition is not None and repetition.environment.precision != "float32":
                raise SpecError(
                    f"{repetitions.path(planned.spec.hash)} was computed in {repetition.environment.precision}; "
                    "delete it and run `make precision`."
                )
            found.append(Pair(network, planned, record, repetition))
    return found


def _complete(found: Iterable[Pair]) -> dict[str, list[tuple[RunRecord, RunRecord]]]:
    """For each network, the pairs whose repetition is made: bfloat16, float32."""
    complete: dict[str, list[tuple[RunRecord, RunRecord]]] = {}
    for pair in found:
        if pair.repetition is not None:
            complete.setdefault(pair.network, []).append((pair.record, pair.repetition))
    return complete


def rates_sentence(found: Iterable[Pair]) -> str:
    """What the rates of the pairs can tell: their runs were made at different times, beside other work."""
    rates = [[(a.images_per_second, b.images_per_second) for a, b in both] for both in _complete(found).values()]
    slower = sum(fast < slow for network in rates for fast, slow in network)
    spread = max(max(runs) / min(runs) for network in rates for runs in zip(*network, strict=True))
    return (
        f"In {slower} of {sum(map(len, rates))} pairs the run in bfloat16 was the slower one. The two runs of "
        f"a pair were made at different times, beside other work: runs of one network in one precision differ by up to "
        f"{spread:.1f} times. What bfloat16 gains is measured by `make bench`, in turn."
    )


def differences(found: Iterable[Pair]) -> dict[str, Effect]:
    """For each network with repetitions, test error in bfloat16 less that in float32, in percentage points."""
    effect = {}
    for network, both in _complete(found).items():
        first, second = ([measures.test_error(record) for record in arm] for arm in zip(*both, strict=True))
        effect[network] = effects.paired_difference(
            [reading.value for reading in first],
            [reading.value for reading in second],
            diverged=[one.censored or other.censored for one, other in zip(first, second, strict=True)],
        )
    return effect


def run(arguments: Namespace) -> int:
    """Make the repetitions that are missing, and print the differences."""
    profile = profiles.check_profile(arguments.profile)
    store, repetitions = Store(paths.runs_folder(profile)), Store(folder(profile))
    found = pairs(profile, store, repetitions, arguments.seeds)
    if not found:
        raise SpecError(
            f"No run of the profile {profile} that is repeated in float32 was computed in bfloat16; run `make runs` "
            "on a machine that has it."
        )

    def planned() -> Runs:
        return [(pair.planned, repetitions.get(pair.planned.spec)) for pair in found]

    todo = pool.work(planned(), arguments.workers)
    for pair in found:
        print(f"{'reuse' if pair.repetition else 'run  '}  {pair.planned.spec.hash}  {pair.planned.title}")
    if todo.missing and not arguments.dry_run:
        todo.require_records(profile)
        os.environ[machine.PRECISION_VARIABLE] = "float32"  # workers inherit it
        with pool.stopping_cleanly("The same command goes on from the last epochs."):
            pool.execute_all(planned, repetitions, arguments.workers, minutes=arguments.minutes)
        found = pairs(profile, store, repetitions, arguments.seeds)
    for network, effect in differences(found).items():
        print(f"{network}: test error in bfloat16 less float32, {effect.text} {effect.unit}")
    return 0
