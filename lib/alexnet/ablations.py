"""One ingredient of AlexNet at a time: the runs behind the claims of sections 3.2 to 7.

Every comparison changes one thing of a common baseline, the paper's recipe at a scale that fits the profile. The
baseline's learning rate is chosen on the validation split, once, and all arms use it, as in the paper. Runs that
share a seed share initial draws, order of images and augmentation; the baseline's own runs serve all comparisons.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import SpecError
from .planning import A_FIRST_LOOK, GRID_SEED, Planned
from .records import RunRecord, Store
from .specs import ImageSpec, NetSpec, RecipeSpec, RunSpec

Change = dict[str, Any]  # what a run changes of the baseline, as `RunSpec.with_` takes it

REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # every single middle layer (section 7)
CONSTANT: Change = {"schedule": "constant", "drops": ()}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: the baseline changed in one or more ways, whose figures are averaged."""

    name: str
    variants: dict[str, Change]  # name of the variant ("" for the only one) -> what changes

    @classmethod
    def of(cls, name: str, **changes: Any) -> "Arm":
        """An arm of one variant; without changes it is the baseline."""
        return cls(name, {"": changes})


@dataclass(frozen=True)
class Comparison:
    """The arms that a claim compares under a condition; one arm for figures that a single run gives."""

    claim: str
    condition: str
    arms: tuple[Arm, ...]
    seeds: int | None = None  # where the experiment's number shall not hold


@dataclass(frozen=True)
class Ablations:
    """Comparisons against one baseline."""

    name: str
    baseline: RunSpec  # the learning rate in it is the one used unless a grid chooses
    comparisons: tuple[Comparison, ...]
    seeds: int
    rates: tuple[float, ...] = ()  # learning rates tried for the baseline; none: it is given

    @property
    def claims(self) -> frozenset[str]:
        """The claims these runs are for."""
        return frozenset(comparison.claim for comparison in self.comparisons)

    def grid(self) -> list[Planned]:
        """The runs that choose the baseline's learning rate; they never see the test set."""
        choosing = self.baseline.with_(seed=GRID_SEED, test=False, measured="errors")
        specs = [choosing.with_(recipe={"learning_rate": rate}) for rate in self.rates]
        return [Planned(self.name, "baseline", "grid", "baseline", GRID_SEED, spec) for spec in specs]

    def rate(self, store: Store) -> float | None:
        """The baseline's learning rate, or None while the grid is incomplete."""
        if not self.rates:
            return self.baseline.recipe.learning_rate
        return rate_of_grid([store.get(planned.spec) for planned in self.grid()])

    def spec(self, change: Change, rate: float, seed: int) -> RunSpec:
        """The baseline with that learning rate, changed."""
        return self.baseline.with_(recipe={"learning_rate": rate}, seed=seed).with_(**change)

    def plan(self, store: Store, seeds: int | None = None) -> Iterator[Planned]:
        """The runs that can be named now: the grid, and the comparisons once it is complete."""
        yield from self.grid()
        rate = self.rate(store)
        if rate is None:
            return
        for comparison in self.comparisons:
            for seed in range(seeds or comparison.seeds or self.seeds):
                for arm in comparison.arms:
                    for variant, change in arm.variants.items():
                        spec = self.spec(change, rate, seed)
                        yield Planned(comparison.claim, comparison.condition, "seeds", arm.name, seed, spec, variant)


def rate_of_grid(found: Collection[RunRecord | None]) -> float | None:
    """The learning rate that a grid's runs choose by their validation errors, or None while one has no record."""
    complete = [record for record in found if record is not None]
    return lowest_validation_error(complete) if len(complete) == len(found) else None


def lowest_validation_error(records: Iterable[RunRecord]) -> float:
    """The learning rate of the run with the lowest validation error at its end; ties go to the smaller rate.

    Raises `SpecError` when every run diverged.
    """
    sound = [record for record in records if record.final.outcome != "diverged"]
    if not sound:
        raise SpecError("Every learning rate of the grid diverged; widen the grid towards smaller rates.")
    chosen = min(sound, key=lambda record: (record.final.valid_error, record.spec.recipe.learning_rate))
    return chosen.spec.recipe.learning_rate


