"""What notebook 07 shows, with no transfer records at all, and with records made up for the purpose."""

import math
from pathlib import Path

import fabricate
import pandas
import pytest

from alexnet import paths
from alexnet.data import weights
from alexnet.errors import NothingToDraw, SpecError
from alexnet.experiments import profiles, transfer
from alexnet.experiments.transfer import ALL
from alexnet.figures.display import bundle
from alexnet.paper.claims import history
from alexnet.records.record import RunRecord
from alexnet.records.specs import RunSpec
from alexnet.records.store import Store
from alexnet.report import front, readme, transfer_report
from alexnet.runs.planning import Planned, Runs
from alexnet.statistics.accuracy import Accuracy

NOTEBOOK = paths.NOTEBOOKS / "09_transfer_learning.py"
# error with 100 images
QUALITY = {
    "random start": 0.9, "random start, first runs": 0.92, "linear probe": 0.45, "new classifier": 0.4,
    "fine-tuning": 0.25,
}  # fmt: skip


def made(spec: RunSpec, error: float) -> RunRecord:
    """A record whose errors fall to `error`; runs from ImageNet say so in their hashes."""
    found = fabricate.record(spec, [0.9, (0.9 + error) / 2, error], error if spec.test else None)
    if spec.transfer is None:
        return found
    used = found.data.model_copy(update={"hashes": {"imagenet_weights": weights.pinned_sha256()}})
    return found.model_copy(update={"data": used})


def counted(approach: transfer.Approach, best: int = 1) -> list[Planned]:
    """The runs that count, the largest number of images first, at a rate of the row (its last where it is shorter)."""
    rate = approach.rates[: best + 1][-1]
    return [
        Planned(transfer.CLAIM, str(size), "seeds", approach.name, seed, approach.run(size, rate).with_(seed=seed))
        for size in sorted(approach.budgets, reverse=True)
        for seed in range(approach.budgets[size].seeds)
    ]


def runs_of(profile: str, store: Store) -> Runs:
    return [(p, record) for p, record in profiles.records(profile, store) if p.claim == transfer.CLAIM]


def fill(store: Store, profile: str = "cpu", best: int = 1) -> Store:
    """Records of all transfer runs: one rate of each row is best (its last where the row is shorter), accuracy grows
    with the images, seeds differ a little."""
    for approach in transfer.approaches(profile):
        for search in approach.study().searches:
            for place, planned in enumerate(search.outcome(store)[0]):
                store.put(made(planned.spec, 0.3 + 0.01 * abs(place - best)))
        for planned in counted(approach, best):
            error = QUALITY[planned.arm] / math.log10(int(planned.condition)) * 1.5 + 0.004 * planned.seed
            store.put(made(planned.spec, error))
    return store


@pytest.fixture
def store(tmp_path: Path, small_data: None) -> Store:
    return fill(Store(tmp_path))


