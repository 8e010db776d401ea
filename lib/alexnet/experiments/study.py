"""Plans in two stages: runs that choose a learning rate, and the runs that count, which take it.

A run of the second stage can be named once all runs of its search have records. Runs that choose never see the test
set, and have a seed of their own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SpecError
from ..records.record import RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..runs.planning import GRID_SEED, Planned, changes

Change = dict[str, Any]  # what a run changes of another, as `RunSpec.with_` takes it

CONSTANT: Change = {"schedule": "constant", "drops": ()}
FIRST_SEED = 100  # of runs that rule 2 judges: none of them has been seen before


def lowest_validation_error(records: Iterable[RunRecord]) -> float:
    """The learning rate of the run with the lowest validation error at its end; ties go to the smaller rate.

    Raises `SpecError` when every run diverged.
    """
    return best(records, lambda record: (record.final.valid_error,))


def best(records: Iterable[RunRecord], rank: Callable[[RunRecord], tuple[float, ...]]) -> float:
    """The learning rate of the run with the lowest rank that has not diverged; ties go to the smaller rate."""
    sound = [record for record in records if record.final.outcome != "diverged"]
    if not sound:
        raise SpecError("Every learning rate of the grid diverged; widen the grid towards smaller rates.")
    return min((*rank(record), record.spec.recipe.learning_rate) for record in sound)[-1]


def rate_of_grid(
    found: Collection[RunRecord | None], best_of: Callable[[Iterable[RunRecord]], float] = lowest_validation_error
) -> float | None:
    """The learning rate that a grid's runs choose, or None while one has no record."""
    complete = [record for record in found if record is not None]
    return best_of(complete) if len(complete) == len(found) else None


@dataclass(frozen=True)
class Rates:
    """Learning rates to try, and more by factors of 2 while the best is at an end of the row, as far as the limits."""

    first: tuple[float, ...]  # ascending
    least: float = float("inf")  # infinite: no smaller ones than the first
    most: float = 0.0


@dataclass(frozen=True)
class Search:
    """Runs that choose a learning rate."""

    claim: str
    condition: str
    arm: str
    spec: RunSpec  # of each of these runs, its rate aside
    rates: Rates
    best_of: Callable[[Iterable[RunRecord]], float] = lowest_validation_error

    def planned(self, recipe: Change) -> Planned:
        """The run that tries a recipe."""
        spec = self.spec.with_(seed=GRID_SEED, test=False).with_(recipe=recipe)
        return Planned(self.claim, self.condition, "grid", self.arm, GRID_SEED, spec)

    def outcome(self, store: Store) -> tuple[list[Planned], Change | None]:
        """The runs that can be named now, and what the recipes of the runs that count take, or None while one has no
        record."""
        rates = list(self.rates.first)
        while True:
            tried = [self.planned({"learning_rate": rate}) for rate in rates]
            found = rate_of_grid([store.get(planned.spec) for planned in tried], self.best_of)
            if found == rates[0] and found > self.rates.least:
                rates.insert(0, found / 2)
            elif found == rates[-1] and found < self.rates.most:
                rates.append(2 * found)
            else:
                return tried, None if found is None else {"learning_rate": found}


@dataclass(frozen=True)
class Cell:
    """An arm under a condition."""

    claim: str
    condition: str
    arm: str
    spec: RunSpec  # of its runs that count; where a search chooses, with a rate that costs the same
    search: Search | None = None
    runs: int = 1  # in each pair, which are averaged


@dataclass(frozen=True)
class Block:
    """Cells whose runs are made pair by pair."""

    cells: tuple[Cell, ...]
    seeds: int
    replaced: tuple[Planned, ...] = ()  # made by an earlier plan: shown where they are recorded, unless they count


@dataclass(frozen=True)
class Study:
    """Runs that belong together, the more important ones first."""

    blocks: tuple[Block, ...]
    searches: tuple[Search, ...] = ()
    first_pair: int = 0  # its number, which its seeds share
    first_seed: int = 0  # added to the number
    baseline: RunSpec | None = None  # what its arms change

    @property
    def claims(self) -> frozenset[str]:
        """The claims they are for."""
        return frozenset(cell.claim for block in self.blocks for cell in block.cells)

    @property
    def conditions(self) -> frozenset[str]:
        """Those of the claims."""
        return frozenset(cell.condition for block in self.blocks for cell in block.cells)

    def of(self, claims: Collection[str]) -> "Study":
        """What only these claims need of it: their cells, and the searches whose rates those take."""
        blocks = [replace(b, cells=tuple(cell for cell in b.cells if cell.claim in claims)) for b in self.blocks]
        used = {cell.search for block in blocks for cell in block.cells}
        return replace(self, blocks=tuple(blocks), searches=tuple(s for s in self.searches if s in used))

    def plan(self, store: Store, seeds: int | None = None, guess: bool = False) -> Iterator[Planned]:
        """The runs that can be named now: the searches, and the cells whose search is complete; to tell what all of
        them cost, guess the rates that are not chosen yet."""
        recipes: dict[Search | None, Change | None] = {None: {}}
        for search in self.searches:
            tried, recipes[search] = search.outcome(store)
            yield from tried
        for block in self.blocks:
            known = [cell for cell in block.cells if guess or recipes[cell.search] is not None]
            specs = [cell.spec.with_(recipe=recipes[cell.search] or {}) for cell in known]
            count, hashes = seeds or block.seeds, set()
            for pair in range(self.first_pair, self.first_pair + count):
                for cell, spec in zip(known, specs, strict=True):
                    for run in range(cell.runs):
                        seeded = spec.with_(seed=self.first_seed + pair + count * run)
                        hashes.add(seeded.hash)
                        yield Planned(cell.claim, cell.condition, "seeds", cell.arm, pair, seeded)
            for old in block.replaced if known and not guess else ():
                if old.spec.hash not in hashes and store.get(old.spec) is not None:
                    yield old


@dataclass(frozen=True)
class Comparison:
    """The arms that a claim compares under a condition, each with what it changes of a baseline; one arm for figures
    that a single run gives."""

    claim: str
    condition: str
    arms: dict[str, Change]
    seeds: int | None = None  # where the study's number shall not hold


def compare(
    baseline: RunSpec,  # the learning rate in it is the one used unless a search chooses
    comparisons: Sequence[Comparison],
    seeds: int,
    search_of: Callable[[str, RunSpec], Search | None] = lambda name, spec: None,  # of an arm
    baseline_runs: int = 1,  # runs of the baseline that a pair averages: all comparisons share them
    first_seed: int = 0,
) -> Study:
    """Comparisons with one baseline."""

    def named(change: Change) -> str:
        return changes(baseline.with_(**change), baseline).replace("nothing", "baseline")

    found = {named(change): baseline.with_(**change) for of in comparisons for change in of.arms.values()}
    searches = {name: search_of(name, spec) for name, spec in found.items()}

    def cell(of: Comparison, arm: str) -> Cell:
        name, spec = named(of.arms[arm]), baseline.with_(**of.arms[arm])
        runs = baseline_runs if name == "baseline" else 1
        return Cell(of.claim, of.condition, arm, spec, searches[name], runs)

    blocks = (Block(tuple(cell(of, arm) for arm in of.arms), of.seeds or seeds) for of in comparisons)
    distinct = dict.fromkeys(search for search in searches.values() if search)
    ordered = sorted(distinct, key=lambda search: search.arm != "baseline")
    return Study(tuple(blocks), tuple(ordered), first_seed=first_seed, baseline=baseline)
