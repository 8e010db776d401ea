"""A pytest plugin for nbval: forked kernels, in which the words of each figure are measured; on a busy machine one may
need more than nbval's five seconds to hand over output."""

import drawn_labels

from alexnet.report import warm_kernels

drawn_labels.watch()  # in the process that kernels are forked from too, which imports this


def pytest_configure(config):
    warm_kernels.use()
    warm_kernels.FORKSERVER.set_forkserver_preload([f"{warm_kernels.__package__}.warm_imports", __name__])


def pytest_collection_modifyitems(items):
    for item in items:
        item.output_timeout = 120
