"""The first page: what is tested, what came out, what it cost, and how to doubt it."""

import dataclasses
from collections.abc import Sequence

from .assemble import SITE_TITLE, environment, front
from .convert import Article

Facts = Sequence[tuple[str, str]]
SPAN = (-2.0, 4.0)  # margins that a row's drawing reaches from no effect


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the verdict board, as text ready to show."""

    id: str  # unique on the page, usable in an anchor
    title: str
    section: str
    paper: str  # the paper's figure: "6 times"
    ours: str  # the estimate: "2.1 times"
    interval: str  # "95% interval 1.8 to 2.4, 5 pairs of seeds"
    verdict: str
    reason: str  # why this verdict, in a sentence
    condition: str = ""
    href: str = ""  # the page that tells the story
    command: str = ""  # what reproduces the row
    sort: float | None = None  # the estimate as a number
    statement: str = ""  # the claim in full
    run: str = ""  # what is run in place of the paper's experiment
    count: str = ""  # pairs of runs, and how many runs collapsed: "6 (1 ✗)"
    mark: str = ""  # beside a verdict that does not stand after a correction for many claims
    would: str = ""  # what the rule would say of a first look
    corrected: str = ""  # what is left of it, in a sentence
    notes: Sequence[str] = ()  # what else there is to say, in sentences
    drawing: "Drawing | None" = None
    others: Sequence["Row"] = ()  # the claim under its other conditions


@dataclasses.dataclass(frozen=True)
class Drawing:
    """An effect as a line of a row: places from 0 at the left to 100 at the right."""

    null: float
    margin: float
    low: float
    high: float
    estimate: float
    paper: float | None  # the paper's figure
    comparable: bool  # whether that was measured on the same scale
    open: tuple[bool, bool]  # whether the interval goes on to the left, and to the right

    @classmethod
    def of(cls, low: float, estimate: float, high: float, paper: float | None, comparable: bool) -> "Drawing":
        """Values in margins of the claim; what lies beyond the drawing stands at its edge."""
        least, most = SPAN

        def place(value: float) -> float:
            return round(100 * (min(max(value, least), most) - least) / (most - least), 1)

        there = None if paper is None or not least <= paper <= most else place(paper)
        cut = (low < least, high > most)
        return cls(place(0), place(1), place(low), place(high), place(estimate), there, comparable, cut)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure ready to embed."""

    png: str  # base64
    width: int  # pixels of the page
    height: int
    alt: str


@dataclasses.dataclass(frozen=True)
class Front:
    """All that the first page shows."""

    answer: Sequence[str]  # in five sentences
    rows: Sequence[Row]  # the claims, in the paper's order, each with its conditions
    reimplementations: Sequence[Row]
    rule: Facts  # verdict to its condition in words
    forest: Picture | None
    surprises: Sequence[tuple[str, bool]]  # and whether it rests on a first look
    audit: Facts
    cost: Facts
    made: Facts
    data: Sequence[tuple[str, str, Facts]]  # data set, where it came from, digests
    checklist: Facts
    history: Sequence[tuple[str, str, str]]  # date, "planned", "seen" or "changed", and what
    transfer: Sequence[Sequence[str]] = ()  # accuracy by labelled images: the head, then a line a number of images
    transfer_href: str = ""


def article(content: Front) -> Article:
    """The first page as an article."""
    values = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    html = environment().get_template("front.html.j2").render(title=SITE_TITLE, **values)
    return front(SITE_TITLE, html)
