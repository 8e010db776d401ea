"""The report: what it says, that it says it twice alike, and that nothing it meets destroys the last good one."""

import contextlib
import re
import resource
from pathlib import Path

import fabricate
import nbformat
import pytest
import stub_notebooks
from bs4 import BeautifulSoup

from alexnet import __main__, anatomy, board, claims, effects, experiments, grid, notebooks, paths, report
from alexnet.errors import RecordError, ReportError, SpecError
from alexnet.pages import api, assemble, check, convert, front
from alexnet.records import Store


@pytest.fixture
def sources(tmp_path) -> list[Path]:
    """Two stub notebooks, not executed."""
    return stub_notebooks.write_both(tmp_path)


@pytest.fixture
def no_kernels(monkeypatch):
    """Notebooks are taken as executed and no run is missing, so that a report is built in a second."""

    def executed(sources, parameters, limit, workers, say):
        made = []
        for source in sources:
            notebook = notebooks.read_source(source)
            notebooks.check_parameters(source, notebook, parameters)
            for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
                cell.update(execution_count=number, outputs=[nbformat.v4.new_output("stream", text=f"{number}\n")])
            made.append(notebooks.Executed(source, notebook, 1.0))
        return made

    monkeypatch.setattr(report, "_execute", executed)
    monkeypatch.setattr(report, "_make_missing_runs", lambda *arguments: None)


def text_of(html: str) -> str:
    """What a page says, with spaces made even."""
    return " ".join(BeautifulSoup(html, "html.parser").get_text(" ").split())


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- what is built ---------------------------------------------------------------------------------------------------


def test_report_has_a_page_a_notebook_and_a_single_file_and_is_the_same_twice(sources, tmp_path, no_kernels):
    first, second = (report.build(sources=sources, out=tmp_path / name) for name in ("one", "two"))
    names = ["01_figures.html", "02_tables.html", "api.html", "index.html", "report.html"]
    assert sorted(content_of(tmp_path / "one")) == names
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")
    assert first.index == tmp_path / "one" / "index.html" and second.pages == 5
    assert str(first.index) in first.summary and "\n" not in first.summary
    for html in content_of(tmp_path / "one").values():
        assert b"Smoke run" not in html and b"http://" not in html.replace(b"http://www.w3.org/", b"")


def test_every_page_of_a_smoke_report_says_so(sources, tmp_path, no_kernels):
    report.build("smoke", sources=sources, out=tmp_path / "pages")
    for name, html in content_of(tmp_path / "pages").items():
        assert b"Smoke run." in html, name
    assert b"Parameters of this report" not in html, "the stub has no injected cell"


def test_pages_of_notebooks_that_are_gone_are_removed_and_other_files_stay(sources, tmp_path, no_kernels):
    out = tmp_path / "pages"
    (out / "runs").mkdir(parents=True)
    for name in ("07_old.html", "forest.svg", "runs/abc.json"):
        (out / name).write_text("old")
    report.build(sources=sources, out=out)
    assert not (out / "07_old.html").exists()
    assert (out / "forest.svg").exists() and (out / "runs" / "abc.json").exists()


