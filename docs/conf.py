"""Settings of Sphinx; `make docs` builds the pages.

Every build writes the command reference and the table of moved modules anew, and takes the API from
docstrings.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from command_reference import write_reference  # noqa: E402
from moved_reference import write_moved  # noqa: E402

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
write_moved(HERE / "_generated" / "moved.md")


def _as_restructured_text(_app, _what, _name, _object, _options, lines):
    """Escape bars and stars in docstrings, which are plain text, except in formulas."""
    formula = False
    for number, line in enumerate(lines):
        formula = line.startswith(".. math::") or (formula and not line[:1].strip())
        if not formula:
            lines[number] = line.replace("|", "\\|").replace("*", "\\*").replace("`", "``")


def setup(app):
    """Register the escaping with Sphinx, before napoleon adds markup of its own."""
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=1)
