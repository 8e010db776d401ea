import dataclasses
import datetime
import subprocess
import tomllib

import pytest
from fabricate import planned

from alexnet import paths
from alexnet.errors import SpecError
from alexnet.experiments import profiles, reimplementations
from alexnet.paper.claims import claims, history, logs, published
from alexnet.records.store import Store
from alexnet.report import facts

IDS = [
    "relu-speed",
    "two-towers",
    "lrn-cifar",
    "lrn-alexnet",
    "overlap-pool",
    "overlap-overfit",
    "arch-params",
    "arch-neurons",
    "aug-crop-flip",
    "aug-colour",
    "ten-crop",
    "dropout-overfit",
    "dropout-time",
    "weight-decay-train",
    "bias-ones",
    "init-as-written",
    "lr-drops",
    "kernel-towers",
    "neighbours",
    "top5-sensible",
    "depth",
    "imagenet-2010",
    "imagenet-2012",
]
REIMPLEMENTATIONS = ["mnist-alexnet", "cifar-bn", "cifar-towers", "cifar-transfer", "cifar-lrn"]


def test_every_claim_is_there_once():
    assert [claim.id for claim in claims().claim] == IDS


def test_every_claim_says_what_decides_its_verdict():
    for question in claims().questions():
        assert question.section and question.estimand and question.run and question.confidence == 0.95
        if question.effect in ("ratio", "difference"):
            assert question.null is not None and question.direction and question.measure and question.arms
            assert question.margin is not None and question.margin_why
        elif question.effect == "none":
            assert question.not_tested


def test_the_paper_figure_of_relu_speed_is_compared_with_the_paper_s_own_start_only():
    assert claims().question("relu-speed").id == "relu-speed/arrived"
    assert claims().question("relu-speed").comparable == 6.0
    assert claims().question("relu-speed", "original").comparable == 6.0
    assert claims().question("relu-speed", "modern").comparable is None
    assert claims().question("relu-speed", "original").arms == ("tanh", "relu")


def test_figures_from_imagenet_are_never_compared_with_cifar():
    for question in claims().questions():
        if question.comparable is not None and question.effect in ("ratio", "difference"):
            assert question.id in ("relu-speed/arrived", "relu-speed/original", "lrn-cifar/full-length")


def test_a_condition_may_have_its_own_figure_and_measure():
    total, first = (claims().question("arch-neurons", name) for name in ("total", "first-layer"))
    assert (total.comparable, first.comparable) == (650_000, 253_440)
    assert (total.measure, first.measure) == ("neurons", "first-layer-neurons")
    assert claims().question("two-towers", "full-width").figure is None
    nats = claims().question("bias-ones", "as-run")
    assert (nats.effect, nats.unit, nats.margin) == ("difference", "nats", 0.1)


def test_margins_are_half_of_the_paper_s_figures():
    """Half a difference, and the square root of a factor; a qualitative claim's margin has a reason of its own."""
    for question in claims().questions(primary_only=True):
        figure = question.figure
        if figure is None or figure.value is None or question.effect not in ("ratio", "difference"):
            continue
        half = figure.value**0.5 if question.effect == "ratio" else figure.value / 2
        assert question.margin == pytest.approx(half), question.id


def test_no_condition_whose_runs_were_seen_before_the_rule_decides():
    seen = {question.id for question in claims().questions() if question.seen}
    assert "dropout-overfit/cifar" in seen and "dropout-overfit/overfit" not in seen
    assert not any(question.seen for question in claims().questions(primary_only=True))


def test_primary_questions_are_one_a_claim():
    assert [question.claim for question in claims().questions(primary_only=True)] == IDS


@pytest.mark.parametrize(
    ("claim", "condition", "known"),
    [("relu-sped", None, "relu-speed"), ("relu-speed", "orignal", "arrived, original, modern, alexnet")],
)
def test_unknown_ids_are_refused_and_the_known_ones_named(claim, condition, known):
    with pytest.raises(SpecError, match=known):
        claims().question(claim, condition)


def changed(tmp_path, old, new, name="claims.toml"):
    text = (paths.PAPER / name).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('direction = "above"', 'direction = "upwards"', "direction"),
        ('effect = "ratio"', 'effect = "ratio"\neffcet = "ratio"', "effcet: Extra inputs"),
        ('measure = "epochs-to-target"\n', "", "needs a measure"),
        ("null = 1.0", "null = 0.0", "positive"),
        ("margin = 2.449489742783178", "margin = 0.5", "factor of 1 or more"),
        ("margin = 0.85\n", "", "a margin"),
        ("seen = true", "seen = true\nsmallest_of = ['longest']", "longest"),
        ("levels = [1.5", "level = [1.5", "level: Extra inputs"),
        ("fixed = 2026-11-26", "fixed = 'lately'", "fixed"),
        ('id = "modern"', 'id = "original"', "original more than once"),
        ('id = "two-towers"', 'id = "relu-speed"', "relu-speed more than once"),
        ("primary = true", "primary = false", "exactly one primary"),
        ("primary = true", "primary = true\nseen = true", "cannot decide"),
        ("without = 13.0", "without = 14.0", "is not 2.0"),
        ("value = 6.0\n", "", "has a value unless"),
        ("value = 6.0", "value = nan", "finite"),
        ("last_digit = 1_000_000\n", "", "last printed digit"),
        ("confidence = 0.95", "confidence = 95", "less than 1"),
        ("[rule]", "[rule", "cannot be read"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path, old, new, reason):
    with pytest.raises(SpecError, match=reason):
        claims(changed(tmp_path, old, new))


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(SpecError, match=r"claims\.toml cannot be read"):
        claims(tmp_path / "claims.toml")


