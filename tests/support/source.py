"""The project's own source text, parsed: what the tests of imports and of the house rules read."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("openmm_nti", "reference_md", "training", "validation")


@cache
def tracked(*patterns: str) -> list[Path]:
    """Return the files of the project that match: those in git, or all where there is no git."""
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run([*listing, *patterns], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return sorted(path for name in done.stdout.split() if (path := ROOT / name).is_file())
    rooms = [ROOT / name for name in (*PACKAGES, "tests", "docs", "examples", "benchmarks")]
    return sorted(path for room in rooms for pattern in patterns for path in room.rglob(pattern))


@cache
def library() -> list[Path]:
    """Return the modules of the four packages."""
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in PACKAGES]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """Return the name by which the module at `path` is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "openmm_nti" else ("openmm_nti", *parts))


@cache
def modules() -> dict[str, Path]:
    """Return the library's modules by name."""
    return {name_of(path): path for path in library()}


def imported_names(tree: ast.AST) -> list[str]:
    """Return everything that `tree` imports, wherever it does, as `module` or `module.name`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the import statements that run when a module is imported: none in functions, and none
    for type checkers alone.
    """
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "orelse", "handlers", "finalbody"):
                for below in getattr(node, part, []):
                    handler = isinstance(below, ast.ExceptHandler)
                    yield from at_import(below.body if handler else [below])


def module_of(name: str) -> str | None:
    """Return the library's module that an imported `module.name` belongs to; None for others'."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def imports_at_import(module: str) -> tuple[set[str], set[str]]:
    """Return what `module` imports when it is imported: modules of the library, other packages."""
    names = [
        name for node in at_import(parsed(modules()[module]).body) for name in imported_names(node)
    ]
    own = {found for name in names if (found := module_of(name))}
    others = {name.partition(".")[0] for name in names if not name.startswith("openmm_nti")}
    return own - {module}, others


def packages_behind(module: str) -> dict[str, str]:
    """Return every package that comes with `module`, directly or not, and who imports it."""
    reached, todo, found = {module}, [module], {}
    while todo:
        current = todo.pop()
        own, others = imports_at_import(current)
        found.update(dict.fromkeys(others, current))
        todo += own - reached
        reached |= own
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected groups of more than one node, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found
