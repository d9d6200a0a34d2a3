"""The entry point of `python -m openmm_nti.cli`, the same as the command `openmm-nti`."""

from openmm_nti.cli import app

app(prog_name="openmm-nti")