def test_reading_twice_gives_the_same_object():
    assert claims() is claims()


def test_all_five_reimplementations_have_their_headline():
    headlines = {row.id: row.headline.value for row in published().row}
    assert list(headlines) == REIMPLEMENTATIONS
    assert headlines == dict(zip(REIMPLEMENTATIONS, (98.87, 76.75, 76.56, 87.18, 80.36), strict=True))


def test_published_per_class_figures_are_consistent():
    per_class = published()["mnist-alexnet"].per_class
    assert set(per_class) == {"train", "validation", "test"}
    for figures in per_class.values():
        assert len(figures.precision) == len(figures.recall) == len(figures.f1) == 10
        for precision, recall, f1 in zip(figures.precision, figures.recall, figures.f1, strict=True):
            assert f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=2e-4)


def test_the_published_log_agrees_with_the_published_figures():
    row = published()["cifar-bn"]
    assert len(row.log.train_loss) == 50
    figures = {(figure.metric, figure.split): figure.value for figure in row.figures}
    assert 100 * row.log.train_accuracy[-1] == pytest.approx(figures["accuracy", "train"])
    assert 100 * row.log.validation_accuracy[-1] == pytest.approx(figures["accuracy", "validation"])


def test_a_log_with_a_missing_epoch_is_refused(tmp_path):
    with pytest.raises(SpecError, match="one value an epoch"):
        published(changed(tmp_path, "train_loss = [\n  1.9404,", "train_loss = [\n", "published.toml"))


def test_the_papers_figures_are_the_differences_of_single_runs_in_the_logs():
    printed = [pair for pair in logs().pair if pair.printed]
    assert [pair.claim for pair in printed] == ["two-towers", "lrn-alexnet", "overlap-pool", "ten-crop"]
    for pair in printed:
        for points, figure in zip(pair.points, claims()[pair.claim].figures, strict=True):
            # the paper rounds a difference, or takes that of two rounded errors
            assert points == pytest.approx(figure.value, abs=0.05 if figure.without is None else 0.1), pair.claim
    (overlap,) = logs().sentences("overlap-pool")
    assert "top-1 41.06% to 40.66%, 0.39 points; top-5 18.51% to 18.21%, 0.30 points, before rounding." in overlap
    assert overlap.endswith("One run each (layer-params-147.cfg and layer-params-145.cfg).")
    assert logs().sentences("depth") == []


def test_a_pair_of_a_run_that_the_logs_lack_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"logs\.toml is not valid: .*pair.*with"):
        logs(changed(tmp_path, 'with = "145-2010"', 'with = "146-2010"', "logs.toml"))


def test_an_unknown_reimplementation_is_refused():
    with pytest.raises(SpecError, match="cifar-towers"):
        published()["cifar-tower"]


def test_tables_hold_plain_text_and_numbers_only():
    for name in ("claims.toml", "published.toml", "logs.toml"):
        text = (paths.PAPER / name).read_text(encoding="utf-8")
        assert tomllib.loads(text) and text.isascii() and "http" not in text


def test_every_claim_and_reimplementation_has_a_page_that_names_it():
    for entry in (*claims().claim, *published().row):
        assert (paths.ROOT / "notebooks" / f"{entry.page}.py").exists(), entry.id
    for page in {claim.page for claim in claims().claim}:
        mine = [claim.id for claim in claims().claim if claim.page == page]
        text = (paths.ROOT / "notebooks" / f"{page}.py").read_text(encoding="utf-8")
        assert page == "11_results" or any(f'"{name}"' in text for name in mine), page


# ---- what was planned, seen and changed ------------------------------------------------------------------------------


CLAIMS = ("lib/alexnet/claims.toml", "lib/alexnet/paper/claims.toml")  # where they lay, and where they lie


