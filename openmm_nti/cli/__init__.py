"""The command `openmm-nti`, which puts all stages together."""

from openmm_nti.cli.app import app

__all__ = ["app"]
