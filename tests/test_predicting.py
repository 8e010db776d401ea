"""An image in the hand: what a trained network says of it, and everything that is no image or no trained network."""

import dataclasses
import io
import json
import os
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import small
import torch
from PIL import Image, PngImagePlugin
from test_transfer import PROBE, few_data  # noqa: F401  # a fixture

from alexnet import Classifier, __main__, paths, predict
from alexnet.data import datasets, photograph
from alexnet.data.datasets import CIFAR10
from alexnet.errors import DataError, RecordError, SpecError
from alexnet.prediction import checkpoints, training
from alexnet.prediction.checkpoints import DIGEST, ENTRY
from alexnet.records.specs import PIXELS, RunSpec
from alexnet.records.store import Store
from alexnet.runs import execution
from alexnet.training import evaluation, machine
from alexnet.training.prepared import prepare

SPEC = small.spec(3, recipe={"epochs": 2, "momentum": 0.9}, images={"padding": 2, "crop": 30, "flip": True})
GREY = small.spec(1, net={"width": 0.0625}, recipe={"epochs": 1}).with_(dataset="mnist")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small network that was trained on the small data set."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        small.install(patch)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        training.train(SPEC, path, Store(path.parent / "work"), "float32")
        torch.set_num_threads(threads)
    small.forget()
    return path


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture whose corner is red; it differs in every direction."""
    pixels = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[:8, :8] = (250, 5, 5)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, name: str, folder: Path, **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def shades_of(source: photograph.Source) -> np.ndarray:
    """The pixels of what was brought from 16 bits to 8."""
    found = photograph.read(source)
    assert found.notes == ("16 bits a pixel brought to 8",)
    return np.asarray(found.image)


@pytest.fixture
def told(capsys: pytest.CaptureFixture, counts: Counter) -> Callable[..., None]:
    """A command is refused: a line that says why, and exit code 2."""

    def told(message: str, *words: object) -> None:
        assert __main__.main([*map(str, words)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        counts["bad inputs tried"] += 1

    return told


# --- the network -----------------------------------------------------------------------------------------------------


def test_test_images_get_the_probabilities_that_the_run_gave_them(small_data: None, made: Path, tmp_path: Path) -> None:
    """The preparation is that of the test, to the last bit, though the checkpoint knows no data set."""
    done = execution.trained(prepare(SPEC, precision="float32"), Store(tmp_path))
    expected, _ = evaluation.log_probabilities(done.learn.model, prepare(SPEC, machine.default_device()).test())
    classifier = Classifier.load(made)
    assert classifier.checkpoint.description.weights_sha256 == execution.weights_sha256(done.learn.model)
    images = small.dataset().test_images
    found = classifier.probabilities(images)
    torch.testing.assert_close(found, expected.exp(), rtol=1e-5, atol=1e-6)
    alone = classifier.predict(images[7])
    np.testing.assert_allclose(alone.probabilities, expected[7].exp().numpy(), rtol=1e-5, atol=1e-6)
    ten, _ = evaluation.log_probabilities(done.learn.model, prepare(SPEC, torch.device("cpu")).test(), ten_crop=True)
    torch.testing.assert_close(classifier.probabilities(images, ten_crops=True), ten.exp(), rtol=1e-5, atol=1e-6)


def test_a_checkpoint_tells_where_it_comes_from(small_data: None, made: Path) -> None:
    found = checkpoints.load(made).description
    assert found.spec == SPEC and found.classes == CIFAR10.classes and found.epochs == SPEC.recipe.epochs
    assert found.data == small.dataset().hashes
    assert 0 <= found.valid_error <= 1 and found.test_error is not None
    assert str(made.parent) not in made.read_bytes()[:4000].decode(errors="replace")


def test_a_prediction_ranks_all_classes(made: Path) -> None:
    found = Classifier.load(made).predict(picture())
    assert len(found) == 10 and found.probabilities.sum() == pytest.approx(1, abs=1e-5)
    ranked = found.ranked()
    assert [share for _, share in ranked] == sorted((share for _, share in ranked), reverse=True)
    assert ranked[0] == (found.label, found.probability) and {label for label, _ in ranked} == set(CIFAR10.classes)


def test_the_network_of_grey_images_takes_one_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's images have one channel; whatever comes is brought to grey, and dark digits can be inverted."""
    generator = np.random.default_rng(0)
    digits = generator.integers(0, 256, (300, 28, 28, 1), dtype=np.uint8)
    labels = (np.arange(300) % 10).astype(np.uint8)
    grey = dataclasses.replace(
        small.dataset("mnist"), classes=tuple("0123456789"), train_images=digits, train_labels=labels,
        test_images=digits[:50], test_labels=labels[:50],
    )  # fmt: skip
    small.install(monkeypatch)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: grey)
    done = execution.trained(prepare(GREY, precision="float32"), Store(tmp_path))
    training.train(GREY, tmp_path / "grey.safetensors", Store(tmp_path / "work"), "float32")
    classifier = Classifier.load(tmp_path / "grey.safetensors")
    expected, _ = evaluation.log_probabilities(done.learn.model, prepare(GREY, torch.device("cpu")).test())
    small.forget()
    assert classifier.checkpoint.channels == 1 and classifier.classes == tuple("0123456789")
    torch.testing.assert_close(classifier.probabilities(digits[:50]), expected.exp(), rtol=1e-5, atol=1e-6)
    for source in (digits[3], digits[3, ..., 0], np.repeat(digits[3], 3, axis=-1)):
        assert np.array_equal(classifier.predict(source).seen, digits[3])
    assert np.array_equal(classifier.predict(255 - digits[3], invert=True).seen, digits[3])
    figure, _ = classifier.predict(picture()).figure()
    assert len(figure.axes) == 3


