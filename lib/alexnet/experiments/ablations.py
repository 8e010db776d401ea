"""One ingredient of AlexNet at a time: the runs behind the claims of sections 3.2 to 7.

Every comparison changes one thing of a common baseline, the paper's recipe at a scale that fits the profile. Learning
rates are chosen on the validation split: one for the baseline, used by all arms, or each arm's own. Runs that share a
seed share initial draws, order of images and augmentation; the baseline's own runs serve all comparisons.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SpecError
from ..records.record import RunRecord
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..records.store import Store
from ..runs.planning import A_FIRST_LOOK, GRID_SEED, Planned, changes

Change = dict[str, Any]  # what a run changes of the baseline, as `RunSpec.with_` takes it

REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # every single middle layer (section 7)
CONSTANT: Change = {"schedule": "constant", "drops": ()}
TRAINED = 0.8  # training error, 10 points below guessing among ten classes, from which a start counts as trained


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: the baseline changed in one or more ways, whose figures are averaged."""

    name: str
    variants: dict[str, Change]  # name of the variant ("" for the only one) -> what changes

    @classmethod
    def of(cls, name: str, **changes: Any) -> "Arm":
        """An arm of one variant; without changes it is the baseline."""
        return cls(name, {"": changes})


def lowest_validation_error(records: Iterable[RunRecord]) -> float:
    """The learning rate of the run with the lowest validation error at its end; ties go to the smaller rate.

    Raises `SpecError` when every run diverged.
    """
    sound = [record for record in records if record.final.outcome != "diverged"]
    if not sound:
        raise SpecError("Every learning rate of the grid diverged; widen the grid towards smaller rates.")
    chosen = min(sound, key=lambda record: (record.final.valid_error, record.spec.recipe.learning_rate))
    return chosen.spec.recipe.learning_rate


def rate_of_grid(
    found: Collection[RunRecord | None], best_of: Callable[[Collection[RunRecord]], float] = lowest_validation_error
) -> float | None:
    """The learning rate that a grid's runs choose, by their validation errors, or None while one has no record."""
    complete = [record for record in found if record is not None]
    return best_of(complete) if len(complete) == len(found) else None


@dataclass(frozen=True)
class Sweep:
    """Learning rates tried for an arm: `first`, and more by factors of 2 while the best is at an end of the row."""

    first: tuple[float, ...]  # ascending
    least: float
    most: float

    def choose(
        self,
        record: Callable[[float], RunRecord | None],
        best_of: Callable[[Collection[RunRecord]], float] = lowest_validation_error,
    ) -> tuple[list[float], float | None]:
        """The rates to run, and the best, or None while one of them has no record."""
        rates = list(self.first)
        while True:
            best = rate_of_grid([record(rate) for rate in rates], best_of)
            if best == rates[0] and best > self.least:
                rates.insert(0, best / 2)
            elif best == rates[-1] and best < self.most:
                rates.append(2 * best)
            else:
                return rates, best


@dataclass(frozen=True)
class Comparison:
    """The arms that a claim compares under a condition; one arm for figures that a single run gives."""

    claim: str
    condition: str
    arms: tuple[Arm, ...]
    seeds: int | None = None  # where the experiment's number shall not hold

    @property
    def variants(self) -> list[tuple[Arm, str, Change]]:
        """Each arm with the names of its variants and what they change."""
        return [(arm, variant, change) for arm in self.arms for variant, change in arm.variants.items()]


