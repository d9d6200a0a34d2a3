"""Reference ensembles of the interacting fluid: simulated, or read from a user's trajectory."""

from openmm_nti.reference_md.config import ReferenceConfig
from openmm_nti.reference_md.generate import generate
from openmm_nti.reference_md.trajectory import from_trajectory

__all__ = ["ReferenceConfig", "from_trajectory", "generate"]
