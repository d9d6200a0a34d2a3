"""`check_network`: whether a kind of network keeps the rules that its Hamiltonian relies on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.openmm_energy import script
from openmm_nti.references.noise import LOG_NOISE_MIN
from openmm_nti.testing.errors import ConformanceError
from openmm_nti.testing.network_case import NetworkCase

_EXACT = 1e-9  # relative: the same operations in another order, in float64


def check_network(network: str | NetworkConfig, *, weight_scale: float | None = 0.3) -> None:
    """Raise `ConformanceError` unless a network keeps all the rules.

    It is invariant (a score: equivariant) under translation, rotation, permutation and wrapping;
    silent without noise and without neighbours; smooth at its cutoff; independent of the rest of
    its batch; a sum over atoms; right in its derivatives; and, with an energy, the same at both
    ends, at many noise levels at once and under TorchScript.

    Parameters
    ----------
    network
        A kind, in its default size, or settings. A kind from outside of the package must be made
        known by `openmm_nti.hamiltonian.networks.registry.register`.
    weight_scale
        Size of the random weights that replace the fresh ones, for those often give zero. None
        keeps the fresh ones.

    Raises
    ------
    ConformanceError
        With the first rule that is broken, and by how much.
    """
    config = NetworkConfig(kind=network) if isinstance(network, str) else network
    case = NetworkCase.of(config.model_copy(update={"dtype": "float64"}), weight_scale)
    for check in _FOR_ALL:
        check(case)
    if isinstance(case.model, LambdaHamiltonian):
        for check in _FOR_ENERGIES:
            check(case)


def _answers(case: NetworkCase) -> None:
    found = case.outputs(case.positions)
    shape = (4,) if isinstance(case.model, LambdaHamiltonian) else (4, 8, 3)
    if found.shape != shape:
        raise ConformanceError(
            f"network {case.kind}: at_noise returns the shape {tuple(found.shape)} for 4 "
            f"configurations of 8 atoms instead of {shape}"
        )
    if not (bool(found.isfinite().all()) and float(found.abs().max()) > 0.0):
        raise ConformanceError(
            f"network {case.kind}: its outputs with random weights are not finite, or all zero"
        )


def _translation(case: NetworkCase) -> None:
    moved = case.positions + torch.tensor([0.3, -1.7, 2.9], dtype=torch.float64)
    case.require(
        case.outputs(moved),
        case.outputs(case.positions),
        _EXACT,
        "it is not invariant under translation",
    )


def _wrapping(case: NetworkCase) -> None:
    steps = torch.randint(-2, 3, case.positions.shape, generator=case.generator)
    case.require(
        case.outputs(case.positions + steps * case.box),
        case.outputs(case.positions),
        _EXACT,
        "atoms that leave the box and enter it on the other side change it",
    )


def _rotation(case: NetworkCase) -> None:
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).double()
    for turn in (quarter, quarter.roll(1, 0).roll(1, 1)):
        expected = case.outputs(case.positions)
        if not isinstance(case.model, LambdaHamiltonian):
            expected = expected @ turn.T
        case.require(
            case.outputs(case.positions @ turn.T),
            expected,
            _EXACT,
            "it does not follow a rotation by 90 degrees",
        )


def _permutation(case: NetworkCase) -> None:
    order = torch.randperm(8, generator=case.generator)
    expected = case.outputs(case.positions)
    if not isinstance(case.model, LambdaHamiltonian):
        expected = expected[:, order]
    case.require(
        case.outputs(case.positions[:, order]),
        expected,
        _EXACT,
        "it does not follow a permutation of the atoms",
    )


def _silent_without_noise(case: NetworkCase) -> None:
    levels = torch.full_like(case.log_s, LOG_NOISE_MIN)
    found = case.outputs_at(case.positions, levels, case.box)
    case.require(found, torch.zeros_like(found), 1e-12, "it does not vanish without noise")


def _silent_without_neighbours(case: NetworkCase) -> None:
    positions = torch.stack([torch.zeros(3).double(), 0.5 * case.box]).expand(4, -1, -1)
    found = case.outputs(positions.clone())
    case.require(found, torch.zeros_like(found), 1e-12, "it does not vanish without neighbours")


def _smooth_at_its_cutoff(case: NetworkCase) -> None:
    distances = case.model.network.cutoff + 1e-6 * torch.tensor([-1.0, 1.0]).double()
    positions = torch.zeros(2, 3, 3, dtype=torch.float64)
    positions[:, 1, 0], positions[:, 2, 1] = distances, 1.1
    levels = torch.full((2,), float(case.log_s[1]), dtype=torch.float64)
    found = case.outputs_at(positions, levels, case.box)
    case.require(found[0], found[1], 1e-4, "it jumps where a neighbour crosses the cutoff")


def _batches(case: NetworkCase) -> None:
    single = [
        case.outputs_at(
            case.positions[number : number + 1], case.log_s[number : number + 1], case.box
        )
        for number in range(4)
    ]
    case.require(
        torch.cat(single),
        case.outputs(case.positions),
        _EXACT,
        "a configuration's output depends on the rest of the batch",
    )


def _sum_over_atoms(case: NetworkCase) -> None:
    far = 2.0 * case.box[0]
    copies = torch.cat([case.positions, case.positions + 0.5 * far], dim=1)
    alone = case.outputs(case.positions)
    is_energy = isinstance(case.model, LambdaHamiltonian)
    case.require(
        case.outputs(copies, cubic_box(float(far))),
        2.0 * alone if is_energy else torch.cat([alone, alone], dim=1),
        _EXACT,
        "two copies out of each other's reach do not give twice the output of one",
    )


def _derivatives_by_weights(case: NetworkCase) -> None:
    parameters = list(case.model.network.parameters())
    size = torch.randn(case.positions.shape, generator=case.generator, dtype=torch.float64)

    def loss(*, create_graph: bool) -> Tensor:
        gradient = case.model.gradient(
            case.positions, case.box, case.log_s, create_graph=create_graph
        )
        return (gradient * size).sum()

    case.model.requires_grad_(True)
    try:
        slopes = torch.autograd.grad(loss(create_graph=True), parameters, allow_unused=True)
    except RuntimeError as error:
        raise ConformanceError(
            f"network {case.kind}: its score has no derivative by the weights, so it cannot be "
            f"trained: {str(error).splitlines()[0]}"
        ) from error
    finally:
        case.model.requires_grad_(False)
    known = [(p, s) for p, s in zip(parameters, slopes, strict=True) if s is not None]
    if not all(bool(slope.isfinite().all()) for _, slope in known):
        raise ConformanceError(f"network {case.kind}: derivatives by the weights are not finite")
    parameter, slope = max(known, key=lambda pair: float(pair[1].abs().max()))
    place, step = int(slope.abs().argmax()), 1e-6
    values = []
    for change in (step, -2.0 * step):
        parameter.view(-1)[place] += change
        values.append(loss(create_graph=False).detach())
    parameter.view(-1)[place] += step
    case.require(
        slope.view(-1)[place],
        (values[0] - values[1]) / (2.0 * step),
        1e-4,
        "the derivative of its score by a weight is not that of finite differences",
    )


def _gradient(case: NetworkCase) -> None:
    pairs = case.model.pair_gradient(case.positions, case.box, case.log_s)
    gradient = case.model.gradient(case.positions, case.box, case.log_s).detach() - pairs
    direction = torch.randn(case.positions.shape, generator=case.generator, dtype=torch.float64)
    step = 1e-5
    forward, backward = (
        case.hamiltonian.network_energy(case.positions + h * direction, case.box, case.log_s)
        for h in (step, -step)
    )
    case.require(
        (gradient * direction).sum((1, 2)),
        (forward - backward) / (2.0 * step),
        1e-6,
        "its gradient is not that of finite differences",
    )


def _both_ends(case: NetworkCase) -> None:
    model = case.hamiltonian
    ends = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    case.require(
        model(case.positions, case.box, ends[0]),
        torch.zeros(4, dtype=torch.float64),
        0.0,
        "the ideal gas at lambda = 0 is no longer exact",
    )
    case.require(
        model(case.positions, case.box, ends[1]),
        model.end.energy(case.positions, case.box),
        1e-13,
        "the pair potential at lambda = 1 is no longer exact",
    )


def _many_levels(case: NetworkCase) -> None:
    model = case.hamiltonian
    lam = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    single = [model(case.positions, case.box, level.expand(4)) for level in lam]
    case.require(
        model.energies_at(case.positions, case.box, lam),
        torch.stack(single, dim=1),
        _EXACT,
        "`at_noise` at many levels is not what it is at each; are `features` (C, B, ., .)?",
    )


def _script(case: NetworkCase) -> None:
    try:
        scripted: Any = script(case.model, fusion=None)
    except Exception as error:  # TorchScript raises many kinds for what it cannot compile
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason")
        raise ConformanceError(
            f"network {case.kind}: TorchScript cannot compile it: {reason}"
        ) from error
    lam = torch.tensor([0.2, 0.6, 0.9, 0.99], dtype=torch.float64)
    results = []
    models: tuple[Any, Any] = scripted, case.model
    for model in models:
        positions = case.positions.clone().requires_grad_(True)
        energies = model(positions, case.box, lam)
        (gradient,) = torch.autograd.grad(energies.sum(), positions)
        levels = model.energies_at(case.positions, case.box, lam)
        results.append(
            torch.cat([part.detach().reshape(-1) for part in (energies, gradient, levels)])
        )
    case.require(results[0], results[1], _EXACT, "TorchScript computes something else than Python")


_FOR_ALL: tuple[Callable[[NetworkCase], None], ...] = (
    _answers,
    _translation,
    _wrapping,
    _rotation,
    _permutation,
    _silent_without_noise,
    _silent_without_neighbours,
    _smooth_at_its_cutoff,
    _batches,
    _sum_over_atoms,
    _derivatives_by_weights,
)
_FOR_ENERGIES: tuple[Callable[[NetworkCase], None], ...] = (
    _gradient,
    _both_ends,
    _many_levels,
    _script,
)
