"""ReLU against tanh (section 3.1, figure 1): epochs to 25% training error, each with its own best learning rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..errors import SpecError
from ..records.record import RunRecord
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..records.store import Store
from ..runs.planning import A_FIRST_LOOK, GRID_SEED, Planned
from .ablations import FIRST_SEED, Sweep, rate_of_grid

ARMS = ("relu", "tanh")
FOUR_LAYER = NetSpec(name="four-layer", norm="none", dropout=0.0)


@dataclass(frozen=True)
class Condition:
    """A setting under which ReLU and tanh are compared."""

    name: str
    scaling: str
    init: str
    bias_learning_rate_factor: float
    rates: tuple[float, ...]  # the grid, the same for both activations
    grid_epochs: int  # cap of a grid run
    epochs: int  # cap of a run that counts; one that has not arrived by then is censored
    net: NetSpec = FOUR_LAYER
    sweep: Sweep | None = None  # in place of `rates`: grows until the best rate is not its edge
    first_seed: int = 0
    seeds: int | None = None  # where the experiment's number shall not hold
    resize: int | None = None  # pixels a side; None: the images' own size


@dataclass(frozen=True)
class ReluSpeed:
    """Section 3.1 and figure 1: epochs to 25% training error, ReLU against tanh."""

    conditions: tuple[Condition, ...]
    seeds: int
    images: ImageSpec = field(default_factory=ImageSpec)  # those of every condition, but for its scaling and size
    target: float = 0.25

    @property
    def claims(self) -> frozenset[str]:
        """The claims these runs are for."""
        return frozenset({"relu-speed"})

    def spec(self, condition: Condition, arm: str, rate: float, stage: str, seed: int) -> RunSpec:
        """One run. No regularisation: no weight decay, no dropout, no augmentation (figure 1's caption)."""
        grid = stage == "grid"
        return RunSpec(
            images=self.images.model_copy(update={"scaling": condition.scaling, "resize": condition.resize}),
            net=condition.net.model_copy(update={"activation": arm, "init": condition.init}),
            recipe=RecipeSpec(
                learning_rate=rate,
                bias_learning_rate_factor=condition.bias_learning_rate_factor,
                weight_decay=0.0,
                epochs=condition.grid_epochs if grid else condition.epochs,
                stop_at_train_error=self.target,
            ),
            test=not grid,
            seed=seed,
        )

    def grid(self, condition: Condition, arm: str, store: Store) -> tuple[list[Planned], float | None]:
        """The runs that choose an activation's learning rate, and the rate, or None while one has no record."""

        def record(rate: float) -> RunRecord | None:
            return store.get(self.spec(condition, arm, rate, "grid", GRID_SEED))

        if condition.sweep:
            rates, best = condition.sweep.choose(record, chosen_rate)
        else:
            rates = list(condition.rates)
            best = rate_of_grid([record(rate) for rate in rates], chosen_rate)
        return [self._planned(condition, arm, rate, "grid", GRID_SEED) for rate in rates], best

    def _planned(self, condition: Condition, arm: str, rate: float, stage: str, seed: int) -> Planned:
        spec = self.spec(condition, arm, rate, stage, seed)
        return Planned("relu-speed", condition.name, stage, arm, seed, spec)

    def plan(self, store: Store, seeds: int | None = None, guess: bool = False) -> Iterator[Planned]:
        """The runs that can be named now: all grids, and the seeds whose grid is complete; to tell what all of them
        cost, guess the rates that are not chosen yet."""
        for condition in self.conditions:
            for arm in ARMS:
                grid, rate = self.grid(condition, arm, store)
                yield from grid
                if rate is None and guess:
                    rate = condition.rates[0]
                if rate is not None:
                    first, count = condition.first_seed, seeds or condition.seeds or self.seeds
                    for seed in range(first, first + count):
                        yield self._planned(condition, arm, rate, "seeds", seed)


def chosen_rate(records: Iterable[RunRecord]) -> float:
    """The learning rate whose run came first to the target; if none came, the one with the lowest training error.

    A diverged run is never chosen. Ties go to the smaller rate. Only training errors are looked at.
    Raises `SpecError` when every run diverged.
    """

    def rank(record: RunRecord) -> tuple[float, float, float]:
        arrived = record.final.epochs_to_target or float("inf")
        return arrived, record.final.train_error, record.spec.recipe.learning_rate

    sound = [record for record in records if record.final.outcome != "diverged"]
    if not sound:
        raise SpecError("Every learning rate of the grid diverged; widen the grid towards smaller rates.")
    return min(sound, key=rank).spec.recipe.learning_rate


# Pixels 0..255 less the mean image, cuda-convnet's initial weights, biases at twice the rate: the paper's setting
# as its code has it. Rates: powers of two around the layer file's 0.001, up to where both activations get worse.
ORIGINAL = Condition(
    "original", "mean-image", "cuda-convnet", 2.0, (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032), 15, 60
)
# The same with grid runs as long as those that count, for rule 2: at 15 epochs tanh had arrived at no rate.
ARRIVED = replace(
    ORIGINAL, name="arrived", grid_epochs=60, first_seed=FIRST_SEED, seeds=6,
    sweep=Sweep((0.004, 0.008, 0.016), least=0.0005, most=0.032),
)  # fmt: skip
# Inputs of unit variance, initial weights scaled to the fan-in: what one would do today.
MODERN = Condition("modern", "mean-image-unit", "kaiming", 1.0, (0.005, 0.01, 0.02, 0.04, 0.08), 8, 60)

# A first look on a tenth of the images, at half the width: the same experiment, the same code, an easier target.
HALF = FOUR_LAYER.model_copy(update={"width": 0.5})
SMOKE = {
    "arrived": replace(ORIGINAL, name="arrived", net=HALF, rates=(0.002, 0.004), grid_epochs=2, epochs=6),
    "modern": replace(MODERN, net=HALF, rates=(0.01, 0.02), grid_epochs=1, epochs=4),
}

# The same question for AlexNet in its 32-pixel form: unit variance, fan-in initialisation, nothing that regularises.
ALEXNET = Condition(
    "alexnet", "mean-image-unit", "kaiming", 1.0, (0.005, 0.01, 0.02, 0.04), 5, 30,
    NetSpec(form="32", width=0.25, dropout=0.0),
)  # fmt: skip

RELU_SPEED = {
    "smoke": ReluSpeed(tuple(SMOKE.values()), seeds=2, images=ImageSpec(train_size=4500, **A_FIRST_LOOK), target=0.65),
    "cpu": ReluSpeed((ORIGINAL, MODERN, ARRIVED), seeds=5),
    "gpu": ReluSpeed((replace(ARRIVED, seeds=12), ORIGINAL, MODERN), seeds=10),
}

RELU_ALEXNET = {
    "cpu": ReluSpeed((ALEXNET,), seeds=3),
    "gpu": ReluSpeed((replace(ALEXNET, net=NetSpec(dropout=0.0), resize=227),), seeds=5),
}
