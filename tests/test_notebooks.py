"""Notebooks: execution, the pair that is written, the checks, and strict comparison of what is committed."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import matplotlib.pyplot as pyplot
import nbformat
import pandas
import psutil
import pytest
import stub_notebooks

from alexnet import paths
from alexnet.errors import ReportError
from alexnet.figures import display, tables
from alexnet.report import notebooks, prose

COMMITTED = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.py"))
LONGEST = ("10", "04", "01", "11", "02", "08", "07", "03", "12")  # take longest, in this order


@pytest.fixture(scope="module")
def stubs(tmp_path_factory) -> list[Path]:
    """The two stub notebooks, executed and paired."""
    chosen = stub_notebooks.write_both(tmp_path_factory.mktemp("stubs"))
    for executed in notebooks.execute_all(chosen):
        assert notebooks.write_pair(executed)
    return chosen


def plain(folder: Path, code: str, name: str = "01_plain") -> Path:
    """A notebook with one more cell, which imports nothing of ours, so that its kernel starts at once."""
    return stub_notebooks.write(folder, **{name: stub_notebooks.PLAIN + "# %%\n" + code})[0]


codes = notebooks.code_of


# ---- execution -------------------------------------------------------------------------------------------------------


def test_pair_has_all_outputs_and_nothing_that_changes(stubs):
    for source in stubs:
        text = notebooks.pair_of(source).read_text()
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert [cell.execution_count for cell in codes(notebook)] == list(range(1, len(codes(notebook)) + 1))
        assert notebook.metadata.kernelspec.name == "python3"
        for word in ("papermill", "start_time", "duration", "iopub", str(paths.ROOT), "/tmp/", '"svg"'):
            assert word not in text, word
        assert notebooks.faults(source) == []


def test_second_execution_gives_the_same_bytes_and_a_new_cell_keeps_the_ids_of_the_others(tmp_path):
    source = plain(tmp_path, "print('one')\n")
    assert notebooks.write_pair(notebooks.execute(source))
    before = notebooks.pair_of(source).read_bytes()
    assert not notebooks.write_pair(notebooks.execute(source))
    assert notebooks.pair_of(source).read_bytes() == before
    source.write_text(source.read_text().replace("# %%\nprint", "# %% [markdown]\n# New\n\n# %%\nprint"))
    assert notebooks.faults(source), "the pair is out of step now"
    notebooks.write_pair(notebooks.execute(source))
    ids = [cell.id for cell in notebooks.read_pair(source).cells]
    old = [cell["id"] for cell in json.loads(before)["cells"]]
    assert len(ids) == len(old) + 1 and [identity for identity in ids if identity in old] == old
    assert notebooks.faults(source) == []


def test_the_users_own_settings_change_no_output(tmp_path, monkeypatch):
    """Start-up files of IPython and Python, settings of matplotlib, another kernel of the same name."""
    home = tmp_path / "home"
    start = home / ".ipython" / "profile_default" / "startup" / "00.py"
    kernel = home / "jupyter" / "kernels" / "python3" / "kernel.json"
    for file in (start, kernel, home / ".config" / "matplotlib" / "matplotlibrc"):
        file.parent.mkdir(parents=True)
    start.write_text("import pandas\npandas.options.display.precision = 1\nprint('theirs')\n")
    kernel.write_text(json.dumps({"argv": ["false"], "display_name": "theirs", "language": "python"}))
    (home / ".config" / "matplotlib" / "matplotlibrc").write_text("text.usetex: True\nno.such.key: 1\n")
    monkeypatch.setenv("HOME", str(home))
    for name, value in {
        "IPYTHONDIR": str(home / ".ipython"), "JUPYTER_PATH": str(home / "jupyter"), "MPLBACKEND": "nonsense",
        "PYTHONSTARTUP": str(start), "COLUMNS": "20",
        "JUPYTER_CONFIG_DIR": str(home), "LC_ALL": "C", "TZ": "Asia/Tokyo",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    code = """import pandas
