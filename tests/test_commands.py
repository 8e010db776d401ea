"""What is loaded when: a bare import and a refused option need neither torch nor fastai."""

import subprocess
import sys

import pytest

import alexnet
from alexnet import commands, data, imagenet, imagenet_training, notebooks, training

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


def test_a_bare_import_loads_nothing_else() -> None:
    assert loaded("import alexnet; dir(alexnet)") == ["alexnet"]


@pytest.mark.parametrize("words", [["--help"], ["nonsense"], *([name, "--nonsense"] for name in commands.COMMANDS)])
def test_help_and_refused_options_load_nothing_heavy(words: list[str]) -> None:
    assert loaded(RUN.format(words=["alexnet", *words])) == ["alexnet", "platformdirs"]


def test_every_public_name_is_there_when_it_is_used() -> None:
    assert set(alexnet.__all__) <= set(dir(alexnet))
    assert [name for name in alexnet.__all__ if getattr(alexnet, name).__name__ != name] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        alexnet.nonsense  # noqa: B018


def test_what_the_options_offer_is_what_the_modules_have() -> None:
    parse = commands.parser("").parse_args
    given = parse(["imagenet", "folder"])
    assert imagenet.spec_of(given, 1000) == imagenet_training.ImagenetSpec(net=imagenet.spec_of(given, 1000).net)
    assert parse(["report"]).limit == parse(["notebooks"]).limit == notebooks.TIME_LIMIT
    for name in (*data.DESCRIPTIONS, data.WEIGHTS):
        assert parse(["data", "--dataset", name]).dataset == name
    for name in training.DEFAULTS:
        assert parse(["train", "--dataset", name]).dataset == name