def test_it_says_first_what_runs_and_how_long_that_takes(small_data, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(grid, "execute_all", lambda *arguments: said.append("running"))
    monkeypatch.delenv("CI", raising=False)
    report._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert re.search(r"runs are missing: at most about .* (min|h) here.* Then 4 notebooks, about \d+ min", said[0])
    assert said[1:] == ["running"]
    monkeypatch.setenv("CI", "true")
    with pytest.raises(RecordError, match="Continuous integration does not train"):
        report._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert said.count("running") == 1


def test_a_report_does_not_train_for_hours_where_it_has_records_to_show(small_data, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(grid, "execute_all", lambda *arguments: said.append("running"))
    monkeypatch.delenv("CI", raising=False)
    planned = experiments.relu_speed("cpu").grid(experiments.MODERN, "relu")
    some = grid.Work([planned[0]], [planned[1]], seconds=3600.0)
    monkeypatch.setattr(grid, "work", lambda *arguments: some)
    report._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert "1 runs are missing" in said[0] and "`make runs PROFILE=cpu` makes the others" in said[1]
    some = grid.Work([planned[0]], [planned[1]], seconds=60.0)
    report._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert said[3:] == ["running"], "a minute is made up for"


def test_only_what_differs_from_the_defaults_is_given_to_the_notebooks():
    assert report._parameters("cpu", None, False) == {}
    assert report._parameters("gpu", 7, True) == {"PROFILE": "gpu", "SEEDS": 7, "FRESH": True}


# ---- what the first page says ----------------------------------------------------------------------------------------


@pytest.fixture
def tested():
    """A board with a bound, a plain interval, and counts; and the runs behind it."""
    slow = fabricate.speed_runs([70, 70, 70], [7.0, 7.5, 8.0])
    quick = fabricate.speed_runs([12.0, 12.5, 13.0], [7.0, 7.5, 7.9], "modern", rate=0.02)
    runs = slow + quick
    return board.rows(runs, anatomy.exact_counts()), runs


def test_first_page_shows_each_verdict_with_figure_interval_and_command(tested, sources):
    rows, runs = tested
    sources[0].write_text(sources[0].read_text() + '\nclaim = "relu-speed"\n')
    page = front.article(report.front_content(rows, runs, sources))
    soup = BeautifulSoup(page.body, "html.parser")
    row = soup.select_one("#row-relu-speed-modern")
    assert row is not None
    said = text_of(str(row))
    effect = next(entry.effect for entry in rows if entry.link == "relu-speed-modern")
    assert isinstance(effect, effects.Effect)
    assert f"{effect.number(effect.estimate)} times" in said
    assert f"95% interval {effect.number(effect.low)} to {effect.number(effect.high)}; 3 pairs of seeds" in said
    assert "6 times (another scale)" in said and "direction reproduced" in said
    assert row.select_one("code.command").get_text() == "make runs CLAIM=relu-speed FRESH=1"
    assert row.select_one("a")["href"] == "01_figures.html"
    bound = text_of(str(soup.select_one("#row-relu-speed-original")))
    assert re.search(r"≥ [\d.]+ times 95% interval from [\d.]+ upwards", bound)
    assert "60,965,224" in text_of(str(soup.select_one("#row-arch-params-counted") or soup))
    figure = soup.select_one("#forest ~ figure img")
    assert figure is not None and "Forest plot of 2 effects" in str(figure["alt"])


def test_every_claim_is_on_the_first_page_and_counted_once(tested, sources):
    rows, runs = tested
    page = text_of(front.article(report.front_content(rows, runs, sources)).body)
    for claim in claims.claims().claim:
        assert claim.title in page
    counts = report.tally(rows)
    assert sum(counts.values()) == len(claims.claims().claim)
    for label, count in counts.items():
        assert f"{count} {label}" in page or not count
    for row in claims.published().row:
        assert row.title in page


def test_surprises_are_computed(tested):
    said = " ".join(report.surprises([row for row in tested[0] if row.verdict.label != "not tested"]))
    assert "the size depends on the setting" in said and "the intervals do not meet" in said
    assert "by more than the paper says" in said, "the bound lies beyond the paper's figure"
    assert report.surprises([]) == []


def test_cost_and_places_come_from_the_records(tested, sources):
    content = report.front_content(*tested, sources)
    records = [record for _, record in tested[1]]
    facts = dict(content.cost)
    assert facts["Runs"].startswith(f"{len(records)},")
    assert facts["Epochs"].startswith(f"{sum(record.final.epochs for record in records)} in all")
    assert dict(content.made)["Trained"] == "2026-01-01"
    assert "6 reached" in dict(content.checklist)["Were runs left out?"] or "9 reached" in str(content.checklist)


def test_first_page_without_any_record_says_what_to_do(sources, tmp_path):
    page = text_of(front.article(report.front_content(board.rows([]), [], sources)).body)
    assert "No claim has been tested in this profile yet" in page and "make runs" in page


def test_newest_audit_is_shown_and_a_damaged_one_is_named(tmp_path):
    assert report._audit(tmp_path) == [("Last audit", "None is recorded yet.")]
    (tmp_path / "a.json").write_text('{"created": "2026-01-02T00:00:00Z", "summary": "22 of 22 sound"}')
    (tmp_path / "b.json").write_text('{"created": "2026-01-01T00:00:00Z", "summary": "older"}')
    assert report._audit(tmp_path) == [("Last audit", "2026-01-02"), ("It found", "22 of 22 sound")]
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ReportError, match=r"audit record c\.json cannot be read"):
        report._audit(tmp_path)


# ---- the committed report --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (paths.REPORTS / "index.html").exists(), reason="no report is committed yet; `make report`")
def test_committed_report_says_what_records_and_notebooks_say():
    store, sources = Store(paths.RUNS), notebooks.sources()
    runs = experiments.records("cpu", store)
    rows = board.rows(runs, anatomy.exact_counts())
    reimplementations = report._reimplementations("cpu", store, None, sources)
    articles = [front.article(report.front_content(rows, runs, sources, reimplementations))]
    for source in sources:
        notebook = notebooks.read_pair(source)
        assert notebook is not None
        articles.append(convert.article(source.stem, notebook, source.parent, paths.REPORTS))
    articles.append(api.article())
    pages = assemble.pages(articles, "cpu")
    del pages[assemble.SINGLE]  # it holds the same articles once more, and is built, not committed
    for name, html in pages.items():
        committed = (paths.REPORTS / name).read_text(encoding="utf-8")
        assert text_of(committed) == text_of(html), f"reports/{name} is out of step; run `make report`"
        alts = [[image["alt"] for image in BeautifulSoup(page, "html.parser")("img")] for page in (committed, html)]
        assert alts[0] == alts[1], f"a figure of reports/{name} is out of step; run `make report`"


def test_the_library_page_has_every_public_name_with_its_docstring():
    article = api.article()
    soup = BeautifulSoup(article.body, "html.parser")
    assert len(article.sections) == len(api.MODULES)
    names = {code.get_text() for code in soup.select("h3 > code")}
    assert {"RunSpec", "build", "learner", "LocalResponseNorm", "Store", "execute", "paired_difference"} <= names
    for heading in soup.select("h3"):
        prose = heading.find_next_sibling("pre").find_next_sibling()
        assert prose is not None and prose.name != "h3", f"{heading.get_text()} has no docstring"
    text = soup.get_text()
    assert " at 0x" not in text and "Draws(rows: Tensor" not in text.split("alexnet.models")[1]
    assert api.article().body == article.body


# ---- nothing destroys the last good report ---------------------------------------------------------------------------


@pytest.fixture
def good(sources, tmp_path, no_kernels) -> Path:
    """A finished report."""
    report.build(sources=sources, out=tmp_path / "pages")
    return tmp_path / "pages"


@contextlib.contextmanager
def full_disk(size: int):
    """Writing beyond `size` bytes into any file fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_the_last_report(good, sources, monkeypatch, counts):
    before = content_of(good)
    sources[0].write_text(sources[0].read_text().replace("The curves", "Other curves"))
    with full_disk(20_000), pytest.raises(ReportError, match=r"Cannot write .* The last report is still there"):
        report.build(sources=sources, out=good)
    assert content_of(good) == before
    counts["reports kept after a failure"] += 1


def test_failed_notebook_leaves_the_last_report(good, sources, monkeypatch, capsys, counts):
    before = content_of(good)

    def dies(*arguments):
        raise notebooks.NotebookError("01_figures.py, code cell 2 (x): the kernel died.")

    monkeypatch.setattr(report, "_execute", dies)
    monkeypatch.setattr(notebooks, "sources", lambda *arguments: sources)
    assert __main__.main(["report", "--out", str(good)]) == 1
    said = capsys.readouterr().err
    assert "01_figures.py, code cell 2" in said and "The last report is still there" in said and "Traceback" not in said
    assert content_of(good) == before
    counts["reports kept after a failure"] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[x](03_none.ipynb)", r"the link 03_none\.html leads nowhere"),
        ("[x](#nowhere)", "has no such anchor"),
        ("[x](../missing.txt)", "leads nowhere"),
        ("<img src='https://example.org/a.png' alt='a'>", "loads https://example.org"),
        ("![](data:image/png;base64,AAAA)", "has no alt text"),
        ("<script src='https://example.org/a.js'></script>", "loads https://example.org"),
        ("$\\left( x$", "cannot be set"),
    ],
)
def test_unsound_page_leaves_the_last_report(good, sources, change, message, counts):
    before = content_of(good)
    sources[1].write_text(sources[1].read_text().replace("Text with", f"{change} Text with"))
    with pytest.raises(ReportError, match=message):
        report.build(sources=sources, out=good)
    assert content_of(good) == before
    counts["reports kept after a failure"] += 1


def test_folder_that_cannot_be_written_is_named_before_any_work(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_make_missing_runs", lambda *arguments: pytest.fail("worked before it looked"))
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "pages", Path("/proc/pages")):
        with pytest.raises(ReportError, match=r"Cannot write the report to .*--out FOLDER"):
            report.build(sources=sources, out=out)


def test_leftovers_of_a_killed_build_are_removed(good, sources):
    import os

    old = good / f"{report.TEMPORARY}killed"
    old.mkdir()
    (old / "index.html").write_text("half")
    os.utime(old, (1, 1))
    report.build(sources=sources, out=good)
    assert not old.exists() and not list(good.glob(f"{report.TEMPORARY}*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "--profile", "huge"], "There is no profile 'huge'; use one of smoke, cpu, gpu"),
        (["report", "--seeds", "1"], "--seeds: '1' is not a whole number from 2"),
        (["report", "--out", "/proc/pages"], "Cannot write the report to /proc/pages"),
        (["notebooks", "--only", "99_none"], "No notebook named 99_none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, capsys, counts):
    assert __main__.main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    counts["bad inputs tried"] += 1


def test_unknown_profile_is_refused_before_the_folder_is_made(tmp_path):
    with pytest.raises(SpecError):
        report.build("none", out=tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_checker_finds_what_a_page_must_not_have(tmp_path):
    body = "<h1>T</h1><p id='a'></p><p id='a'></p><style>@import url(x.css)</style><h1>U</h1>"
    found = " ".join(check.faults({"a.html": f"<body class='notebook'>{body}</body>"}, tmp_path))
    for fault in ("the anchor #a is there twice", "a style sheet loads something", "2 top headings"):
        assert fault in found