import matplotlib.pyplot as pyplot
pyplot.figure()
print(pandas.DataFrame({"width": [0.123456], "a longer name of a column": [2]}), pyplot.rcParams["text.usetex"], "é")
"""
    executed = notebooks.execute(plain(tmp_path, code))
    first, *others = executed.notebook.cells[-1].outputs
    assert " ".join(first.text.split()) == "width a longer name of a column 0 0.123456 2 False é"
    assert [output.output_type for output in others] == ["display_data"]


def test_saving_an_unedited_pair_in_jupyterlab_changes_neither_file(tmp_path):
    """Through jupytext's contents manager, which is what JupyterLab opens and saves a pair with."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

    shutil.copy(paths.ROOT / "pyproject.toml", tmp_path)
    for source in COMMITTED:
        shutil.copy(source, tmp_path)
        shutil.copy(notebooks.pair_of(source), tmp_path)
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(tmp_path))
    for source in COMMITTED:
        pair = notebooks.pair_of(source)
        for opened in (source.name, pair.name):
            content = manager.get(opened, type="notebook")["content"]
            manager.save({"type": "notebook", "format": "json", "content": content}, opened)
            assert (tmp_path / source.name).read_bytes() == source.read_bytes()
            assert (tmp_path / pair.name).read_bytes() == pair.read_bytes()


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-8-sig", "begins with a byte-order mark; save it as UTF-8 without one"), ("utf-16", "cannot be read")],
)
def test_a_source_in_another_encoding_is_told(tmp_path, encoding, message):
    source = plain(tmp_path, "1 + 1\n")
    source.write_text(source.read_text(), encoding=encoding)
    with pytest.raises(ReportError, match=message):
        notebooks.read_source(source)


def test_parameters_reach_the_notebook_and_an_unknown_one_is_an_error(tmp_path):
    source = plain(tmp_path, "print(PROFILE, SEEDS)\n")
    executed = notebooks.execute(source, {"PROFILE": "smoke", "SEEDS": 3, "FRESH": False})
    assert executed.notebook.cells[-1].outputs[0].text == "smoke 3\n"
    with pytest.raises(ReportError, match=r"01_plain\.py has no parameter PROFIL; it has PROFILE, SEEDS, FRESH"):
        notebooks.execute(source, {"PROFIL": "smoke"})
    described = notebooks.parameters_of(notebooks.read_source(source))
    assert all(parameter["help"] for parameter in described.values()), "papermill --help-notebook shows these"


@pytest.mark.parametrize(
    ("code", "limit", "message"),
    [
        ("undefined_name\n", 60, r"01_plain\.py, code cell 2 \(undefined_name\): NameError"),
        ("import os\nos._exit(9)\n", 60, r"01_plain\.py, code cell 2 \(import os\): the kernel died"),
        ("import time\ntime.sleep(100)\n", 8, r"01_plain\.py.*: stopped at its time limit of 8 s"),
    ],
    ids=["error", "dead kernel", "time limit"],
)
def test_failure_names_notebook_and_cell_and_leaves_the_old_pair(tmp_path, code, limit, message):
    source = plain(tmp_path, code)
    notebooks.pair_of(source).write_text(nbformat.writes(notebooks.read_source(source)))
    before = notebooks.pair_of(source).read_bytes()
    with pytest.raises(notebooks.NotebookError, match=message) as caught:
        notebooks.execute_all([source], limit=limit, done=notebooks.write_pair)
    assert caught.value.exit_code == 1
    assert notebooks.pair_of(source).read_bytes() == before
    assert sorted(path.name for path in source.parent.iterdir()) == ["01_plain.ipynb", "01_plain.py"]
    family = psutil.Process().children(recursive=True)
    assert not [child for child in family if child.ppid() != os.getpid()], "a kernel was left behind"


