"""What the processes do that test_runs.py starts and kills.

A fork server imports this module once, torch and all, and then forks workers from it in milliseconds.
"""

import gc
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import torch
import torch._dynamo  # an optimiser imports it when it is made, which takes seconds

from alexnet import RunSpec, Store, paths
from alexnet.runs import execution
from alexnet.training import callbacks
from alexnet.training.prepared import prepare

torch.set_num_threads(1)  # no thread pool exists when the server forks
small.install(pytest.MonkeyPatch())  # for the life of the process
prepare(small.spec()).loaders()
paths.training_code()
gc.freeze()  # a worker that collects garbage shall not copy what it was forked with


def execute(folder: Path, specs: list[RunSpec], log: Path, die_at: int | None = None) -> None:
    """Execute runs as a grid does, noting in the log each epoch that begins; die before the nth change of a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store, begin = Store(folder), callbacks.EpochSeeds.before_train
    if die_at is not None:
        _die_at(die_at)
    try:
        for spec in specs:

            def before_train(self: callbacks.EpochSeeds, name: str = spec.hash) -> None:
                begin(self)
                os.write(file, f"{name} {len(self.history.rows) + 1}\n".encode())

            callbacks.EpochSeeds.before_train = before_train  # type: ignore[method-assign]
            execution.execute(spec, store)
        store.tidy()
    except BaseException:
        os.write(file, b"error " + repr(traceback.format_exc()).encode() + b"\n")
        raise


def _die_at(number: int) -> None:
    """Kill this process where it is about to change a file for the nth time."""
    left = number

    def dying(change: Callable) -> Callable:
        def counted(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return counted

    patch = pytest.MonkeyPatch()
    patch.setattr(os, "fsync", dying(os.fsync))  # what was written may be incomplete
    patch.setattr(Path, "replace", dying(Path.replace))
    patch.setattr(Path, "unlink", dying(Path.unlink))
