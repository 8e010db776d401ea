"""Which runs the published reimplementations need, per profile.

The cpu profile trains the two networks for 32 pixels in full, and the four for 224 or 227 pixels on a stated share of
images and epochs; such rows are partial, and say so wherever they are shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import SpecError
from ..records.specs import RunSpec
from ..records.store import Store
from ..runs.planning import A_FIRST_LOOK, Planned, check_profile
from .reimplementations import PROTOCOLS, TOWERS_32, with_paper_recipe

PUBLISHED = "published"  # the arm that follows a row's own protocol, in full
SHARE = "share"  # the same on a share of its images and epochs, which stands for it while it is not run in full
PUBLISHED_32 = "published-32"  # the same for cifar-towers' variant for 32 pixels
PAPER_START = "paper-start"  # the paper's initial weights instead of the author's; with -32 for the variant
TOWERS, BN = "cifar-towers", "cifar-bn"
CLEAN = "clean"  # arms of which one is chosen, on validation images


@dataclass(frozen=True)
class Arm:
    """One way to train a row's network."""

    row: str
    name: str
    title: str  # what it is, in words
    spec: RunSpec
    full: RunSpec | None = None  # what `spec` is a share of
    seeds: int | None = None  # where the experiment's number shall not hold

    @property
    def part(self) -> float:
        """Training images that it sees over all epochs, as a share of those that its whole protocol sees."""
        return 1.0 if self.full is None else self.spec.images_seen / self.full.images_seen

    @property
    def partial(self) -> bool:
        """Whether it sees fewer images than the protocol it stands for."""
        return self.part < 1

    @property
    def share(self) -> str:
        """How much of the protocol is run, in words."""
        if not self.partial or self.full is None:
            return "in full"
        some, every = self.spec.training_images, self.full.training_images
        epochs = f"{self.spec.recipe.epochs} of {self.full.recipe.epochs} epochs"
        return f"partial: {some:,} of {every:,} training images, {epochs}, {self.part:.1%} of the images seen"


@dataclass(frozen=True)
class PublishedRuns:
    """The runs of some rows, the more important ones first."""

    arms: tuple[Arm, ...]
    seeds: int

    @property
    def claims(self) -> frozenset[str]:
        """The rows they are for."""
        return frozenset(arm.row for arm in self.arms)

    def plan(self, store: Store, seeds: int | None = None) -> Iterator[Planned]:
        """All runs; none depends on another."""
        for arm in self.arms:
            for seed in range(seeds or arm.seeds or self.seeds):
                spec = arm.spec.with_(seed=seed)
                yield Planned(arm.row, arm.name, "seeds", arm.name, seed, spec)

    def arms_of(self, row: str) -> list[Arm]:
        """The arms of a row, its own protocol first. Raises `SpecError` for a row without runs."""
        found = sorted((arm for arm in self.arms if arm.row == row), key=lambda arm: arm.name != PUBLISHED)
        if not found:
            raise SpecError(f"No runs are planned for {row!r}; those with runs: {', '.join(sorted(self.claims))}.")
        return found


@dataclass(frozen=True)
class FirstLayers:
    """The longest trained first layers of two towers (section 6.1): those of cifar-towers, run in full."""

    seeds: int
    claims: frozenset[str] = frozenset({"kernel-towers"})

    def plan(self, store: Store, seeds: int | None = None) -> Iterator[Planned]:
        """The row's own runs."""
        for seed in range(seeds or self.seeds):
            yield Planned("kernel-towers", PUBLISHED, "seeds", "network", seed, PROTOCOLS[TOWERS].with_(seed=seed))


def share(row: str, images: int, epochs: int, **recipe: Any) -> Arm:
    """A row's protocol on some of its images, for some of its epochs; the test set is used once, at the end."""
    full = PROTOCOLS[row]
    spec = full.with_(images={"train_size": images}, recipe={"epochs": epochs, **recipe}, measured="splits")
    return Arm(row, SHARE, "as published, on a share of the images", spec, full)


def published(row: str, seeds: int | None = None) -> Arm:
    """A row's protocol in full."""
    return Arm(row, PUBLISHED, "as published", PROTOCOLS[row], PROTOCOLS[row], seeds)


CONSTANT: dict[str, Any] = {"schedule": "constant", "drops": ()}
VARIANT = Arm(TOWERS, PUBLISHED_32, "as published, on 32 pixels", TOWERS_32, TOWERS_32)
SHARE_224 = share(TOWERS, 8_000, 10)


