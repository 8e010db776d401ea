"""The first page: what is tested, what came out, what it cost, and how to doubt it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import NothingToDraw
from ..experiments import reimplementations, transfer
from ..experiments.reimplementations import ArmResult
from ..figures import display, forest
from ..figures.tables import counted
from ..paper.claims import Question, Reimplementation, claims, history, logs, published
from ..records.specs import NAMES
from ..records.store import Store
from ..runs.planning import Runs
from ..statistics import board
from ..statistics.effects import Effect
from ..statistics.measures import counted_in
from ..statistics.verdicts import LABELS, relative
from . import answers, facts, glossary
from .assemble import FRONT, SITE_TITLE, from_template
from .convert import Article

SPAN = (-2.0, 4.0)  # margins that a row's drawing reaches from no effect
TRANSFER_PAGE = "09_transfer_learning"
Entry = dict[str, Any]  # what a row of the page shows, under the names of front.html.j2


def article(content: dict[str, Any]) -> Article:
    """The first page as an article."""
    made = from_template(FRONT, "front.html.j2", title=SITE_TITLE, **content)
    glossary.explain(made.soup)
    return made


def content(
    found: Sequence[board.Row],
    runs: Runs,
    sources: Sequence[Path],  # the notebooks that have a page to link to
    reimplementations: Sequence[Entry] | None = None,
    store: Store | None = None,
) -> dict[str, Any]:
    """Everything the first page shows, from the board, the records and the files."""
    records, rule = facts.once(runs), claims().rule
    return {
        "answer": [_minus(sentence) for sentence in answers.sentences(found, runs)],
        "rows": _claims(found, runs, sources),  # in the paper's order, each with its conditions
        "reimplementations": reimplementations or [reimplementation(row, [], sources) for row in published().row],
        "rule": [(label, getattr(rule, label.replace(" ", "_"))) for label in LABELS],
        "exact_rule": rule.exact,
        "published_rule": rule.published,
        "forest": _forest([row for row in found if row.question.primary]),
        "surprises": [(_minus(one.text), one.first_look) for one in answers.surprises(found, runs)],
        "audit": facts.last_audit(records),
        "cost": facts.cost(runs),
        "made": facts.made(records),
        "data": facts.data(records),
        "checklist": facts.checklist(found, runs, store),
        "history": [(f"{event.date:%-d %B %Y, %H:%M}", event.kind, event.what) for event in history().event],
        "transfer": transfer.lines(runs),
        "transfer_href": _href(TRANSFER_PAGE, sources),
    }


# ---- claims ----------------------------------------------------------------------------------------------------------


def _claims(found: Sequence[board.Row], runs: Runs, sources: Sequence[Path]) -> list[Entry]:
    """One row a claim, its other conditions inside."""
    corrected, entries = answers.corrections(found), []
    for row in (row for row in found if row.question.primary):
        others = [other for other in found if other.question.claim == row.question.claim and other is not row]
        inside = [entry_of(other, runs, sources) for other in others]
        mark, words = corrected.get(row.link, ("", ""))
        entry = entry_of(row, runs, sources) | {"mark": mark, "corrected": words, "others": inside}
        look = next((other for other in inside if other["would"] and other["drawing"]), None)
        if row.waits and look:  # pale, and never as the verdict
            shown = {name: look[name] for name in ("ours", "interval", "drawing", "seeds", "pairs")}
            entry |= shown | {"count": f"{look['count']} seen", "look": look}
        entries.append(entry)
    return entries


def entry_of(row: board.Row, runs: Runs, sources: Sequence[Path]) -> Entry:
    """A row of the board as it is shown, under the names that the template has for it."""
    question, effect = row.question, row.told
    estimate, interval, drawn, count, seeds, averaged = board.ours(row), "", None, "", "", 1
    if isinstance(effect, Effect):
        estimate, interval = _ours(effect)
        lost = sum(lost for lost, _ in row.collapses.values())
        averaged = max((len(arm) for pair in board.pairs_of_effect(question, runs) for arm in pair), default=1)
        count = f"{effect.n}" + f" ({lost} ✗)" * bool(lost)
        figure = question.figure
        paper = None if figure is None or figure.value is None else relative(question, effect, figure.value)
        if not math.isnan(effect.estimate):
            drawn = drawing(
                *forest.in_margins(row),
                paper,
                question.comparable is not None,
                forest.seeds_in_margins(row),
                0.0 if question.margin == 0 else 1.0,
            )
            each = [effect.number(value) for value in effect.lowest if math.isfinite(value)]
            seeds = (
                _minus(f"Each {counted_in(question, 1, averaged)}: {', '.join(each)} {question.unit}")
                if len(each) > 1
                else ""
            )
    return {
        "id": row.link,  # unique on the page, usable in an anchor
        "question": question,
        "paper": _paper(question),
        "section": re.sub(r"^(?=\d)", "section ", question.section),  # "section 3.1", or "abstract"
        "ours": estimate,  # "2.1 times"
        "interval": interval,  # "1.8 to 2.4"
        "count": count,  # pairs of runs, and how many runs collapsed: "6 (1 ✗)"
        "pairs": counted_in(question, 2, averaged).capitalize(),
        "drawing": drawn,
        "seeds": seeds,  # "Each pair of runs: 2.0, 2.2 times"
        "look": None,  # the entry of the first look that is shown while the runs that decide are missing
        "verdict": "first look" if question.seen else row.label,
        "would": row.verdict.label * question.seen,  # what the rule would say of a first look
        "reason": "" if row.waits and not row.recorded[0] else _minus(row.verdict.reason),
        "notes": [_minus(note) for note in answers.notes(row, runs)],
        "logs": [_minus(said) for said in logs().sentences(question.claim) if question.primary],
        "href": _href(question.page, sources),
        "command": row.command,
        "mark": "",  # beside a verdict that does not stand after a correction for many claims
    }


def drawing(
    low: float,
    estimate: float,
    high: float,
    paper: float | None,
    comparable: bool,
    seeds: Sequence[float] = (),
    margin: float = 1.0,
) -> dict[str, Any]:
    """An effect, given in margins of its claim, as a line of a row: places from 0 at the left to 100 at the right.

    What lies beyond stands at the edge; `open` says whether the interval goes on to the left, and to the right.
    """
    least, most = SPAN

    def place(value: float) -> float:
        return round(100 * (min(max(value, least), most) - least) / (most - least), 1)

    places = {"null": 0.0, "margin": margin, "low": low, "high": high, "estimate": estimate}
    there = None if paper is None or not least <= paper <= most else place(paper)
    drawn: dict[str, Any] = {name: place(value) for name, value in places.items()}
    drawn["dots"] = [place(value) for value in seeds]
    return drawn | {"paper": there, "comparable": comparable, "open": (low < least, high > most)}


def _paper(question: Question) -> str:
    """The paper's figure in few words, with a star where it was measured on another scale."""
    figure = question.figure
    if figure is None or figure.value is None:
        return "no figure"
    if figure.kind == "exact":
        return f"{figure.value:,.0f}"
    return figure.text.replace("about", "≈").replace("at least", "≥") + "*" * (question.scale == "other")


