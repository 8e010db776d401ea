"""Notebooks: from the paired source `NN_name.py` to the executed `NN_name.ipynb`, and the checks that keep them honest.

The flow goes one way. A notebook is edited as text (jupytext, py:percent), papermill executes it in a process of its
own into a temporary file, and only a notebook that ran to its end replaces the committed one. What is written holds
nothing that changes from one execution to the next: no timings, no paths, and the cell ids of the file it replaces.
"""

import concurrent.futures
import dataclasses
import hashlib
import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .. import paths
from ..errors import RecordError, ReportError
from ..records.files import write_atomically
from ..training import machine
from . import prose, warm_kernels

TIME_LIMIT = 900.0  # seconds a notebook may take; from committed records each takes seconds
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
UNWRITTEN = "-jupytext.text_representation,-jupytext.notebook_metadata_filter"  # in a source; as in pyproject.toml
MACHINE_TRACES = {
    "an object's address": re.compile(r"\bat 0x[0-9a-f]{6,}"),
    "a path of the machine": re.compile(r"(?<![\w.])/(?:home|root|tmp|Users|usr/lib)/\S+"),
}
NBVAL_MARKERS = ("NBVAL_IGNORE_OUTPUT", "NBVAL_SKIP", "NBVAL_RAISES_EXCEPTION", "PYTEST_VALIDATE_IGNORE_OUTPUT")


class NotebookError(ReportError):
    """A notebook failed while it ran, or a committed one fails a check: not the user's input, so exit code 1."""

    exit_code = 1


# ---- sources ---------------------------------------------------------------------------------------------------------


def sources(folder: Path = paths.NOTEBOOKS, only: Sequence[str] | None = None) -> list[Path]:
    """The notebook sources `NN_name.py` in reading order; `only` names some of them (with or without a suffix)."""
    by_name = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.py"))}
    if not by_name:
        raise ReportError(f"No notebook NN_name.py in {folder}; run this from a clone of the repository.")
    wanted = by_name if only is None else [Path(name).stem for name in only]
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ReportError(f"No notebook named {', '.join(unknown)}; there are {', '.join(by_name)}.")
    return [by_name[name] for name in wanted]


def pair_of(source: Path) -> Path:
    """The executed notebook that belongs to a source."""
    return source.with_suffix(".ipynb")


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_source(source: Path) -> NotebookNode:
    """The notebook of a py:percent source, with the cell ids of its executed pair where the cells still match.

    Raises ReportError when the file is no notebook or its first code cell is not tagged `parameters`.
    """
    import jupytext

    try:
        text = source.read_text(encoding="utf-8")
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:
        raise ReportError(f"{source.name} cannot be read as a notebook: {error}") from error
    if text.startswith("\ufeff"):
        raise ReportError(f"{source.name} begins with a byte-order mark; save it as UTF-8 without one.")
    code = code_of(notebook)
    if not code or "parameters" not in code[0].metadata.get("tags", []):
        raise ReportError(f'{source.name}: tag the first code cell as parameters (`# %% tags=["parameters"]`).')
    return with_stable_ids(notebook, read_pair(source))


def read_pair(source: Path) -> NotebookNode | None:
    """The executed notebook of a source, or None when there is none yet; a damaged one is named and refused."""
    pair = pair_of(source)
    if not pair.exists():
        return None
    try:
        return nbformat.read(pair, as_version=4)
    except Exception as error:
        raise NotebookError(f"{pair.name} is damaged ({error}); delete it and run `make notebooks`.") from error


def with_stable_ids(notebook: NotebookNode, previous: NotebookNode | None) -> NotebookNode:
    """Give each cell the id it had in `previous`, and a new cell an id derived from its text."""
    from jupytext.combine import combine_inputs_with_outputs

    kept: set[str] = set()
    if previous is not None:
        kept = {cell.id for cell in previous.cells if "id" in cell}
        previous.nbformat_minor = notebook.nbformat_minor = 5
        notebook = combine_inputs_with_outputs(notebook, previous, fmt="py:percent")
    taken: set[str] = set()
    for cell in notebook.cells:
        if cell.get("id") not in kept or cell.id in taken:
            cell["id"] = _id_from_text(cell, taken)
        taken.add(cell.id)
    notebook.nbformat_minor = 5
    return notebook


def _id_from_text(cell: NotebookNode, taken: set[str]) -> str:
    attempts = (hashlib.sha256(f"{cell.cell_type}{n}{cell.source}".encode()).hexdigest()[:8] for n in range(1000))
    return next(attempt for attempt in attempts if attempt not in taken)


