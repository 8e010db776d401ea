"""The pages in a real browser, at a desk and on a phone, light and dark: complete, quiet, usable, readable."""

import base64
import io
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabricate
import numpy as np
import pytest
import stub_notebooks
from PIL import Image

from alexnet import paths
from alexnet.networks import anatomy
from alexnet.paper.claims import published
from alexnet.report import assemble, check, convert, front, notebooks
from alexnet.statistics import board

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-dev-shm-usage"]
QUIET += ["--disable-gpu", "--disable-software-rasterizer"]  # a GPU emulated on two busy cores took minutes a page
PATIENCE = 120_000  # milliseconds; for busy machines, nothing here waits that long by itself
COMMITTED = sorted(path.name for path in paths.REPORTS.glob("*.html"))

BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"),
]
pytestmark = BROWSER


def in_a_browser(test):
    """A single test of another file that drives Chromium."""
    for mark in BROWSER:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A smoke report of two stub notebooks with every kind of row on its first page."""
    folder = tmp_path_factory.mktemp("site")
    sources = stub_notebooks.write_both(folder)
    out = folder / "pages"
    out.mkdir()
    runs = fabricate.speed_runs([70, 70, 70], [7.0, 7.5, 8.0])
    runs += fabricate.speed_runs([12.0, 12.5, 13.0], [7.0, 7.5, 7.9], "modern", rate=0.02)
    others = [front.reimplementation(row, [], sources) for row in published().row]
    verdicts = ("reproduced", "contradicted", "inconclusive", "weaker than claimed", "reproduced")
    others = [
        row | {"ours": f"{80 - place}.00%", "sort": 80.0 - place, "verdict": verdict}
        for place, (row, verdict) in enumerate(zip(others, verdicts, strict=True))
    ]
    rows = board.rows(runs, anatomy.exact_counts())
    articles = [front.article(front.content(rows, runs, sources, others))]
    for executed in notebooks.execute_all(sources):
        articles.append(convert.article(executed.source.stem, executed.notebook, executed.source.parent, out))
    pages = assemble.pages(articles, "smoke")
    assert check.faults(pages, out) == []
    for name, html in pages.items():
        (out / name).write_text(html, encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=PATIENCE)
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and what it said and asked for since."""

    def __init__(self, context: Any):
        context.set_default_timeout(PATIENCE)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri(), wait_until="load")
        return self.page


def view(width: int = 1280, scheme: str = "light") -> dict[str, Any]:
    """Settings of the browser at a width and in a colour scheme: by default a desk in the light."""
    size = {"width": width, "height": 900 if width > 600 else 780}
    return {"viewport": size, "color_scheme": scheme, "reduced_motion": "reduce"}


@pytest.fixture
def visit(browser, request) -> Iterator[Visit]:
    """A visit with the settings that the test names, by default at a desk in the light."""
    context = browser.new_context(**getattr(request, "param", view()))
    yield Visit(context)
    context.close()


def visits(**settings: dict[str, Any]) -> Any:
    """A test that visits with each of these settings."""
    return pytest.mark.parametrize("visit", list(settings.values()), ids=list(settings), indirect=True)


EVERY_VIEW = visits(**{f"{w}-{scheme}": view(w, scheme) for w in (1280, 360) for scheme in ("light", "dark")})
DESK_AND_PHONE, PHONE = visits(desk=view(), phone=view(360, "dark")), visits(phone=view(360))
WITHOUT_SCRIPTS, DARK = visits(plain={"java_script_enabled": False}), visits(dark={"color_scheme": "dark"})


