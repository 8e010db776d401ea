"""Training on an ImageNet-style folder: images, several processes, evaluation, resuming, bad input.

The folder is drawn for the purpose: six classes, each with a colour, in photographs of odd sizes.
"""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import small
import torch
from PIL import Image
from torch import Tensor

from alexnet import __main__
from alexnet.data.compat import import_torchvision
from alexnet.errors import DataError, RecordError
from alexnet.imagenet import evaluation, images, job, processes, training
from alexnet.imagenet.evaluation import TORCHVISION_IMAGES
from alexnet.imagenet.images import FolderBatches
from alexnet.imagenet.job import ImagenetResult
from alexnet.imagenet.training import PAPER_IMAGES
from alexnet.networks import models
from alexnet.records.specs import NetSpec
from alexnet.records.store import Store
from alexnet.runs import resuming
from alexnet.training.batches import WEIGHTS_STREAM, seed_of
from alexnet.training.preparation import Preparation, Statistics, imagenet_statistics

TRAINING, VALIDATION, CLASSES = 8, 3, 6  # images a class, images a class, classes
SMALL = ["--width", "0.03", "--init", "kaiming", "--learning-rate", "1e-4", "--batch-size", "16", "--epochs", "2"]


def photograph(colour: np.ndarray, generator: np.random.Generator) -> Image.Image:
    """Coarse noise around a colour, of a random size and shape."""
    width, height = (int(side) for side in generator.integers(40, 130, 2))
    noise = (colour + generator.normal(0, 60, (8, 8, 3))).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def draw(folder: Path, train: int = TRAINING, val: int = VALIDATION) -> Path:
    generator = np.random.default_rng(2012)
    for label, colour in enumerate(generator.integers(40, 216, (CLASSES, 3))):
        for part, count in (("train", train), ("val", val)):
            place = folder / part / f"n{label:08d}"
            place.mkdir(parents=True)
            for number in range(count):
                photograph(colour, generator).save(place / f"{part}_{number}.JPEG")
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(autouse=True, scope="module")
def plain_machine() -> object:
    """One thread, float32 and no GPU, here and in the processes that are started, so that runs can be compared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job.machine, "default_device", lambda: torch.device("cpu"))
        for name, value in {"ALEXNET_PRECISION": "float32", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        yield
    torch.set_num_threads(threads)


def run(folder: Path, results: Path, *words: str, few: bool = True) -> int:
    here = ["--processes", "1", "--workers", "0"]
    return __main__.main(["imagenet", str(folder), "--results", str(results), *(SMALL if few else []), *here, *words])


def result_in(results: Path) -> ImagenetResult:
    (file,) = results.glob("*.json")
    return ImagenetResult.model_validate_json(file.read_bytes())


def weights_in(results: Path) -> dict[str, Tensor]:
    (file,) = results.glob("*.safetensors")
    return safetensors.torch.load_file(file)


def numbers(result: ImagenetResult) -> tuple:
    """All that must not depend on how often a training was stopped."""
    return [row.model_copy(update={"seconds": 0.0}) for row in result.history], result.evaluation, result.weights_sha256


def prepared(statistics: Statistics | None = None) -> Preparation:
    return Preparation(PAPER_IMAGES, statistics or imagenet_statistics(256), torch.device("cpu"))


def told(capsys: pytest.CaptureFixture, counts: Counter, *said: str) -> None:
    """A bad input was told in one line."""
    error = capsys.readouterr().err
    assert all(words in error for words in said) and error.count("\n") == 1, error
    counts["bad inputs tried"] += 1


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an uninterrupted training by one process without dropout, decoding in a worker."""
    results = tmp_path_factory.mktemp("one")
    assert run(drawn, results, "--dropout", "0", "--workers", "1") == 0
    return results


# ----------------------------------------------------------------------------------------------------------------
# images


