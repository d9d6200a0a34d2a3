"""Reference ensembles of the interacting fluid: simulated by OpenMM, or read from a trajectory of
the user's own.
"""

from openmm_nti.reference_md.config import ReferenceConfig
from openmm_nti.reference_md.generate import generate
from openmm_nti.reference_md.trajectory import from_trajectory

__all__ = ["ReferenceConfig", "from_trajectory", "generate"]
