"""Every network as a readable list of layers.

`build` gives an `nn.Sequential` whose layers carry the paper's names (conv1, norm1, pool1, ... fc8).
Input: float [N, 3, S, S] (N images, 3 channels, S pixels a side); output: scores [N, classes] before the softmax.
"""

import functools
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
import torchinfo
from torch import Tensor, nn

from ..errors import SpecError
from ..records.specs import NetSpec
from .layers import LocallyConnected2d, LocalResponseNorm, SpatialResponseNorm

Layers = dict[str, nn.Module]  # in their order, by name

FILTERS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}  # section 3.5, both towers together
TORCHVISION_FILTERS = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256}
HIDDEN = ("fc6", "fc7")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
BIAS_ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # section 5
CUDA_CONVNET_STD = {"conv1": 1e-4, "local3": 0.04, "local4": 0.04}  # the four-layer nets' layer files; else 0.01
AS_RUN_STD = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}  # the released layer files of the ImageNet run


class TowerNorm(LocalResponseNorm):
    """Local response normalisation within each tower: windows do not reach across (section 3.5).

    The towers sat on two GPUs, and each normalised its own kernel maps. Only pixels and channels matter to the
    norm, so each tower's channels become pixels of their own: in the channels-last format that is a view.
    """

    def __init__(self, towers: int, **options: Any):
        super().__init__(**options)
        self.towers = towers

    def forward(self, images: Tensor) -> Tensor:
        """Normalise [N, C, H, W], C divisible by the number of towers."""
        if self.towers == 1:
            return super().forward(images)
        n, channels, height, width = images.shape
        pixels = images.permute(0, 2, 3, 1).reshape(n, height, width * self.towers, channels // self.towers)
        normed = super().forward(pixels.permute(0, 3, 1, 2))
        return normed.permute(0, 2, 3, 1).reshape(n, height, width, channels).permute(0, 3, 1, 2)


def build(net: NetSpec, side: int, seed: int = 0, channels: int = 3) -> nn.Sequential:
    """The network `net` for images of `side` pixels a side, its weights drawn from `seed`.

    The draw happens on the CPU, so that it is the same whatever device trains. Memory format: channels last.
    Raises `SpecError` when the options do not go together or the images are too small.
    """
    makers = {
        "alexnet": _alexnet, "four-layer": _four_layer, "four-layer-local": _four_layer_local, "cifar-bn": _cifar_bn,
    }  # fmt: skip
    if net.name != "alexnet" and (net.averaged or net.norm == "batch"):
        raise SpecError(f"Only alexnet has batch normalisation or averaged maps as options, and this is {net.name}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(OrderedDict(makers[net.name](net, side, channels)))
        initialise(model, net)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def initialise(model: nn.Module, net: NetSpec) -> None:
    """Draw the weights in place as `net.init` says; the draw uses torch's global generator."""
    if net.init == "torch":
        return
    layers = weight_layers(model)
    for name, layer in layers.items():
        std = initial_std(name, layer, net, last=name == next(reversed(layers)))
        nn.init.normal_(layer.get_parameter("weight"), std=std)
        nn.init.constant_(layer.get_parameter("bias"), initial_bias(name, net))


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that have weights, by name, in order; the scales of batch normalisation are none."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if getattr(layer, "weight", None) is not None and not isinstance(layer, BATCH_NORMS)
    }


def fan_in(layer: nn.Module) -> int:
    """How many inputs each of the layer's neurons sees."""
    return layer.fan_in if isinstance(layer, LocallyConnected2d) else layer.get_parameter("weight")[0].numel()


def initial_std(name: str, layer: nn.Module, net: NetSpec, last: bool) -> float:
    """The standard deviation from which `net.init` (any but "torch") draws a layer's weights (section 5)."""
    if net.init == "kaiming":
        return nn.init.calculate_gain("linear" if last else net.activation) / fan_in(layer) ** 0.5
    exceptions = {"as-run": AS_RUN_STD, "cuda-convnet": CUDA_CONVNET_STD}.get(net.init, {})
    return exceptions.get(name, 0.01)


def initial_bias(name: str, net: NetSpec) -> float:
    """The value at which a layer's biases start, for any init but "torch" (section 5)."""
    return 1.0 if net.bias_ones and net.init in ("paper", "as-run") and name in BIAS_ONES else 0.0


def activation(net: NetSpec) -> nn.Module:
    """max(0, x) or tanh(x) (section 3.1)."""
    return nn.ReLU() if net.activation == "relu" else nn.Tanh()


def _scaled(filters: int, net: NetSpec, halve: bool = True) -> int:
    """A width under the multiplier, even so that two towers can share it; half of it for one tower of half width."""
    even = max(2, 2 * round(filters * net.width / 2))
    return even // 2 if halve and net.towers == "half" else even


def _pool(net: NetSpec) -> nn.Module:
    """Both kinds give maps of equal size, as section 3.4 has it: at 227 pixels always, in the 32-pixel form because
    a window that reaches over the border is cut off there, as cuda-convnet does it."""
    return nn.MaxPool2d(3, 2, ceil_mode=True) if net.pooling == "overlapping" else nn.MaxPool2d(2, 2)


def _alexnet(net: NetSpec, side: int, channels: int) -> Layers:
    """AlexNet (section 3.5): five convolutional and three fully connected layers.

    Conv2, conv4 and conv5 see only their own tower's maps; conv3 and the fully connected layers see both.
    The 32-pixel form starts with 5x5 kernels of stride 1, since 11x11 of stride 4 would leave 7x7 pixels.
    The net of one tower with half the kernels keeps all of conv5 and of the fully connected layers (footnote to
    section 3.2), so that both have about as many parameters.
    """
    torchvision = net.variant == "torchvision"
    if net.norm == "batch" and net.variant != "as-written":
        raise SpecError('Batch normalisation is for AlexNet as written: set variant="as-written".')
    if torchvision and (net.towers != "full" or net.norm != "none"):
        raise SpecError('The torchvision variant has one tower and no norm: set towers="full", norm="none".')
    all_filters = TORCHVISION_FILTERS if torchvision else FILTERS
    filters = {name: _scaled(number, net, halve=name != "conv5") for name, number in all_filters.items()}
    groups = 2 if net.towers == "two" else 1
    first = (11, 4, 2 if torchvision else 0) if net.form == "227" else (5, 1, 2)
    shapes = {  # kernel, stride, padding, groups
        "conv1": (*first, 1), "conv2": (5, 1, 2, groups), "conv3": (3, 1, 1, 1),
        "conv4": (3, 1, 1, groups), "conv5": (3, 1, 1, groups),
    }  # fmt: skip
    layers: Layers = {}
    previous = channels
    for name, (kernel, stride, padding, split) in shapes.items():
        if name != net.without:
            layers[name] = nn.Conv2d(previous, filters[name], kernel, stride, padding, groups=split)
            previous = filters[name]
        layers.update(_after_convolution(name, net, groups, previous))
    if net.averaged:
        layers["average"] = nn.AdaptiveAvgPool2d(1)
    features = previous * _side_after(layers, side, channels) ** 2
    at_inputs = torchvision or net.dropout_at == "inputs"
    if at_inputs:
        layers["drop5"] = nn.Dropout(net.dropout)
    layers["flatten"] = nn.Flatten()
    for name, width in zip(HIDDEN, net.hidden, strict=False):
        if name == net.without:
            continue
        hidden = _scaled(width, net, halve=False)
        layers[name] = nn.Linear(features, hidden)
        layers[name.replace("fc", net.activation)] = activation(net)
        if not (at_inputs and name == "fc7"):
            layers[name.replace("fc", "drop")] = nn.Dropout(net.dropout)
        features = hidden
    layers["fc8"] = nn.Linear(features, net.classes)
    return layers


def _after_convolution(name: str, net: NetSpec, towers: int, filters: int) -> Layers:
    """What follows a convolution; it stays when the convolution itself is removed, except its activation."""
    number = name[-1]
    nonlinear: Layers = {f"{net.activation}{number}": activation(net)} if name != net.without else {}
    norm: Layers = {}
    if net.norm == "batch":
        nonlinear = {f"bn{number}": nn.BatchNorm2d(filters), **nonlinear} if nonlinear else {}
    elif name in ("conv1", "conv2") and net.norm != "none":
        norm[f"norm{number}"] = TowerNorm(towers, divide=net.norm == "mean")
    pool: Layers = {f"pool{number}": _pool(net)} if name in ("conv1", "conv2", "conv5") else {}
    if net.variant == "as-run" and name == "conv1":
        return norm | pool | nonlinear
    if net.variant == "as-run" and name == "conv2" and norm:
        norm["spatialnorm2"] = SpatialResponseNorm(size=5, scale=0.001, power=0.75)
    return nonlinear | norm | pool


def _four_layer(net: NetSpec, side: int, channels: int) -> Layers:
    """The four-layer CIFAR-10 net of section 3.1 and figure 1, after cuda-convnet's layer files.

    Pooling rounds up as cuda-convnet does (32, 16, 8, 4 pixels). The first activation follows the pooling: a
    monotone function commutes with the maximum, and there it costs a quarter.
    """
    narrow, wide, act = _scaled(32, net), _scaled(64, net), net.activation
    layers: Layers = {
        "conv1": nn.Conv2d(channels, narrow, 5, padding=2),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        f"{act}1": activation(net),
        "conv2": nn.Conv2d(narrow, narrow, 5, padding=2),
        f"{act}2": activation(net),
        "pool2": nn.AvgPool2d(3, 2, ceil_mode=True),
        "conv3": nn.Conv2d(narrow, wide, 5, padding=2),
        f"{act}3": activation(net),
        "pool3": nn.AvgPool2d(3, 2, ceil_mode=True),
    }
    features = wide * _side_after(layers, side, channels) ** 2
    return layers | {"flatten": nn.Flatten(), "fc4": nn.Linear(features, net.classes)}


def _four_layer_local(net: NetSpec, side: int, channels: int) -> Layers:
    """The four-layer CIFAR-10 net of section 3.3: two convolutions, two layers with unshared weights.

    With `norm`, LRN of size 9, scale 0.001 follows pool1 and conv2 and nothing else changes; cuda-convnet divides
    the scale by the window size. The released 11% net also widens local3 and raises a weight decay.
    """
    filters, local3, local4 = _scaled(64, net), _scaled(net.local3_filters, net), _scaled(32, net)
    act = net.activation

    def norm(number: int) -> Layers:
        if net.norm == "none":
            return {}
        return {f"norm{number}": LocalResponseNorm(9, 0.001, 0.75, k=1.0, divide=net.norm == "mean")}

    layers: Layers = {
        "conv1": nn.Conv2d(channels, filters, 5, padding=2),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        f"{act}1": activation(net),
        **norm(1),
        "conv2": nn.Conv2d(filters, filters, 5, padding=2),
        f"{act}2": activation(net),
        **norm(2),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
    }
    pixels = _side_after(layers, side, channels)
    return layers | {
        "local3": LocallyConnected2d(filters, local3, 3, pixels, padding=1),
        f"{act}3": activation(net),
        "local4": LocallyConnected2d(local3, local4, 3, pixels, padding=1),
        f"{act}4": activation(net),
        "flatten": nn.Flatten(),
        "fc5": nn.Linear(local4 * pixels**2, net.classes),
    }


def _cifar_bn(net: NetSpec, side: int, channels: int) -> Layers:
    """The published reimplementation cifar-bn: four 3x3 convolutions, each with activation, max-pooling by 2 and batch
    normalisation, then four fully connected layers, each with activation, dropout and batch normalisation, and fc9.

    Convolutions keep the size of their maps: without padding, the fourth would have 2x2 pixels under its 3x3 kernels.
    """
    layers: Layers = {}
    previous = channels
    for number, filters in enumerate((64, 128, 256, 512), start=1):
        width = _scaled(filters, net, halve=False)
        layers[f"conv{number}"] = nn.Conv2d(previous, width, 3, padding=1)
        layers[f"{net.activation}{number}"] = activation(net)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        layers[f"bn{number}"] = nn.BatchNorm2d(width)
        previous = width
    if side < 16:
        raise SpecError(f"Images of {side} pixels are too small for this network; use larger ones.")
    features = previous * (side // 16) ** 2
    layers["flatten"] = nn.Flatten()
    for number, hidden in enumerate((128, 256, 512, 1024), start=5):
        width = _scaled(hidden, net, halve=False)
        layers[f"fc{number}"] = nn.Linear(features, width)
        layers[f"{net.activation}{number}"] = activation(net)
        layers[f"drop{number}"] = nn.Dropout(net.dropout)
        layers[f"bn{number}"] = nn.BatchNorm1d(width)
        features = width
    layers["fc9"] = nn.Linear(features, net.classes)
    return layers


def _side_after(layers: Layers, side: int, channels: int) -> int:
    """Pixels a side after the layers, found by sending an empty image through those that change its size.

    Not on torch's "meta" device: its first activation imports torch's compiler, which takes seconds in each process.
    """
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    try:
        with torch.no_grad():
            maps = nn.Sequential(*(layer for layer in layers.values() if isinstance(layer, kinds)))(
                torch.zeros(1, channels, side, side)
            )
    except RuntimeError as error:
        raise SpecError(f"Images of {side} pixels are too small for this network; use larger ones.") from error
    return maps.shape[-1]


def parameter_count(model: nn.Module) -> int:
    """The number of trainable numbers."""
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)


def layer_table(model: nn.Module, side: int, channels: int = 3) -> pd.DataFrame:
    """One row a layer: name, kind, output shape (C, H, W), neurons, parameters, multiply-adds for one image.

    Adding a bias counts as a multiply-add, as torchinfo has it. A model on torch's "meta" device will do.
    """
    device = next(model.parameters()).device
    summary = torchinfo.summary(
        model, (1, channels, side, side), verbose=0, depth=1, col_names=(), device=device, mode="eval"
    )
    columns = ["layer", "kind", "output", "neurons", "parameters", "multiply-adds"]
    rows = []
    for info in summary.summary_list:
        if info.depth == 1:
            output = tuple(info.output_size[1:])
            rows.append((info.var_name, info.class_name, output, math.prod(output), info.num_params, info.macs))
    return pd.DataFrame(rows, columns=columns)


@functools.lru_cache(maxsize=64)
def multiply_adds(net: NetSpec, side: int, frozen: bool = False) -> int:
    """Multiply-adds of one forward pass for one image of `side` pixels a side; without convolutions, if `frozen`."""
    with torch.device("meta"):  # tens of millions of weights, of which none is needed
        model = build(net, side)
    layers = layer_table(model, side).set_index("layer")["multiply-adds"]
    return int(layers[~layers.index.str.startswith("conv") | (not frozen)].sum())


def from_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The convolutional part of torchvision's AlexNet under our names (features.0.weight becomes conv1.weight).

    Load it with `model.load_state_dict(..., strict=False)` into the torchvision variant. Raises `SpecError` when
    a layer is missing.
    """
    renamed = {}
    for number, index in enumerate((0, 3, 6, 8, 10), start=1):
        for kind in ("weight", "bias"):
            name = f"features.{index}.{kind}"
            if name not in weights:
                raise SpecError(f"These are not torchvision's AlexNet weights: {name} is missing.")
            renamed[f"conv{number}.{kind}"] = weights[name]
    return renamed
