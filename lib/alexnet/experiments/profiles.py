"""Which runs each claim needs, per profile: all studies, the more important ones first.

`plan` gives the runs that can be named now: those of a later stage depend on the records of an earlier one, as when a
grid chooses the learning rate.
"""

from collections.abc import Iterator

from ..errors import SpecError
from ..records.store import Store
from ..runs.planning import Planned, Runs, check_profile
from . import reimplementations, since_2012
from .ablations import ABLATIONS
from .relu_speed import RELU_ALEXNET, RELU_SPEED
from .study import Study
from .transfer import APPROACHES

STUDIES: dict[str, tuple[Study, ...]] = {
    profile: (
        *(study for condition in RELU_SPEED[profile] for study in condition.studies()),
        *ABLATIONS[profile],
        *(study for condition in RELU_ALEXNET[profile] for study in condition.studies()),
        *([] if profile == "smoke" else [reimplementations.FIRST_LAYERS]),
        reimplementations.study(profile),
        *(approach.study() for approach in APPROACHES[profile]),
        *([] if profile == "smoke" else [since_2012.study()]),
    )
    for profile in ("smoke", "cpu", "gpu")
}


def plan(profile: str, store: Store, seeds: int | None = None, claim: str | None = None) -> Iterator[Planned]:
    """All runs of a profile (or of one claim, or several with commas between) that can be named now. A run that serves
    several claims comes once for each. Raises `SpecError` for an unknown claim."""
    studies = STUDIES[check_profile(profile)]
    known = frozenset().union(*(study.claims for study in studies))
    wanted = known if claim is None else frozenset(name.strip() for name in claim.split(","))
    if unknown := sorted(wanted - known):
        names = ", ".join(sorted(known))
        raise SpecError(f"No runs are planned for a claim {unknown[0]!r}; those with runs: {names}.")
    if seeds is not None and seeds < 1:
        raise SpecError(f"{seeds} seeds make no experiment; give 1 or more.")
    for study in studies:
        yield from study.of(wanted).plan(store, seeds)


def records(profile: str, store: Store, seeds: int | None = None, claim: str | None = None) -> Runs:
    """Every run that can be named now with its record, None where it is missing."""
    planned = list(plan(profile, store, seeds, claim))
    specs = {one.spec.hash: one.spec for one in planned}  # a run that serves several claims is read once
    read = {name: store.get(spec) for name, spec in specs.items()}
    return [(one, read[one.spec.hash]) for one in planned]


def all_planned(profile: str, store: Store) -> Iterator[Planned]:
    """Every run of a profile, with those whose learning rate a grid has yet to choose at some rate: it costs the same.

    A run that serves several claims comes once.
    """
    seen = set()
    for study in STUDIES[check_profile(profile)]:
        for planned in study.plan(store, guess=True):
            if planned.spec.hash not in seen:
                seen.add(planned.spec.hash)
                yield planned
