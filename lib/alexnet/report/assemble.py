"""Put articles into pages: navigation around each, and all of them once more in a single file."""

import base64
import copy
import functools
import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jinja2
from PIL import Image, UnidentifiedImageError

from ..figures import tables
from .convert import TEMPLATES, Article, finished

SITE_TITLE = "AlexNet, claim by claim"
DESCRIPTION = "The claims of the AlexNet paper put to the test: what was claimed, what came out, and how sure that is."
FRONT = "index"
SINGLE = "report.html"
PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
Link = Mapping[str, Any]  # a page as the navigation names it: name, href, title, and (title, href) of its sections


@functools.cache
def environment() -> jinja2.Environment:
    """The templates of the pages, and the styles and scripts they include; HTML is escaped unless marked safe."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(default=True, default_for_string=True, enabled_extensions=("j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["whole"] = tables.whole
    return made


def from_template(name: str, template: str, **values: Any) -> Article:
    """A page that is no notebook as an article."""
    return finished(name, environment().get_template(template).render(values))


def pages(articles: Sequence[Article], profile: str) -> dict[str, str]:
    """File name to HTML for every article, in reading order, and for the single file that holds them all."""
    links = [_link(article, f"{article.name}.html") for article in articles]
    made = {}
    for article, link, previous, following in zip(articles, links, [None, *links], [*links[1:], None], strict=False):
        kind = "front" if article.name == FRONT else "notebook"
        around = {"previous": previous, "next": following}
        made[link["href"]] = _layout(article.name, article.title, str(article.soup), kind, profile, links, **around)
    together = [article for article in articles if article.together]
    return made | {SINGLE: single(together, profile)}


def _link(article: Article, href: str, prefix: str = "") -> Link:
    sections = [(title, f"#{prefix}{anchor}") for title, anchor in article.sections]
    title = "Verdicts" if article.name == FRONT else article.title
    return {"name": article.name, "href": href, "title": title, "sections": sections}


def _layout(name: str, title: str, body: str, kind: str, profile: str, links: Sequence[Link], **around: Any) -> str:
    home = f"#{FRONT}" if kind == "single" else f"{FRONT}.html"
    site = {"site_title": SITE_TITLE, "description": DESCRIPTION, "profile": profile, "home": home, "pages": links}
    values = {"previous": None, "next": None} | around | site
    page = environment().get_template("layout.html.j2").render(values, name=name, title=title, body=body, kind=kind)
    # What is written everywhere is what makes the pages' runs, of whatever profile they are.
    return page if profile == "cpu" else re.sub(r"\bmake runs\b(?! PROFILE)", f"make runs PROFILE={profile}", page)


def single(articles: Sequence[Article], profile: str) -> str:
    """All articles in one file: anchors get the page's name in front, and links between pages become anchors."""
    names = {article.name for article in articles}
    body = "\n".join(f'<article id="{a.name}">{_within_one(a, names)}</article>' for a in articles)
    links = [_link(article, f"#{article.name}", f"{article.name}--") for article in articles]
    page = _layout(FRONT, SITE_TITLE, body, "single", profile, links)
    with ThreadPoolExecutor() as pool:  # Pillow encodes outside Python's lock
        smaller = pool.map(_smaller, PNG.finditer(page))
    return PNG.sub(lambda _: next(smaller), page)


def _smaller(found: re.Match[str]) -> str:
    """A PNG image as lossless WebP, the same pixels in three fifths of the room: one file holds all pages."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
            pixels = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except UnidentifiedImageError:  # the check of pages names what is wrong with it
        return found[0]
    content = io.BytesIO()
    pixels.save(content, "WEBP", lossless=True, method=1, quality=10)  # of its effort: a tenth larger, in half the time
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _within_one(article: Article, names: set[str]) -> str:
    soup = copy.copy(article.soup)
    for tag in soup.find_all(id=True):
        tag["id"] = f"{article.name}--{tag['id']}"
    for link in soup.find_all("a", href=True):
        href = str(link["href"])
        if href.startswith("#"):
            link["href"] = f"#{article.name}--{href[1:]}"
        elif (match := re.fullmatch(r"([\w-]+)\.html(?:#(.+))?", href)) and match[1] in names:
            link["href"] = f"#{match[1]}--{match[2]}" if match[2] else f"#{match[1]}"
    return str(soup)
