"""Training steps, and energy with forces, against a dense first version of the same network, side by side.

The dense version sees all N - 1 atoms as neighbours and leaves the two-body part in the graph, which is differentiated
twice: what one writes first. Rounds are taken in turn, medians and ratios printed. Usage:

    python benchmarks/training.py [rounds]
"""

import sys

import torch
from timing import median_times
from torch import Tensor

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint
from openmm_nti.hamiltonian.geometry import minimum_image
from openmm_nti.lj_fluid import lattice_positions_nm
from openmm_nti.model_files import read_card, shipped_models
from openmm_nti.training.loss import score_loss
from openmm_nti.training.targets import CleanData, lennard_jones_gradient, noise_batch, stratified_log_noise

SIZES = ((200, 8), (40, 32))  # N and configurations in a step


class DenseHamiltonian(LambdaHamiltonian):
    """Every atom is everyone's neighbour, and autograd does all derivatives."""

    def neighbourhoods(self, positions: Tensor, box: Tensor, r_squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All N - 1 others."""
        del r_squared
        batch, n_particles = positions.shape[:2]
        others = torch.arange(n_particles).repeat(n_particles, 1)
        others = others[~torch.eye(n_particles, dtype=torch.bool)].reshape(1, n_particles, n_particles - 1)
        index = others + n_particles * torch.arange(batch).reshape(-1, 1, 1)
        displacement = minimum_image(positions.reshape(-1, 3)[index] - positions.unsqueeze(2), box).transpose(2, 3)
        dtype = self.network.noise.centres.dtype
        return displacement.to(dtype).contiguous(), index, torch.ones(index.shape, dtype=dtype)

    def gradient(self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False) -> Tensor:
        """Gradient of the whole energy by autograd."""
        positions = positions.detach().requires_grad_(True)
        energy = self.pair_energy(positions, box, log_s) + self.network_energy(positions, box, log_s)
        return torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)[0]


def network_config() -> NetworkConfig:
    """The architecture of the first shipped model, or the default one."""
    for path in shipped_models().values():
        return NetworkConfig(**read_card(path)["network"])
    return NetworkConfig()


def noised_lattices(model: LambdaHamiltonian, state: StatePoint, n_configurations: int):
    """A training batch from jittered lattices, noised at levels over the whole path."""
    lattices = [lattice_positions_nm(state, seed=seed) / state.sigma_nm for seed in range(n_configurations)]
    positions = torch.stack([torch.as_tensor(lattice) for lattice in lattices])
    box = torch.full((3,), state.box_length_sigma, dtype=torch.float64)
    gradient = lennard_jones_gradient(model, positions, box)
    clean = CleanData(positions, gradient, box, gradient.square().mean())
    generator = torch.Generator().manual_seed(0)
    levels = stratified_log_noise(n_configurations, -4.0, 0.0, generator)
    return noise_batch(clean, levels, torch.randn(positions.shape, generator=generator, dtype=torch.float64))


def training_step(model: LambdaHamiltonian, batch):
    """A function that computes the gradient of the loss by the weights."""

    def call() -> None:
        model.zero_grad(set_to_none=True)
        score_loss(model, batch).backward()

    return call


def force_call(model: LambdaHamiltonian, batch):
    """A function that computes energy and forces of one configuration."""
    lam = torch.tensor([0.5], dtype=torch.float64)

    def call() -> None:
        positions = batch.positions[:1].clone().requires_grad_(True)
        torch.autograd.grad(model(positions, batch.box, lam).sum(), positions)

    return call


def main() -> None:
    """Time both versions and print what the neighbours and the analytic two-body gradient save."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"torch on CPU, {torch.get_num_threads()} threads, {rounds} rounds, {network_config()!r}")
    for n_particles, n_configurations in SIZES:
        state = StatePoint(n_particles=n_particles, box_length_sigma=6.0, temperature_star=1.25)
        torch.manual_seed(0)
        ours = LambdaHamiltonian(state.pair_potential, network_config())
        dense = DenseHamiltonian(state.pair_potential, network_config())
        dense.load_state_dict(ours.state_dict())
        batch = noised_lattices(ours, state, n_configurations)
        calls = {
            "training step, dense": training_step(dense, batch),
            "training step": training_step(ours, batch),
            "energy + forces, dense": force_call(dense, batch),
            "energy + forces": force_call(ours, batch),
        }
        times = median_times(calls, rounds, warm_up=1)
        print(f"N = {n_particles}, {n_configurations} configurations in a step")
        for name, seconds in times.items():
            ratio = times.get(f"{name}, dense", seconds) / seconds
            faster = f"   {ratio:5.1f} x faster than dense" if f"{name}, dense" in times else ""
            print(f"  {name:24s} {1e3 * seconds:8.1f} ms{faster}")


if __name__ == "__main__":
    main()
