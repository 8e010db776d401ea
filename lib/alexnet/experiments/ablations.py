"""One ingredient of AlexNet at a time: the runs behind the claims of sections 3.2 to 7.

Every comparison changes one thing of a common baseline, the paper's recipe at a scale that fits the profile. Learning
rates are chosen on the validation split: one for the baseline, used by all arms, or each arm's own. Runs that share a
seed share initial draws, order of images and augmentation; the baseline's own runs serve all comparisons.
"""

from collections.abc import Sequence
from typing import Any

from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..runs.planning import A_FIRST_LOOK
from . import starts
from .starts import START_32, START_227
from .study import CONSTANT, FIRST_SEED, Change, Comparison, Rates, Search, Study, compare

REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # every single middle layer (section 7)

# What a comparison is about -> the arm that lacks it, what that changes of the baseline, and the arm that has it.
LESS: dict[str, tuple[str, Change, str]] = {
    "dropout": ("without", {"net": {"dropout": 0.0}}, "with"),
    "normalisation": ("without", {"net": {"norm": "none"}}, "with"),
    "overlap": ("plain", {"net": {"pooling": "plain"}}, "overlapping"),
    "crops and flips": ("without", {"images": {"crops": "centre", "flip": False}}, "with"),
    "colour noise": ("without", {"images": {"colour": 0.0}}, "with"),
    "weight decay": ("without", {"recipe": {"weight_decay": 0.0}}, "with"),
    "drops": ("constant", {"recipe": CONSTANT}, "drops"),
    "half the kernels": ("one-tower", {"net": {"towers": "half"}}, "two-towers"),
    "towers": ("one-tower", {"net": {"towers": "full"}}, "two-towers"),
    **{layer: ("without", {"net": {"without": layer}}, "full") for layer in REMOVABLE},
}


def compared(claim: str, condition: str, about: str = "", **also: Any) -> Comparison:
    """The baseline against itself less one thing, or what its own runs tell; `also` is changed with the thing."""
    if not about:
        return Comparison(claim, condition, {"network": {}})
    lacking, change, having = LESS[about]
    return Comparison(claim, condition, {lacking: change | also, having: {}})


def as_run(condition: str) -> Comparison:
    """Response normalisation in AlexNet as its code has it, against none."""
    lacking, change, having = LESS["normalisation"]
    arms = {lacking: change, having: {"net": {"norm": "mean"}}}
    return Comparison("lrn-alexnet", condition, {name: change | FIT for name, change in arms.items()})


FIT = {"measured": "fit"}  # what the baseline's runs tell besides is not asked of the others
KERNELS = compared("kernel-towers", "cifar")
KERNELS_SMALL = compared("kernel-towers", "small")
FIRST = (
    compared("neighbours", "cifar"),
    compared("top5-sensible", "cifar"),
    compared("ten-crop", "cifar"),
    compared("dropout-overfit", "cifar", "dropout", **FIT),
    compared("dropout-time", "cifar", "dropout", **FIT),
    compared("lrn-alexnet", "as-written", "normalisation", **FIT),
    compared("overlap-pool", "cifar", "overlap", **FIT),
    compared("overlap-overfit", "cifar", "overlap", **FIT),
    compared("aug-crop-flip", "cifar", "crops and flips", **FIT),
    compared("lr-drops", "cifar", "drops", **FIT),
    compared("two-towers", "half-width", "half the kernels", **FIT),
    compared("weight-decay-train", "cifar", "weight decay", **FIT),
    compared("aug-colour", "cifar", "colour noise", **FIT),
    *(compared("depth", layer, layer, **FIT) for layer in REMOVABLE),
    compared("two-towers", "full-width", "towers", **FIT),
    as_run("as-run"),
)
# What the paper says keeps a network from overfitting, and what the same runs tell besides.
OVERFITTING = (
    compared("dropout-overfit", "overfit", "dropout"),
    compared("dropout-time", "overfit", "dropout"),
    compared("aug-crop-flip", "overfit", "crops and flips"),
    compared("weight-decay-train", "overfit", "weight decay"),
    compared("aug-colour", "overfit", "colour noise"),
    compared("overlap-overfit", "overfit", "overlap"),
    compared("overlap-pool", "overfit", "overlap"),
)
# What needs networks that are trained to the end: pooling, normalisation and towers first, depth last.
TRAINED_TO_THE_END = (
    compared("ten-crop", "long"),
    compared("neighbours", "long"),
    compared("top5-sensible", "long"),
    compared("overlap-pool", "long", "overlap", **FIT),
    compared("lrn-alexnet", "long", "normalisation", **FIT),
    as_run("long-as-run"),
    compared("two-towers", "long", "half the kernels", **FIT),
    compared("two-towers", "long-full", "towers", **FIT),
    compared("lr-drops", "long", "drops", **FIT),
    *(compared("depth", f"long-{layer}", layer, **FIT) for layer in ("conv2", "conv3", "conv4", "conv5")),
    compared("depth", "long-fc", "fc7", **FIT),
)
# Those of them that fit into a smoke run: without depth, which takes a run a layer, and without second forms.
FIRST_LOOK = tuple(
    one for one in TRAINED_TO_THE_END if one.claim != "depth" and one.condition not in ("long-as-run", "long-full")
)