# ---- parameters ------------------------------------------------------------------------------------------------------


def parameters_of(notebook: NotebookNode) -> dict[str, Any]:
    """The parameters that a notebook declares: name to papermill's description (default, type, help)."""
    from papermill import inspect_notebook

    notebook.metadata["kernelspec"] = dict(KERNEL)
    notebook.metadata["language_info"] = dict(LANGUAGE)
    with tempfile.TemporaryDirectory(prefix="alexnet-notebook-") as folder:
        nbformat.write(notebook, Path(folder) / "given.ipynb")
        return inspect_notebook(Path(folder) / "given.ipynb")


def check_parameters(source: Path, notebook: NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Raise ReportError for a parameter the notebook does not declare; papermill alone would only warn."""
    known = parameters_of(notebook)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ReportError(f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}.")


# ---- execution -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Executed:
    """A notebook that ran to its end."""

    source: Path
    notebook: NotebookNode
    seconds: float  # wall time, the start of the kernel included


def execute(source: Path, parameters: Mapping[str, Any] | None = None, limit: float = TIME_LIMIT) -> Executed:
    """Run one notebook from top to bottom in a fresh kernel; nothing is written beside the source.

    Raises ReportError for an unknown parameter and NotebookError, with the cell, when a cell fails, the kernel dies,
    or the notebook takes more than `limit` seconds.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = read_source(source)
    check_parameters(source, notebook, parameters or {})
    warm_kernels.use()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alexnet-notebook-") as folder:
        given, result = Path(folder) / "given.ipynb", Path(folder) / "result.ipynb"
        nbformat.write(notebook, given)
        try:
            executed = papermill.execute_notebook(
                given,
                result,
                dict(parameters or {}),
                kernel_name="python3",
                progress_bar=False,
                coalesce_streams=True,  # where the kernel cuts them depends on the clock
                start_timeout=120,
                timeout_func=lambda cell: max(0.1, started + limit - time.monotonic()),  # what is left for a cell
                resources={"metadata": {"path": str(source.parent)}},
            )
        except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
            if isinstance(error, CellTimeoutError):
                problem = f"stopped at its time limit of {limit:g} s; raise it with --limit SECONDS."
            elif isinstance(error, DeadKernelError):
                problem = "the kernel died (often: out of memory); close other programs and try again."
            else:
                problem = f"{error.ename}: {error.evalue}"
            raise NotebookError(f"{source.name}{_last_cell(result)}: {problem}") from error
    return Executed(source, clean(executed, notebook), time.monotonic() - started)


def _last_cell(result: Path) -> str:
    """The last cell that was started, as in ", code cell 3 (first line of it)".

    Its status would not do: after a dead kernel papermill marks every cell as completed.
    """
    code = code_of(nbformat.read(result, as_version=4))
    started = [n for n, cell in enumerate(code) if cell.metadata.get("papermill", {}).get("start_time")]
    if not started:
        return ""
    lines = code[started[-1]].source.strip().splitlines() or ["empty"]
    return f", code cell {started[-1] + 1} ({lines[0].strip()[:60]})"


def clean(executed: NotebookNode, source: NotebookNode) -> NotebookNode:
    """Keep of an executed notebook only what the next execution repeats: text, outputs, counts, ids and tags.

    Beside them stands what JupyterLab writes when it saves a pair, so that saving an unedited one changes neither file.
    """
    ids = {cell.id for cell in source.cells}
    for cell in executed.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("papermill")]
        blank_lines = {name: value for name, value in cell.metadata.items() if name == "lines_to_next_cell"}
        cell.metadata = NotebookNode(blank_lines | ({"tags": tags} if tags else {}))
        if cell.get("id") not in ids:  # only the cell of injected parameters is new here
            cell["id"] = _id_from_text(cell, ids)
    formats = source.metadata.get("jupytext", {}).get("formats", "ipynb,py:percent")
    jupytext = {"formats": formats, "notebook_metadata_filter": UNWRITTEN}
    metadata = {"jupytext": jupytext, "kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE)}
    return nbformat.from_dict({"cells": executed.cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def execute_all(
    chosen: Sequence[Path],
    parameters: Mapping[str, Any] | None = None,
    limit: float = TIME_LIMIT,
    workers: int | None = None,
    done: Callable[[Executed], None] = lambda executed: None,
) -> list[Executed]:
    """Run notebooks, `workers` at a time (by default one a core, at most two), and return them in the given order.

    Every parameter of every notebook is checked before the first kernel starts. `done` is called in this thread as
    each finishes. The first failure is raised once the notebooks that were running have ended.
    """
    for source in chosen:
        check_parameters(source, read_source(source), parameters or {})
    workers = workers or min(2, machine.cores())
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(execute, source, parameters, limit) for source in chosen]
        try:
            for future in concurrent.futures.as_completed(futures):
                done(future.result())
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C
                warm_kernels.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def write_pair(executed: Executed) -> bool:
    """Put the executed notebook beside its source in one step; True when the file changed. The vector drawings of its
    figures, which only pages show, are left out."""
    pair = pair_of(executed.source)
    for output in (output for cell in code_of(executed.notebook) for output in cell.outputs):
        output.get("metadata", {}).get("image/png", {}).pop("svg", None)
    text = nbformat.writes(executed.notebook, indent=1, ensure_ascii=False).rstrip("\n") + "\n"
    if pair.exists() and pair.read_text(encoding="utf-8") == text:
        return False
    try:
        write_atomically(pair, text.encode())
    except RecordError as error:
        raise ReportError(f"{error} The previous one is untouched.") from error
    return True


# ---- checks ----------------------------------------------------------------------------------------------------------


def faults(source: Path) -> list[str]:
    """Everything wrong with a committed notebook, one sentence each; empty when it can be relied on."""
    executed = read_pair(source)
    if executed is None:
        return [f"{pair_of(source).name} is missing; run `make notebooks`."]
    found = [*out_of_step(source, executed), *never_executed(executed), *unclean_outputs(executed)]
    found += [f"{where}: {number} is in no record and no table of claims" for where, number in prose.strays(executed)]
    return [f"{source.stem}: {fault}" for fault in found]


def out_of_step(source: Path, executed: NotebookNode) -> list[str]:
    """Where the text of the pair differs from its source (jupytext's comparison)."""
    from jupytext.compare import NotebookDifference, compare_notebooks

    text = read_source(source)
    text.metadata = executed.metadata  # written by `clean`, whatever the source's header says
    try:
        compare_notebooks(executed, text, fmt="py:percent", compare_outputs=False)
    except NotebookDifference as difference:
        lines = [line for line in str(difference).splitlines() if line.strip()]
        return [f"{source.name} and its .ipynb differ ({lines[0].strip()}); run `make notebooks`"]
    return []


def never_executed(executed: NotebookNode) -> list[str]:
    """Code cells without an execution count, or counted out of order: nbval would pass over them unseen."""
    return [
        f"code cell {number} was not executed from top to bottom (count {cell.execution_count})"
        for number, cell in enumerate(code_of(executed), start=1)
        if cell.execution_count != number
    ]


def unclean_outputs(executed: NotebookNode) -> list[str]:
    """Outputs that a reader should not see or that the next execution would not repeat."""
    found = []
    for number, cell in enumerate(code_of(executed), start=1):
        said = [f"hides its output from nbval ({marker})" for marker in NBVAL_MARKERS if marker in cell.source]
        for output in cell.outputs:
            if output.output_type == "error":
                said.append(f"ended in an error ({output.ename})")
            if output.output_type == "stream" and output.name == "stderr":
                said.append(f"writes to stderr ({output.text.strip()[:60]})")
            if "image/png" in output.get("data", {}) and not output.metadata.get("image/png", {}).get("alt"):
                said.append("draws a figure without alt text; use figures.show(figure, alt)")
            for name, pattern in MACHINE_TRACES.items():
                if match := pattern.search(prose.output_text(output)):
                    said.append(f"prints {name} ({match.group()[:60]})")
        found += [f"code cell {number} {words}" for words in said]
    return found


# ---- command line ----------------------------------------------------------------------------------------------------


def run(arguments: Namespace) -> int:
    """`python -m alexnet notebooks`: execute the sources and write their pairs, or check what is committed."""
    chosen = sources(only=arguments.only)
    if arguments.check:
        found = [fault for source in chosen for fault in faults(source)]
        if found:
            raise NotebookError("; ".join(found))
        print(f"Checked {len(chosen)} notebooks: in step, executed, clean, every number accounted for.")
        return 0
    written = []

    def done(executed: Executed) -> None:
        written.append(write_pair(executed))
        ending = "written" if written[-1] else "unchanged"
        print(f"{executed.source.stem}: executed in {executed.seconds:.0f} s, {ending}")

    started = time.monotonic()
    execute_all(chosen, limit=arguments.limit, workers=arguments.workers, done=done)
    took = time.monotonic() - started
    print(f"Notebooks: {len(chosen)} executed in {took:.0f} s, {sum(written)} changed, in {chosen[0].parent}")
    return 0