def comparisons() -> tuple[Comparison, ...]:
    """The comparisons of the paper's recipe with itself less one ingredient, and what its own runs tell."""
    network, full, two = Arm.of("network"), Arm.of("full"), Arm.of("two-towers")

    def changed(name: str, **changes: Any) -> Arm:
        return Arm.of(name, measured="fit", **changes)

    def without(**changes: Any) -> tuple[Arm, Arm]:
        return changed("without", **changes), Arm.of("with")

    removed: dict[str, Change] = {layer: {"net": {"without": layer}, "measured": "fit"} for layer in REMOVABLE}
    dropout = without(net={"dropout": 0.0})
    pooling = changed("plain", net={"pooling": "plain"}), Arm.of("overlapping")
    return (
        Comparison("neighbours", "cifar", (network,)),
        Comparison("top5-sensible", "cifar", (network,)),
        Comparison("ten-crop", "cifar", (network,)),
        Comparison("dropout-overfit", "cifar", dropout),
        Comparison("dropout-time", "cifar", dropout),
        Comparison("lrn-alexnet", "as-written", without(net={"norm": "none"})),
        Comparison("overlap-pool", "cifar", pooling),
        Comparison("overlap-overfit", "cifar", pooling),
        Comparison("aug-crop-flip", "cifar", without(images={"crops": "centre", "flip": False})),
        Comparison("lr-drops", "cifar", (changed("constant", recipe=CONSTANT), Arm.of("drops"))),
        Comparison("two-towers", "half-width", (changed("one-tower", net={"towers": "half"}), two)),
        Comparison("weight-decay-train", "cifar", without(recipe={"weight_decay": 0.0})),
        Comparison("aug-colour", "cifar", without(images={"colour": 0.0})),
        Comparison("depth", "mean", (Arm("without", removed), full)),
        *(Comparison("depth", layer, (Arm("without", {layer: removed[layer]}), full)) for layer in REMOVABLE),
        Comparison("two-towers", "full-width", (changed("one-tower", net={"towers": "full"}), two)),
        Comparison("lrn-alexnet", "as-run", (without(net={"norm": "none"})[0], changed("with", net={"norm": "mean"}))),
    )


