"""What published protocols need of specs, batches, networks and training, and what is planned and measured of them."""

import json

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F

from alexnet import checks, runs
from alexnet.batches import Preparation, Statistics, random_boxes
from alexnet.errors import SpecError
from alexnet.records import Store
from alexnet.specs import ImageSpec, RunSpec, parse

CPU = torch.device("cpu")


def statistics(side: int = 32) -> Statistics:
    return Statistics(torch.full((side, side, 3), 100.0), 50.0, torch.full((3,), 100.0), torch.ones(3), torch.eye(3))


def adam(measured: str = "epochs") -> RunSpec:
    """A narrow AlexNet with dropout, by Adam, everything watched; its last layer drawn anew after two epochs."""
    net = {"name": "alexnet", "form": "32", "width": 0.02, "norm": "none", "init": "torch"}
    second = {"after": 2, "learning_rate": 0.01, "last_layer": True}
    recipe = {"optimiser": "adam", "learning_rate": 0.001, "weight_decay": 0.0, "epochs": 4, "second": second}
    return small.spec(3, net=net, recipe=recipe).with_(measured=measured)


# --- specs ------------------------------------------------------------------------------------------------------------


def test_new_options_at_their_defaults_leave_old_hashes_as_they_were():
    assert RunSpec().hash == "44136fa355b3678a"  # of the empty spec, as sha256 gives it


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"images": {"crops": "resized"}}, "need a resize"),
        ({"images": {"crops": "resized", "resize": 64, "crop": 32}}, "neither crop nor padding"),
        ({"recipe": {"epochs": 3, "second": {"after": 3, "learning_rate": 0.1}}}, "before the last epoch"),
        ({"recipe": {"schedule": "plateau", "second": {"after": 3, "learning_rate": 0.1}}}, "constant"),
    ],
)
def test_options_that_do_not_go_together_are_refused(fields: dict, reason: str):
    with pytest.raises(SpecError, match=reason):
        parse(fields)


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
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(3, 256, 256)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
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
    record = runs.execute(adam(), store, precision="float32")
    assert list(checks.differences(record, store)) == []
    assert record.history[-1].test_error == record.final.test_error
    assert record.history[-1].test_loss == pytest.approx(record.final.test_loss, rel=1e-6)
    assert all(epoch.dropout_valid_loss != epoch.valid_loss for epoch in record.history)
    assert [epoch.learning_rate for epoch in record.history] == [0.001, 0.001, 0.01, 0.01]
    arrays = store.predictions(record)
    assert len(arrays["train_predicted"]) == 600 and len(arrays["valid_predicted"]) == 200
    assert arrays["maps_conv1"].dtype == np.float16
    assert record.final.clean_train_error is not None and record.learned is None


def test_a_record_whose_predictions_on_training_images_were_altered_is_caught(small_data, tmp_path):
    store = Store(tmp_path)
    record = runs.execute(adam(), store, precision="float32")
    unwatched = [epoch.model_copy(update={"test_error": None}) for epoch in record.history]
    forged = record.model_copy(update={"history": unwatched})
    assert any("test_error is missing" in difference for difference in checks.differences(forged, store))
    arrays = store.predictions(record)
    arrays["train_predicted"] = (arrays["train_predicted"] + 1) % 10
    forged = record.model_copy(update={"predictions": store.put_predictions(record.hash, arrays)})
    assert any("train error" in difference for difference in checks.differences(forged, store))


def test_watching_changes_nothing_of_what_is_trained(small_data, tmp_path):
    watched = runs.execute(adam(), Store(tmp_path), precision="float32")
    plain = runs.execute(adam(measured="errors"), Store(tmp_path), precision="float32")
    assert watched.weights_sha256 == plain.weights_sha256
    assert [e.train_loss for e in watched.history] == [e.train_loss for e in plain.history]


def test_a_second_stage_trains_a_new_last_layer_alone(small_data):
    from alexnet.learners import learner

    learn = learner(adam(measured="errors"), precision="float32", progress=False)
    learn.fit(2)
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    learn.fit(2)
    changed = {name for name, value in learn.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc8.weight", "fc8.bias"}


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_killed_in_either_stage_ends_where_it_would_have_ended(small_data, tmp_path, after: int):
    whole = runs.execute(adam(), Store(tmp_path / "whole"), precision="float32")

    class Killed(Exception):
        pass

    def kill(epoch: runs.Epoch) -> None:
        if epoch.epoch == after:
            raise Killed("now")

    store = Store(tmp_path / "killed")
    with pytest.raises(Killed):
        runs.execute(adam(), store, precision="float32", report=kill)
    resumed = runs.execute(adam(), store, precision="float32")
    assert resumed.weights_sha256 == whole.weights_sha256
    exclude = {"seconds"}
    assert [json.loads(e.model_dump_json(exclude=exclude)) for e in resumed.history] == [
        json.loads(e.model_dump_json(exclude=exclude)) for e in whole.history
    ]
