"""Every network: exact counts and shapes, towers that are apart, initial weights, and what does not go together."""

import itertools

import pytest
import torch
from torch import nn

from alexnet.data.compat import import_torchvision
from alexnet.errors import SpecError
from alexnet.networks import models
from alexnet.networks.layers import LocalResponseNorm, SpatialResponseNorm
from alexnet.networks.models import TowerNorm, build, layer_table, parameter_count
from alexnet.records.specs import NetSpec

SMALL = {"form": "32", "width": 1 / 16}
MIDDLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
pytestmark = pytest.mark.usefixtures("one_thread")


def outline(net: NetSpec, side: int, channels: int = 3) -> nn.Sequential:
    """The network on torch's meta device: shapes and counts without the memory."""
    with torch.device("meta"):
        return build(net, side, channels=channels)


def table(net: NetSpec, side: int) -> dict[str, tuple]:
    return layer_table(outline(net, side), side).set_index("layer")["output"].to_dict()


# ---- counts and shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "side", "parameters"),
    [
        (NetSpec(classes=1000), 227, 60_965_224),
        (NetSpec(classes=1000, variant="as-run", norm="mean", init="as-run"), 227, 60_965_224),
        (NetSpec(towers="full"), 227, 58_322_314),
        (NetSpec(classes=1000, variant="torchvision", towers="full", norm="none"), 224, 61_100_840),
        # 60,965,224 less what halving conv1 to conv4 saves: both nets of section 3.2 have about as many parameters
        (NetSpec(classes=1000, towers="half"), 227, 59_798_312),
        (NetSpec(name="four-layer", norm="none"), 32, 89_578),
    ],
    ids=["as-written", "as-run", "ungrouped", "torchvision", "half-tower", "four-layer"],
)
def test_parameters_are_exact(net, side, parameters):
    assert parameter_count(outline(net, side)) == parameters


def test_a_real_build_has_the_counted_parameters():
    assert parameter_count(build(NetSpec(classes=1000, norm="none"), 227)) == 60_965_224


def test_half_tower_halves_what_the_paper_halved():
    net = outline(NetSpec(classes=1000, towers="half"), 227)
    widths = {name: layer.weight.shape[0] for name, layer in models.weight_layers(net).items()}
    assert widths == {
        "conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256, "fc6": 4096, "fc7": 4096, "fc8": 1000,
    }  # fmt: skip


def test_shapes_as_written():
    assert table(NetSpec(classes=1000), 227) == {
        "conv1": (96, 55, 55), "relu1": (96, 55, 55), "norm1": (96, 55, 55), "pool1": (96, 27, 27),
        "conv2": (256, 27, 27), "relu2": (256, 27, 27), "norm2": (256, 27, 27), "pool2": (256, 13, 13),
        "conv3": (384, 13, 13), "relu3": (384, 13, 13),
        "conv4": (384, 13, 13), "relu4": (384, 13, 13),
        "conv5": (256, 13, 13), "relu5": (256, 13, 13), "pool5": (256, 6, 6),
        "flatten": (9216,),
        "fc6": (4096,), "relu6": (4096,), "drop6": (4096,),
        "fc7": (4096,), "relu7": (4096,), "drop7": (4096,),
        "fc8": (1000,),
    }  # fmt: skip


def test_layer_table_counts_one_image():
    net = NetSpec(classes=1000)
    rows = layer_table(outline(net, 227), 227).set_index("layer")
    assert rows["parameters"].sum() == 60_965_224
    assert rows.loc["conv2", "parameters"] == 256 * (48 * 5 * 5) + 256  # each kernel sees its own tower's 48 maps
    assert rows.loc["conv2", "multiply-adds"] == 27 * 27 * rows.loc["conv2", "parameters"]
    assert rows.loc["fc8", "multiply-adds"] == 4096 * 1000 + 1000
    assert rows.loc["relu1", "multiply-adds"] == 0
    assert rows.loc["conv1", "neurons"] == 96 * 55 * 55


