"""The claims of the paper, the published reimplementations and the logs of the original code, read from the tables
beside this file.

A claim is tested under one or more conditions; a claim under a condition is a `Question`, and each question gets an
effect and a verdict. What decides the verdict is all in the question, and is committed before its runs.
"""

import datetime
import functools
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import paths
from ..errors import SpecError, at_fault

FigureKind = Literal["ratio", "points", "exact", "qualitative"]
EffectKind = Literal["ratio", "difference", "exact", "none"]
Side = Literal["above", "below"]
Scale = Literal["same", "other"]
Measure = Literal[
    "epochs-to-target",  # interpolated epochs until a target is reached; the one measure that can be censored
    "epochs-to-train-loss",  # epochs until the loss on training images, dropout off, falls to levels; censored alike
    "test-error",
    "ten-crop-error",
    "train-error",
    "generalisation-gap",  # test error less training error
    "early-train-loss",
    "crop-error",
    "epochs-to-trained",  # epochs until the running training error is 10 points below guessing; censored alike
    "chance-margin",  # error of blind guessing less the training error
    "colour-separation",  # difference of the towers' mean colour selectivity, and that of random halves
    "tower-colour",  # difference of the towers' mean colour selectivity, after training and before
    "neighbour-share",
    "top5-share",
    "parameters",
    "neurons",
    "first-layer-neurons",
]

Also = Literal[
    "test-error-not-lower",  # the first arm's test error is not below the second's by more than chance
    "nearer-than-pixels",  # features' share is above that of pixels in every run
    "above-random-order",  # the share is above that of a random order in every run
]

Named = TypeVar("Named", "Claim", "Reimplementation")
Whole = TypeVar("Whole", bound="Entry")


def _one_line(text: str) -> str:
    return " ".join(text.split())


Prose = Annotated[str, AfterValidator(_one_line), Field(min_length=1)]


class Entry(BaseModel):
    """Base of all entries: immutable, and a misspelt or unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PaperFigure(Entry):
    """A number that the paper reports for a claim; a qualitative one has no value."""

    name: str
    kind: FigureKind
    value: float | None = None
    unit: str
    bound: Literal["about", "at least"] | None = None  # how the paper hedges it
    last_digit: float | None = Field(None, gt=0)  # what the last printed digit of an exact figure stands for
    rounding: float | None = Field(None, gt=0)  # half of what the last printed digit of any other figure stands for
    without: float | None = None  # the two figures whose difference `value` is, without and with the ingredient
    with_: float | None = Field(None, alias="with")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.value is None) != (self.kind == "qualitative"):
            raise ValueError("a figure has a value unless it is qualitative")
        if (self.last_digit is None) != (self.kind != "exact"):
            raise ValueError("an exact figure, and no other, says what its last printed digit stands for")
        if self.without is not None and self.with_ is not None and self.value is not None:
            difference = self.without - self.with_
            if not math.isclose(difference, self.value, abs_tol=1e-9):
                raise ValueError(f"{self.without} less {self.with_} is not {self.value}")
        return self

    @property
    def text(self) -> str:
        """The figure as it is shown: "6 times", "about 2 times", "qualitative"."""
        if self.value is None:
            return "qualitative"
        points = " point" if self.value == 1 else " points"
        unit = {"percentage points": points, "percent": "%"}.get(self.unit, f" {self.unit}")
        return f"{f'{self.bound} ' if self.bound else ''}{self.value:,.10g}{unit}"


class Terms(Entry):
    """What decides a verdict. A claim has terms of its own; a condition's take their place where it has any."""

    figures: tuple[PaperFigure, ...] | None = None
    estimand: Prose | None = None
    effect: EffectKind | None = None
    measure: Measure | None = None
    levels: tuple[float, ...] | None = None
    arms: tuple[str, str] | None = None  # the first over, or less, the second
    null: float | None = None
    margin: float | None = Field(None, ge=0)
    # the smallest effect worth the claim's words: a distance from the null, of ratios a factor
    margin_why: Prose | None = None
    also: Also | None = None  # what must hold besides for "reproduced"
    direction: Side | None = None
    profile: Literal["cpu", "gpu", "none"] | None = None
    not_tested: Prose | None = None


class Settled(Terms):
    """Terms that leave nothing open."""

    figures: tuple[PaperFigure, ...]
    estimand: Prose
    effect: EffectKind
    profile: Literal["cpu", "gpu", "none"]


