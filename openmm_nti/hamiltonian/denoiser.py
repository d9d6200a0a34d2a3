r"""A score without an energy: for the denoising bound alone, which holds for any vector field.

.. math:: f(x, s) = \sum_j \nabla \Phi(r_{ij}, s) + f_{net}(x, s) - \text{mean over the atoms}

The gradient of an energy costs a second backward pass in every training step. A denoiser needs
none. Its refinements find the way from the noised atom to the denoised one, and this is already the
answer, not an input to an energy. So per second of training its bound is far closer to the truth
(docs/accuracy.md has the numbers). It has no lambda path: no TI, no MD, no MBAR.

A refinement here is that of `networks.density`, with vector moments in the initial velocity and a
spring to the noised position,

.. math:: v_i \leftarrow \beta(s) \, v_i - c(s) F_i(y) - \kappa(s) (y_i - x_i), \qquad
          y_i \leftarrow y_i + v_i,

as in a descent on U_0(y) + |x - y|^2 / 2 s_eff^2 with learned forces F.
"""

import torch
from torch import Tensor

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian import relaxation
from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.networks.registry import build_network
from openmm_nti.hamiltonian.own_device import on_own_device


class Denoiser(NoisedFluid):
    """A model that gives gradients at any noise level, but no energies.

    Parameters
    ----------
    potential
        The pair potential of the data, with its cutoff and temperature.
    network
        Architecture of the learned part.
    """

    def __init__(self, potential: ReducedPotential, network: NetworkConfig) -> None:
        super().__init__(potential, network, build_network(network, gives_energy=False))

    @on_own_device
    def gradient(
        self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Return minus the score, (B, N, 3), kT / sigma; see `NoisedFluid.gradient`."""
        pairs = self.search.pairs(positions.detach(), box, self.reach)
        in_range = self._in_range(pairs)
        with torch.no_grad():
            if self.network.n_relaxations:
                gradient, *relaxed = relaxation.relax(
                    self, positions, log_s, in_range, self.network.n_relaxations
                )
            else:
                gradient = self._pair_gradient(positions, log_s, in_range)
                relaxed = []
            near = self.near(pairs, positions.shape[1])
            vectors, index, mask = self.neighbourhoods(positions, near)
            known = [[array.to(vectors.dtype) for array in relaxed]] if relaxed else []
        with torch.set_grad_enabled(create_graph):
            learned = self.network(vectors, index, mask, self.condition(log_s), *known)
        learned = learned.to(gradient.dtype)
        return gradient + (learned / self.scale.length if self.scale.differs else learned)