@dataclass(frozen=True)
class Ablations:
    """Comparisons against one baseline."""

    name: str
    baseline: RunSpec  # the learning rate in it is the one used unless a grid chooses
    comparisons: tuple[Comparison, ...]
    seeds: int
    rates: tuple[float, ...] = ()  # learning rates tried for the baseline; none: it is given
    sweep: Sweep | None = None  # where each arm has its own rate
    first_seed: int = 0
    baseline_runs: int = 1  # runs of the baseline that a pair averages: all comparisons share them

    @property
    def claims(self) -> frozenset[str]:
        """The claims these runs are for."""
        return frozenset(comparison.claim for comparison in self.comparisons)

    def _choosing(self, change: Change, rate: float) -> RunSpec:
        spec = self.baseline.with_(**change).with_(seed=GRID_SEED, test=False, measured="errors")
        if self.sweep:
            spec = halved(spec)
        return spec.with_(recipe={"learning_rate": rate})

    def _tried(self, change: Change, store: Store) -> tuple[list[Planned], float | None]:
        """The runs that choose the learning rate of the baseline, or of an arm with its own, and that rate, or None
        while one has no record. They never see the test set; with a sweep they are half as long as those that count."""
        if self.sweep:
            rates, best = self.sweep.choose(lambda rate: store.get(self._choosing(change, rate)))
        else:
            rates = list(self.rates)
            best = rate_of_grid([store.get(self._choosing({}, rate)) for rate in rates]) if rates else None
        specs = [self._choosing(change if self.sweep else {}, rate) for rate in rates]
        arm = self.named(change) if self.sweep else "baseline"
        return [Planned(self.name, "baseline", "grid", arm, GRID_SEED, spec) for spec in specs], best

    def named(self, change: Change) -> str:
        """What an arm changes of the baseline, in words."""
        return changes(self.baseline.with_(**change), self.baseline).replace("nothing", "baseline")

    def spec(self, change: Change, rate: float, seed: int) -> RunSpec:
        """The baseline with that learning rate, changed."""
        return self.baseline.with_(recipe={"learning_rate": rate}, seed=seed).with_(**change)

    def plan(self, store: Store, seeds: int | None = None, guess: bool = False) -> Iterator[Planned]:
        """The runs that can be named now: the grids, and the comparisons whose grids are complete; to tell what all of
        them cost, guess the rates that are not chosen yet."""
        rates: dict[str, float | None] = {}
        for change in self._changes():
            grid, best = self._tried(change, store)
            yield from grid
            given = self.baseline.recipe.learning_rate
            rates[self.named(change)] = best if grid and not (guess and best is None) else given
        for comparison in self.comparisons:
            for place in range(seeds or comparison.seeds or self.seeds):
                for arm, variant, change in comparison.variants:
                    rate = rates[self.named(change if self.sweep else {})]
                    if rate is None:
                        continue
                    for seed in self._seeds(change, place, seeds or comparison.seeds or self.seeds):
                        spec = self.spec(change, rate, seed)
                        yield Planned(comparison.claim, comparison.condition, "seeds", arm.name, place, spec, variant)

    def _changes(self) -> list[Change]:
        """Each way in which an arm with a rate of its own changes the baseline, once."""
        if not self.sweep:
            return [{}]
        found = {self.named(change): change for one in self.comparisons for _, _, change in one.variants}
        return sorted(found.values(), key=lambda change: self.named(change) != "baseline")

    def _seeds(self, change: Change, place: int, seeds: int) -> list[int]:
        """The seeds of a pair's runs of an arm: several of the baseline, so that its noise counts less."""
        runs = self.baseline_runs if self.named(change) == "baseline" else 1
        return [self.first_seed + place + seeds * run for run in range(runs)]


