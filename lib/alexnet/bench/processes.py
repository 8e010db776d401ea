"""Bench arms in processes of their own: with their own threads, settings and memory."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch

from ..errors import AlexnetError
from ..training import machine

Make = Callable[..., Callable[[], object]]


class Elsewhere:
    """A function in another process: calling it runs it there and waits."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self.memory: int | None = None  # most bytes its process held, known after a call

    def __call__(self) -> None:
        """Run it once. Raises `AlexnetError` when it fails there."""
        try:
            self._connection.send(True)
            failure, self.memory = self._connection.recv()
        except (EOFError, OSError) as error:
            raise AlexnetError("The process that runs a bench arm died; is there memory enough?") from error
        if failure:
            raise AlexnetError(f"A bench arm failed in its own process: {failure}.")


@contextmanager
def elsewhere(make: Make, *arguments: object, threads: int | None = None) -> Iterator[Elsewhere]:
    """`make(*arguments)` in a process of its own, with that many threads, as a function that runs it there and waits.

    For arms that must not share this process's settings, such as how freed memory is kept. Calls raise
    `AlexnetError` when that process fails.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, make, arguments, threads))
    process.start()
    there.close()
    try:
        yield Elsewhere(here)
    finally:
        here.close()
        process.join()


def side_by_side(calls: Sequence[Callable[[], object]]) -> None:
    """Run calls into other processes at the same time, until the last is done."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def _serve(connection: Connection, make: Make, arguments: tuple, threads: int | None) -> None:
    """Run an arm each time the other side asks, until it hangs up."""
    if threads:
        torch.set_num_threads(threads)
    call: Callable[[], object] | None = None
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        failure = ""
        try:
            call = call or make(*arguments)
            call()
        except Exception as error:  # handed to the other side, whatever it is
            failure = f"{type(error).__name__}: {error}"
        connection.send((failure, machine.peak_memory()))
