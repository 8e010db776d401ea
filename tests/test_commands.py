"""What is loaded when, and what options and variables may be: all of them are read before any work."""

import os
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import pytest

import alexnet
from alexnet import __main__, paths
from alexnet.data import datasets, weights
from alexnet.errors import SpecError
from alexnet.imagenet import job
from alexnet.imagenet import training as imagenet_training
from alexnet.prediction import training
from alexnet.records.specs import RunSpec
from alexnet.report import notebooks
from alexnet.training import machine

LIST_MODULES = """
import sys
before = set(sys.modules)
{code}
print(*sorted({{name.split(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names))
"""
RUN = "import runpy; sys.argv = {words}\ntry: runpy.run_module('alexnet', run_name='__main__')\nexcept SystemExit: pass"


def loaded(code: str) -> list[str]:
    """The packages beyond Python's own that some code loads."""
    command = [sys.executable, "-c", LIST_MODULES.format(code=code)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()


def test_a_bare_import_loads_nothing_else():
    assert loaded("import alexnet; dir(alexnet)") == ["alexnet"]


@pytest.mark.parametrize("words", [["--help"], ["nonsense"], *([name, "--nonsense"] for name in __main__.COMMANDS)])
def test_help_and_refused_options_load_nothing_heavy(words):
    assert loaded(RUN.format(words=["alexnet", *words])) == ["alexnet", "platformdirs"]


def test_every_public_name_is_there_when_it_is_used():
    assert set(alexnet.__all__) <= set(dir(alexnet))
    assert [name for name in alexnet.__all__ if getattr(alexnet, name).__name__ != name] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        alexnet.nonsense  # noqa: B018


def test_what_the_options_offer_is_what_the_modules_have():
    parse = __main__.parser("").parse_args
    given = parse(["imagenet", "folder"])
    assert job.spec_of(given, 1000) == imagenet_training.ImagenetSpec(net=job.spec_of(given, 1000).net)
    assert parse(["report"]).limit == parse(["notebooks"]).limit == notebooks.TIME_LIMIT
    for name in (*datasets.DESCRIPTIONS, weights.IMAGENET.name):
        assert parse(["data", "--dataset", name]).dataset == name
    for name in training.DEFAULTS:
        assert parse(["train", "--dataset", name]).dataset == name


# ---- what options may be ---------------------------------------------------------------------------------------------

WORDS = {  # names, looked up by their command
    "--claim", "--scheduler", "--record", "--weights", "--only", "--cases", "--network", "changes",
}  # fmt: skip
PATHS = {"image", "folder", "archive", "--out", "--checkpoint", "--store", "--local", "--results"}
SENSELESS = ("", "x", "nan", "inf", "-inf", "-1", "-0.5", "1e999", "1,5", "None")
FROM_1 = {"--epochs", "--seeds", "--processes", "--threads", "--repeats", "--batch-size", "--patience"}
ABOVE_0 = {"--minutes", "--limit", "--learning-rate", "--width"}


def valued(parser: ArgumentParser) -> Iterator[tuple[str, str]]:
    """Every command with every option of it that takes a value."""
    (commands_of,) = (action for action in parser._actions if isinstance(action, _SubParsersAction))
    for name, subparser in commands_of.choices.items():
        for action in subparser._actions:
            if action.nargs != 0 and action.choices is None:
                yield name, (action.option_strings or [action.dest])[0]


@pytest.mark.parametrize(("command", "option"), list(valued(__main__.parser(""))))
def test_a_value_that_makes_no_sense_is_refused_in_one_line_before_any_work(
    command, option, monkeypatch, capsys, counts
):
    monkeypatch.setattr(__main__, "importlib", None)  # the command is not begun
    if option in WORDS or option == "--profile":
        return
    positional = {"predict": ["a.png"], "imagenet": ["images"], "receive": ["a.tar.gz"]}.get(command, [])
    senseless = ("",) if option in PATHS else SENSELESS
    if option in FROM_1:
        senseless += ("0", "1.5", "9" * 30)
    if option in ABOVE_0:
        senseless += ("0",)
    if command == "report" and option == "--seeds":
        senseless += ("1",)
    whole = option in FROM_1 | {"--workers", "--seed"}
    kind = "a number above 0" if option in ABOVE_0 else "a whole number" if whole else ""
    for value in senseless:
        words = [value] if option in ("image", "folder", "archive") else [*positional, f"{option}={value}"]
        assert __main__.main([command, *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"python -m alexnet {command}: argument") and error.count("\n") == 1
        assert option.upper() in error.upper() and f"{value!r} is not {kind}" in error
        counts["bad inputs tried"] += 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "python -m alexnet: the following arguments are required: COMMAND"),
        (["bogus"], "python -m alexnet: argument COMMAND: invalid choice: 'bogus'"),
        (["predict"], "python -m alexnet predict: the following arguments are required: IMAGE"),
        (["data", "--dataset", "cifar"], "python -m alexnet data: argument --dataset: invalid choice: 'cifar'"),
        (["runs", "--workrs", "2"], "unrecognized arguments: --workrs 2"),
        (["runs", "--workers"], "python -m alexnet runs: argument --workers: expected one argument"),
    ],
)
def test_words_that_make_no_command_are_refused_in_one_line(words, message, capsys, bad_input):
    assert __main__.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_values_at_the_edge_of_sense_are_taken():
    parse = __main__.parser("").parse_args
    assert parse(["imagenet", "x", "--workers=0"]).workers == 0
    assert parse(["audit", "--minutes=0.1", "--seed=0"]).minutes == 0.1
    assert parse(["train", "--seed=4294967295"]).seed == 2**32 - 1
    assert parse(["imagenet", "x", "--dropout=0", "--weights=torchvision"]).dropout == 0
    assert parse(["predict", "a  b.png"]).image == Path("a  b.png")