@pytest.mark.parametrize("size", [(130, 97), (97, 130), (256, 256), (301, 300), (640, 257), (40, 1000)])
def test_a_file_is_prepared_as_torchvision_prepares_it(size: tuple[int, int], tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    patch = images.decode(str(tmp_path / "a.png"))
    assert patch.shape == (256, 256, 3) and patch.dtype == np.uint8
    prepare = Preparation(TORCHVISION_IMAGES, imagenet_statistics(256), torch.device("cpu"))
    ours = prepare(torch.from_numpy(patch)[None], prepare.centre(1))[0]
    preset = import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    theirs = preset(Image.open(tmp_path / "a.png"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
def test_16_bits_are_scaled_as_for_a_prediction(name: str, tmp_path: Path) -> None:
    """Pillow's own conversion to RGB makes everything above 255 white."""
    for grey, expected in ((12000, 47), (50000, 195)):
        Image.fromarray(np.full((50, 60), grey, np.uint16)).save(tmp_path / name)
        assert (images.decode(str(tmp_path / name)) == expected).all()


def test_a_long_strip_takes_no_memory_for_its_length(tmp_path: Path) -> None:
    """256 pixels high it would have 150 million."""
    Image.new("L", (60_000, 26), 99).save(tmp_path / "strip.png")
    assert (images.decode(str(tmp_path / "strip.png")) == 99).all()


def test_files_are_listed_as_torchvision_lists_them(tmp_path: Path) -> None:
    """With folders in folders, links, and names of every kind; but a link that leads back is followed once."""
    folder = draw(tmp_path / "images", train=2, val=1)
    first = folder / "train" / "n00000000"
    for place in (first / "b" / "c", first / "a"):
        place.mkdir(parents=True)
        shutil.copy(first / "train_0.JPEG", place / "X.JPG")
        shutil.copy(first / "train_0.JPEG", place / "Grüße, zwei\nZeilen.png")
        (place / "notes.txt").write_text("no image")
    (first / "b.jpg").mkdir()
    (folder / "train" / "n00000006").symlink_to(folder / "train" / "n00000001")
    expected = import_torchvision().datasets.ImageFolder(folder / "train")
    found = images.listing(folder, "train")
    assert list(zip(found.files, found.labels, strict=True)) == expected.samples
    assert list(found.classes) == expected.classes
    for name in ("back", "again"):
        (first / "b" / name).symlink_to(first)
    assert images.listing(folder, "train").fingerprint() == found.fingerprint()
    os.rename(first / "train_0.JPEG", os.fsencode(first) + b"/\xff.JPEG")
    assert images.listing(folder, "train").fingerprint() != found.fingerprint()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P"])
def test_every_mode_becomes_three_channels(mode: str, tmp_path: Path) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (60, 50), (200, 100, 50)).convert(mode).save(file)
    assert images.decode(str(file)).shape == (256, 256, 3)


def test_statistics_are_those_of_the_training_images(drawn: Path, tmp_path: Path) -> None:
    listed = images.listing(drawn, "train")
    found = images.statistics(listed, tmp_path / "statistics.npz")
    pixels = np.stack([images.decode(file) for file in listed.files]).astype(np.float64)
    mean_image = pixels.mean(0)
    np.testing.assert_allclose(found.mean_image, mean_image, rtol=1e-6)
    np.testing.assert_allclose(found.spread, (pixels - mean_image).std(), rtol=1e-5)
    covariance = np.cov(pixels.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(found.colour_axes @ found.colour_axes.T, covariance, rtol=1e-4)
    np.testing.assert_allclose(found.channel_std, covariance.diagonal() ** 0.5, rtol=1e-5)
    again = images.statistics(images.listing(drawn, "val"), tmp_path / "statistics.npz")
    assert torch.equal(again.mean_image, found.mean_image), "kept from the first time"
    (tmp_path / "statistics.npz").write_bytes(b"PK damaged")
    repaired = images.statistics(listed, tmp_path / "statistics.npz")
    assert torch.equal(repaired.colour_axes, found.colour_axes)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_the_processes_share_what_one_would_see(count: int, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = FolderBatches(images.listing(drawn, "train"), prepared(), bs=12, shuffle=True, drop_last=True)
    validation = FolderBatches(images.listing(drawn, "train"), prepared(), bs=12)

    def shares(batches: FolderBatches) -> list[list[Tensor]]:
        found = []
        monkeypatch.setattr(processes, "number", lambda: count)
        for rank in range(count):
            monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
            assert len(batches) == len(batches.share())
            found.append(batches.share())
        return found

    by_batch = list(zip(*shares(training), strict=True))
    assert [torch.cat(batch).tolist() for batch in by_batch] == torch.arange(48).view(4, 12).tolist()
    assert len({len(piece) for batch in by_batch for piece in batch}) == 1, "equal pieces"
    once = torch.cat([piece for share in shares(validation) for piece in share])
    assert sorted(once.tolist()) == list(range(48))


def test_a_share_holds_the_images_that_the_whole_batch_has(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = FolderBatches(images.listing(drawn, "train"), prepared(), bs=12, shuffle=True, drop_last=True, seed=3)
    whole, labels = batches.one_batch()
    assert whole.shape == (12, 3, 227, 227)
    monkeypatch.setattr(processes, "number", lambda: 2)
    halves = []
    for rank in range(2):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        halves.append(batches.one_batch())
    assert torch.equal(torch.cat([half for half, _ in halves]), whole), "crops, reflections and colours too"
    assert torch.equal(torch.cat([half for _, half in halves]), labels)


# ----------------------------------------------------------------------------------------------------------------
# training


def test_a_training_tells_all_of_itself(drawn: Path, trained: Path) -> None:
    result = result_in(trained)
    assert result.outcome == "completed" and result.processes == 1
    assert result.images == {"train": CLASSES * TRAINING, "val": CLASSES * VALIDATION} and result.classes == CLASSES
    assert [row.epoch for row in result.history] == [1, 2]
    assert result.spec is not None and result.spec.images == PAPER_IMAGES
    assert (result.spec.recipe.momentum, result.spec.recipe.weight_decay) == (0.9, 0.0005)
    assert (result.spec.recipe.schedule, result.spec.recipe.most_drops) == ("plateau", 3)
    assert result.evaluation[0].top1_error == pytest.approx(result.history[-1].valid_error)
    assert str(drawn) not in next(trained.glob("*.json")).read_text()


def test_two_processes_train_as_one_does(drawn: Path, trained: Path, tmp_path: Path) -> None:
    """Launched by torchrun, with gloo: the same batches, gradients and figures, up to the order of float32 sums."""
    program = Path(__file__).with_name("imagenet_process.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    words = [str(tmp_path), str(drawn), "--results", str(tmp_path / "two"), *SMALL, "--dropout", "0", "--workers", "1"]
    done = subprocess.run([*torchrun, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2:") == 1, "one process speaks"

    first, second = ((tmp_path / f"{rank} of 2").read_text() for rank in range(2))
    two, one = result_in(tmp_path / "two"), result_in(trained)
    assert first == second == two.weights_sha256, "both hold the same weights, bit by bit"
    assert two.processes == 2 and two.evaluation == one.evaluation
    for row, expected in zip(two.history, one.history, strict=True):
        assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
        assert row.valid_loss == pytest.approx(expected.valid_loss, rel=1e-5)
        assert (row.train_error, row.valid_error) == (expected.train_error, expected.valid_error)

    net = NetSpec(classes=CLASSES, width=0.03, init="kaiming", dropout=0)
    start = models.build(net, 227, seed_of(WEIGHTS_STREAM, 0)).state_dict()
    alone, together = weights_in(trained), weights_in(tmp_path / "two")
    for name, initial in start.items():
        moved = (alone[name] - initial).norm()
        assert moved > 0
        assert (alone[name] - together[name]).norm() < 1e-3 * moved, name


def test_a_training_that_was_stopped_goes_on(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With dropout, crops and colours; then from a damaged checkpoint, and with more epochs."""
    assert run(drawn, tmp_path / "straight") == 0
    begin = training.EpochSeeds.before_train

    def stop(self: training.EpochSeeds) -> None:
        if len(self.history.rows) == 1:
            raise KeyboardInterrupt
        begin(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.EpochSeeds, "before_train", stop)
        assert run(drawn, tmp_path / "stopped") == 130
    assert "goes on from the last epoch" in capsys.readouterr().err
    assert not list((tmp_path / "stopped").glob("*.json"))
    assert run(drawn, tmp_path / "stopped") == 0
    assert "epoch 1:" not in capsys.readouterr().out
    expected = numbers(result_in(tmp_path / "straight"))
    assert numbers(result_in(tmp_path / "stopped")) == expected

    (checkpoint,) = (tmp_path / "stopped" / ".work").glob("*.checkpoint")
    checkpoint.write_bytes(small.flipped(checkpoint.read_bytes()))
    assert run(drawn, tmp_path / "stopped") == 0
    assert "epoch 1:" in capsys.readouterr().out, "a damaged checkpoint is as good as none"
    assert numbers(result_in(tmp_path / "stopped")) == expected

    assert run(drawn, tmp_path / "stopped", "--epochs", "3") == 0
    assert "epoch 2:" not in capsys.readouterr().out
    longer = result_in(tmp_path / "stopped")
    assert [row.epoch for row in longer.history] == [1, 2, 3]


def test_a_training_that_diverges_is_recorded_as_such(drawn: Path, tmp_path: Path) -> None:
    assert run(drawn, tmp_path, "--learning-rate", "1e20") == 0
    result = result_in(tmp_path)
    assert result.outcome == "diverged" and len(result.history) == 1
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["outcome"] == "diverged"


# ----------------------------------------------------------------------------------------------------------------
# evaluation


def test_one_and_ten_crops_against_their_definition(drawn: Path) -> None:
    listed = images.listing(drawn, "val")
    statistics = dataclasses.replace(imagenet_statistics(256), mean_image=torch.full((256, 256, 3), 100.0))
    net = models.build(NetSpec(classes=CLASSES, width=0.03, init="kaiming"), 227, seed=5).eval()
    found = evaluation.evaluate(net, FolderBatches(listed, prepared(statistics), bs=7))

    functional = import_torchvision().transforms.functional
    wrong = np.zeros((2, 2))
    for file, label in zip(listed.files, listed.labels, strict=True):
        image = torch.from_numpy(images.decode(file).copy()).permute(2, 0, 1).float() - 100
        crops = torch.stack(functional.ten_crop(image, 227))
        centre = functional.center_crop(image, 227)[None]
        with torch.no_grad():
            for row, views in enumerate((centre, crops)):
                ranked = net(views).softmax(1).mean(0).argsort(descending=True)
                wrong[row] += (ranked[0] != label).item(), (label not in ranked[:5]).__int__()
    expected = wrong / len(listed.files)
    assert [e.crops for e in found] == [1, 10]
    np.testing.assert_allclose([[e.top1_error, e.top5_error] for e in found], expected, atol=1e-9)
    assert 0 < expected[0, 1] < expected[0, 0] <= 1, "the test can tell top-1 from top-5"


@pytest.fixture(scope="module")
def torchvision_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.manual_seed(0)
    torch.save(import_torchvision().models.alexnet(num_classes=CLASSES).state_dict(), file)
    return file


def test_torchvisions_weights_with_torchvisions_preprocessing(
    torchvision_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = draw(tmp_path / "images", train=1, val=1)
    assert run(folder, tmp_path / "results", "--weights", str(torchvision_weights), few=False) == 0
    result = result_in(tmp_path / "results")
    assert result.weights == "alexnet.pth" and result.spec is None and result.images == {"val": CLASSES}
    assert "top-5 error" in capsys.readouterr().out

    models = import_torchvision().models
    net = models.alexnet(num_classes=CLASSES)
    net.load_state_dict(torch.load(torchvision_weights, weights_only=True))
    preset = models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    listed = images.listing(folder, "val")
    with torch.no_grad():
        scores = net.eval()(torch.stack([preset(Image.open(file).convert("RGB")) for file in listed.files]))
    right = (scores.argmax(1).numpy() == listed.labels).mean()
    assert result.evaluation[0].top1_error == pytest.approx(1 - right)

    def get_state_dict(*_: object, **__: object) -> dict:
        return torch.load(torchvision_weights, weights_only=True)

    monkeypatch.setattr(models.AlexNet_Weights, "get_state_dict", get_state_dict)
    assert run(folder, tmp_path / "own", "--weights", "torchvision", few=False) == 0
    own = result_in(tmp_path / "own")
    assert own.weights == "torchvision IMAGENET1K_V1" and own.evaluation == result.evaluation


def raising(error: Exception) -> Callable:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_weights_that_will_not_do(
    torchvision_weights: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, counts: Counter,
) -> None:  # fmt: skip
    unreachable = raising(urllib.error.URLError("no route to host"))
    monkeypatch.setattr(import_torchvision().models.AlexNet_Weights, "get_state_dict", unreachable)
    (tmp_path / "damaged.pth").write_bytes(torchvision_weights.read_bytes()[:1000])
    (tmp_path / "damaged.safetensors").write_bytes(b"\1\2\3")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for named, message in {
        "torchvision": "cannot be downloaded (no route to host)",
        str(tmp_path / "missing.pth"): "no weights to be read",
        str(tmp_path / "damaged.pth"): "no weights to be read",
        str(tmp_path / "damaged.safetensors"): "no weights to be read",
        str(tmp_path / "other.pth"): "not the weights of torchvision's AlexNet",
        str(tmp_path / "list.pth"): "not the weights of torchvision's AlexNet",
    }.items():
        assert run(drawn, tmp_path / "results", "--weights", named, few=False) == 2
        told(capsys, counts, message)


# ----------------------------------------------------------------------------------------------------------------
# bad input: a clear error, exit code 2, before any training


def without_classes(folder: Path) -> None:
    for place in sorted((folder / "val").iterdir()):
        for file in place.iterdir():
            file.rename(folder / "val" / f"{place.name}_{file.name}")
        place.rmdir()


def with_one_class(folder: Path) -> None:
    for place in folder.glob("*/n*"):
        if place.name != "n00000000":
            shutil.rmtree(place)


def with_images_that_are_all_alike(folder: Path) -> None:
    for file in folder.glob("train/*/*"):
        Image.new("RGB", (60, 50), (200, 30, 77)).save(file)


def with_a_broken_training_image(folder: Path) -> None:
    file = folder / "train" / "n00000002" / "train_0.JPEG"
    file.write_bytes(file.read_bytes()[:300])


AVIF = b"\0\0\0\x1cftypavif" + bytes(200)  # damaged
BAD_FOLDERS: dict[str, Callable[[Path], object]] = {  # what its message says: what is done to the folder
    "is not a folder": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "has no folder 'val'": lambda folder: (folder / "val").rename(folder / "validation"),
    "has no folder 'train'": lambda folder: (folder / "train").rename(folder / "training"),
    "the class 'n00000003' is in train and not in val": lambda folder: (folder / "val/n00000003").rename(
        folder / "val/n00000009"
    ),
    "n00000009": lambda folder: (folder / "train/n00000009").mkdir(),
    "holds no folder with images for each class": without_classes,
    "train_0.JPEG cannot be read as an image": with_a_broken_training_image,
    "val_1.JPEG is not an image of a kind that can be read": lambda folder: (
        folder / "val/n00000005/val_1.JPEG"
    ).write_text("not an image"),
    "lost.JPEG cannot be read: No such file": lambda folder: (folder / "train/n00000002/lost.JPEG").symlink_to(
        folder / "nowhere.JPEG"
    ),
    "pipe.JPEG is no file": lambda folder: os.mkfifo(folder / "train/n00000002/pipe.JPEG"),
    "train_0.JPEG is empty": lambda folder: (folder / "train/n00000002/train_0.JPEG").write_bytes(b""),
    "holds the one class 'n00000000'": with_one_class,
    "are all alike": with_images_that_are_all_alike,
    "another.AVIF": lambda folder: (folder / "val/n00000002/another.AVIF").write_bytes(AVIF),
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(([], message) for message in BAD_FOLDERS),
        (["--batch-size", "20", "--processes", "20"], "20 processes cannot share the 18 images"),
        (["--batch-size", "49"], "fewer than a batch of 49"),
        (["--batch-size", "16", "--processes", "3"], "cannot be shared equally by 3 processes"),
        (["--dropout", "1"], "--dropout: '1' is not"),
    ],
)
def test_bad_input_is_named_before_any_training(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture, bad_input: None
) -> None:
    folder = draw(tmp_path / "images")
    BAD_FOLDERS.get(message, lambda folder: None)(folder)
    assert run(folder, tmp_path / "results", *words) == 2
    out, error = capsys.readouterr()
    assert message in error and error.count("\n") == 1, error
    assert "epoch" not in out and not list((tmp_path / "results").glob("*.json"))


def test_an_image_that_one_of_two_processes_cannot_read_ends_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, bad_input: None
) -> None:
    """Launched by the command itself, which gives the exit code of its processes."""
    folder = draw(tmp_path / "images")
    with_a_broken_training_image(folder)
    where = [str(folder), "--results", str(tmp_path / "results")]
    words = ["imagenet", *where, *SMALL, "--processes", "2", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["alexnet", *words])
    assert __main__.main(words) == 2
    assert capfd.readouterr().err.count("train_0.JPEG cannot be read as an image") == 1


def test_processes_that_do_not_meet_are_told(monkeypatch: pytest.MonkeyPatch, drawn: Path, tmp_path: Path) -> None:
    """Without this each would train by itself, and overwrite what the other wrote."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "PartialState", lambda **_: None)
    assert run(drawn, tmp_path) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that cannot be made")
def test_results_that_cannot_be_written(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert run(drawn, tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_ends_the_training_with_an_error(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, bad_input: None
) -> None:
    full = raising(RecordError("a cannot be written: No space left on device. Free the disk."))
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "write_atomically", full)
        assert run(drawn, tmp_path) == 2
    assert "No space left" in capsys.readouterr().err and not list(tmp_path.glob("*.json"))


def test_the_same_training_twice_at_once_is_refused(
    drawn: Path, trained: Path, capsys: pytest.CaptureFixture, bad_input: None
) -> None:
    (file,) = trained.glob("*.json")
    with Store(trained).hold(file.stem):
        assert run(drawn, trained, "--dropout", "0") == 2
    assert "another process trains this" in capsys.readouterr().err


def test_signals_to_all_processes_are_left_to_the_one_that_trains(drawn: Path) -> None:
    """Else a worker that dies of Ctrl-C or torchrun's SIGTERM hides the message of how to go on."""
    batches = images.listing(drawn, "train").read(torch.arange(48).split(4), workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert len([next(batches) for _ in range(6)]) == 6
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(20)
    assert worker.exitcode == 0


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FULL = RuntimeError("unable to allocate shared memory(shm) for file </torch>: No space left on device (28)")
NO_PROCESSES = OSError(11, "Resource temporarily unavailable")


@pytest.mark.parametrize(
    ("place", "name", "failure", "message"),
    [
        (torch.Tensor, "share_memory_", raising(FULL), "No space left on device"),  # Docker gives 64 MB
        (images, "decode", killed, "DataLoader worker"),
        (images, "decode", raising(ZeroDivisionError("division by zero")), "division by zero"),
        (multiprocessing.process.BaseProcess, "start", raising(NO_PROCESSES), "Resource temporarily unavailable"),
    ],
)
def test_a_worker_that_fails_ends_the_command(
    place: object, name: str, failure: object, message: str, drawn: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, counts: Counter,
) -> None:  # fmt: skip
    """The process that trains neither waits for it for ever nor prints what torch prints."""
    monkeypatch.setattr(place, name, failure)
    assert run(drawn, tmp_path, "--workers", "1") == 2
    told(capsys, counts, message, "--shm-size", "--workers 0")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error.", "failed: DataLoader worker (pid 7) is killed by"),
        ("[pair.cc:553] Connection closed by peer [127.0.0.1]:18305.", "Another process of this training has ended"),
    ],
)
def test_a_process_that_dies_while_this_one_computes(
    reason: str, message: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, counts: Counter,
) -> None:  # fmt: skip
    """torch tells of a worker in a signal handler, so anywhere, and of another process where gradients are shared."""
    monkeypatch.setattr(training.EpochSeeds, "before_train", raising(RuntimeError(reason)))
    assert run(drawn, tmp_path) == 2
    told(capsys, counts, message)


def test_an_image_that_disappears_while_training_is_named(drawn: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "images", train=2, val=1)
    photographs = images.listing(folder, "train")
    next((folder / "train").glob("*/*")).unlink()
    with pytest.raises(DataError, match="does not exist"):
        list(photographs.read(torch.arange(12).split(4), workers=1))
