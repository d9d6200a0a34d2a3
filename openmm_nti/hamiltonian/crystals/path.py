r"""`CrystalHamiltonian`: the path from phonons to a crystal, with a model of the fluid between.

Phonons are a Gaussian of the amplitudes q = V^T u of the crystal's modes, with variances C. Between
lambda = 0 and 1 there is noise of variance v, from v_1 down to 0. Noise makes amplitudes larger;
here they are measured in units in which they stay the same, q sqrt((C + v) / C) in place of q. The
fluid's model is asked at noise of variance w, which is v as long as it is within the vibrations, at
the mean m of what is left of the noise beyond:

.. math::
    U(q, \lambda) = \sum \frac{q^2}{2 C} + \left( 1 - \frac{v}{v_1} \right)
    \left[ U^{fluid}_w(R + V m) - \sum \frac{m^2}{2 (C + w)} \right],
    \qquad m = \frac{C + w}{\sqrt{C (C + v)}} \, q .

At lambda = 1 the springs cancel and the crystal's own potential is left. At lambda = 0 there are
springs alone, with known free energy. Equal variances C = c are the Einstein crystal. Between, the
learned part only decides how quickly samples converge. A shift of all atoms changes nothing.

TorchScript cannot read postponed annotations on a class: there are none in this file.
"""

import hashlib
import math
from typing import Self

import torch
from torch import Tensor, nn

from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian.model import LambdaHamiltonian
from openmm_nti.references.noise import LOG_NOISE_MIN, log_noise_max

_TRUSTED = 2.0  # noise up to which the model is asked, in mean square displacements
_WIDTHS = 6.0  # noise at lambda = 0, in root mean square displacements
_SQUARE = math.exp(2.0 * LOG_NOISE_MIN)


class CrystalHamiltonian(nn.Module):
    """Computes reduced energies U(x, lambda) of configurations of a crystal; scriptable.

    Parameters
    ----------
    model
        A model of the fluid with the crystal's pair potential.
    state
        The crystal.
    vectors
        Its modes V without shifts, (3N, d) with d = 3 (N - 1).
    variances
        Mean square amplitudes C of the modes, (d,), sigma^2.

    Raises
    ------
    ValueError
        If the state is a fluid, the model does not fit, or a variance is not above 0.
    """

    sites: Tensor
    vectors: Tensor
    variances: Tensor

    def __init__(
        self, model: LambdaHamiltonian, state: StatePoint, vectors: Tensor, variances: Tensor
    ) -> None:
        super().__init__()
        if not bool((variances > 0).all()):
            raise ValueError("variances must be above 0: simulate the crystal longer")
        self.model = model.bind(state)
        self.state = state
        self.potential = self.model.potential
        self.has_network = self.model.has_network
        self.training_range = model.training_range
        mean = float(variances.mean())
        self.square = _SQUARE  # TorchScript reads attributes and no globals
        self.log_min = LOG_NOISE_MIN
        self.trusted = _TRUSTED * mean
        self.log_steepness = 0.5 * math.log1p(_WIDTHS**2 * mean / _SQUARE)
        for name, value in (
            ("sites", torch.as_tensor(sites_sigma(state))),
            ("vectors", vectors.double()),
            ("variances", variances.double()),
        ):
            self.register_buffer(name, value)

    def bind(self, state: StatePoint) -> Self:
        """Return this path; ValueError unless `state` is its own."""
        if state != self.state:
            raise ValueError(f"the path is of {self.state}, not of {state}: make one for it")
        return self

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides its numbers."""
        digest = hashlib.sha256(f"{self.model.fingerprint()}{self.state!r}".encode())
        for part in (self.vectors, self.variances):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def minus_log_z_rel(self) -> float:
        """-ln Z_rel of the springs at lambda = 0, of lengths in sigma."""
        return -0.5 * float(torch.log(2 * math.pi * self.variances).sum())

    @torch.jit.export
    def noise(self, lam: Tensor) -> Tensor:
        """Return the variance v of the noise at lambda, (B,), sigma^2."""
        return self.square * torch.expm1(2.0 * self.log_steepness * (1.0 - lam.double()))

    def forward(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Return the reduced energies, (B,), kT, float64.

        Parameters
        ----------
        positions
            Positions of the atoms in the order of the sites, (B, N, 3), sigma. The crystal may have
            drifted, and atoms may be wrapped.
        box
            Edges of the box, (3,), sigma.
        lam
            Coupling, 0 phonons to 1 crystal, (B,).
        """
        positions = positions.double()
        box = box.double()
        variance = self.noise(lam).unsqueeze(1)
        within = variance / (1.0 + (variance / self.trusted) ** 4) ** 0.25
        modes = self.modes(positions, box)
        inner = self.variances + within
        mean = modes * (inner / torch.sqrt(self.variances * (self.variances + variance)))
        # The same operations at both ends: this is 0 to the last bit at lambda = 0.
        fade = 1.0 - variance / self.noise(torch.zeros_like(lam)).unsqueeze(1)
        steps = torch.log1p(within.squeeze(1) / self.square)
        of_fluid = 1.0 - 0.5 * steps / (log_noise_max(box) - self.log_min)
        placed = self.sites + (mean @ self.vectors.t()).reshape(positions.shape)
        fluid = self.model(placed, box, of_fluid) - 0.5 * (mean.square() / inner).sum(1)
        springs = 0.5 * (modes.square() / self.variances).sum(1)
        return springs + fade.squeeze(1) * fluid

    @torch.jit.export
    def modes(self, positions: Tensor, box: Tensor) -> Tensor:
        """Return the amplitudes q of configurations (B, N, 3) in sigma, (B, d), sigma."""
        moved = positions - self.sites
        # Beside the first atom, whose displacement is a shift of all.
        moved = moved - moved[:, :1]
        moved = moved - box * torch.round(moved / box).detach()
        return moved.reshape(positions.shape[0], -1) @ self.vectors

    def noised(self, positions: Tensor, box: Tensor, lam: Tensor, noise: Tensor) -> Tensor:
        """Return crystals with noise in the units of lambda, close to equilibrium for a good model.

        Parameters
        ----------
        positions, box
            Frames of the crystal, as for `forward`.
        lam
            Coupling of each, (B,).
        noise
            Normal random numbers, (B, d).
        """
        variance = self.noise(lam).unsqueeze(1)
        modes = self.modes(positions.double(), box.double()) + torch.sqrt(variance) * noise
        modes = modes * torch.sqrt(self.variances / (self.variances + variance))
        return self.sites + (modes @ self.vectors.t()).reshape(positions.shape)

    def energies_at(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Return the energies of configurations (B, N, 3) in sigma at all lambdas (K,), (B, K)."""
        with torch.no_grad():
            columns = [self(positions, box, one.expand(len(positions))) for one in lam]
        return torch.stack(columns, dim=1)
