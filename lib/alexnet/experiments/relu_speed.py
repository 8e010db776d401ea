"""ReLU against tanh (section 3.1, figure 1): epochs to 25% training error, each with its own best learning rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..records.record import RunRecord
from ..records.specs import NetSpec, RecipeSpec, RunSpec
from ..runs.planning import A_FIRST_LOOK
from .study import FIRST_SEED, Block, Cell, Rates, Search, Study, best

CLAIM = "relu-speed"
ARMS = ("relu", "tanh")


def chosen_rate(records: Iterable[RunRecord]) -> float:
    """The learning rate whose run came first to the target; if none came, the one with the lowest training error.

    A diverged run is never chosen. Ties go to the smaller rate. Only training errors are looked at.
    Raises `SpecError` when every run diverged.
    """
    return best(records, lambda record: (record.final.epochs_to_target or float("inf"), record.final.train_error))


@dataclass(frozen=True)
class Condition:
    """A setting under which ReLU and tanh are compared."""

    name: str
    base: RunSpec  # up to the cap of a run that counts; one that has not arrived by then is censored
    rates: Rates  # the same for both activations
    grid_epochs: int  # cap of a grid run
    seeds: int
    first_seed: int = 0

    def run(self, arm: str, rate: float, **recipe: Any) -> RunSpec:
        """A run of one activation."""
        return self.base.with_(net={"activation": arm}, recipe={"learning_rate": rate, **recipe})

    def studies(self) -> Iterator[Study]:
        """The runs of each activation: its grid, then those that count."""
        for arm in ARMS:
            spec = self.run(arm, self.rates.first[0])
            shorter = spec.with_(recipe={"epochs": self.grid_epochs})
            search = Search(CLAIM, self.name, arm, shorter, self.rates, chosen_rate)
            block = Block((Cell(CLAIM, self.name, arm, spec, search),), self.seeds)
            yield Study((block,), (search,), first_pair=self.first_seed)


def base(net: NetSpec, scaling: str, init: str, epochs: int, **recipe: Any) -> RunSpec:
    """A setting without regularisation: no weight decay, no dropout, no augmentation (figure 1's caption)."""
    plain = RecipeSpec(weight_decay=0.0, epochs=epochs, stop_at_train_error=0.25)
    spec = RunSpec(net=net, recipe=plain).with_(images={"scaling": scaling}, net={"dropout": 0.0, "init": init})
    return spec.with_(recipe=recipe)


FOUR_LAYER = NetSpec(name="four-layer", norm="none")
# Pixels 0..255 less the mean image, cuda-convnet's initial weights, biases at twice the rate: the paper's setting
# as its code has it. Rates: powers of two around the layer file's 0.001, up to where both activations get worse.
ORIGINAL = Condition(
    "original", base(FOUR_LAYER, "mean-image", "cuda-convnet", 60, bias_learning_rate_factor=2.0),
    Rates((0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)), grid_epochs=15, seeds=5,
)  # fmt: skip
# The same with grid runs as long as those that count, for rule 2: at 15 epochs tanh had arrived at no rate.
ARRIVED = replace(
    ORIGINAL, name="arrived", rates=Rates((0.004, 0.008, 0.016), least=0.0005, most=0.032), grid_epochs=60, seeds=6,
    first_seed=FIRST_SEED,
)  # fmt: skip
# Inputs of unit variance, initial weights scaled to the fan-in: what one would do today.
MODERN = Condition(
    "modern", base(FOUR_LAYER, "mean-image-unit", "kaiming", 60), Rates((0.005, 0.01, 0.02, 0.04, 0.08)),
    grid_epochs=8, seeds=5,
)  # fmt: skip
# The same question for AlexNet in its 32-pixel form: unit variance, fan-in initialisation, nothing that regularises.
ALEXNET = Condition(
    "alexnet", base(NetSpec(form="32", width=0.25), "mean-image-unit", "kaiming", 30), Rates((0.005, 0.01, 0.02, 0.04)),
    grid_epochs=5, seeds=3,
)  # fmt: skip
ALEXNET_227 = replace(
    ALEXNET, base=ALEXNET.base.with_(images={"resize": 227}, net={"form": "227", "width": 1.0}), seeds=5
)


def first_look(of: Condition, name: str, rates: tuple[float, ...], grid_epochs: int, epochs: int) -> Condition:
    """A fifteenth of the images, half the width: the same experiment, the same code, an easier target."""
    images = {"train_size": 3000, **A_FIRST_LOOK}
    short = of.base.with_(images=images, net={"width": 0.5}, recipe={"epochs": epochs, "stop_at_train_error": 0.65})
    return replace(of, name=name, base=short, rates=Rates(rates), grid_epochs=grid_epochs, seeds=2)


RELU_SPEED: dict[str, tuple[Condition, ...]] = {
    "smoke": (
        first_look(ORIGINAL, "arrived", (0.002, 0.004), grid_epochs=2, epochs=6),
        first_look(MODERN, "modern", (0.01, 0.02), grid_epochs=1, epochs=4),
    ),
    "cpu": (ARRIVED, ORIGINAL, MODERN),
    "gpu": (replace(ARRIVED, seeds=12), replace(ORIGINAL, seeds=10), replace(MODERN, seeds=10)),
}
RELU_ALEXNET = {"smoke": (), "cpu": (ALEXNET,), "gpu": (ALEXNET_227,)}  # it takes too long for a first look
