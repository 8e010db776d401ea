"""Where things are: every path of the project in one place."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from . import options

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
PAPER = PACKAGE / "paper"  # its claims and figures, and others', as tables
NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"
RUNS = REPORTS / "runs"
FLOAT32_RUNS = REPORTS / "runs-float32"  # repetitions that show what bfloat16 does to results
BENCH = REPORTS / "bench"
AUDITS = REPORTS / "audits"
CHECKPOINTS = ROOT / "checkpoints"  # trained networks, and what trainings under way need; never committed
DEFAULT_CHECKPOINT = CHECKPOINTS / "cifar10.safetensors"
BUILD = ROOT / "build"
SMOKE = BUILD / "smoke"


def data_folder() -> Path:
    """The folder of verified data: `ALEXNET_DATA` if set, else the user's cache folder, which clones share."""
    return options.environment("ALEXNET_DATA", platformdirs.user_cache_dir("alexnet-report"))


def runs_folder(profile: str, fresh: bool = False) -> Path:
    """Where the records of a profile lie. Smoke runs and fresh ones are made anew by each state of the training code,
    and never committed."""
    return _temporary(profile, fresh) / training_code() / "runs" if fresh or profile == "smoke" else RUNS


def pages_folder(profile: str, fresh: bool = False) -> Path:
    """Where the pages of a profile are built."""
    return _temporary(profile, fresh) / "pages" if fresh or profile == "smoke" else REPORTS


def _temporary(profile: str, fresh: bool) -> Path:
    return BUILD / "fresh" / profile if fresh else SMOKE


@functools.cache
def training_code() -> str:
    """16 hexadecimal digits that name the state of the code which trains: `runs.execution` and all it imports of us."""
    found, waiting = set(), [PACKAGE / "runs" / "execution.py"]
    while waiting:
        found.add(path := waiting.pop())
        waiting += [imported for imported in _imports(path) if imported not in found]
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(str(path.relative_to(PACKAGE)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _imports(path: Path) -> Iterator[Path]:
    """The package's modules that a module imports, inside its functions too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            named = [origin, *(origin / alias.name for alias in node.names)]
            yield from (place for name in named if (place := name.with_suffix(".py")).exists())
