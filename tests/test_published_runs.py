"""What published protocols need of specs, batches, networks and training, and what is planned and measured of them."""

import fabricate
import numpy as np
import pandas as pd
import pytest
import small
import torch
import torch.nn.functional as F

from alexnet.audit import checks
from alexnet.data import datasets
from alexnet.data.compat import import_torchvision
from alexnet.data.datasets import CIFAR10
from alexnet.errors import SpecError
from alexnet.experiments import profiles, reimplementations
from alexnet.experiments.reimplementations import (
    ARMS,
    NETWORKS,
    PAPER_START,
    PROTOCOLS,
    PUBLISHED,
    SHARE,
    Arm,
    ArmResult,
)
from alexnet.networks import anatomy, models
from alexnet.paper.claims import claims, published
from alexnet.records.record import RunRecord
from alexnet.records.specs import ImageSpec, RunSpec
from alexnet.records.store import Store
from alexnet.report import front, notebooks, published_report
from alexnet.runs import execution
from alexnet.runs.planning import PROFILES
from alexnet.statistics.accuracy import Accuracy, clean_accuracy
from alexnet.training.preparation import Preparation, Statistics, random_boxes

CPU = torch.device("cpu")


def statistics(side: int = 32) -> Statistics:
    return Statistics(torch.full((side, side, 3), 100.0), 50.0, torch.full((3,), 100.0), torch.ones(3), torch.eye(3))


def adam(measured: str = "epochs") -> RunSpec:
    """A narrow AlexNet with dropout, by Adam, everything watched; its last layer drawn anew after two epochs."""
    net = {"name": "alexnet", "form": "32", "width": 0.02, "norm": "none", "init": "torch"}
    second = {"after": 2, "learning_rate": 0.01, "last_layer": True}
    recipe = {"optimiser": "adam", "learning_rate": 0.001, "weight_decay": 0.0, "epochs": 4, "second": second}
    return small.spec(3, net=net, recipe=recipe).with_(measured=measured)


# --- images -----------------------------------------------------------------------------------------------------------


def test_pixels_over_255_are_neither_shifted_nor_stretched_otherwise():
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    prepare = Preparation(ImageSpec(scaling="unit-range"), statistics(), CPU)
    assert torch.allclose(prepare(pixels, prepare.centre(2)), pixels.permute(0, 3, 1, 2) / 255)


def test_boxes_have_the_areas_and_shapes_of_torchvisions_and_lie_within_the_image():
    top, left, height, width = random_boxes(20000, 32, torch.Generator().manual_seed(0)).unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 32.001).all() and (left + width <= 32.001).all()
    area, shape = height * width / 32**2, width / height
    assert 0.08 <= area.min() < 0.09 and 0.95 < area.max() <= 1
    assert shape.min() > 0.749 and shape.max() < 1.334
    assert abs(shape.log().mean().item()) < 0.01  # no side is favoured
    crops = import_torchvision().transforms.RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(3, 256, 256)
    theirs = [crops.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    areas = np.array([h * w / 256**2 for _, _, h, w in theirs])
    assert area.mean().item() == pytest.approx(areas.mean(), abs=0.015)
    assert area.std().item() == pytest.approx(areas.std(), abs=0.015)


def test_a_box_is_stretched_as_torch_interpolates_it():
    prepare = Preparation(ImageSpec(scaling="unit-range", resize=64, crops="resized", flip=True), statistics(), CPU)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    draws = prepare.draw(2, torch.Generator().manual_seed(0))
    draws.boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [8.0, 4.0, 16.0, 16.0]])
    draws.flips = torch.tensor([False, True])
    found = prepare(pixels, draws)
    images = pixels.permute(0, 3, 1, 2) / 255
    whole = F.interpolate(images[:1], size=64, mode="bilinear", align_corners=False)
    assert torch.allclose(found[:1], whole, atol=1e-5)
    assert torch.allclose(found[:1], prepare(pixels[:1], prepare.centre(1)), atol=1e-5)
    part = F.interpolate(images[1:, :, 8:24, 4:20], size=64, mode="bilinear", align_corners=False).flip(3)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at its border a box sees the image around it
    assert torch.allclose(found[1:][inside], part[inside], atol=1e-5)


