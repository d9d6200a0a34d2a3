"""The model and the cluster of atoms that a network is checked on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig, NoisedFluid, build_model
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.testing.errors import ConformanceError

_SPACING = 1.12  # sigma, between the atoms of the cluster


@dataclass(frozen=True)
class NetworkCase:
    """A model with random weights, and a cluster of atoms to evaluate it on.

    Attributes
    ----------
    positions
        (B, N, 3), sigma.
    log_s
        A noise level for each configuration, (B,).
    """

    kind: str
    model: NoisedFluid
    box: Tensor
    positions: Tensor
    log_s: Tensor
    generator: torch.Generator

    @classmethod
    def of(cls, config: NetworkConfig, weight_scale: float | None) -> NetworkCase:
        """Return the case of `config`; weights are random numbers of size `weight_scale`."""
        edge = 2.0 * max(3.0, config.cutoff_sigma)
        state = StatePoint(n_particles=8, box_length_sigma=edge, temperature_star=1.25)
        generator = torch.Generator().manual_seed(1)
        torch.manual_seed(1)
        model = build_model(state.pair_potential, config)
        if weight_scale is not None:
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=weight_scale, generator=generator)
        model.eval().requires_grad_(False)
        sites = torch.cartesian_prod(*3 * [torch.arange(2.0, dtype=torch.float64)]) * _SPACING
        jitter = torch.randn(4, 8, 3, generator=generator, dtype=torch.float64)
        levels = torch.log(torch.tensor([0.05, 0.15, 0.4, 1.0], dtype=torch.float64))
        return cls(config.kind, model, cubic_box(edge), sites + 0.06 * jitter, levels, generator)

    def outputs(self, positions: Tensor, box: Tensor | None = None) -> Tensor:
        """Return the network's energies (B,) at `log_s`, or without an energy its gradients."""
        box = self.box if box is None else box
        return self.outputs_at(positions, self.log_s[: len(positions)], box)

    def outputs_at(self, positions: Tensor, log_s: Tensor, box: Tensor) -> Tensor:
        """Return the outputs at other noise levels (B,)."""
        if not isinstance(self.model, LambdaHamiltonian):
            known = self.model.pair_gradient(positions, box, log_s)
            return self.model.gradient(positions, box, log_s).detach() - known
        pairs = self.model.search.pairs(positions, box, self.model.network.cutoff)
        edges = self.model.neighbourhoods(positions, pairs)
        with torch.no_grad():
            return self.model.network(*edges, self.model.condition(log_s))

    def require(self, found: Tensor, expected: Tensor, tolerance: float, broken: str) -> None:
        """Raise unless two results agree relative to the size of the second; NaN never does."""
        change = float((found - expected).abs().max())
        allowed = tolerance * (1.0 + float(expected.abs().max()))
        if not change <= allowed:
            raise ConformanceError(
                f"network {self.kind}: {broken}: the outputs differ by {change:.3g}, which may be "
                f"{allowed:.1g}"
            )

    @property
    def hamiltonian(self) -> LambdaHamiltonian:
        """The model, where it gives energies."""
        if not isinstance(self.model, LambdaHamiltonian):
            raise TypeError(f"network {self.kind} gives no energies")
        return self.model
