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
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from .. import paths

FORKSERVER = multiprocessing.get_context("forkserver")
THEIRS = ("COLUMNS", "IPYTHON", "JUPYTER", "LINES", "MPLBACKEND", "PYTHONSTARTUP")  # no setting of the user's has a say
OURS = {"IPYTHONDIR": str(paths.BUILD / "ipython"), "MATPLOTLIBRC": os.devnull}


@functools.cache
def use() -> None:
    """From now on, fork the kernels that this process starts."""
    # On other systems, libraries of the system may start threads when they are loaded.
    FORKSERVER.set_forkserver_preload([f"{__package__}.warm_imports"] if sys.platform == "linux" else [])
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
        os.environ.update({name: value for name, value in self.environment.items() if not name.startswith(THEIRS)})
        os.environ.update(OURS)
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
        """Fork it, whatever the command: the user may have another kernel of the name python3."""
        manager: Any = self.parent
        folder = str(options.get("cwd") or os.getcwd())
        self.process = KernelProcess(manager.connection_file, folder, options["env"])
        self.process.start()
        self.pid, self.cwd = self.process.pid, folder
        return self.connection_info
