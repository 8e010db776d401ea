"""The set-up: pinned dependencies, make's targets and errors, and what must not be in the repository."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import installation

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1 << 20

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(line)
    for line in PROJECT["dependencies"] + [r for group in PROJECT["optional-dependencies"].values() for r in group]
]
LOCK_LINES = [
    line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
]
LOCKED = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCK_LINES}
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def without_makes_own() -> dict[str, str]:
    """The environment as it was before a make that runs these tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PROFILE"))}


def make(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with a clean set of make's own variables, without standard input."""
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=without_makes_own() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def git(*words: str) -> str:
    """What git prints here; the test is skipped in a copy without git."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git clone")
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout


def tracked_files() -> list[Path]:
    """The files git tracks."""
    return [ROOT / name for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).is_file()]


def python_sources() -> list[Path]:
    """Library, tests and notebook sources."""
    return [file for folder in ("lib", "tests", "notebooks") for file in sorted((ROOT / folder).rglob("*.py"))]


CLONE = ("Makefile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE")


@pytest.fixture
def bare_clone(tmp_path):
    """The files make needs, in a folder with a space in its name and without .venv."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in CLONE:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def refused(bare_clone):
    """A call of make that is to end with 2 before anything is installed; gives what it says, a line of make's own."""

    def call(*words: str, lines: int = 1) -> str:
        result = make(*words, folder=bare_clone)
        assert result.returncode == 2 and result.stderr.count("\n") == lines
        assert not (bare_clone / ".venv").exists() and not (bare_clone / "run").exists()
        return result.stderr

    return call


def script(path: Path, *lines: str) -> Path:
    """A shell script in the place of Python."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


SPY = (
    """printf '%s\\0' "$PWD" "${ALEXNET_DATA-}" "${ALEXNET_LOCAL-}" "$PYTHONPATH" "$@" > "$SPIED" """,
    'env -0 > "$SPIED.environment"',
)


@pytest.fixture
def spied(bare_clone):
    """A call of make with a stub for Python; gives folder, data and local folder, path, and the words it was given."""
    binaries, seen = bare_clone / ".venv" / "bin", bare_clone / "seen"
    binaries.mkdir(parents=True)
    script(binaries / "python", *SPY)
    (bare_clone / ".venv" / ".installed").touch()

    def call(*arguments: str, **variables: str) -> list[str]:
        result = make(*arguments, folder=bare_clone, SPIED=str(seen), **variables)
        assert result.returncode == 0 and not result.stderr, result.stderr
        left = {path.name for path in bare_clone.iterdir()} - {"seen", "seen.environment", ".venv", *CLONE}
        assert not left, "a word of the value was run"
        return seen.read_bytes().decode().split("\0")[:-1]

    return call


# ----------------------------------------------------------------------------------------------------------------
# Dependencies


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_pinned_as_pyproject_admits(requirement):
    (pin,) = LOCKED[canonicalize_name(requirement.name)].specifier
    assert requirement.specifier.contains(pin.version), f"{pin} is outside {requirement}; run make lock"


def test_lock_holds_exact_public_versions_only():
    for line in LOCK_LINES:
        (pin,) = Requirement(line).specifier
        assert pin.operator == "==" and "+" not in pin.version and "*" not in pin.version, line
        assert not re.search(r"[@/\\]|^-", line), f"an address, path or option: {line}"


def test_lock_leaves_cuda_packages_to_torch():
    assert not [name for name in LOCKED if name.startswith(("nvidia", "cuda", "triton"))]


def test_lock_pins_everything_it_needs():
    """Follow the installed packages' own requirements: what they need here is in the lock as well."""
    for name, pin in LOCKED.items():
        if pin.marker and not pin.marker.evaluate():
            continue
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
            cuda = needed.name.startswith(("nvidia", "cuda", "triton"))
            assert not applies or cuda or canonicalize_name(needed.name) in LOCKED, f"{name} needs {line}"


def test_installed_versions_are_the_locked_ones():
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("this Python is not the one make installed")
    different = {
        name: metadata.version(name)
        for name, pin in LOCKED.items()
        if (pin.marker is None or pin.marker.evaluate())
        and not pin.specifier.contains(metadata.version(name).split("+")[0], prereleases=True)
    }
    assert not different, "make brings them up to date"


def test_everything_imported_is_a_direct_dependency():
    distributions = metadata.packages_distributions()
    direct = {canonicalize_name(requirement.name) for requirement in DIRECT}
    own = {"alexnet", *(file.stem for folder in ("lib", "tests") for file in (ROOT / folder).glob("*.py"))}
    for file in python_sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for top in {module.split(".")[0] for module in modules} - own - sys.stdlib_module_names:
                providers = {canonicalize_name(name) for name in distributions.get(top, [])}
                assert providers & direct, f"{file.relative_to(ROOT)} imports {top}, which pyproject.toml does not list"


def test_conda_users_get_the_same_pins():
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "-r requirements.lock" in pip and "-e ." in pip
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_package_data_travels_with_the_package():
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = configuration["package-data"]["*"]
    package = ROOT / "lib" / "alexnet"
    files = {file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    packages = {file.parent for file in files if file.name == "__init__.py"}
    shipped = {file for folder in packages for pattern in patterns for file in folder.glob(pattern)}
    left_behind = {file for file in files - shipped if file.suffix != ".py" or file.parent not in packages}
    assert not left_behind, "not in [tool.setuptools.package-data], or in a folder without __init__.py"


# ----------------------------------------------------------------------------------------------------------------
# make


def test_make_alone_prints_a_line_for_every_target_and_setting():
    result = make()
    assert result.returncode == 0 and not result.stderr
    phony = re.search(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    targets = set(phony.group(1).split())
    assert {"report", "test", "runs", "audit", "lab", "bench", "notebooks", "data", "lock", "clean", "help"} <= targets
    settings = set(re.findall(r"^([A-Z]+) \?=", MAKEFILE, re.MULTILINE))
    described = set(re.findall(r"^  (\S+) +\S.{10,}$", result.stdout, re.MULTILINE))
    assert described == targets | settings
    assert set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)) == targets


@pytest.mark.parametrize("profile", ["bogus", "CPU", "cpu gpu", "", "cp%", "../cpu"])
def test_an_unknown_profile_is_refused_before_anything_is_installed(refused, profile):
    assert "is not a profile; use one of: cpu smoke gpu" in refused("report", f"PROFILE={profile}")


def test_predicting_without_an_image_is_refused_before_anything_is_installed(refused):
    assert "make predict IMAGE=cat.jpg" in refused("predict")


def test_training_on_imagenet_without_a_folder_is_refused_before_anything_is_installed(refused):
    assert "make imagenet IMAGENET=folder" in refused("imagenet")


def test_a_value_with_a_line_break_is_refused(refused):
    assert "IMAGE holds a line break" in refused("predict", "IMAGE=a\nb")


def test_an_old_python_is_refused_by_name(refused, tmp_path):
    old = script(tmp_path / "old-python", "exit 1")  # what the version check of an older Python comes to
    error = refused("report", f"PYTHON={old}", lines=2)
    assert "Python 3.11 or newer is needed" in error and str(old) in error


def test_a_python_without_venv_is_named_with_the_remedy(refused, tmp_path):
    lacking = script(tmp_path / "lacking-python", '[ "$1" = -c ] && exit 0', "mkdir .venv", "exit 1")
    assert "python3-venv" in refused("report", f"PYTHON={lacking}", lines=2)


def test_a_failed_installation_leaves_no_stamp_and_is_taken_up_again(bare_clone, tmp_path):
    calls, stamp = tmp_path / "calls", bare_clone / ".venv" / ".installed"
    fake = script(
        tmp_path / "fake-python",  # makes a .venv whose pip fails while the file "offline" exists
        '[ "$1" = -c ] && exit 0',
        'if [ "$2" = venv ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; exit; fi',
        f'echo "$@" $PYTHONDONTWRITEBYTECODE >> "{calls}"',
        '[ "$2" = compileall ] && exit 1',  # as where a package holds a file that is no Python
        '[ "$2" = lib/installation.py ] && [ -e offline ] && exit 1',
        "exit 0",
    )

    def called(*words: str, **variables: str) -> str:
        calls.write_text("")
        assert make("report", *words, folder=bare_clone, **variables).returncode == 0 and stamp.exists()
        return calls.read_text()

    (bare_clone / "offline").touch()
    failed = make("report", f"PYTHON={fake}", folder=bare_clone)
    assert failed.returncode != 0 and "installation failed" in failed.stderr and not stamp.exists()
    (bare_clone / "offline").unlink()
    assert "-m compileall -qq -j 0 -x /tests?/ .venv/lib lib\n" in called(f"PYTHON={fake}"), "bytecode is left behind"
    again = called(PYTHONDONTWRITEBYTECODE="1")
    assert again == "-m alexnet report --profile=cpu\n", "nothing changed, so nothing is installed"
    later = stamp.stat().st_mtime + 10
    os.utime(bare_clone / "requirements.lock", (later, later))
    assert "--requirement requirements.lock" in called(), "a changed lock file is installed"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report"], "report --profile=cpu"),
        (["report", "PROFILE=smoke", "SEEDS=2", "FRESH=1"], "report --profile=smoke --seeds=2 --fresh"),
        (["runs", "WORKERS=2", "MINUTES=30"], "runs --profile=cpu --workers=2 --minutes=30"),
        (["runs", "SCHEDULER=tcp://127.0.0.1:8786"], "runs --profile=cpu --scheduler=tcp://127.0.0.1:8786"),
        (["runs", "CLAIM=lrn-cifar,depth"], "runs --profile=cpu --claim=lrn-cifar,depth"),
        (["precision", "WORKERS=2"], "precision --profile=cpu --workers=2"),
        (["audit", "PROFILE=gpu", "MINUTES=5"], "audit --profile=gpu --minutes=5"),
        (["notebooks"], "notebooks"),
        (["data"], "data"),
        (["bench"], "bench"),
        (["checkpoint", "DATASET=mnist", "CHECKPOINT=a.safetensors"], "train --dataset=mnist --out=a.safetensors"),
        (["predict", "IMAGE=/a.png"], "predict /a.png --out=build/prediction.png"),
        (["imagenet", "IMAGENET=/i", "EPOCHS=2", "WORKERS=0"], "imagenet /i --epochs=2 --workers=0"),
        (["imagenet", "IMAGENET=/i", "WEIGHTS=torchvision"], "imagenet /i --weights=torchvision"),
        (["imagenet", "IMAGENET=/i", "PROCESSES=2", "RESULTS=/o"], "imagenet /i --processes=2 --results=/o"),
        (["-j4", "report", "WORKERS=2"], "report --profile=cpu --workers=2"),
        (["smoke", "WORKERS=2"], "report --profile=smoke --workers=2"),
    ],
)
def test_targets_and_settings_become_commands(spied, bare_clone, arguments, expected):
    """As make's own settings and as variables of the environment."""
    variables = {name: value for name, _, value in (word.partition("=") for word in arguments) if value}
    targets = [word for word in arguments if "=" not in word]
    for found in (spied(*arguments), spied(*targets, **variables)):
        assert found[:1] + found[4:] == [str(bare_clone), "-m", "alexnet", *expected.split()]


