"""Transfer from ImageNet to CIFAR-10: which runs compare it with a random start, for how many labelled images.

Every approach trains torchvision's AlexNet at 224 pixels, from ImageNet's convolutional layers or from nothing. Its
learning rate is chosen on the validation split at one number of images, by a seed that does not count. Each seed draws
its own labelled images, the same for all approaches, and the test set is used once a run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from .ablations import lowest_validation_error
from .planning import GRID_SEED, Planned
from .records import RunRecord, Store
from .specs import ImageSpec, NetSpec, RecipeSpec, RunSpec, TransferSpec

CLAIM = "transfer"
TITLE = "Transfer from ImageNet to CIFAR-10"
ALL = 45000  # images of the training split
PUBLISHED_HIDDEN = (4096, 1024)  # the classifier 9216-4096-1024-10

IMAGES = ImageSpec(scaling="imagenet", resize=224, flip=True)
NET = NetSpec(
    variant="torchvision", towers="full", norm="none", init="kaiming", bias_ones=False, hidden=PUBLISHED_HIDDEN
)
RECIPE = RecipeSpec(schedule="one-cycle")
CLASSIFIER = RunSpec(images=IMAGES, net=NET, recipe=RECIPE, transfer=TransferSpec())
PROBE = CLASSIFIER.with_(net={"hidden": (), "dropout": 0.0})
FINE_TUNING = CLASSIFIER.with_(transfer={"unfreeze": (1, 2), "rate_ratio": 10.0})
RANDOM_START = RunSpec(images=IMAGES, net=NET, recipe=RECIPE)


@dataclass(frozen=True)
class Budget:
    """What a run of some number of labelled images may cost."""

    batch_size: int
    epochs: int
    seeds: int


@dataclass(frozen=True)
class Approach:
    """One way to train, and how much of it for each number of labelled images."""

    name: str
    spec: RunSpec
    rates: tuple[float, ...]  # learning rates at the top of the cycle that are tried
    grid_size: int  # labelled images with which they are
    budgets: dict[int, Budget]

    def run(self, size: int, rate: float, seed: int) -> RunSpec:
        """The run with `size` labelled images."""
        budget = self.budgets[size]
        images = {} if size == ALL else {"train_size": size, "subset": "own"}
        recipe = {"learning_rate": rate, "batch_size": budget.batch_size, "epochs": budget.epochs}
        return self.spec.with_(images=images, recipe=recipe, seed=seed)

    def grid(self) -> list[Planned]:
        """The runs that choose the learning rate; they never see the test set."""
        specs = [self.run(self.grid_size, rate, GRID_SEED).with_(test=False) for rate in self.rates]
        return [Planned(CLAIM, str(self.grid_size), "grid", self.name, GRID_SEED, spec) for spec in specs]

    def counted(self, rate: float, seeds: int | None = None) -> Iterator[Planned]:
        """The runs that count, at a learning rate, the largest number of images first."""
        for size, budget in sorted(self.budgets.items(), reverse=True):
            for seed in range(seeds or budget.seeds):
                yield Planned(CLAIM, str(size), "seeds", self.name, seed, self.run(size, rate, seed))

    def rate(self, store: Store) -> float | None:
        """The chosen learning rate, or None while the grid is incomplete."""
        found = [store.get(planned.spec) for planned in self.grid()]
        complete = [record for record in found if record is not None]
        return lowest_validation_error(complete) if len(complete) == len(found) else None


@dataclass(frozen=True)
class Transfer:
    """All approaches of a profile."""

    approaches: tuple[Approach, ...]

    @property
    def claims(self) -> frozenset[str]:
        """The name under which these runs are asked for."""
        return frozenset({CLAIM})

    def plan(self, store: Store, seeds: int | None = None) -> Iterator[Planned]:
        """The runs that can be named now: each approach's grid, and its runs once the grid is complete."""
        for approach in self.approaches:
            yield from approach.grid()
            rate = approach.rate(store)
            if rate is not None:
                yield from approach.counted(rate, seeds)


def accuracies(found: Iterable[tuple[Planned, RunRecord | None]]) -> pd.DataFrame:
    """One row a run that counts: approach, images, seed, validation and test accuracy, minutes."""
    rows = [
        {
            "approach": planned.arm,
            "images": int(planned.condition),
            "seed": planned.seed,
            "validation accuracy": 1 - record.final.valid_error,
            "test accuracy": None if record.final.test_error is None else 1 - record.final.test_error,
            "minutes": record.wall_seconds / 60,
        }
        for planned, record in found
        if record is not None and planned.claim == CLAIM and planned.stage == "seeds"
    ]
    return pd.DataFrame(rows)


def budgets(*rows: tuple[int, int, int, int]) -> dict[int, Budget]:
    """Budgets from rows of labelled images, batch size, epochs, seeds."""
    return {size: Budget(*rest) for size, *rest in rows}


# An epoch ends with all 5,000 validation images, which for a few labelled images is nearly all it costs when layers are
# trained. So small sizes take small batches, and not more epochs than their accuracy still gains from.
FROZEN_CPU = budgets(
    (100, 10, 20, 5), (300, 20, 20, 5), (1000, 50, 20, 5), (3000, 100, 15, 3), (10000, 125, 10, 3), (ALL, 250, 6, 3)
)  # fmt: skip
RANDOM_CPU = budgets(
    (100, 10, 4, 3), (300, 20, 4, 3), (1000, 50, 4, 3), (3000, 100, 4, 1), (10000, 125, 3, 1), (ALL, 125, 3, 1)
)  # fmt: skip
FINE_TUNING_CPU = budgets((3000, 50, 3, 1), (ALL, 125, 3, 1))
GPU = budgets(
    (100, 10, 20, 5), (300, 20, 20, 5), (1000, 50, 20, 5), (3000, 100, 20, 5), (10000, 125, 20, 5), (ALL, 125, 15, 5)
)  # fmt: skip

PROBE_RATES, CLASSIFIER_RATES = (0.001, 0.003, 0.01, 0.03), (0.005, 0.01, 0.02)
FINE_TUNING_RATES, RANDOM_RATES = (0.003, 0.01, 0.02, 0.03), (0.01, 0.02)

TRANSFER: dict[str, tuple[Transfer, ...]] = {
    "smoke": (),  # features alone would take longer than the profile has
    "cpu": (
        Transfer(
            (
                Approach("linear probe", PROBE, PROBE_RATES, 3000, FROZEN_CPU),
                Approach("new classifier", CLASSIFIER, CLASSIFIER_RATES, 3000, FROZEN_CPU),
                Approach("fine-tuning", FINE_TUNING, FINE_TUNING_RATES, 3000, FINE_TUNING_CPU),
                Approach("random start", RANDOM_START, RANDOM_RATES, 1000, RANDOM_CPU),
            )
        ),
    ),
    "gpu": (
        Transfer(
            (
                Approach("linear probe", PROBE, PROBE_RATES, 3000, GPU),
                Approach("new classifier", CLASSIFIER, CLASSIFIER_RATES, 3000, GPU),
                Approach("fine-tuning", FINE_TUNING, (0.001, *FINE_TUNING_RATES), 3000, GPU),
                Approach("random start", RANDOM_START, (0.005, *RANDOM_RATES), 10000, GPU),
            )
        ),
    ),
}
