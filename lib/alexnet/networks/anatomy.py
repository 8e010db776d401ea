"""The network taken apart and counted, against the numbers that the paper prints about it (abstract, 3.5, figure 2).

Nothing is trained here: what this module says follows from the network alone. Networks are built on torch's "meta"
device where only their shapes matter, which takes no memory and no time.
"""

import difflib
import functools
import itertools
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn

from .. import paths
from ..errors import SpecError
from ..paper.claims import claims
from ..records.specs import NetSpec
from .models import build, fan_in, initial_bias, initial_std, layer_table, parameter_count, weight_layers
from .response_norm import LocalResponseNorm, SpatialResponseNorm

Seen = dict[str, tuple[Tensor, Tensor]]  # what each layer of weights was given, and what it gave

SIDE = 227  # pixels a side at the input: the printed 224 does not give the printed 55 (see `positions`)
AS_WRITTEN = NetSpec(classes=1000)
AS_RUN = NetSpec(classes=1000, variant="as-run", norm="mean", init="as-run")
TORCHVISION = NetSpec(classes=1000, variant="torchvision", towers="full", norm="none", init="torch")


@functools.cache
def printed() -> Mapping:
    """The numbers that the paper prints about the network, from `printed.toml`."""
    return tomllib.loads((paths.PAPER / "printed.toml").read_text(encoding="utf-8"))


def outline(net: NetSpec, side: int = SIDE) -> nn.Sequential:
    """The network without memory for its weights: it has shapes and counts, but no values."""
    with torch.device("meta"):
        return build(net, side)


@functools.lru_cache(maxsize=16)
def layers(net: NetSpec = AS_WRITTEN, side: int = SIDE) -> pd.DataFrame:
    """One row a layer, as `models.layer_table` gives it. Treat it as read-only: it is kept for the next caller."""
    return layer_table(outline(net, side), side)


def listing(net: NetSpec = AS_WRITTEN, side: int = SIDE) -> pd.DataFrame:
    """One row a layer, for reading: layer, what it is, output ("96 x 55 x 55"), parameters."""
    table = layers(net, side)
    words = [describe(layer) for layer in outline(net, side).children()]
    outputs = [" x ".join(map(str, shape)) for shape in table["output"]]
    return pd.DataFrame(
        {"layer": table["layer"], "what it is": words, "output": outputs, "parameters": table["parameters"]}
    )


def learned_layers(net: NetSpec = AS_WRITTEN, side: int = SIDE) -> pd.DataFrame:
    """The rows of the layers that have weights; their outputs, before pooling, are what the paper counts as neurons."""
    table = layers(net, side)
    return table[table["parameters"] > 0].reset_index(drop=True)


@functools.cache
def exact_counts() -> dict[str, int]:
    """The numbers of the claims that are arithmetic, by the measure that `claims.toml` names."""
    table = learned_layers()
    return {
        "parameters": parameter_count(outline(AS_WRITTEN)),
        "neurons": int(table["neurons"].sum()),
        "first-layer-neurons": int(table["neurons"].iloc[0]),
    }


def against_the_paper() -> pd.DataFrame:
    """Layer by layer: output, neurons counted and printed and their difference, parameters, multiply-adds; and totals.

    The last row's printed numbers are the totals that the paper states, not sums of its list.
    """
    table = learned_layers()
    neurons = printed()["neurons"]
    inputs = {"layer": "input", "output": (3, SIDE, SIDE), "neurons": 3 * SIDE**2, "parameters": 0, "multiply-adds": 0}
    columns = list(inputs)
    sums = table[["neurons", "parameters", "multiply-adds"]].sum().to_dict()
    total = {"layer": "all eight layers", "output": None, **sums}
    rows = pd.DataFrame([inputs, *table[columns].to_dict("records"), total])
    rows["printed"] = [*(neurons[name] for name in rows["layer"][:-1]), stated("arch-neurons")]
    rows["difference"] = rows["neurons"] - rows["printed"]
    return rows[["layer", "output", "neurons", "printed", "difference", "parameters", "multiply-adds"]]


def stated(claim: str) -> int:
    """The total that the paper states in a claim of exact arithmetic."""
    value = claims()[claim].figures[0].value
    if value is None:
        raise SpecError(f"{claim} has no figure to compare with; name a claim of exact arithmetic.")
    return int(value)


def positions(side: int, kernel: int = 11, stride: int = 4, padding: int = 0) -> float:
    """How many places a kernel takes along a side; a fraction means that the last step does not fit."""
    return (side + 2 * padding - kernel) / stride + 1


# ---- as written, as run, torchvision ---------------------------------------------------------------------------------