def test_only_resized_crops_draw_boxes_and_other_draws_stay_as_they_were():
    plain = Preparation(ImageSpec(resize=64, flip=True), statistics(), CPU).draw(5, torch.Generator().manual_seed(1))
    boxed = Preparation(ImageSpec(resize=64, flip=True, crops="resized"), statistics(), CPU)
    drawn = boxed.draw(5, torch.Generator().manual_seed(1))
    assert plain.boxes is None and drawn.boxes is not None and torch.equal(plain.flips, drawn.flips)
    assert torch.equal(drawn.part(slice(1, 3)).boxes, drawn.boxes[1:3])


# --- training ---------------------------------------------------------------------------------------------------------


def test_everything_a_published_protocol_looks_at_is_recorded_and_the_audit_confirms_it(small_data, tmp_path):
    store = Store(tmp_path)
    record = execution.execute(adam(), store, precision="float32")
    assert list(checks.differences(record, store)) == []
    assert record.history[-1].test_error == record.final.test_error
    assert record.history[-1].test_loss == pytest.approx(record.final.test_loss, rel=1e-6)
    assert all(epoch.dropout_valid_loss != epoch.valid_loss for epoch in record.history)
    assert [epoch.learning_rate for epoch in record.history] == [0.001, 0.001, 0.01, 0.01]
    arrays = store.predictions(record)
    assert len(arrays["train_predicted"]) == 600 and len(arrays["valid_predicted"]) == 200
    assert arrays["maps_conv1"].dtype == np.float16
    assert record.final.clean_train_error is not None and record.learned is not None


def test_a_record_whose_predictions_on_training_images_were_altered_is_caught(small_data, tmp_path):
    store = Store(tmp_path)
    record = execution.execute(adam(), store, precision="float32")
    unwatched = [epoch.model_copy(update={"test_error": None}) for epoch in record.history]
    forged = record.model_copy(update={"history": unwatched})
    assert any("test_error is missing" in difference for difference in checks.differences(forged, store))
    arrays = store.predictions(record)
    arrays["train_predicted"] = (arrays["train_predicted"] + 1) % 10
    forged = record.model_copy(update={"predictions": store.put_predictions(record.hash, arrays)})
    assert any("train error" in difference for difference in checks.differences(forged, store))


def test_watching_changes_nothing_of_what_is_trained(small_data, tmp_path):
    watched = execution.execute(adam(), Store(tmp_path), precision="float32")
    plain = execution.execute(adam(measured="errors"), Store(tmp_path), precision="float32")
    assert watched.weights_sha256 == plain.weights_sha256
    assert [e.train_loss for e in watched.history] == [e.train_loss for e in plain.history]