def test_multiply_adds_of_the_four_layer_net():
    convolutions = (5 * 5 * 3 + 1) * 32 * 32**2 + (5 * 5 * 32 + 1) * 32 * 16**2 + (5 * 5 * 32 + 1) * 64 * 8**2
    assert models.multiply_adds(NetSpec(name="four-layer", norm="none"), 32) == convolutions + (64 * 4**2 + 1) * 10


def test_layer_table_leaves_the_model_as_it_was():
    model = build(NetSpec(**SMALL), 32).train()
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    layer_table(model, 32)
    assert model.training
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())


def test_small_form_keeps_the_layers_and_the_final_map():
    shapes = table(NetSpec(form="32"), 32)
    assert list(shapes) == list(table(NetSpec(), 227))
    assert shapes["conv1"] == (96, 32, 32)
    assert shapes["pool5"] == (256, 4, 4)


@pytest.mark.parametrize(
    ("form", "side", "sides"), [("227", 227, (27, 13, 6)), ("32", 27, (13, 6, 3)), ("32", 32, (16, 8, 4))]
)
def test_both_kinds_of_pooling_give_maps_of_equal_size(form, side, sides):
    """Section 3.4 compares them at equivalent dimensions, so that nothing but the windows differs."""
    for pooling in ("overlapping", "plain"):
        shapes = table(NetSpec(form=form, pooling=pooling), side)
        assert tuple(shapes[name][-1] for name in ("pool1", "pool2", "pool5")) == sides


@pytest.mark.parametrize(("pooling", "sides"), [("overlapping", (27, 13, 6)), ("plain", (27, 13, 6))])
def test_pooling_window(pooling, sides):
    net = outline(NetSpec(pooling=pooling), 227)
    assert [layer.kernel_size for layer in net if isinstance(layer, nn.MaxPool2d)] == [
        {"overlapping": 3, "plain": 2}[pooling]
    ] * 3
    assert all(layer.stride == 2 for layer in net if isinstance(layer, nn.MaxPool2d))
    shapes = table(NetSpec(pooling=pooling), 227)
    assert tuple(shapes[name][-1] for name in ("pool1", "pool2", "pool5")) == sides


def test_plain_pooling_takes_the_maximum_of_four():
    net = build(NetSpec(pooling="plain", **SMALL), 32)
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert net.pool1(maps).flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize("width", [0.25, 0.5])
@pytest.mark.parametrize("towers", ["two", "full", "half"])
def test_width_multiplies_every_hidden_layer(width, towers):
    whole = models.weight_layers(outline(NetSpec(form="32", towers=towers), 32))
    scaled = models.weight_layers(outline(NetSpec(form="32", towers=towers, width=width), 32))
    for name, layer in whole.items():
        factor = 1 if name == "fc8" else width
        assert scaled[name].weight.shape[0] == layer.weight.shape[0] * factor


def test_odd_widths_stay_even_for_two_towers():
    for width in (0.01, 0.1, 0.33, 0.77):
        model = build(NetSpec(form="32", width=width), 32)
        assert all(layer.weight.shape[0] % 2 == 0 for layer in models.weight_layers(model).values())
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_any_number_of_classes(classes):
    assert build(NetSpec(classes=classes, **SMALL), 32)(torch.randn(2, 3, 32, 32)).shape == (2, classes)


