r"""`PairEnergy`: the interacting end of the path, in kT.

.. math:: \beta u(r) \, S(r), \qquad S = 1 - 6x^5 + 15x^4 - 10x^3, \qquad
          x = \frac{r - r_s}{r_c - r_s},

with u the pair potential, S = 1 below the switching distance r_s, and zero beyond the cutoff r_c.
The convention `truncated` has S = 1 up to r_c.

All energies and forces of the interacting end come from `model.end`. An end that is not a sum of
pairs would be another class with `energy`, `gradient` and `is_continuous`.
"""

import warnings

import torch
from torch import Tensor, nn

from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.reduced import PairKind, ReducedPotential
from openmm_nti.hamiltonian.geometry import Pairs, PairSearch
from openmm_nti.hamiltonian.pair_kinds import PairKinds

# Two atoms this close (0.01 sigma: 1e24 kT) are as forbidden as can be; below, 1 / r would
# overflow.
_R_SQUARED_MIN = 1e-4


def switching_function(r: Tensor, start: float, end: float) -> Tensor:
    """Return OpenMM's quintic switch, any shape: 1 at `start`, 0 at `end`; r in sigma.

    It has two continuous derivatives.
    """
    x = ((r - start) / (end - start)).clamp(0.0, 1.0)
    return 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)


class BareEnergy(nn.Module):
    """A pair potential without a cutoff, in kT.

    TorchScript cannot read a potential's class; `traced` records its operators instead.
    """

    def __init__(self, potential: PairPotential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, r_squared: Tensor) -> Tensor:
        """Return pair energies in kT from squared distances in sigma^2, any shape."""
        energy: Tensor = self.potential.energy(r_squared)
        return energy

    def traced(self) -> torch.jit.ScriptModule:
        """Return the same function for TorchScript."""
        sample = torch.tensor([0.9, 1.3, 4.0], dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces TorchScript's end at every call
            traced: torch.jit.ScriptModule = torch.jit.trace(self, sample)
        return traced


class KindEnergy(nn.Module):
    """Energies of one kind of pair with their cutoff, in kT.

    Parameters
    ----------
    kind
        Pair potential and cutoff.
    """

    def __init__(self, kind: PairKind) -> None:
        super().__init__()
        self.bare: nn.Module = BareEnergy(kind.pair_in_kt)
        self.cutoff = kind.cutoff.cutoff_nm
        self.switch = kind.cutoff.switch_nm
        self.switched = kind.cutoff.convention == "switched"
        # TorchScript reads attributes and default arguments, not globals.
        self.r_squared_min = _R_SQUARED_MIN

    def forward(self, r_squared: Tensor) -> Tensor:
        """Return pair energies in kT from squared distances in sigma^2, any shape."""
        r_squared = r_squared.clamp(min=self.r_squared_min)
        energy = self.bare(r_squared)
        if self.switched:
            energy = energy * switching_function(r_squared.sqrt(), self.switch, self.cutoff)
        return torch.where(r_squared < self.cutoff * self.cutoff, energy, torch.zeros_like(energy))

    def prepare_for_torchscript(self) -> None:
        """Replace the potential by a recording of its operators, which cannot be pickled."""
        if isinstance(self.bare, BareEnergy):
            self.bare = self.bare.traced()


class PairEnergy(nn.Module):
    """Energies and forces of the interacting end, a sum over pairs.

    Parameters
    ----------
    potential
        Pair potentials, cutoff and temperature.
    pair_kinds
        Tells the kinds of pairs of a mixture; None for one species.

    Attributes
    ----------
    is_continuous
        Whether the energy has no jump. Forces then determine it, and partial integration holds.
    """

    def __init__(self, potential: ReducedPotential, pair_kinds: PairKinds | None = None) -> None:
        super().__init__()
        self.of_kinds = nn.ModuleList(KindEnergy(kind) for kind in potential.kinds)
        self.pair_kinds = pair_kinds or PairKinds(potential.n_species)
        self.search = PairSearch()
        self.cutoff = potential.cutoff_sigma
        self.is_continuous = potential.is_continuous

    def forward(self, r_squared: Tensor, kind: Tensor | None = None) -> Tensor:
        """Return pair energies in kT, any shape.

        Parameters
        ----------
        r_squared
            Squared distances, any shape, sigma^2.
        kind
            Kind of each pair, from `PairKinds.of`; None or empty where there is one kind.
        """
        total = torch.zeros_like(r_squared)
        for number, of_kind in enumerate(self.of_kinds):
            energy = of_kind(r_squared)
            if len(self.of_kinds) == 1 or kind is None:
                return energy
            total = torch.where(kind == number, energy, total)
        return total

    def sums(self, pairs: Pairs, n_batch: int, n_atoms: int) -> Tensor:
        """Return the energies of configurations, (B,), kT, summed over their pairs."""
        configuration = torch.div(pairs.first, n_atoms, rounding_mode="floor")
        energies = self(pairs.vectors.square().sum(0), self.pair_kinds.of(pairs, n_atoms))
        total = torch.zeros(n_batch, dtype=energies.dtype, device=energies.device)
        return total.index_add(0, configuration, energies)

    def energy(self, positions: Tensor, box: Tensor) -> Tensor:
        """Return beta U of each configuration, (B,), kT.

        Parameters
        ----------
        positions
            Positions of the atoms, (B, N, 3), sigma; unwrapped positions are fine. They may lie on
            another device.
        box
            Edges of the box, (3,), sigma.
        """
        there = self.pair_kinds.table.device
        pairs = self.search.pairs(positions.to(there), box.to(there), self.cutoff)
        return self.sums(pairs, positions.shape[0], positions.shape[1]).to(positions.device)

    def gradient(self, positions: Tensor, box: Tensor) -> Tensor:
        """Return the gradient of `energy`, (B, N, 3), kT / sigma; arguments as for that."""
        positions = positions.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.energy(positions, box).sum(), positions)
        return gradient
