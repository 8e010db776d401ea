"""Every fast path against the plainest definition: values, gradients, dtypes, memory formats, odd shapes."""

import concurrent.futures
import copy
import io
import multiprocessing
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet.errors import AlexnetError
from alexnet.networks import norm_kernels, response_norm
from alexnet.networks.layers import LocallyConnected2d, LocalResponseNorm, SpatialResponseNorm, reference_response_norm
from alexnet.networks.models import TowerNorm

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}
DTYPES = list(TOLERANCE)
pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0, spread: float = 30.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest absolute error over the largest absolute value."""
    if not expected.numel():
        return 0.0
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def check(norm: nn.Module, reference, maps: torch.Tensor, gradient: torch.Tensor | None = None) -> None:
    """Values and gradient of `norm` against `reference` in float64, on the very numbers that `norm` sees."""
    if gradient is None:
        gradient = random(*maps.shape, seed=1, spread=1.0).to(maps.dtype)
    fast, slow = maps.detach().clone().requires_grad_(), maps.detach().double().requires_grad_()
    output, expected = norm(fast), reference(slow)
    output.backward(gradient)
    expected.backward(gradient.double())
    assert output.dtype == fast.grad.dtype == maps.dtype
    assert output.shape == maps.shape
    assert error(output, expected) <= TOLERANCE[maps.dtype]
    assert error(fast.grad, slow.grad) <= TOLERANCE[maps.dtype]


# Local response normalisation


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    size=st.integers(1, 10),
    last=st.booleans(),
    divide=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_local_norm_is_its_definition(shape, size, last, divide, dtype, seed):
    maps = random(*shape, seed=seed).to(dtype)
    if last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    norm = LocalResponseNorm(size, alpha=1e-3, divide=divide)
    check(norm, lambda x: reference_response_norm(x, size, alpha=1e-3, divide=divide), maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 96, 55, 55), (2, 256, 27, 27)])
def test_local_norm_at_the_sizes_of_alexnet(shape, memory_format, dtype):
    maps = random(*shape, spread=100.0).relu().to(dtype).contiguous(memory_format=memory_format)
    check(LocalResponseNorm(), reference_response_norm, maps)


def test_local_norm_elementwise_at_most_1e_6_off_in_float32():
    maps = random(2, 96, 20, 20, spread=300.0).float()
    expected = reference_response_norm(maps)
    assert ((LocalResponseNorm()(maps) - expected) / expected).abs().max() <= 1e-6


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=3, max_size=5).map(tuple),
    size=st.integers(1, 9),
    constants=st.tuples(st.floats(1e-5, 1e-1), st.sampled_from([0.25, 0.5, 0.75, 1, 2.0]), st.floats(0.5, 3.0)),
)
def test_divided_it_is_torchs(shape, size, constants):
    alpha, beta, k = constants
    maps = random(*shape)
    check(LocalResponseNorm(size, alpha, beta, k, divide=True), nn.LocalResponseNorm(size, alpha, beta, k), maps)


@pytest.mark.parametrize("piece", [1, 7, 40, 1000])
@pytest.mark.parametrize("last", [True, False])
def test_local_norm_does_not_depend_on_the_pieces(monkeypatch, piece, last):
    """Pieces smaller than a row, narrower than a map, and a last one that is not full."""
    monkeypatch.setattr(response_norm, "PIECE", piece)
    maps = random(3, 7, 5, 4).float()
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    for size in (4, 5):
        check(LocalResponseNorm(size, alpha=0.01), lambda x, n=size: reference_response_norm(x, n, alpha=0.01), maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shared_by_threads_it_is_the_same_to_the_last_bit(monkeypatch, memory_format, dtype):
    monkeypatch.setattr(response_norm, "LEAST_SHARE", 1000)
    maps = random(3, 24, 13, 11).to(dtype).contiguous(memory_format=memory_format)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        leaf = maps.clone().requires_grad_()
        output = LocalResponseNorm()(leaf)
        output.backward(random(*maps.shape, seed=1).to(dtype))
        found.append((output.detach(), leaf.grad))
    check(LocalResponseNorm(), reference_response_norm, maps)
    for output, gradient in found[1:]:
        assert torch.equal(output, found[0][0]) and torch.equal(gradient, found[0][1])


def test_one_thread_asks_no_other(monkeypatch):
    monkeypatch.setattr(response_norm, "LEAST_SHARE", 1)
    monkeypatch.setattr(response_norm, "_pool", lambda threads: pytest.fail("a thread was woken"))
    maps = random(2, 24, 8, 8).float().requires_grad_()
    LocalResponseNorm()(maps).sum().backward()


def normalised_elsewhere(maps: torch.Tensor) -> list:
    torch.set_num_threads(2)
    return LocalResponseNorm()(maps).tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(response_norm, "LEAST_SHARE", 1)
    torch.set_num_threads(2)
    maps = random(2, 8, 4, 4).float()
    expected = LocalResponseNorm()(maps).tolist()  # its threads do not follow into the fork
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(normalised_elsewhere, maps).result(timeout=60) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [True, False])
def test_without_compiled_code_it_is_its_definition(monkeypatch, last, dtype):
    monkeypatch.delattr("alexnet.networks.norm_kernels")
    monkeypatch.setitem(sys.modules, "alexnet.networks.norm_kernels", None)  # as where numba cannot be imported
    maps = random(2, 12, 5, 3).to(dtype)
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    assert response_norm._kernels(maps) is None
    check(LocalResponseNorm(), reference_response_norm, maps)


def test_a_folder_that_takes_no_files_costs_the_kept_copy_alone(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(norm_kernels.config, "CACHE_DIR", str(tmp_path / "file" / "folder"))
    forward, _ = norm_kernels.compiled.__wrapped__("float32")
    maps, output = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    forward(maps, output, 3, 3, 0.1, 0.75, 2.0, 1000)
    expected = reference_response_norm(torch.from_numpy(maps).view(2, 3, 1), 3, 0.1).flatten()
    assert error(torch.from_numpy(output), expected) <= 1e-6


def test_rounding_to_bfloat16_is_torchs():
    """Ties, the largest numbers, infinity, not a number; scale 1, so that what is rounded is the input itself."""
    numbers = 0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0x7FFFFFFF, 0x00000001
    bits = torch.tensor(numbers)
    wide = torch.cat([bits, bits | -(1 << 31)]).to(torch.int32).view(torch.float32)

    @norm_kernels.njit
    def rounded(values, output):
        for i in range(len(values)):
            output[i] = norm_kernels.narrowed(values[i], output[i])

    output = np.zeros(len(wide), np.uint16)
    rounded(wide.numpy(), output)
    found, expected = torch.from_numpy(output).view(torch.bfloat16), wide.to(torch.bfloat16)
    assert torch.equal(found.isnan(), wide.isnan())
    assert torch.equal(found[~wide.isnan()], expected[~wide.isnan()])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_local_norm_keeps_the_memory_format(memory_format):
    maps = random(2, 6, 4, 5).float().contiguous(memory_format=memory_format).requires_grad_()
    output = LocalResponseNorm()(maps)
    (gradient,) = torch.autograd.grad(output.sum(), maps)  # a gradient of one number, expanded
    assert output.stride() == gradient.stride() == maps.stride()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, ::2],
        lambda x: x[:, :, 1:, ::2],
        lambda x: x.transpose(2, 3),
        lambda x: x.permute(1, 0, 3, 2),
        lambda x: x[:1].expand(3, -1, -1, -1),
        lambda x: x.contiguous(memory_format=torch.channels_last)[..., 1:],
    ],
)
def test_local_norm_of_views(view):
    maps = view(random(4, 6, 5, 7).float())
    check(LocalResponseNorm(), reference_response_norm, maps)
    strided = random(*maps.shape, 2, seed=2).float()[..., 0]
    leaf = random(4, 6, 5, 7).float().requires_grad_()
    (found,) = torch.autograd.grad(LocalResponseNorm()(view(leaf)), leaf, strided)
    wide = leaf.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(reference_response_norm(view(wide)), wide, strided.double())
    assert error(found, expected) <= 1e-6


def test_local_norm_in_five_dimensions_with_channels_last():
    maps = random(2, 6, 3, 4, 5).float().contiguous(memory_format=torch.channels_last_3d)
    check(LocalResponseNorm(), reference_response_norm, maps)
    assert LocalResponseNorm()(maps).is_contiguous(memory_format=torch.channels_last_3d)


def test_the_small_term_is_not_lost_in_bfloat16():
    """2 + 0.0001 * sum is 2 in bfloat16 for sums up to 78; alpha must still act."""
    maps = torch.full((1, 9, 1, 1), 3.0, dtype=torch.bfloat16)
    factors = reference_response_norm(maps, alpha=1e-3) / 3
    assert (factors < 2**-0.75 * 0.99).all()
    found = LocalResponseNorm(alpha=1e-3)(maps).double() / 3
    assert ((found - factors).abs() / factors).max() < 2**-8


def test_local_norm_with_infinite_maps_harms_only_their_windows():
    maps = random(1, 12, 2, 2).float()
    expected = reference_response_norm(maps)
    maps[0, 6, 0, 0] = torch.nan
    output = LocalResponseNorm()(maps)
    touched = torch.zeros_like(maps, dtype=torch.bool)
    touched[0, 4:9, 0, 0] = True
    assert output[touched].isnan().all()
    assert error(output[~touched], expected[~touched]) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_local_norm_under_autocast(dtype):
    maps = random(2, 8, 5, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        check(LocalResponseNorm(), reference_response_norm, maps)
    inside = maps.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        LocalResponseNorm()(inside).sum().backward()
    outside = maps.clone().requires_grad_()
    LocalResponseNorm()(outside).sum().backward()
    assert torch.equal(inside.grad, outside.grad)


def test_second_derivatives_are_right():
    norm = LocalResponseNorm(4, alpha=0.1, k=1.0)
    maps = random(2, 6, 2, 2, spread=2.0).requires_grad_()
    assert torch.autograd.gradcheck(norm, (maps,))
    assert torch.autograd.gradgradcheck(norm, (maps,))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("norm", [LocalResponseNorm(), TowerNorm(2)])
def test_the_next_layer_may_work_in_place(norm, last):
    maps = random(2, 12, 3, 3).float()
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    found = []
    for inplace in (True, False):
        leaf = maps.clone().requires_grad_()
        output = nn.Sequential(nn.ReLU(inplace=inplace), norm, nn.ReLU(inplace=inplace))(leaf * 1)
        output.square().sum().backward()
        found.append((output, leaf.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("norm", [LocalResponseNorm(), TowerNorm(2), SpatialResponseNorm()])
def test_a_traced_norm_is_saved_and_loaded(norm):
    maps = random(2, 12, 4, 5).float()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(norm, maps), file)
        file.seek(0)
        loaded = torch.jit.load(file)
    other = random(2, 12, 4, 5, seed=3).float()
    assert error(loaded(other), norm(other)) <= 1e-6
    assert torch.equal(copy.deepcopy(norm)(other), norm(other))


def test_scripting_is_refused_in_one_line():
    with pytest.raises(AlexnetError, match="script cannot read response normalisation"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Sequential(LocalResponseNorm()))


@pytest.mark.parametrize("norm", [LocalResponseNorm(), TowerNorm(2), SpatialResponseNorm()])
def test_vmap_is_a_loop(norm):
    maps = random(3, 2, 12, 4, 5).float()
    loop = torch.stack([norm(one) for one in maps.unbind(1)], 1)
    assert error(torch.func.vmap(norm, in_dims=1, out_dims=1)(maps), loop) <= 1e-6

    def squares(one: torch.Tensor) -> torch.Tensor:
        return norm(one).square().sum()

    apart = torch.stack([torch.func.grad(squares)(one) for one in maps])
    assert error(torch.func.vmap(torch.func.grad(squares))(maps), apart) <= 1e-6


def test_function_transforms_give_the_same_gradient():
    maps = random(2, 6, 3, 3)
    found = torch.func.grad(lambda x: LocalResponseNorm()(x).square().sum())(maps)
    wide = maps.clone().requires_grad_()
    reference_response_norm(wide).square().sum().backward()
    assert error(found, wide.grad) <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_local_norm_compiles_whole(dtype):
    """Traced in one graph, gradients included; no C compiler is needed for this backend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(LocalResponseNorm(), backend="aot_eager", fullgraph=True)
        check(compiled, reference_response_norm, random(2, 8, 5, 5).to(dtype))
    torch.compiler.reset()


