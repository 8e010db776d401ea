"""From an executed notebook to the body of an article (nbconvert with a template of ours)."""

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import latex2mathml.converter
from bs4 import BeautifulSoup, Tag
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from ..errors import ReportError
from . import glossary

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = [  # the first of these that an output has is what the page shows
    "image/png", "image/svg+xml", "image/jpeg", "text/html", "text/markdown", "text/latex", "text/plain",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Article:
    """A page before navigation is put around it."""

    name: str  # of the notebook, and of the page: 03_relu_vs_tanh
    title: str
    soup: BeautifulSoup  # the body, parsed once; who changes it takes a copy
    sections: tuple[tuple[str, str], ...]  # title and anchor of each second-level heading
    together: bool = True  # whether it stands in the file of all pages too


class Renderer(IPythonRenderer):
    """Markdown with its formulas as MathML, which browsers show without a script."""

    def block_math(self, body: str) -> str:
        """A displayed formula."""
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        """A formula in a line of text."""
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        """A LaTeX environment such as `align`, displayed."""
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def mathml(formula: str, display: str) -> str:
    """A LaTeX formula as MathML. Raises ReportError when it cannot be read."""
    try:
        return latex2mathml.converter.convert(formula.strip(), display=display)
    except Exception as error:  # the library raises a class of its own for each kind of mistake
        raise ReportError(f"The formula {formula.strip()!r} cannot be set: {type(error).__name__}.") from error


class Exporter(HTMLExporter):
    """nbconvert's HTML exporter, with our template and formulas."""

    def markdown2html(self, context: Any, source: str) -> str:
        """Markdown to HTML, with the attachments of the cell it stands in."""
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg  # type: ignore[attr-defined]


def exporter() -> Exporter:
    """The exporter of the pages; one can convert any number of notebooks."""
    config = Config({"NbConvertBase": {"display_data_priority": SHOWN}})
    return Exporter(config=config, template_name="notebook", extra_template_basedirs=[str(TEMPLATES)])


def article(name: str, notebook: NotebookNode, folder: Path, out: Path, using: Exporter | None = None) -> Article:
    """Convert an executed notebook that lies in `folder` for a page in `out`; relative links are rewritten."""
    html, _ = (using or exporter()).from_notebook_node(notebook)
    made = finished(name, html)
    rewrite_links(made.soup, folder, out)
    glossary.explain(made.soup)
    return made


def finished(name: str, html: str) -> Article:
    """An article of some HTML: headings get anchors, tables room to scroll; the title is its first top heading."""
    soup = BeautifulSoup(html, "html.parser")
    taken: set[str] = {str(tag["id"]) for tag in soup.find_all(id=True)}
    title, sections = "", []
    for heading in soup.find_all(["h1", "h2", "h3", "h4"]):
        text = heading.get_text(" ", strip=True)
        anchor = str(heading.get("id") or unused(slug(text), taken))
        taken.add(anchor)
        heading["id"] = anchor
        if heading.name == "h1":
            title = title or text
        elif heading.name != "h4":
            link = soup.new_tag("a", href=f"#{anchor}", attrs={"class": "anchor", "aria-label": f"Link to {text}"})
            link.string = "#"
            heading.append(link)
        if heading.name == "h2":
            sections.append((text, anchor))
    for table in soup.find_all("table"):
        _make_scroll(soup, table)
    for formula in soup.find_all("math", display="block"):
        box = {"class": "formula", "tabindex": "0", "role": "group", "aria-label": "Formula"}
        formula.wrap(soup.new_tag("div", attrs=box))
    for block in soup.find_all("pre"):
        block["tabindex"] = "0"  # a wide one scrolls, and must do so from the keyboard
    return Article(name, title or name, soup, tuple(sections))


def _make_scroll(soup: BeautifulSoup, table: Tag) -> None:
    if table.parent is not None and "scroll" in (table.parent.get("class") or ""):
        return
    for attribute in ("border", "style"):
        table.attrs.pop(attribute, None)
    for cell in table.find_all(["th", "td"]):  # Markdown tables align through style attributes
        if "right" in str(cell.attrs.pop("style", "")):
            cell["class"] = "number"
    for cell in table.select("thead th"):
        if cell.get_text(strip=True):
            cell["scope"] = "col"
        else:
            cell.name = "td"  # an empty header cell names nothing
            cell.attrs.pop("scope", None)
    if table.caption:
        label = table.caption.get_text(" ", strip=True)
    else:
        heading = table.find_previous(["h1", "h2", "h3", "h4"])
        label = f"Table: {heading.get_text(' ', strip=True).rstrip('# ')}" if heading else "Table"
    box = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}
    table.wrap(soup.new_tag("div", attrs=box))


def slug(text: str) -> str:
    """A heading as an anchor: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def unused(anchor: str, taken: Iterable[str]) -> str:
    """The anchor, with a number when it is taken."""
    candidate, number = anchor, 2
    while candidate in taken:
        candidate, number = f"{anchor}-{number}", number + 1
    return candidate


def rewrite_links(soup: BeautifulSoup, folder: Path, out: Path) -> None:
    """Point links at other notebooks to their pages, and links at files of the repository to where `out` sees them."""
    for link in soup.find_all("a", href=re.compile(r"^(?![a-z][a-z0-9+.-]*:|#|//)")):
        target, mark, anchor = str(link["href"]).partition("#")
        beside = "/" not in target
        if beside and target.endswith((".ipynb", ".py")):
            target = str(Path(target).with_suffix(".html"))
        elif not (beside and target.endswith(".html")):
            target = os.path.relpath(folder / target, out).replace(os.sep, "/")
        link["href"] = target + mark + anchor