def test_other_channel_counts():
    model = build(NetSpec(**SMALL), 32, channels=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_four_layer_shapes():
    shapes = table(NetSpec(name="four-layer", norm="none"), 32)
    assert shapes == {
        "conv1": (32, 32, 32), "pool1": (32, 16, 16), "relu1": (32, 16, 16),
        "conv2": (32, 16, 16), "relu2": (32, 16, 16), "pool2": (32, 8, 8),
        "conv3": (64, 8, 8), "relu3": (64, 8, 8), "pool3": (64, 4, 4),
        "flatten": (1024,), "fc4": (10,),
    }  # fmt: skip


def test_four_layer_net_may_activate_after_the_maximum():
    """A monotone activation commutes with the maximum, which is why it may follow the pooling."""
    maps = torch.randn(2, 4, 9, 9)
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    for function in (nn.ReLU(), nn.Tanh()):
        assert torch.equal(pool(function(maps)), function(pool(maps)))


def test_four_layer_local():
    shapes = table(NetSpec(name="four-layer-local"), 24)
    assert [name for name in shapes if name.startswith(("conv", "local", "fc", "norm"))] == [
        "conv1", "norm1", "conv2", "norm2", "local3", "local4", "fc5",
    ]  # fmt: skip
    assert shapes["pool2"] == (64, 6, 6)
    assert shapes["local4"] == (32, 6, 6)
    model = build(NetSpec(name="four-layer-local", norm="mean"), 24)
    for norm in (model.norm1, model.norm2):
        assert (norm.size, norm.alpha, norm.beta, norm.divide) == (9, 0.001, 0.75, True)
    # what no norm leaves out, and nothing else
    without = table(NetSpec(name="four-layer-local", norm="none"), 24)
    assert without == {name: shape for name, shape in shapes.items() if not name.startswith("norm")}


# ---- order and options -----------------------------------------------------------------------------------------------


def names(**options: object) -> list[str]:
    return [name for name, _ in outline(NetSpec(**options), 227).named_children()]


def test_as_written_order():
    assert names()[:8] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]


def test_as_run_order():
    assert names(variant="as-run", norm="mean")[:9] == [
        "conv1", "norm1", "pool1", "relu1", "conv2", "relu2", "norm2", "spatialnorm2", "pool2",
    ]  # fmt: skip
    assert names(variant="as-run", norm="mean")[9:] == names()[8:]
    spatial = outline(NetSpec(variant="as-run", norm="mean"), 227).spatialnorm2
    assert isinstance(spatial, SpatialResponseNorm)
    assert (spatial.size, spatial.scale, spatial.power) == (5, 0.001, 0.75)


@pytest.mark.parametrize("variant", ["as-written", "as-run"])
def test_without_norm_only_the_norms_are_missing(variant):
    with_norm = names(variant=variant, norm="mean")
    assert names(variant=variant, norm="none") == [name for name in with_norm if "norm" not in name]


@pytest.mark.parametrize(("norm", "divide"), [("sum", False), ("mean", True)])
def test_norm_conventions(norm, divide):
    for layer in (build(NetSpec(norm=norm, **SMALL), 32).norm1, build(NetSpec(norm=norm, **SMALL), 32).norm2):
        assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 2.0)
        assert layer.divide is divide


def test_tanh_replaces_every_relu():
    kinds = [type(layer) for layer in outline(NetSpec(activation="tanh"), 227)]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.Tanh) == 7
    assert "tanh1" in names(activation="tanh")


def test_dropout_sits_after_both_hidden_fully_connected_layers():
    dropped = {name: layer.p for name, layer in outline(NetSpec(dropout=0.3), 227).named_children() if "drop" in name}
    assert dropped == {"drop6": 0.3, "drop7": 0.3}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("without", MIDDLE)
def test_any_middle_layer_can_go_at_227(without, activation):
    net = NetSpec(without=without, width=1 / 16, activation=activation)
    model = build(net, 227).eval()
    assert without not in models.weight_layers(model)
    assert f"{activation}{without[-1]}" not in dict(model.named_children())
    assert len(models.weight_layers(model)) == 7
    assert model(torch.randn(1, 3, 227, 227)).shape == (1, 10)
    assert len(models.weight_layers(outline(NetSpec(without=without), 227))) == 7  # at full width


@pytest.mark.parametrize(
    ("without", "variant", "towers", "width"),
    list(itertools.product(MIDDLE, ("as-written", "as-run"), ("two", "full", "half"), (0.25, 0.5))),
)
def test_any_middle_layer_can_go_at_32(without, variant, towers, width):
    net = NetSpec(form="32", without=without, variant=variant, towers=towers, width=width)
    shapes = table(net, 32)
    assert without not in shapes
    assert shapes["fc8"] == (10,)
    assert {"pool1", "pool2", "pool5", "norm1", "norm2"} <= shapes.keys()  # pooling and norms stay


