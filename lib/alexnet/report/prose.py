"""Numbers in prose: no notebook states a result that is not in a record, in the tables of claims, or on its own page.

A notebook's text may name sections, layers, years and sizes freely. What looks like a result (a percentage, a decimal,
a number with thousands, a count of epochs, points or times) must be one of: a number in `claims.toml` or
`published.toml`; a setting of a committed record; a number that a cell of the same notebook prints, which nbval in turn
compares with the records.
"""

import functools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from .. import paths

WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "twenty": 20, "thirty": 30,
}  # fmt: skip
UNITS = (
    r"%|percent\b|per cent\b|(?:percentage )?points?\b|times\b|-?fold\b|x\b|×|epochs?\b|hours?\b|minutes?\b|seconds?\b"
    r"|ms\b|images (?:per|a) second\b|GB\b|GiB\b|MB\b|MiB\b|parameters\b|million\b|thousand\b"
)
NUMBER = re.compile(
    rf"(?P<number>(?<![\w.,])\d+(?:[,\u202f]\d{{3}})*(?:\.\d+)?(?:e[-+]?\d+)?|\b(?:{'|'.join(WORDS)})\b)"
    rf"(?P<space>[\s\u202f-]?)(?P<unit>{UNITS})?",
    re.IGNORECASE,
)
REFERENCE = re.compile(
    r"(?:sections?|figures?|figs?\.|tables?|equations?|eqs?\.|chapters?|appendix|notebooks?|steps?|versions?|python|torch"
    r"|pytorch|layers?|§+)[\s\u00a0]*(?:[\d.]+[\s\u00a0]*(?:,|and|to|-|–)[\s\u00a0]*)*$",
    re.IGNORECASE,
)
NOT_PROSE = [  # code, formulas, links, tags, addresses
    re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE),
    re.compile(r"`[^`]*`"),
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"(?<!\\)\$[^$\n]+\$"),
    re.compile(r"\]\([^)]*\)"),
    re.compile(r"<[^>]+>"),
    re.compile(r"https?://\S+"),
]
SCALES = ((r"%|percent|per cent|points?$", 0.01), (r"million$", 1e6), (r"thousand$", 1e3))


def strays(executed: NotebookNode) -> list[tuple[str, str]]:
    """The result-like numbers of a notebook's text that nothing vouches for, as (where, number with its unit)."""
    vouched = committed_numbers() | printed_numbers(executed)
    return [
        (f"cell {position}", text)
        for position, cell in enumerate(executed.cells, start=1)
        if cell.cell_type == "markdown"
        for text, value in results_in(cell.source)
        if not _vouched(text, value, vouched)
    ]


def results_in(text: str) -> Iterator[tuple[str, float]]:
    """The parts of a Markdown text that look like results, each with its value: ("13 %", 13.0)."""
    for pattern in NOT_PROSE:
        text = pattern.sub(" ", text)
    for match in NUMBER.finditer(text):
        number, unit = match["number"].lower(), match["unit"]
        if REFERENCE.search(text[max(0, match.start() - 40) : match.start()]):
            continue
        if unit or (number not in WORDS and re.search(r"[.,e\u202f]", number)):
            yield match.group().strip(), _value(number)


def _value(number: str) -> float:
    return float(WORDS.get(number) or re.sub(r"[,\u202f]", "", number))


def _vouched(text: str, value: float, vouched: Iterable[float]) -> bool:
    candidates = [value, *(value * scale for unit, scale in SCALES if re.search(unit, text))]
    return any(math.isclose(candidate, known, rel_tol=1e-9) for candidate in candidates for known in vouched)


def numbers_in(text: str) -> set[float]:
    """Every number in a text, whatever it means."""
    numbers = re.findall(r"\d+(?:[,\u202f]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[-+]?\d+)?", text, re.IGNORECASE)
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if word in WORDS]
    return {_value(number) for number in numbers + words}


def output_text(output: NotebookNode) -> str:
    """All that an output says in words: its streams, plain text, HTML and Markdown."""
    parts = [output.get("text", "")]
    parts += [value for key, value in output.get("data", {}).items() if key.startswith("text/")]
    return "\n".join("".join(part) for part in parts)


def printed_numbers(executed: NotebookNode) -> set[float]:
    """The numbers in what a notebook's cells print, alt texts included; pictures and styles are left out."""
    found: set[float] = set()
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            found |= numbers_in(re.sub(r"<[^>]+>", " ", output_text(output)))
            found |= numbers_in(output.get("metadata", {}).get("image/png", {}).get("alt", ""))
    return found


@functools.cache
def committed_numbers(tables: Path = paths.PACKAGE / "paper", runs: Path = paths.RUNS) -> frozenset[float]:
    """The numbers of the tables of claims, and the settings (not the results) of every committed record."""
    found: set[float] = set()
    for name in ("claims.toml", "published.toml"):
        found |= _numbers_of(tomllib.loads((tables / name).read_text(encoding="utf-8")))
    for record in sorted(runs.glob("*.json")):
        found |= _numbers_of(json.loads(record.read_text(encoding="utf-8")).get("spec", {}))
    return frozenset(found)


def _numbers_of(node: object) -> set[float]:
    """All numbers in nested tables and lists, those inside texts too."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return set().union(*map(_numbers_of, node))
    if isinstance(node, str):
        return numbers_in(node)
    return {float(node)} if isinstance(node, int | float) and not isinstance(node, bool) else set()