def _ours(effect: Effect) -> tuple[str, str]:
    """What came out, as ("4.9 times", "3.8 to 6.3")."""
    unit = {"percentage points": "points", "colour selectivity": ""}.get(effect.unit, effect.unit)
    sign = "≥ " if effect.lower_bound else "≤ " if effect.upper_bound else ""
    estimate = "unknown" if math.isnan(effect.estimate) else f"{sign}{effect.number(effect.estimate)} {unit}".strip()
    low = effect.number(effect.low) if effect.low > (0.0 if effect.kind == "ratio" else -math.inf) else ""
    high = effect.number(effect.high) if effect.high < math.inf else ""
    limits = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
    return _minus(estimate), _minus(limits)


def _minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def _href(page: str, sources: Sequence[Path]) -> str:
    """A link to a notebook's page, where the report has it."""
    return f"{page}.html" if any(source.stem == page for source in sources) else ""


def _forest(rows: Sequence[board.Row]) -> dict[str, Any] | None:
    try:
        _, metadata = display.bundle(*forest.forest_plot(rows))
    except NothingToDraw:
        return None
    return metadata["image/png"]


# ---- published reimplementations -------------------------------------------------------------------------------------


def reimplementation_rows(profile: str, store: Store, seeds: int | None, sources: Sequence[Path]) -> list[Entry]:
    """A row a published reimplementation, from a profile's records."""
    found = reimplementations.results(profile, store, seeds)
    return [reimplementation(row, found.get(row.id, []), sources) for row in published().row]


def reimplementation(row: Reimplementation, arms: Sequence[ArmResult], sources: Sequence[Path]) -> Entry:
    """The published figure beside ours: by the clean protocol, and by its own."""
    clean, own = reimplementations.clean(arms), reimplementations.own(row.id, arms)
    verdict, share = reimplementations.verdict(row, arms), reimplementations.extent(arms)
    looked = reimplementations.first_look(arms)
    said = []
    if clean:
        (low, high), runs = clean.interval, counted(len(clean.values), "run")
        said += [share] * (share != "in full")
        said.append(f"{claims().rule.confidence:.0%} interval {low:.2f} to {high:.2f}; {runs}")
    if own:
        said.append(f"{own.mean:.2f}% as {reimplementations.MEASURED_AS[row.id]}")
    return {
        "id": row.id,
        "title": row.title,
        "network": row.network,
        "data": NAMES[row.dataset],
        "published": f"{row.headline.value:g}{'%' if row.headline.unit == 'percent' else ' ' + row.headline.unit}",
        "ours": f"{clean.mean:.2f}%" if clean else "–",
        "sort": clean.mean if clean else None,
        "interval": "; ".join(said),
        "verdict": "first look" if looked else verdict.label,
        "reason": f"{f'It would be called “{verdict.label}”. ' * looked}{verdict.reason}",
        "href": _href(row.page, sources),
        "command": f"make runs CLAIM={row.id} FRESH=1" if arms else "",
    }
