"""One training run on several processes: how they are started, and what they tell each other.

Each process trains on one GPU, or on some of the cores. accelerate finds out what they are and how they talk (NCCL
between GPUs, gloo between processors), whether torchrun, `accelerate launch` or `launch` below started them.
"""

import os
import signal
from typing import TypeVar

import torch
import torch.distributed
from accelerate import PartialState  # type: ignore[import-untyped]  # published without type hints

from .. import paths
from ..errors import AlexnetError, SpecError
from ..training import machine

Value = TypeVar("Value")


def launched() -> bool:
    """Whether this is one of several processes that torchrun or accelerate has started."""
    return (paths.environment("WORLD_SIZE") or 1) > 1


def join() -> None:
    """Meet the other processes, if there are any. Must come before everything below.

    Raises `SpecError` where they do not meet: each would train by itself, and they would overwrite each other.
    """
    if not launched():
        return
    try:
        PartialState(cpu=not torch.cuda.is_available())  # without `cpu` accelerate takes processors for single ones
    except (RuntimeError, ValueError, OSError) as error:
        reason = f"The processes of this training do not meet ({error}); check how they were launched."
        raise SpecError(reason) from error
    if number() != int(os.environ["WORLD_SIZE"]):
        raise SpecError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {number()} processes have met.")


def leave() -> None:
    """Part from the other processes in order."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def number() -> int:
    """How many processes train this run."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0; the first one writes and speaks for all."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def device() -> torch.device:
    """The device of this process."""
    return PartialState().device if number() > 1 else machine.default_device()


def total(numbers: torch.Tensor) -> torch.Tensor:
    """The sum of the tensors that the processes give, in float64 on the CPU; the same in each of them."""
    numbers = numbers.to(device(), torch.float64)
    if number() > 1:
        torch.distributed.all_reduce(numbers)
    return numbers.cpu()


def of_the_first(value: Value) -> Value:
    """What the first process gives, in each of them: only its file system needs to hold the run's files."""
    values = [value]
    if number() > 1:
        torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def fail_together(error: AlexnetError | None) -> None:
    """End every process when any of them met an error, so that none waits for one that is gone.

    Raises the error where it was met; the others end with the exit code of bad input and say nothing.
    """
    met = total(torch.tensor([float(error is not None)])).item()
    if error is not None:
        raise error
    if met:
        raise SystemExit(2)


def launch(processes: int, words: list[str]) -> int:
    """Run `python -m alexnet WORDS` in several processes here, and return the first exit code that is not 0.

    As `torchrun --standalone` does it. Raises `SpecError` where there are fewer GPUs than processes.
    """
    import torch.distributed.run as torchrun  # slow to import, and a single process needs none of it
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise SpecError(f"{processes} processes need {processes} GPUs; this machine has {torch.cuda.device_count()}.")
    threads = max(1, machine.cores() // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    options = ["--standalone", f"--nproc-per-node={processes}", "--module", "alexnet", *words]
    try:
        torchrun.run(torchrun.parse_args(options))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 1
    except SignalException as error:
        return 130 if error.sigval in (signal.SIGINT, signal.SIGTERM) else 1
    return 0