class Condition(Terms):
    """What is run in place of the paper's experiment."""

    id: str
    title: Prose
    primary: bool
    scale: Scale
    run: Prose
    smallest_of: tuple[str, ...] = ()  # conditions of which the smallest effect decides; (): it has its own runs
    seen: bool = False  # whether its runs were seen before the rule was fixed


class Question(Settled):
    """A claim under one condition: one row of the report, with all that decides its verdict."""

    claim: str
    condition: str
    page: str  # the notebook that tells of it
    section: str
    title: Prose
    condition_title: Prose
    statement: Prose
    run: Prose
    primary: bool
    scale: Scale
    smallest_of: tuple[str, ...]
    seen: bool
    confidence: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        compares = self.effect in ("ratio", "difference")
        if compares and None in (self.measure, self.arms, self.null, self.margin, self.margin_why, self.direction):
            raise ValueError(f"{self.id}: a {self.effect} needs a measure, two arms, a null, a margin and a direction")
        if self.effect == "ratio" and ((self.null or 0) <= 0 or (self.margin or 0) < 1):
            raise ValueError(f"{self.id}: the null of a ratio is a positive number, its margin a factor of 1 or more")
        if (self.measure == "epochs-to-train-loss") != bool(self.levels):
            raise ValueError(f"{self.id}: levels belong to the measure epochs-to-train-loss, which needs some")
        if self.effect == "exact" and (self.figure is None or self.figure.kind != "exact"):
            raise ValueError(f"{self.id}: an exact question needs an exact figure")
        if (self.profile == "none") != (self.effect == "none") or (self.effect == "none" and not self.not_tested):
            raise ValueError(f"{self.id}: what no profile runs has no effect, and says why it is not tested")
        return self

    @property
    def id(self) -> str:
        """The claim and the condition, as in "relu-speed/original"."""
        return f"{self.claim}/{self.condition}"

    @property
    def figure(self) -> PaperFigure | None:
        """The paper's figure that the verdict may compare with; None where the paper has none for this condition."""
        return self.figures[0] if self.figures else None

    @property
    def comparable(self) -> float | None:
        """The paper's figure as a number if the scales match, else None: its size is then never compared."""
        return self.figure.value if self.figure and self.scale == "same" else None

    @property
    def unit(self) -> str:
        """Unit of the effect."""
        if self.effect == "ratio":
            return "times"
        return self.figure.unit if self.figure else "percentage points"