def sound(visit: Visit, path: Path) -> None:
    """Assert what holds of every page, in every view."""
    page = visit.open(path)
    assert visit.complaints == [], "the console is quiet"
    assert [url for url in visit.requests if not url.startswith(("file:", "data:"))] == [], "nothing is fetched"
    assert [url for url in visit.requests if url.startswith("file:")] == [path.as_uri()], "one file is all it needs"
    pictures = "Array.from(document.images, i => [i.naturalWidth > 0, i.alt.trim().length > 20])"
    page.evaluate("Promise.all(Array.from(document.images, i => i.decode()))")
    assert all(loaded and described for loaded, described in page.evaluate(pictures))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "no sideways scrolling"
    wide = """Array.from(document.querySelectorAll('main *')).filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && box.right > window.innerWidth + 1 && !e.closest('.scroll, pre, math, .enlarged-figure');
    }).map(e => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []
    dangling = """Array.from(document.querySelectorAll('a[href^="#"]')).map(a => a.getAttribute('href'))
        .filter(href => !document.getElementById(decodeURIComponent(href.slice(1))))"""
    assert page.evaluate(dangling) == []


def accessible(page: Any, contrast: bool = True) -> None:
    """Assert that axe finds nothing against WCAG 2 A and AA."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    options = {"runOnly": rules, "rules": {"color-contrast": {"enabled": contrast}}, "resultTypes": ["violations"]}
    found = axe.run(page, options=options)
    assert found.response["violations"] == [], found.generate_report()


@EVERY_VIEW
@pytest.mark.parametrize("name", ["index.html", "01_figures.html", "02_tables.html", "report.html"])
def test_page_is_sound_and_accessible_in_every_view(site, visit, name, counts):
    sound(visit, site / name)
    if visit.page.locator("#fold").is_visible():
        visit.page.locator("#fold").click()  # code has colours too
    for more in visit.page.locator("details.more > summary, details.claim > summary").all():
        more.click()
    accessible(visit.page)
    counts["page views checked in a browser"] += 1


@DESK_AND_PHONE
@pytest.mark.parametrize("name", COMMITTED)
def test_committed_page_is_sound_and_accessible(visit, name, counts):
    sound(visit, paths.REPORTS / name)
    # The single file has the articles of all pages: their ten thousand colours once more take longer than the rest.
    accessible(visit.page, contrast=name != assemble.SINGLE)
    counts["page views checked in a browser"] += 1


def column(page: Any, table: str, place: int) -> list[str]:
    return page.evaluate(
        "([table, place]) => Array.from(document.querySelector(table).tBodies[0].rows, r => r.cells[place].innerText)",
        [table, place],
    )


def test_tables_sort_both_ways_with_unknown_values_last(site, visit):
    page = visit.open(site / "02_tables.html")
    header = page.locator("table.data thead th", has_text="epochs")
    header.get_by_role("button").click()
    assert column(page, "table.data", 1) == ["3.5", "7.2", "12.5", "100.0", "–"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    assert column(page, "table.data", 1) == ["100.0", "12.5", "7.2", "3.5", "–"]
    assert header.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="parameters").click()
    assert column(page, "table.data", 2)[0] == "5" and header.get_attribute("aria-sort") is None
    page.get_by_role("button", name="claim").click()
    assert column(page, "table.data", 0)[:2] == ["depth", "dropout"]


def test_board_sorts_by_the_estimate_and_by_the_verdict(site, visit):
    page = visit.open(site / "index.html")
    page.locator(".board").first.get_by_role("button", name="Here").click()
    shown = "Array.from(document.querySelector('.board').querySelectorAll('td.ours'), cell => +cell.dataset.sort)"
    numbers = page.evaluate(shown)
    assert numbers == sorted(numbers) and len(numbers) > 3
    page.locator(".board").first.get_by_role("button", name="Verdict").click()
    verdicts = [text.split("\n")[0] for text in column(page, ".board", 4)]
    assert verdicts == sorted(verdicts)


MET = """Array.from(document.querySelectorAll('.claims summary.line')).filter(line => {
    const boxes = Array.from(line.children, e => e.getBoundingClientRect()).filter(box => box.width);
    return boxes.some((one, place) => boxes.slice(place + 1).some(other => one.right > other.left + 1));
}).length"""  # rows of which two cells overlap


