"""Run records: what a run gave, where, and what proves that it belongs to this code."""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Literal

from .files import Part
from .specs import RunSpec

SCHEMA_VERSION: Literal[1] = 1


class Epoch(Part):
    """One epoch. Errors are fractions; the training figures are means over the epoch's batches as they came."""

    epoch: int  # from 1
    learning_rate: float
    train_loss: float
    train_error: float
    valid_loss: float
    valid_error: float
    clean_train_loss: float | None = None  # on a fixed part of the training images, dropout off, not augmented
    clean_train_error: float | None = None
    # what some published protocols chose their epoch by; nothing here does
    test_loss: float | None = None
    test_error: float | None = None
    dropout_valid_loss: float | None = None  # with dropout on
    dropout_valid_error: float | None = None
    seconds: float


class Final(Part):
    """How a run ended."""

    outcome: Literal["reached", "censored", "completed", "diverged"]
    # reached: the training error came to its target; censored: it did not within the cap; completed: no target was
    # set; diverged: the loss was no longer a number
    epochs: int
    epochs_to_target: float | None  # interpolated linearly between epochs; None unless reached
    train_error: float
    valid_error: float
    test_error: float | None  # None for runs that choose something
    test_loss: float | None
    clean_train_error: float | None = None  # on all training images, dropout off, not augmented; None: not measured
    clean_train_loss: float | None = None


class Learned(Part):
    """What a trained network has learned; each figure follows from the arrays beside the record. None: not measured."""

    ten_crop_error: float | None = None  # test error with ten crops (section 4.1), a fraction
    tower_colour: float | None = None  # difference of the towers in their first kernels' colour selectivity, 0..1
    half_colour: float | None = None  # the same between random halves of the kernels, its mean
    untrained_tower_colour: float | None = None  # difference of the towers before training
    runner_up_kind: float | None = None  # share of the labels ranked second to fifth that are of the true one's kind
    random_kind: float | None = None  # the same in a random order
    feature_neighbours_share: float | None = None  # share of the nearest training images that have the image's class
    pixel_neighbours_share: float | None = None  # the same, nearest in pixels


class Probe(Part):
    """What a fresh build of the spec gives before training; it does not depend on the device."""

    parameters: int
    weights_sum: float
    weights_norm: float
    first_batch_sha256: str  # of the int64 places in the training set of the first batch
    loss: float  # float32, on the first batch, dropout off
    gradient_norm: float

    def differences(self, other: "Probe") -> Iterator[str]:
        """What another probe of the same spec has otherwise, beyond rounding; each difference in words.

        The draw is the same everywhere up to the last bit of a logarithm or cosine. Sums over the weights lose at most
        that, so 1e-6 is generous, and another draw moves the norm by more, whatever the size of the network. Loss and
        gradient depend on the order of float32 sums: with one thread, two threads and without oneDNN they differed
        by up to 1e-7 and 1e-5 (cuda-convnet's initial weights of 1e-4 make the gradient the most sensitive).
        """
        for name in ("parameters", "first_batch_sha256"):
            if getattr(self, name) != getattr(other, name):
                yield f"{name} is {getattr(self, name)}, recomputed {getattr(other, name)}"
        # The sum of n weights around zero is itself like one draw: its rounding is measured by what it adds up.
        sum_tolerance = 1e-6 * self.weights_norm * math.sqrt(max(self.parameters, 1))
        tolerances = {"weights_sum": (0.0, sum_tolerance), "weights_norm": (1e-6, 0.0)}
        tolerances |= {"loss": (1e-4, 0.0), "gradient_norm": (1e-3, 0.0)}
        for name, (relative, absolute) in tolerances.items():
            here, there = getattr(self, name), getattr(other, name)
            if not math.isclose(here, there, rel_tol=relative, abs_tol=absolute):
                yield f"{name} is {here:.9g}, recomputed {there:.9g}"


class Environment(Part):
    """Where a run happened."""

    device: str
    precision: str
    threads: int
    cpu: str
    cores: int
    gpu: str
    system: str
    python: str
    torch: str
    code: str | None = None  # `paths.training_code()` of what made a run; None in records made before this field

    @property
    def place(self) -> str:
        """What trained, in words: the GPU, or the processor and its threads."""
        if self.device == "cuda":
            return self.gpu
        return f"{self.cpu}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class DataUsed(Part):
    """Which arrays were used."""

    name: str
    source: str
    hashes: dict[str, str]


class Signal(Part):
    """What a nonlinearity is given on one batch, and how the loss depends on it."""

    layer: str
    input: float  # standard deviation of its inputs
    gradient: float  # standard deviation of the derivative of the batch's mean loss by its inputs
    flat: float  # share of units where its slope is (nearly) zero: ReLU below 0, tanh beyond +-0.95


class Predictions(Part):
    """The file of test predictions beside the record."""

    file: str
    sha256: str


class RunRecord(Part):
    """All that is known of one run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    hash: str
    spec: RunSpec
    history: list[Epoch]
    final: Final
    wall_seconds: float
    images_per_second: float  # training images, while training
    environment: Environment
    data: DataUsed
    probe: Probe
    predictions: Predictions | None
    learned: Learned | None = None
    signals: list[Signal] | None = None  # after training, on the probe's batch; None in records made before this field
    weights_sha256: str
    created: str  # UTC, ISO 8601

    @property
    def sha256(self) -> str:
        """Of all it says; fields at their defaults are left out, so that one added later does not change it."""
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def epochs_to(target: float, errors: list[float]) -> float | None:
    """Epochs until the error falls to `target`, linear between the ends of epochs; None if it never does.

    An error at or below the target in the first epoch counts as one epoch.
    """
    for place, error in enumerate(errors):
        if error <= target:
            before = errors[place - 1] if place else target
            return place + 1.0 if before <= target else place + (before - target) / (before - error)
    return None