def test_local_norm_repeats_itself_exactly():
    maps = random(4, 16, 9, 9).float()
    assert torch.equal(LocalResponseNorm()(maps), LocalResponseNorm()(maps))


@pytest.mark.parametrize("kind", [LocalResponseNorm, SpatialResponseNorm])
@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_an_impossible_window_is_refused(kind, size):
    with pytest.raises(AlexnetError, match="window"):
        kind(size)


@pytest.mark.parametrize("kind", [LocalResponseNorm, SpatialResponseNorm])
@pytest.mark.parametrize("maps", [torch.zeros(3, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)])
def test_inputs_that_are_no_maps_are_refused(kind, maps):
    with pytest.raises(AlexnetError, match="takes floating-point"):
        kind()(maps)


def test_norms_print_their_constants():
    assert repr(LocalResponseNorm()) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0, divide=False)"
    assert repr(SpatialResponseNorm()) == "SpatialResponseNorm(5, scale=0.001, power=0.75)"


# Response normalisation within a map


def plain_spatial_norm(maps: torch.Tensor, size: int, scale: float, power: float) -> torch.Tensor:
    height, width = maps.shape[2:]
    rows = []
    for row in range(height):
        pixels = []
        for column in range(width):
            top, left = row - size // 2, column - size // 2
            window = maps[:, :, max(0, top) : top + size, max(0, left) : left + size]
            total = window.square().sum((2, 3))
            pixels.append(maps[:, :, row, column] / (1 + scale / size**2 * total) ** power)
        rows.append(torch.stack(pixels, -1))
    return torch.stack(rows, -2)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    size=st.integers(1, 6),
    last=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_spatial_norm_is_its_definition(shape, size, last, dtype):
    maps = random(*shape).to(dtype)
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    check(SpatialResponseNorm(size, 0.01), lambda x: plain_spatial_norm(x, size, 0.01, 0.75), maps)