def test_frozen_layers_are_in_the_checkpoint(few_data: None, tmp_path: Path) -> None:  # noqa: F811
    """A classifier that was trained on features takes images: the layers before it come along."""
    path = tmp_path / "probe.safetensors"
    description = training.train(PROBE, path, Store(tmp_path / "work"), "float32")
    assert "imagenet_weights" in description.data
    done = execution.trained(prepare(PROBE, precision="float32"), Store(tmp_path / "again"))
    test = done.run.test()
    expected, _ = evaluation.log_probabilities(done.learn.model, test)
    images = done.run.split.dataset.test_images
    torch.testing.assert_close(Classifier.load(path).probabilities(np.array(images)), expected.exp(), rtol=0, atol=2e-3)


def test_images_of_another_size_are_refused_where_batches_are_taken(made: Path) -> None:
    with pytest.raises(DataError, match="takes uint8 images"):
        Classifier.load(made).probabilities(np.zeros((1, 28, 28, 1), np.uint8))


# --- images of every kind --------------------------------------------------------------------------------------------


def exif(orientation: int) -> Image.Exif:
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries


@pytest.mark.parametrize(
    "kind",
    [
        *("RGB a.png", "RGB a.bmp", "RGB a.ppm", "L a.png", "1 a.png", "P a.png", "P a.gif", "RGBA a.png", "LA a.png"),
        *("CMYK a.tif", "CMYK a.jpg", "YCbCr a.jpg", "RGB a.webp", "RGB name that lies.jpg"),
    ],
)
def test_files_of_every_common_kind_are_read(kind: str, made: Path, tmp_path: Path) -> None:
    """Each as Pillow itself brings it to RGB."""
    mode, name = kind.split(" ", 1)
    options = {"format": "PNG"} if "lies" in name else {"lossless": True} if name.endswith("webp") else {}
    path = saved(picture(mode), name, tmp_path, **options)
    found = photograph.read(path)
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert("RGB"))
    assert np.array_equal(np.asarray(found.image.convert("RGB")), expected)
    assert found.notes == (("CMYK brought to RGB",) if mode == "CMYK" else ())
    assert predict(path, made).probabilities.shape == (10,)


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    image = picture("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    for mode in ("RGBA", "LA"):
        found = photograph.read(saved(image.convert(mode), f"{mode}.png", tmp_path))
        assert np.asarray(found.image).min() == 255 and found.notes == ("transparent parts laid on white",)
    palette = picture("P")
    path = saved(palette, "palette.png", tmp_path, transparency=bytes([0] * 256))
    assert np.asarray(photograph.read(path).image).min() == 255
    half = np.zeros((4, 4, 4), np.uint8)
    half[..., 3] = 128
    assert np.all(np.abs(np.asarray(photograph.read(half).image).astype(int) - 127) <= 1)


def test_16_bits_keep_their_shades(tmp_path: Path) -> None:
    """Pillow's own conversion would cut everything off above 255."""
    shades = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = Image.fromarray(shades)
    for source in (shades, image, saved(image, "sixteen.png", tmp_path), saved(image, "sixteen.tif", tmp_path)):
        assert np.array_equal(shades_of(source), np.rint(shades / 257))


def big_endian(shades: np.ndarray) -> Image.Image:
    return Image.frombytes("I;16B", shades.shape[::-1], shades.astype(">u2").tobytes())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "a.pgm", "a.jp2"])
