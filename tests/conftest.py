"""What all tests share: counts that are printed at the end, and a data set small enough to train on in no time."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import small
import torch

COUNTS = pytest.StashKey[Counter]()


# Files that take longest, first: were one of them left to the end, the other processes would wait for its own.
LONGEST = (
    "test_notebooks.py", "test_pages.py", "test_report.py", "test_runs.py", "test_bundle.py", "test_audit.py",
    "test_make.py", "test_imagenet.py", "test_transfer.py", "test_try_it.py", "test_setup.py", "test_published_runs.py",
    "test_fastai_habits.py", "test_features.py", "test_bench.py", "test_predicting.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first; within a file all stays in its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: no search for garbage has to look through it again, and runs ask for many."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counter()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of several that share the tests hands its counts to the one that started it."""
    given = getattr(session.config, "workeroutput", None)
    if given is not None:
        given["counts"] = dict(session.config.stash[COUNTS])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Adds a process's counts to those of the others; one that crashed has none."""
    node.config.stash[COUNTS].update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash[COUNTS]
    if counts:
        terminalreporter.write_line(", ".join(f"{name}: {counts[name]}" for name in sorted(counts)))


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counter:
    """Counts to print at the end of the run, as in counts["kills survived"] += 1."""
    return pytestconfig.stash[COUNTS]


@pytest.fixture
def bad_input(counts: Counter) -> None:
    """Asked for by a test that tries one bad input."""
    counts["bad inputs tried"] += 1


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_data(one_thread: None) -> Iterator[None]:
    """A small data set in the place of CIFAR-10; one thread and no GPU, so that runs can be compared bit by bit."""
    with pytest.MonkeyPatch.context() as patch:
        small.install(patch)
        yield
    small.forget()
