"""The library's rooms: who may import whom, and that nothing lies about beside them."""

import re

import pytest

from alexnet import paths

# From the foundations up: a room imports from itself, from the rooms before it and from the loose modules.
ROOMS = (
    "paper", "records", "networks", "data", "training", "runs", "statistics", "experiments", "audit", "bundle",
    "figures", "imagenet", "prediction", "bench", "report",
)  # fmt: skip
LOOSE = {"__init__", "__main__", "errors", "paths"}
LOW = {"errors", "paths"}  # what rooms may import of the loose modules
MODULES = {str(path.relative_to(paths.PACKAGE)): path for path in sorted(paths.PACKAGE.rglob("*.py"))}
MAP = {  # the table of CONTRIBUTING: room, what lives there, what it imports
    room: re.findall(r"`(\w+)`", imported)
    for room, _, imported in re.findall(
        r"^\| `(\w+)/` \| (.+) \| (.+) \|$", (paths.ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
}


def room_of(path):
    """The room of a module, or the name of a loose one."""
    return path.relative_to(paths.PACKAGE).with_suffix("").parts[0]


def test_the_tree_holds_the_rooms_and_four_modules():
    assert {path.stem for path in paths.PACKAGE.glob("*.py")} == LOOSE
    assert {path.parent.name for path in paths.PACKAGE.glob("*/__init__.py")} == set(ROOMS)


def test_the_map_shows_the_rooms_in_their_order():
    assert tuple(MAP) == ROOMS
    for place, room in enumerate(ROOMS):
        assert set(MAP[room]) <= set(ROOMS[:place]), f"{room} may import rooms before it"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_its_own_room_and_those_that_the_map_allows(name):
    room = room_of(MODULES[name])
    if room in LOOSE - LOW:
        return  # the face of the library and its commands know every room
    allowed = LOW if room in LOW else {room, *MAP[room], *LOW}
    others = {
        str(path.relative_to(paths.PACKAGE)) for path in paths.imports(MODULES[name]) if room_of(path) not in allowed
    }
    assert not others, f"{name} imports {', '.join(sorted(others))}; the map is in CONTRIBUTING.md"


def test_no_modules_import_each_other_in_a_circle():
    waiting = {path: set(paths.imports(path)) - {path} for path in MODULES.values()}
    while free := {path for path, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {path: needs for path, needs in waiting.items() if path not in free}
    assert not waiting, f"in circles: {', '.join(str(path.relative_to(paths.PACKAGE)) for path in waiting)}"


def test_the_map_names_files_that_exist():
    """In the library, and where six typical changes go."""
    text = (paths.ROOT / "CONTRIBUTING.md").read_text().partition("## The map")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w/]+\.\w+|[\w]+/)`", text))
    assert named
    for name in named - {"notebooks/NN_name.py"}:
        assert (paths.PACKAGE / name).exists() or (paths.ROOT / name).exists(), name
