"""The first page: what is tested, what came out, what it cost, and how to doubt it."""

import dataclasses
from collections.abc import Sequence

from .assemble import SITE_TITLE, environment, front
from .convert import Article

Facts = Sequence[tuple[str, str]]


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

    rows: Sequence[Row]  # tested claims, in the paper's order
    untested: Sequence[Row]
    reimplementations: Sequence[Row]
    tally: Sequence[tuple[str, int]]  # verdict to number of claims, in the order of the rule
    rule: Facts  # verdict to its condition in words
    forest: Picture | None
    surprises: Sequence[str]
    audit: Facts
    cost: Facts
    made: Facts
    data: Sequence[tuple[str, str, Facts]]  # data set, where it came from, digests
    checklist: Facts
    transfer: Sequence[Sequence[str]] = ()  # accuracy by labelled images: the head, then a line a number of images
    transfer_href: str = ""


def article(content: Front) -> Article:
    """The first page as an article."""
    values = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    html = environment().get_template("front.html.j2").render(title=SITE_TITLE, **values)
    return front(SITE_TITLE, html)
