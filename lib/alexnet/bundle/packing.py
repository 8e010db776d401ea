"""`python -m alexnet bundle`: what a Linux machine without a network needs to make runs, in parts that can be carried.

The parts are one tar archive, cut: the library, the verified data, wheels of what runs import, and the records that the
plan builds on. Beside them lie a manifest with their hashes, `run.sh`, and `bundle.target` as `run.py`. torch and
torchvision are the target's own, since their builds depend on its GPU.
"""

import ast
import hashlib
import json
import platform
import sys
import tarfile
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .. import paths
from ..data import datasets, weights
from ..data.sources import run_client
from ..errors import DataError, SpecError
from ..experiments import profiles
from ..records.files import not_writable, write_atomically
from ..records.store import Store
from ..runs import pool
from ..runs.planning import Runs

PART = 50_000_000  # bytes, at most
OF_TARGET = ("torch", "torchvision")
NOT_IMPORTED = ("spacy",)  # fastai wants it for texts alone
GLIBC = 28  # the wheels are for glibc 2.28 or newer, as torch's own
GROWTH = 4  # times the bytes of its wheels that an environment takes
RUN = """#!/bin/sh
# Makes the runs of this bundle, and collects their records in records.tar.gz beside it; goes on where it was stopped.
# PYTHON=/path/to/python names the Python that has torch; what follows run.sh is handed on to `alexnet runs`.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 2
for python in "${PYTHON:-python3}" ${PYTHON:-python pythonVERSION}; do
    if "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "VERSION")' 2>/dev/null; then
        exec "$python" -B "$here/run.py" "$@"
    fi
done
echo "run.sh: this bundle is for Python VERSION, and ${PYTHON:-python3} is another, or none." \\
    "Name one that has torch: PYTHON=/path/to/pythonVERSION sh run.sh; or make a bundle for another version." >&2
exit 2
"""