class Claim(Settled):
    """A claim of the paper and the conditions under which it is tested."""

    id: str
    page: str
    section: str
    title: Prose
    statement: Prose
    conditions: tuple[Condition, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_primary(self) -> Self:
        _unique([condition.id for condition in self.conditions], f"conditions of {self.id}")
        if sum(condition.primary for condition in self.conditions) != 1:
            raise ValueError(f"{self.id} needs exactly one primary condition")
        if any(condition.primary and condition.seen for condition in self.conditions):
            raise ValueError(f"{self.id}: a condition whose runs were seen before the rule cannot decide")
        unknown = {part for one in self.conditions for part in one.smallest_of} - {one.id for one in self.conditions}
        if unknown:
            raise ValueError(f"{self.id}: smallest_of names conditions that are not there: {', '.join(unknown)}")
        return self

    def under(self, condition: str, confidence: float) -> Question:
        """The claim under one of its conditions. Raises `SpecError` for an unknown one."""
        found = next((entry for entry in self.conditions if entry.id == condition), None)
        if found is None:
            known = ", ".join(entry.id for entry in self.conditions)
            raise SpecError(f"Claim {self.id} has no condition {condition!r}; it has {known}.")
        own = {name: value for name, value in found if value is not None and name not in ("id", "title")}
        names = {"claim": self.id, "condition": found.id, "condition_title": found.title, "confidence": confidence}
        inherited = {name: value for name, value in self if name not in ("id", "conditions")}
        return Question(**(inherited | own | names))


class Rule(Entry):
    """The verdict rule in words; `alexnet.statistics.verdicts.verdict` is the same in code."""

    confidence: float = Field(gt=0, lt=1)
    fixed: datetime.date  # no run that decides a primary condition is older
    false_discoveries: float = Field(gt=0, lt=1)

    def precedes(self, created: str) -> bool:
        """Whether the rule was fixed by the time, in ISO format, at which a run was made; else it is a first look."""
        return created[:10] >= self.fixed.isoformat()

    reproduced: Prose
    weaker_than_claimed: Prose
    direction_reproduced: Prose
    contradicted: Prose
    no_effect_of_that_size: Prose
    inconclusive: Prose
    not_tested: Prose
    size: Prose
    arms: Prose
    seeds: Prose
    censoring: Prose
    collapse: Prose
    diverged: Prose
    smallest: Prose
    many: Prose
    exact: Prose
    published: Prose


class Claims(Entry):
    """All of `claims.toml`."""

    rule: Rule
    claim: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_question_stands(self) -> Self:
        _unique([claim.id for claim in self.claim], "claims")
        if not self.questions():
            raise ValueError("there is no question to ask")
        return self

    def __getitem__(self, claim: str) -> Claim:
        """The claim of that id. Raises `SpecError` for an unknown one."""
        return _find(self.claim, claim, "claim")

    def question(self, claim: str, condition: str | None = None) -> Question:
        """A claim under a condition, the primary one by default. Raises `SpecError` for unknown ids."""
        found = self[claim]
        primary = next(entry.id for entry in found.conditions if entry.primary)
        return found.under(condition or primary, self.rule.confidence)

    def questions(self, primary_only: bool = False) -> list[Question]:
        """Every claim under every condition, in the order of the file."""
        return [
            claim.under(condition.id, self.rule.confidence)
            for claim in self.claim
            for condition in claim.conditions
            if condition.primary or not primary_only
        ]


class PublishedFigure(Entry):
    """A number that a reimplementation published, and what it was really measured on."""

    metric: Literal["accuracy", "loss", "time per epoch"]
    split: str  # as its authors call it
    value: float
    unit: Literal["percent", "nats", "seconds"]
    measured_on: Prose
    headline: bool  # the figure our own run is set against


class ClassFigures(Entry):
    """Per-class figures on one split, as fractions, in the order of the classes."""

    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]


class Log(Entry):
    """A published training log: one value an epoch."""

    seconds: tuple[float, ...]
    train_loss: tuple[float, ...]  # nats
    train_accuracy: tuple[float, ...]  # fractions, as are all accuracies of a log
    validation_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len({len(values) for values in self.model_dump().values()}) != 1:
            raise ValueError("the columns of a log have one value an epoch each")
        return self


class Reimplementation(Entry):
    """One published reimplementation."""

    id: str
    page: str  # the notebook that tells of it
    title: Prose
    dataset: Literal["cifar10", "mnist"]
    network: Prose
    input: Prose
    parameters: int | None = None
    protocol: Prose
    code_read: bool  # whether the protocol was read in its code, or in its description only
    flaws: tuple[Prose, ...]
    inconsistencies: tuple[Prose, ...]
    taken: tuple[Prose, ...] = ()  # what we take where the row says nothing, or contradicts itself
    open_questions: tuple[Prose, ...]
    figures: tuple[PublishedFigure, ...]
    per_class: dict[Literal["train", "validation", "test"], ClassFigures] | None = None
    log: Log | None = None

    @model_validator(mode="after")
    def _one_headline(self) -> Self:
        if sum(figure.headline for figure in self.figures) != 1:
            raise ValueError(f"{self.id} needs exactly one headline figure")
        return self

    @property
    def headline(self) -> PublishedFigure:
        """The figure our own run is set against."""
        return next(figure for figure in self.figures if figure.headline)


class Anchor(Entry):
    """A figure others published, to set the reimplementations against."""

    id: str
    title: Prose
    dataset: Prose
    figures: dict[Literal["top-1", "top-5"], float]  # accuracies in percent
    protocol: Prose


class Published(Entry):
    """All of `published.toml`."""

    row: tuple[Reimplementation, ...] = Field(min_length=1)
    anchor: tuple[Anchor, ...]

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        _unique([row.id for row in self.row], "rows")
        _unique([anchor.id for anchor in self.anchor], "anchors")
        return self

    def __getitem__(self, row: str) -> Reimplementation:
        """The reimplementation of that id. Raises `SpecError` for an unknown one."""
        return _find(self.row, row, "published reimplementation")