@dataclass(frozen=True)
class Starts:
    """Initial weights, each at the first learning rate at which the network trains, from the paper's own down.

    A seed that does not count tries all rates for `epochs[0]` epochs, until one trains; if none does, it tries the one
    with the lowest training loss for `epochs[1]`. The runs that count have the rate and the epochs at which it trained,
    or the paper's rate and `epochs[0]`.
    """

    name: str
    baseline: RunSpec
    cells: dict[str, Change]  # condition of init-as-written -> what it changes
    pairs: dict[str, tuple[str, str]]  # condition of bias-ones -> its cells with biases of zero and of one
    rates: tuple[float, ...]
    epochs: tuple[int, int]
    seeds: int
    first_seed: int = 0

    @property
    def claims(self) -> frozenset[str]:
        """The claims these runs are for."""
        return frozenset({"init-as-written", "bias-ones"})

    def tried(self, cell: str, store: Store) -> tuple[list[Planned], RunSpec | None]:
        """The runs that choose a cell's rate, as far as they can be named, and what its runs that count are like, or
        None while one of these has no record."""
        base = self.baseline.with_(**self.cells[cell])
        short, long = ({"epochs": epochs, **CONSTANT} for epochs in self.epochs)
        specs = [base.with_(recipe={**short, "learning_rate": rate}) for rate in self.rates]
        losses: dict[float, float] = {}
        found: list[Planned] = []

        def trains(spec: RunSpec) -> bool | None:
            choosing = spec.with_(seed=GRID_SEED, test=False, recipe={"stop_at_train_error": TRAINED})
            found.append(Planned(self.name, cell, "grid", cell, GRID_SEED, choosing))
            record = store.get(choosing)
            if record is not None and record.final.outcome != "diverged":
                losses[spec.recipe.learning_rate] = record.history[-1].train_loss
            return None if record is None else record.final.outcome == "reached"

        for spec in specs:
            if (outcome := trains(spec)) is not False:
                return found, spec if outcome else None
        if losses:
            spec = base.with_(recipe={**long, "learning_rate": min(losses, key=losses.__getitem__)})
            if (outcome := trains(spec)) is not False:
                return found, spec if outcome else None
        return found, specs[0]

    def plan(self, store: Store, seeds: int | None = None, guess: bool = False) -> Iterator[Planned]:
        """The runs that can be named now; to tell what all of them cost, guess the rates that are not chosen yet."""
        chosen: dict[str, RunSpec] = {}
        for cell, change in self.cells.items():
            grid, spec = self.tried(cell, store)
            yield from grid
            if spec is None and guess:
                spec = self.baseline.with_(**change).with_(recipe={"epochs": self.epochs[0], **CONSTANT})
            if spec is not None:
                chosen[cell] = spec
        for place in range(seeds or self.seeds):
            runs = {cell: spec.with_(seed=self.first_seed + place) for cell, spec in chosen.items()}
            for cell, spec in runs.items():
                yield Planned("init-as-written", cell, "seeds", "trained", place, spec)
            for condition, cells in self.pairs.items():
                for arm, cell in zip(("zeros", "ones"), cells, strict=True):
                    if cell in runs:
                        yield Planned("bias-ones", condition, "seeds", arm, place, runs[cell])


