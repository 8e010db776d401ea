"""The page with a network inside: what its script computes is what Python computes, in a real browser."""

import base64
import copy

import numpy as np
import pytest
import torch
from PIL import Image
from test_pages import browser, in_a_browser, visit  # noqa: F401  # fixtures
from torch import nn

from alexnet import __main__, paths
from alexnet.data import datasets, photograph
from alexnet.errors import SpecError
from alexnet.experiments.ablations import ALEXNET_32
from alexnet.networks import models
from alexnet.records.specs import NetSpec
from alexnet.report import assemble, try_it

PAGE = paths.REPORTS / "try.html"
AGREEING = 200  # test images


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture(scope="module")
def network() -> try_it.Network:
    found = try_it.read(PAGE)
    assert found is not None, "the page is committed; python -m alexnet try makes it"
    return found


@pytest.fixture(scope="module")
def model(network: try_it.Network) -> nn.Sequential:
    """The page's network as torch computes it, from the page's own weights."""
    built = models.build(ALEXNET_32.net, network.images["crop"]).eval()
    for layer in network.layers:
        if "weights" in layer:
            factors = unpacked(layer["factors"], "<f4").reshape(-1, *[1] * (len(layer["shape"]) - 1))
            weights = unpacked(layer["weights"], "<i1").reshape(layer["shape"]) * factors
            module = built.get_submodule(layer["name"])
            module.load_state_dict(
                {"weight": torch.tensor(weights), "bias": torch.tensor(unpacked(layer["biases"], "<f4"))}
            )
    return built


def probabilities(model: nn.Sequential, network: try_it.Network, images: np.ndarray) -> np.ndarray:
    side, crop, spread = (network.images[name] for name in ("side", "crop", "spread"))
    inside = slice((side - crop) // 2, (side - crop) // 2 + crop)
    pixels = (images[:, inside, inside] - unpacked(network.images["mean"], "<f4").reshape(crop, crop, 3)) / spread
    with torch.inference_mode():
        return model(torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)).softmax(1).numpy()


@pytest.fixture
def page(visit):  # noqa: F811
    yield visit.open(PAGE)
    assert visit.complaints == []


@in_a_browser
def test_the_page_takes_test_images_for_what_python_takes_them_for(page, model, network, counts):
    images = datasets.load("cifar10").test_images[:AGREEING]
    script = "images => images.map(image => alexnet.classify(Uint8Array.from(image)).probabilities)"
    there = np.array(page.evaluate(script, images.reshape(AGREEING, -1).tolist()))
    here = probabilities(model, network, images)
    assert (there.argmax(1) == here.argmax(1)).mean() >= 0.99
    assert np.abs(there - here).max() < 1e-4
    counts["images shown to the page's network"] += AGREEING


@in_a_browser
@pytest.mark.parametrize("size", [(32, 32), (157, 240), (240, 157), (20, 20), (33, 500)])
def test_an_image_is_brought_to_size_as_python_does_it(page, size, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    page.set_input_files("#file", tmp_path / "image.png")
    page.locator("#said", has_text="image.png").wait_for()
    drawn = "Array.from(document.getElementById('seen').getContext('2d').getImageData(0, 0, 32, 32).data)"
    there = np.array(page.evaluate(drawn)).reshape(32, 32, 4)[..., :3]
    here = photograph.read(tmp_path / "image.png").square(32, 3)
    assert np.abs(there - here.astype(int)).max() <= 1, "Pillow rounds in fixed point"


@in_a_browser
def test_what_is_no_image_is_told(page, tmp_path, bad_input):
    (tmp_path / "words.txt").write_text("no image")
    page.set_input_files("#file", tmp_path / "words.txt")
    page.locator("#said", has_text="words.txt is no image").wait_for()


@in_a_browser
def test_a_reader_picks_an_image_by_keyboard_and_hears_what_it_is_taken_for(page, network):
    buttons = page.locator("#choices button")
    assert buttons.count() == try_it.SHOWN
    buttons.nth(3).focus()
    page.keyboard.press("Enter")
    said = page.locator("#said").inner_text()
    assert said.startswith(f"a {network.shown[3]['label']} of the test set: taken for")
    assert page.locator("#taken-for li").count() == 5
    assert page.locator("#first-maps canvas").count() == network.layers[0]["shape"][0]


def test_the_weights_take_at_most_three_megabytes_and_cost_no_accuracy_to_speak_of(network):
    weights = sum(len(base64.b64decode(layer["weights"])) for layer in network.layers if "weights" in layer)
    assert weights <= 3_000_000 and PAGE.stat().st_size <= 3_000_000
    assert network.facts["same"] >= 0.99 and abs(network.facts["whole"] - network.facts["rounded"]) < 0.005


def test_the_error_on_the_page_is_that_of_its_weights(network, model):
    data = datasets.load("cifar10")
    found = np.concatenate([probabilities(model, network, part) for part in np.split(data.test_images, 20)])
    assert (found.argmax(1) != data.test_labels).mean() == pytest.approx(network.facts["rounded"], abs=2e-4)
    labels = [shown["label"] for shown in network.shown]
    assert set(labels) == set(data.classes), "every class can be picked"


def test_rounding_keeps_each_weight_within_half_a_step():
    weights = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    weights[4] = 0
    whole, factors = try_it.rounded(weights)
    assert whole.abs().max() == try_it.LEVELS and (whole == whole.round()).all()
    errors = (whole * factors.view(-1, 1, 1, 1) - weights).abs().amax((1, 2, 3))
    assert (errors <= factors / 2 + 1e-7).all() and errors[4] == 0


@pytest.mark.parametrize("net", [NetSpec(), NetSpec(form="32", width=0.1, activation="tanh")])
def test_a_network_that_the_script_cannot_compute_is_refused(net, bad_input):
    with pytest.raises(SpecError, match="The page's script knows"):
        list(try_it.described(models.build(net, 227 if net.form == "227" else 27)))


def test_a_page_gives_back_its_network_and_stands_apart_from_the_file_of_all_pages(network, tmp_path):
    article = try_it.article(network)
    made = assemble.pages([article], "cpu")
    assert '<article id="try">' not in made[assemble.SINGLE]
    (tmp_path / "try.html").write_text(made["try.html"], encoding="utf-8")
    assert try_it.read(tmp_path / "try.html") == network
    assert try_it.read(tmp_path / "none.html") is None


def test_without_a_checkpoint_the_command_says_what_to_do_and_leaves_the_page(tmp_path, capsys, bad_input):
    before = copy.copy(PAGE.stat().st_mtime_ns)
    assert __main__.main(["try", "--checkpoint", str(tmp_path / "none.safetensors")]) == 2
    assert "make checkpoint" in capsys.readouterr().err and PAGE.stat().st_mtime_ns == before
