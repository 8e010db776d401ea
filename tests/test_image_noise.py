"""The noise of the test set beside that of the seeds, from stored predictions."""

from pathlib import Path

import numpy as np
import pytest
from fabricate import planned, record

from alexnet.errors import NothingToDraw, RecordError
from alexnet.experiments import ablations
from alexnet.figures import curves
from alexnet.paper.claims import claims
from alexnet.records.store import Store
from alexnet.runs import planning
from alexnet.statistics import board, image_noise

QUESTION = claims().question("overlap-pool")
LABELS = np.random.default_rng(0).integers(0, 10, 400).astype(np.uint8)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    class Split:
        test_labels = LABELS

    monkeypatch.setattr(image_noise, "split_for", lambda _: Split)
    return Store(tmp_path)


def runs_of(store: Store, wrong: dict[str, list[slice]], question=QUESTION):
    """Runs whose predictions are right but for some images: arm -> images that it gets wrong, one slice a seed."""
    found = []
    for arm, seeds in wrong.items():
        for seed, missed in enumerate(seeds):
            activation = "tanh" if arm in ("plain", "without") else "relu"  # only to give each arm a hash of its own
            spec = planned("relu", seed, 5.0)[0].spec.with_(net={"activation": activation})
            predicted = LABELS.copy()
            predicted[missed] = (predicted[missed] + 1) % 10
            entry = planning.Planned(question.claim, question.condition, "seeds", arm, seed, spec)
            made = record(spec, [0.5], test_error=float((predicted != LABELS).mean()))
            found.append((entry, made.model_copy(update={"predictions": store.put_predictions(spec.hash, {
                "predicted": predicted})})))  # fmt: skip
    return found


def test_one_pair_is_mcnemars_test_on_its_predictions(store: Store) -> None:
    runs = runs_of(store, {"plain": [slice(0, 60)], "overlapping": [slice(40, 80)]})
    noise = image_noise.noise_of(QUESTION, runs, store)
    assert noise is not None and noise.difference == pytest.approx(100 * (60 - 40) / 400)
    first, second = np.ones(400, dtype=bool), np.ones(400, dtype=bool)
    first[:60], second[40:80] = False, False
    assert noise == image_noise.sampling_noise(first, second)


def test_the_table_sets_both_intervals_beside_each_other(store: Store) -> None:
    runs = runs_of(store, {"plain": [slice(0, 60), slice(0, 64)], "overlapping": [slice(0, 40), slice(0, 48)]})
    row = board.row(QUESTION, runs)
    found = image_noise.table([row, board.row(claims().question("dropout-time"))], runs, store)
    assert list(found["claim"]) == [QUESTION.title]
    line = found.iloc[0]
    assert line["difference"] == pytest.approx(row.effect.estimate) == pytest.approx(4.5)
    assert line["over seeds"] == f"{row.effect.low:.2f} to {row.effect.high:.2f}"
    low, high = map(float, line["over images"].split(" to "))
    assert 0 < low < 4.5 < high < row.effect.high and line["p"] == "< 0.001"


def test_incomplete_pairs_and_other_measures_have_none(store: Store) -> None:
    runs = runs_of(store, {"plain": [slice(0, 60)], "overlapping": [slice(0, 40)]})
    assert image_noise.noise_of(claims().question("dropout-time"), runs, store) is None
    assert image_noise.noise_of(QUESTION, [(runs[0][0], None), runs[1]], store) is None


def test_a_run_that_diverged_gets_no_image_right(store: Store) -> None:
    runs = runs_of(store, {"plain": [slice(0, 60)], "overlapping": [slice(0, 40)]})
    diverged = runs[0][1].model_copy(update={"predictions": None})
    noise = image_noise.noise_of(QUESTION, [(runs[0][0], diverged), runs[1]], store)
    assert noise is not None and noise.difference == pytest.approx(100 * (400 - 40) / 400)


def test_predictions_that_are_missing_are_named(store: Store) -> None:
    runs = runs_of(store, {"plain": [slice(0, 60)], "overlapping": [slice(0, 40)]})
    (store.folder / runs[0][1].predictions.file).unlink()
    with pytest.raises(RecordError, match="is missing"):
        image_noise.noise_of(QUESTION, runs, store)


def test_each_variant_of_an_arm_is_paired_with_the_other_arm(store: Store) -> None:
    depth = claims().question("depth")
    runs = runs_of(store, {arm: [slice(0, wrong)] for arm, wrong in zip(depth.arms, (60, 40), strict=True)}, depth)
    several = next(arm for arm in depth.arms if arm == "without")
    again = [(entry, made) for entry, made in runs if entry.arm == several]
    noise = image_noise.noise_of(depth, runs + again, store)
    assert noise is not None and noise.pairs == 2 and abs(noise.difference) == pytest.approx(5.0)


# What arms set otherwise, and their curves side by side


def test_changes_name_each_setting_that_differs() -> None:
    base = ablations.ALEXNET_32
    assert planning.changes(base.with_(seed=3, measured="fit"), base) == "nothing"
    changed = base.with_(net={"norm": "none"}, images={"flip": False}, recipe={"weight_decay": 0.001, "drops": (3, 5)})
    said = planning.changes(changed, base)
    assert said == "images.flip off, net.norm none, recipe.weight_decay 0.001, recipe.drops 3, 5"
    assert base.images.flip  # or it would not have been named


def test_curves_stand_beside_each_other_and_half_a_comparison_is_left_out() -> None:
    arms = {"with": [planned("relu", seed, 5.0)[1] for seed in (0, 1)], "without": [planned("tanh", 0, 9.0)[1]]}
    comparisons = {"Both": arms, "Half": {**arms, "without": []}}
    figure, alt = curves.curve_panels(
        comparisons, lambda epoch: 100 * epoch.valid_error, "validation error (%)", "When do they part?"
    )
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title("left") for axis in shown] == ["Both"] and len(shown[0].lines) == 2
    last = {arm: 100 * records[0].final.valid_error for arm, records in arms.items()}
    assert f"with {last['with']:.1f} and without {last['without']:.1f}" in alt and "Half" not in alt
    with pytest.raises(NothingToDraw):
        curves.curve_panels({"Half": comparisons["Half"]}, lambda epoch: 0.0, "error", "Why?")
