"""Show a table or a paragraph in a notebook: clean HTML for the page, plain text for the terminal, always the same."""

import inspect
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import pandas
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ..statistics.verdicts import LABELS

SENTENCE = 50  # characters from which a column's text is long: on a small screen it keeps a readable width
WHOLE = re.compile(r"\[[^\[\]]+, [^\[\]]+\]|\bn = \d+")  # intervals and counts, which a line should not break in two


def show(
    frame: pandas.DataFrame, caption: str = "", formats: Mapping[str, str] | None = None, slide: bool = False
) -> None:
    """Display a data frame as a table.

    `caption` says what the table shows; `formats` maps a column to a format specification, such as
    `{"error": ".1%", "parameters": ",d"}`. Numbers are aligned right, a column named `verdict` gets its colours, and
    an index with a name becomes the first column. Missing values are shown as a dash. With `slide`, a page has a slider
    over its rows, of which the columns are a level, a mean, and the smallest and largest of what it is the mean of.
    """
    from IPython.display import display

    cells = formatted(frame, formats or {})
    table = html(cells, frame, caption)
    table = table.replace("<table", "<table data-slide", 1) if slide else table
    display({"text/html": table, "text/plain": plain(cells, caption)}, raw=True)


def say(text: str) -> None:
    """Display a paragraph of Markdown; nothing where there is nothing to say."""
    from IPython.display import Markdown, display

    if text:
        display(Markdown(text))


def source(*things: Any) -> None:
    """Display the library's own code of some functions or classes, as it runs."""
    say("```python\n" + "\n\n".join(inspect.getsource(thing).rstrip() for thing in things) + "\n```")


def _with_index(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The frame with a named index as its first column."""
    return frame.reset_index() if frame.index.name or frame.index.nlevels > 1 else frame


def formatted(frame: pandas.DataFrame, formats: Mapping[str, str]) -> pandas.DataFrame:
    """The frame with every value as the text that is shown; a named index becomes a column."""
    frame = _with_index(frame)
    columns = {str(name): [_text(value, formats.get(str(name), "")) for value in frame[name]] for name in frame}
    return pandas.DataFrame(columns, dtype=object)


def _text(value: Any, specification: str) -> str:
    if value is None or value is pandas.NA or (isinstance(value, float) and value != value):
        return "–"
    if specification:
        return format(value, specification)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(cells: pandas.DataFrame, caption: str) -> str:
    """The table as aligned text."""
    table = cells.to_string(index=False) if len(cells) else ", ".join(cells.columns) + ": no rows"
    return f"{caption}\n{table}" if caption else table


def html(cells: pandas.DataFrame, frame: pandas.DataFrame, caption: str) -> str:
    """The table as HTML: a caption, column headers, and row headers in the first column."""
    kinds = {}
    for name, values in _with_index(frame).items():
        numeric = is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype)
        long = (cells[str(name)].str.len() > SENTENCE).any()
        kinds[str(name)] = ' class="number"' if numeric else ' class="long"' if long else ""
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in kinds.items())
    first = next(iter(kinds), "")
    rows = []
    for _, row in cells.iterrows():
        parts = []
        for (name, kind), value in zip(kinds.items(), row, strict=True):
            content = verdict_chip(value) if name.lower() == "verdict" else whole(value)
            heads = name == first and "number" not in kind
            parts.append(f'<th scope="row"{kind}>{content}</th>' if heads else f"<td{kind}>{content}</td>")
        rows.append(f"<tr>{''.join(parts)}</tr>")
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    body = "\n".join(rows)
    return f'<table class="data">\n{title}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def whole(text: str) -> str:
    """The text as HTML, escaped, whose intervals and counts a line does not break in two."""
    return WHOLE.sub(r'<span class="whole">\g<0></span>', escape(text))


def verdict_chip(verdict: str) -> str:
    """A verdict as a coloured label; the word carries the meaning, the colour only repeats it."""
    kind = verdict.lower().replace(" ", "-") if verdict.lower() in LABELS else "other"
    return f'<span class="verdict verdict-{kind}">{escape(verdict)}</span>'


def listed(parts: Iterable[str]) -> str:
    """ "a, b and c"; nothing for no parts."""
    *before, last = [*parts] or [""]
    return f"{', '.join(before)} and {last}" if before else last


def by_label(things: Iterable[tuple[str, str]]) -> str:
    """Things, given with their labels, as Markdown: "**Reproduced:** A; B. **Inconclusive:** C."."""
    found: dict[str, list[str]] = {}
    for thing, label in things:
        found.setdefault(label, []).append(thing)
    return " ".join(f"**{label[0].upper()}{label[1:]}:** {'; '.join(of)}." for label, of in found.items())


def counted(number: int, what: str) -> str:
    """A number with its noun: "1 run", "1,200 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