def test_16_bits_are_scaled_alike_in_every_kind_of_file(name: str, tmp_path: Path) -> None:
    shades = np.repeat(np.array([[12000, 50000]], np.uint16), 32, axis=0).repeat(32, axis=1)
    image = big_endian(shades) if "big" in name else Image.fromarray(shades)
    pixels = shades_of(saved(image, name, tmp_path))
    assert (pixels[:, :32] == 47).all() and (pixels[:, 32:] == 195).all(), "12000 / 257 and 50000 / 257"


def test_dark_16_bits_stay_dark_in_every_byte_order(tmp_path: Path) -> None:
    """Though none of the numbers is above 255."""
    dark = np.arange(256, dtype=np.uint16).reshape(4, 64)
    for source in (dark, dark.astype(">u2"), big_endian(dark), saved(Image.fromarray(dark), "a.pgm", tmp_path)):
        assert shades_of(source).max() == 1


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits(kind: int, channels: int, tmp_path: Path) -> None:
    """Pillow has their upper bytes: 1 away at most."""
    header = struct.pack(">LLBBBBB", 1, 1, 16, kind, 0, 0, 0)
    row = b"\0" + struct.pack(">H", 12000) * (channels - 1) + struct.pack(">H", 12000 if channels == 3 else 65535)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert np.abs(shades_of(tmp_path / "a.png").astype(float) - 12000 / 257).max() <= 1


def test_colours_of_16_bits_in_a_portable_pixmap(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + struct.pack(">3H", 12000, 50000, 0))
    assert shades_of(tmp_path / "a.ppm").tolist() == [[[47, 195, 0]]]


