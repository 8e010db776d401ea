"""Which runs each claim needs, per profile.

An experiment may have stages: the runs of a later stage depend on the records of an earlier one, as when a grid
chooses the learning rate. `plan` gives the runs that can be named now.
"""

from collections.abc import Iterator
from typing import Protocol

from ..errors import SpecError
from ..records.record import RunRecord
from ..records.store import Store
from ..runs.planning import GRID_SEED, INITS, PROFILES, SCALINGS, Planned, check_profile
from .ablations import ABLATIONS
from .published_runs import PUBLISHED_RUNS, FirstLayers
from .relu_speed import (
    ALEXNET,
    ARMS,
    MODERN,
    ORIGINAL,
    RELU_ALEXNET,
    RELU_SPEED,
    SMOKE,
    Condition,
    ReluSpeed,
    chosen_rate,
)
from .transfer import TRANSFER

__all__ = [
    "ALEXNET", "ARMS", "EXPERIMENTS", "GRID_SEED", "INITS", "MODERN", "ORIGINAL", "PROFILES", "RELU_SPEED", "SCALINGS",
    "SMOKE", "Condition", "Planned", "ReluSpeed", "check_profile", "chosen_rate", "plan", "records", "relu_alexnet",
    "relu_speed",
]  # fmt: skip


class Experiment(Protocol):
    """Runs that belong together."""

    @property
    def claims(self) -> frozenset[str]:
        """The claims they are for."""

    def plan(self, store: Store, seeds: int | None = None) -> Iterator[Planned]:
        """The runs that can be named now, the more important ones first."""


EXPERIMENTS: dict[str, tuple[Experiment, ...]] = {
    "smoke": (RELU_SPEED["smoke"], *ABLATIONS["smoke"], PUBLISHED_RUNS["smoke"]),
    **{
        profile: (
            RELU_SPEED[profile], *ABLATIONS[profile], RELU_ALEXNET[profile], FirstLayers(3), PUBLISHED_RUNS[profile],
            *TRANSFER[profile],
        )
        for profile in ("cpu", "gpu")
    },
}  # fmt: skip


def relu_speed(profile: str) -> ReluSpeed:
    """The ReLU against tanh experiment of a profile."""
    return RELU_SPEED[check_profile(profile)]


def relu_alexnet(profile: str) -> ReluSpeed | None:
    """The same for AlexNet; None in the smoke profile, for which it takes too long."""
    return RELU_ALEXNET.get(check_profile(profile))


def plan(profile: str, store: Store, seeds: int | None = None, claim: str | None = None) -> Iterator[Planned]:
    """All runs of a profile (or of one claim, or several with commas between) that can be named now. A run that serves
    several claims comes once for each. Raises `SpecError` for an unknown claim."""
    experiments = EXPERIMENTS[check_profile(profile)]
    known = frozenset().union(*(experiment.claims for experiment in experiments))
    wanted = known if claim is None else frozenset(name.strip() for name in claim.split(","))
    if unknown := sorted(wanted - known):
        names = ", ".join(sorted(known))
        raise SpecError(f"No runs are planned for a claim {unknown[0]!r}; those with runs: {names}.")
    if seeds is not None and seeds < 1:
        raise SpecError(f"{seeds} seeds make no experiment; give 1 or more.")
    for experiment in experiments:
        if wanted & experiment.claims:
            for planned in experiment.plan(store, seeds):
                if claim is None or planned.claim in wanted or planned.stage == "grid":
                    yield planned


def records(
    profile: str, store: Store, seeds: int | None = None, claim: str | None = None
) -> list[tuple[Planned, RunRecord | None]]:
    """Every run that can be named now with its record, None where it is missing."""
    read: dict[str, RunRecord | None] = {}
    found = []
    for planned in plan(profile, store, seeds, claim):
        name = planned.spec.hash
        if name not in read:
            read[name] = store.get(planned.spec)
        found.append((planned, read[name]))
    return found
