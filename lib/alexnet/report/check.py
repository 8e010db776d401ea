"""What every page must be: complete in itself, linked without gaps, and readable without seeing its pictures."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup

NO_DESCRIPTION = "No description has been provided for this image"  # what nbconvert writes where alt text is missing


def faults(pages: Mapping[str, str], out: Path) -> list[str]:
    """Everything wrong with a set of pages (file name to HTML) that will lie in `out`, one sentence each."""
    soups = {name: BeautifulSoup(html, "html.parser") for name, html in pages.items()}
    anchors = {name: [str(tag["id"]) for tag in soup.find_all(id=True)] for name, soup in soups.items()}
    found: list[str] = []
    for name, soup in soups.items():
        found += [f"{name}: {fault}" for fault in _own_faults(soup, anchors[name])]
        for link in soup.find_all("a", href=True):
            fault = _link_fault(str(link["href"]), name, anchors, out)
            if fault:
                found.append(f"{name}: {fault}")
    return found


def _own_faults(soup: BeautifulSoup, anchors: list[str]) -> list[str]:
    found = []
    for element in soup.select("[src], object[data], link[href]"):  # all that fetches something
        value = str(element.get("src") or element.get("data") or element.get("href") or "data:")
        if not value.startswith("data:"):
            found.append(f"<{element.name}> loads {value[:80]}")
    for style in soup.find_all("style"):
        if re.search(r"@import|url\((?!['\"]?data:)", style.get_text()):
            found.append("a style sheet loads something")
    for image in soup.find_all("img"):
        if str(image.get("alt", "")).strip() in ("", NO_DESCRIPTION):
            found.append("a picture has no alt text; show figures with figures.show(figure, alt)")
    twice = sorted({anchor for anchor in anchors if anchors.count(anchor) > 1})
    found += [f"the anchor #{anchor} is there twice" for anchor in twice]
    titles = len(soup.find_all("h1"))
    if titles == 0 or (titles > 1 and not soup.select("body.single")):
        found.append(f"{titles} top headings; a notebook has one, `# Title`, in its first cell")
    return found


def _link_fault(href: str, page: str, anchors: Mapping[str, list[str]], out: Path) -> str | None:
    if re.match(r"(https?|mailto|data):", href):
        return None
    target, _, anchor = href.partition("#")
    target = unquote(target) or page
    if target in anchors:
        if anchor and unquote(anchor) not in anchors[target]:
            return f"the link {href} has no such anchor"
        return None
    return None if (out / target).exists() else f"the link {href} leads nowhere"