def tiff_of(bits: int, photometric: int, sample: int, content: bytes) -> bytes:
    """A TIFF of 2 x 1 pixels; photometric 0: white is zero; sample 1: unsigned, 2: signed, 3: float."""
    fields = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 134), (277, 1), (278, 1),
              (279, len(content)), (339, sample)]  # fmt: skip
    listed = b"".join(struct.pack("<HHLL", entry, 3, 1, value) for entry, value in fields)
    return b"II*\0" + struct.pack("<LH", 8, len(fields)) + listed + struct.pack("<L", 0) + content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff_of(16, 1, 1, struct.pack("<2H", 12000, 50000)), [47, 195]),
        (tiff_of(16, 0, 1, struct.pack("<2H", 12000, 50000)), [208, 60]),
        (tiff_of(12, 1, 1, b"\x2e\xec\x34"), [47, 195]),  # 750 and 3124 of 4095
        (tiff_of(32, 1, 3, struct.pack("<2f", 0.25, 1.0)), [64, 255]),
        (tiff_of(32, 0, 3, struct.pack("<2f", 0.25, 1.0)), [191, 0]),
    ],
)
def test_greys_of_more_than_8_bits_in_a_tiff(content: bytes, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert np.asarray(photograph.read(tmp_path / "a.tif").image).tolist() == [expected]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_exif_entry_says(orientation: int, tmp_path: Path) -> None:
    """The red corner comes to where a viewer shows it."""
    upright = picture()
    stored = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes each
    image = upright if orientation == 1 else upright.transpose(Image.Transpose(stored[orientation]))
    for name in ("turned.png", "turned.tif", "turned.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        found = photograph.read(saved(image, name, tmp_path, exif=exif(orientation), **options))
        assert np.array_equal(np.asarray(found.image), np.asarray(upright)), name
        assert found.notes == (() if orientation == 1 else ("turned as its EXIF entry says",)), name


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_turns_nothing(orientation: int, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.tif", "a.webp"):
        found = photograph.read(saved(picture(), name, tmp_path, exif=exif(orientation)))
        assert found.image.size == picture().size and found.notes == (), name


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A file with up to four faults, most of them near its beginning."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(len(changed), 600 if chance.random() < 0.7 else len(changed)))
        match chance.randrange(5):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                extreme = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80", b"\0\1"])
                changed[place : place + len(extreme)] = extreme
            case 3:
                del changed[place + 1 : chance.choice([place + 8, len(changed)])]
            case 4:
                changed[place:place] = chance.randbytes(8)
    return bytes(changed)


def entries() -> bytes:
    """EXIF entries: turned as 6 says, with numbers, words, and folders of entries within."""
    found = exif(6)
    found[0x010F], found[0x011A], found[0x0132] = "a maker", 72.5, "2012:12:03 00:00:00"
    found[0x8769] = {0x829A: 0.5, 0x9003: "2012:12:03 00:00:00"}
    found[0x8825] = {1: "N", 2: (43.0, 39.0, 46.0)}
    return found.tobytes()


def unsigned(block: bytes) -> bytes:
    """The resolution -1/2, of a kind that Pillow reads and cannot write."""
    assert block.count(b"\x01\x1a\x00\x05") == block.count(struct.pack(">LL", 145, 2)) == 1
    return block.replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x0a").replace(
        struct.pack(">LL", 145, 2), struct.pack(">lL", -1, 2)
    )


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_damaged_exif_entries_do_not_make_a_photograph_unreadable(name: str, tmp_path: Path) -> None:
    """Of all entries the orientation alone is read; where it is damaged too, nothing is turned."""
    upright = np.asarray(photograph.read(saved(picture(), name, tmp_path)).image)
    sideways = np.asarray(photograph.read(saved(picture(), name, tmp_path, exif=unsigned(entries()))).image)
    assert np.array_equal(sideways, np.rot90(upright, -1))
    for number in range(200):
        block = damaged(entries()[6:], random.Random(number))
        found = photograph.read(saved(picture(), name, tmp_path, exif=b"Exif\0\0" + block))
        assert found.image.mode == "RGB" and found.image.size in (picture().size, picture().size[::-1])


def test_a_damaged_tiff_entry_beside_the_orientation(tmp_path: Path) -> None:
    """Loading a TIFF makes Pillow read the folders of entries that it names."""
    path = saved(picture(), "a.tif", tmp_path, exif=entries())
    content = path.read_bytes()
    for entry in (0x8769, 0x8825):
        place = content.index(struct.pack("<HHL", entry, 4, 1))
        path.write_bytes(content[: place + 8] + b"\xff" * 4 + content[place + 12 :])
        assert photograph.read(path).notes == ("turned as its EXIF entry says",)


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp", "pages.tif"])
def test_of_an_animation_the_first_frame_is_taken(name: str, made: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(frames[0], name, tmp_path, save_all=True, append_images=frames[1:], **options)
    found = predict(path, made)
    assert np.array_equal(found.seen[0, 0], (255, 0, 0))
    assert found.photograph.notes == ("the first of 3 frames",)
    with Image.open(path) as opened:
        opened.seek(2)  # the caller's image may stand anywhere
        assert np.array_equal(np.asarray(photograph.read(opened).image)[0, 0], (255, 0, 0))


EXACT = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("what", "array"),
    [
        ("uint8", EXACT),
        ("pillow", Image.fromarray(EXACT)),
        ("channels first", EXACT.transpose(2, 0, 1)),
        ("floats from 0 to 1", EXACT / 255),
        ("float32 from 0 to 1, channels first", (EXACT / 255).astype(np.float32).transpose(2, 0, 1)),
        ("floats from 0 to 255", EXACT.astype(np.float32)),
        ("int64", EXACT.astype(np.int64)),
        ("not contiguous", np.asfortranarray(EXACT)),
        ("read-only", np.frombuffer(EXACT.tobytes(), np.uint8).reshape(32, 32, 3)),
        ("tensor", torch.from_numpy(EXACT).permute(2, 0, 1) / 255),
        ("bfloat16 would lose bits, uint8 tensor", torch.from_numpy(EXACT)),
        ("opaque alpha", np.dstack([EXACT, np.full((32, 32), 255, np.uint8)])),
        ("uint16", EXACT.astype(np.uint16) * 257),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_of_every_order_and_range_give_the_same_pixels(what: str, array: object, made: Path) -> None:
    """An image of the training images' size reaches the network bit by bit."""
    found = predict(array, made)  # type: ignore[arg-type]
    assert np.array_equal(found.seen, EXACT)


def test_grey_arrays_and_truth_values(made: Path) -> None:
    grey = EXACT[..., 0]
    for array in (grey, grey[..., None], grey[None], np.stack([grey, np.full_like(grey, 255)], -1)):
        assert np.array_equal(predict(array, made).seen, np.repeat(grey[..., None], 3, -1))
    assert np.array_equal(predict(grey > 99, made).seen[..., 0], (grey > 99) * 255)


def test_the_middle_is_taken_of_long_images(made: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = EXACT
    assert np.array_equal(predict(wide, made).seen, EXACT)
    assert np.array_equal(predict(wide.transpose(1, 0, 2), made).seen, EXACT.transpose(1, 0, 2))
    strip = np.full((1, 200_000, 3), 77, np.uint8)
    assert (predict(strip, made).seen == 77).all(), "no memory is taken for its whole length"
    predict(strip, made).figure()


def test_the_given_image_stays_as_it_is(made: Path) -> None:
    image = picture("P")
    before = image.tobytes()
    predict(image, made)
    assert image.mode == "P" and image.tobytes() == before and image.size == (48, 40)


# --- what is no image ------------------------------------------------------------------------------------------------


def bomb(folder: Path) -> Path:
    """A PNG of a few bytes that says it has 40,000 x 40,000 pixels."""
    content = bytearray(saved(Image.new("1", (1, 1)), "bomb.png", folder).read_bytes())
    content[16:24] = (40_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(content)
    return folder / "bomb.png"


def large(folder: Path) -> Path:
    """Above our limit, below the one at which Pillow refuses."""
    return saved(Image.new("1", (10_000, 9_500)), "large.png", folder)


def cut(folder: Path, name: str = "cut.png") -> Path:
    path = saved(picture(size=(200, 200)), name, folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def written(content: bytes, name: str = "some.png") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def closed(folder: Path) -> Image.Image:
    image = Image.open(saved(picture(), "closed.png", folder))
    image.close()
    return image


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda folder: folder / "missing.png", "missing.png does not exist"),
        (lambda folder: folder, "is a folder"),
        (pipe, "is no file"),
        (lambda folder: Path("/dev/zero"), "is no file"),
        (lambda folder: "https://example.org/cat.jpg", "does not exist"),
        (lambda folder: "a\0b.png", "cannot be read|does not exist"),
        (written(b""), "is empty"),
        (written(b"not an image at all"), "is not an image of a kind"),
        (written(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg"), "is not an image of a kind"),
        (written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.eps"), "is not an image of a kind"),
        (written(b"\x89PNG\r\n\x1a\n" + bytes(40)), "is not an image of a kind|cannot be read as an image"),
        (cut, "cannot be read as an image"),
        (lambda folder: cut(folder, "cut.jpg"), "cannot be read as an image"),
        (lambda folder: cut(folder, "cut.gif"), "cannot be read as an image"),
        (bomb, "more than 90 million pixels"),
        (large, "more than 90 million pixels"),
        (closed, "cannot be read as an image"),
        (lambda folder: Image.new("RGB", (0, 5)), "has no pixels"),
        (lambda folder: Image.new("I", (5, 5), 70_000), "values go from 70000 to 70000"),
        (lambda folder: torch.zeros(8, 8).to_sparse(), "give a dense one"),
        (lambda folder: torch.zeros(8, 8, device="meta"), "give a dense one"),
        (lambda folder: np.zeros((0, 32, 3), np.uint8), "holds no pixels"),
        (lambda folder: np.zeros((32, 0), np.uint8), "holds no pixels"),
        (lambda folder: np.zeros(5, np.uint8), "is no image"),
        (lambda folder: np.zeros((2, 32, 32, 3), np.uint8), "one image of the batch"),
        (lambda folder: np.zeros((32, 32, 7), np.uint8), "neither first nor last"),
        (lambda folder: np.full((8, 8, 3), np.nan), "not a number"),
        (lambda folder: np.full((8, 8, 3), np.inf, np.float32), "not a number"),
        (lambda folder: np.full((8, 8, 3), -0.5), "Undo its normalisation"),
        (lambda folder: np.full((8, 8, 3), 300.0), "not from 0 to 1 or 255"),
        (lambda folder: np.full((8, 8, 3), 300), "Scale it"),
        (lambda folder: np.full((8, 8, 3), 1j), "is no image"),
        (lambda folder: np.full((8, 8, 3), None), "is no image"),
        (lambda folder: np.full((8, 8, 3), "a"), "is no image"),
        (lambda folder: np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), "more than 90 million pixels"),
        (lambda folder: torch.full((3, 8, 8), float("nan")), "not a number"),
        (lambda folder: None, "A NoneType is no image"),
        (lambda folder: [[0, 1], [1, 0]], "A list is no image"),
    ],
)
def test_what_is_no_image_is_told(
    source: Callable, message: str, made: Path, tmp_path: Path, counts: Counter, told: Callable
) -> None:
    given = source(tmp_path)
    with pytest.raises(DataError, match=message):
        predict(given, made)
    if isinstance(given, str | Path) and "\0" not in str(given):
        told("", "predict", given, "--checkpoint", made)
    else:
        counts["bad inputs tried"] += 1


KINDS: dict[str, tuple[str, dict]] = {  # format: mode, how it is saved
    "JPEG": ("RGB", {"exif": entries()}),
    "JPEG of CMYK": ("CMYK", {"exif": entries()}),
    "MPO": ("RGB", {"save_all": True, "append_images": [picture()]}),
    "PNG": ("RGB", {"exif": entries()}),
    "PNG of 16 bits": ("I;16", {}),
    "PNG with a palette": ("P", {"transparency": 3}),
    "TIFF": ("RGB", {"exif": entries()}),
    "TIFF of strips": ("RGB", {"compression": "tiff_lzw"}),
    "TIFF of JPEG": ("RGB", {"compression": "jpeg"}),
    "TIFF of a telefax": ("1", {"compression": "group4"}),
    "WEBP": ("RGB", {"exif": entries()}),
    "GIF": ("P", {"save_all": True, "append_images": [picture("P").rotate(90)]}),
    "BMP": ("RGB", {}),
    "PPM": ("RGB", {}),
    "PPM of 16 bits": ("I;16", {}),
    "TGA": ("RGB", {}),
    "JPEG2000": ("RGB", {}),
    "AVIF": ("RGB", {"exif": entries(), "speed": 10}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture, counts: Counter
) -> None:
    """Never another error, and nothing printed beside it, as libtiff would."""
    name, (mode, options) = kind.split()[0], KINDS[kind]
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {name}")
    whole = io.BytesIO()
    (picture("L").convert(mode) if mode == "I;16" else picture(mode)).save(whole, name, **options)
    path = tmp_path / "damaged"
    for number in range(200):
        path.write_bytes(damaged(whole.getvalue(), random.Random(f"{kind} {number}")))
        try:
            found = photograph.read(path)
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            counts["bad inputs tried"] += 1
        else:
            assert found.image.mode in ("RGB", "L")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [RuntimeError, struct.error, AttributeError, AssertionError, MemoryError, KeyError])
def test_any_error_of_a_decoder_names_the_file(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise kind("two\nlines")

    path = saved(picture(), "a.png", tmp_path)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: .*two.*lines.*Save it again") as caught:
        photograph.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_whose_numbers_have_no_known_range_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(16, 1, 2, struct.pack("<2h", 100, 30000)))
    with pytest.raises(DataError, match=r"a\.tif: its values go from 100 to 30000"):
        photograph.read(tmp_path / "a.tif")


def test_the_name_of_a_file_may_hold_anything(made: Path, tmp_path: Path, told: Callable) -> None:
    for number, name in enumerate(["a b", "quote ' and \"", "Grüße", "two\nlines", os.fsdecode(b"\xff\xfe")]):
        path = saved(picture(), f"{number}.png", tmp_path).rename(tmp_path / name)
        words = ["predict", path, "--checkpoint", made]
        assert __main__.main([*map(str, words)]) == 0
        path.write_bytes(b"no image")
        told("", *words)
    out = tmp_path / os.fsdecode(b"\xff.png")
    image = saved(picture(), "a.png", tmp_path)
    assert __main__.main(["predict", str(image), "--checkpoint", str(made), "--out", str(out)]) == 0
    assert out.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(made: Path, tmp_path: Path) -> None:
    path = saved(picture(), "secret.png", tmp_path)
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        predict(path, made)


# --- what is no checkpoint -------------------------------------------------------------------------------------------


def altered(made: Path, change: Callable[[dict, dict], None]) -> bytes:
    """The checkpoint with tensors and description changed, its hash made to fit."""
    with safetensors.safe_open(made, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(file.metadata()[ENTRY])
    change(tensors, description)
    text = json.dumps(description)
    return safetensors.torch.save(tensors, {ENTRY: text, DIGEST: checkpoints._digest(text, tensors)})


def retold(made: Path) -> bytes:
    """Another error in the description, everything of the same length."""
    content = made.read_bytes()
    assert b'\\"epochs\\":2' in content
    return content.replace(b'\\"epochs\\":2,\\"valid', b'\\"epochs\\":9,\\"valid', 1)


def without_first(tensors: dict, description: dict) -> None:
    tensors.pop(next(name for name in tensors if name.startswith("network.")))


def pickled(made: Path) -> bytes:
    content = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda made: b"", "no whole safetensors file"),
        (lambda made: b"\xff" * 100, "no whole safetensors file"),
        (pickled, "no whole safetensors file"),
        (lambda made: made.read_bytes()[:-1], "no whole safetensors file"),
        (lambda made: made.read_bytes()[:200], "no whole safetensors file"),
        (lambda made: made.read_bytes() + b"\0", "no whole safetensors file"),
        (lambda made: small.flipped(made.read_bytes(), -2000), "damaged or was altered"),
        (retold, "damaged or was altered"),
        (lambda made: safetensors.torch.save({"a": torch.zeros(2)}), "no checkpoint of this program"),
        (lambda made: altered(made, lambda t, d: d.update(version=2)), "is of another version than 1"),
        (lambda made: altered(made, lambda t, d: d.update(version=2, new=1)), "is of another version than 1"),
        (lambda made: altered(made, lambda t, d: d.pop("classes")), "classes: Field required"),
        (lambda made: altered(made, lambda t, d: d["spec"]["net"].update(width=0.25)), "the network that it describes"),
        (lambda made: altered(made, lambda t, d: d["spec"]["net"].update(width=1e6)), "the network that it describes"),
        (lambda made: altered(made, lambda t, d: d["classes"].pop()), "9 names for 10 classes"),
        (lambda made: altered(made, without_first), "the network that it describes"),
        (lambda made: altered(made, lambda t, d: t.pop("pixels.spread")), "the network that it describes"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_told(
    content: Callable[[Path], bytes], message: str, made: Path, tmp_path: Path, told: Callable
) -> None:
    path = tmp_path / "given.safetensors"
    path.write_bytes(content(made))
    with pytest.raises(RecordError, match=message):
        Classifier.load(path)
    told("", "predict", saved(picture(), "a.png", tmp_path), "--checkpoint", path)


def test_a_missing_checkpoint_names_the_command_that_makes_one(tmp_path: Path, counts: Counter) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(RecordError, match=r"make checkpoint|no whole safetensors"):
            predict(picture(), path)
        counts["bad inputs tried"] += 1


def test_a_checkpoint_that_has_changed_is_read_again(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "changing.safetensors"
    path.write_bytes(made.read_bytes())
    predict(picture(), path)
    path.write_bytes(b"something else")
    with pytest.raises(RecordError):
        predict(picture(), path)


def test_a_network_of_numbers_that_are_none(made: Path, tmp_path: Path) -> None:
    def spoil(tensors: dict, description: dict) -> None:
        name = [name for name in tensors if name.endswith(".bias")][-1]
        tensors[name] = tensors[name] * float("nan")

    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(altered(made, spoil))
    with pytest.raises(RecordError, match="diverged"):
        predict(picture(), path)


# --- the picture and the commands ------------------------------------------------------------------------------------


def test_the_picture_marks_the_most_probable_class(made: Path) -> None:
    found = predict(picture(), made)
    figure, alt = found.figure()
    bars = figure.axes[2]
    assert [text.get_text() for text in bars.get_yticklabels()] == [label for label, _ in found.ranked(5)]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([share for _, share in found.ranked(5)])
    colours = [bar.get_facecolor() for bar in bars.patches]
    assert colours[0] not in colours[1:] and len(set(colours[1:])) == 1
    assert found.label in alt and f"{found.probability:.1%}" in alt


def test_the_command_prints_the_classes_and_writes_the_picture(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    image = saved(picture("CMYK"), "a.jpg", tmp_path)
    for name in ("out.png", "out.svg"):
        out = tmp_path / name
        assert __main__.main(["predict", str(image), "--checkpoint", str(made), "--out", str(out)]) == 0
        lines = capsys.readouterr().out.splitlines()
        label, share = predict(image, made).ranked(1)[0]
        assert lines[0].split() == [label, f"{share:.1%}"] and "note: CMYK brought to RGB" in lines
        assert out.stat().st_size > 1000
    with Image.open(tmp_path / "out.png") as drawn:
        assert min(drawn.size) > 500


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.txt", "names no kind of picture"), ("out", "names no kind"), ("file/a.png", "written")],
)
def test_a_picture_that_cannot_be_written(name: str, message: str, made: Path, tmp_path: Path, told: Callable) -> None:
    (tmp_path / "file").write_text("")
    image = saved(picture(), "a.png", tmp_path)
    told(message, "predict", image, "--checkpoint", made, "--out", tmp_path / name)


@pytest.fixture
def at_home(small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command's folders, in a temporary place, and a small network as its default."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "checkpoints_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(training, "WORK", tmp_path / "checkpoints" / "training")
    monkeypatch.setattr(machine, "default_precision", lambda: "float32")
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    monkeypatch.setitem(training.DEFAULTS, "cifar10", SPEC)
    return tmp_path


def test_one_command_makes_the_checkpoint_and_its_record_proves_it(
    at_home: Path, made: Path, capsys: pytest.CaptureFixture
) -> None:
    store = Store(paths.RUNS)
    assert __main__.main(["train", "--dry-run"]) == 0
    assert "(an estimate)" in capsys.readouterr().out and not (at_home / "checkpoints").exists()
    record = execution.execute(SPEC, store, "float32")
    assert __main__.main(["train", "--record", SPEC.hash]) == 0
    output = capsys.readouterr().out
    assert "(as recorded)" in output and f"those of the record {record.hash}, to the last bit" in output
    path = at_home / "checkpoints" / "cifar10.safetensors"
    found = checkpoints.load(path).description
    assert found.weights_sha256 == record.weights_sha256 and found.test_error == record.final.test_error
    assert not list((at_home / "checkpoints" / "training" / ".work").glob("*.checkpoint"))
    again = checkpoints.load(made).description
    assert again.weights_sha256 == found.weights_sha256


def test_weights_of_another_machine_are_said_to_be_close_or_not(at_home: Path) -> None:
    record = execution.execute(SPEC, Store(paths.RUNS), "float32")
    description = training.train(SPEC, at_home / "a.safetensors")
    other = description.model_copy(update={"weights_sha256": "0"})
    assert "as close as seeds are" in training.proof(other, record)
    assert "AWAY" in training.proof(other.model_copy(update={"valid_error": 0.999}), record)
    assert "no record" in training.proof(other, None)


def test_a_training_that_was_killed_goes_on(at_home: Path, made: Path) -> None:
    out = at_home / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        training.train(SPEC, out, report=small.stop_after(1))
    assert not out.exists()
    epochs: list[int] = []
    found = training.train(SPEC, out, report=lambda epoch: epochs.append(epoch.epoch))
    assert epochs == [2]
    assert found.weights_sha256 == checkpoints.load(made).description.weights_sha256


def test_ctrl_c_ends_the_command_with_130(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    assert __main__.main(["train"]) == 130
    assert "goes on from the last epoch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "network.bin"], "let it end in .safetensors"),
        (["--record", "0123"], "There is no record 0123"),
    ],
)
def test_a_training_that_makes_no_sense(words: list[str], message: str, at_home: Path, told: Callable) -> None:
    told(message, "train", *words)
    assert not (at_home / "checkpoints").exists()


def test_a_training_that_diverged_saves_nothing(at_home: Path) -> None:
    wild = SPEC.with_(recipe={"learning_rate": 1e6, "momentum": 0.99})
    with pytest.raises(RecordError, match="diverged"):
        training.train(wild, at_home / "a.safetensors")
    assert not (at_home / "a.safetensors").exists()


def test_a_first_look_drops_what_comes_later() -> None:
    spec = training.DEFAULTS["cifar10"]
    assert training.shortened(spec, 10).recipe.drops == (9,)
    assert training.shortened(spec, 2).recipe.schedule == "constant"
    for name, default in training.DEFAULTS.items():
        assert isinstance(default, RunSpec) and default.dataset == name
        default.images.side(PIXELS[name])
    with pytest.raises(SpecError):
        training.shortened(spec, 0)