def describe(layer: nn.Module) -> str:
    """A layer in a few words: "convolution, 256 kernels of 5x5, padding 2, 2 towers"."""
    match layer:
        case nn.Conv2d():
            stride = f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
            padding = f", padding {layer.padding[0]}" if layer.padding[0] else ""
            groups = f", {layer.groups} towers" if layer.groups > 1 else ""
            kernel = "x".join(map(str, layer.kernel_size))
            return f"convolution, {layer.out_channels} kernels of {kernel}{stride}{padding}{groups}"
        case nn.Linear():
            return f"fully connected, {layer.out_features} neurons"
        case LocalResponseNorm():
            return f"response norm over {layer.size} maps, alpha times the {'mean' if layer.divide else 'sum'}"
        case SpatialResponseNorm():
            return f"response norm over {layer.size}x{layer.size} pixels"
        case nn.MaxPool2d():
            return f"max pooling, window {layer.kernel_size}, stride {layer.stride}"
        case nn.Dropout():
            return f"dropout {layer.p:g}"
        case _:
            return type(layer).__name__


def side_by_side(left: NetSpec, right: NetSpec, names: tuple[str, str], side: int = SIDE) -> pd.DataFrame:
    """Two networks, layer by layer and in order, with equal layers on one row; `names` are the columns' titles."""
    first, second = _lines(left, side), _lines(right, side)
    rows = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        rows += [(*pair, tag == "equal") for pair in itertools.zip_longest(first[i:j], second[k:m])]
    return pd.DataFrame(rows, columns=[*names, "same"])


def _lines(net: NetSpec, side: int) -> list[str]:
    return [f"{name}: {describe(layer)}" for name, layer in outline(net, side).named_children()]


def initial_values(net: NetSpec, side: int = SIDE) -> pd.DataFrame:
    """How each layer starts (section 5): std of the weights, bias, inputs of a neuron, and gain."""
    if net.init == "torch":
        raise SpecError('The init "torch" has no table of standard deviations; use paper, as-run or kaiming.')
    found = weight_layers(outline(net, side))
    rows = []
    for name, layer in found.items():
        last = name == next(reversed(found))
        std, inputs = initial_std(name, layer, net, last), fan_in(layer)
        rows.append((name, std, initial_bias(name, net), inputs, gain(std, inputs, rectified=not last)))
    return pd.DataFrame(rows, columns=["layer", "std", "bias", "inputs", "gain"])


# ---- how strongly a signal passes ------------------------------------------------------------------------------------


def gain(std: float, inputs: int, rectified: bool = True) -> float:
    """By what factor a layer of fresh weights multiplies the root mean square of what enters it.

    A neuron sums `inputs` products with independent weights of mean zero, so its variance is inputs * std^2 times the
    mean square of the input; rectification keeps half of the mean square. Biases, norms and pooling are left out.
    """
    return std * math.sqrt(inputs / 2 if rectified else inputs)


def total_gain(net: NetSpec, side: int = SIDE) -> float:
    """The product of the gains of all layers: from pixels to scores."""
    return math.prod(initial_values(net, side)["gain"])


@torch.no_grad()
def signal(model: nn.Sequential, images: Tensor) -> pd.Series:
    """What is left of the differences between images, layer by layer, in a network as it was initialised.

    For the float images [N, C, S, S] themselves ("input") and the output of each layer of weights: the standard
    deviation over the N images, root mean square over neurons. Biases shift all images alike and don't count; what
    norms, activations and pooling do on the way does. Dropout is off.
    """
    was_training = model.training
    model.eval()
    with watching(model) as seen:
        model(images)
    model.train(was_training)
    return signal_of(images, seen)


def signal_of(images: Tensor, seen: Seen) -> pd.Series:
    """The same, of images that have gone through the network already."""
    return pd.Series(
        {"input": _spread(images)} | {name: _spread(output) for name, (_, output) in seen.items()}, name="signal"
    )


@contextmanager
def watching(model: nn.Module) -> Iterator[Seen]:
    """What the layers of weights are given, and what they give, whenever images go through them."""
    seen: Seen = {}

    def note(name: str) -> Callable:
        return lambda _, inputs, output: seen.update({name: (inputs[0].detach(), output.detach())})

    hooks = [layer.register_forward_hook(note(name)) for name, layer in weight_layers(model).items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _spread(values: Tensor) -> float:
    squares = 0.0
    for part in map(Tensor.double, values.flatten(1).split(4096, dim=1)):  # in parts that a core's cache holds
        squares += float((part - part.mean(0)).square().sum())
    return math.sqrt(squares * len(values) / (len(values) - 1) / values.numel())


# ---- towers ----------------------------------------------------------------------------------------------------------


def tower_links(net: NetSpec = AS_WRITTEN, side: int = SIDE) -> pd.DataFrame:
    """Which tower's maps each tower of a layer sees: rows layer, to (tower), from (tower), seen.

    A layer with groups sees its own tower only; every other one sees both.
    """
    rows = []
    for name, layer in list(weight_layers(outline(net, side)).items())[1:]:
        split = isinstance(layer, nn.Conv2d) and layer.groups > 1
        rows += [(name, to, source, to == source or not split) for to in (1, 2) for source in (1, 2)]
    return pd.DataFrame(rows, columns=["layer", "to", "from", "seen"])