def test_source_without_a_parameters_cell_or_an_unknown_name_is_refused(tmp_path):
    (source,) = stub_notebooks.write(tmp_path, **{"01_plain": "# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n"})
    with pytest.raises(ReportError, match="tag the first code cell as parameters"):
        notebooks.read_source(source)
    with pytest.raises(ReportError, match="No notebook named 09_none; there are 01_plain"):
        notebooks.sources(source.parent, ["09_none"])
    with pytest.raises(ReportError, match=r"No notebook NN_name\.py"):
        notebooks.sources(tmp_path)


# ---- checks ----------------------------------------------------------------------------------------------------------


def doctored(source: Path, folder: Path, change) -> Path:
    """A copy of a notebook and its pair, with `change` applied to the pair."""
    shutil.copytree(source.parent, folder / "notebooks", dirs_exist_ok=True)
    copy = folder / "notebooks" / source.name
    notebook = notebooks.read_pair(copy)
    change(notebook)
    nbformat.write(notebook, notebooks.pair_of(copy))
    return copy


def last(notebook) -> nbformat.NotebookNode:
    return codes(notebook)[-1]


def never_ran(notebook) -> None:
    last(notebook).update(execution_count=None, outputs=[])


def says(output_type: str, **content):
    """A change that adds an output to the last cell."""
    return lambda notebook: last(notebook).outputs.append(nbformat.v4.new_output(output_type, **content))


def result(text: str):
    """A change of what the last cell gives."""
    return lambda notebook: last(notebook).outputs[0].data.update({"text/plain": text})


def source(text: str, cell: int = -1):
    """A change of a cell's text: {} stands for what it was."""
    return lambda notebook: notebook.cells[cell].update(source=text.format(notebook.cells[cell].source))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda notebook: last(notebook).update(execution_count=None, outputs=[]),
            "was not executed from top to bottom",
        ),
        (source("{} + 1"), r"and its .ipynb differ"),
        (says("stream", name="stderr", text="Warning: old"), "writes to stderr"),
        (source("# NBVAL_IGNORE_OUTPUT\n{}"), "hides its output from nbval"),
        (says("display_data", data={"image/png": "AAAA"}), "draws a figure without alt text"),
        (result("<object object at 0x7f1234567890>"), "prints an object's address"),
        (result("/home/someone/data"), "prints a path of the machine"),
        (source("{}\n\nOurs errs in 17.31% of the cases.", 0), "17.31% is in no record"),
    ],
    ids=["never ran", "out of step", "warns", "hides", "without alt", "address", "home", "result in prose"],
)
def test_each_fault_of_a_committed_notebook_is_named(stubs, tmp_path, change, message):
    copy = doctored(stubs[1], tmp_path, change)
    found = "; ".join(notebooks.faults(copy))
    assert message in found and found.startswith("02_tables: ")


def test_missing_and_damaged_pairs_are_named(tmp_path):
    source = plain(tmp_path, "1\n")
    assert notebooks.faults(source) == ["01_plain.ipynb is missing; run `make notebooks`."]
    notebooks.pair_of(source).write_text('{"cells": [')
    with pytest.raises(notebooks.NotebookError, match=r"01_plain\.ipynb is damaged"):
        notebooks.faults(source)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The error falls from 13% to 11%.", [("13%", 13), ("11%", 11)]),
        ("It is six times faster, in 7 epochs.", [("six times", 6), ("7 epochs", 7)]),
        ("A gain of 1.7 points.", [("1.7 points", 1.7)]),
        ("Over 60,965,224 parameters.", [("60,965,224 parameters", 60965224)]),
        ("A rate of 0.01 and 5e-4.", [("0.01", 0.01), ("5e-4", 5e-4)]),
        ("Section 3.1, figures 1 and 2, Python 3.11, layers 2, 4 and 5 in 2012 on CIFAR-10.", []),
        ("Five layers of 96 filters on 227 pixels, `0.5` in code, $k = 2.5$ in a formula.", []),
        ("[13% less](page.html#at-7.5-epochs) but not <b style='width: 3.5em'>", [(["13%", "less"][0], 13)]),
    ],
)
def test_what_in_prose_looks_like_a_result(text, found):
    assert list(prose.results_in(text)) == found


