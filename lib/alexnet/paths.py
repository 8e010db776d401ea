"""Where things are: every path of the project in one place."""

from pathlib import Path

import platformdirs

from . import options

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
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
    """Where the records of a profile lie. Smoke runs and fresh ones are made anew and never committed."""
    return _temporary(profile, fresh) / "runs" if fresh or profile == "smoke" else RUNS


def pages_folder(profile: str, fresh: bool = False) -> Path:
    """Where the pages of a profile are built."""
    return _temporary(profile, fresh) / "pages" if fresh or profile == "smoke" else REPORTS


def _temporary(profile: str, fresh: bool) -> Path:
    return BUILD / "fresh" / profile if fresh else SMOKE
