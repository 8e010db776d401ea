"""Whatever is wrong with a record, its predictions, or the code, the audit catches it and names the file."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from scipy import stats
from test_transfer import PROBE, few_data  # noqa: F401  # a fixture
from torch import nn

from alexnet import RunRecord, RunSpec, Store, __main__, paths
from alexnet.audit import audit, checks, repetition
from alexnet.audit.audit import AuditRecord
from alexnet.data import weights
from alexnet.errors import DataError, RecordError, SpecError
from alexnet.networks import models
from alexnet.records.record import Probe
from alexnet.runs import execution
from alexnet.training import batches, features, machine, preparation
from alexnet.training.prepared import dataset_of

AIMING = small.spec(1, recipe={"learning_rate": 0.02, "epochs": 6, "stop_at_train_error": 0.8})
SPECS = [
    small.spec(0),
    AIMING,
    small.spec(2, recipe={"epochs": 2, "schedule": "steps", "drops": (1,)}),
    small.spec(3, recipe={"epochs": 1}).with_(test=False),
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Records of runs that were really trained, on the small data set."""
    store, threads = Store(tmp_path_factory.mktemp("trained") / "runs"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        small.install(patch)
        torch.set_num_threads(1)
        for spec in SPECS:
            execution.execute(spec, store)
    torch.set_num_threads(threads)
    small.forget()
    shutil.rmtree(store.work)
    return store


@pytest.fixture
def store(trained, small_data, tmp_path):
    """A copy to spoil."""
    shutil.copytree(trained.folder, tmp_path / "runs")
    return Store(tmp_path / "runs")


def audited(store: Store, *options: str) -> tuple[int, AuditRecord]:
    """Exit code and audit record of the command."""
    code = audit.run(__main__.parser("").parse_args(["audit", "--store", str(store.folder), *options]))
    record = audit.latest(store.folder.parent / "audits")
    assert record is not None and all(record.covers(store.load(name)) for name in record.audited)
    assert set(store.hashes()) <= {*record.audited, *(Path(caught.file).stem for caught in record.caught)}
    return code, record


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record as a hand with an editor would."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record, indent=1))


def assert_caught(store: Store, spec_or_hash: RunSpec | str, message: str, *options: str) -> None:
    """The audit names this record and no other, and says what is wrong."""
    name = spec_or_hash if isinstance(spec_or_hash, str) else spec_or_hash.hash
    code, record = audited(store, *options)
    assert code == 1 and not record.passed
    assert [caught.file for caught in record.caught] == [f"{name}.json"]
    assert message in "; ".join(record.caught[0].differences)
    assert record.summary.startswith(f"1 of {len(store.hashes())} records do NOT agree")


# --- a sound store --------------------------------------------------------------------------------------------


def test_a_sound_store_passes(store, capsys):
    code, record = audited(store)
    assert code == 0 and record.passed
    assert list(record.audited) == sorted(spec.hash for spec in SPECS) == record.unused
    assert record.summary.startswith("all 4 records agree with this code, their predictions and the data; none was")
    assert record.missing > 0  # the runs of the real experiments
    shown = capsys.readouterr().out
    assert all(f"{spec.hash}.json" in shown for spec in SPECS)
    assert record.summary in shown


def test_the_audit_record_is_strict_json_without_names_of_this_machine(store):
    store.path(SPECS[0].hash).write_text("damaged")
    audited(store)
    text = (store.folder.parent / "audits" / audit.FILE).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    for private in (str(store.folder), str(Path.home()), socket.gethostname()):
        assert private not in text


def test_an_audit_covers_the_records_it_read_and_no_others(store):
    _, record = audited(store)
    edit(store.path(AIMING.hash), lambda fields: fields.update(created="2030-01-01T00:00:00+00:00"))
    new = execution.execute(small.spec(4, recipe={"epochs": 1}), store)
    assert {found.hash for found in store.all() if not record.covers(found)} == {AIMING.hash, new.hash}


def test_files_that_belong_to_no_record_are_named(store):
    spec = SPECS[0]
    (store.folder / "0123456789abcdef.npz").touch()
    (store.folder / "notes.txt").touch()
    (store.folder / f".tmp-{spec.hash}.json-xyz").touch()
    store.lock(spec.hash)  # makes the folder
    store.checkpoint(spec.hash).touch()
    store.checkpoint("f" * 16).touch()  # a run under way
    code, record = audited(store)
    assert code == 0
    assert [note for note in record.notes if "no experiment" not in note] == [
        f".tmp-{spec.hash}.json-xyz: left over from a process that was killed",
        "0123456789abcdef.npz: predictions without a record",
        "notes.txt: no part of any record",
        f".work/{spec.hash}.checkpoint: left over from a run whose record is complete",
    ]


# --- records edited by hand -----------------------------------------------------------------------------------


def set_to(*place: str | int, value: Any = None, by: float | None = None) -> Callable[[dict[str, Any]], None]:
    """Replace a field, or add a number to it."""

    def change(record: dict[str, Any]) -> None:
        part: Any = record
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = value if by is None else part[place[-1]] + by

    return change


def renumbered(record: dict[str, Any]) -> None:
    """Leave out the first epoch."""
    del record["history"][0]
    for number, epoch in enumerate(record["history"], start=1):
        epoch["epoch"] = number
    record["final"]["epochs"] -= 1


EDITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "test error": (set_to("final", "test_error", by=-0.005), "final: test_error is"),
    "test loss": (set_to("final", "test_loss", by=-0.01), "final: test_loss is"),
    "training error at the end": (set_to("final", "train_error", by=-0.01), "final: train_error is"),
    "validation error at the end": (set_to("final", "valid_error", by=-0.005), "final: valid_error is"),
    "epochs to the target": (set_to("final", "epochs_to_target", by=-0.1), "final: epochs_to_target is"),
    "number of epochs": (set_to("final", "epochs", by=-1), "final: epochs is"),
    "outcome": (set_to("final", "outcome", value="censored"), "final: the outcome is censored, derived again reached"),
    "an error in the history": (set_to("history", 0, "train_error", by=-0.0001), "history: train_error of epoch 1"),
    "an early arrival": (set_to("history", 0, "train_error", value=0.5), "goes on after epoch 1"),
    "the learning rate of an epoch": (set_to("history", 0, "learning_rate", value=0.1), "history: the learning rate"),
    "an epoch left out": (renumbered, "wall_seconds is"),
    "an epoch numbered wrongly": (set_to("history", 1, "epoch", value=1), "not numbered"),
    "no history": (set_to("history", value=[]), "ends after 0 epochs"),
    "seconds of an epoch": (set_to("history", 0, "seconds", by=1.0), "wall_seconds is"),
    "speed": (set_to("images_per_second", by=100.0), "images_per_second is"),
    "parameters in the probe": (set_to("probe", "parameters", by=1), "probe: parameters is"),
    "sum in the probe": (set_to("probe", "weights_sum", by=0.1), "probe: weights_sum is"),
    "norm in the probe": (set_to("probe", "weights_norm", by=0.01), "probe: weights_norm is"),
    "batch in the probe": (set_to("probe", "first_batch_sha256", value="0" * 64), "probe: first_batch_sha256 is"),
    "loss in the probe": (set_to("probe", "loss", by=0.01), "probe: loss is"),
    "gradient in the probe": (set_to("probe", "gradient_norm", by=0.1), "probe: gradient_norm is"),
    "hash of the data": (set_to("data", "hashes", "test_labels", value="0" * 64), "data: the hash of test_labels"),
    "name of the data": (set_to("data", "name", value="mnist"), "data: the record names mnist"),
    "no predictions": (set_to("predictions", value=None), "has none"),
    "predictions of no file": (set_to("predictions", "file", value="other.npz"), "other.npz"),
    "a spec that no longer fits": (set_to("spec", "recipe", "momentum", value=0.5), "the spec inside hashes to"),
    "a field too many": (set_to("comment", value="sound"), "is not a run record"),
    "a future schema": (set_to("schema_version", value=99), "schema version 99"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_record_edited_by_hand(what, store, bad_input):
    change, message = EDITS[what]
    edit(store.path(AIMING.hash), change)
    assert_caught(store, AIMING, message)


def test_test_results_of_a_run_that_may_have_none(store, bad_input):
    edit(store.path(SPECS[3].hash), set_to("final", "test_error", value=0.1))
    assert_caught(store, SPECS[3], "may not see the test set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "probe: first_batch_sha256"),
        ({"recipe": {"learning_rate": 0.03}}, "history: the learning rate of epoch 1"),
        ({"recipe": {"batch_size": 32}}, "probe: first_batch_sha256"),
        ({"recipe": {"epochs": 1}}, "goes on after epoch 1"),
        ({"recipe": {"stop_at_train_error": None}}, "without a reason"),
        ({"recipe": {"stop_at_train_error": 0.95}}, "history: it goes on"),
        ({"recipe": {"stop_at_train_error": 0.05}}, "without a reason"),
        ({"net": {"activation": "tanh"}}, "probe: "),
        ({"net": {"width": 0.25}}, "probe: parameters"),
        ({"net": {"init": "paper"}}, "probe: weights_norm"),
        ({"images": {"scaling": "standardised"}}, "probe: loss"),
        ({"images": {"train_size": 300}}, "probe: first_batch_sha256"),
        ({"images": {"train_size": 10**6}}, "impossible"),
        ({"images": {"crop": 500}}, "impossible"),
        ({"test": False}, "may not see the test set"),
        ({"recipe": {"momentum": 0.5}}, "its weights are those of"),  # leaves no other trace before training
    ],
)
def test_a_spec_changed_with_the_files_renamed_to_match(change, message, store, bad_input):
    forged = AIMING.with_(**change)
    shutil.copy(store.folder / f"{AIMING.hash}.npz", store.folder / f"{forged.hash}.npz")
    shutil.copy(store.path(AIMING.hash), store.path(forged.hash))

    def relabel(record: dict[str, Any]) -> None:
        record.update(spec=forged.model_dump(mode="json"), hash=forged.hash)
        record["predictions"]["file"] = f"{forged.hash}.npz"

    edit(store.path(forged.hash), relabel)
    code, record = audited(store)
    caught = {caught.file: "; ".join(caught.differences) for caught in record.caught}
    assert code == 1
    assert message in caught[f"{forged.hash}.json"]
    assert "are copies" in caught.get(f"{AIMING.hash}.json", "are copies")  # the original is blamed for nothing else
    assert len(caught) <= 2


# --- predictions ----------------------------------------------------------------------------------------------


def test_prediction_files_swapped_between_two_records(store, bad_input):
    first, second = (store.folder / f"{spec.hash}.npz" for spec in SPECS[:2])
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    code, record = audited(store)
    assert code == 1
    assert {caught.file for caught in record.caught} == {f"{spec.hash}.json" for spec in SPECS[:2]}
    assert all("is not the file that was recorded" in caught.differences[0] for caught in record.caught)


def forge_predictions(store: Store, spec: RunSpec, predicted: np.ndarray, probability: np.ndarray) -> None:
    """Replace a prediction file and the hash that guards it."""
    arrays = {"predicted": predicted.astype(np.uint8), "true_log_probability": probability.astype(np.float16)}
    put = store.put_predictions(spec.hash, arrays)
    edit(store.path(spec.hash), set_to("predictions", value=put.model_dump()))


def test_forged_predictions_with_their_hash(store, bad_input):
    labels = small.dataset().test_labels
    forge_predictions(store, AIMING, labels, np.full(len(labels), -0.1))
    assert_caught(store, AIMING, "final: test_error is")


def test_forged_predictions_with_their_hash_and_the_figures(store, bad_input):
    """Right answers, and probabilities that nobody adapted."""
    record = store.load(AIMING.hash)
    probability = store.predictions(record)["true_log_probability"]
    assert probability.min() < -2.4  # below one in ten: such an image cannot be right
    forge_predictions(store, AIMING, small.dataset().test_labels, probability)
    edit(store.path(AIMING.hash), set_to("final", "test_error", value=0.0))
    assert_caught(store, AIMING, "classes and probabilities contradict each other")


def test_too_few_predictions(store, counts):
    forge_predictions(store, AIMING, np.zeros(3), np.zeros(3))
    assert_caught(store, AIMING, f"3 are stored for {small.TEST} test images")
    (store.folder / f"{AIMING.hash}.npz").unlink()
    assert_caught(store, AIMING, "is missing")
    counts["bad inputs tried"] += 2


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_losses_beyond_half_precision_are_bounded():
    stored = np.array([-1e5, -1.0], dtype=np.float16).astype(np.float64)
    assert not list(checks._compare_loss(50_000.5, stored))
    assert list(checks._compare_loss(2.0, stored))


# --- other code -----------------------------------------------------------------------------------------------


def assert_all_caught(store: Store, message: str) -> None:
    code, record = audited(store)
    assert code == 1
    assert [caught.file for caught in record.caught] == [f"{name}.json" for name in store.hashes()]
    assert all(message in "; ".join(caught.differences) for caught in record.caught)


def test_code_whose_initial_weights_differ(store, monkeypatch, bad_input):
    initialise = models.initialise

    def wider(model: torch.nn.Module, *options: Any) -> None:
        initialise(model, *options)
        with torch.no_grad():
            next(model.parameters()).mul_(1.01)  # one layer, one per cent

    monkeypatch.setattr(models, "initialise", wider)
    assert_all_caught(store, "probe: weights_norm is")


def test_code_whose_first_batch_differs(store, monkeypatch, bad_input):
    monkeypatch.setattr(batches, "ORDER_STREAM", 99)
    assert_all_caught(store, "probe: first_batch_sha256 is")


def test_code_whose_pixels_differ(store, monkeypatch, bad_input):
    prepare = preparation.Preparation.__call__
    monkeypatch.setattr(preparation.Preparation, "__call__", lambda self, *batch: prepare(self, *batch) * 1.05)
    assert_all_caught(store, "probe: ")


def test_runs_that_begin_alike_share_a_probe_and_each_is_held_against_it(store, monkeypatch):
    other = small.spec(0, recipe={"epochs": 1, "learning_rate": 0.01}).with_(test=False)
    execution.execute(other, store)
    edit(store.path(other.hash), set_to("probe", "loss", by=0.01))
    probe, asked, networks = execution.probe, [], []

    def counted(spec: RunSpec, model: nn.Sequential) -> Probe:
        asked.append(spec.seed)
        networks.append(model)
        return probe(spec, model)

    monkeypatch.setattr(machine, "cores", lambda: 1)  # what other processes do cannot be counted
    monkeypatch.setattr(execution, "probe", counted)
    assert_caught(store, other, "probe: loss is")
    assert sorted(asked) == [0, 1, 2, 3]
    smaller = small.spec(0, recipe={"epochs": 1, "batch_size": 25})
    execution.execute(smaller, store)
    assert_caught(store, other, "probe: loss is")  # and nothing else, though a network serves two beginnings
    assert sorted(asked[4:]) == [0, 0, 1, 2, 3] and len(set(networks[4:])) == 4


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="one process looks at all records")
def test_a_process_that_is_killed_ends_the_audit_with_an_error(store, monkeypatch, capsys, counts):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(audit, "_differences", die)
    assert __main__.main(["audit", "--store", str(store.folder)]) == 2
    assert "A process of the audit was killed" in capsys.readouterr().err
    assert audit.latest(store.folder.parent / "audits") is None
    counts["workers killed"] += 1