@pytest.mark.parametrize("broken", ["none", "data", "ruff", "mypy", "pytest", "report"])
def test_all_is_checked_and_one_failure_fails_all(spied, bare_clone, broken):
    script(
        bare_clone / ".venv" / "bin" / "python",
        'case "$*" in *--profile=smoke*) sleep 0.5;; esac',  # it is waited for
        f'case "$*" in *{broken}*) echo "$* is broken"; exit 1;; esac',
        'echo "$* is sound"',
    )
    result = make("test", folder=bare_clone)
    assert result.returncode == (0 if broken == "none" else 2)
    assert result.stdout.count(" is broken\n") == (broken != "none")
    assert "-m alexnet report --profile=smoke is" in result.stdout.split("== make smoke")[1]
    ended = {line.split()[0]: line.split()[1] for line in result.stdout.split("== make test\n")[1].splitlines()[:4]}
    failed = {"data": "data", "ruff": "lint", "mypy": "lint", "pytest": "unit", "report": "smoke"}.get(broken)
    assert ended == {step: "FAILED" if step == failed else "passed" for step in ("data", "lint", "unit", "smoke")}


def test_ctrl_c_ends_the_smoke_report_too(spied, bare_clone):
    script(
        bare_clone / ".venv" / "bin" / "python",
        'case "$*" in *--profile=smoke*) ;; *pytest*) touch testing; exec sleep 60;; *) exit;; esac',
        "trap 'touch stopped; exit 1' TERM",
        "touch begun; while :; do sleep 0.1; done",
    )
    running = subprocess.Popen(
        ["make", "test"],
        cwd=bare_clone,
        env=without_makes_own(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # started in the background, tests ignore it
    )

    def comes(name: str) -> bool:
        return any((bare_clone / name).exists() or time.sleep(0.1) for _ in range(300))

    assert comes("begun") and comes("testing")
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(30) != 0 and comes("stopped")


NASTY = (
    "two  spaces", "it's", 'a "quoted" word', "$HOME", "$$", "$(touch run)", "$(shell touch run)", "`touch run`",
    "#tag", "ünïcödé 猫", "-dash", "--out", "a;touch run", "a&b|c", "*", "%", "a\\", "~", "~/x", "~nobody/x", "=", ",(",
    "a=b", "!",
)  # fmt: skip
PLACES = {  # setting: how it is called, and how its value comes; an absolute path where the setting names a positional
    "DATA": (["data"], None),
    "LOCAL": (["data"], None),
    "IMAGE": (["predict"], "{place}"),
    "OUT": (["predict", "IMAGE=a"], "--out={value}"),
    "CHECKPOINT": (["predict", "IMAGE=a"], "--checkpoint={value}"),
    "IMAGENET": (["imagenet"], "{place}"),
    "RESULTS": (["imagenet", "IMAGENET=a"], "--results={value}"),
    "WEIGHTS": (["imagenet", "IMAGENET=a"], "--weights={value}"),
    "CLAIM": (["runs"], "--claim={value}"),
    "RECORDS": (["runs"], "{place}"),
    "SCHEDULER": (["runs"], "--scheduler={value}"),
}


@pytest.mark.parametrize("setting", PLACES)
def test_a_value_arrives_byte_for_byte(spied, bare_clone, setting):
    words, form = PLACES[setting]
    for value in NASTY:
        place = value if value.startswith(("/", "~")) else f"{bare_clone}/{value}"
        for found in (spied(*words, f"{setting}={value}"), spied(*words, **{setting: value})):
            if form is None:
                assert found[1 if setting == "DATA" else 2] == place
            else:
                assert form.format(value=value, place=place) in found[4:]


def test_a_data_folder_reaches_the_commands_that_make_calls_again(spied, bare_clone):
    assert spied("smoke", "DATA=a  $b")[1] == spied("smoke", DATA="a  $b")[1] == f"{bare_clone}/a  $b"
    assert spied("data")[3] == f"{bare_clone}/lib"


@pytest.mark.parametrize(
    ("setting", "flag", "target"), [("FRESH", "--fresh", "report"), ("UPGRADE", "--upgrade", "lock")]
)
def test_yes_and_no_are_read_alike_in_every_spelling(refused, bare_clone, setting, flag, target):
    for value in ("1", "yes", "YES", "true", "True", "on", "oN", " yes "):
        assert flag in make("--dry-run", target, f"{setting}={value}", folder=bare_clone).stdout
    for value in ("", "0", "no", "No", "false", "False", "FALSE", "off", " "):
        assert flag not in make("--dry-run", target, f"{setting}={value}", folder=bare_clone).stdout
    for value in ("2", "ja", "yes no", "none", "-1", "$(shell touch run)"):
        assert f"{setting}={value} is neither yes nor no" in refused(target, f"{setting}={value}")


@pytest.mark.parametrize("word", ["FRSH=1", "fresh=1", "WORKER=2", "VENV=/tmp/elsewhere"])
def test_a_setting_that_does_not_exist_is_refused(refused, word):
    error = refused("report", word)
    assert f"There is no setting {word.split('=')[0]}; use one of: PROFILE SEEDS" in error


def test_the_users_own_python_has_no_say(spied, bare_clone):
    theirs = ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONUSERBASE", "PYTHONINSPECT")
    assert spied("data", PYTHONPATH="/theirs", **dict.fromkeys(theirs, "/theirs"))[3] == f"{bare_clone}/lib"
    assert b"/theirs" not in (bare_clone / "seen.environment").read_bytes()


def test_the_users_pip_decides_where_packages_come_from_and_nothing_else(tmp_path, monkeypatch):
    """Asked of pip itself, with settings in a file of the user's and in the environment."""
    home = tmp_path / "pip.conf"
    home.write_text(
        "[global]\nuser = true\nquiet = 1\ntarget = /t\nindex-url = file:///theirs\nretries = 3\ntimeout = 9\n"
        "extra-index-url =\n    file:///b\n    file:///c\n[install]\nno-deps = true\nretries = 4\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    theirs = {"CONFIG_FILE": str(home), "USER": "1", "PREFIX": "/p", "NO_BINARY": ":all:", "TIMEOUT": "7"}
    for name, value in theirs.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    given: list[dict[str, str]] = []
    run = subprocess.run

    def watched(command: list[str], **options: Any) -> Any:
        if "install" in command:
            given.append(options["env"])
            return subprocess.CompletedProcess(command, 0)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    assert installation.main() == 0
    pip = {name: " ".join(value.split()) for name, value in given[0].items() if name.startswith("PIP_")}
    expected = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_EXTRA_INDEX_URL": "file:///b file:///c",
        "PIP_INDEX_URL": "file:///theirs",
        "PIP_RETRIES": "4",
        "PIP_TIMEOUT": "7",
    }
    assert expected.items() <= pip.items()
    assert pip.keys() - expected <= {f"PIP_{name.upper().replace('-', '_')}" for name in installation.KEPT}


def test_make_without_a_data_folder_leaves_the_choice_to_the_library(bare_clone):
    with (bare_clone / "Makefile").open("a") as file:
        file.write('\nshow:\n\t@echo "$${ALEXNET_DATA-unset}"\n')
    variables = {"ALEXNET_DATA": "/chosen"} if "ALEXNET_DATA" in os.environ else {}
    assert make("show", folder=bare_clone, **variables).stdout.strip() == variables.get("ALEXNET_DATA", "unset")


# ----------------------------------------------------------------------------------------------------------------
# README, continuous integration, and what git tracks


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]


