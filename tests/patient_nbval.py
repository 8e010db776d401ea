"""A pytest plugin for nbval: on a busy machine a kernel may need more than nbval's five seconds to hand over output."""


def pytest_collection_modifyitems(items):
    for item in items:
        item.output_timeout = 120
