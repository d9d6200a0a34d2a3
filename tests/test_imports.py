"""The packages import in one direction: openmm_nti <- reference_md <- training <- validation; the
CLI joins them.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("openmm_nti", "reference_md", "training", "validation")
FILES = sorted(path for name in ORDER for path in (ROOT / name).rglob("*.py"))


def imported_modules(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def stage_of(module: str) -> int | None:
    """Position in ORDER of an imported module, None for other people's packages."""
    first, _, rest = module.partition(".")
    if first != "openmm_nti":
        assert first not in ORDER[1:], f"{module} must be imported as openmm_nti.{module}"
        return None
    name = rest.partition(".")[0]
    return ORDER.index(name) if name in ORDER else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_those_before_it(path):
    relative = path.relative_to(ROOT)
    if relative.parts[:2] == ("openmm_nti", "cli"):
        return
    own = ORDER.index(relative.parts[0])
    for module in imported_modules(path):
        stage = stage_of(module)
        assert stage is None or stage <= own, f"{relative} imports {module}"
        assert not module.startswith("openmm_nti.cli"), f"{relative} imports the command line"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_assert_and_no_print_in_library_code(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"
        prints = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        )
        assert not prints, f"{path}:{getattr(node, 'lineno', 0)} prints"


def test_reference_md_and_hamiltonian_keep_out_what_is_not_theirs():
    for path in (ROOT / "reference_md").rglob("*.py"):
        assert not any(module.split(".")[0] == "torch" for module in imported_modules(path)), (
            f"{path} imports torch"
        )
    for path in (ROOT / "openmm_nti" / "hamiltonian").rglob("*.py"):
        assert not any(module.split(".")[0] == "openmm" for module in imported_modules(path)), (
            f"{path} imports openmm"
        )
