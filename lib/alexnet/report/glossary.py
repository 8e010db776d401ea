"""Words of the field, explained where they first stand on a page."""

import functools
import re
import tomllib
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString

PROSE = "p, li, dd"
LEFT_ALONE = ["a", "abbr", "button", "code", "details", "figcaption", "math", "pre", "summary", "table"]


@functools.cache
def terms() -> dict[str, tuple[re.Pattern[str], str]]:
    """Each entry's forms to the pattern that finds them, the longest form first, and what they mean."""
    table = tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))
    return {forms: (re.compile(rf"\b(?:{forms})\b"), meaning) for forms, meaning in table.items()}


def explain(soup: BeautifulSoup) -> None:
    """Mark the first place of each term in the prose of a page; links, code and what is folded stay as they are."""
    waiting = dict(terms())
    for block in soup.select(PROSE):
        for text in block.find_all(string=True):
            if text.find_parent(LEFT_ALONE) is None:
                _mark(soup, text, waiting)


def _mark(soup: BeautifulSoup, text: NavigableString, waiting: dict[str, tuple[re.Pattern[str], str]]) -> None:
    found = [(match, forms) for forms, (pattern, _) in waiting.items() if (match := pattern.search(text))]
    if not found:
        return
    match, forms = min(found, key=lambda one: one[0].start())
    _, meaning = waiting.pop(forms)
    term = soup.new_tag("abbr", attrs={"class": "term", "title": meaning, "tabindex": "0"})
    term.string = match[0]
    before, after = str(text)[: match.start()], str(text)[match.end() :]
    rest = NavigableString(after)
    text.replace_with(NavigableString(before), term, rest)
    _mark(soup, rest, waiting)
