"""The table of old and new import paths as Markdown, from the list that the package uses."""

from pathlib import Path

from openmm_nti import _moved


def write_moved(path: Path) -> None:
    """Write the table to `path`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(moved(), encoding="utf-8")


def moved() -> str:
    """Return the table: one old module a row, with every place its contents went to."""
    rows = [
        f"| `openmm_nti.{old}` | {', '.join(f'`openmm_nti.{place}`' for place in places)} |"
        for old, places in _moved._NEW_PLACES.items()  # noqa: SLF001
    ]
    return "\n".join(["| in 0.1.0 | now |", "|---|---|", *rows]) + "\n"
