"""What a bundle does where it was carried to; there it is run.py, and run.sh starts it.

Only the standard library can be imported here. Every step is done once: the same command goes on where it was stopped.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

ASK = """import importlib.util, torch
gpu = torch.cuda.is_available() and torch.cuda.get_device_name()
print(torch.__version__, importlib.util.find_spec("torchvision") is not None, gpu, sep="\\n")"""


class Refused(Exception):
    """What is wrong here, and what to do about it."""


def read_manifest(here: Path) -> dict[str, Any]:
    """What the bundle is for, and what has to be here."""
    try:
        return json.loads((here / "MANIFEST.json").read_bytes())
    except (OSError, ValueError) as error:
        raise Refused(
            "MANIFEST.json is missing or damaged: the bundle is not here as a whole. Copy it again."
        ) from error


def check_parts(here: Path, parts: dict[str, tuple[int, str]]) -> None:
    """Every part is here, whole and unaltered."""
    wrong = []
    for name, (size, digest) in parts.items():
        path = here / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != size:
            wrong.append(f"{name} has {path.stat().st_size:,} of {size:,} bytes")
        else:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    wrong.append(f"{name} was altered")
    if wrong:
        raise Refused(f"{', '.join(wrong)}. Copy that again; the other parts are sound.")


def check_torch(tested: str, any_torch: bool) -> str:
    """The torch that is here, in words."""
    how = "Load the module or environment that has it, or name its Python: PYTHON=/path/to/python sh run.sh"
    # Asked of another process: this one shall hold no GPU while runs are made.
    asked = subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, text=True, check=False)
    if asked.returncode:
        reason = asked.stderr.strip().rpartition("\n")[2]
        raise Refused(f"{sys.executable} cannot import torch ({reason}). {how}.")
    version, vision, gpu = asked.stdout.splitlines()[-3:]
    if vision == "False":
        raise Refused(f"{sys.executable} has torch, and no torchvision. {how}.")
    if version.split(".")[:2] != tested.split(".")[:2] and not any_torch:
        here = f"torch {version} is here; the code was tested with {tested}"
        raise Refused(f"{here}. {how}; or try with this one: sh run.sh --any-torch")
    return f"torch {version} on {'the processor, as it sees no GPU' if gpu == 'False' else gpu}"


class Joined(io.RawIOBase):
    """The parts read as one file."""

    def __init__(self, files: list[Path]):
        self.waiting, self.file = list(files), io.BytesIO()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most so many; none at the end."""
        while not (content := self.file.read(size)) and self.waiting:
            self.file = io.BytesIO(self.waiting.pop(0).read_bytes())
        return content


def unpack(here: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """The archive, in a folder of its own that is whole or not there."""
    check_parts(here, manifest["parts"])
    free = shutil.disk_usage(here).free
    if free < manifest["disk"]:
        raise Refused(
            f"{here} has {free / 1e9:.1f} GB free, and {manifest['disk'] / 1e9:.1f} are needed. Free some, or move the "
            "bundle to a larger disk."
        )
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    with tarfile.open(fileobj=Joined([here / name for name in manifest["parts"]]), mode="r|") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # older releases have none
        archive.extractall(new)
    new.rename(folder)


def install(folder: Path) -> None:
    """An environment with the wheels, which sees all that this Python sees, torch above all, behind them."""
    environment = folder / "environment"
    shutil.rmtree(environment, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(environment)], env=plain(), check=False).returncode:
        raise Refused(f"{sys.executable} cannot make a virtual environment. On Debian: apt-get install python3-venv.")
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile"]
    wheels = map(str, sorted((folder / "wheels").glob("*.whl")))
    if subprocess.run(
        [*command, "--quiet", "--disable-pip-version-check", *wheels], env=plain(), check=False
    ).returncode:
        raise Refused("The wheels could not be installed, see above. The same command tries again.")
    # This Python may itself be that of a virtual environment, or find torch through PYTHONPATH: either is kept.
    own = {Path(sysconfig.get_path("stdlib")), Path(__file__).parent}
    seen = [path for path in map(Path, sys.path) if path.is_dir() and path not in own and path.name != "lib-dynload"]
    (place,) = environment.glob("lib/python*/site-packages")
    (place / "target.pth").write_text("".join(f"{path.resolve()}\n" for path in seen), encoding="utf-8")
    (folder / "installed").touch()


def plain() -> dict[str, str]:
    """The environment without what the user tells Python and pip, and without the mark of continuous integration."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "PIP_")) and n != "CI"}
    return kept | {"PIP_CONFIG_FILE": os.devnull}


def make_runs(folder: Path, options: list[str]) -> int:
    """Train; the exit code. SIGTERM, as a batch system sends it before its limit, stops the runs cleanly."""
    own = {"PYTHONPATH": str(folder / "lib"), "PYTHONUTF8": "1", "ALEXNET_DATA": str(folder / "data")}
    python, records = str(folder / "environment" / "bin" / "python"), str(folder / "records")
    command = [python, "-m", "alexnet", "runs", *options, "--store", records]
    with subprocess.Popen(command, env=plain() | own) as runs:
        signal.signal(signal.SIGTERM, lambda *_: runs.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the runs themselves
        return runs.wait()


def collect(here: Path, folder: Path, carried: list[str]) -> str:
    """The records that were made here, in one archive; what to do with it."""
    made = sorted(path for path in (folder / "records").glob("*.json") if path.stem not in carried)
    if not made:
        return "No record was made yet."
    new = here / "records.tar.gz.new"
    with tarfile.open(new, "w:gz") as archive:
        for path in made:
            for file in (path.with_suffix(".npz"), path):
                if file.exists():
                    archive.add(file, file.name)
    new.replace(here / "records.tar.gz")
    return f"{len(made)} records in {here / 'records.tar.gz'}: carry it back, and make runs RECORDS=records.tar.gz"


def main(words: list[str]) -> int:
    """Check, unpack, install, run, collect. Exit codes: 2 something is wrong, 130 stopped, else that of the runs."""
    here = Path(__file__).resolve().parent
    try:
        manifest = read_manifest(here)
        print(check_torch(manifest["torch"], "--any-torch" in words), flush=True)
        name = hashlib.sha256(json.dumps(manifest["parts"]).encode()).hexdigest()[:8]
        folder = here / f"unpacked-{name}"  # a bundle copied over another one shares nothing with it
        if not folder.exists():
            unpack(here, folder, manifest)
        if not (folder / "installed").exists():
            install(folder)
        code = make_runs(folder, [*manifest["runs"], *(word for word in words if word != "--any-torch")])
        print(collect(here, folder, manifest["records"]))
        return code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        return 130
    except Refused as error:
        print(f"run.sh: {error}", file=sys.stderr)
    except OSError as error:
        print(f"run.sh: {error}. Free the disk or check its rights; the same command goes on.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