def test_numbers_are_vouched_for_by_claims_records_and_printed_outputs(tmp_path):
    (tmp_path / "claims.toml").write_text("[[claim]]\nvalue = 6.0\nstatement = 'from 13% to 11%'\n")
    (tmp_path / "published.toml").write_text("")
    (tmp_path / "abc.json").write_text('{"spec": {"recipe": {"learning_rate": 0.002}}, "final": {"error": 0.1731}}')
    known = prose.committed_numbers(tmp_path, tmp_path)
    assert {6.0, 13.0, 11.0, 0.002} <= known and 0.1731 not in known, "a result must be printed, not typed"
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("display_data", data={"text/plain": "error 17.31%", "text/html": "<b>9.5</b>"})
    notebook.cells = [
        nbformat.v4.new_code_cell("1", outputs=[output]),
        nbformat.v4.new_markdown_cell("It errs in 17.31% of cases, 9.5 points more than 4.4%, after 123.4 epochs."),
    ]
    assert prose.strays(notebook) == [("cell 2", "4.4%"), ("cell 2", "123.4 epochs")]


# ---- what a notebook shows -------------------------------------------------------------------------------------------


def test_figure_carries_alt_text_and_a_digest_of_what_is_drawn():
    def draw(last: float):
        _, axes = pyplot.subplots()
        axes.plot([1, 2, 3], [0.5, 0.25, last])
        return display.bundle(axes, "The error falls with every epoch of the training.")

    data, metadata = draw(0.125)
    again, _ = draw(0.125 + 1e-15)
    other, _ = draw(0.126)
    assert metadata["image/png"]["alt"] == "The error falls with every epoch of the training."
    assert metadata["image/png"]["width"] > 200 and "photograph" not in metadata["image/png"]
    assert data == again, "rounding in the last bit is not a change"
    assert data["text/plain"] != other["text/plain"], "another value is"
    assert not pyplot.get_fignums(), "shown once, not again at the end of the cell"
    with pytest.raises(ReportError, match="too short"):
        display.bundle(pyplot.figure(), "A plot")
    pyplot.close("all")


def table(caption: str = "", formats: dict | None = None, **columns: list) -> str:
    """A table of these columns as HTML."""
    frame = pandas.DataFrame(columns)
    return tables.html(tables.formatted(frame, formats or {}), frame, caption)


def test_table_is_clean_html_and_aligned_text():
    columns = {"arm": ["<relu>", "tanh"], "epochs": [7.256, None], "verdict": ["reproduced", "odd"]}
    html = table("Epochs & arms", {"epochs": ".1f"}, **columns)
    assert "<caption>Epochs &amp; arms</caption>" in html and "&lt;relu&gt;" in html and "style" not in html
    assert '<td class="number">7.3</td>' in html and '<td class="number">–</td>' in html
    assert '<span class="verdict verdict-reproduced">reproduced</span>' in html
    assert '<span class="verdict verdict-other">odd</span>' in html
    assert 'class="long"' not in html
    cells = tables.formatted(pandas.DataFrame(columns), {})
    assert tables.plain(cells, "Epochs").splitlines()[0] == "Epochs"


def test_an_interval_stays_on_one_line():
    html = table(ours=["-0.15 [-1.54, 1.24], n = 3", "60,965,224"])
    assert '-0.15 <span class="whole">[-1.54, 1.24]</span>, <span class="whole">n = 3</span>' in html
    assert html.count("whole") == 2


def test_a_column_of_sentences_is_marked_so_that_small_screens_keep_it_readable():
    html = table(arm=["relu", "tanh"], why=["short", "long " * 12], epochs=[7, 45])
    assert '<th scope="col" class="long">why</th>' in html and html.count('<td class="long">') == 2
    assert '<th scope="row">relu</th>' in html and '<td class="number">7</td>' in html


