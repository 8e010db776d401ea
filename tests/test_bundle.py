"""Runs made where there is no network: a bundle in an empty environment, what is refused there, and the way back."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import small
from packaging.requirements import Requirement
from packaging.tags import sys_tags

from alexnet import RunSpec, Store, __main__, paths
from alexnet.bundle import packing, target
from alexnet.data import datasets, fetch
from alexnet.errors import DataError
from alexnet.experiments import profiles
from alexnet.runs import execution
from alexnet.runs.planning import Planned

VERSION = "{}.{}".format(*sys.version_info)
RECORD = f"{'a' * 16}.json"


def main(*words: object) -> int:
    return __main__.main([str(word) for word in words])


# ----------------------------------------------------------------------------------------------------------------
# there and back

# What the target has already: torch, and what takes time to pack and install. All else is really missing there.
OF_TARGET = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "numba", "llvmlite", "matplotlib", "fonttools",
    "pillow",
)  # fmt: skip


def with_needs(*names: str) -> set[str]:
    """Distributions that are installed here, and those that they need."""
    found, waiting = set(), [*names]
    while waiting:
        name = waiting.pop()
        wanted = map(Requirement, metadata.requires(name) or [])
        found.add(name)
        waiting += [
            r.name for r in wanted if r.name not in found and (not r.marker or r.marker.evaluate({"extra": ""}))
        ]
    return found


def target_python(folder: Path) -> Path:
    """A Python of a new, empty environment that sees links to `OF_TARGET`, and nothing else of this environment."""
    links = folder / "links"
    links.mkdir(parents=True)
    for name in {*OF_TARGET, *with_needs("torch")}:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            (links / top).exists() or (links / top).symlink_to(Path(distribution.locate_file(top)))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "empty")], check=True)
    (place,) = (folder / "empty").glob("lib/python*/site-packages")
    (place / "links.pth").write_text(f"{links}\n")
    return folder / "empty" / "bin" / "python"


def pack_installed(needed: list[str], version: str, machine: str, folder: Path) -> None:
    """In the place of a download: the wheels from which the packages here were installed, packed again."""
    (folder / "wheels").mkdir()
    supported = set(map(str, sys_tags()))
    for pin in needed:
        distribution = metadata.distribution(pin.partition("==")[0])
        tags = re.findall(r"^Tag: (.+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
        tag = next(tag for tag in tags if tag in supported)
        name = f"{distribution.name.replace('-', '_')}-{distribution.version}-{tag}.whl"
        with zipfile.ZipFile(folder / "wheels" / name, "w") as wheel:
            for file in distribution.files or []:
                if file.parts[0] != ".." and "__pycache__" not in file.parts:
                    wheel.write(file.locate(), str(file))


@pytest.mark.parametrize("wheels", ["installed", pytest.param("downloaded", marks=pytest.mark.network)])
def test_a_bundle_makes_its_run_in_an_empty_environment_without_an_index_and_its_record_is_taken_in(
    wheels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, counts: dict
) -> None:
    try:
        fetch.require_cached("cifar10", paths.data_folder())
    except DataError as error:
        pytest.skip(f"CIFAR-10 is not in the cache: {error}")
    if wheels == "installed":
        needed = [pin for pin in packing.wheels_needed(VERSION, "") if pin.partition("==")[0] not in OF_TARGET]
        monkeypatch.setattr(packing, "wheels_needed", lambda *_: needed)
        monkeypatch.setattr(packing, "download", pack_installed)
    elif not paths.environment("ALEXNET_NETWORK"):
        pytest.skip("set ALEXNET_NETWORK=1 to ask the registry")
    monkeypatch.setattr(paths, "SMOKE", tmp_path / "smoke")
    out, python = tmp_path / "a bundle", target_python(tmp_path / "target")
    assert main("bundle", "--profile", "smoke", "--claim", "cifar-bn", "--out", out) == 0
    assert "1 runs in" in capsys.readouterr().out
    manifest = json.loads((out / "MANIFEST.json").read_bytes())
    assert max(path.stat().st_size for path in out.iterdir()) == 50_000_000
    assert {path.name for path in out.iterdir()} == {*manifest["parts"], "run.sh", "run.py", "MANIFEST.json"}

    there = tmp_path / "carried" / "there"
    shutil.copytree(out, there)
    nowhere = "http://127.0.0.1:9"
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHON": str(python), "PIP_INDEX_URL": nowhere}
    environment |= {"http_proxy": nowhere, "https_proxy": nowhere, "ALEXNET_LOCAL": "", "PYTHONPATH": "/nowhere"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", str(there / "run.sh")], env=environment, capture_output=True, text=True, cwd="/")

    for name, code in (("torch", 0), ("fastai", 1), ("pydantic", 1)):
        asked = subprocess.run([python, "-c", f"import {name}"], env=environment, capture_output=True)
        assert asked.returncode == code, f"{name} is there, or not, as a target has it"
    shutil.move(there / "bundle.001", tmp_path)
    refused = run()
    assert refused.returncode == 2 and "bundle.001 is missing. Copy that again" in refused.stderr
    assert not list(there.glob("unpacked-*"))
    shutil.move(tmp_path / "bundle.001", there)
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(there / "records.tar.gz") as archive:
        (name,) = {member.split(".")[0] for member in archive.getnames()}
    counts["bad inputs tried"] += 1

    store = Store(paths.runs_folder("smoke"))
    assert main("receive", "--profile", "smoke", there / "records.tar.gz") == 0
    record = store.load(name)
    assert record.environment.code == paths.training_code() and record.spec.net.name == "cifar-bn"
    assert store.predictions(record) and not store.leftovers()
    before = store.path(name).read_bytes()
    assert main("receive", "--profile", "smoke", there / "records.tar.gz") == 0
    assert "0 records taken" in (said := capsys.readouterr().out) and "1 were there, 0 REFUSED" in said
    assert store.path(name).read_bytes() == before
    assert main("bundle", "--profile", "smoke", "--claim", "cifar-bn", "--out", tmp_path / "none") == 0
    assert "nothing to carry" in capsys.readouterr().out and not (tmp_path / "none").exists()


# ----------------------------------------------------------------------------------------------------------------
# where it is made


def test_what_runs_import_and_nothing_else_is_needed() -> None:
    here = {name.partition("==")[0] for name in packing.wheels_needed(VERSION, "x86_64")}
    assert {"fastai", "numba", "llvmlite", "pydantic", "distributed", "scikit-learn"} <= here
    assert not here & {"torch", "torchvision", "jupyterlab", "papermill", "seaborn", "mypy", "spacy", "nbconvert"}
    another = {name.partition("==")[0] for name in packing.wheels_needed("3.12", "aarch64")}
    assert another <= here and "importlib-metadata" in here - another, "Python 3.12 needs no backport"


@pytest.fixture
def planned(small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """Runs that the smoke profile plans, in an empty store."""
    specs = [small.spec(0), small.spec(1), small.spec(2, recipe={"epochs": 1})]
    plan = [Planned("relu-speed", "modern", "seeds", "relu", place, spec) for place, spec in enumerate(specs)]
    monkeypatch.setattr(profiles, "plan", lambda *_, **__: iter(plan))
    monkeypatch.setattr(paths, "SMOKE", tmp_path / "smoke")
    return specs


def test_a_bundle_that_cannot_be_made_is_told(
    planned: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, counts: dict
) -> None:
    for name, value in {
        "INDEX_URL": "http://127.0.0.1:9",
        "NO_INDEX": "1",
        "RETRIES": "0",
        "NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr(packing, "wheels_needed", lambda *_: ["tqdm==4.0.0"])
    monkeypatch.setattr(packing, "content", lambda *_: iter([]))
    assert main("bundle", "--profile", "smoke", "--out", tmp_path / "out") == 2
    assert "The bundle's wheels cannot be had: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main("bundle", "--profile", "smoke", "--out", tmp_path / "mine") == 2
    assert "is no bundle" in capsys.readouterr().err
    monkeypatch.setattr(packing, "download", lambda *_: None)
    with small.full_disk(free=5000):
        assert main("bundle", "--profile", "smoke", "--out", tmp_path / "out") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "out" / "MANIFEST.json").exists(), "without one it is no bundle"
    assert main("bundle", "--profile", "smoke", "--out", tmp_path / "out") == 0, "the folder is taken up again"
    counts["bad inputs tried"] += 3


# ----------------------------------------------------------------------------------------------------------------
# where it is unpacked


@pytest.fixture
def bundle(planned: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of several small parts, with the record of one run, and without wheels and data."""
    store = Store(paths.runs_folder("smoke"))
    execution.execute(planned[2], store)
    monkeypatch.setattr(packing, "PART", 500_000)
    monkeypatch.setattr(packing, "download", lambda *_: None)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / datasets.CIFAR10.name).mkdir()
    assert main("bundle", "--profile", "smoke", "--out", tmp_path / "bundle") == 0
    return tmp_path / "bundle"