def first_look(found: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Those of them that fit into a smoke run: without depth, which takes a run a layer, and without second forms."""
    return tuple(one for one in found if one.claim != "depth" and one.condition not in ("as-run", "full-width"))


# The paper's initialisation and the code's, on pixels of 0..255 and of unit variance.
STARTS: dict[str, Change] = {
    f"{weights}-{pixels}": {"images": {"scaling": scaling}, "net": {"init": init}}
    for weights, init in (("written", "paper"), ("run", "as-run"))
    for pixels, scaling in (("255", "mean-image"), ("unit", "mean-image-unit"))
}


def starts(epochs: int, prefix: str = "", names: Iterable[str] = STARTS) -> tuple[Comparison, ...]:
    """Those of `STARTS`, trained for so long at a constant learning rate."""
    short = {"epochs": epochs, **CONSTANT}
    return tuple(
        Comparison("init-as-written", f"{prefix}{name}", (Arm.of("trained", **STARTS[name], recipe=short),))
        for name in names
    )


BOTH_WEIGHTS = (("as-run", "as-run"), ("as-written", "paper"))  # condition, initialisation


def biases(epochs: int, seeds: int, conditions: tuple[tuple[str, str], ...] = BOTH_WEIGHTS) -> tuple[Comparison, ...]:
    """Biases of one against zero, with the weights as the code drew them and as written."""

    def arms(init: str) -> tuple[Arm, Arm]:
        common = {"images": {"scaling": "mean-image"}, "recipe": {"epochs": epochs, **CONSTANT}}
        return tuple(  # type: ignore[return-value]
            Arm.of(name, **common, net={"init": init, "bias_ones": ones})
            for name, ones in (("zeros", False), ("ones", True))
        )

    return tuple(Comparison("bias-ones", condition, arms(init), seeds) for condition, init in conditions)


def four_layer_norm(*conditions: str) -> tuple[Comparison, ...]:
    """Response normalisation in the four-layer net of section 3.3: alone ("clean"), or as the released files have it,
    where the net with it is also wider and has more weight decay on its last layer."""
    last = {"layer_weight_decay": (("local3", 0.004), ("local4", 0.004), ("fc5", 0.01))}
    released = Arm.of("with", net={"norm": "mean", "local3_filters": 64}, recipe=last)
    clean = Arm.of("with", net={"norm": "mean"})
    return tuple(
        Comparison("lrn-cifar", condition, (Arm.of("without"), clean if condition == "clean" else released))
        for condition in conditions
    )


# The baseline at 32 pixels: a quarter of the width, crops of 27 of 32 pixels (with 27, pooling gives maps of equal
# sizes whether windows overlap or not, as at 227), and a fan-in initialisation with inputs of unit variance, because
# at this width the paper's own initialisation does not train (see init-as-written).
ALEXNET_32 = RunSpec(
    images=ImageSpec(crop=27, flip=True, colour=0.1),
    net=NetSpec(form="32", width=0.25, init="kaiming"),
    recipe=RecipeSpec(learning_rate=0.02, epochs=12, schedule="steps", drops=(9, 11)),
    measured="features",
)
RATES_32 = (0.01, 0.02, 0.04)

# The start of training does not need augmentation, and the as-written rate is 0.01.
START_32 = RunSpec(images=ImageSpec(crop=27), net=NetSpec(form="32", width=0.25))
START_227 = RunSpec(images=ImageSpec(train_size=9000, resize=227, flip=True))

# Section 3.3's net as its layer files have it, for far fewer epochs than their 500 or so.
LOCAL = RunSpec(
    images=ImageSpec(scaling="mean-image", crop=24, flip=True),
    net=NetSpec(name="four-layer-local", init="cuda-convnet", norm="none", dropout=0.0),
    recipe=RecipeSpec(
        learning_rate=0.001,
        bias_learning_rate_factor=2.0,
        weight_decay=0.0,
        layer_weight_decay=(("local3", 0.004), ("local4", 0.004), ("fc5", 0.004)),
        epochs=12,
        schedule="steps",
        drops=(10, 11),
    ),
    measured="fit",
)

# First-layer kernels need 11x11 pixels and both towers; half the width is enough of them. At half the width the
# weights of the original code pass on too little to start within the budget (its loss stood still for three epochs).
TOWERS_227 = RunSpec(
    images=ImageSpec(resize=227, flip=True),
    net=NetSpec(width=0.5, init="kaiming"),
    recipe=RecipeSpec(epochs=3),  # ten minutes of two cores a seed; the gpu profile trains on
    measured="kernels",
)

ALEXNET_227 = RunSpec(
    images=ImageSpec(scaling="mean-image", resize=256, crop=227, flip=True, colour=0.1),
    net=NetSpec(init="as-run"),
    recipe=RecipeSpec(epochs=20, schedule="steps", drops=(14, 18)),
    measured="features",
)

# A run takes twenty minutes of a core, so only the gpu profile trains this network on pixels of unit variance too.
ON_OWN_SCALE = starts(4, names=("written-255", "run-255"))

KERNELS = (Comparison("kernel-towers", "cifar", (Arm.of("network"),)),)
KERNELS_SMALL = (Comparison("kernel-towers", "small", (Arm.of("network"),)),)


def smoke(spec: RunSpec, train_size: int, width: float, epochs: int, drops: tuple[int, ...] = ()) -> RunSpec:
    """A first look at an experiment: few images, a narrow net, an epoch or two."""
    recipe = {"epochs": epochs, "drops": drops, "schedule": "steps" if drops else "constant"}
    return spec.with_(images={"train_size": train_size, **A_FIRST_LOOK}, net={"width": width}, recipe=recipe)


def long(spec: RunSpec, epochs: int, drops: tuple[int, ...]) -> RunSpec:
    """An experiment with more epochs."""
    return spec.with_(recipe={"epochs": epochs, "drops": drops})


TEN_VIEWS = long(LOCAL, 500, (480, 490)).with_(measured="features")
SMALL = smoke(ALEXNET_32, train_size=2000, width=0.125, epochs=2, drops=(1,))
SMALL_START = smoke(START_32, train_size=2000, width=0.125, epochs=1)

ABLATIONS: dict[str, tuple[Ablations, ...]] = {
    "smoke": (
        Ablations("alexnet-32", SMALL, (*KERNELS_SMALL, *first_look(comparisons())), seeds=2, rates=(0.02,)),
        Ablations("start-32", SMALL_START, (*biases(1, 2), *starts(1, "small-")), seeds=2),
        Ablations("four-layer-local", smoke(LOCAL, 2000, 0.25, 1), four_layer_norm("clean", "released"), seeds=2),
    ),
    "cpu": (
        Ablations("alexnet-32", ALEXNET_32, (*KERNELS_SMALL, *comparisons()), seeds=3, rates=RATES_32),
        Ablations("start-32", START_32, (*biases(2, 5), *starts(3, "small-")), seeds=3),
        Ablations("four-layer-local", LOCAL, four_layer_norm("clean", "released"), seeds=3),
        Ablations("towers-227", TOWERS_227, KERNELS, seeds=3),
        Ablations("start-227", START_227, (*ON_OWN_SCALE, *biases(4, 3, (("faithful", "paper"),))), seeds=3),
    ),
    "gpu": (
        Ablations("alexnet-227", ALEXNET_227, (*KERNELS, *comparisons()), seeds=5, rates=(0.005, 0.01, 0.02)),
        Ablations("start-227", START_227.with_(images={"train_size": None}), (*biases(2, 5), *starts(2)), seeds=5),
        Ablations("four-layer-local", long(LOCAL, 120, (100, 110)), four_layer_norm("clean", "released"), seeds=5),
        Ablations("four-layer-full", TEN_VIEWS, four_layer_norm("full-length"), seeds=3),
    ),
}