def halved(spec: RunSpec) -> RunSpec:
    """The same schedule in half as many epochs."""
    recipe = spec.recipe
    return spec.with_(recipe={"epochs": recipe.epochs // 2, "drops": tuple(epoch // 2 for epoch in recipe.drops)})


def comparisons() -> tuple[Comparison, ...]:
    """The comparisons of the paper's recipe with itself less one ingredient, and what its own runs tell."""
    network, full, two = Arm.of("network"), Arm.of("full"), Arm.of("two-towers")

    def changed(name: str, **changes: Any) -> Arm:
        return Arm.of(name, measured="fit", **changes)

    def without(**changes: Any) -> tuple[Arm, Arm]:
        return changed("without", **changes), Arm.of("with")

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
        *(Comparison("depth", layer, (changed("without", net={"without": layer}), full)) for layer in REMOVABLE),
        Comparison("two-towers", "full-width", (changed("one-tower", net={"towers": "full"}), two)),
        Comparison("lrn-alexnet", "as-run", (without(net={"norm": "none"})[0], changed("with", net={"norm": "mean"}))),
    )


def overfitting() -> tuple[Comparison, ...]:
    """What the paper says keeps a network from overfitting, and what the same runs tell besides."""
    full = Arm.of("with")

    def against(condition: str, claims: Iterable[str], arms: tuple[Arm, Arm]) -> Iterator[Comparison]:
        return (Comparison(claim, condition, arms) for claim in claims)

    pooling = Arm.of("plain", net={"pooling": "plain"}), Arm.of("overlapping")
    return (
        *against("overfit", ("dropout-overfit", "dropout-time"), (Arm.of("without", net={"dropout": 0.0}), full)),
        *against("overfit", ("aug-crop-flip",), (Arm.of("without", images={"crops": "centre", "flip": False}), full)),
        *against("overfit", ("weight-decay-train",), (Arm.of("without", recipe={"weight_decay": 0.0}), full)),
        *against("overfit", ("aug-colour",), (Arm.of("without", images={"colour": 0.0}), full)),
        *against("overfit", ("overlap-overfit", "overlap-pool"), pooling),
    )


def lasting() -> tuple[Comparison, ...]:
    """What needs networks that are trained to the end: pooling, normalisation and towers first, depth last."""
    network = Arm.of("network")

    def changed(name: str, **changes: Any) -> Arm:
        return Arm.of(name, measured="fit", **changes)

    no_norm, mean_norm = changed("without", net={"norm": "none"}), changed("with", net={"norm": "mean"})
    layers = ("conv2", "conv3", "conv4", "conv5", "fc7")
    removed = {layer: changed("without", net={"without": layer}) for layer in layers}
    return (
        Comparison("ten-crop", "long", (network,)),
        Comparison("neighbours", "long", (network,)),
        Comparison("top5-sensible", "long", (network,)),
        Comparison("overlap-pool", "long", (changed("plain", net={"pooling": "plain"}), Arm.of("overlapping"))),
        Comparison("lrn-alexnet", "long", (no_norm, Arm.of("with"))),
        Comparison("lrn-alexnet", "long-as-run", (no_norm, mean_norm)),
        Comparison("two-towers", "long", (changed("one-tower", net={"towers": "half"}), Arm.of("two-towers"))),
        Comparison("two-towers", "long-full", (changed("one-tower", net={"towers": "full"}), Arm.of("two-towers"))),
        Comparison("lr-drops", "long", (changed("constant", recipe=CONSTANT), Arm.of("drops"))),
        *(
            Comparison("depth", f"long-{layer.replace('fc7', 'fc')}", (arm, Arm.of("full")))
            for layer, arm in removed.items()
        ),
    )


def first_look(found: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Those of them that fit into a smoke run: without depth, which takes a run a layer, and without second forms."""
    return tuple(one for one in found if one.claim != "depth" and one.condition not in ("long-as-run", "long-full"))


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
    """Response normalisation in the four-layer net of section 3.3: alone ("clean", "long"), or as the released files
    have it, where the net with it is also wider and has more weight decay on its last layer."""
    last = {"layer_weight_decay": (("local3", 0.004), ("local4", 0.004), ("fc5", 0.01))}
    released = Arm.of("with", net={"norm": "mean", "local3_filters": 64}, recipe=last)
    clean = Arm.of("with", net={"norm": "mean"})
    return tuple(
        Comparison("lrn-cifar", condition, (Arm.of("without"), clean if condition in ("clean", "long") else released))
        for condition in conditions
    )


def regime(profile: str, condition: str) -> RunSpec:
    """The baseline of the comparisons of that condition; of the first experiment where there is none."""
    experiments = [one for one in ABLATIONS[profile] if isinstance(one, Ablations)]
    named = (one for one in experiments if any(part.condition == condition for part in one.comparisons))
    return next(named, experiments[0]).baseline


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

# The regimes of rule 2. With 10,000 images for 90 epochs the network can overfit, as the paper's could; with all images
# for 30 epochs it is trained to the end. Both have the paper's two drops of the rate, and each arm has its own rate.
OVERFIT = ALEXNET_32.with_(images={"train_size": 10_000}, recipe={"epochs": 90, "drops": (60, 80)}, measured="fit")
LASTING = ALEXNET_32.with_(recipe={"epochs": 30, "drops": (22, 27)})
LASTING_LOCAL = LOCAL.with_(recipe={"epochs": 120, "drops": (100, 110)}, measured="features")
SWEEP_32 = Sweep((0.01, 0.02, 0.04), least=0.00125, most=0.32)
SWEEP_LOCAL = Sweep((0.0005, 0.001, 0.002), least=0.000125, most=0.016)
FIRST_SEED = 100  # of runs that rule 2 judges: none of them has been seen before
# One factor at a time from the start as written: AlexNet at 227 pixels, N(0, 0.01), biases of one, pixels on 0..255.
OWN_RATES = Starts(
    "starts-own-rates",
    START_227.with_(images={"scaling": "mean-image"}),
    {
        "own-rate": {},
        "own-rate-zeros": {"net": {"bias_ones": False}},
        "own-rate-run": {"net": {"init": "as-run"}},
        "own-rate-run-zeros": {"net": {"init": "as-run", "bias_ones": False}},
        "own-rate-1000": {"net": {"classes": 1000}},
        "own-rate-unit": {"images": {"scaling": "mean-image-unit"}},
    },
    {
        "own-rate": ("own-rate-run-zeros", "own-rate-run"),
        "own-rate-written": ("own-rate-zeros", "own-rate"),
    },
    rates=(0.01, 0.003, 0.001, 0.0003),
    epochs=(4, 8),
    seeds=3,
    first_seed=FIRST_SEED,
)

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
SMALL_START = smoke(START_32, train_size=2000, width=0.125, epochs=1).with_(images={"scaling": "mean-image"})

ABLATIONS: dict[str, tuple[Ablations | Starts, ...]] = {
    "smoke": (
        Ablations("alexnet-32", SMALL, (*KERNELS_SMALL, *overfitting(), *first_look(lasting())), 2, rates=(0.02,)),
        replace(OWN_RATES, baseline=SMALL_START, rates=(0.01,), epochs=(1, 1), seeds=2),
        Ablations("four-layer-local", smoke(LASTING_LOCAL, 2000, 0.25, 1), four_layer_norm("long"), seeds=2),
    ),
    "cpu": (
        Ablations("alexnet-32", ALEXNET_32, (*KERNELS_SMALL, *comparisons()), seeds=3, rates=RATES_32),
        Ablations("start-32", START_32, (*biases(2, 5), *starts(3, "small-")), seeds=3),
        Ablations("four-layer-local", LOCAL, four_layer_norm("clean", "released"), seeds=3),
        Ablations("towers-227", TOWERS_227, KERNELS, seeds=3),
        Ablations("start-227", START_227, (*ON_OWN_SCALE, *biases(4, 3, (("faithful", "paper"),))), seeds=3),
        OWN_RATES,
        Ablations("overfit", OVERFIT, overfitting(), 6, (), SWEEP_32, FIRST_SEED, baseline_runs=2),
        Ablations("four-layer-long", LASTING_LOCAL, four_layer_norm("long"), 6, (), SWEEP_LOCAL, FIRST_SEED),
        Ablations("long", LASTING, lasting(), 6, (), SWEEP_32, FIRST_SEED, baseline_runs=2),
    ),
    "gpu": (
        Ablations("alexnet-227", ALEXNET_227, (*KERNELS, *comparisons()), seeds=5, rates=(0.005, 0.01, 0.02)),
        Ablations("start-227", START_227.with_(images={"train_size": None}), (*biases(2, 5), *starts(2)), seeds=5),
        Ablations("four-layer-local", long(LOCAL, 120, (100, 110)), four_layer_norm("clean", "released"), seeds=5),
        Ablations("four-layer-full", TEN_VIEWS, four_layer_norm("full-length"), seeds=3),
        replace(OWN_RATES, seeds=6),
        Ablations("overfit", OVERFIT, overfitting(), 12, (), SWEEP_32, FIRST_SEED, baseline_runs=2),
        Ablations("four-layer-long", LASTING_LOCAL, four_layer_norm("long"), 12, (), SWEEP_LOCAL, FIRST_SEED),
        Ablations("long", LASTING, lasting(), 12, (), SWEEP_32, FIRST_SEED, baseline_runs=2),
    ),
}
