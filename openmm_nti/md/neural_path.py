"""`NeuralPath`: the learned path from ideal gas to fluid as OpenMM objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import openmm

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.openmm_energy import LAMBDA, Particles
from openmm_nti.md.plugin import why_not_torch
from openmm_nti.model_files import load_model
from openmm_nti.references.coupling import checked_couplings

Implementation = Literal["auto", "torch", "python"]


class NeuralPath:
    """Makes OpenMM Systems and forces of a model at a state point.

    Their energy is U(x, lambda), with the global parameter `lambda_nti` for lambda.

    Parameters
    ----------
    model
        A Hamiltonian of the state's pair potential, or what `load_model` reads: a shipped model's
        name or a path.
    state
        State point: N, the cubic box, the temperature and the kind of atom.

    Raises
    ------
    ValueError
        If there is no such model. The methods raise it if the model is of another pair potential
        than `state`.
    """

    def __init__(self, model: LambdaHamiltonian | str | Path, state: StatePoint) -> None:
        self.model = model if isinstance(model, LambdaHamiltonian) else load_model(model)
        self.state = state

    def create_system(
        self, lambda_nti: float = 1.0, *, implementation: Implementation = "auto"
    ) -> openmm.System:
        """Return a System of the particles with `force`; a Context starts at `lambda_nti`."""
        return create_system(self.state, self.force(lambda_nti, implementation=implementation))

    def force(
        self,
        lambda_nti: float = 1.0,
        *,
        implementation: Implementation = "auto",
        particles: Particles = None,
        n_replicas: int = 1,
    ) -> Any:
        """Return the path as an OpenMM force.

        With `python`, read dU/dlambda by `openmm_nti.dudl` alone: OpenMM itself, also within a
        CustomIntegrator, finds 0.0 for the derivative of a PythonForce.

        Parameters
        ----------
        lambda_nti
            Default of the parameter, with which a Context starts, in [0, 1].
        implementation
            `torch` for `torch_force`, `python` for `python_force`, or `auto` for the first of the
            two that works here; see `openmm_nti.md.plugin.why_not_torch` and `openmm-nti doctor`.
        particles, n_replicas
            As for `torch_force`.

        Raises
        ------
        ValueError
            If the implementation is unknown, or `torch_force` refuses the arguments.
        RuntimeError
            If `implementation` is `torch` and a TorchForce cannot be used here.
        """
        makers = {"torch": torch_force, "python": python_force}
        if implementation == "auto":
            implementation = "python" if why_not_torch() else "torch"
        if implementation not in makers:
            raise ValueError(
                f"implementation = {implementation!r} is not known: choose auto, "
                f"{' or '.join(makers)}"
            )
        make_force = makers[implementation]
        return make_force(
            self.model,
            self.state,
            particles=particles,
            n_replicas=n_replicas,
            lambda_nti=lambda_nti,
        )

    def native_pair_force(
        self, lambda_nti: float = 1.0, *, particles: Particles = None, n_system: int | None = None
    ) -> openmm.CustomNonbondedForce:
        """Return the two-body part as OpenMM's own force; see `native_pair.native_pair_force`."""
        checked_couplings(lambda_nti, LAMBDA)
        force = native_pair_force(self.model, self.state, particles=particles, n_system=n_system)
        force.setGlobalParameterDefaultValue(0, lambda_nti)
        return force
