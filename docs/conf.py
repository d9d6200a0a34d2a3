"""Sphinx configuration: `pip install -e ".[docs]" && sphinx-build docs docs/_build`."""

project = "openmm-nti"
author = "The openmm-nti authors"
copyright = "2026, The openmm-nti authors"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 2  # links such as theory.md#training
