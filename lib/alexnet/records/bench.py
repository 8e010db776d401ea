"""What `make bench` stores of one machine: the times of every case, and where a training step spends its time.

A result holds times, errors and bytes as they were measured. Ratios, rates, shares and whether a goal was reached are
derived from them.
"""

import statistics
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from ..errors import RecordError, at_fault
from .files import Part

SCHEMA_VERSION: Literal[1] = 1


class Goal(NamedTuple):
    """Something that a case has to show, and what it showed."""

    what: str
    wanted: float
    found: float
    reached: bool


class Result(Part):
    """What one case gave. Everything else is derived from it."""

    case: str
    question: str
    goal: float | None  # the least ratio, baseline over ours, that is called enough
    baseline_seconds: list[float]  # of one call, in the order of the repeats
    ours_seconds: list[float]
    images: int | None  # images one call works through
    flop: float | None  # multiplications and additions of one call
    precision: str  # of ours
    share_goal: float | None = None  # the least share of the peak
    errors: dict[str, float] = Field(
        default_factory=dict
    )  # ours against float64: largest absolute error over the largest absolute value
    error_goal: float | None = None  # the largest of these that is exact enough
    peak_flop_per_second: list[float] = Field(
        default_factory=list
    )  # of the machine in this precision, measured in turn with the calls
    memory_bytes: tuple[int, int] | None = None  # most that the processes of baseline and ours held, one arm each

    @property
    def ratios(self) -> list[float]:
        """Baseline over ours, one a repeat: the two calls of a repeat follow each other."""
        return [b / o for b, o in zip(self.baseline_seconds, self.ours_seconds, strict=True)]

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median over the repeats."""
        return statistics.median(self.ratios)

    @property
    def seconds(self) -> tuple[float, float]:
        """Median seconds of a call: baseline, ours."""
        return statistics.median(self.baseline_seconds), statistics.median(self.ours_seconds)

    @property
    def images_per_second(self) -> tuple[float, float] | None:
        """Baseline, ours."""
        return None if self.images is None else (self.images / self.seconds[0], self.images / self.seconds[1])


class LayerTime(Part):
    """One layer of a network in training, on one batch."""

    net: str
    layer: str
    images: int  # in the batch
    precision: str
    forward_seconds: float
    backward_seconds: float  # gradients of inputs and weights
    multiply_adds: float  # of the forward pass for one image
    first: bool  # the first layer needs no gradient of its inputs

    @property
    def seconds(self) -> float:
        """Forward and backward."""
        return self.forward_seconds + self.backward_seconds

    @property
    def flop(self) -> float:
        """Multiplications and additions of the batch: forward, gradients of weights, and of inputs if needed."""
        return 2 * self.multiply_adds * self.images * (2 if self.first else 3)


class BenchRecord(Part):
    """One run of all cases on one machine."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: str  # UTC, ISO 8601
    machine: dict[str, str | int]  # as `machine.describe` gives it
    threads: int
    freed_memory_kept: bool  # whether the C library was told to keep freed memory, for baseline and ours alike
    other_load: float  # cores that other processes kept busy in the second before the first case
    peak_flop_per_second: dict[str, float]  # the best seen, by precision; see `bench.peak`
    results: list[Result]
    layers: list[LayerTime] = Field(default_factory=list)

    def share_of_peak(self, part: Result | LayerTime) -> float | None:
        """Arithmetic of ours over what the machine reached beside it; None where it is not known.

        A layer's is over the record's peak. So is a result's in records made before the peak was measured in turn.
        """
        if part.flop is None:
            return None
        if isinstance(part, Result) and part.peak_flop_per_second:
            pairs = zip(part.ours_seconds, part.peak_flop_per_second, strict=True)
            return statistics.median(part.flop / seconds / peak for seconds, peak in pairs)
        peak = self.peak_flop_per_second.get(part.precision)
        seconds = part.seconds[1] if isinstance(part, Result) else part.seconds
        return None if peak is None else part.flop / seconds / peak

    def goals(self, result: Result) -> list[Goal]:
        """Everything the case had to show on this machine."""
        goals = []
        if result.goal is not None:
            goals.append(Goal("ratio", result.goal, result.ratio, result.ratio >= result.goal))
        share = self.share_of_peak(result)
        if result.share_goal is not None and share is not None:
            goals.append(Goal("share of peak", result.share_goal, share, share >= result.share_goal))
        if result.error_goal is not None:
            for what, error in result.errors.items():
                goals.append(Goal(f"error of {what}", result.error_goal, error, error <= result.error_goal))
        return goals


def load(path: Path) -> BenchRecord:
    """Read a record. Raises `RecordError` when it is damaged or of another schema version."""
    try:
        return BenchRecord.model_validate_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}. Run `make bench`.") from error
    except ValidationError as error:
        raise RecordError(f"{path} is not a bench record: {at_fault(error, most=1)}. Run `make bench`.") from error


def load_all(folder: Path) -> dict[str, BenchRecord]:
    """Every record of a folder by the name of its machine; none where nothing was measured."""
    return {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
