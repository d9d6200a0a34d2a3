"""The command `openmm-nti`; the only place that puts all stages together."""

from openmm_nti.cli.app import app

__all__ = ["app"]
