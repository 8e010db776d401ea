"""Records are whole or not there, strict JSON, and damage of any kind is an error that says what to do."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import fabricate
import numpy as np
import pytest
import small
from pydantic import BaseModel

from alexnet import RunRecord, RunSpec, Store, paths
from alexnet.errors import RecordError, SpecError
from alexnet.records.files import write_atomically
from alexnet.records.record import Probe, Signal
from alexnet.records.specs import ImageSpec, NetSpec, RecipeSpec
from alexnet.records.store import read_record

PROBE = Probe(parameters=1000, weights_sum=0.5, weights_norm=10.0, first_batch_sha256="ab", loss=2.3, gradient_norm=0.1)

ARRAYS = {
    "predicted": np.arange(10, dtype=np.uint8),
    "true_log_probability": np.log(np.linspace(0.1, 0.9, 10)).astype(np.float16),
}


def made(spec: RunSpec, loss: float = 1.5, store: Store | None = None) -> RunRecord:
    """A record written without training; its predictions are put into the store."""
    plain = fabricate.record(spec, [0.5], test_error=None)
    changes = {
        "history": [plain.history[0].model_copy(update={"train_loss": loss, "valid_loss": loss})],
        "final": plain.final.model_copy(update={"test_loss": loss}),
        "probe": PROBE,
        "predictions": store.put_predictions(spec.hash, ARRAYS) if store else None,
        "signals": [Signal(layer="relu1", input=loss, gradient=1.0, flat=0.5)],
    }
    return plain.model_copy(update=changes)


def test_a_record_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    records = {spec.hash: made(spec, store=store) for spec in map(small.spec, range(3))}
    assert store.hashes() == [] and store.get(small.spec()) is None
    for record in records.values():
        assert store.put(record) == store.path(record.hash)
    assert store.hashes() == sorted(records)
    assert list(store.all()) == [records[name] for name in sorted(records)]
    record = records[small.spec(1).hash]
    assert store.get(small.spec(1)) == record
    arrays = store.predictions(record)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        "predicted": (np.uint8, (10,)), "true_log_probability": (np.float16, (10,)),
    }  # fmt: skip
    assert sorted(path.suffix for path in store.folder.iterdir()) == [".json"] * 3 + [".npz"] * 3


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_survive_in_strict_json(number: float, tmp_path: Path, bad_input: None) -> None:
    store, record = Store(tmp_path), made(small.spec(), loss=number)
    text = store.put(record).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = store.get(small.spec())
    assert again is not None
    for loss in (again.history[0].train_loss, again.final.test_loss):
        assert loss == number or (math.isnan(number) and loss is not None and math.isnan(loss))
    assert again.model_dump_json() == record.model_dump_json()


# --- damage ---------------------------------------------------------------------------------------------------


def edit(*place: str | int, value: object) -> Callable[[bytes], bytes]:
    def edited(content: bytes) -> bytes:
        record: Any = json.loads(content)
        part = record
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = value
        return json.dumps(record).encode()

    return edited


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is not a run record"),
    "cut off": (lambda content: content[:-10], "is not a run record"),
    "cut in half": (lambda content: content[: len(content) // 2], "is not a run record"),
    "not JSON": (lambda _: b"hello", "is not a run record"),
    "a list": (lambda _: b"[]", "is not a run record"),
    "not text": (lambda _: b"\xff\xfe\x00", "cannot be read"),
    "of a future schema": (edit("schema_version", value=2), "schema version 2; this code reads version 1"),
    "of no schema": (edit("schema_version", value="new"), "schema version 'new'"),
    "with a field too many": (edit("final", "comment", value="great"), r"final\.comment"),
    "with a word for a number": (edit("history", 0, "train_error", value="low"), r"history\.0\.train_error"),
    "with an unknown outcome": (edit("final", "outcome", value="won"), r"final\.outcome"),
    "of another spec": (edit("spec", "recipe", "momentum", value=0.5), "altered or belongs to another version"),
    "of another name": (edit("hash", value="0" * 16), "altered or belongs to another version"),
    "of an impossible spec": (edit("spec", "recipe", "epochs", value=0), r"spec\.recipe\.epochs"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_an_error_that_names_file_and_remedy(damage: str, tmp_path: Path, bad_input: None) -> None:
    store = Store(tmp_path)
    path = store.put(made(small.spec()))
    change, message = DAMAGE[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RecordError, match=message) as caught:
        store.get(small.spec())
    assert str(path) in str(caught.value)
    assert "make runs" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_under_a_false_name(tmp_path: Path, bad_input: None) -> None:
    store = Store(tmp_path)
    store.put(made(small.spec(0))).rename(store.path(small.spec(1).hash))
    with pytest.raises(RecordError, match=f"holds the record {small.spec(0).hash}; rename it"):
        store.get(small.spec(1))


@pytest.mark.parametrize("name", ["{} (1)", "{} - Copy", "Copy of {}", "._{}", "{}.orig", "notes"])
def test_a_file_that_is_not_named_as_a_record_is_blamed_on_its_name(name: str, tmp_path: Path, bad_input: None) -> None:
    store = Store(tmp_path)
    path = store.put(made(small.spec(0)))
    shutil.copy(path, tmp_path / f"{name.format(path.stem)}.json")
    with pytest.raises(RecordError, match="is not named as a record, by 16 hexadecimal digits") as caught:
        list(store.all())
    assert name.format(path.stem) in str(caught.value)
    assert store.get(small.spec(0)) is not None


def test_predictions_that_are_missing_or_not_the_recorded_ones(tmp_path: Path, counts: Counter) -> None:
    store = Store(tmp_path)
    first, second = made(small.spec(0), store=store), made(small.spec(1), store=store)
    assert first.predictions is not None
    path = tmp_path / first.predictions.file
    store.put_predictions(second.hash, {name: np.zeros_like(array) for name, array in ARRAYS.items()})
    for name, message in ((second, "not the file that was recorded"), (first, "is missing")):
        path.unlink(missing_ok=True)
        with pytest.raises(RecordError, match=message):
            store.predictions(name)
        counts["bad inputs tried"] += 1
    with pytest.raises(RecordError, match="did not use the test set"):
        store.predictions(made(small.spec(2)))


# --- writing --------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, bad_input: None) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with small.full_disk(free=1000), pytest.raises(RecordError, match=r"cannot be written: .+\. Free the disk"):
        write_atomically(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_file(tmp_path: Path, bad_input: None) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(RecordError, match="cannot be written"):
        write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


# --- what killed processes leave ------------------------------------------------------------------------------


def test_tidying_removes_leftovers_of_complete_runs_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    complete, under_way, locked = (small.spec(seed) for seed in range(3))
    for spec in (complete, locked):
        store.put(made(spec))
    for spec in (complete, under_way, locked):
        with store.hold(spec.hash):
            store.checkpoint(spec.hash).touch()
        (store.folder / f".tmp-{spec.hash}.npz-abc").touch()
        (store.work / f".tmp-{spec.hash}.checkpoint-def").touch()
    unfinished = store.leftovers()
    assert len(unfinished) == 9
    with store.hold(locked.hash):
        store.tidy()
    assert store.leftovers() == [path for path in unfinished if complete.hash not in path.name]
    store.tidy()
    assert {path.name.removeprefix(".tmp-").split(".")[0] for path in store.leftovers()} == {under_way.hash}
    assert len(store.hashes()) == 2


# --- specs and probes -----------------------------------------------------------------------------------------


def other(kind: Any, value: Any) -> Any:
    """A value of a field that is not the one it has."""
    choices = [choice for part in (kind, *get_args(kind)) for choice in get_args(part) if isinstance(choice, str)]
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if float in (kind, *get_args(kind)):
        return (value or 0.5) / 2
    return (value or 16) + 1


@pytest.mark.parametrize(
    ("part", "kind"), [("images", ImageSpec), ("net", NetSpec), ("recipe", RecipeSpec), (None, RunSpec)]
)
def test_changing_anything_changes_the_hash(part: str | None, kind: type[BaseModel]) -> None:
    spec = RunSpec()
    hashes = {spec.hash}
    fields = [name for name in kind.model_fields if part or name not in ("images", "net", "recipe", "transfer")]
    for name in fields:
        value = getattr(getattr(spec, part) if part else spec, name)
        if name == "layer_weight_decay":
            change = {name: (("fc8", 0.1),)}
        elif name == "hidden":
            change = {name: (4096, 1024)}
        elif name == "second":
            change = {name: {"after": 2, "learning_rate": 0.001}}
        elif name in ("schedule", "drops"):  # they go together
            change = {"schedule": "steps", "drops": (3,) if name == "drops" else (4,)}
        else:
            change = {name: other(kind.model_fields[name].annotation, value)}
        hashes.add((spec.with_(**{part: change}) if part else spec.with_(**change)).hash)
    assert len(hashes) == len(fields) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": {"learning_rat": 0.1}}, "learning_rat"),
        ({"net": {"activation": "sigmoid"}}, "activation"),
        ({"recipe": {"learning_rate": -1}}, "greater than 0"),
        ({"recipe": {"drops": (1,)}}, "recipe.*steps"),
        ({"recipe": {"stop_after": 3, "stop_at_train_error": 0.1}}, "not by both"),
        ({"recipe": {"epochs": 3, "second": {"after": 3, "learning_rate": 0.1}}}, "before the last epoch"),
        ({"recipe": {"schedule": "plateau", "second": {"after": 3, "learning_rate": 0.1}}}, "constant"),
        ({"images": {"crops": "resized"}}, "need a resize"),
        ({"images": {"crops": "resized", "resize": 64, "crop": 32}}, "neither crop nor padding"),
        ({"seed": -1}, "seed"),
        ({"sead": 1}, "sead"),
    ],
)
def test_a_spec_that_makes_no_sense(change: dict, message: str, bad_input: None) -> None:
    with pytest.raises(SpecError, match=message):
        RunSpec().with_(**change)


@pytest.mark.parametrize(
    ("name", "rounded", "changed"),
    [
        ("weights_sum", 0.5 + 1e-5, 0.5 + 1e-2),
        ("weights_norm", 10.0 + 1e-6, 10.0 + 1e-3),
        ("loss", 2.3 + 1e-5, 2.3 + 1e-2),
        ("gradient_norm", 0.1 + 1e-6, 0.1 + 1e-3),
    ],
)
def test_probes_differ_beyond_rounding_only(name: str, rounded: float, changed: float) -> None:
    assert not list(PROBE.differences(PROBE.model_copy(update={name: rounded})))
    assert [text.split()[0] for text in PROBE.differences(PROBE.model_copy(update={name: changed}))] == [name]
    assert list(PROBE.differences(PROBE.model_copy(update={name: math.nan})))


def test_probes_of_other_networks_or_batches_differ() -> None:
    for change in ({"parameters": 1001}, {"first_batch_sha256": "ba"}):
        assert len(list(PROBE.differences(PROBE.model_copy(update=change)))) == 1


# --- the code that made a record ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "trains"),
    [("runs/execution", True), ("networks/response_norm", True), ("data/sources", True), ("figures/base", False)],
)
def test_the_training_code_is_named_by_all_that_a_run_imports(
    module: str, trains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(shutil.copytree(paths.PACKAGE, tmp_path / "alexnet", ignore=shutil.ignore_patterns("__pycache__")))
    before = paths.training_code()
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert paths.training_code.__wrapped__() == before, "the folder's name is no part of it"
    with (package / f"{module}.py").open("a") as file:
        file.write("CHANGED = True\n")
    assert (paths.training_code.__wrapped__() != before) == trains


def test_smoke_and_fresh_runs_of_other_code_are_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [("smoke", False), ("smoke", True), ("cpu", True)]
    before = [paths.runs_folder(*which) for which in folders]
    monkeypatch.setattr(paths, "training_code", lambda: "other")
    assert not set(before) & {paths.runs_folder(*which) for which in folders}
    assert paths.runs_folder("cpu") == paths.RUNS


def test_records_from_before_they_named_their_code_are_read(tmp_path: Path) -> None:
    record = made(small.spec())
    text = record.model_dump_json(exclude={"environment": {"code"}})
    assert read_record(text, tmp_path) == record and record.environment.code is None
    assert read_record(text, tmp_path).sha256 == record.sha256
