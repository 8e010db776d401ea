"""The library's rooms: who may import whom, and that nothing lies about beside them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from alexnet import paths

# From the foundations up: a room imports from itself, from the rooms before it and from the loose modules.
ROOMS = (
    "paper", "records", "networks", "data", "training", "runs", "statistics", "experiments", "audit", "figures",
    "imagenet", "prediction", "bench", "report",
)  # fmt: skip
LOOSE = {"__init__", "__main__", "errors", "paths"}
LOW = {"errors", "paths"}  # what rooms may import of the loose modules
MODULES = sorted(paths.PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of ours that a module imports, functions' and type checkers' imports too, as parts of their names."""
    here = path.relative_to(paths.PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            parts = tuple(filter(None, origin))
            folder = paths.PACKAGE.joinpath(*parts)
            for alias in node.names:
                inside = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                yield (*parts, alias.name) if inside else parts


def test_the_tree_holds_the_rooms_and_four_modules() -> None:
    assert {path.stem for path in paths.PACKAGE.glob("*.py")} == LOOSE
    assert {path.parent.name for path in paths.PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(paths.PACKAGE)))
def test_a_module_imports_from_its_own_room_and_those_below(path: Path) -> None:
    here = path.relative_to(paths.PACKAGE).parts
    if len(here) == 1:
        return  # the face of the library and its commands know every room; errors and paths are checked below
    below = {*ROOMS[: ROOMS.index(here[0]) + 1], *LOW}
    above = [".".join(parts) for parts in imported(path) if parts and parts[0] not in below]
    assert not above, f"{'/'.join(here)} imports {', '.join(above)}"


def test_the_loose_modules_import_no_room() -> None:
    for name in LOW:
        assert {parts[0] for parts in imported(paths.PACKAGE / f"{name}.py")} <= LOW


def test_no_modules_import_each_other_in_a_circle() -> None:
    def named(path: Path) -> tuple[str, ...]:
        return path.relative_to(paths.PACKAGE).with_suffix("").parts

    waiting = {named(path): set(imported(path)) - {named(path)} for path in MODULES}
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert not waiting, f"in circles: {', '.join('.'.join(module) for module in waiting)}"
