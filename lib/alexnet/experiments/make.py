"""`python -m alexnet runs`: make the run records that a profile lacks."""

from argparse import Namespace
from functools import partial

from .. import paths
from ..records.store import Store
from ..runs import pool
from . import profiles


def run(arguments: Namespace) -> int:
    """Say what will run and why, and run it; stopped, the same command goes on."""
    profile = profiles.check_profile(arguments.profile)
    store = Store(arguments.store or paths.runs_folder(profile, arguments.fresh))
    store.tidy()
    planned = partial(profiles.records, profile, store, arguments.seeds, arguments.claim)
    todo = pool.work(planned(), arguments.workers)
    print("\n".join(todo.reasons()))
    print(todo.announcement)
    if arguments.dry_run or not todo.missing:
        return 0
    todo.require_records(profile)
    with pool.stopping_cleanly("Finished runs are kept; the same command goes on from the last epochs."):
        made = pool.execute_all(planned, store, arguments.workers, arguments.scheduler, arguments.minutes)
    print(f"{made} records made in {store.folder}.")
    return 0
