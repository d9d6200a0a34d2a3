"""The rules of the house: how large files may grow, what is named once, and names that exist."""

import ast
import builtins
import importlib
import re
from collections import Counter, defaultdict
from functools import cache

import pytest
from source import ROOT, library, modules, name_of, parsed, tracked

from openmm_nti.validation.estimators.registry import all_estimators

EXECUTION = ("seed", "workers", "directory", "progress")
# Method names that are common words or a section's key as well, and the only files that may write
# them: nothing so far.
# The paper's figures show the methods that the paper shows: they are a choice, not a list.
BY_CHOICE = ("validation/paper/",)


def shown(path):
    return str(path.relative_to(ROOT))


def test_no_folder_has_more_than_15_modules():
    folders = Counter(
        path.parent for path in tracked("*.py") if path.name not in {"__init__.py", "__main__.py"}
    )
    assert {shown(folder): n for folder, n in folders.items() if n > 15} == {}


def test_no_module_has_more_than_300_lines():
    lengths = {shown(path): len(path.read_text().splitlines()) for path in tracked("*.py")}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


@pytest.mark.parametrize(("pattern", "columns"), [("*.py", 100), ("*.md", 120)])
def test_lines_are_short(pattern, columns):
    """A page's rows of tables and its links cannot be broken; the change log is no page."""
    long = []
    for path in tracked(pattern):
        if path.suffix == ".md" and path.parent != ROOT / "docs" and path.name != "README.md":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            unbreakable = path.suffix == ".md" and (line.startswith("|") or "](" in line)
            code = re.sub(r"\s*# noqa: .*", "", line)  # a pragma must stand on its line
            if len(code) > columns and not unbreakable:
                long.append(f"{shown(path)}:{number}")
    assert long == []


def test_nobody_turns_the_formatter_off():
    mark = "# fmt: " + "skip"
    assert [shown(path) for path in tracked("*.py") if mark in path.read_text()] == []


def declared(tree: ast.AST) -> list[str]:
    """Return the names of all parameters of functions and all annotated fields of classes."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            found += [argument.arg for argument in every]
        elif isinstance(node, ast.ClassDef):
            found += [
                field.target.id
                for field in node.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            ]
    return found


def test_how_work_is_done_is_declared_in_few_places():
    counts = Counter(name for path in library() for name in declared(parsed(path)))
    where = defaultdict(Counter)
    for path in library():
        for name in declared(parsed(path)):
            where[name][shown(path)] += 1
    found = {name: counts[name] for name in EXECUTION}
    often = {name: dict(where[name].most_common()) for name, n in found.items() if n >= 20}
    assert max(found.values()) < 20, f"{found}: pass an Execution or a generator; {often}"
    assert min(found.values()) > 0, found


def strings_in(tree: ast.AST) -> list[str]:
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_methods_are_named_once():
    """The registry is the only list of methods: a name is written in its estimator's own file.

    Where a section of the configuration, or a kind of estimator, is called as a method is, the
    estimator's class says so beside its name.
    """
    own = {name: type(one).__module__ for name, one in all_estimators().items()}
    assert own
    elsewhere = defaultdict(set)
    for path in library():
        for text in set(strings_in(parsed(path))) & set(own):
            if own[text] != name_of(path) and not shown(path).startswith(BY_CHOICE):
                elsewhere[text].add(shown(path))
    assert {name: sorted(paths) for name, paths in elsewhere.items()} == {}


# --- Names in docstrings.

BACKQUOTED = re.compile(r"(?<![`:\w])`([A-Za-z_]\w*(?:\.\w+)*)(?:\([^`]*\))?`(?!`)")
OTHERS = {"json", "math", "numpy", "openmm", "torch", "scipy", "mdtraj", "pymbar", "openmmml"}
OTHERS |= {"pydantic", "multiprocessing", "functools", "alchemlyb", "pyarrow", "matplotlib"}
# Of YAML, openmm-torch, alchemlyb and openmm-ml, and what setup.py names.
WORDS_OF_OTHERS = {"null", "useCUDAGraphs", "TI", "MBAR", "MLPotential"}
WORDS_OF_OTHERS |= {"openmm_nti_openmmml", "openmmml.potentials"}


def documented(tree: ast.Module) -> list[tuple[int, str]]:
    """Return every docstring with the line of what it belongs to."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        (getattr(node, "lineno", 1), text)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def bound_names(tree: ast.AST) -> set[str]:
    """Return every name that `tree` defines, takes, sets or reads as an attribute or a key."""
    found = set()
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg", "asname"):
            value = getattr(node, field, None)
            found |= {value} if isinstance(value, str) else set()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if node.value.isidentifier() else set()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {part for alias in node.names for part in alias.name.split(".")}
    return found