def test_readme_shows_both_commands_and_a_board():
    for command in ("make report", "make test"):
        assert re.search(rf"^{command}\b", README, re.MULTILINE), f"{command} is not shown"
    assert README.count("<!-- board:begin -->") == README.count("<!-- board:end -->") == 1
    assert README.index("<!-- board:begin -->") < README.index("<!-- board:end -->")


def test_readme_shows_the_library_as_it_is():
    """Run the example up to the network's specification, and look up the methods it calls; nothing is trained here."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    imports, assignment, *calls = ast.parse(example).body
    names: dict[str, object] = {}
    exec(ast.unparse(imports), names)
    assert isinstance(assignment, ast.Assign) and isinstance(assignment.value, ast.Call)
    eval(ast.unparse(assignment.value.args[0]), names)

    from alexnet.training.learners import CoupledLearner

    methods = [call.value.func for call in calls if isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)]
    assert methods and all(isinstance(method, ast.Attribute) for method in methods)
    assert all(hasattr(CoupledLearner, method.attr) for method in methods if isinstance(method, ast.Attribute))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_only_targets_settings_and_files_that_exist(document):
    text = (ROOT / document).read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    settings = set(re.findall(r"^([A-Z]+) \?=", MAKEFILE, re.MULTILINE))
    commands = re.findall(r"(?:^|`)make ((?:[a-zA-Z-]+(?:=\S+?)?[ `\n])+)", text, re.MULTILINE)
    words = [word for command in commands for word in re.split(r"[ `\n]+", command) if word]
    named = {word for word in words if "=" not in word and word.islower()}
    assert named <= targets, f"no such target: {named - targets}"
    assert {word.split("=")[0] for word in words if "=" in word} <= settings
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        place = (ROOT / document).parent / link
        assert place.exists() or link == "reports/index.html", f"{document} links to {link}"


def test_continuous_integration_calls_the_test_command_of_the_readme():
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    subprocess.run(["bash", "-n", str(run)], check=True)
    assert run.read_text().splitlines()[-1] == "make test", "its exit status must be that of the tests"
    assert "run: .ci/run" in (ROOT / ".github" / "workflows" / "test.yml").read_text()


def test_no_tracked_file_is_larger_than_5_megabytes():
    large = {str(file): file.stat().st_size for file in tracked_files() if file.stat().st_size > 5 * MEGABYTE}
    assert not large


def test_no_registry_hosts_and_no_paths_of_one_machine_in_tracked_files():
    registries = "|".join(["pypi", "pythonhosted", "npmjs", "debian"])
    homes = "|".join(["work", "root", "farm", "(?:home|Users)/(?!someone/)[A-Za-z]+"])
    pattern = re.compile(rf"https?://[a-z0-9.-]*(?:{registries})|(?<![\w.$~*}}-])/(?:{homes})/")
    found = []
    for file in tracked_files():
        content = file.read_bytes()
        if b"\0" in content[:8192]:
            continue  # arrays and images
        text = re.sub(r"data:[a-z/+-]+;base64,\S+|\"image/png\": \"[^\"]+\"", "", content.decode(errors="replace"))
        found += [f"{file.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert not found


def test_git_ignores_what_make_makes():
    made = [".venv/.installed", "build/smoke/index.html", "reports/report.html", "lib/__pycache__/a.pyc"]
    made.append("notebooks/.ipynb_checkpoints/a")
    assert git("check-ignore", *made).split() == made