def pins() -> dict[str, Requirement]:
    """The lock file by name."""
    lock = (paths.ROOT / "requirements.lock").read_text().splitlines()
    found = [Requirement(line) for line in lock if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def wheels_needed(version: str, machine: str) -> list[str]:
    """Pins for all that runs import on a target with that Python and processor, and what that needs, torch aside."""
    pinned, providers = pins(), metadata.packages_distributions()
    there = {name: str(value) for name, value in default_environment().items()} | {"extra": ""}
    there |= {"python_version": version, "python_full_version": f"{version}.0", "platform_machine": machine}
    there |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    waiting: list[str] = [canonicalize_name(name) for top in _imported() for name in providers.get(top, [])]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in pinned and name not in {*found, *OF_TARGET, *NOT_IMPORTED}:
            found.add(name)
            with suppress(metadata.PackageNotFoundError):  # needed there alone, as a backport is
                wanted = map(Requirement, metadata.requires(name) or [])
                waiting += [canonicalize_name(r.name) for r in wanted if not r.marker or r.marker.evaluate(there)]
    return sorted(f"{name}{pinned[name].specifier}" for name in found)


def _imported() -> Iterator[str]:
    """Names of all packages that the command `runs` imports, at its start or later."""
    for path in paths.with_imports(paths.PACKAGE / "experiments" / "make.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.split(".")[0]


def download(needed: list[str], version: str, machine: str, folder: Path) -> None:
    """Wheels from the registry that the user's pip is configured for. Raises `DataError` where one cannot be had."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"manylinux{name}_{machine}" for name in ("2014", "2010", "1")]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--implementation=cp"]
    command += [f"--python-version={version}", *(f"--platform={name}" for name in platforms), "--dest=wheels", *needed]
    try:
        run_client("pip", command, folder, f"pip download, {len(needed)} wheels", "ERROR: ")
    except DataError as error:
        raise DataError(f"The bundle's wheels cannot be had: {error} Make it where a registry answers.") from error


def content(runs: Runs, store: Store) -> Iterator[tuple[str, Path]]:
    """Name and file of all but the wheels. Data come from their sources if need be, and are verified."""
    yield "LICENSE", paths.ROOT / "LICENSE"
    for path in sorted(paths.PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"lib/alexnet/{path.relative_to(paths.PACKAGE)}", path
    used: set[str] = {planned.spec.dataset for planned, _ in runs}
    for name in used:
        datasets.load(name)
    if any(planned.spec.transfer for planned, _ in runs):
        weights.imagenet()
        used.add(weights.IMAGENET.name)
    for folder in sorted(paths.data_folder() / name for name in used):
        yield from ((f"data/{folder.name}/{path.name}", path) for path in folder.iterdir() if path.is_file())
    for run_hash in sorted({planned.spec.hash for planned, record in runs if record is not None}):
        yield f"records/{run_hash}.json", store.path(run_hash)


def pack(runs: Runs, store: Store, out: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Write a bundle for planned runs and return its manifest, which comes last: a bundle without one is not whole.

    `told`: what the target has to know besides. Raises `DataError` for data and wheels that cannot be had, and
    `RecordError` or `OSError` where the disk does not take the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-bundle-") as workspace:
        files = [*content(runs, store)]
        download(told["wheels"], told["python"], told["machine"], Path(workspace))
        wheels = [*Path(workspace).glob("wheels/*.whl")]
        files += [(f"wheels/{path.name}", path) for path in wheels]
        with tarfile.open(Path(workspace) / "bundle.tar", "w") as archive:
            for name, path in files:
                # who packed it is nobody's business
                archive.add(path, name, filter=lambda of: of.replace(uid=0, gid=0, uname="", gname="", deep=False))
        for old in (out / "MANIFEST.json", *out.glob("bundle.[0-9]*")):
            old.unlink(missing_ok=True)
        write_atomically(out / "run.sh", RUN.replace("VERSION", told["python"]).encode())
        write_atomically(out / "run.py", Path(__file__).with_name("target.py").read_bytes())
        parts: dict[str, tuple[int, str]] = {}
        with (Path(workspace) / "bundle.tar").open("rb") as whole:
            while part := whole.read(PART):
                name = f"bundle.{len(parts):03}"
                write_atomically(out / name, part)
                parts[name] = (len(part), hashlib.sha256(part).hexdigest())
        disk = sum(path.stat().st_size for _, path in files) + GROWTH * sum(path.stat().st_size for path in wheels)
    records = [Path(name).stem for name, _ in files if name.startswith("records/")]
    manifest = told | {"disk": disk, "records": records, "parts": parts}
    write_atomically(out / "MANIFEST.json", json.dumps(manifest, indent=1).encode())
    return manifest


def run(arguments: Namespace) -> int:
    """Write a bundle that makes the runs which a profile, or a claim of it, lacks."""
    profile, claim = profiles.check_profile(arguments.profile), arguments.claim
    store = Store(paths.runs_folder(profile))
    runs = profiles.records(profile, store, claim=claim)
    todo = pool.work(runs)
    if not todo.missing:
        print(f"{todo.announcement} There is nothing to carry anywhere.")
        return 0
    out = arguments.out or paths.BUILD / "bundle"
    if out.exists() and not (out / "run.sh").exists() and (out.is_file() or any(out.iterdir())):
        raise SpecError(f"{out} is there, and is no bundle; name another folder with --out.")
    machine = (arguments.machine or platform.machine()).replace("arm64", "aarch64")
    told = {
        "runs": ["--profile", profile, *(["--claim", claim] if claim else [])],
        "python": arguments.python,
        "machine": machine,
        "torch": str(pins()["torch"].specifier).removeprefix("=="),
        "wheels": wheels_needed(arguments.python, machine),
    }
    try:
        parts = pack(runs, store, out, told)["parts"].values()
    except OSError as error:
        raise not_writable(error.filename or out, error) from error
    print(f"{len(todo.missing)} runs in {len(parts)} parts, {sum(size for size, _ in parts) / 1e6:.0f} MB.")
    print(f"Carry the folder {out} to the machine, and there\n    sh run.sh")
    print("makes the runs with the torch that it finds, and collects their records, which are taken in here by")
    print(f"    make runs PROFILE={profile} RECORDS=records.tar.gz")
    return 0
