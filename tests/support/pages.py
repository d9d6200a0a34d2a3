"""The documentation as the tests read it: code blocks, the files that pages show, and links."""

import gc
import importlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_" not in path.parent.name),
]
RUNNABLE = re.compile(r"^<!-- runnable -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")
REGISTRIES = (
    "openmm_nti.validation.estimators.registry",
    "openmm_nti.hamiltonian.networks.registry",
    "openmm_nti.fluid.potentials.registry",
)


def page_name(page):
    """Return the name of a page for the list of tests."""
    return str(page.relative_to(ROOT))


@contextmanager
def files_in_place(page, folder):
    """Put the files that `page` shows below `folder`, and let the packages look there as well."""
    packages, modules = {}, []
    for path, code in FILE.findall(page.read_text(encoding="utf-8")):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code, encoding="utf-8")
        parts = Path(path).with_suffix("").parts
        name = ".".join(("openmm_nti", *(part for part in parts if part != "openmm_nti")))
        package = importlib.import_module(name.rpartition(".")[0])
        packages[package] = str(target.parent)
        modules.append(name)
    try:
        for package, place in packages.items():
            package.__path__.append(place)
        _forget_registries()
        for name in modules:
            importlib.import_module(name)
        yield
    finally:
        for package, place in packages.items():
            package.__path__.remove(place)
        for name in modules:
            sys.modules.pop(name, None)
            package, _, module = name.rpartition(".")
            vars(sys.modules[package]).pop(module, None)
        _forget_registries()
        gc.collect()  # classes that a registry finds by `__subclasses__`


def _forget_registries():
    for name in REGISTRIES:
        for function in vars(sys.modules[name]).values() if name in sys.modules else ():
            getattr(function, "cache_clear", lambda: None)()


def anchors(page):
    """Return the names of a page's headings as links use them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}
