"""Sphinx configuration: `pip install -e ".[cpu,docs]" && sphinx-build -W docs docs/_build`, or
`make docs`.

The command reference is written by `command_reference` and the API from docstrings, at every build.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from command_reference import write_reference  # noqa: E402

project = "openmm-nti"
author = "The openmm-nti authors"
copyright = "2026, The openmm-nti authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links such as theory.md#training
html_theme = "furo"
exclude_patterns = ["_build", "_generated"]
suppress_warnings = ["misc.highlighting_failure"]  # consoles with placeholders
autodoc_typehints = "none"  # docstrings give shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
smartquotes = False  # two dashes begin an option
napoleon_google_docstring = False
napoleon_use_rtype = False

write_reference(HERE / "_generated" / "commands.md")


def _as_restructured_text(_app, _what, _name, _object, _options, lines):
    """Docstrings are plain text with backquotes for code: bars and stars mean themselves, but not
    in a formula.
    """
    formula = False
    for number, line in enumerate(lines):
        formula = line.startswith(".. math::") or (formula and not line[:1].strip())
        if not formula:
            lines[number] = line.replace("|", "\\|").replace("*", "\\*").replace("`", "``")


def setup(app):
    """Called by Sphinx; before napoleon, which adds markup of its own."""
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=1)
