r"""The score-matching loss, weighted so that it measures the model's error in kT.

The bias of the free energy is -1/2 int E|grad U - grad U*|^2 d(s_eff^2): per unit of ln s the
squared error counts with s_eff^2. Dividing by the variance of the target instead gives the weight
s_eff^2 + 1 / I_0: the same at all noise that matters, bounded gradient noise where there is little.
"""

from __future__ import annotations

from torch import Tensor

from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.training.targets import NoisedBatch


def score_loss(model: NoisedFluid, batch: NoisedBatch, *, create_graph: bool = True) -> Tensor:
    """Return the weighted squared error of the score per degree of freedom, 0-dim.

    It is 1 where nothing but the noise of the target is left.
    """
    gradient = model.gradient(batch.positions, batch.box, batch.log_s, create_graph=create_graph)
    error = (gradient - batch.target).square().mean((1, 2))
    return (error * batch.precision).mean()
