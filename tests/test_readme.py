import pytest
from fabricate import record, speed_runs

from alexnet import __main__ as command_line
from alexnet.errors import ReportError
from alexnet.experiments.reimplementations import ArmResult, arms_of
from alexnet.report import answers, front, readme
from alexnet.report.readme import Content
from alexnet.statistics import board
from alexnet.statistics.verdicts import LABELS

TEXT = f"# Title\n\nBefore.\n\n{readme.BEGIN}\nold\n{readme.END}\n\nAfter | with [marks].\n"


@pytest.fixture
def rows():
    return board.rows(speed_runs([42.0, 45.0, 40.0], [7.0, 7.5, 6.5], "arrived"), {"parameters": 60_965_224})


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_board_is_written_between_its_marks(page, rows):
    assert readme.update(page, Content(rows))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nBefore.\n\n") and text.endswith("\n\nAfter | with [marks].\n")
    inside = text.split(readme.BEGIN)[1].split(readme.END)[0]
    assert "old" not in inside and "**reproduced**" in inside and "60,965,224" in inside
    result, seeds = rows[0].effect.text.replace("[", r"\[").replace("]", r"\]").split(", n = ")
    assert f"| {result} times, n = {seeds} |" in inside
    assert " ".join(answers.sentences(rows, [])) in inside
    lines = [line for line in inside.splitlines() if line.endswith("** |") and "%" not in line.split("|")[2]]
    assert sum("**waits for its runs**" in line for line in lines) == 19 - 1 + 1, "the neurons were not counted"
    assert "ImageNet 2012" in inside and inside.count("**not tested** |") == 2 + 5


def test_every_table_row_has_as_many_cells_as_the_head(page, rows):
    readme.update(page, Content(rows))
    table = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [line.replace(r"\|", "").count("|") for line in table]
    assert cells == [6] * (2 + 23) + [7] * (2 + 5)


def test_a_label_that_a_correction_takes_away_is_marked(page, rows):
    unclear = board.rows(speed_runs([18.0, 45.0, 10.5], [7.0, 7.5, 6.5], "arrived"))
    marked = Content(unclear)
    _, strict = board.corrected([row for row in unclear if row.question.primary])
    readme.update(page, marked)
    text = page.read_text(encoding="utf-8")
    assert answers.corrections(unclear) == {} and "†" not in text and "‡" not in text, "one test needs no correction"
    assert strict[0] == unclear[0].verdict.label


def test_the_readme_explains_every_verdict():
    text = readme.README.read_text(encoding="utf-8").split("## How to read a verdict")[1].split("## ")[0]
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:] == list(LABELS)


def test_the_forest_plot_lies_beside_it_with_its_alt_text(page, rows):
    readme.update(page, Content(rows))
    text = page.read_text(encoding="utf-8")
    picture = page.parent / readme.FOREST
    assert f"![Forest plot of 1 effect in margins of their claims: 1 reproduced.]({readme.FOREST.as_posix()})" in text
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


def test_a_claim_that_waits_for_more_pairs_is_not_drawn(page):
    runs = speed_runs([42.0, 45.0], [7.0, 7.5], "arrived")
    waiting = board.rows([(planned, run if planned.spec.seed == 0 else None) for planned, run in runs])
    assert waiting[0].waits and waiting[0].effect.n == 1
    readme.update(page, Content(waiting))
    assert not (page.parent / readme.FOREST).exists()
    assert front.content(waiting, [], [])["forest"] is None


def test_reimplementations_stand_beside_what_they_published(page, rows):
    arm = arms_of("cpu", "cifar-bn")[0]
    run = record(arm.spec, [0.5, 0.1], test_error=0.2)
    readme.update(page, Content(rows, {"cifar-bn": [ArmResult(arm, (run,), 1)]}))
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    mine = next(line for line in lines if "batch normalisation" in line)
    assert "| 76.75% (the test set, after the last epoch) | 80.00% " in mine
    assert mine.endswith("**reproduced (first look)** |"), "fabricated records are older than the rule"
    assert sum(line.endswith("**not tested** |") for line in lines) == 4 + 2


def test_writing_twice_changes_nothing(page, rows):
    assert readme.update(page, Content(rows))
    before = page.read_bytes(), (page.parent / readme.FOREST).read_bytes()
    assert not readme.update(page, Content(rows))
    assert readme.update(page, Content(rows), check=True) is False
    readme.update(page, Content([]))
    assert readme.update(page, Content(rows))
    assert (page.read_bytes(), (page.parent / readme.FOREST).read_bytes()) == before


def test_the_check_writes_nothing(page, rows):
    assert readme.update(page, Content(rows), check=True)
    assert page.read_text(encoding="utf-8") == TEXT and not (page.parent / readme.FOREST).exists()


def test_a_picture_of_other_numbers_is_out_of_step(page, rows):
    readme.update(page, Content(rows))
    picture = page.parent / readme.FOREST
    picture.write_text(picture.read_text(encoding="utf-8").replace("marks, data ", "marks, data 0"), encoding="utf-8")
    assert readme.update(page, Content(rows), check=True)
    picture.unlink()
    assert readme.update(page, Content(rows), check=True)


def test_without_a_verdict_the_board_says_so(page):
    readme.update(page, Content(board.rows([])))
    text = page.read_text(encoding="utf-8")
    assert "No claim's verdict rests on trainings yet" in text and "**reproduced**" not in text and "![" not in text


@pytest.mark.parametrize("text", ["no marks", f"{readme.END}\n{readme.BEGIN}", TEXT + readme.BEGIN])
def test_lost_marks_are_an_error_and_nothing_is_written(page, rows, text):
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match="put them back"):
        readme.update(page, Content(rows))
    assert page.read_text(encoding="utf-8") == text


def test_a_missing_readme_is_an_error(tmp_path, rows):
    with pytest.raises(ReportError, match="cannot be read"):
        readme.update(tmp_path / "README.md", Content(rows))


def test_the_command(page, rows, monkeypatch, capsys):
    monkeypatch.setattr(readme.update, "__defaults__", (page, Content(rows), False))
    assert command_line.main(["readme", "--check"]) == 1
    assert "out of step" in capsys.readouterr().out
    assert command_line.main(["readme"]) == 0
    assert command_line.main(["readme", "--check"]) == 0
    assert "in step" in capsys.readouterr().out
