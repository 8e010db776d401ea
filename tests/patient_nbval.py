"""A pytest plugin for nbval: forked kernels; on a busy machine one may need more than nbval's five seconds to hand over
output."""

from alexnet.report import warm_kernels


def pytest_configure(config):
    warm_kernels.use()


def pytest_collection_modifyitems(items):
    for item in items:
        item.output_timeout = 120
