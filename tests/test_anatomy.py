"""What the network's arithmetic gives, against what the paper prints and against what passes through a real network."""

import pytest
import torch
from torch import nn

from alexnet.errors import SpecError
from alexnet.networks import anatomy
from alexnet.networks.models import build, weight_layers
from alexnet.paper.claims import claims
from alexnet.records.specs import NetSpec


def test_exact_counts():
    assert anatomy.exact_counts() == {"parameters": 60_965_224, "neurons": 659_272, "first-layer-neurons": 290_400}


def test_every_exact_claim_has_a_count():
    measures = {question.measure for question in claims().questions() if question.effect == "exact"}
    assert measures == anatomy.exact_counts().keys()


def test_neurons_against_the_printed_list():
    rows = anatomy.against_the_paper().set_index("layer")
    assert rows["neurons"].tolist() == [
        154_587, 290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000, 659_272,
    ]  # fmt: skip
    differing = rows.index[rows["difference"] != 0].tolist()
    assert differing == ["input", "conv1", "all eight layers"]
    assert rows.loc["all eight layers", "printed"] == 650_000
    assert rows.loc["input", "printed"] == 3 * anatomy.printed()["image_side"] ** 2


def test_parameters_and_multiply_adds_add_up():
    rows = anatomy.against_the_paper().set_index("layer")
    for column in ("parameters", "multiply-adds"):
        assert rows[column].iloc[:-1].sum() == rows.loc["all eight layers", column]
    convolutions = rows.index.str.startswith("conv")
    assert rows["multiply-adds"][convolutions].sum() > 0.9 * rows.loc["all eight layers", "multiply-adds"]
    assert rows["parameters"][convolutions].sum() < 0.1 * rows.loc["all eight layers", "parameters"]


def test_the_printed_first_layer_is_a_slip():
    assert anatomy.printed()["neurons"]["conv1"] == 55 * 48 * 96
    assert anatomy.learned_layers()["neurons"][0] == 55 * 55 * 96


@pytest.mark.parametrize(("side", "padding", "places"), [(224, 0, 54.25), (227, 0, 55.0), (224, 2, 55.25)])
def test_positions(side, padding, places):
    assert anatomy.positions(side, padding=padding) == places
    assert nn.Conv2d(1, 1, 11, 4, padding)(torch.zeros(1, 1, side, side)).shape[-1] == int(places)


def test_total_gains():
    """About 1.9e-4 with 0.01 everywhere; 27 times as much with 0.03 in three layers."""
    written, run = anatomy.total_gain(anatomy.AS_WRITTEN), anatomy.total_gain(anatomy.AS_RUN)
    assert written == pytest.approx(1.9e-4, rel=0.01)
    assert run == pytest.approx(5.1e-3, rel=0.01)
    assert run / written == pytest.approx(27)


def test_a_scaled_initialisation_passes_the_signal_on():
    assert anatomy.total_gain(NetSpec(init="kaiming")) == pytest.approx(1)


@pytest.mark.parametrize("rectified", [True, False])
def test_gain_is_what_fresh_weights_do(rectified):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(500, 400, generator=generator) + 0.5
    outputs = inputs @ (0.01 * torch.randn(400, 600, generator=generator))
    outputs = outputs.relu() if rectified else outputs
    measured = (outputs.square().mean() / inputs.square().mean()).sqrt().item()
    assert anatomy.gain(0.01, 400, rectified) == pytest.approx(measured, rel=0.05)


def test_initial_values_are_those_of_a_real_network():
    net = NetSpec(form="32", width=0.25, init="as-run")
    rows = anatomy.initial_values(net, 32).set_index("layer")
    for name, layer in weight_layers(build(net, 32)).items():
        assert layer.weight.std().item() == pytest.approx(rows.loc[name, "std"], rel=0.05)
        assert layer.bias.unique().tolist() == [rows.loc[name, "bias"]]
        assert layer.weight[0].numel() == rows.loc[name, "inputs"]


def test_initial_values_need_an_initialisation_of_ours():
    with pytest.raises(SpecError, match="paper, as-run or kaiming"):
        anatomy.initial_values(NetSpec(init="torch"))


def test_signal_is_blind_to_what_all_images_share():
    model = build(NetSpec(form="32", width=0.25, norm="none"), 32)
    same = torch.randn(1, 3, 32, 32).expand(4, -1, -1, -1)
    assert anatomy.signal(model, same).max() == 0
    assert model.training
    images = torch.randn(4, 3, 32, 32)
    found = anatomy.signal(model, images)
    assert list(found.index) == ["input", *weight_layers(model)]
    assert found["input"] == pytest.approx(images.var(0).mean().sqrt().item(), rel=1e-5)


def test_signal_grows_with_the_weights_and_the_images():
    images = torch.randn(8, 3, 32, 32)
    written, run = (build(NetSpec(form="32", width=0.25, norm="none", bias_ones=False, init=init), 32)
                    for init in ("paper", "as-run"))  # fmt: skip
    one, three = anatomy.signal(written, images), anatomy.signal(run, images)
    assert three["fc8"] / one["fc8"] == pytest.approx(27, rel=1e-3)  # without biases and norms, the arithmetic is exact
    assert anatomy.signal(written, 60 * images)["fc8"] / one["fc8"] == pytest.approx(60, rel=1e-3)


def test_side_by_side_lists_every_layer_of_both_in_order():
    rows = anatomy.side_by_side(anatomy.AS_WRITTEN, anatomy.AS_RUN, ("as written", "as run"))
    for column, net in (("as written", anatomy.AS_WRITTEN), ("as run", anatomy.AS_RUN)):
        listed = [line.split(":")[0] for line in rows[column].dropna()]
        assert listed == list(anatomy.layers(net)["layer"])
    assert (rows["as written"] == rows["as run"]).tolist() == rows["same"].tolist()
    differing = rows[~rows["same"]]
    assert "spatialnorm2: response norm over 5x5 pixels" in differing["as run"].tolist()
    assert "norm2: response norm over 5 maps, alpha times the mean" in differing["as run"].tolist()


def test_listing_reads_like_the_paper():
    rows = anatomy.listing().set_index("layer")
    assert rows.loc["conv2"].tolist() == [
        "convolution, 256 kernels of 5x5, padding 2, 2 towers",
        "256 x 27 x 27",
        307_456,
    ]
    assert rows["parameters"].sum() == anatomy.exact_counts()["parameters"]


def test_tower_links():
    links = anatomy.tower_links()
    crossing = links[(links["to"] != links["from"]) & links["seen"]]["layer"].unique().tolist()
    assert crossing == ["conv3", "fc6", "fc7", "fc8"]
    assert links[links["to"] == links["from"]]["seen"].all()


def test_outlines_take_no_memory():
    assert all(weights.is_meta for weights in anatomy.outline(anatomy.AS_WRITTEN).parameters())
