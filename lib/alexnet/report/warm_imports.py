"""What the process that notebook kernels are forked from imports: what is slow, and is the same in every notebook.

None of it may look whether it runs in a notebook, as fastcore and fastprogress do when they are imported, and none may
start a thread that a fork would lose (those of OpenBLAS stop at a fork and start anew).
"""

import gc
import importlib
import os

os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as in a kernel; matplotlib reads it once
os.environ["MATPLOTLIBRC"] = os.devnull  # the user's own settings change no figure
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # kernels share the cores; threads that wait must not spin
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else the debugger warns on stderr about frozen modules

for _name in (
    "alexnet.networks.anatomy", "alexnet.paper.claims", "alexnet.records.store", "ipykernel.kernelapp",
    "matplotlib.pyplot", "pandas", "plum", "pydantic", "requests", "scipy.stats", "seaborn", "sklearn.model_selection",
    "starlette.responses", "torch", "torch._dynamo", "torchinfo", "yaml",
):  # fmt: skip
    importlib.import_module(_name)

importlib.import_module("alexnet.training.machine").keep_freed_memory()  # kernels build networks of 60 million weights
gc.freeze()  # a kernel that looks for garbage shall not look through, and so copy, all that was imported here