# Convolution with unshared weights


def plain_locally_connected(layer: LocallyConnected2d, maps: torch.Tensor) -> torch.Tensor:
    side, size = layer.output_size, layer.kernel_size
    padded = nn.functional.pad(maps, [layer.padding] * 4)
    weight = layer.weight.to(maps.dtype).view(side, side, size, size, layer.in_channels, layer.out_channels)
    bias = layer.bias.to(maps.dtype).view(side, side, layer.out_channels)
    output = torch.zeros(len(maps), layer.out_channels, side, side, dtype=maps.dtype)
    for row in range(side):
        for column in range(side):
            window = padded[:, :, row : row + size, column : column + size]
            output[:, :, row, column] = torch.einsum("ncyx,yxco->no", window, weight[row, column]) + bias[row, column]
    return output


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(0, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel_size=st.integers(1, 4),
    padding=st.integers(0, 2),
    extra=st.integers(0, 4),
)
def test_locally_connected_is_its_definition(batch, channels, kernel_size, padding, extra):
    layer = LocallyConnected2d(*channels, kernel_size, kernel_size + extra, padding).double()
    maps = random(batch, channels[0], kernel_size + extra, kernel_size + extra).requires_grad_()
    inputs = (maps, layer.weight, layer.bias)
    found, expected = layer(maps), plain_locally_connected(layer, maps)
    gradient = random(*expected.shape, seed=1)
    assert found.shape == expected.shape
    assert error(found, expected) <= 1e-13
    pairs = zip(*(torch.autograd.grad(out, inputs, gradient) for out in (found, expected)), strict=True)
    assert all(error(fast, slow) <= 1e-12 for fast, slow in pairs)


