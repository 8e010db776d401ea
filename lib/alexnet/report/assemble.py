"""Put articles into pages: navigation around each, and all of them once more in a single file."""

import base64
import dataclasses
import functools
import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jinja2
from bs4 import BeautifulSoup
from PIL import Image, UnidentifiedImageError

from ..figures import tables
from .convert import TEMPLATES, Article, finish

SITE_TITLE = "AlexNet, claim by claim"
DESCRIPTION = "The claims of the AlexNet paper put to the test: what was claimed, what came out, and how sure that is."
FRONT = "index"
SINGLE = "report.html"
PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


@dataclasses.dataclass(frozen=True)
class Link:
    """A section as the table of contents names it."""

    title: str
    href: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """A page as the navigation names it."""

    name: str
    href: str
    short_title: str
    sections: tuple[Link, ...]


@functools.cache
def environment() -> jinja2.Environment:
    """The templates of the pages; HTML is escaped unless marked safe."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(default=True, default_for_string=True, enabled_extensions=("j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["whole"] = lambda text: jinja2.filters.Markup(tables.whole(text))
    return made


@functools.cache
def asset(name: str) -> str:
    """A style sheet or script of ours, to stand inside the page."""
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def pages(articles: Sequence[Article], profile: str) -> dict[str, str]:
    """File name to HTML for every article, in reading order, and for the single file that holds them all."""
    entries = [_entry(article, f"{article.name}.html", "") for article in articles]
    made = {}
    for place, article in enumerate(articles):
        made[f"{article.name}.html"] = _layout(
            article,
            profile,
            entries,
            previous=entries[place - 1] if place else None,
            next=entries[place + 1] if place + 1 < len(entries) else None,
        )
    made[SINGLE] = single(articles, profile)
    return made


def _entry(article: Article, href: str, prefix: str) -> Entry:
    sections = tuple(Link(section.title, f"#{prefix}{section.anchor}") for section in article.sections)
    return Entry(article.name, href, "Verdicts" if article.name == FRONT else article.title, sections)


def _layout(
    article: Article,
    profile: str,
    entries: Sequence[Entry],
    previous: Entry | None = None,
    next: Entry | None = None,
    single: bool = False,
) -> str:
    kind = "single" if single else "front" if article.name == FRONT else "notebook"
    return (
        environment()
        .get_template("layout.html.j2")
        .render(
            page={"name": article.name, "title": article.title, "kind": kind},
            pages=entries,
            previous=previous,
            next=next,
            single=single,
            home=f"#{FRONT}" if single else f"{FRONT}.html",
            profile=profile,
            site_title=SITE_TITLE,
            description=DESCRIPTION,
            body=jinja2.filters.Markup(article.body),
            style=jinja2.filters.Markup(asset("style.css")),
            early_script=jinja2.filters.Markup(asset("early.js")),
            script=jinja2.filters.Markup(asset("page.js")),
        )
    )


def single(articles: Sequence[Article], profile: str) -> str:
    """All articles in one file: anchors get the page's name in front, and links between pages become anchors."""
    names = {article.name for article in articles}
    bodies = [f'<article id="{a.name}">{_within_one(a, names)}</article>' for a in articles]
    whole = Article(FRONT, SITE_TITLE, "\n".join(bodies), ())
    entries = [_entry(article, f"#{article.name}", f"{article.name}--") for article in articles]
    page = _layout(whole, profile, entries, single=True)
    with ThreadPoolExecutor() as pool:  # Pillow encodes outside Python's lock
        smaller = pool.map(_smaller, PNG.finditer(page))
    return PNG.sub(lambda _: next(smaller), page)


def _smaller(found: re.Match[str]) -> str:
    """A PNG image as lossless WebP, pixel for pixel the same and two thirds of the size: one file holds them all."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
            pixels = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except UnidentifiedImageError:  # the check of pages names what is wrong with it
        return found[0]
    content = io.BytesIO()
    pixels.save(content, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _within_one(article: Article, names: set[str]) -> str:
    soup = BeautifulSoup(article.body, "html.parser")
    for tag in soup.find_all(id=True):
        tag["id"] = f"{article.name}--{tag['id']}"
    for link in soup.find_all("a", href=True):
        href = str(link["href"])
        if href.startswith("#"):
            link["href"] = f"#{article.name}--{href[1:]}"
        elif (match := re.fullmatch(r"([\w-]+)\.html(?:#(.+))?", href)) and match[1] in names:
            link["href"] = f"#{match[1]}--{match[2]}" if match[2] else f"#{match[1]}"
    return str(soup)


def front(title: str, body: str) -> Article:
    """The first page as an article; `body` is HTML from a template."""
    soup = BeautifulSoup(body, "html.parser")
    _, sections = finish(soup)
    return Article(FRONT, title, str(soup), sections)