def test_a_second_stage_trains_a_new_last_layer_alone(small_data):
    from alexnet.training.learners import learner

    learn = learner(adam(measured="errors"), precision="float32", progress=False)
    learn.fit(2)
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    learn.fit(2)
    changed = {name for name, value in learn.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc8.weight", "fc8.bias"}


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_killed_in_either_stage_ends_where_it_would_have_ended(small_data, tmp_path, after: int):
    whole = execution.execute(adam(), Store(tmp_path / "whole"), precision="float32")
    store = Store(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        execution.execute(adam(), store, precision="float32", report=small.stop_after(after))
    resumed = execution.execute(adam(), store, precision="float32")
    assert small.comparable(resumed) == small.comparable(whole)


# --- what is planned --------------------------------------------------------------------------------------------------


def test_every_row_has_its_network_its_protocol_and_runs_in_every_full_profile():
    rows = {row.id for row in published().row}
    assert set(NETWORKS) == set(PROTOCOLS) == rows
    for profile in ("cpu", "gpu"):
        assert reimplementations.study(profile).claims == rows
        assert reimplementations.study(profile) in profiles.STUDIES[profile]
    ids = {claim.id for claim in claims().claim}
    cpu = list(profiles.STUDIES["cpu"])
    assert all(cpu.index(other) < cpu.index(reimplementations.study("cpu")) for other in cpu if other.claims & ids)
    with pytest.raises(SpecError, match="No runs are planned for 'cifar'"):
        reimplementations.arms_of("cpu", "cifar")


def test_full_protocols_are_full_and_shares_say_how_much_they_are():
    assert not any(arm.partial for arm in ARMS["gpu"])
    assert not any(arm.partial for arm in ARMS["cpu"] if arm.name == PUBLISHED)
    partial = {arm.row for arm in ARMS["cpu"] if arm.name == SHARE and arm.partial}
    assert partial == {"mnist-alexnet", "cifar-towers", "cifar-transfer", "cifar-lrn"}
    (towers,) = (a for a in ARMS["cpu"] if (a.row, a.name) == ("cifar-towers", SHARE))
    assert towers.part == pytest.approx(8 / 45) and arm_of("cifar-bn", "cpu").part == 1
    assert towers.share == "partial: 8,000 of 45,000 training images, 10 of 10 epochs, 17.8% of the images seen"


def test_only_runs_in_full_write_down_what_others_chose_by():
    for arm in ARMS["cpu"]:
        if arm.partial:
            assert arm.spec.measured == "splits"
    assert all(spec.measured == "epochs" for spec in PROTOCOLS.values())


def test_every_row_is_planned_in_full_and_only_tails_of_eighty_epochs_are_cut():
    for row, spec in PROTOCOLS.items():
        planned = arm_of(row, "cpu").spec
        assert planned in (spec, spec.with_(recipe={"stop_after": 8}))
        assert (planned != spec) == (spec.recipe.epochs == 80), row
    bn = [arm.spec for arm in ARMS["cpu"] if arm.row == "cifar-bn" and arm.name.endswith("-full")]
    assert len(bn) == 4 and {spec.recipe.epochs for spec in bn} == {50}
    together = bn[-1]
    assert together.images.flip and together.recipe.weight_decay == 0.0005 and together.recipe.drops == (35, 45)


@pytest.mark.parametrize(
    "first, second, stage",
    [(40, 18, "the second stage"), (18, 40, "the first stage"), (18, 18, "each stage")],  # 18: the best is the tenth
)
def test_a_row_whose_tail_was_cut_says_where_and_which_stage(first: int, second: int, stage: str):
    arm, falling = arm_of("cifar-lrn", "cpu"), [0.5 - 0.01 * epoch for epoch in range(40)]
    errors = [error for epochs in (first, second) for error in (falling if epochs == 40 else falling[:10] + [0.45] * 8)]
    record = fabricate.record(arm.spec, errors, 0.3)
    cut = ArmResult(arm, (record,), 1)
    ended = f"ended after {first + second} of 80 epochs: {stage} was cut when its validation error had not become"
    assert cut.share == f"{ended} better for 8" and reimplementations.extent([cut]) == "in full, but for its tail"
    verdict = reimplementations.verdict(published()["cifar-lrn"], [cut])
    assert verdict.label == "contradicted" and ended in verdict.reason
    assert ArmResult(arm, (record, record), 2).share == f"a run {cut.share}; a run {cut.share}"
    whole = ArmResult(arm, (fabricate.record(arm.spec, falling + falling, 0.3),), 1)
    assert whole.share == reimplementations.extent([whole]) == "in full"
    nothing = ArmResult(arm, (), 1)
    assert nothing.share == "in full"


def test_training_images_are_those_of_the_split():
    images = {row: spec.training_images for row, spec in PROTOCOLS.items()}
    assert [images.pop(row) for row in ("cifar-bn", "cifar-lrn")] == [40_000, 40_000]
    assert images == {"mnist-alexnet": 55_000, "cifar-towers": 45_000, "cifar-transfer": 45_000}
    held_back = RunSpec(images=ImageSpec(valid_size=10_000))
    assert held_back.training_images == len(datasets.split(np.arange(50_000) % 10, 10_000)[0]) == 40_000


# --- networks ---------------------------------------------------------------------------------------------------------

MNIST_TABLE = [  # output and parameters of each layer, as published
    ((96, 55, 55), 34_944), ((96, 55, 55), 0), ((96, 55, 55), 0), ((96, 27, 27), 0),
    ((256, 27, 27), 614_656), ((256, 27, 27), 0), ((256, 27, 27), 0), ((256, 13, 13), 0),
    ((384, 13, 13), 885_120), ((384, 13, 13), 0), ((384, 13, 13), 1_327_488), ((384, 13, 13), 0),
    ((256, 13, 13), 884_992), ((256, 13, 13), 0), ((256, 6, 6), 0), ((9216,), 0),
    ((4096,), 37_752_832), ((4096,), 0), ((4096,), 0),
    ((4096,), 16_781_312), ((4096,), 0), ((4096,), 0), ((10,), 40_970),
]  # fmt: skip


def layers_of(row: str) -> pd.DataFrame:
    return anatomy.layers(PROTOCOLS[row].net, PROTOCOLS[row].side)


def test_the_mnist_network_is_the_published_one_layer_by_layer():
    table = layers_of("mnist-alexnet")
    assert list(zip(table["output"], table["parameters"], strict=True)) == MNIST_TABLE
    assert table["parameters"].sum() == published()["mnist-alexnet"].parameters


@pytest.mark.parametrize(
    "row, parameters",
    [("cifar-bn", 2_519_178), ("cifar-towers", 56_909_194), ("cifar-transfer", 44_428_106), ("cifar-lrn", 58_322_314)],
)
def test_parameters_of_the_other_networks(row: str, parameters: int):
    assert layers_of(row)["parameters"].sum() == parameters


def test_towers_take_224_pixels_to_the_papers_55_and_9216():
    table = layers_of("cifar-towers").set_index("layer")["output"]
    assert table["conv1"] == (96, 55, 55) and table["flatten"] == (9216,)
    kernels = models.build(PROTOCOLS["cifar-towers"].net, 228).conv2.weight.shape
    assert tuple(kernels) == (256, 48, 5, 5)  # 5x5x48, where the description has 5x5x8


def test_an_11x11_layer_5_would_not_give_the_published_9216_inputs():
    maps = torch.nn.Conv2d(256, 256, 11, padding=1)(torch.zeros(1, 256, 13, 13))
    assert torch.nn.MaxPool2d(3, 2)(maps).numel() == 1024


def test_dropout_can_stand_before_the_fully_connected_layers():
    names = [
        name for name, _ in models.build(NETWORKS["cifar-lrn"].model_copy(update={"width": 0.05}), 227).named_children()
    ]
    assert names[names.index("pool5") :] == [
        "pool5", "drop5", "flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "fc8",
    ]  # fmt: skip


def test_batch_normalisation_starts_as_the_identity_whatever_the_initialisation():
    net = NETWORKS["cifar-bn"].model_copy(update={"init": "kaiming", "width": 0.1})
    model = models.build(net, 32)
    assert torch.equal(model.bn1.weight, torch.ones_like(model.bn1.weight))
    with pytest.raises(SpecError, match="too small"):
        models.build(net, 8)


# --- ours beside theirs -----------------------------------------------------------------------------------------------


def record_of(arm: Arm, seed: int, test_errors: list[float], noisy: list[float] | None = None) -> RunRecord:
    made = fabricate.record(arm.spec.with_(seed=seed), test_errors, test_errors[-1])
    extra = [
        {"test_error": e, "dropout_valid_error": n} for e, n in zip(test_errors, noisy or test_errors, strict=True)
    ]
    history = [epoch.model_copy(update=more) for epoch, more in zip(made.history, extra, strict=True)]
    return made.model_copy(update={"history": history})


def arm_of(row: str, profile: str = "gpu", name: str = PUBLISHED) -> Arm:
    return next(arm for arm in ARMS[profile] if (arm.row, arm.name) == (row, name))


def test_a_rows_own_protocol_takes_the_best_epoch_and_the_clean_one_the_last():
    towers, lrn = arm_of("cifar-towers"), arm_of("cifar-lrn")
    record = record_of(towers, 0, [0.4, 0.2, 0.25])
    assert reimplementations.own_accuracy("cifar-towers", record) == pytest.approx(80)
    assert clean_accuracy(record) == pytest.approx(75)
    assert reimplementations.own_accuracy("cifar-bn", record) == pytest.approx(75)
    measured_again = record.model_copy(update={"final": record.final.model_copy(update={"test_error": 0.19})})
    assert reimplementations.own_accuracy("cifar-towers", measured_again) == pytest.approx(81), (
        "never below the clean one"
    )
    noisy = record_of(lrn, 0, [0.4, 0.2], noisy=[0.35, 0.45])
    assert reimplementations.own_accuracy("cifar-lrn", noisy) == pytest.approx(65)
    assert reimplementations.own_accuracy("cifar-lrn", fabricate.record(lrn.spec, [0.4, 0.3])) is None


def test_validation_images_choose_between_cifar_lrns_rates():
    arms = [arm_of("cifar-lrn", name=f"clean-{rate}") for rate in ("0.0001", "0.0005")]
    worse = fabricate.record(arms[0].spec, [0.3], test_error=0.1)  # better on test images, worse on validation images
    better = fabricate.record(arms[1].spec, [0.2], test_error=0.25)
    found = [ArmResult(arm, (record,), 1) for arm, record in zip(arms, (worse, better), strict=True)]
    assert reimplementations.clean_records(found) == [better]


@pytest.mark.parametrize(
    "name, errors, label",
    [
        (PUBLISHED, [0.20, 0.21, 0.19], "reproduced"),
        (PUBLISHED, [0.239, 0.240, 0.238], "reproduced"),  # within a point of the published 76.56%
        (PUBLISHED, [0.234, 0.246, 0.24], "inconclusive"),
        (PUBLISHED, [0.300, 0.301, 0.299], "contradicted"),
        (SHARE, [0.4], "inconclusive"),
        (SHARE, [0.1], "inconclusive"),  # a part says nothing of the whole
        (PUBLISHED, [], "not tested"),
    ],
)
def test_the_verdict_of_a_row(name: str, errors: list[float], label: str, small_data):
    arm = arm_of("cifar-towers", "cpu", name)
    records = tuple(record_of(arm, seed, [error]) for seed, error in enumerate(errors))
    verdict = reimplementations.verdict(published()["cifar-towers"], [ArmResult(arm, records, len(errors))])
    extent = reimplementations.extent([ArmResult(arm, records, len(errors))])
    assert extent == ("partial: 17.8% of the images seen" if arm.partial else "in full")
    assert verdict.label == label
    assert ("partial" in verdict.reason) == arm.partial


def test_a_row_that_lacks_runs_is_inconclusive_whatever_it_shows(small_data):
    arm = arm_of("cifar-towers", "cpu", PUBLISHED)
    records = tuple(record_of(arm, seed, [0.1]) for seed in range(2))
    verdict = reimplementations.verdict(published()["cifar-towers"], [ArmResult(arm, records, 3)])
    assert verdict.label == "inconclusive" and verdict.reason.endswith(
        "2 of its 3 runs are recorded; the others decide too."
    )


def test_an_interval_is_over_seeds_or_over_test_images():
    one = Accuracy((80.0,), 10_000).interval
    assert one[0] == pytest.approx(79.2, abs=0.05) and one[1] == pytest.approx(80.8, abs=0.05)
    low, high = Accuracy((79.0, 80.0, 81.0), 10_000).interval
    assert low == pytest.approx(80 - 4.303 / 3**0.5, abs=0.01) and high == pytest.approx(80 + 4.303 / 3**0.5, abs=0.01)


def test_tables_and_figures_of_a_run_derive_from_its_record_alone(small_data, tmp_path):
    store = Store(tmp_path)
    record = execution.execute(adam(), store, precision="float32")
    row = published()["cifar-bn"]
    splits = reimplementations.splits_table(row, record).set_index("split")
    assert splits.loc["test", "accuracy"] == pytest.approx(100 * (1 - record.final.test_error))
    classes = reimplementations.class_table(record, store)
    assert list(classes["class"]) == list(CIFAR10.classes) and len(classes.columns) == 10
    assert reimplementations.published_class_table(row) is None
    theirs = reimplementations.published_class_table(published()["mnist-alexnet"])
    assert theirs.shape == (10, 10) and theirs["test F1"][0] == 0.9878
    labels, predicted = reimplementations.labelled(record, store)["train"]
    assert np.mean(predicted != labels) == pytest.approx(record.final.clean_train_error)
    drawn = [
        published_report.training_curves(record, "curves"),
        published_report.training_curves(record, "curves", row.log),
        published_report.confusion(record, store, "confusion"),
        published_report.predictions(record, store, False, "wrong"),
        published_report.maps(record, store, "maps"),
        published_report.draw_remedies({"one": [record], "other": [record]}, "remedies"),
        published_report.images_seen({"one": record}, "seen"),
    ]
    for figure, alt in drawn:
        assert figure.axes and len(alt) > 60
    assert f"{1 - record.final.test_error:.1%} are right" in drawn[2][1]


def test_the_first_page_has_our_figure_its_share_and_the_command(small_data, tmp_path):
    arm = arm_of("cifar-towers", "cpu", SHARE)
    fabricated = record_of(arm, 0, [0.4])
    Store(tmp_path).put(fabricated)
    rows = {row["id"]: row for row in front.reimplementation_rows("cpu", Store(tmp_path), None, [])}
    towers, missing = rows["cifar-towers"], rows["cifar-bn"]
    assert (towers["ours"], towers["verdict"], towers["published"]) == ("60.00%", "first look", "76.56%")
    assert towers["reason"].startswith("It would be called “inconclusive”. "), "the record is older than the rule"
    late = fabricated.model_copy(update={"created": "2026-12-01T00:00:00+00:00"})
    after = front.reimplementation(published()["cifar-towers"], [ArmResult(arm, (late,), 1)], [])
    assert after["verdict"] == "inconclusive" and after["reason"].startswith("Published 76.56%")
    assert towers["interval"].startswith("partial: 17.8% of the images seen; ")
    assert (missing["ours"], missing["verdict"]) == ("–", "not tested")
    assert missing["command"] == "make runs CLAIM=cifar-bn FRESH=1"
    assert missing["reason"] == "It waits for its runs: none is recorded yet."


@pytest.mark.parametrize("profile", PROFILES)
def test_the_first_page_has_all_five_rows_whatever_is_recorded(profile: str, tmp_path):
    """Each with its network, the published figure, the page that tells of it and the verdict, with or without runs."""
    found = front.reimplementation_rows(profile, Store(tmp_path), None, notebooks.sources())
    assert [row["id"] for row in found] == [row.id for row in published().row] == list(PROTOCOLS)
    assert len(found) == 5
    for row in found:
        assert row["network"] == published()[row["id"]].network and row["published"].endswith("%")
        assert (row["ours"], row["verdict"]) == ("–", "not tested") and row["reason"]
        assert row["href"].startswith("10_published_reimplementations.html")
        assert bool(row["command"]) == (row["id"] in reimplementations.study(profile).claims)


def test_a_row_without_records_says_which_command_makes_them(capsys, monkeypatch, tmp_path):
    found = reimplementations.results("cpu", Store(tmp_path))
    said: list[str] = []
    monkeypatch.setattr(published_report, "say", said.append)
    for row in found:
        published_report.beside(row, found)
        published_report.pictures(row, found, Store(tmp_path))
    published_report.remedies(found)
    published_report.variant(found)
    published_report.enlarging(found)
    published_report.paper_start(found)
    assert len(said) == 9 and all(line.startswith("*Not run yet:* ") and "`make runs CLAIM=" in line for line in said)
    assert "; with all three (1 run of up to 8 epochs); " in said[5]
    assert reimplementations.overview(found)["verdict"].tolist() == ["not tested"] * 5


@pytest.mark.parametrize(
    "paper, own, words",
    [
        ([0.9, 0.9], [0.895, 0.7, 0.6], "after 2 epochs of 1 run, the training error is 90.0% (90% is guessing), "),
        ([0.9, 0.9], [0.895, 0.7, 0.6], "and 70.0% from the weights that the author draws instead. It has not begun"),
        ([0.9, 0.8], [0.895, 0.7, 0.6], "the training error is 80.0% (90% is guessing), and 70.0% from"),
        ([0.9, 0.8], [0.895, 0.7, 0.6], "It does not fail."),
        ([0.9, 0.9], [0.895, 0.89, 0.6], "From the author's own it has not learned by then either, so this"),
        ([0.9, 0.9], [], "(90% is guessing). Without the author's, this tells nothing"),
    ],
)
def test_a_start_fails_only_where_the_other_one_has_begun_to_learn(
    paper: list[float], own: list[float], words: str, monkeypatch
):
    said: list[str] = []
    monkeypatch.setattr(published_report, "say", said.append)
    errors = {f"{PAPER_START}-full": paper, PUBLISHED: own}
    arms = {name: arm_of("cifar-towers", name=name) for name in errors}
    found = [
        ArmResult(arms[name], (fabricate.record(arms[name].spec, values),) if values else (), 1)
        for name, values in errors.items()
    ]
    published_report.paper_start({"cifar-towers": found})
    assert len(said) == 1 and said[0].startswith("**With the paper's initialisation, on all images**: after 2 ")
    assert words in said[0]
