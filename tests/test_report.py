"""The report: what it says, that it says it twice alike, and that nothing it meets destroys the last good one."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import fabricate
import nbformat
import pytest
import small
import stub_notebooks
from bs4 import BeautifulSoup

from alexnet import __main__, paths
from alexnet.audit import audit
from alexnet.errors import RecordError, ReportError, SpecError
from alexnet.experiments import profiles
from alexnet.figures import tables
from alexnet.networks import anatomy
from alexnet.paper import claims
from alexnet.records.store import Store
from alexnet.report import answers, api, assemble, build, check, facts, front, notebooks
from alexnet.runs import pool
from alexnet.runs.planning import Planned
from alexnet.statistics import board, effects


@pytest.fixture
def sources(tmp_path) -> list[Path]:
    """Two stub notebooks, not executed."""
    return stub_notebooks.write_both(tmp_path)


def without_kernels(patch: pytest.MonkeyPatch) -> None:
    """Notebooks are taken as executed and no run is missing, so that a report is built in a second or two."""

    def executed(sources, parameters, limit, workers, say):
        made = []
        for source in sources:
            notebook = notebooks.read_source(source)
            notebooks.check_parameters(source, notebook, parameters)
            for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
                cell.update(execution_count=number, outputs=[nbformat.v4.new_output("stream", text=f"{number}\n")])
            made.append(notebooks.Executed(source, notebook, 1.0))
        return made

    patch.setattr(build, "_execute", executed)
    patch.setattr(build, "_make_missing_runs", lambda *arguments: None)


@pytest.fixture
def no_kernels(monkeypatch):
    without_kernels(monkeypatch)


def text_of(html: str) -> str:
    """What a page says, with spaces made even."""
    return spoken(BeautifulSoup(html, "html.parser"))


def spoken(page: BeautifulSoup) -> str:
    return " ".join(page.get_text(" ").split())


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- what is built ---------------------------------------------------------------------------------------------------


def test_report_has_a_page_a_notebook_and_a_single_file_and_is_the_same_twice(sources, tmp_path, no_kernels):
    first, second = (build.build(sources=sources, out=tmp_path / name) for name in ("one", "two"))
    names = ["01_figures.html", "02_tables.html", "api.html", "index.html", "report.html", "try.html"]
    assert sorted(content_of(tmp_path / "one")) == names
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")
    assert first.index == tmp_path / "one" / "index.html" and second.pages == 6
    assert str(first.index) in first.summary and "\n" not in first.summary
    for html in content_of(tmp_path / "one").values():
        assert b"Smoke run" not in html and b"http://" not in html.replace(b"http://www.w3.org/", b"")


def test_every_page_of_a_smoke_report_says_so(sources, tmp_path, no_kernels):
    build.build("smoke", sources=sources, out=tmp_path / "pages")
    for name, html in content_of(tmp_path / "pages").items():
        assert b"Smoke run." in html, name
    assert b"Parameters of this report" not in html, "the stub has no injected cell"


def test_pages_of_notebooks_that_are_gone_are_removed_and_other_files_stay(sources, tmp_path, no_kernels):
    out = tmp_path / "pages"
    (out / "runs").mkdir(parents=True)
    for name in ("07_old.html", "forest.svg", "runs/abc.json"):
        (out / name).write_text("old")
    build.build(sources=sources, out=out)
    assert not (out / "07_old.html").exists()
    assert (out / "forest.svg").exists() and (out / "runs" / "abc.json").exists()


@pytest.fixture
def said(small_data, monkeypatch) -> list[str]:
    """What a report says of its missing runs; "running" where it makes them."""
    found: list[str] = []
    monkeypatch.setattr(pool, "execute_all", lambda *arguments: found.append("running"))
    monkeypatch.delenv("CI", raising=False)
    return found


def test_it_says_first_what_runs_and_how_long_that_takes(said, tmp_path, monkeypatch):
    build._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert re.search(r"runs are missing: at most about .* (min|h) here.* Then 4 notebooks, about \d+ min", said[0])
    assert said[1:] == ["running"]
    monkeypatch.setenv("CI", "true")
    with pytest.raises(RecordError, match="Continuous integration does not train"):
        build._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert said.count("running") == 1


def test_a_report_does_not_train_for_hours_where_it_has_records_to_show(said, tmp_path, monkeypatch):
    planned = [p for p in profiles.plan("cpu", Store(tmp_path), claim="relu-speed") if p.condition == "modern"]
    for seconds in (3600.0, 60.0):
        some = pool.Work([planned[0]], [planned[1]], seconds=seconds)
        monkeypatch.setattr(pool, "work", lambda *arguments, some=some: some)
        build._make_missing_runs("cpu", Store(tmp_path), None, None, 4, said.append)
    assert "1 runs are missing" in said[0] and "`make runs PROFILE=cpu` makes the others" in said[1]
    assert said[3:] == ["running"], "a minute is made up for"


def test_only_what_differs_from_the_defaults_is_given_to_the_notebooks():
    assert build._parameters("cpu", None, False) == {}
    assert build._parameters("gpu", 7, True) == {"PROFILE": "gpu", "SEEDS": 7, "FRESH": True}


# ---- what the first page says ----------------------------------------------------------------------------------------


@pytest.fixture
def tested():
    """A board with a bound that decides, a first look with a plain interval, and counts; and the runs behind it."""
    slow = fabricate.speed_runs([70, 70, 70], [7.0, 7.5, 8.0], "arrived")
    quick = fabricate.speed_runs([12.0, 12.5, 13.0], [7.0, 7.5, 7.9], "modern", rate=0.02)
    runs = slow + quick
    return board.rows(runs, anatomy.exact_counts()), runs


def page_of(*arguments, **more) -> BeautifulSoup:
    return front.article(front.content(*arguments, **more)).soup


def test_first_page_has_a_row_a_claim_with_figure_interval_page_and_command(tested, sources):
    rows, runs = tested
    soup = page_of(rows, runs, [*sources, Path("03_relu_vs_tanh.py")])
    lines = soup.select(".claims > ul > li")
    assert [line["id"] for line in lines] == [f"row-{row.link}" for row in rows if row.question.primary]
    assert len(lines) == len(claims.claims().claim)
    row = soup.select_one("#row-relu-speed-arrived")
    said = text_of(str(row.select_one("summary")))
    effect = next(entry.effect for entry in rows if entry.link == "relu-speed-arrived")
    low = effect.number(effect.low)
    assert f"≥ {effect.number(effect.estimate)} times from {low}" in said and "6 times" in said
    assert "direction reproduced" in said and "Pairs of runs: 3" in said
    assert row.select_one("code.command").get_text() == "make runs CLAIM=relu-speed FRESH=1"
    assert row.select_one("a")["href"] == "03_relu_vs_tanh.html" and len(row.select("code.command")) == 1
    assert soup.select_one("#row-two-towers-long a") is None, "a page that the report does not have is not linked"
    assert "60,965,224" in text_of(str(soup.select_one("#row-arch-params-count summary")))
    figure = soup.select_one("figure#forest img")
    assert figure is not None and "Forest plot of 1 effect in margins" in str(figure["alt"])


def test_every_claim_and_every_reimplementation_links_to_its_page(tested):
    soup = page_of(*tested, notebooks.sources())
    lines = soup.select(".claims > ul > li, .board tbody tr")
    assert len(lines) == len(claims.claims().claim) + len(claims.published().row)
    assert [line["id"] for line in lines if not re.match(r"\d\d_\w+\.html", line.select_one("a")["href"])] == []


def test_other_conditions_are_folded_and_a_first_look_is_no_verdict(tested, sources):
    rows, runs = tested
    soup = page_of(rows, runs, sources)
    modern = soup.select_one("#row-relu-speed-arrived details #row-relu-speed-modern")
    entry = next(entry for entry in rows if entry.link == "relu-speed-modern")
    effect = entry.effect
    said = text_of(str(modern))
    assert f"{effect.number(effect.estimate)} times {effect.number(effect.low)} to {effect.number(effect.high)}" in said
    assert "6 times*" in said, "the paper's figure is on another scale"
    assert modern.select_one(".verdict").get_text() == "first look"
    assert modern.select_one(".would").get_text() == entry.verdict.label
    assert entry.question.run in said
    assert "Mean test error: tanh 30.0%, ReLU 30.0%." in said
    assert soup.select_one("#row-relu-speed-original .verdict").get_text() == "first look"


def test_a_first_look_stands_beside_its_own_experiment(sources):
    runs = fabricate.speed_runs([42.0, 45.0], [7.0, 7.5], "original")
    soup = page_of(board.rows(runs), runs, sources)
    said = text_of(str(soup.select_one("#row-relu-speed-arrived > details")))
    look, decides = (claims.claims().question("relu-speed", name) for name in ("original", "arrived"))
    assert f"Seen so far, a first look. {text_of(look.run)} What will decide. {text_of(decides.run)}" in said
    assert f"What is estimated. {text_of(decides.estimand)}" in said


def test_a_claim_without_runs_waits_for_them(tested, sources):
    soup = page_of(*tested, sources)
    for row in tested[0]:
        chip = soup.select_one(f"#row-{row.link} .verdict").get_text()
        if row.question.not_tested:
            assert chip == "not tested" and row.question.not_tested in text_of(str(soup.select_one(f"#row-{row.link}")))
        elif row.effect is None and not row.question.seen:
            assert chip == ("waits for a GPU" if row.question.profile == "gpu" else "waits for its runs")
    assert "None of its runs" not in soup.get_text()


def test_the_line_of_a_row_shows_interval_margin_and_the_papers_figure():
    plain = front.drawing(-0.5, 1.0, 3.0, 2.0, True)
    assert plain == {
        "null": 33.3, "margin": 50.0, "low": 25.0, "high": 83.3, "estimate": 50.0, "paper": 66.7, "comparable": True,
        "open": (False, False), "dots": [],
    }  # fmt: skip
    far = front.drawing(-9.0, 7.0, float("inf"), 8.0, False)
    assert far | {"low": 0.0, "high": 100.0, "estimate": 100.0, "open": (True, True), "paper": None} == far
    row = fabricate.judged("two-towers", [1.2, 1.9, 1.6])
    drawn = front.entry_of(row, [], [])["drawing"]
    low, estimate, high = (value / 0.85 for value in (row.effect.low, row.effect.estimate, row.effect.high))
    assert drawn == front.drawing(low, estimate, high, 2.0, False, [value / 0.85 for value in (1.2, 1.9, 1.6)])
    assert front.entry_of(row, [], [])["seeds"] == "Each pair of runs: 1.20, 1.90, 1.60 percentage points"


def test_five_sentences_count_every_claim_once(tested, sources):
    rows, runs = tested
    waiting = answers.sentences(rows, runs)
    assert len(waiting) == 5 and waiting[0].startswith("We put 23 claims") and "12 recorded trainings" in waiting[0]
    assert waiting[0].endswith("on CIFAR-10 (12 of them older than the rule, first looks that decide nothing).")
    assert "2 are reproduced (“60 million parameters”; “650,000 neurons”)" in waiting[1]
    assert "1 is reproduced in direction (“ReLU reaches 25% training error faster than tanh”)" in waiting[1]
    assert waiting[2] == (
        "Of the others, none is contradicted, weaker than claimed or shown to lack an effect of the size claimed "
        "so far."
    )
    assert waiting[3] == "Open are 18 waiting for runs and 2 that cannot be tested here."
    assert waiting[4] == "One verdict rests on trainings, so that there is nothing to correct for."
    few = answers.sentences(board.rows([], anatomy.exact_counts()), [])
    assert "no recorded training so far" in few[0]
    assert few[4].startswith("No claim's verdict rests on trainings yet")
    assert "19 waiting for runs" in few[3]
    page = text_of(str(page_of(rows, runs, sources)))
    assert front._minus(" ".join(waiting)) in page
    counts = {label: len(found) for label, found in answers.headline(rows).items()}
    assert sum(counts.values()) == len(claims.claims().claim) and counts["reproduced"] == 2
    for row in claims.published().row:
        assert row.title in page


def test_the_headline_counts_what_is_left_after_the_correction():
    rows = fabricate.full_board()
    primary = {row.question.claim: row.verdict.label for row in rows if row.question.primary}
    assert primary["lr-drops"] == "direction reproduced" and primary["depth"] == "contradicted"
    said = answers.sentences(rows, [])
    counts = {label: len(found) for label, found in answers.headline(rows).items()}
    assert f"{counts['reproduced']} are reproduced (" in said[1] and f"; {counts['reproduced'] - 3} more)" in said[1]
    assert "1 is contradicted (“Removing any middle layer costs accuracy”)" in said[2]
    assert said[3].startswith(f"Open are {counts['inconclusive']} inconclusive and 2 that cannot be tested here")
    assert said[4].startswith("The 19 verdicts that rest on trainings are corrected")
    assert "so far" not in " ".join(said[1:])


def test_a_row_says_which_correction_takes_its_label_away(sources):
    rows = fabricate.full_board()
    primary = [row for row in rows if row.question.primary]
    kept, strict = board.corrected(primary)
    marks = answers.corrections(rows)
    for row, left, stricter in zip(primary, kept, strict, strict=True):
        if left != row.verdict.label:
            assert marks[row.link] == ("†", f"After the correction of Benjamini and Hochberg it is “{left}”.")
        elif stricter != row.verdict.label:
            assert marks[row.link] == ("‡", f"By Bonferroni's stricter correction it is “{stricter}”.")
        else:
            assert row.link not in marks
    assert marks["lr-drops-long"][0] in "†‡" and len(marks) < 4
    row = page_of(rows, [], sources).select_one("#row-lr-drops-long")
    assert marks["lr-drops-long"][0] in row.select_one(".says").get_text()
    assert marks["lr-drops-long"][1] in text_of(str(row))


def test_collapses_are_counted_in_their_row(sources):
    row = fabricate.judged("lrn-alexnet", [4.5, 5.1], collapses={"without": (1, 3)})
    soup = page_of(fabricate.replaced(board.rows([]), row), [], sources)
    said = text_of(str(soup.select_one("#row-lrn-alexnet-long")))
    assert "Pairs of runs: 2 (1 ✗)" in said
    low, high = effects.proportion(1, 3)
    assert f"A run of the arm “without” collapses with a probability of {low:.0%} to {high:.0%} (1 of 3 did)." in said
    both = fabricate.judged("init-as-written", [-0.5, -0.6, -0.7], collapses={"": (3, 3)})
    soup = page_of(fabricate.replaced(board.rows([]), both), [], sources)
    said = text_of(str(soup.select_one("#row-init-as-written-own-rate")))
    assert "3 (3 ✗)" in said and said.count("A run collapses with") == 1


def test_a_decided_row_says_its_margin_and_what_its_claim_asks_besides():
    primary = [row for row in fabricate.full_board() if row.question.primary]
    said = {row.question.claim: " ".join(answers.notes(row, [])) for row in primary}
    assert "The margin is 5 points: 'substantial' overfitting" in said["aug-crop-flip"]
    assert "too; besides, the test error may not be lower without." in said["aug-crop-flip"]
    asked = {row.question.claim for row in primary if row.question.also}
    assert {claim for claim, text in said.items() if "; besides, " in text} == asked


def test_things_are_told_by_their_labels():
    pairs = [("A", "reproduced"), ("B", "waits for its runs"), ("C", "reproduced")]
    assert tables.by_label(pairs) == "**Reproduced:** A; C. **Waits for its runs:** B."
    assert tables.by_label([]) == ""


# ---- surprises: each only where it is true ---------------------------------------------------------------------------


def surprising(*rows: board.Row) -> list[answers.Surprise]:
    """What surprises of a board that has only these rows."""
    return answers.surprises(fabricate.replaced(board.rows([]), *rows), [])


def test_neurons_that_do_not_add_up_are_a_surprise():
    (surprise,) = answers.surprises(board.rows([], anatomy.exact_counts()), [])
    assert not surprise.first_look
    assert surprise.text.endswith(
        "it prints 253,440 for the first layer and 650,000 in all. The network as written has 290,400 and 659,272; "
        "with the printed first layer it would be 622,312 in all."
    )
    agreeing = anatomy.exact_counts() | {"first-layer-neurons": 253_440}
    assert answers.surprises(board.rows([], agreeing), []) == []
    assert answers.surprises(board.rows([], {"neurons": 659_272, "first-layer-neurons": 245_000}), []) != []
    assert answers.surprises([], []) == []


def test_biases_that_stop_the_network_are_a_surprise_only_where_every_run_shows_it():
    def collapsing(**collapses: tuple[int, int]) -> list[answers.Surprise]:
        return surprising(fabricate.judged("bias-ones", [-0.7, -0.72, -0.71], "faithful", collapses=collapses))

    (surprise,) = collapsing(ones=(3, 3))
    assert "all 3 runs" in surprise.text and surprise.first_look
    assert collapsing() == collapsing(ones=(2, 3)) == collapsing(ones=(3, 3), zeros=(1, 3)) == []


def test_a_faster_relu_than_with_a_modern_start_is_a_surprise_only_where_intervals_part():
    paper = fabricate.judged("relu-speed", [6.0, 6.5, 7.0])
    (surprise,) = surprising(paper, fabricate.judged("relu-speed", [1.4, 1.5, 1.45], "modern"))
    assert "6.49 times as many epochs with the original inputs" in surprise.text and surprise.first_look
    assert "1.45 times as many with inputs of unit variance" in surprise.text and "behind" not in surprise.text
    modern = fabricate.judged("relu-speed", [1.4, 1.5, 1.45], "modern")
    (surprise,) = surprising(paper, modern, fabricate.judged("relu-speed", [0.90, 0.91, 0.92], "alexnet"))
    assert surprise.text.endswith("in the small AlexNet, likewise, 0.91 times: there ReLU is behind.")
    (surprise,) = surprising(paper, modern, fabricate.judged("relu-speed", [0.90, 1.01, 1.1], "alexnet"))
    assert "behind" not in surprise.text
    for values in ([5.0, 6.5, 7.5], [0.8, 0.9, 0.85]):
        assert surprising(paper, fabricate.judged("relu-speed", values, "modern")) == []


def test_a_layer_better_taken_out_is_a_surprise_only_where_all_layers_were_tried():
    layers = [fabricate.judged("depth", [2.0, 2.2, 2.1], f"long-conv{layer}") for layer in (2, 3, 4)]
    fifth, smallest = (fabricate.judged("depth", [-1.5, -1.6, -1.4], name) for name in ("long-conv5", "long"))
    (surprise,) = surprising(*layers, fifth, smallest)
    unclear = fabricate.judged("depth", [-1.5, -2.6, 0.4], "long")
    assert surprising(*layers, fifth, unclear) == [], "the most extreme of four may be so by chance"
    assert "without layer 5 the test error is 1.50 [1.25, 1.75] points lower" in surprise.text
    assert not surprise.first_look
    assert surprising(*layers) == surprising(*layers, fabricate.judged("depth", [1.5, 1.6, 1.4], "long-conv5")) == []


@pytest.mark.parametrize(("error", "worse"), [(0.35, "5.10 ["), (0.28, "")])
def test_dropout_that_costs_test_error_is_a_surprise_only_where_it_does(error, worse):
    runs = []
    for seed in range(3):
        for arm, train, test, shift in (("without", 0.10, 0.30, 0.0), ("with", 0.25, error, 0.001 * seed)):
            of = fabricate.spec(seed=seed, rate=0.01 if arm == "with" else 0.02)
            made = fabricate.record(of, [0.3])
            errors = {"clean_train_error": train + 2 * shift, "test_error": test + shift}
            record = made.model_copy(update={"final": made.final.model_copy(update=errors)})
            runs.append((Planned("dropout-overfit", "overfit", "seeds", arm, seed, of), record))
    said = [surprise.text for surprise in answers.surprises(board.rows(runs), runs)]
    assert len(said) == bool(worse) and all(f"makes the test error worse, by {worse}" in text for text in said)


# ---- cost and checklist ----------------------------------------------------------------------------------------------


def test_cost_and_places_come_from_the_records(tested, sources):
    content = front.content(*tested, sources)
    records = [record for _, record in tested[1]]
    cost = dict(content["cost"])
    assert cost["Runs"].startswith(f"{len(records)},")
    assert cost["Epochs"].startswith(f"{sum(record.final.epochs for record in records)} in all")
    assert dict(content["made"])["Trained"] == "2026-01-01"


def test_the_checklist_is_computed(tested, tmp_path):
    rows, runs = tested
    said = dict(facts.checklist(rows, runs))
    assert said["Which data?"] == "CIFAR-10, public; the digests of the arrays stand above."
    assert said["What was searched?"] == "Nothing."
    assert (
        said["How many seeds?"]
        == "Pairs of runs, or where one gives both figures runs or means of two: 3 in 2 effects."
    )
    assert said["Were runs left out?"].startswith(
        "Of 12 runs 3 did not reach the error they were to reach in time (censored) and 9 reached it. 0, "
    )
    assert "12 in all" not in said["Were runs left out?"] and "nowhere" not in said["Were runs left out?"]
    assert said["Was the rule there first?"].startswith("No: 6 runs that decide a claim are older than the rule.")
    after = sum(event.after for event in claims.history().event)
    assert f"{after} times" in said["Was a plan changed after results were seen?"]

    grid = fabricate.planned("relu", 1000, 5, stage="grid", rate=0.004)
    grid = (grid[0], fabricate.record(grid[1].spec, fabricate.curve(5), test_error=None))
    part = fabricate.planned("relu", 7, 5, "original", rate=0.008, train_size=100)
    store = Store(tmp_path)
    for _, record in (*runs, grid, part):
        store.put(record)
    unused = fabricate.record(fabricate.spec(seed=99), [0.5])
    store.put(unused)
    said = dict(facts.checklist(rows, [*runs, grid, part], store))
    assert "1 of 14 runs train on a part" in said["Which data?"]
    assert said["What was searched?"].startswith("Learning rates: 1 run over 1 rate, 0.004 to 0.004")
    assert said["Was the test set used to choose?"] == "No run that chooses a rate has a test error on record (1 run)."
    assert f"1 record ({unused.hash[:8]}) counts nowhere" in said["Were runs left out?"]
    watching = (grid[0], grid[1].model_copy(update={"final": grid[1].final.model_copy(update={"test_error": 0.2})}))
    said = dict(facts.checklist(rows, [*runs, watching], store))
    assert said["Was the test set used to choose?"].startswith("1 of 1 run that chooses a rate has seen")
    assert facts.checklist(rows, []) == []


def test_no_run_that_chooses_has_seen_the_test_set_in_the_committed_records():
    store = Store(paths.RUNS)
    runs = profiles.records("cpu", store)
    said = dict(facts.checklist(board.rows(runs), runs, store))
    assert said["Was the test set used to choose?"].startswith("No run that chooses")
    assert said["Was the rule there first?"].startswith("Yes: ")


def test_what_was_planned_seen_and_changed_is_listed_in_order(tested, sources):
    soup = page_of(*tested, sources)
    said = [text_of(str(entry)) for entry in soup.select("ol.history li")]
    assert len(said) == len(claims.history().event)
    for line, event in zip(said, claims.history().event, strict=True):
        assert event.what in line and event.kind in line and f"{event.date:%Y}" in line


def test_first_page_without_any_record_says_what_is_missing(sources):
    soup = page_of(board.rows([]), [], sources)
    assert "No claim's verdict rests on trainings yet" in text_of(str(soup)) and soup.select_one("#forest") is None
    assert soup.select_one("#row-relu-speed-arrived code.command").get_text() == "make runs CLAIM=relu-speed FRESH=1"


def test_newest_audit_is_shown_and_a_damaged_one_is_named(tmp_path):
    assert facts.last_audit([], tmp_path) == [("Last audit", "None is recorded yet.")]
    committed = audit.latest()
    assert committed is not None
    one, other = (fabricate.planned("relu", seed, 5.0)[1] for seed in (0, 1))
    made = {"created": "2026-01-02T00:00:00Z", "summary": "2 of 2 sound"}
    made |= {"audited": {record.hash: record.sha256 for record in (one, other)}}
    path = tmp_path / audit.FILE
    path.write_text(committed.model_copy(update=made).model_dump_json())
    found = [("Last audit", "2026-01-02"), ("It found", "2 of 2 sound")]
    assert facts.last_audit([one, other], tmp_path) == [*found, ("It covers", "all 2 runs shown here")]
    path.write_text("{")
    with pytest.raises(RecordError, match=r"latest\.json is not an audit record"):
        facts.last_audit([], tmp_path)


def test_records_that_the_audit_does_not_cover_are_counted_on_the_page(tested, sources, tmp_path, monkeypatch):
    rows, runs = tested
    records = [record for _, record in runs]
    committed = audit.latest()
    assert committed is not None
    audited = {record.hash: record.sha256 for record in records[1:]}
    audited[records[1].hash] = records[2].sha256  # as if it had been changed since
    monkeypatch.setattr(audit, "latest", lambda *_: committed.model_copy(update={"audited": audited}))
    page = text_of(str(page_of(rows, runs, sources)))
    assert "It covers 10 of the 12 runs shown here; the others were made or changed after it" in page


# ---- the committed report --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (paths.REPORTS / "index.html").exists(), reason="no report is committed yet; `make report`")
def test_committed_report_says_what_records_and_notebooks_say(monkeypatch):
    # The single file holds the same articles once more, and is built, not committed.
    monkeypatch.setattr(assemble, "single", lambda articles, profile: "<h1>All pages</h1>")
    store, sources = Store(paths.RUNS), notebooks.sources()
    runs = profiles.records("cpu", store)
    executed = [notebooks.Executed(source, notebooks.read_pair(source), 0.0) for source in sources]
    pages = build._pages(executed, runs, store, "cpu", None, paths.REPORTS)
    del pages[assemble.SINGLE]
    for name, html in pages.items():
        committed, fresh = (
            BeautifulSoup(page, "html.parser") for page in ((paths.REPORTS / name).read_text(encoding="utf-8"), html)
        )
        assert spoken(committed) == spoken(fresh), f"reports/{name} is out of step; run `make report`"
        alts = [[image["alt"] for image in page("img")] for page in (committed, fresh)]
        assert alts[0] == alts[1], f"a figure of reports/{name} is out of step; run `make report`"


def test_the_library_page_has_every_public_name_with_its_docstring():
    article = api.article()
    soup = article.soup
    assert len(article.sections) == len(api.MODULES)
    names = {code.get_text() for code in soup.select("h3 > code")}
    assert {"RunSpec", "build", "learner", "LocalResponseNorm", "Store", "execute", "paired_difference"} <= names
    for heading in soup.select("h3"):
        prose = heading.find_next_sibling("pre").find_next_sibling()
        assert prose is not None and prose.name != "h3", f"{heading.get_text()} has no docstring"
    text = soup.get_text()
    assert " at 0x" not in text and "Draws(rows: Tensor" not in text.split("alexnet.networks.models")[1]
    assert str(api.article().soup) == str(soup)


# ---- nothing destroys the last good report ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A report of the stub notebooks."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        without_kernels(patch)
        build.build(sources=stub_notebooks.write_both(folder), out=folder / "pages")
    return folder / "pages"


@pytest.fixture
def report(built, sources, tmp_path, no_kernels) -> Path:
    """A finished report of the sources."""
    return shutil.copytree(built, tmp_path / "pages")


@pytest.fixture
def good(report, counts) -> Iterator[Path]:
    """A finished report, which is still the same after the test."""
    before = content_of(report)
    yield report
    assert content_of(report) == before
    counts["reports kept after a failure"] += 1


def test_full_disk_leaves_the_last_report(good, sources):
    sources[0].write_text(sources[0].read_text().replace("The curves", "Other curves"))
    with small.full_disk(20_000), pytest.raises(ReportError, match=r"Cannot write .* The last report is still there"):
        build.build(sources=sources, out=good)


def test_failed_notebook_leaves_the_last_report(good, sources, monkeypatch, capsys):
    def dies(*arguments):
        raise notebooks.NotebookError("01_figures.py, code cell 2 (x): the kernel died.")

    monkeypatch.setattr(build, "_execute", dies)
    monkeypatch.setattr(notebooks, "sources", lambda *arguments: sources)
    assert __main__.main(["report", "--out", str(good)]) == 1
    said = capsys.readouterr().err
    assert "01_figures.py, code cell 2" in said and "The last report is still there" in said and "Traceback" not in said


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
def test_unsound_page_leaves_the_last_report(good, sources, change, message):
    sources[1].write_text(sources[1].read_text().replace("Text with", f"{change} Text with"))
    with pytest.raises(ReportError, match=message):
        build.build(sources=sources, out=good)


def test_folder_that_cannot_be_written_is_named_before_any_work(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_make_missing_runs", lambda *arguments: pytest.fail("worked before it looked"))
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "pages", Path("/proc/pages")):
        with pytest.raises(ReportError, match=r"Cannot write the report to .*--out FOLDER"):
            build.build(sources=sources, out=out)


def test_leftovers_of_a_killed_build_are_removed(report, sources):
    old = report / f"{build.TEMPORARY}killed"
    old.mkdir()
    (old / "index.html").write_text("half")
    os.utime(old, (1, 1))
    build.build(sources=sources, out=report)
    assert not list(report.glob(f"{build.TEMPORARY}*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "--profile", "huge"], "There is no profile 'huge'; use one of smoke, cpu, gpu"),
        (["report", "--seeds", "1"], "--seeds: '1' is not a whole number from 2"),
        (["report", "--out", "/proc/pages"], "Cannot write the report to /proc/pages"),
        (["notebooks", "--only", "99_none"], "No notebook named 99_none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, capsys, bad_input):
    assert __main__.main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_unknown_profile_is_refused_before_the_folder_is_made(tmp_path):
    with pytest.raises(SpecError):
        build.build("none", out=tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_checker_finds_what_a_page_must_not_have(tmp_path):
    body = "<h1>T</h1><p id='a'></p><p id='a'></p><style>@import url(x.css)</style><h1>U</h1>"
    found = " ".join(check.faults({"a.html": f"<body class='notebook'>{body}</body>"}, tmp_path))
    for fault in ("the anchor #a is there twice", "a style sheet loads something", "2 top headings"):
        assert fault in found
