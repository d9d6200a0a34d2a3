"""Score matching: from reference ensembles to a trained `LambdaHamiltonian`."""

from openmm_nti.training.config import TrainingConfig
from openmm_nti.training.train import train

__all__ = ["TrainingConfig", "train"]