def test_locally_connected_with_equal_weights_is_a_convolution():
    layer, convolution = LocallyConnected2d(3, 4, 3, 8, padding=1), nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.permute(2, 3, 1, 0).reshape(1, -1, 4))
        layer.bias.copy_(convolution.bias)
    maps = random(2, 3, 8, 8).float()
    assert error(layer(maps), convolution(maps)) <= 1e-6


def test_locally_connected_sizes_of_the_cifar_net():
    """local3 of the 13% net: 64 maps of 8 x 8 pixels, 32 kernels of 3 x 3 a place, a bias each (section 3.3)."""
    layer = LocallyConnected2d(64, 32, 3, 8, padding=1)
    assert layer.fan_in == 576
    assert sum(p.numel() for p in layer.parameters()) == 64 * (576 + 1) * 32


def test_locally_connected_refuses_what_does_not_fit():
    with pytest.raises(AlexnetError, match="does not fit"):
        LocallyConnected2d(3, 4, 5, 4)
    with pytest.raises(AlexnetError, match="takes maps"):
        LocallyConnected2d(3, 4, 3, 8)(torch.zeros(1, 3, 9, 9))


# Pooling as cuda-convnet does it: torch has it, and this is what the networks rely on


@pytest.mark.parametrize("side", [4, 5, 8, 13, 32])
def test_pooling_that_rounds_up_covers_the_border_and_averages_only_real_pixels(side):
    """A window that hangs over the border: the output is ceil((n - 3) / 2) + 1 wide (32 gives 16), the maximum is of
    the pixels inside, and the mean divides by their number, not by 9."""
    maps = random(2, 3, side, side)
    width = -(-(side - 3) // 2) + 1
    largest, mean = nn.MaxPool2d(3, 2, ceil_mode=True)(maps), nn.AvgPool2d(3, 2, ceil_mode=True)(maps)
    assert largest.shape[-2:] == mean.shape[-2:] == (width, width)
    for row in range(width):
        for column in range(width):
            window = maps[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(largest[:, :, row, column], window.amax((2, 3)))
            assert torch.allclose(mean[:, :, row, column], window.mean((2, 3)))