@cache
def vocabulary() -> frozenset[str]:
    """Return all names the library knows: of its code, its modules, its folders and Python's."""
    names = set(dir(builtins)) | {"self"} | OTHERS
    for path in library():
        names |= bound_names(parsed(path)) | set(path.relative_to(ROOT).with_suffix("").parts)
    return frozenset(names)


@cache
def parameters() -> frozenset[str]:
    """Return the names of all parameters and fields in the library."""
    return frozenset(name for path in library() for name in declared(parsed(path)))


@cache
def classes() -> dict[str, set[str]]:
    """Return the library's classes by name, each with the names in its body."""
    found: dict[str, set[str]] = {}
    for path in library():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                inherited = {name for base in node.bases for name in bound_names(base)}
                known = set().union(*(found.get(name, set()) for name in inherited))
                outside = {"model_validate", "model_dump", "forward", "eval", "parameters"}
                found.setdefault(node.name, set()).update(bound_names(node) | known | outside)
    return found


def exists(name: str) -> bool:
    """Return whether a name in backquotes is something there is."""
    first, *rest = name.split(".")
    if name in WORDS_OF_OTHERS or first.startswith("__"):
        return True
    if not rest:
        return first in vocabulary()
    if first in OTHERS:
        return exists_elsewhere(first, rest)
    for length in range(len(rest), 0, -1):
        path = ".".join([first, *rest][:length])
        for module, file in modules().items():
            if f".{module}".endswith(f".{path}"):
                following = [first, *rest][length]
                inside = f"{module}.{following}" in modules()
                if inside or following in top_level(parsed(file)):
                    return True
    if first in classes():
        return rest[0] in classes()[first]
    ours = {part for module in modules() for part in module.split(".")} - parameters()
    return first not in ours and set(name.split(".")) <= vocabulary()


def exists_elsewhere(package: str, rest: list[str]) -> bool:
    there = importlib.import_module(package)
    for number, part in enumerate(rest):
        if not hasattr(there, part):
            try:
                importlib.import_module(".".join([package, *rest[: number + 1]]))
            except ImportError:
                return False
        there = getattr(there, part)
    return True


def top_level(tree: ast.Module) -> set[str]:
    """Return the names that a module itself defines or imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {part.id for one in targets for part in ast.walk(one) if hasattr(part, "id")}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node in tree.body:
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def test_every_name_in_a_docstring_exists():
    missing = [
        f"{shown(path)}:{line}: {name}"
        for path in library()
        for line, text in documented(parsed(path))
        for name in BACKQUOTED.findall(text)
        if not exists(name)
    ]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        "forces.torch_force",
        "StatePoint.density_star",
        "run_tasks",
        "torch.nn.Module",
        "tasks.silence",
    ],
)
def test_names_that_exist_are_found(name):
    assert exists(name)


@pytest.mark.parametrize(
    "name",
    ["forces.torch_farce", "StatePoint.denseness", "run_tusks", "torch.nn.Modul", "tosks.run"],
)
def test_names_that_do_not_exist_are_noticed(name):
    assert not exists(name)