@pytest.fixture
def git():
    """What git says of this project; the test is skipped where its history is not there."""

    def said(*words: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        said("cat-file", "-e", history().event[-1].commit)
        shallow = said("rev-parse", "--is-shallow-repository") == "true"
    except (OSError, subprocess.CalledProcessError):
        shallow = True
    if shallow:
        pytest.skip("the history is not here: no git, no repository, another history or a shallow clone")
    return said


def test_the_list_of_changes_agrees_with_the_history(git):
    events = history().event
    assert [event.date for event in events] == sorted(event.date for event in events)
    for event in events:
        date, subject = git("show", "-s", "--format=%cI%n%s", event.commit).split("\n")
        assert datetime.datetime.fromisoformat(date) == event.date and subject == event.subject, event.commit
    touched = git("log", "--format=%H", events[-1].commit, "--", *CLAIMS).split()
    for commit in set(touched) - {event.commit for event in events}:
        assert decided(git, commit) == decided(git, f"{commit}^"), f"{commit} changes what decides, and is not listed"


def test_nothing_that_decides_a_verdict_was_changed_since_the_last_entry(git):
    """What was fixed stays fixed: a change of a margin, a measure or a primary condition needs an entry of its own."""
    now = decides((paths.PAPER / "claims.toml").read_text(encoding="utf-8"))
    assert now == decided(git, history().event[-1].commit)
    assert now != decided(git, "97cf441fb02026719687f4211255e0bf77ee9c3c^"), "the comparison sees a change"


def decided(git, commit):
    """What decides the verdicts at a commit."""
    return decides(git("show", f"{commit}:{git('ls-tree', '--name-only', commit, '--', *CLAIMS)}"))


def decides(text):
    """What decides the verdicts in a file of claims: how it is worded, and where pages lie, does not."""
    deciding = ("effect", "measure", "levels", "arms", "null", "margin", "also", "direction", "smallest_of", "figures")
    deciding += ("id", "primary", "seen", "scale", "profile")
    rule = ("confidence", "fixed", "false_discoveries", "reproduced", "weaker_than_claimed", "contradicted")

    def of(entry):
        kept = {name: entry[name] for name in deciding if name in entry}
        return kept | {"conditions": [of(one) for one in entry.get("conditions", [])]}

    found = tomllib.loads(text)
    return [of(claim) for claim in found["claim"]], {name: found["rule"].get(name) for name in rule}


def test_the_rule_precedes_every_record_that_decides_a_claim(git):
    fixed = claims().rule.fixed
    runs = profiles.records("cpu", Store(paths.RUNS))
    assert facts.too_early(runs) == [], "no record is older than the day of the rule"
    dates = git("log", "--reverse", "--format=%cI", f"-Sfixed = {fixed}", "--", *CLAIMS).split("\n")
    committed = datetime.datetime.fromisoformat(dates[0])
    assert committed.date() == fixed
    for record in facts.deciding(runs):
        assert datetime.datetime.fromisoformat(record.created) > committed, f"{record.hash} is older than the rule"
    found = reimplementations.results("cpu", Store(paths.RUNS))
    counted = [row for row, arms in found.items() if not reimplementations.first_look(arms)]
    assert counted, "a published row is judged by the rule"
    for row in counted:
        for record in reimplementations.clean_records(found[row]):
            assert datetime.datetime.fromisoformat(record.created) > committed, f"{row}: {record.hash} is older"


def test_a_published_row_whose_verdict_a_later_wording_changed_is_named_in_the_list_of_changes():
    """That a run whose tail was cut counts as whole was worded when one such row had been seen: no other may profit."""
    changes = {row: event for event in history().event for row in event.rows}
    assert changes and set(changes) <= set(REIMPLEMENTATIONS)
    assert all(event.kind == "changed" and event.after and event.amended for event in changes.values())
    worded = min(event.date for event in changes.values())
    for row, arms in reimplementations.results("cpu", Store(paths.RUNS)).items():
        stands = reimplementations.protocol(arms)
        for record in stands.records if stands.share != stands.arm.share else ():
            assert row in changes or datetime.datetime.fromisoformat(record.created) > worded, row


def test_a_record_older_than_the_rule_is_found():
    early = planned("tanh", 0, 20, "arrived")  # made up in January
    assert facts.too_early([early]) == [early[1]]
    late = early[1].model_copy(update={"created": "2026-12-01T00:00:00+00:00"})
    first_look = planned("tanh", 0, 20, "original")
    choosing = planned("tanh", 0, 20, "arrived", stage="grid")
    assert facts.too_early([(early[0], late), first_look, choosing, (early[0], None)]) == []
    part = (dataclasses.replace(early[0], claim="depth", condition="long-conv3"), early[1])
    assert facts.too_early([part]) == [early[1]], "the parts of a smallest effect decide as well"


def test_no_primary_condition_was_seen_before_the_rule():
    for claim in claims().claim:
        parts = {part for one in claim.conditions if one.primary for part in one.smallest_of}
        for condition in claim.conditions:
            assert not (condition.seen and (condition.primary or condition.id in parts)), f"{claim.id}/{condition.id}"