def test_a_home_folder_is_meant_by_a_tilde_and_never_made_here(monkeypatch):
    parse = __main__.parser("").parse_args
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse(["predict", "~/cat.jpg"]).image == Path("/home/someone/cat.jpg")
    assert parse(["imagenet", "~", "--weights=~/w.pth"]).weights == "/home/someone/w.pth"
    assert parse(["predict", "~cat.jpg"]).image == Path("~cat.jpg"), "a name of its own"
    monkeypatch.setenv("ALEXNET_DATA", "~/data")
    assert paths.data_folder() == Path("/home/someone/data")
    monkeypatch.delenv("ALEXNET_DATA")
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)  # as where the user has no home
    with pytest.raises(SpecError, match=r"'~/cat\.jpg' is not the path"):
        parse(["predict", "~/cat.jpg"])
    monkeypatch.setattr(paths.platformdirs, "user_cache_dir", lambda _: "~/.cache/alexnet-report")
    with pytest.raises(SpecError, match=r"ALEXNET_DATA: '~/\.cache/alexnet-report' is not the path"):
        paths.data_folder()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ALEXNET_PRECISION", "float23", "ALEXNET_PRECISION: 'float23' is not one of float32, bfloat16."),
        ("ALEXNET_COMPILE", "inductr", "ALEXNET_COMPILE: 'inductr' is not one of eager, aot_eager"),
        ("ALEXNET_PRECISON", "float32", "ALEXNET_PRECISON is no variable of ours; there are ALEXNET_COMPILE"),
        ("WORLD_SIZE", "two", "WORLD_SIZE: 'two' is not a whole number"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused_in_one_line_before_any_work(
    name, value, message, monkeypatch, capsys, counts
):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(__main__, "importlib", None)  # the command is not begun
    assert __main__.main(["runs"]) == 2
    error = capsys.readouterr().err
    assert f"python -m alexnet runs: {message}" in error and error.count("\n") == 1


def test_variables_that_make_sense(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXNET_DATA", "data sets")
    monkeypatch.setenv("ALEXNET_COMPILE", "")
    monkeypatch.setenv("ALEXNET_PRECISION", "float32")
    paths.check_environment()
    assert os.environ["ALEXNET_DATA"] == str(tmp_path / "data sets"), "for notebooks, which run elsewhere"
    assert machine.compiler() is None and machine.default_precision() == "float32"
    for value, integration in (("true", True), ("woodpecker", True), ("false", False), ("0", False), ("No", False)):
        monkeypatch.setenv("CI", value)
        assert paths.environment("CI") is integration
    monkeypatch.setenv("CI", "")
    assert paths.environment("CI") is None


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_no_number_of_a_specification_is_infinite_or_none(value):
    default = RunSpec()
    for part in ("images", "net", "recipe"):
        for name, field in type(getattr(default, part)).model_fields.items():
            if "float" in str(field.annotation):
                given = (("conv1", value),) if "tuple" in str(field.annotation) else value
                with pytest.raises(SpecError, match=name):
                    default.with_(**{part: {name: given}})
    second = {"after": 1, "learning_rate": value}
    with pytest.raises(SpecError, match="finite"):
        default.with_(recipe={"second": second})
    transfer = {"rate_ratio": value}
    with pytest.raises(SpecError, match="rate_ratio"):
        default.with_(images={"scaling": "imagenet", "resize": 224}, transfer=transfer)
