"""Imports go in one direction, from the fluid to the command line, and never in a circle."""

import ast

import pytest
from source import (
    PACKAGES,
    ROOT,
    at_import,
    circles,
    imported_names,
    imports_at_import,
    library,
    module_of,
    modules,
    name_of,
    packages_behind,
    parsed,
)

# A room imports from its own row and from the rows above it.
ROWS = (
    ("settings", "_moved", "_interrupt"),
    ("files", "free_energy", "fluid", "hdf5"),
    ("runtime", "ensemble", "references", "kernels"),
    ("hamiltonian",),
    ("model_files",),
    ("shipped",),
    ("md",),
    ("testing",),
    ("openmm_ml",),
    ("reference_md",),
    ("training",),
    ("validation.analysis",),
    ("validation.sampling",),
    ("validation.plots", "validation.pace"),
    ("validation.estimators", "validation.testing"),
    ("validation.report",),
    ("validation.paper", "validation.sweep", "validation.melting"),
    ("validation.phases",),
    ("cli",),
)
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}


def room_of(module: str) -> str | None:
    """Return the room of a module; None for the package itself, which shows what all rooms have."""
    parts = module.split(".")[1:]
    if not parts or parts == ["validation"]:
        return None
    return ".".join(parts[:2]) if parts[0] == "validation" else parts[0]


def room_id(path):
    return str(path.relative_to(ROOT))


def test_every_module_has_its_row():
    rooms = {room for name in modules() if (room := room_of(name))}
    assert rooms - set(ROW_OF) == set()


@pytest.mark.parametrize("path", library(), ids=room_id)
def test_a_room_imports_only_from_those_before_it(path):
    own = room_of(name_of(path))
    for name in imported_names(parsed(path)):
        first = name.partition(".")[0]
        assert first not in PACKAGES[1:], f"{name} must be imported as openmm_nti.{name}"
        module = module_of(name)
        if module is None or own is None:
            continue
        room = room_of(module)
        assert room is None or ROW_OF[room] <= ROW_OF[own], f"{room_id(path)} imports {name}"


def test_no_module_imports_itself_by_way_of_others():
    assert circles({name: imports_at_import(name)[0] for name in modules()}) == []


def test_no_room_imports_itself_by_way_of_others():
    graph = {room: set() for room in ROW_OF}
    for name, path in modules().items():
        own = room_of(name)
        found = {room_of(module_of(other) or "") for other in imported_names(parsed(path))}
        if own is not None:
            graph[own] |= found - {own, None}
    assert circles(graph) == []


def test_imports_in_functions_and_for_type_checkers_do_not_count():
    text = """
import a
if TYPE_CHECKING:
    import b
try:
    import c
except ImportError:
    import d
class C:
    import e
    def f(self):
        import g
def h():
    import i
"""
    found = [name for node in at_import(ast.parse(text).body) for name in imported_names(node)]
    assert found == ["a", "c", "d", "e"]


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["d", "e"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("room", "package"),
    [
        ("fluid", "torch"),
        ("fluid", "openmm"),
        ("hamiltonian", "openmm"),
        ("references", "openmm"),
        ("reference_md", "torch"),
    ],
)
def test_a_room_does_without_a_package(room, package):
    names = [name for name in modules() if room_of(name) == room]
    assert names
    for name in names:
        assert package not in packages_behind(name), (
            f"{name} imports {package} through {packages_behind(name)[package]}"
        )
        everywhere = imported_names(parsed(modules()[name]))
        assert not [other for other in everywhere if other.partition(".")[0] == package], name


@pytest.mark.parametrize("path", library(), ids=room_id)
def test_no_assert_and_no_print_in_library_code(path):
    for node in ast.walk(parsed(path)):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"
        prints = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        )
        assert not prints, f"{path}:{getattr(node, 'lineno', 0)} prints"