@pytest.fixture
def runs(store: Store) -> Runs:
    """All transfer runs of the profile cpu with their records."""
    return runs_of("cpu", store)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paragraphs that cells show."""
    found: list[str] = []
    for module in (transfer_report, transfer_report.published_report):
        monkeypatch.setattr(module, "say", found.append)
    return found


def diverged(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"final": record.final.model_copy(update={"outcome": "diverged"})})


def curve(*points: tuple[int, float]) -> dict[int, Accuracy]:
    return {size: Accuracy((value,), 10_000) for size, value in points}


def test_no_record_is_needed_to_say_what_is_missing(tmp_path: Path, told: list[str]) -> None:
    runs = runs_of("cpu", Store(tmp_path))
    transfer_report.state("cpu", runs)
    assert runs and f"{len(runs)} of the {len(runs)} runs" in told[0] and "`make runs CLAIM=transfer`" in told[0]
    assert transfer.missing(runs) == len(runs)
    with pytest.raises(NothingToDraw, match="make runs CLAIM=transfer"):
        transfer_report.draw_against_images({}, 1.0, "")
    with pytest.raises(NothingToDraw, match="make runs CLAIM=transfer"):
        transfer_report.draw_epochs({"a": []}, {})
    for table in (transfer.overview(runs), transfer.worth(runs), transfer.rates(runs)):
        assert not len(table)


def test_the_page_says_first_what_transfer_reaches(store: Store, runs: Runs, told: list[str]) -> None:
    transfer_report.answer(runs_of("smoke", store))
    assert told == []
    transfer_report.answer(runs)
    found = transfer.curves(runs)
    assert f"with 100 labelled images linear probe {found['linear probe'][100].text}" in told[0]
    assert f"fine-tuning {found['fine-tuning'][ALL].text}" in told[0] and "random start, first runs" not in told[0]


def test_smoke_has_no_transfer_runs(tmp_path: Path) -> None:
    assert runs_of("smoke", Store(tmp_path)) == []
    assert not len(transfer.described("smoke"))


def test_tables_derive_from_the_records(runs: Runs) -> None:
    assert not transfer.missing(runs) and not transfer.foreign(runs)
    rates = transfer.rates(runs)
    for approach in transfer.approaches("cpu"):
        own = rates[rates["approach"] == approach.name]
        assert list(own["labelled images"]) == [f"{size:,}" for size in approach.grid_sizes]
        for _, row in own.iterrows():
            assert row["chosen"] == f"{approach.rates[1]:g}" and row[row["chosen"]] == "70.0%"
            assert row[[f"{rate:g}" for rate in approach.rates]].notna().all()
    overview = transfer.overview(runs)
    starts = [transfer.SHORT, transfer.RANDOM]
    assert list(overview["approach"]) == ["linear probe", "new classifier", "fine-tuning", *starts]
    name, value = transfer.best(runs)  # type: ignore[misc]
    expected = 100 * (1 - QUALITY["fine-tuning"] / math.log10(ALL) * 1.5)
    assert name == "fine-tuning" and value.mean == pytest.approx(expected)
    grid = transfer.grid(runs)
    assert list(grid["labelled images"]) == ["100", "300", "1,000", "3,000", "10,000", "45,000"]
    assert grid["fine-tuning"].isna().sum() == 4


def test_the_first_page_and_the_readme_have_the_same_accuracies(runs: Runs) -> None:
    frozen = transfer.curves(runs)["linear probe"][100].text
    soup = front.article(front.content([], runs, [NOTEBOOK])).soup
    lines = soup.select("table[aria-label^='Test accuracy by approach'] tr")
    cells = [[cell.get_text() for cell in line.select("th, td")] for line in lines]
    assert cells[0] == ["Labelled images", "Linear probe", "New classifier", "Fine-tuning", "Random start"], (
        "no first runs"
    )
    assert cells[1][:2] == ["100", frozen] and cells[1][3] == "–" and len(cells) == 7
    assert soup.select_one("#transfer + p a")["href"] == f"{NOTEBOOK.stem}.html"  # type: ignore[index]
    text, _ = readme.block(readme.Content([], transfer=runs))
    escaped = frozen.replace("[", r"\[").replace("]", r"\]")
    assert f"| 100 | {escaped} |" in text and "| labelled images | linear probe |" in text
    assert "labelled images" not in readme.block(readme.Content([]))[0]
    assert front.article(front.content([], [], [NOTEBOOK])).soup.find(id="transfer") is None


def test_the_gain_is_paired_by_seed(store: Store) -> None:
    assert transfer.gain(runs_of("cpu", store), "fine-tuning", 100) is None
    runs = runs_of("gpu", fill(store, "gpu"))
    found = transfer.gain(runs, "linear probe", 100)
    assert found is not None and found.n == 5, "both have five seeds with 100 images"
    assert found.estimate == pytest.approx(100 * (0.9 - 0.45) / 2 * 1.5)


def test_a_random_start_is_compared_only_where_it_made_as_many_steps(told: list[str], small_data: None) -> None:
    """Few steps show what few steps cost, not what ImageNet's layers are worth."""

    def runs(*names: str) -> Runs:
        found = []
        for approach in transfer.approaches("cpu"):
            for planned in counted(approach) if approach.name in names else ():
                error = QUALITY[approach.name] / math.log10(int(planned.condition))
                found.append((planned, fabricate.record(planned.spec, [error] * planned.spec.recipe.epochs, error)))
        return found

    first = runs("linear probe", transfer.SHORT)
    assert not transfer.comparable(first), "with all images the steps suffice, but their rate is that of few images"
    assert transfer.waiting(first) == ([100, 300, 1000, 3000, 10_000], [ALL])
    assert transfer.gain(first, "linear probe", ALL) is None and not len(transfer.worth(first))
    transfer_report.worth(first)
    assert "and 10,000 images no random start has made as many steps" in told[-1]
    assert "With 45,000 images the random start that made" in told[-1] and "at a rate chosen with 1,000. A" in told[-1]
    both = runs("linear probe", transfer.SHORT, transfer.RANDOM)
    assert list(transfer.comparable(both)) == [100, 300, 1000, 3000, 10_000, ALL]
    assert transfer.waiting(both) == ([], [])
    gain = transfer.gain(both, "linear probe", 100)
    assert gain is not None and gain.n == 3 and gain.estimate == pytest.approx(100 * (0.9 - 0.45) / 2)


def test_records_of_other_weights_are_named(runs: Runs) -> None:
    planned, record = next(pair for pair in runs if pair[0].spec.transfer is not None)
    other = record.model_copy(update={"data": record.data.model_copy(update={"hashes": {}})})  # type: ignore[union-attr]
    assert transfer.foreign([(planned, other)]) == [planned.spec.hash]


def test_images_that_a_curve_needs() -> None:
    found = curve((100, 20.0), (1000, 40.0), (10_000, 60.0))
    assert transfer.images_needed(found, 30.0)[0] == pytest.approx(10**2.5)
    assert transfer.images_needed(found, 60.0) == (pytest.approx(10_000), "10,000")
    assert transfer.images_needed(found, 20.0) == (100, "100 or fewer")
    assert transfer.images_needed(found, 60.1) == (math.inf, "more than 10,000")
    assert transfer.images_needed(curve((100, 20.0), (1000, 10.0), (10_000, 60.0)), 35.0)[0] > 1000
    with pytest.raises(SpecError):
        transfer.images_needed({}, 1.0)
    assert transfer.at(found, 10**2.5) == pytest.approx(30.0)
    assert transfer.at(found, 99) is None and transfer.at({}, 100) is None


