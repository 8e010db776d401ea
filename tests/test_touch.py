"""What answers to a reader: terms that explain themselves, sliders, and the pairs behind a row of the first page."""

import re

import pytest
from bs4 import BeautifulSoup
from test_pages import browser, in_a_browser, visit  # noqa: F401  # fixtures

from alexnet import paths
from alexnet.report import glossary
from alexnet.statistics import effects

# ---- terms -----------------------------------------------------------------------------------------------------------


def explained(html: str) -> BeautifulSoup:
    soup = BeautifulSoup(html, "html.parser")
    glossary.explain(soup)
    return soup


def test_the_first_place_of_each_term_is_explained_and_no_other():
    soup = explained("<p>An arm has seeds; two arms share a seed.</p><li>The loss in nats, the arm.</li>")
    assert [(term.string, term["title"][:12]) for term in soup.select("abbr.term")] == [
        ("arm", "One of the v"), ("seeds", "The number t"), ("nats", "Unit of the "),
    ]  # fmt: skip
    assert soup.get_text() == "An arm has seeds; two arms share a seed.The loss in nats, the arm.", "no word is changed"
    assert all(term["tabindex"] == "0" for term in soup.select("abbr")), "from the keyboard too"


@pytest.mark.parametrize(
    "html",
    [
        "<h2>Seeds</h2>", "<p><a href='x'>the seed</a></p>", "<p><code>seed</code></p>", "<pre>seed</pre>",
        "<table><tr><td><p>seed</p></td></tr></table>", "<details><p>seed</p></details>", "<p>seedling, proceed</p>",
    ],
)  # fmt: skip
def test_links_code_tables_and_other_words_are_left_alone(html):
    assert str(explained(html)) == str(BeautifulSoup(html, "html.parser"))


def test_every_term_of_the_glossary_is_somewhere_in_the_report():
    pages = [
        BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in paths.REPORTS.glob("[0-9]*.html")
    ]
    marked = [{term.string for term in page.select("abbr.term")} for page in pages]
    assert all(marked), "every page explains some of its words"
    for forms, (pattern, meaning) in glossary.terms().items():
        assert any(pattern.fullmatch(word) for words in marked for word in words), forms
        assert meaning.endswith(".") and len(meaning) < 250


# ---- sliders and pairs, in a browser ---------------------------------------------------------------------------------


@in_a_browser
@pytest.mark.parametrize(("effect", "spread", "pairs"), [(1, 0.8, 6), (0.5, 0.6, 3), (2, 3, 12), (1, 1, 2), (0, 1, 9)])
def test_the_dial_gives_the_power_that_python_gives(visit, effect, spread, pairs):  # noqa: F811
    page = visit.open(paths.REPORTS / "11_results.html")
    for place, value in enumerate((effect, spread, pairs)):
        page.locator(".dial input").nth(place).fill(str(value))
    found = float(page.locator(".dial meter").evaluate("meter => meter.value"))
    assert found == pytest.approx(effects.power(pairs, effect / spread), abs=2e-4)
    assert f"In {found * 100:.0f} of 100" in page.locator(".dial > output").inner_text()
    assert visit.complaints == []


@in_a_browser
def test_a_slider_reads_each_row_of_its_table(visit):  # noqa: F811
    page = visit.open(paths.REPORTS / "05_dropout.html")
    rows = page.locator("table[data-slide] tbody tr")
    assert rows.count() > 3
    for place in (0, rows.count() - 1):
        page.locator(".slide input").fill(str(place))
        cells = rows.nth(place).locator("th, td").all_inner_texts()
        said = page.locator(".slide > output").inner_text()
        assert re.findall(r"[\d.]+(?=[,.]|$)", said.split(": at ")[1]) == [f"{cell}" for cell in cells[:-1]] + [
            cells[-1] + "."
        ]
    assert visit.complaints == []


@in_a_browser
def test_a_row_shows_a_dot_a_pair_and_tells_their_values(visit):  # noqa: F811
    page = visit.open(paths.REPORTS / "index.html")
    row = page.locator("#verdicts ~ .claims .look", has=page.locator(".tip")).first
    assert not row.locator(".tip").is_visible()
    row.hover()
    values = row.locator(".tip").inner_text()
    assert values.startswith("Each pair of runs: ")
    assert row.locator(".seed").count() == values.count(",") + 1


@in_a_browser
def test_a_term_tells_its_meaning_when_it_is_reached(visit):  # noqa: F811
    page = visit.open(paths.REPORTS / "05_dropout.html")
    term = page.locator("abbr.term").first
    term.focus()
    shown = term.evaluate("term => getComputedStyle(term, '::after').content")
    assert shown.strip('"') == term.get_attribute("title")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