def four_layer_norm(*conditions: str) -> tuple[Comparison, ...]:
    """Response normalisation in the four-layer net of section 3.3: alone ("clean", "long"), or as the released files
    have it, where the net with it is also wider and has more weight decay on its last layer."""
    clean: Change = {"net": {"norm": "mean"}}
    last = {"layer_weight_decay": (("local3", 0.004), ("local4", 0.004), ("fc5", 0.01))}
    released: Change = {"net": {"norm": "mean", "local3_filters": 64}, "recipe": last}
    return tuple(
        Comparison("lrn-cifar", name, {"without": {}, "with": clean if name in ("clean", "long") else released})
        for name in conditions
    )


# ---- baselines -------------------------------------------------------------------------------------------------------

# The baseline at 32 pixels: a quarter of the width, crops of 27 of 32 pixels (with 27, pooling gives maps of equal
# sizes whether windows overlap or not, as at 227), and a fan-in initialisation with inputs of unit variance, because
# at this width the paper's own initialisation does not train (see init-as-written).
ALEXNET_32 = RunSpec(
    images=ImageSpec(crop=27, flip=True, colour=0.1),
    net=NetSpec(form="32", width=0.25, init="kaiming"),
    recipe=RecipeSpec(learning_rate=0.02, epochs=12, schedule="steps", drops=(9, 11)),
    measured="features",
)
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


def long(spec: RunSpec, epochs: int, drops: tuple[int, ...], **changed: Any) -> RunSpec:
    """An experiment with more epochs."""
    return spec.with_(recipe={"epochs": epochs, "drops": drops}, **changed)


# The regimes of rule 2. With 10,000 images for 90 epochs the network can overfit, as the paper's could; with all images
# for 30 epochs it is trained to the end. Both have two drops of the rate, and each arm has its own rate.
OVERFIT = long(ALEXNET_32, 90, (60, 80), images={"train_size": 10_000}, measured="fit")
LASTING = long(ALEXNET_32, 30, (22, 27))
LOCAL_120 = long(LOCAL, 120, (100, 110))
LASTING_LOCAL = LOCAL_120.with_(measured="features")
TEN_VIEWS = long(LOCAL, 500, (480, 490), measured="features")


def smoke(spec: RunSpec, train_size: int, width: float, epochs: int, drops: tuple[int, ...] = ()) -> RunSpec:
    """A first look at an experiment: few images, a narrow net, an epoch or two."""
    recipe = {"epochs": epochs, "drops": drops, "schedule": "steps" if drops else "constant"}
    return spec.with_(images={"train_size": train_size, **A_FIRST_LOOK}, net={"width": width}, recipe=recipe)


SMALL = smoke(ALEXNET_32, train_size=1000, width=0.125, epochs=2, drops=(1,))
SMALL_START = smoke(START_32, train_size=1000, width=0.125, epochs=1).with_(images={"scaling": "mean-image"})


# ---- studies ---------------------------------------------------------------------------------------------------------


