"""From the paper's recipe to one of today, an ingredient at a time: what each buys on the same images and epochs.

The ingredients come in a fixed order, each on top of all before it, and stay whatever they bring. Every step has a
learning rate of its own, chosen on validation images by runs of half the length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..errors import SpecError
from ..networks import models
from ..records.record import RunRecord
from ..records.specs import RunSpec
from ..runs.planning import Runs
from ..statistics.accuracy import Accuracy, accuracy, paired_gain
from ..statistics.effects import Effect
from ..statistics.measures import collapsed
from .ablations import ALEXNET_32, halved
from .study import CONSTANT, FIRST_SEED, Block, Cell, Change, Rates, Search, Study

CLAIM = "since-2012"
TITLE = "Fourteen years of ingredients"
SGD_RATES = Rates((0.01, 0.02, 0.04), least=0.00125, most=0.32)
ADAMW_RATES = Rates((0.0005, 0.001, 0.002), least=0.0000625, most=0.064)


@dataclass(frozen=True)
class Step:
    """An ingredient, and what it changes of the step before."""

    name: str
    source: str  # who published it
    change: Change
    rates: Rates = SGD_RATES


# A quarter of the width at 32 pixels, as in the ablations; what they changed to make it train is taken back first.
STEPS = (
    Step(
        "the paper's recipe",
        "Krizhevsky, Sutskever and Hinton 2012",
        {"images": {"scaling": "mean-image"}, "net": {"init": "paper"}, "measured": "fit"},
    ),
    Step(
        "weights scaled to their inputs, pixels to unit variance",
        "He and others 2015",
        {"images": {"scaling": "mean-image-unit"}, "net": {"init": "kaiming"}},
    ),
    Step("batch in place of response normalisation", "Ioffe and Szegedy 2015", {"net": {"norm": "batch"}}),
    Step("one cycle of the learning rate", "Smith 2018", {"recipe": {**CONSTANT, "schedule": "one-cycle"}}),
    Step("smoothed labels", "Szegedy and others 2016", {"recipe": {"label_smoothing": 0.1}}),
    Step(
        "AdamW in place of SGD",
        "Loshchilov and Hutter 2019",
        {"recipe": {"optimiser": "adamw", "weight_decay": 0.05}},
        ADAMW_RATES,
    ),
    Step("a square cut out of each image", "DeVries and Taylor 2017", {"images": {"cutout": 13}}, ADAMW_RATES),
    Step(
        "maps averaged in place of two wide layers",
        "Lin, Chen and Yan 2014",
        {"net": {"averaged": True, "hidden": ()}},
        ADAMW_RATES,
    ),
)


def specs() -> list[RunSpec]:
    """The run of each step, its rate aside."""
    found = [ALEXNET_32]
    for step in STEPS:
        found.append(found[-1].with_(**step.change))
    return found[1:]


def study(seeds: int = 3) -> Study:
    """The runs of all steps, those that choose their rates first."""
    cells = []
    for step, spec in zip(STEPS, specs(), strict=True):
        search = Search(CLAIM, "steps", step.name, halved(spec).with_(measured="errors"), step.rates)
        cells.append(Cell(CLAIM, "steps", step.name, spec, search))
    searches = tuple(cell.search for cell in cells if cell.search)
    return Study((Block(tuple(cells), seeds),), searches, first_seed=FIRST_SEED)


@dataclass(frozen=True)
class Bought:
    """What a step reaches, and what it adds to the one before."""

    step: Step
    records: tuple[RunRecord, ...]
    accuracy: Accuracy | None  # None while no run is recorded
    gain: Effect | None  # percentage points, over pairs of the same seed; None for the first step

    @property
    def lost(self) -> bool:
        """Whether it has runs and all of them ended near guessing."""
        return bool(self.records) and all(map(collapsed, self.records))


def bought(runs: Runs) -> list[Bought]:
    """Each step in order, with the runs it has."""
    found: list[Bought] = []
    for step in STEPS:
        pairs = [p for p in runs if p[0].claim == CLAIM and p[0].stage == "seeds" and p[0].arm == step.name]
        records = tuple(record for _, record in pairs if record is not None)
        gain = paired_gain(records, found[-1].records) if found else None
        found.append(Bought(step, records, accuracy(records), gain))
    return found


def untrained(runs: Runs) -> str:
    """Which steps train at none of the rates that were tried for them, in words; nothing where each trains at one."""
    tried = [(p.arm, record) for p, record in runs if p.claim == CLAIM and p.stage == "grid" and record is not None]
    said = []
    for step in STEPS:
        records = [record for arm, record in tried if arm == step.name]
        if records and all(map(collapsed, records)):
            rates = sorted(record.spec.recipe.learning_rate for record in records)
            said.append(f"*{step.name}* trains at none of {len(rates)} rates from {rates[0]:g} to {rates[-1]:g}")
    return "; ".join(said)


def table(found: Sequence[Bought]) -> pd.DataFrame:
    """A line a step: accuracy and gain with their intervals, the gain that as many seeds find in four tries of five,
    the rate, parameters, seconds an epoch of one thread."""
    lines = []
    for one, spec in zip(found, specs(), strict=True):
        seconds = [r.wall_seconds / r.final.epochs * r.environment.threads for r in one.records]
        rates = {f"{r.spec.recipe.learning_rate:g}" for r in one.records}
        lines.append(
            {
                "step": one.step.name,
                "test accuracy": one.accuracy.text if one.accuracy else None,
                "gain (points)": one.gain.text if one.gain else None,
                "would be found": f"{one.gain.smallest_detectable():.1f} points"
                if one.gain and one.gain.n > 1
                else None,
                "learning rate": ", ".join(sorted(rates)) or None,
                "parameters": models.parameter_count(models.build(spec.net, spec.side)),
                "seconds an epoch": sum(seconds) / len(seconds) if seconds else None,
            }
        )
    return pd.DataFrame(lines)


def answer(found: Sequence[Bought]) -> str:
    """How far all steps lead together, which of them have a gain that their seeds tell from none, and which runs did
    not train; or what makes the runs that this takes."""
    first, last = found[0], found[-1]
    if first.accuracy is None or last.accuracy is None:
        return f"**Waits for its runs**, which `make runs CLAIM={CLAIM}` makes."
    start = next((one for one in found[:-1] if one.accuracy and not one.lost), first)
    begun = "the paper's recipe" if start is first else "the first step that trains"
    whole = paired_gain(last.records, start.records)
    if whole is None or start.accuracy is None:
        raise SpecError("The first and the last step share no seed.")
    said = (
        f"**From {start.accuracy.mean:.1f}% by {begun} to {last.accuracy.mean:.1f}%**: {whole.text}, in points, "
        "with the same images, epochs and convolutional layers."
    )
    if start is not first:
        said += f" That step is {start.step.name}; the paper's recipe itself stays at {first.accuracy.mean:.1f}%."
    later = found[found.index(start) + 1 :]
    gains = [(one.step.name, one.gain) for one in later if one.gain is not None]
    up = [name for name, gain in gains if gain.low > 0]
    down = [name for name, gain in gains if gain.high < 0]
    if up:
        said += f" What adds to it, with the whole interval above zero: {'; '.join(up)}."
    if down:
        said += f" What takes away: {'; '.join(down)}."
    if unclear := len(gains) - len(up) - len(down):
        steps = "One step is" if unclear == 1 else f"{unclear} steps are"
        said += f" {steps} not told from zero by {len(last.records)} seeds."
    lost = [(sum(map(collapsed, one.records)), len(one.records), one.step.name) for one in found]
    if ends := [f"{count} of {runs} ({name})" for count, runs, name in lost if count]:
        said += f" Runs that ended near guessing: {', '.join(ends)}."
    return said
