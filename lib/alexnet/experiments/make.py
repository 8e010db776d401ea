"""`python -m alexnet runs`: make the run records that a profile lacks."""

from argparse import Namespace
from functools import partial

from .. import paths
from ..records.store import Store
from ..runs import pool
from . import costs, profiles


def run(arguments: Namespace) -> int:
    """Say what will run and why, and run it; stopped, the same command goes on."""
    profile = profiles.check_profile(arguments.profile)
    store = Store(arguments.store or paths.runs_folder(profile, arguments.fresh))
    store.tidy()
    planned = partial(profiles.records, profile, store, arguments.seeds, arguments.claim)
    todo = pool.work(planned(), arguments.workers, costs.measured_rates())
    print("\n".join([*todo.reasons(None if arguments.dry_run else pool.LONGEST), todo.announcement]))
    for left in [path for p in todo.missing for path in store.foreign_checkpoints(p.spec.hash)]:
        print(f"{left} is of other training code, and is left alone: this code begins that run anew.")
    if arguments.dry_run or not todo.missing:
        return 0
    print(f"Each run keeps its last epoch in {store.checkpoints}.")
    todo.require_records(profile)
    with pool.stopping_cleanly("Finished runs are kept; the same command goes on from the last epochs."):
        made = pool.execute_all(planned, store, arguments.workers, arguments.scheduler, arguments.minutes)
    print(f"{made} records made in {store.folder}.")
    return 0
