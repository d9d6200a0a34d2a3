r"""`AtomTraits`: what a network is told of the atoms, beside their places.

Lengths of the pairs are taken out of the geometry (`length_scale`). What is left of the pair
potential is mainly how strongly it attracts. In kT, this is the temperature as well. With e_a the
depth of the well of two atoms of species a,

.. math:: t(e) = 2 \tanh\frac{e - e_{home}}{0.6}, \qquad e_a = -\min_r \beta u_{aa}(r) ,

the fluid has the mean of t(e_a) over its atoms as its depth. Each atom of a mixture has two traits,
which are zero on average: how far its t is from this mean, and how far its length is from the mean
of all atoms. In the fluid of the training all traits are zero.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from openmm_nti.fluid.of_species import kind_table
from openmm_nti.fluid.reduced import PairKind, ReducedPotential
from openmm_nti.hamiltonian.length_scale import lengths_of

N_TRAITS = 2
_DEPTH_SCALE = 0.6  # kT; e is 0.8 at T* = 1.25, 1 at T* = 1 and 0.5 at T* = 2
_GRID = 4000


class AtomTraits(nn.Module):
    """Holds the depth of a fluid's pair potentials, and the traits of its atoms.

    Parameters
    ----------
    potential
        The fluid.
    home_depth
        Depth of the well of the pair that the network was trained for, kT.
    numbers
        Number of atoms of each species of a mixture; None for one species, or if unknown.
    """

    depth: Tensor
    of_atoms: Tensor

    def __init__(
        self, potential: ReducedPotential, home_depth: float, numbers: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        alike = kind_table(potential.n_species).diagonal()
        depths = [2.0 * math.tanh((e - home_depth) / _DEPTH_SCALE) for e in depths_of(potential)]
        traits = np.column_stack([depths, lengths_of(potential)])[alike]
        atoms = np.repeat(traits, numbers or (1,) * len(alike), axis=0)
        mean = atoms.mean(axis=0)
        atoms = (atoms - mean) / [1.0, mean[1]]
        if numbers is None:
            atoms = atoms[:0]
        self.register_buffer("depth", torch.tensor(mean[0]), persistent=False)
        self.register_buffer("of_atoms", torch.from_numpy(atoms), persistent=False)


def depths_of(potential: ReducedPotential) -> list[float]:
    """Return the depths of the wells of all kinds of pairs, kT; zero where nothing attracts."""
    return [_depth(kind, potential.temperature_star) for kind in potential.kinds]


@lru_cache(maxsize=64)  # models are bound again and again
def _depth(kind: PairKind, temperature_star: float) -> float:
    core = max(kind.pair_in_kt.core(1.0)[0], 1e-3)
    r = np.linspace(core, max(kind.cutoff.cutoff_nm, core), _GRID)
    return max(0.0, -float(kind.energy(r**2).min()) / temperature_star)