Stub = Callable[[str, str], None]
SOUND = f"printf '{packing.pins()['torch'].specifier}\\nTrue\\nFalse\\n' | tr -d ="


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Lets a shell script stand for the target's Python."""

    def stand(name: str, line: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "bundle.001 is missing. Copy that": ("bundle.001", Path.unlink),
    "bundle.000 has 499,990 of 500,000 bytes": ("bundle.000", lambda part: os.truncate(part, 499_990)),
    "bundle.001 was altered": ("bundle.001", lambda part: part.write_bytes(small.flipped(part.read_bytes()))),
    "MANIFEST.json is missing or damaged": ("MANIFEST.json", lambda part: os.truncate(part, 200)),
}


def test_a_part_that_is_missing_cut_short_or_altered_is_named_and_nothing_is_unpacked(
    bundle: Path, python: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    counts: dict,
) -> None:  # fmt: skip
    for place, (message, (name, damage)) in enumerate(DAMAGE.items()):
        there = shutil.copytree(bundle, tmp_path / f"carried{place}")
        damage(there / name)
        monkeypatch.setattr(target, "__file__", str(there / "run.py"))
        python("sound", SOUND)
        code = target.main([])
        assert code == 2 and message in capsys.readouterr().err
        assert not list(there.glob("unpacked-*"))
        counts["bad inputs tried"] += 1


