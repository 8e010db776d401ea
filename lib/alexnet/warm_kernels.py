"""Notebook kernels forked from one process that has imported what is slow to import.

Each kernel is a process of its own with an empty namespace; only the start and the imports are paid once. They are
forked by a process that does nothing else (Python's fork server), so no thread or lock is cut off in its work. After
`use()` papermill, nbval and whoever else starts kernels in this process get such ones.
"""

import atexit
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from . import paths

FORKSERVER = multiprocessing.get_context("forkserver")


@functools.cache
def settings() -> Path:
    """A folder for the settings of this process's kernels; removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="alexnet-kernels-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def environment(folder: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a kernel that sees this library and none of the user's own settings of IPython, Jupyter,
    matplotlib and Python; `folder`, an empty one, is where it finds its settings instead."""
    theirs = (
        "IPYTHON", "JUPYTER", "MPLBACKEND", "PAPERMILL", "COLUMNS", "LINES",
        "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP", "PYTHONWARNINGS",
    )  # fmt: skip
    kept = {name: value for name, value in given.items() if not name.startswith(theirs)}
    (folder / "matplotlibrc").touch()
    own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), str(folder))
    return kept | own | {
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel named python3 is this Python
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger warns on stderr with frozen modules
        "PYTHONPATH": os.pathsep.join(filter(None, [str(paths.PACKAGE.parent), given.get("PYTHONPATH")])),
        "PYTHONUTF8": "1",
    }  # fmt: skip


@functools.cache
def use() -> None:
    """From now on, fork the kernels that this process starts."""
    # On other systems, libraries of the system may start threads when they are loaded.
    FORKSERVER.set_forkserver_preload([f"{__package__}.warm_imports"] if sys.platform == "linux" else [])
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(settings(), before))  # matplotlib reads the user's settings when it is imported
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:ForkedKernel", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"
    atexit.register(stop)  # else Python would wait for a kernel that was left


def stop() -> None:
    """Kill the kernels that this process has started."""
    for process in multiprocessing.active_children():
        if isinstance(process, KernelProcess):
            process.send_signal(signal.SIGKILL)


class KernelProcess(FORKSERVER.Process):  # type: ignore[name-defined]
    """An IPython kernel, with the methods of `subprocess.Popen` that jupyter_client calls."""

    stdin = stdout = stderr = None

    def __init__(self, connection_file: str, folder: str, environment: Mapping[str, str]):
        super().__init__()
        self.connection_file, self.folder, self.environment = connection_file, folder, dict(environment)

    def run(self) -> None:
        """In the forked process: serve cells until told to stop."""
        from ipykernel.kernelapp import IPKernelApp

        os.setsid()  # a process group of its own, as jupyter_client gives kernels
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        silence = os.open(os.devnull, os.O_RDWR)  # what cells print goes to the notebook
        for stream in range(3):
            os.dup2(silence, stream)
        IPKernelApp.launch_instance(["-f", self.connection_file, f"--IPKernelApp.parent_handle={os.getppid()}"])

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.exitcode

    def wait(self) -> int | None:
        """The exit code, when it has ended."""
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and to all processes it has started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has ended, or has just been forked
            if self.is_alive():
                os.kill(self.pid, number)


class ForkedKernel(LocalProvisioner):
    """Forks a kernel where jupyter_client would start a new Python."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        """Fork it; of the command only the connection file matters."""
        folder = str(options.get("cwd") or os.getcwd())
        connection, isolated = cmd[cmd.index("-f") + 1], environment(settings(), options["env"])
        self.process = KernelProcess(connection, folder, isolated)
        self.process.start()
        self.pid, self.cwd = self.process.pid, folder
        return self.connection_info
