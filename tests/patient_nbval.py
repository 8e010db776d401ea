"""A pytest plugin for nbval: forked kernels, in which the words of each figure are measured; on a busy machine one may
need more than nbval's five seconds to hand over output.

nbval compares what figures say of themselves, and no pictures, so each is drawn once and handed over in part.
"""

import io

import drawn_labels

from alexnet.figures import display
from alexnet.report import warm_kernels

# In the process that kernels are forked from too, which imports this.
drawn_labels.watch()
display._with_palette, display._vector = io.BytesIO.getvalue, lambda figure, whole: ""


def pytest_configure(config):
    warm_kernels.use()
    warm_kernels.FORKSERVER.set_forkserver_preload([f"{warm_kernels.__package__}.warm_imports", __name__])


def pytest_collection_modifyitems(items):
    for item in items:
        item.output_timeout = 120