# ---- strict comparison -----------------------------------------------------------------------------------------------


def nbval(pairs: list[Path], folder: Path, *options: str) -> dict[str, dict[int, str]]:
    """Re-execute notebooks and compare every output: notebook to code cell number to "" or what differs."""
    result = folder / "nbval.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", *map(str, pairs), "-q", "--color=no"]
    command += ["-p", "patient_nbval", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "junit_family=xunit1"]
    command += ["--rootdir", str(pairs[0].parent), f"--junitxml={result}", *options]
    path = os.pathsep.join([str(Path(__file__).parent), str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=pairs[0].parent, env=environment)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {pair.stem: {} for pair in pairs}
    for case in xml.etree.ElementTree.parse(result).getroot().iter("testcase"):
        assert case.find("skipped") is None, "no cell may be skipped"
        failure = case.find("failure") if case.find("failure") is not None else case.find("error")
        number = int(case.attrib["name"].split()[-1]) + 1
        found[Path(case.attrib["file"]).stem][number] = "" if failure is None else failure.text or "failed"
    return found


def test_nbval_passes_an_honest_copy_and_catches_each_doctored_output(stubs, tmp_path):
    def doctor(notebook):
        table, text, value = codes(notebook)[1:]
        table.outputs[0].data["text/html"] = table.outputs[0].data["text/html"].replace("7.2", "6.2")
        text.outputs[0].text = text.outputs[0].text.replace("conv1", "conv9")
        value.outputs[0].data["text/plain"] = "123.35"

    def redraw(notebook):  # as if the figure had been drawn from other data
        curves = codes(notebook)[1].outputs[0]
        curves.data["text/plain"] = curves.data["text/plain"][:-3] + "00]"
        pictures = codes(notebook)[2]  # words of the whole figure are not in its digest
        twice = "figure.text(0, 0.2, 'one word')\nfigure.text(0.05, 0.2, 'another')\ndisplay.show"
        pictures.source = pictures.source.replace("display.show", twice)

    pairs = zip(stubs, (redraw, doctor), strict=True)
    found = nbval([notebooks.pair_of(doctored(stub, tmp_path / stub.stem, change)) for stub, change in pairs], tmp_path)
    wrong = {name: [number for number, failure in cells.items() if failure] for name, cells in found.items()}
    assert wrong == {"01_figures": [2, 3], "02_tables": [2, 3, 4]}
    assert found["01_figures"][1] == found["02_tables"][1] == ""
    assert "words of a figure cannot be read: 'one word' lies on 'another'" in found["01_figures"][3]


@pytest.mark.parametrize("source", COMMITTED, ids=lambda source: source.stem)
def test_committed_notebook_is_executed_in_step_and_clean(source):
    assert notebooks.faults(source) == []


@pytest.fixture(scope="module")
def compared(request, tmp_path_factory) -> dict[str, dict[int, str]]:
    """What nbval finds in all committed notebooks that are to be compared, two at a time."""
    wanted = {item.callspec.params["source"] for item in request.session.items if "compared" in item.fixturenames}
    places = {number: place for place, number in enumerate(LONGEST)}
    ordered = sorted(wanted, key=lambda source: (places.get(source.stem[:2], len(places)), source))
    options = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    return nbval([notebooks.pair_of(source) for source in ordered], tmp_path_factory.mktemp("nbval"), *options)


@pytest.mark.parametrize("source", COMMITTED, ids=lambda source: source.stem)
def test_committed_notebook_repeats_every_output(source, compared, counts):
    found = compared[source.stem]
    committed = codes(notebooks.read_pair(source))
    assert list(found) == list(range(1, len(committed) + 1)), "every code cell is compared"
    assert [f"cell {number}:\n{failure}" for number, failure in found.items() if failure] == []
    counts["notebook cells compared"] += len(found)
    counts["notebook outputs compared"] += sum(len(cell.outputs) for cell in committed)