def remedies(epochs: int, drops: tuple[int, ...]) -> tuple[Arm, ...]:
    """cifar-bn's open question, how to stop the overfitting: the paper's remedies, each alone."""

    def remedy(name: str, title: str, **changes: Any) -> Arm:
        shorter = PROTOCOLS[BN].with_(recipe={"epochs": epochs})
        return Arm(BN, name, title, shorter.with_(**changes))

    return (
        remedy("crops-flips", "with random crops and reflections", images={"padding": 4, "crop": 32, "flip": True}),
        remedy("weight-decay", "with weight decay 0.0005", recipe={"weight_decay": 0.0005}),
        remedy("drops", "with two drops of the learning rate", recipe={"schedule": "steps", "drops": drops}),
    )


def paper(row: str, epochs: int, drops: tuple[int, ...]) -> Arm:
    """A row's network by the paper's whole recipe."""
    return Arm(row, "paper-recipe", "by the paper's recipe", with_paper_recipe(PROTOCOLS[row], epochs, drops))


def paper_32(epochs: int, drops: tuple[int, ...]) -> Arm:
    """The same for the variant for 32 pixels."""
    spec = with_paper_recipe(TOWERS_32, epochs, drops)
    return Arm(TOWERS, "paper-recipe-32", "by the paper's recipe, on 32 pixels", spec)


def paper_start(base: RunSpec, epochs: int, name: str, title: str) -> Arm:
    """cifar-towers' open question, whether the paper's initialisation really fails there."""
    return Arm(TOWERS, name, title, base.with_(net={"init": "paper"}, recipe={"epochs": epochs, **CONSTANT}))


def fresh_rates() -> tuple[Arm, ...]:
    """cifar-lrn's two learning rates, each with a network of its own; one is chosen on validation images."""
    full = PROTOCOLS["cifar-lrn"]
    second = full.recipe.second
    rates = (full.recipe.learning_rate, second.learning_rate) if second else ()
    return tuple(
        Arm("cifar-lrn", f"{CLEAN}-{rate:g}", f"a fresh network, learning rate {rate:g}",
            full.with_(recipe={"learning_rate": rate, "epochs": 40, "second": None}))
        for rate in rates
    )  # fmt: skip


def small(full: RunSpec, name: str, row: str, **changes: Any) -> Arm:
    """A first look: an epoch on 1,000 images with a narrow network."""
    narrow = full.with_(images={"train_size": 1000, **A_FIRST_LOOK}, recipe={"epochs": 1, **CONSTANT}, **changes)
    return Arm(row, name, f"as published, {narrow.net.width:g} times the width", narrow, full)


PUBLISHED_RUNS = {
    "smoke": PublishedRuns(
        (
            small(PROTOCOLS[BN], PUBLISHED, BN, net={"width": 0.25}),
            small(TOWERS_32, PUBLISHED_32, TOWERS, net={"width": 0.125}, measured="splits"),
        ),
        seeds=1,
    ),
    "cpu": PublishedRuns(
        (
            published(BN),
            published("mnist-alexnet"),
            published(TOWERS, seeds=3),
            VARIANT,
            SHARE_224,
            Arm(TOWERS, "share-32", "on 32 pixels, the same share",
                TOWERS_32.with_(images={"train_size": 8_000}, measured="splits"), TOWERS_32),
            share("mnist-alexnet", 12_000, 5),
            share("cifar-lrn", 8_000, 7, second=None),
            share("cifar-transfer", 8_000, 12, second={"after": 9, "learning_rate": 0.01, "last_layer": True}),
            *remedies(8, (5, 7)),
            paper(BN, 16, (11, 14)),
            paper_start(SHARE_224.spec, 2, PAPER_START, "with the paper's initialisation"),
            paper_start(TOWERS_32.with_(measured="splits"), 2, f"{PAPER_START}-32",
                        "with the paper's initialisation, on 32 pixels"),
            paper_32(8, (5, 7)),
        ),
        seeds=1,
    ),
    "gpu": PublishedRuns(
        (
            *(published(row) for row in PROTOCOLS),
            VARIANT,
            *fresh_rates(),
            *remedies(50, (35, 45)),
            paper(BN, 90, (60, 80)),
            paper_start(PROTOCOLS[TOWERS], 10, PAPER_START, "with the paper's initialisation"),
            paper_start(TOWERS_32, 10, f"{PAPER_START}-32", "with the paper's initialisation, on 32 pixels"),
            paper("mnist-alexnet", 12, (8, 10)),
            paper(TOWERS, 60, (40, 52)),
            paper_32(60, (40, 52)),
            paper("cifar-transfer", 60, (40, 52)),
            paper("cifar-lrn", 60, (40, 52)),
        ),
        seeds=3,
    ),
}  # fmt: skip


def published_runs(profile: str) -> PublishedRuns:
    """The reimplementations' runs of a profile. Raises `SpecError` for an unknown profile."""
    return PUBLISHED_RUNS[check_profile(profile)]