def test_a_best_rate_at_the_end_of_its_row_is_named(tmp_path: Path, small_data: None) -> None:
    middle = runs_of("cpu", fill(Store(tmp_path / "middle")))
    assert transfer.at_the_edge(middle) == []
    last = runs_of("cpu", fill(Store(tmp_path / "last"), best=4))
    assert transfer.at_the_edge(last) == [
        "linear probe (100, 300, 1,000, 3,000 images)",
        "fine-tuning (3,000 images)",
        "random start, first runs (1,000 images)",
        "random start (100, 300, 1,000, 3,000 images)",
    ]
    assert transfer.at_the_edge([]) == []


def test_runs_that_diverged_are_in_the_mean_and_named(store: Store, told: list[str]) -> None:
    before = transfer.grid(runs_of("cpu", store))
    for planned in counted(transfer.approaches("cpu")[1])[-2:]:  # seeds 3 and 4 with 100 images
        store.put(diverged(made(planned.spec, 0.9)))
    runs = runs_of("cpu", store)
    assert transfer.diverged(runs) == {("new classifier", 100): 2}
    changed = transfer.grid(runs).compare(before)
    assert changed.shape == (1, 2) and changed.iloc[0, 0].endswith("n = 5, 2 diverged")
    assert transfer.curves(runs)["new classifier"][100].values[-2:] == pytest.approx((10.0, 10.0))
    transfer_report.against_images(runs)
    assert "With 100 labelled images 2 of 5 runs of the approach *new classifier* diverged" in told[-1]


def test_runs_of_the_first_plan_are_shown_and_never_count(store: Store) -> None:
    """The plan was changed when their test accuracy was known, which the pages have to say."""
    before = runs_of("cpu", store)
    assert not len(transfer.replaced(before))
    fine_tuning, short, _ = transfer.approaches("cpu")[2:]
    for approach in (fine_tuning, short):
        assert approach.first is not None
        for size, budget in approach.first.budgets.items():
            store.put(diverged(made(approach.run(size, approach.first.rate, budget), 0.6)))
    runs = runs_of("cpu", store)
    table = transfer.replaced(runs)
    assert list(table["approach"]) == ["fine-tuning", transfer.SHORT]
    assert (table["first: test accuracy"].str.match(r"40\.00% .*, 1 diverged$")).all()
    assert (table["now: epochs"].astype(int) > table["first: epochs"].astype(int)).all()
    now = transfer.curves(runs)["fine-tuning"][ALL]
    assert table["now: test accuracy"][0] == now.text
    pandas.testing.assert_frame_equal(transfer.grid(runs), transfer.grid(before))
    rows = dict(front.content([], runs, [NOTEBOOK])["checklist"])
    assert "2 transfer runs of the first plan are shown beside those in their place" in rows["Were runs left out?"]
    assert any(event.after and "Transfer" in event.what for event in history().event), "the list of changes says so"
    rows = dict(front.content([], before, [NOTEBOOK])["checklist"])
    assert "first plan" not in str(rows)


def test_figures_state_their_findings(runs: Runs) -> None:
    figure, alt = transfer_report.draw_against_images(transfer.curves(runs), 87.18, "as published")
    assert "fine-tuning from" in alt and "45,000" in alt and len(figure.axes) == 1
    bundle(figure, alt)
    cells = transfer.by_size(runs)
    chosen = {name: sizes.get(ALL, []) for name, sizes in cells.items()}
    figure, alt = transfer_report.draw_epochs(chosen, {"fine-tuning": (1, 2)})
    assert [text.get_text() for text in figure.axes[0].texts].count("unfrozen") == 2
    bundle(figure, alt)


@pytest.mark.parametrize("records", ["none", "some", "all"])
def test_every_cell_of_the_notebook_runs(
    records: str,
    tmp_path: Path,
    small_data: None,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Without any record, in the midst of the runs, and at their end."""
    monkeypatch.setattr(paths, "runs_folder", lambda *_: tmp_path)
    store = Store(tmp_path)
    if records != "none":
        fill(store)
    if records == "some":
        fine_tuning, _, start = transfer.approaches("cpu")[2:]
        (search,) = fine_tuning.study().searches
        for planned in (*search.outcome(store)[0], *counted(start)[:4]):
            store.path(planned.spec.hash).unlink()
    exec(compile(NOTEBOOK.read_text(), str(NOTEBOOK), "exec"), {})
    said = " ".join(told) + capsys.readouterr().out
    assert ("make runs CLAIM=transfer" in said) == (records != "all")
    assert ("the best validation accuracy is" in said) == (records != "none")
    assert "no ImageNet weights are involved" in said


def test_a_number_of_images_that_nobody_measured(runs: Runs, told: list[str]) -> None:
    transfer_report.play(runs, 7)
    assert "choose a number from 100 to 45,000" in told[0]