def test_small_net_without_a_layer_trains_a_step():
    for without in MIDDLE:
        model = build(NetSpec(without=without, init="kaiming", **SMALL), 32)
        model(torch.randn(2, 3, 32, 32)).sum().backward()
        assert all(weights.grad is not None for weights in model.parameters())


# ---- towers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "apart"), [("conv2", True), ("conv3", False), ("conv4", True), ("conv5", True)])
def test_which_layers_see_both_towers(name, apart):
    layer = dict(build(NetSpec(form="32", width=0.25), 32).named_children())[name]
    maps = torch.randn(1, layer.in_channels, 6, 6, requires_grad=True)
    first_outputs = layer(maps)[:, : layer.out_channels // 2]
    (gradient,) = torch.autograd.grad(first_outputs.square().sum(), maps)
    first, second = gradient.chunk(2, dim=1)
    assert first.abs().sum() > 0
    assert (second.abs().sum() == 0) == apart


def test_towers_stay_apart_from_conv1_to_pool2():
    """Through norm1 and norm2 too: the first tower after pool2 does not depend on the second tower after conv1."""
    model = build(NetSpec(form="32", width=0.25, init="kaiming"), 32).eval()
    maps = torch.randn(2, 24, 32, 32, requires_grad=True)
    after = maps
    for name in ("relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"):
        after = dict(model.named_children())[name](after)
    (gradient,) = torch.autograd.grad(after[:, :32].square().sum(), maps)
    assert gradient[:, :12].abs().sum() > 0
    assert gradient[:, 12:].abs().max() == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("divide", [False, True])
def test_tower_norm_is_a_norm_per_tower(divide, layout):
    maps = (50 * torch.randn(3, 12, 5, 7)).to(memory_format=layout).requires_grad_()
    norm = LocalResponseNorm(divide=divide)
    expected = torch.cat([norm(tower) for tower in maps.chunk(2, dim=1)], dim=1)
    found = TowerNorm(2, divide=divide)(maps)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    weights = torch.randn_like(maps)
    gradients = [torch.autograd.grad((output * weights).sum(), maps)[0] for output in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_norm_windows_reach_across_where_there_is_one_tower():
    maps = 100 * torch.ones(1, 12, 1, 1)
    apart, together = TowerNorm(2)(maps).flatten(), TowerNorm(1)(maps).flatten()
    assert apart[5] > together[5]  # at the border of the towers two neighbours are missing
    torch.testing.assert_close(apart[[0, 2, 9]], together[[0, 2, 9]])


# ---- torchvision -----------------------------------------------------------------------------------------------------


def torchvision_pair() -> tuple[nn.Sequential, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = import_torchvision().models.alexnet(weights=None).eval()
    ours = build(NetSpec(classes=1000, variant="torchvision", towers="full", norm="none", init="torch"), 224).eval()
    missing, unexpected = ours.load_state_dict(models.from_torchvision(theirs.state_dict()), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"fc6", "fc7", "fc8"}
    return ours, theirs


def test_torchvision_convolutions_are_equal():
    ours, theirs = torchvision_pair()
    theirs = theirs.to(memory_format=torch.channels_last)  # the same kernels, so that equal means equal to the last bit
    images = torch.randn(2, 3, 224, 224).to(memory_format=torch.channels_last)
    with torch.no_grad():
        features = ours[: list(dict(ours.named_children())).index("flatten")](images)
        assert torch.equal(features, theirs.features(images))


def test_torchvision_classifier_is_the_same_too():
    ours, theirs = torchvision_pair()
    for name, index in (("fc6", 1), ("fc7", 4), ("fc8", 6)):
        dict(ours.named_children())[name].load_state_dict(theirs.classifier[index].state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    kinds = [type(layer) for layer in theirs.classifier]
    assert [type(layer) for layer in ours if not isinstance(layer, nn.Flatten)][-len(kinds) :] == kinds


def test_foreign_weights_are_refused():
    with pytest.raises(SpecError, match=r"features\.0\.weight is missing"):
        models.from_torchvision({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize("options", [{}, {"towers": "full"}, {"norm": "none"}, {"towers": "half", "norm": "none"}])
def test_torchvision_variant_has_one_tower_and_no_norm(options):
    with pytest.raises(SpecError, match="one tower and no norm"):
        build(NetSpec(variant="torchvision", **options), 224)


# ---- initial weights -------------------------------------------------------------------------------------------------

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")


def assert_std(layer: nn.Module, std: float) -> None:
    """The sample's standard deviation within five standard errors, and its mean too."""
    weights = layer.weight.detach().double()
    error = std / weights.numel() ** 0.5
    assert abs(weights.std().item() - std) < 5 * error
    assert abs(weights.mean().item()) < 5 * error


@pytest.mark.parametrize("init", ["paper", "as-run"])
@pytest.mark.parametrize("bias_ones", [True, False])
def test_init_of_the_paper_and_of_its_code(init, bias_ones):
    model = models.weight_layers(build(NetSpec(form="32", width=0.25, init=init, bias_ones=bias_ones), 32))
    for name in LAYERS:
        assert_std(model[name], 0.03 if init == "as-run" and name in ("conv3", "conv4", "conv5") else 0.01)
        bias = 1.0 if bias_ones and name in ONES else 0.0
        assert model[name].bias.unique().tolist() == [bias]


def test_init_of_cuda_convnet():
    model = models.weight_layers(build(NetSpec(name="four-layer", norm="none", init="cuda-convnet"), 32))
    for name, std in (("conv1", 1e-4), ("conv2", 0.01), ("conv3", 0.01), ("fc4", 0.01)):
        assert_std(model[name], std)
        assert model[name].bias.unique().tolist() == [0]


@pytest.mark.parametrize(("activation", "square_gain"), [("relu", 2.0), ("tanh", 25 / 9)])
def test_init_scaled_to_the_fan_in(activation, square_gain):
    net = NetSpec(form="32", width=0.25, init="kaiming", activation=activation)
    model = models.weight_layers(build(net, 32))
    for name in LAYERS:
        layer = model[name]
        fan_in = layer.weight[0].numel()  # of one tower, where there are two
        assert_std(layer, ((1.0 if name == "fc8" else square_gain) / fan_in) ** 0.5)
        assert layer.bias.unique().tolist() == [0]


def test_init_of_unshared_weights_uses_the_patch():
    model = models.weight_layers(build(NetSpec(name="four-layer-local", init="kaiming"), 24))
    for name in ("local3", "local4"):
        assert_std(model[name], (2 / (9 * model[name].in_channels)) ** 0.5)


def test_init_of_torch_is_left_alone():
    model = build(NetSpec(init="torch", **SMALL), 32)
    bound = 1 / model.fc6.in_features**0.5
    assert model.fc6.weight.abs().max() <= bound
    assert model.fc6.bias.abs().max() > 0


def test_same_seed_same_weights():
    first, again, other = (build(NetSpec(**SMALL), 32, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


def test_building_leaves_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(NetSpec(**SMALL), 32, seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_arms_that_differ_in_a_layer_without_weights_share_their_weights():
    one, other = (build(NetSpec(norm=norm, **SMALL), 32, seed=3).state_dict() for norm in ("sum", "none"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_are_channels_last():
    weights = build(NetSpec(**SMALL), 32).conv1.weight
    assert weights.is_contiguous(memory_format=torch.channels_last)


# ---- images that are too small ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "side"),
    [(NetSpec(), 32), (NetSpec(width=0.1), 38), (NetSpec(**SMALL), 7), (NetSpec(pooling="plain", **SMALL), 5)],
)
def test_too_small_images(net, side):
    with pytest.raises(SpecError, match=f"Images of {side} pixels are too small"):
        build(net, side)


@pytest.mark.parametrize(("net", "side"), [(NetSpec(width=0.05), 39), (NetSpec(**SMALL), 8)])
def test_the_smallest_images_that_fit(net, side):
    assert build(net, side)(torch.randn(1, 3, side, side)).shape == (1, 10)
    with pytest.raises(SpecError):
        build(net, side - 1)
