import json
import shutil
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet.data import sources
from alexnet.data.compat import import_torchvision
from alexnet.data.weights import IMAGENET, Weights
from alexnet.errors import DataError
from alexnet.training import features
from alexnet.training.preparation import IMAGENET_MEAN, IMAGENET_STD

COUNT = 7
GENERATOR = np.random.default_rng(2012)
IMAGES = GENERATOR.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)


def make_weights(seed: int = 0) -> Weights:
    """Random weights of the right shapes."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, expected in IMAGENET.arrays.items():
        std = np.prod(expected.shape[1:]) ** -0.5 if name.endswith("weight") else 0.1
        arrays[name] = generator.normal(0, std, expected.shape).astype(np.float32)
    return Weights(arrays, "made up", {name: sources.array_hash(array) for name, array in arrays.items()})


WEIGHTS = make_weights()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 3)
    monkeypatch.setattr(features, "BATCH", 2)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the parts that were computed."""
    sizes: list[int] = []
    compute = features.compute

    def counted(images: np.ndarray, *others: object) -> object:
        sizes.append(len(images))
        return compute(images, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "compute", counted)
    return sizes


def of(folder: Path, images: np.ndarray = IMAGES, **options: object) -> features.Features:
    options = {"precision": "float32", "found": WEIGHTS, "device": torch.device("cpu")} | options
    return features.of(images, sources.array_hash(images), folder=folder, **options)  # type: ignore[arg-type]


def place(folder: Path) -> Path:
    [found] = (folder / "features").iterdir()
    return found


def slowly(images: np.ndarray) -> np.ndarray:
    """The definition: pixels in 0..1, normalised, upscaled by torch, through the network's layers in their order."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = F.interpolate((pixels - mean) / std, size=224, mode="bilinear", align_corners=False)
    model = torchvision_layers()
    model.load_state_dict({name: torch.tensor(array) for name, array in WEIGHTS.arrays.items()})
    return model.double()(pixels).flatten(1).detach().numpy()


def torchvision_layers() -> torch.nn.Module:
    """torchvision's own network without its classifier, the layers under our names."""
    layers = import_torchvision().models.AlexNet().features
    names = {str(index): f"conv{number}" for number, index in enumerate((0, 3, 6, 8, 10), start=1)}
    return torch.nn.Sequential(OrderedDict((names.get(name, name), layer) for name, layer in layers.named_children()))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 3e-2)])
def test_features_are_what_the_layers_give(flip: bool, precision: str, tolerance: float, tmp_path: Path) -> None:
    found = of(tmp_path, flip=flip, precision=precision).values
    expected = slowly(IMAGES[:, :, ::-1].copy() if flip else IMAGES)
    assert found.dtype == np.float16
    assert found.shape == expected.shape == (COUNT, 9216)
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_features_are_computed_once(tmp_path: Path, computed: list[int]) -> None:
    first = of(tmp_path)
    assert computed == [3, 3, 1]
    again = of(tmp_path)
    assert computed == [3, 3, 1]
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(again.values, first.values)
    assert not again.values.flags.writeable


def test_other_images_weights_or_settings_are_other_features(tmp_path: Path) -> None:
    others = [
        of(tmp_path),
        of(tmp_path, flip=True),
        of(tmp_path, images=IMAGES[:3]),
        of(tmp_path, found=make_weights(seed=1)),
        of(tmp_path, precision="bfloat16"),
    ]
    assert len(list((tmp_path / "features").iterdir())) == len(others)
    assert len({found.sha256 for found in others}) == len(others)


def test_a_killed_computation_goes_on_behind_its_last_block(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of(tmp_path / "whole").sha256
    flush, written = features._flush, []

    def killed(file: object) -> None:
        flush(file)  # type: ignore[arg-type]
        written.append(file)
        if len(written) == 3:  # the second block is on disk, the journal does not name it yet
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features, "_flush", killed)
        with pytest.raises(KeyboardInterrupt):
            of(tmp_path)
    computed.clear()
    assert of(tmp_path).sha256 == expected
    assert computed == [3, 1]


def test_a_damaged_partial_file_is_used_up_to_the_damage(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of(tmp_path).sha256
    folder = place(tmp_path)
    made = json.loads((folder / features.MADE_FILE).read_text())
    content = bytearray((folder / features.ARRAY_FILE).read_bytes())
    content[-(9216 * 2 * 4)] ^= 1  # in the first row of the second block
    (folder / features.PARTIAL_FILE).write_bytes(content)
    (folder / features.JOURNAL_FILE).write_text("\n".join(made["blocks"]))
    (folder / features.MADE_FILE).unlink()
    computed.clear()
    assert of(tmp_path).sha256 == expected
    assert computed == [3, 1]


def test_a_computation_killed_at_the_very_end(tmp_path: Path, computed: list[int]) -> None:
    expected = of(tmp_path).sha256
    made = place(tmp_path) / features.MADE_FILE
    (place(tmp_path) / features.JOURNAL_FILE).write_text("\n".join(json.loads(made.read_text())["blocks"]))
    made.unlink()
    computed.clear()
    assert of(tmp_path).sha256 == expected
    assert computed == []


@pytest.mark.parametrize("damage", ["bit", "truncated", "removed", "foreign key", "no json"])
def test_damaged_features_are_computed_again(damage: str, tmp_path: Path, computed: list[int]) -> None:
    expected = of(tmp_path).sha256
    array, made = (place(tmp_path) / name for name in (features.ARRAY_FILE, features.MADE_FILE))
    content = array.read_bytes()
    if damage == "bit":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncated":
        array.write_bytes(content[:-2])
    elif damage == "removed":
        array.unlink()
    elif damage == "foreign key":
        made.write_text(made.read_text().replace('"flip": false', '"flip": true'))
    else:
        made.write_text("{")
    computed.clear()
    assert of(tmp_path).sha256 == expected
    assert computed == [3, 3, 1]


def test_too_little_room_is_said_before_anything_is_computed(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10_000_000))
    with pytest.raises(DataError, match=r"need 0\.00 GB in .*, and 0\.01 GB are free"):
        of(tmp_path)
    assert computed == []


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(features, "_flush", full)
        with pytest.raises(DataError, match=r"cannot be stored in .*: No space left on device\. Make room"):
            of(tmp_path)
    assert len(of(tmp_path).values) == COUNT


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    large = {name: array * (1e4 if name == "conv5.weight" else 3) for name, array in WEIGHTS.arrays.items()}
    with pytest.raises(DataError, match="do not fit float16"):
        of(tmp_path, found=Weights(large, "made up", dict.fromkeys(large, "0")))
