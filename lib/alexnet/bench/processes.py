"""Bench arms in processes of their own: with their own threads, settings and memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import get_context

import torch

from ..errors import AlexnetError
from ..training import machine

Make = Callable[..., Callable[[], object]]


class Elsewhere:
    """A function in another process: calling it runs it there and waits."""

    memory: int | None = None  # most bytes its process held, known after a call

    def __init__(self, pool: ProcessPoolExecutor, make: Make, arguments: tuple):
        self._pool, self._make, self._arguments = pool, make, arguments

    def __call__(self) -> None:
        """Run it once. Raises `AlexnetError` when it fails there."""
        try:
            self.memory = self._pool.submit(_run, self._make, self._arguments).result()
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


def _run(make: Make, arguments: tuple) -> int | None:
    _made(make, arguments)()
    return machine.peak_memory()