# --- against the committed files ------------------------------------------------------------------------------


@pytest.fixture
def committed(store):
    """The store in a git repository of its own."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for arguments in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "records"]):
        subprocess.run(["git", "-C", store.folder, *arguments], check=True)
    yield store


def test_an_edit_that_only_the_committed_file_shows(committed, bad_input):
    assert audited(committed)[0] == 0
    edit(committed.path(AIMING.hash), set_to("history", 0, "train_loss", by=-0.1))
    assert_caught(committed, AIMING, "differs from the committed file")


def test_a_run_made_anew_is_no_edit(committed):
    edit(committed.path(AIMING.hash), set_to("created", value="2030-01-01T00:00:00+00:00"))
    assert audited(committed)[0] == 0


# --- training again -------------------------------------------------------------------------------------------


def test_a_run_trained_again_here_is_equal_to_the_last_bit(store, capsys):
    code, record = audited(store, "--minutes", "10", "--seed", "5")
    assert code == 0
    assert sorted(one.hash for one in record.repetitions) == list(record.audited)
    shown = capsys.readouterr().out
    for one in record.repetitions:
        assert one.same_machine and one.bit_equal and not one.differences
        assert f"confirmed {one.hash}: weights, history" in shown
    assert record.summary.endswith("4 trained again: 4 equal to the last bit")
    assert record.seed == 5 and record.minutes == 10


def again(store: Store, spec: RunSpec, change: Callable[[dict[str, Any]], None]) -> repetition.Repetition:
    edit(store.path(spec.hash), change)
    record = store.load(spec.hash)
    return repetition.repeat(record, store, repetition.arm(record, store.all()))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("history", set_to("history", 0, "train_loss", by=-0.1)),
        ("weights", set_to("weights_sha256", value="0" * 64)),
        ("signals", set_to("signals", 0, "input", by=0.1)),
    ],
)
def test_an_edit_that_only_training_again_shows(what, change, store, bad_input):
    found = again(store, SPECS[0], change)
    assert found.same_machine and not found.bit_equal
    assert found.differences == [f"{what} altered: all else is equal to the last bit"]


def elsewhere(error: float) -> Callable[[dict[str, Any]], None]:
    """A record as another machine could have made it, its errors higher by `error`."""

    def change(record: dict[str, Any]) -> None:
        record["environment"]["cpu"] = "another"
        record["weights_sha256"] = "0" * 64
        for epoch in record["history"]:
            epoch["train_loss"] += 1e-6
        for name in ("train_error", "valid_error", "test_error"):
            record["final"][name] += error

    return change


def test_a_run_of_another_machine_need_only_be_close(store):
    close = again(store, SPECS[0], elsewhere(0.01))
    assert not close.same_machine and not close.bit_equal and not close.differences
    assert {measure.name for measure in close.measures} == {"train_error", "valid_error", "test_error"}
    assert "other machine; train_error" in close.closeness


def test_a_run_of_another_machine_may_not_be_far(store, bad_input):
    far = again(store, SPECS[0], elsewhere(0.05))
    assert [text.split()[0] for text in far.differences] == ["train_error", "valid_error", "test_error"]


def test_an_outcome_that_no_seed_has(store, bad_input):
    def censored(record: dict[str, Any]) -> None:
        elsewhere(0.0)(record)
        record["final"].update(outcome="censored", epochs_to_target=None)

    assert "the outcome is censored, trained again reached" in again(store, AIMING, censored).differences


def test_an_arm_is_what_differs_in_the_seed_alone(store):
    first = store.load(SPECS[0].hash)
    sibling = first.model_copy(update={"spec": small.spec(8), "hash": small.spec(8).hash})
    assert repetition.arm(first, [*store.all(), sibling]) == [sibling]


def test_the_tolerance_is_the_interval_for_the_difference_of_two_runs():
    """Records and repetitions drawn like the other seeds fall outside it once in a hundred times."""
    draws = np.random.default_rng(2012).normal(0.3, 0.01, (4000, 6))
    outside = [abs(a - b) > repetition.tolerance("test_error", b, others) for a, b, *others in draws.tolist()]
    assert stats.binomtest(sum(outside), len(outside), 0.01).pvalue > 0.001


def test_the_tolerance_with_few_seeds_is_fixed():
    assert repetition.tolerance("test_error", 0.3, [0.1, 0.9]) == repetition.ERROR_TOLERANCE
    assert repetition.tolerance("epochs_to_target", 8.0, []) == 3.0


def test_no_run_fits_into_the_time(store):
    code, record = audited(store, "--minutes", "0.0001")
    assert code == 0 and record.repetitions == []
    assert any("no run fits into 0.0001 minutes" in note for note in record.notes)


def test_a_repetition_that_takes_too_long_is_given_up(store):
    edit(store.path(SPECS[0].hash), set_to("wall_seconds", value=0.001))  # promises to end in time
    for spec in SPECS[1:]:
        store.path(spec.hash).unlink()
    _, record = audited(store, "--minutes", "0.0001")
    assert record.repetitions == []
    assert any("given up" in note for note in record.notes)


# --- runs that start from ImageNet's weights ------------------------------------------------------------------


OTHER = small.spec(0, recipe={"batch_size": 10})


@pytest.fixture
def transferred(few_data, tmp_path):  # noqa: F811
    """A store with one run on frozen layers and one from a random start."""
    store = Store(tmp_path / "runs")
    for spec in (PROBE, OTHER):
        execution.execute(spec, store, "float32")
    shutil.rmtree(store.work)
    return store


def test_without_a_record_that_needs_them_the_weights_are_not_asked_for(store, monkeypatch):
    monkeypatch.setattr(weights, "load", lambda *_, **__: pytest.fail("asked for"))
    weights.imagenet.cache_clear()
    code, record = audited(store)
    assert code == 0 and record.unchecked == ()


def test_where_the_weights_cannot_be_had_the_records_are_named(transferred, monkeypatch, capsys, counts):
    """They are asked for once, all else is checked, and the command says that it has not seen all."""
    code, record = audited(transferred)
    assert code == 0 and record.unchecked == () and record.passed
    asked = []

    def unreachable() -> None:
        asked.append(1)
        raise DataError("No source answers: a test.")

    monkeypatch.setattr(weights, "imagenet", unreachable)
    capsys.readouterr()
    code, record = audited(transferred, "--minutes", "0.5")
    assert code == 2 and record.passed and record.unchecked == (PROBE.hash,) and len(asked) == 1
    assert "the probes of 1, which need ImageNet's weights and could NOT be checked" in record.summary
    assert [one.hash for one in record.repetitions] == [OTHER.hash]
    shown = capsys.readouterr().out
    assert "cannot be had: No source answers: a test." in shown
    assert f"UNCHECKED {PROBE.hash}.json" in shown and f"{PROBE.hash}.json, but for its probe" in shown
    edit(transferred.path(PROBE.hash), lambda fields: fields["final"].update(test_error=0.01))
    code, record = audited(transferred)
    assert code == 1 and [caught.file for caught in record.caught] == [f"{PROBE.hash}.json"]
    counts["bad inputs tried"] += 2


def test_a_record_of_other_weights_is_caught(transferred, bad_input):
    edit(transferred.path(PROBE.hash), lambda fields: fields["data"]["hashes"].update(imagenet_weights="0" * 64))
    assert_caught(transferred, PROBE, "other ImageNet weights")


def test_features_are_not_computed_to_train_a_classifier_again(transferred, monkeypatch):
    monkeypatch.setattr(features, "are_made", lambda *_: False)
    _, record = audited(transferred, "--minutes", "0.5")
    assert PROBE.hash not in [one.hash for one in record.repetitions]
    assert any("python -m alexnet features" in note for note in record.notes)
    monkeypatch.undo()


def test_a_classifier_on_features_is_trained_again_where_these_are(transferred):
    [found] = [transferred.load(name) for name in transferred.hashes() if name == PROBE.hash]
    assert repetition.features_are_made(found)
    assert repetition.repeat(found, transferred, []).bit_equal


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--profile", "tpu"], SpecError, "no profile 'tpu'"),
        (["--store", os.devnull], RecordError, "holds no records"),
    ],
)
def test_bad_input(options, error, message, tmp_path, bad_input):
    with pytest.raises(error, match=message):
        audit.run(__main__.parser("").parse_args(["audit", "--store", str(tmp_path), *options]))


def test_no_audit_yet_and_a_damaged_one(tmp_path, counts):
    assert audit.latest(tmp_path) is None
    for content in ("", "{}", '{"schema_version": 99}'):
        (tmp_path / audit.FILE).write_text(content)
        with pytest.raises(RecordError, match="make audit"):
            audit.latest(tmp_path)
        counts["bad inputs tried"] += 1


# --- the records of this report -------------------------------------------------------------------------------


def test_a_few_committed_records_belong_to_this_code():
    """A sample; `make audit` takes them all."""
    store = Store(paths.RUNS)
    names = store.hashes()
    if not names:
        pytest.skip("no records are committed yet")
    sample = random.Random(2012).sample(names, min(4, len(names)))
    try:
        found: dict[str, list[str]] = {name: list(checks.differences(load(store, name), store)) for name in sample}
    except DataError as error:
        pytest.skip(f"no CIFAR-10 here: {error}")
    assert found == {name: [] for name in sample}


def load(store: Store, name: str) -> RunRecord:
    record = store.load(name)
    dataset_of(record.spec.dataset)  # raises DataError where there are no data
    return record
