"""The verdicts in README.md: written between two marks from the committed records, never by hand."""

import contextlib
import io
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import paths
from ..errors import NothingToDraw, ReportError
from ..experiments import profiles, reimplementations, transfer
from ..experiments.reimplementations import Found
from ..figures import base, forest
from ..figures.display import describe
from ..networks.anatomy import exact_counts
from ..records.files import write_atomically
from ..records.store import Store
from ..runs.planning import Runs
from ..statistics import board
from ..statistics.board import Row
from . import answers

BEGIN, END = "<!-- board:begin -->", "<!-- board:end -->"
PROFILE = "cpu"  # the profile whose records are committed
README = paths.ROOT / "README.md"
FOREST = Path("reports") / "forest.svg"  # relative to the README


@dataclass(frozen=True)
class Content:
    """What the README tells of, as far as there are records."""

    rows: Sequence[Row]  # the verdict board
    reimplementations: Found = field(default_factory=dict)
    transfer: Runs = ()


def committed() -> Content:
    """What the committed records say."""
    store = Store(paths.runs_folder(PROFILE))
    runs = profiles.records(PROFILE, store)
    found = reimplementations.results(PROFILE, store)
    return Content(board.rows(runs, exact_counts()), found, runs)


def block(content: Content) -> tuple[str, bytes | None]:
    """The Markdown between the marks, and the forest plot as SVG (None when there is no effect to draw)."""
    primary = [row for row in content.rows if row.question.primary]  # what decides; the report has the other conditions
    parts, picture = [], None
    if primary:
        parts.append(" ".join(answers.sentences(content.rows, content.transfer)))
    with contextlib.suppress(NothingToDraw):
        picture, alt, digest = _forest(primary)
        parts += [f"![{_cell(alt)}]({FOREST.as_posix()})", f"<!-- forest: {digest} -->"]
    if primary:
        parts.append(_table(primary))
    over = "intervals of one run are over test images, of several over seeds"
    parts.append(f"Published reimplementations, and the same networks here ({over}):")
    parts.append(_reimplementations(content.reimplementations))
    if accuracies := transfer.lines(content.transfer):
        what = "test accuracy by number of labelled images"
        parts.append(f"Layers trained on ImageNet, used on CIFAR-10: {what} ({over}).")
        parts.append(_markdown(*accuracies))
    return "\n\n".join(parts), picture


def _table(rows: Sequence[Row]) -> str:
    """A line a claim, and below it what the marks beside the verdicts mean."""
    marks = {link: mark for link, (mark, _) in answers.corrections(rows).items()}
    lines = [["claim", "section", "the paper", "ours, with 95% interval", "verdict"]]
    for row in rows:
        verdict, question = f"**{row.label}**{marks.get(row.link, '')}", row.question
        lines.append([question.title, question.section, board.paper(question), board.with_unit(row), verdict])
    corrections = {"†": "the correction of Benjamini and Hochberg", "‡": "Bonferroni's stricter one"}
    below = [f"{mark} does not stand after {words}." for mark, words in corrections.items() if mark in marks.values()]
    return "\n\n".join([_markdown(*lines), *below])


def _reimplementations(others: Found) -> str:
    shown = ["reimplementation", "published", "measured on", "ours, clean", "best recipe", "run", "verdict"]
    table = reimplementations.overview(others).fillna("–")[shown]
    lines = [
        [row, f"{figure} ({where})", ours, best, run, f"**{verdict}**"]
        for row, figure, where, ours, best, run, verdict in table.itertuples(index=False)
    ]
    head = ["reimplementation", "published", "ours, on the test set", "best recipe", "run", "verdict"]
    return _markdown(head, *lines)


def _markdown(head: Sequence[str], *cells: Sequence[str]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in (head, ["---"] * len(head), *cells))


def _cell(text: str) -> str:
    """Text that cannot break a table or an image's brackets."""
    return re.sub(r"([|\[\]])", r"\\\1", text)


def _forest(rows: Sequence[Row]) -> tuple[bytes, str, str]:
    """The forest plot as SVG, its alt text, and a digest of what it draws, which the SVG holds as well."""
    figure, alt = forest.forest_plot(rows)
    alt = alt.partition(". ")[0] + "."  # the table below has the numbers
    digest = describe(figure)
    content = io.BytesIO()
    with base.themed():
        figure.savefig(content, format="svg", facecolor="white", metadata={"Date": None, "Description": digest})
    return content.getvalue(), alt, digest


def replaced(text: str, inside: str) -> str:
    """The README with new text between its marks. Raises `ReportError` when the marks are not there once each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReportError(f"The README needs one line {BEGIN} and after it one line {END}; put them back.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{inside}\n{END}{rest.split(END)[1]}"


def update(readme: Path = README, content: Content | None = None, check: bool = False) -> bool:
    """Write the verdicts into the README and the forest plot beside the report; say whether anything was out of step.

    Without content, that of the committed records. With `check` nothing is written. Raises `ReportError` when the
    README cannot be read or has lost its marks.
    """
    try:
        old = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{readme} cannot be read: {error}. Restore it with `git checkout README.md`.") from error
    inside, picture = block(content or committed())
    new = replaced(old, inside)
    forest = readme.parent / FOREST
    stale = new != old or (picture is not None and not _draws_the_same(forest, inside))
    if stale and not check:
        if picture is not None:
            write_atomically(forest, picture)
        write_atomically(readme, new.encode())
    return stale


def _draws_the_same(forest: Path, inside: str) -> bool:
    """Whether the SVG holds the digest that the README names; its bytes may differ between versions of matplotlib."""
    digest = re.search(r"<!-- forest: (.*) -->", inside)
    return digest is not None and forest.exists() and digest[1] in forest.read_text(encoding="utf-8")


def run(arguments: Namespace) -> int:
    """`python -m alexnet readme`: bring the board in step with the committed records, or check that it is."""
    stale = update(check=arguments.check)
    if arguments.check and stale:
        print("README.md is out of step with the records; `python -m alexnet readme` writes its board anew.")
        return 1
    print("README.md: " + ("board written." if stale else "in step with the records."))
    return 0
