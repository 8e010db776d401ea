"""docs/when-things-go-wrong.md against the tests it names, and what a user sees on the command line."""

import ast
import functools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small

from alexnet import __main__, paths
from alexnet.audit import audit
from alexnet.errors import AlexnetError
from alexnet.experiments import profiles
from alexnet.records import files as records
from alexnet.records.store import Store
from alexnet.report import notebooks
from alexnet.runs import execution
from alexnet.runs.planning import Planned

TESTS = Path(__file__).parent
DOCUMENT = paths.ROOT / "docs" / "when-things-go-wrong.md"
COUNTED = ("bad inputs", "kills", "workers killed", "reports kept")  # what a test counts that the table must name
EXIT = re.compile(r"\b(main|run|make_runs|audited)\(|\b(code|returncode|exit_code)\b")  # what gives an exit code
CODES = {"0", "1", "2", "130", "–"}

Row = tuple[str, str, list[str]]  # what goes wrong, exit code, tests


def rows() -> list[Row]:
    """The rows of all tables of the page."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and not cells[0].startswith(("What goes wrong", "---")):
            found.append((cells[0], cells[2], re.findall(r"`(\w+::\w+)`", cells[4])))
    return found


@functools.cache
def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    """The test functions of a module, by name."""
    tree = ast.parse((TESTS / f"{module}.py").read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}


def codes_checked(function: ast.FunctionDef) -> Iterator[int]:
    """The whole numbers with which a function compares what a command, or a call of one, has returned."""
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and len(node.comparators) == 1:
            sides = [node.left, node.comparators[0]]
            numbers = [s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, int)]
            if numbers and EXIT.search(ast.unparse(node)):
                yield from numbers


def helpers(module: str, function: ast.FunctionDef) -> list[ast.FunctionDef]:
    """The functions of the same module that a test calls."""
    tree = ast.parse((TESTS / f"{module}.py").read_text())
    called = {n.func.id for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in called]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_names_tests_that_exist_and_check_its_exit_code(row):
    what, code, named = row
    assert named, f"no test covers: {what}"
    assert code in CODES
    compared: set[int] = set()
    for name in named:
        module, test = name.split("::")
        assert (TESTS / f"{module}.py").exists() and test in functions_of(module), f"there is no {name}"
        function = functions_of(module)[test]
        for part in (function, *helpers(module, function)):
            compared.update(codes_checked(part))
    assert code == "–" or int(code) in compared, f"none of the tests checks the exit code {code}"


def test_every_test_that_counts_a_bad_input_or_a_kill_is_in_the_table():
    named = {name for _, _, tests in rows() for name in tests}
    counting = set()
    for file in TESTS.glob("test_*.py"):
        for name, function in functions_of(file.stem).items():
            words = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            given = {argument.arg for argument in function.args.args}
            if "bad_input" in given or ("counts" in given and any(word.startswith(COUNTED) for word in words)):
                counting.add(f"{file.stem}::{name}")
    assert counting, "the tests count"
    assert counting <= named, "not in the table"


def test_every_failure_that_the_project_promises_to_survive_has_a_row():
    """So that no row gets lost when the page is edited."""
    told = " ".join(what.lower() for what, _, _ in rows())
    for failure in (
        "profile that does not exist", "parameter that a notebook does not have", "read-only", "full disk",
        "record that is damaged", "checkpoint that is damaged", "future schema", "not a number", "kernel dies",
        "time limit", "missing in continuous", "altered", "killed", "sigterm", "worker of the grid dies",
        "twice at once",
    ):  # fmt: skip
        assert failure in told, f"no row tells of: {failure}"


# ----------------------------------------------------------------------------------------------------------------
# the command line


def kinds(base: type[AlexnetError]) -> Iterator[type[AlexnetError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("kind", dict.fromkeys(kinds(AlexnetError)), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_is_one_line_and_an_exit_code(kind, monkeypatch, capsys):
    """1 where a notebook is to blame, 2 for all that the user can mend."""

    def run(*_: object) -> int:
        raise kind("The spoon is bent; straighten it.")

    monkeypatch.setattr(audit, "run", run)
    code = __main__.main(["audit"])
    assert code == 1 if issubclass(kind, notebooks.NotebookError) else code == 2
    assert capsys.readouterr().err == "python -m alexnet audit: The spoon is bent; straighten it.\n"


@pytest.fixture
def planned(small_data, tmp_path, monkeypatch):
    """A store, and the one run that the smoke profile plans there."""
    monkeypatch.delenv("CI", raising=False)
    spec = small.spec()
    one = Planned("relu-speed", "modern", "seeds", "relu", 0, spec)
    monkeypatch.setattr(profiles, "plan", lambda *_, **__: iter([one]))
    monkeypatch.setattr(profiles, "records", lambda profile, store, *_, **__: [(one, store.get(spec))])
    return Store(tmp_path / "runs"), spec


def make_runs(store: Store, *words: str) -> int:
    return __main__.main(["runs", "--profile", "smoke", "--store", str(store.folder), "--workers", "1", *words])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a run record"),
        (b'{"schema_version": 2}', "has schema version 2; this code reads version 1"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_bad_record_stops_every_command_that_reads_it(content, message, planned, capsys, counts):
    store, spec = planned
    store.folder.mkdir()
    store.path(spec.hash).write_bytes(content)
    for words in ([], ["--dry-run"]):
        assert make_runs(store, *words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        counts["bad inputs tried"] += 1
    assert store.path(spec.hash).read_bytes() == content, "neither used nor overwritten"
    assert __main__.main(["audit", "--profile", "smoke", "--store", str(store.folder)]) == 1
    assert message in capsys.readouterr().out


def test_a_bad_record_that_was_deleted_is_made_again(planned):
    store, spec = planned
    first = execution.execute(spec, store)
    store.path(spec.hash).write_bytes(b"{}")
    assert make_runs(store) == 2
    store.path(spec.hash).unlink()
    assert make_runs(store) == 0
    again = store.get(spec)
    assert again is not None and again.weights_sha256 == first.weights_sha256


def test_records_that_cannot_be_written_are_named_before_any_training(
    planned, tmp_path, monkeypatch, capsys, bad_input
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(execution, "trained", lambda *_: pytest.fail("trained before it looked"))
    assert make_runs(Store(tmp_path / "file" / "runs")) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_ends_the_command(planned, monkeypatch, capsys, bad_input):
    store, spec = planned

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "fsync", full)
        assert make_runs(store) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error and "Free the disk" in error
    assert not store.hashes() and not list(store.folder.rglob(f"{records.TEMPORARY}*"))
    assert make_runs(store) == 0 and store.hashes() == [spec.hash]


def test_continuous_integration_wants_all_records(planned, monkeypatch, capsys, bad_input):
    store, _ = planned
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(execution, "trained", lambda *_: pytest.fail("trained in continuous integration"))
    assert __main__.main(["runs", "--profile", "cpu", "--store", str(store.folder)]) == 2
    error = capsys.readouterr().err
    assert "1 run records are missing" in error and "Continuous integration does not train" in error
    assert not store.hashes()


@pytest.fixture
def as_in_a_terminal():
    """Python leaves SIGINT ignored where the shell that started it in the background did."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_stop_cleanly(number, planned, monkeypatch, capsys):
    """In the middle of an epoch; the next call ends as if nothing had been."""
    store, spec = planned
    whole = execution.execute(spec, Store(store.folder.parent / "whole"))
    begin = execution.learners.EpochSeeds.before_train

    def interrupted(self: execution.learners.EpochSeeds) -> None:
        begin(self)
        if len(self.history.rows) == 1:
            os.kill(os.getpid(), number)
            time.sleep(5)

    with monkeypatch.context() as patch:
        patch.setattr(execution.learners.EpochSeeds, "before_train", interrupted)
        assert make_runs(store) == 130
    error = capsys.readouterr().err
    assert "goes on from the last epochs" in error and "Traceback" not in error
    assert store.checkpoint(spec.label).exists() and not store.hashes()
    assert make_runs(store) == 0
    record = store.get(spec)
    assert record is not None and record.weights_sha256 == whole.weights_sha256
    assert not store.checkpoint(spec.label).exists()


def test_a_fault_of_a_committed_notebook_is_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "sources", lambda *_, **__: [tmp_path / "01_a.py"])
    monkeypatch.setattr(notebooks, "faults", lambda source: ["01_a: 17.31% is in no record."])
    assert __main__.main(["notebooks", "--check"]) == 1
    assert "17.31% is in no record" in capsys.readouterr().err


def test_make_ends_with_2(tmp_path):
    """Whatever the code of the command, as the page says."""
    (tmp_path / "Makefile").write_text("fail:\n\t@exit 7\n")
    assert subprocess.run(["make", "fail"], cwd=tmp_path, capture_output=True).returncode == 2
