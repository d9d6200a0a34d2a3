"""`OpenMMEnergy`: the learned Hamiltonian in OpenMM's units, used by all its forces.

It is compiled by TorchScript, which cannot read postponed annotations on a class: there are none in
this file.
"""

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.pair_energy import KindEnergy
from openmm_nti.kernels import use_compiled

LAMBDA = "lambda_nti"  # the global parameter of every force
Particles = Sequence[int] | np.ndarray | None
Fusion = Sequence[tuple[Literal["STATIC", "DYNAMIC"], int]]
STATIC_FUSION: Fusion = (("STATIC", 0),)
BOX_TOLERANCE = 1e-4  # relative; PDB files round the box, and a barostat moves it by more


class OpenMMEnergy(nn.Module):
    """Computes U(x, lambda) in OpenMM's units, for one system or several independent replicas.

    Parameters
    ----------
    model
        The Hamiltonian.
    state
        State point that supplies N, the box, sigma and kT.
    n_replicas
        Number of copies of the N particles, one after the other, that do not interact.
    particles
        Indices of the particles in a larger System, (n_replicas * N,); None if it has no others.

    Raises
    ------
    ValueError
        If `particles` are not n_replicas * N different indices.
    """

    box_nm: Tensor
    particles: Tensor

    def __init__(
        self,
        model: LambdaHamiltonian,
        state: StatePoint,
        n_replicas: int = 1,
        particles: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.n_particles = state.n_particles
        self.n_replicas = n_replicas
        self.sigma_nm = state.sigma_nm
        self.kt_kj_mol = state.kt_kj_mol
        self.shortest_box_nm = 2.0 * state.cutoff_sigma * (1.0 - 1e-6) * state.sigma_nm
        self.box_tolerance_nm = BOX_TOLERANCE * state.box_length_nm
        chosen = [] if particles is None else checked_particles(particles, state, n_replicas)
        self.is_subset = particles is not None
        self.last_particle = max(chosen, default=-1)
        self.register_buffer("particles", torch.tensor(chosen, dtype=torch.long), persistent=False)
        self.register_buffer(
            "box_nm", torch.diag(torch.as_tensor(state.edges_nm)), persistent=False
        )

    def forward(self, positions: Tensor, box_vectors: Tensor, lambda_nti: Tensor) -> Tensor:
        """Return the energy in kJ/mol, 0-dim.

        Parameters
        ----------
        positions
            Positions of all particles of the System, (n, 3), nm, unwrapped.
        box_vectors
            Vectors of the box, (3, 3), nm, which must be that of the state.
        lambda_nti
            Coupling in [0, 1], 0-dim.
        """
        fault = self.fault(positions, box_vectors)
        if not 0.0 <= float(lambda_nti.detach()) <= 1.0:
            fault = "openmm_nti: lambda_nti is NaN or not in [0, 1], where the path ends"
        if len(fault) > 0:  # raised here: from a method, TorchScript's interpreter may crash
            raise ValueError(fault)
        enabled = torch.is_grad_enabled()
        in_openmm = torch.jit.is_scripting()  # type: ignore[attr-defined]
        if in_openmm:  # TorchForce needs a gradient inside torch.no_grad() too
            torch.set_grad_enabled(True)
        reduced, box = self.reduced(positions, box_vectors)
        couplings = lambda_nti.reshape(1).expand(self.n_replicas)
        energy = self.model(reduced, box, couplings).sum() * self.kt_kj_mol
        if in_openmm:
            torch.set_grad_enabled(enabled)
        return energy

    @torch.jit.export
    def reduced(self, positions: Tensor, box_vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the model's particles and the edges of the box, in sigma.

        The shapes are (n_replicas, N, 3) and (3,). Arguments are those of `forward`.
        """
        if self.is_subset:
            positions = positions.index_select(0, self.particles)
        positions = positions.double().reshape(self.n_replicas, self.n_particles, 3)
        return positions / self.sigma_nm, torch.diagonal(box_vectors).double() / self.sigma_nm

    @torch.jit.export
    def fault(self, positions: Tensor, box_vectors: Tensor) -> str:
        """Return what is wrong with the configuration, or ""; arguments as for `forward`."""
        if self.is_subset:
            if positions.shape[0] <= self.last_particle:
                return "openmm_nti: particles holds indices beyond the last particle of the System"
        elif positions.shape[0] != self.n_replicas * self.n_particles:
            return (
                "openmm_nti: the System has another number of particles than the force was made "
                "for: make the force with particles=[...]"
            )
        if not math.isfinite(float(positions.detach().sum())):
            return "openmm_nti: positions contain NaN or infinity: use a shorter step"
        return self._fault_of_box(box_vectors.double())

    def _fault_of_box(self, box_vectors: Tensor) -> str:
        if float((box_vectors.detach() - self.box_nm).abs().max()) <= self.box_tolerance_nm:
            return ""
        edges = torch.diagonal(box_vectors)
        if not bool((box_vectors - torch.diag(edges)).abs().max() <= self.box_tolerance_nm):
            return "openmm_nti: the box is triclinic: use a rectangular box"
        if bool((edges < self.shortest_box_nm).any()):
            return "openmm_nti: the box is under two cutoffs of the model: enlarge the box"
        return (
            "openmm_nti: the box is not that of the state: at constant pressure the noise of a "
            "lambda would change with the box; remove the barostat, or make the force for this box"
        )


def checked_particles(
    particles: Sequence[int] | np.ndarray, state: StatePoint, n_replicas: int = 1
) -> list[int]:
    """Return `particles` as a list of indices, after checks.

    Raises
    ------
    ValueError
        If the indices are not integers, negative, listed twice, or not n_replicas * N in number.
    """
    indices = np.asarray(particles)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"particles must be a list of integer indices, not of shape {indices.shape} and type "
            f"{indices.dtype}: for a mask, give numpy.flatnonzero(mask)"
        )
    expected = n_replicas * state.n_particles
    if indices.size != expected:
        copies = f" in each of {n_replicas} replicas" if n_replicas > 1 else ""
        raise ValueError(
            f"particles holds {indices.size} indices, but the state has n_particles = "
            f"{state.n_particles}{copies}: give {expected} indices or change n_particles"
        )
    if indices.min() < 0:
        raise ValueError(f"particles holds {indices.min()}: indices count from 0, as in the System")
    values, counts = np.unique(indices, return_counts=True)
    if counts.max() > 1:
        twice = ", ".join(map(str, values[counts > 1][:5]))
        raise ValueError(
            f"particles holds an index more than once ({twice}): list each particle once"
        )
    return [int(index) for index in indices]


def script(
    module: nn.Module, fusion: Fusion | None = STATIC_FUSION, *, portable: bool = False
) -> torch.jit.ScriptModule:
    """Return `module` compiled to TorchScript, ready for TorchForce; `module` stays as it is.

    With `portable` it contains none of the compiled operations of `openmm_nti.kernels`. It is then
    slower on a CPU, and can be loaded in a process that does not import openmm_nti.

    TorchScript's profiling executor compiles again as the number of neighbours changes, and runs at
    half the speed of eager mode. One static fusion, a setting of the whole process, makes both
    equally fast. If `fusion` is None, the setting stays as it is.
    """
    module = copy.deepcopy(module)
    if portable:
        use_compiled(module, False)
    for part in list(module.modules()):
        if isinstance(part, KindEnergy):
            part.prepare_for_torchscript()
    if fusion is not None:
        torch.jit.set_fusion_strategy(list(fusion))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces TorchScript's end at every call
        return torch.jit.script(module.eval().requires_grad_(False))