def test_the_verdicts_end_within_two_screens_and_no_row_is_cut(tmp_path, visit):
    """The page as it is when every claim has its verdict, at a desk of 1280 by 800."""
    rows = fabricate.full_board()
    content = front.content(rows, [], [])
    page_file = tmp_path / "index.html"
    page_file.write_text(assemble.pages([front.article(content)], "cpu")["index.html"], encoding="utf-8")
    page = visit.open(page_file)
    end = page.evaluate("document.querySelector('.claims').getBoundingClientRect().bottom + window.scrollY")
    assert end <= 2 * 800
    assert page.locator(".claims > ul > li").count() == 23
    cut = """Array.from(document.querySelectorAll('.claims summary.line > *')).filter(e => e.tagName != 'svg' &&
        e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""
    assert page.evaluate(cut) == []
    assert page.evaluate(MET) == 0, "the cells of a row do not overlap"


@WITHOUT_SCRIPTS
def test_a_row_opens_to_its_conditions_and_its_command_without_scripts(site, visit):
    page = visit.open(site / "index.html")
    row = page.locator("#row-relu-speed-arrived")
    command, condition = row.locator("code.command"), row.locator("#row-relu-speed-modern")
    assert not command.is_visible() and not condition.is_visible()
    row.locator("summary").click()
    assert command.is_visible() and condition.is_visible()
    assert command.inner_text() == "make runs PROFILE=smoke CLAIM=relu-speed FRESH=1", "the profile of this report"


def test_paper_shows_the_conditions_that_are_folded_on_a_screen(site, visit):
    page = visit.open(site / "index.html")
    page.emulate_media(media="print")
    assert page.locator("#row-relu-speed-modern").bounding_box()["height"] > 10


@visits(sheet=view(680))
def test_a_sheet_of_paper_has_rows_and_not_a_phone_s_cards(visit):
    """As wide as A4 between its margins: rows in columns, tables to the end, and nothing that only a hand can move."""
    page = visit.open(paths.REPORTS / "index.html")
    page.emulate_media(media="print")
    assert page.locator(".names").is_visible() and page.locator(".board thead th").first.is_visible()
    assert page.evaluate(MET) == 0
    for name in ("05_dropout.html", "11_results.html"):
        visit.open(paths.REPORTS / name)
        assert not any(one.is_visible() for one in page.locator(".slide, .dial, .save").all())
        assert page.evaluate("document.documentElement.scrollWidth <= 1.05 * window.innerWidth"), "hardly shrunk"


@PHONE
def test_what_is_wider_than_the_phone_has_a_shade_and_scrolls(site, visit):
    page = visit.open(site / "02_tables.html")
    box = page.locator(".scroll").first
    assert "local" in box.evaluate("e => getComputedStyle(e).backgroundAttachment")
    assert box.evaluate("e => getComputedStyle(e).backgroundImage").count("linear-gradient") == 4


def test_one_switch_folds_all_code_and_is_remembered(site, visit):
    page = visit.open(site / "01_figures.html")
    shown = "Array.from(document.querySelectorAll('details.code'), d => d.open)"
    switch = page.locator("#fold")
    assert page.evaluate(shown) == [False] * 3 and switch.inner_text() == "Show all code"
    switch.click()
    assert page.evaluate(shown) == [True] * 3 and switch.get_attribute("aria-pressed") == "true"
    page.get_by_role("link", name="Next").or_(page.locator("a[rel=next]")).first.click()
    page.wait_for_url("**/02_tables.html")
    assert all(page.evaluate(shown)), "the next page remembers"
    page.locator("#fold").click()
    assert not any(page.evaluate(shown))
    page.locator("details.code summary").first.click()
    assert page.evaluate(shown)[0], "one block opens by itself"


def test_theme_goes_round_and_is_remembered(site, visit):
    page = visit.open(site / "index.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: light" and page.evaluate(ground) == light
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert page.locator("#theme").inner_text() == "Theme: dark" and dark != light
    accessible(page)
    visit.open(site / "01_figures.html")
    assert page.evaluate(ground) == dark
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: auto" and page.evaluate(ground) == light


@DESK_AND_PHONE
def test_figures_enlarge_by_mouse_and_by_keyboard(site, visit):
    page = visit.open(site / "01_figures.html")
    picture = page.locator("button.enlarge").first
    small = picture.locator("img").bounding_box()["width"]
    picture.click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible() and dialog.locator("img").bounding_box()["width"] > small
    assert dialog.locator("img").get_attribute("alt") == picture.locator("img").get_attribute("alt")
    accessible(page)
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    picture.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    assert visit.complaints == []


def test_a_drawing_is_downloaded_as_the_vector_file_that_the_page_shows(site, visit):
    page = visit.open(site / "01_figures.html")
    link = page.locator("main figure .save")
    assert link.count() == 1 and link.inner_text() == "SVG", "pictures have none"
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "01_figures-1.svg"
    drawing = ElementTree.parse(download.value.path()).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    written = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"epoch", "training error", "ReLU", "How fast does each activation learn?"} <= written
    assert visit.complaints == [] and page.url.endswith("01_figures.html")


@DARK
def test_photographs_keep_their_colours_in_the_dark(site, visit):
    page = visit.open(site / "01_figures.html")
    filters = page.evaluate("Array.from(document.querySelectorAll('main figure img'), i => getComputedStyle(i).filter)")
    assert filters[0].startswith("invert") and filters[1] == "none"


def test_navigation_leads_through_all_pages_and_to_sections(site, visit):
    page = visit.open(site / "index.html")
    seen = []
    while page.locator("a[rel=next]").count():
        page.locator("a[rel=next]").click()
        page.wait_for_load_state()
        seen.append(page.url.rsplit("/", 1)[1])
        assert page.locator(".contents [aria-current=page]").count() == 1
    assert seen == ["01_figures.html", "02_tables.html"]
    page.locator(".contents ol ol a", has_text="A table").click()
    assert page.url.endswith("#a-table")
    page.locator("a.brand").click()
    page.wait_for_url("**/index.html")
    visit.open(site / "01_figures.html").locator("main a", has_text="the second page").click()
    page.wait_for_url("**/02_tables.html#a-table")
    assert visit.complaints == []


def test_single_file_holds_every_page_and_its_links_stay_inside(site, visit):
    page = visit.open(site / "report.html")
    assert page.locator("article").count() == 3
    page.locator("main a", has_text="the second page").click()
    assert page.url.endswith("report.html#02_tables--a-table")
    inside = page.evaluate("Array.from(document.querySelectorAll('.contents a'), a => a.getAttribute('href'))")
    assert all(href.startswith("#") for href in inside) and len(inside) > 8


def images_in(page: Path) -> list[np.ndarray]:
    """The pixels of all images inside a page, vector drawings left out."""
    found = re.findall(r"data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")) for content in found]


def test_single_file_holds_the_images_of_all_pages_pixel_for_pixel(site):
    assert "data:image/png" not in (site / "report.html").read_text(encoding="utf-8")
    apart = [image for name in ("index", "01_figures", "02_tables") for image in images_in(site / f"{name}.html")]
    together = images_in(site / "report.html")
    assert len(together) == len(apart) == 1
    assert all(np.array_equal(one, other) for one, other in zip(together, apart, strict=True))


@PHONE
def test_phone_has_contents_folded_and_the_board_as_cards(site, visit):
    page = visit.open(site / "index.html")
    assert not page.evaluate("document.getElementById('contents').open")
    page.locator("#contents > summary").click()
    assert page.locator(".contents a", has_text="Tables and text").is_visible()
    boxes = "Array.from(document.querySelector('.board').rows[1].cells, cell => cell.getBoundingClientRect().toJSON())"
    cells = page.evaluate(boxes)
    assert all(cell["right"] <= 360 for cell in cells), "no cell needs sideways scrolling"
    assert len({round(cell["left"]) for cell in cells}) == 1, "cells stand below each other"


@WITHOUT_SCRIPTS
def test_without_scripts_everything_is_there(site, visit):
    page = visit.open(site / "02_tables.html")
    assert page.locator("#contents a").first.is_visible()
    assert page.locator("table.data").is_visible()
    assert not page.locator("#fold").is_visible() and not page.locator("#theme").is_visible()
    page.locator("details.code summary").first.click()
    assert page.locator("details.code pre").first.is_visible()


@DARK
def test_on_paper_there_is_text_but_no_navigation(site, visit):
    page = visit.open(site / "02_tables.html")
    page.emulate_media(media="print")
    for gone in (".contents", "#theme", ".pager", "details.code"):
        assert not page.locator(gone).first.is_visible(), gone
    assert page.locator("table.data").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