def test_what_was_packed_is_unpacked_and_the_records_that_were_carried_are_not_collected(bundle: Path) -> None:
    manifest = target.read_manifest(bundle)
    assert len(manifest["parts"]) > 1
    target.unpack(bundle, bundle / "unpacked", manifest)
    library = {
        str(path.relative_to(bundle / "unpacked" / "lib")) for path in (bundle / "unpacked" / "lib").rglob("*.py")
    }
    assert library == {f"alexnet/{path.relative_to(paths.PACKAGE)}" for path in paths.PACKAGE.rglob("*.py")}
    (carried,) = (bundle / "unpacked" / "records").iterdir()
    assert [carried.stem] == manifest["records"]
    assert target.collect(bundle, bundle / "unpacked", manifest["records"]) == "No record was made yet."
    assert not (bundle / "records.tar.gz").exists()


def test_a_machine_that_will_not_do_is_named_before_anything_is_unpacked(
    bundle: Path, python: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, counts: dict
) -> None:
    def code(*words: str) -> int:
        monkeypatch.setattr(target, "__file__", str(bundle / "run.py"))
        return target.main([*words])

    space = namedtuple("space", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: space(1, 1, 1000))
        python("sound", SOUND)
        assert code() == 2 and "has 0.0 GB free" in capsys.readouterr().err
    python("old-torch", "printf 'a warning\\n1.9.0\\nTrue\\nFalse\\n'")
    assert code() == 2 and "torch 1.9.0 is here; the code was tested with" in capsys.readouterr().err
    python("no-vision", "printf '2.13.0\\nFalse\\nFalse\\n'")
    assert code() == 2 and "and no torchvision" in capsys.readouterr().err
    python("no-torch", "echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1")
    assert code() == 2 and "cannot import torch (ModuleNotFoundError: No module" in capsys.readouterr().err
    assert not list(bundle.glob("unpacked-*"))
    python("no-venv", 'case "$*" in *venv*) exit 1;; esac; printf "1.9.0\\nTrue\\nFalse\\n"')
    assert code("--any-torch") == 2 and "cannot make a virtual environment" in capsys.readouterr().err
    (folder,) = bundle.glob("unpacked-*")
    assert not (folder / "installed").exists(), "the same command tries again"
    asked = subprocess.run(["sh", bundle / "run.sh"], env={"PATH": os.defpath, "PYTHON": "/none"}, capture_output=True)
    assert asked.returncode == 2 and f"this bundle is for Python {VERSION}".encode() in asked.stderr
    counts["bad inputs tried"] += 6


def test_runs_that_are_stopped_on_the_target_end_cleanly_and_their_records_are_collected(tmp_path: Path) -> None:
    """A batch system sends SIGTERM to run.sh alone; the runs' own exit code is handed on."""
    told = {"parts": {}, "torch": metadata.version("torch"), "runs": [], "records": ["c" * 16]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(told))
    shutil.copy(target.__file__, tmp_path / "run.py")
    folder = tmp_path / f"unpacked-{hashlib.sha256(b'{}').hexdigest()[:8]}"
    (folder / "environment" / "bin").mkdir(parents=True)
    (folder / "records").mkdir()
    (folder / "installed").touch()
    (folder / "records" / f"{'c' * 16}.json").touch()
    stub = folder / "environment" / "bin" / "python"
    stub.write_text(f"#!/bin/sh\ntrap 'exit 130' TERM\ntouch {folder}/records/{RECORD}\nwhile :; do sleep 0.05; done\n")
    stub.chmod(0o755)
    with subprocess.Popen([sys.executable, str(tmp_path / "run.py")]) as process:
        while not (folder / "records" / RECORD).exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 130
    with tarfile.open(tmp_path / "records.tar.gz") as archive:
        assert archive.getnames() == [RECORD]