def at_one_rate(
    name: str, baseline: RunSpec, comparisons: Sequence[Comparison], seeds: int, rates: tuple[float, ...]
) -> Study:
    """Comparisons with one baseline, all at the learning rate that is best for it."""
    search = Search(name, "baseline", "baseline", baseline.with_(measured="errors"), Rates(rates))
    return compare(baseline, comparisons, seeds, lambda *_: search)


def at_own_rates(
    name: str, baseline: RunSpec, comparisons: Sequence[Comparison], seeds: int, rates: Rates, baseline_runs: int = 1
) -> Study:
    """Comparisons with one baseline under rule 2, each arm at its own rate, which runs of half the length choose."""

    def search(arm: str, spec: RunSpec) -> Search:
        return Search(name, "baseline", arm, halved(spec).with_(measured="errors"), rates)

    return compare(baseline, comparisons, seeds, search, baseline_runs, FIRST_SEED)


def halved(spec: RunSpec) -> RunSpec:
    """The same schedule in half as many epochs."""
    recipe = spec.recipe
    return spec.with_(recipe={"epochs": recipe.epochs // 2, "drops": tuple(epoch // 2 for epoch in recipe.drops)})


def regimes(seeds: int) -> tuple[Study, ...]:
    """The comparisons that rule 2 judges."""
    rates = Rates((0.01, 0.02, 0.04), least=0.00125, most=0.32)
    local = Rates((0.0005, 0.001, 0.002), least=0.000125, most=0.016)
    return (
        at_own_rates("overfit", OVERFIT, OVERFITTING, seeds, rates, baseline_runs=2),
        at_own_rates("four-layer-long", LASTING_LOCAL, four_layer_norm("long"), seeds, local),
        at_own_rates("long", LASTING, TRAINED_TO_THE_END, seeds, rates, baseline_runs=2),
    )


ABLATIONS: dict[str, tuple[Study, ...]] = {
    "smoke": (
        at_one_rate("alexnet-32", SMALL, (KERNELS_SMALL, *OVERFITTING, *FIRST_LOOK), seeds=2, rates=(0.02,)),
        starts.at_own_rates(SMALL_START, seeds=2, rates=(0.01,), epochs=(1, 1)),
        compare(smoke(LASTING_LOCAL, 1000, 0.25, 1), four_layer_norm("long"), seeds=2),
    ),
    "cpu": (
        at_one_rate("alexnet-32", ALEXNET_32, (KERNELS_SMALL, *FIRST), seeds=3, rates=(0.01, 0.02, 0.04)),
        compare(START_32, (*starts.biases(2, seeds=5), *starts.trained(3, "small-")), seeds=3),
        compare(LOCAL, four_layer_norm("clean", "released"), seeds=3),
        compare(TOWERS_227, (KERNELS,), seeds=3),
        # A run takes twenty minutes of a core, so only the gpu profile trains it on pixels of unit variance too.
        compare(
            START_227,
            (
                *starts.trained(4, names=("written-255", "run-255")),
                *starts.biases(4, seeds=3, conditions={"faithful": "paper"}),
            ),
            seeds=3,
        ),
        starts.OWN_RATES,
        *regimes(6),
    ),
    "gpu": (
        at_one_rate("alexnet-227", ALEXNET_227, (KERNELS, *FIRST), seeds=5, rates=(0.005, 0.01, 0.02)),
        compare(
            START_227.with_(images={"train_size": None}), (*starts.biases(2, seeds=5), *starts.trained(2)), seeds=5
        ),
        compare(LOCAL_120, four_layer_norm("clean", "released"), seeds=5),
        compare(TEN_VIEWS, four_layer_norm("full-length"), seeds=3),
        starts.at_own_rates(seeds=6),
        *regimes(12),
    ),
}


def regime(profile: str, claim: str, condition: str) -> RunSpec:
    """The baseline that a claim's comparison under a condition changes; the first one where there is none."""
    known = [study for study in ABLATIONS[profile] if study.baseline is not None]
    asked = (claim, condition)
    cells = {(cell.claim, cell.condition): study.baseline for study in known for block in study.blocks
             for cell in block.cells}  # fmt: skip
    return cells.get(asked) or known[0].baseline or RunSpec()