class LoggedRun(Entry):
    """How a run of the original code ended: its top-1 and top-5 errors, fractions."""

    images: Prose
    errors: tuple[float, float]


class LoggedPair(Entry):
    """Two runs of the original code, without and with what a claim is about."""

    claim: str
    what: Prose  # the run without, in words
    against: Prose = "the whole network"
    besides: Prose | None = None  # what else differed
    without: LoggedRun
    with_: LoggedRun = Field(alias="with")
    files: tuple[str, str]
    printed: bool  # the paper has a figure for their difference

    @property
    def points(self) -> tuple[float, float]:
        """By how many points the run with it errs less, top-1 and top-5."""
        first, second = (100 * (a - b) for a, b in zip(self.without.errors, self.with_.errors, strict=True))
        return first, second

    @property
    def text(self) -> str:
        """The errors of both runs and their differences."""
        kinds = zip(("top-1", "top-5"), self.without.errors, self.with_.errors, self.points, strict=True)
        said = "; ".join(f"{kind} {100 * a:.2f}% to {100 * b:.2f}%, {less:.2f} points" for kind, a, b, less in kinds)
        return f"{said}, before rounding"


class Logs(Entry):
    """All of `logs.toml`: what the original code's own logs say."""

    repository: str
    files: str
    run: dict[str, LoggedRun]
    pair: tuple[LoggedPair, ...]

    @model_validator(mode="before")
    @classmethod
    def _with_runs(cls, given: Any) -> Any:
        """Put the runs in the place of their names, and name their files."""
        runs, files = given.get("run", {}), given.get("files", "")
        for pair in given.get("pair", ()):
            names = [str(pair.get(side)) for side in ("without", "with")]
            pair["files"] = [files.format(run=name.partition(",")[0]) for name in names]
            pair["without"], pair["with"] = (runs.get(name, name) for name in names)
        return given

    def sentences(self, claim: str) -> list[str]:
        """What the logs say of a claim, some sentences a pair of runs."""
        found = []
        for pair in (pair for pair in self.pair if pair.claim == claim):
            files = list(dict.fromkeys(file.rpartition("/")[2] for file in pair.files))
            what = f"{pair.what[0].upper()}{pair.what[1:]} against {pair.against}, on {pair.without.images}"
            runs = f"One run{' each' * (len(files) > 1)} ({' and '.join(files)})."
            found.append(f"{what}: {pair.text}. {f'{pair.besides} ' if pair.besides else ''}{runs}")
        return found


class Event(Entry):
    """A commit that planned, showed or changed something."""

    commit: str
    date: datetime.datetime
    subject: str
    kind: Literal["planned", "seen", "changed"]
    what: Prose
    after: bool = False  # a plan was changed when results which it concerns had been seen
    rule: bool = False  # it fixed the rule of the verdicts, or another in its place
    amended: bool = False  # it added to the rule, and changed no claim's verdict
    rows: tuple[str, ...] = ()  # published rows whose verdicts it changed


class History(Entry):
    """All of `history.toml`."""

    event: tuple[Event, ...]


def _unique(ids: list[str], what: str) -> None:
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"{what}: {', '.join(twice)} more than once")


def _find(entries: tuple[Named, ...], name: str, what: str) -> Named:
    for entry in entries:
        if entry.id == name:
            return entry
    raise SpecError(f"There is no {what} {name!r}; there are {', '.join(entry.id for entry in entries)}.")


def _reader(kind: type[Whole], name: str, what: str) -> Callable[..., Whole]:
    """A function that reads a table beside this file, or a copy of it elsewhere, and keeps what it has read."""

    @functools.cache
    def read(path: Path = paths.PAPER / name) -> Whole:
        try:
            return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpecError(f"{path.name} cannot be read: {error}. Restore it with `git checkout`.") from error
        except ValidationError as error:
            fault = at_fault(error, "file", most=5)
            raise SpecError(f"{path.name} is not valid: {fault}. Correct these entries.") from error

    read.__doc__ = f"{what}. Raises `SpecError` naming each wrong entry."
    return read


claims = _reader(Claims, "claims.toml", "The paper's claims and the verdict rule")
published = _reader(Published, "published.toml", "The published reimplementations")
logs = _reader(Logs, "logs.toml", "What the original code's own logs say")
history = _reader(History, "history.toml", "What was planned, seen and changed, in order of time")