# ----------------------------------------------------------------------------------------------------------------
# the way back


@pytest.fixture
def returned(planned: list[RunSpec], tmp_path: Path) -> Store:
    """Records of the planned runs that were made elsewhere."""
    store = Store(tmp_path / "elsewhere")
    for spec in planned:
        execution.execute(spec, store)
    return store


def archived(store: Store) -> Path:
    path = store.folder.with_suffix(".tar.gz")
    path.write_bytes(small.packed({file.name: file.read_bytes() for file in store.folder.iterdir() if file.is_file()}))
    return path


def receive(archive: Path) -> int:
    return main("receive", "--profile", "smoke", archive)


def edited(path: Path, change: Callable[[dict], object]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_records_are_taken_in_and_none_that_is_here_is_replaced(
    returned: Store, planned: list[RunSpec], capsys: pytest.CaptureFixture, bad_input: None
) -> None:
    here = Store(paths.runs_folder("smoke"))
    execution.execute(planned[0], here)  # the same run, made at another time
    before = here.path(planned[0].hash).read_bytes()
    code = receive(archived(returned))
    said = capsys.readouterr().out
    assert code == 1 and f"REFUSED   {planned[0].hash}: another record of this run is here" in said
    assert here.path(planned[0].hash).read_bytes() == before
    assert set(here.hashes()) == {spec.hash for spec in planned}
    assert all(here.predictions(record) for record in here.all())


def test_each_record_that_is_unplanned_altered_or_incomplete_is_named_and_the_others_are_taken(
    returned: Store, planned: list[RunSpec], capsys: pytest.CaptureFixture, counts: dict
) -> None:
    unplanned = small.spec(7)
    execution.execute(unplanned, returned)
    altered, lost, sound = (spec.hash for spec in planned)
    edited(returned.path(altered), lambda fields: fields["final"].update(test_error=0.0))
    (returned.folder / f"{lost}.npz").unlink()
    (returned.folder / f"{'e' * 16}.npz").write_bytes(b"no record")
    returned.path("f" * 16).write_text('{"schema_version": 2}')
    code = receive(archived(returned))
    said = capsys.readouterr().out
    reasons = {
        unplanned.hash: "no experiment plans this run",
        altered: "final: test_error is 0, derived again",
        lost: f"{lost}.npz is missing",
        "e" * 16: "predictions without a record",
        "f" * 16: "has schema version 2",
    }
    for name, reason in reasons.items():
        (line,) = [line for line in said.splitlines() if line.startswith(f"REFUSED   {name}")]
        assert reason in line and "/tmp" not in line.replace(str(returned.folder.parent), "")
    assert code == 1 and "1 records taken" in said and "5 REFUSED" in said
    assert Store(paths.runs_folder("smoke")).hashes() == [sound]
    counts["bad inputs tried"] += 5


def member(name: str, **fields: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


UNSAFE = {
    "an absolute path": [member("/etc/passwd")],
    "a path that leads out": [member(f"../{RECORD}")],
    "a folder's file": [member(f"runs/{RECORD}")],
    "a symbolic link": [member(RECORD, type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "a hard link": [member(RECORD), member(f"{'b' * 16}.json", type=tarfile.LNKTYPE, linkname=RECORD)],
    "a pipe": [member(RECORD, type=tarfile.FIFOTYPE)],
    "another kind of file": [member("run.sh")],
    "a file twice": [member(RECORD), member(RECORD)],
}


def test_an_archive_with_anything_else_than_records_is_refused_as_a_whole(
    planned: list[RunSpec], tmp_path: Path, capsys: pytest.CaptureFixture, counts: dict
) -> None:
    for members in UNSAFE.values():
        with tarfile.open(tmp_path / "unsafe.tar.gz", "w:gz") as packed:
            for one in members:
                packed.addfile(one, io.BytesIO())
        code = receive(tmp_path / "unsafe.tar.gz")
        assert code == 2
        error = capsys.readouterr().err
        assert "which is no file of a record" in error and error.count("\n") == 1
        counts["bad inputs tried"] += 1
    assert not paths.runs_folder("smoke").exists()


def test_an_archive_that_cannot_be_read_is_refused(
    planned: list[RunSpec], tmp_path: Path, capsys: pytest.CaptureFixture, counts: dict
) -> None:
    archive, content = tmp_path / "records.tar.gz", small.packed({RECORD: os.urandom(1000)})
    for damaged in (content[:500], small.flipped(content), b"", b"no archive"):
        archive.write_bytes(damaged)
        code = receive(archive)
        assert code == 2 and "cannot be read" in capsys.readouterr().err
    assert receive(tmp_path / "none.tar.gz") == 2
    assert not paths.runs_folder("smoke").exists()
    counts["bad inputs tried"] += 5
