"""`NeuralPath`: the learned path from ideal gas to fluid as OpenMM objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import openmm
from openmm import app

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.crystals.path import CrystalHamiltonian
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.openmm_energy import LAMBDA, Particles
from openmm_nti.md.own_system.reading import describe_system
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
        name or a path. A `CrystalHamiltonian` is the path from phonons to a crystal.
    state
        State point: N, the box, the temperature and the kind of atom.

    Raises
    ------
    ValueError
        If there is no such model. The methods raise it if the model is of another pair potential
        than `state`.
    """

    def __init__(
        self, model: LambdaHamiltonian | CrystalHamiltonian | str | Path, state: StatePoint
    ) -> None:
        found = load_model(model) if isinstance(model, str | Path) else model
        self.model = cast("LambdaHamiltonian", found)  # that of a crystal does as well
        self.state = state
        self._own: openmm.System | None = None  # of `from_system`, without its pair forces
        self._particles: Particles = None  # of the state in that System, if in another order

    @classmethod
    def from_system(
        cls,
        model: LambdaHamiltonian | str | Path,
        system: openmm.System,
        topology: app.Topology | None = None,
        *,
        temperature: Any,
    ) -> NeuralPath:
        """Return the path of a System of your own, read by `openmm_nti.read_system`.

        Its `create_system` returns copies of that System. The path stands there in the place of the
        pair forces, and other forces stay: a wall, or restraints.

        Parameters
        ----------
        model
            As for `NeuralPath`.
        system, topology, temperature
            As for `read_system`.
        """
        reading = describe_system(system, topology, temperature=temperature)
        path = cls(model, reading.state)
        path._own = openmm.XmlSerializer.clone(system)
        for index in reversed(reading.replaced):
            path._own.removeForce(index)
        if path.state.is_mixture:
            path._particles = reading.particles
        return path

    def create_system(
        self, lambda_nti: float = 1.0, *, implementation: Implementation = "auto"
    ) -> openmm.System:
        """Return a System of the particles with `force`; a Context starts at `lambda_nti`."""
        force = self.force(lambda_nti, implementation=implementation)
        if self._own is None:
            return create_system(self.state, force)
        system = openmm.XmlSerializer.clone(self._own)
        system.addForce(force)
        return system

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
            particles=self._particles if particles is None else particles,
            n_replicas=n_replicas,
            lambda_nti=lambda_nti,
        )

    def native_pair_force(
        self, lambda_nti: float = 1.0, *, particles: Particles = None, n_system: int | None = None
    ) -> openmm.CustomNonbondedForce:
        """Return the two-body part as OpenMM's own force; see `native_pair.native_pair_force`."""
        checked_couplings(lambda_nti, LAMBDA)
        if isinstance(self.model, CrystalHamiltonian):
            raise TypeError("the path of a crystal is no sum over pairs: use `force`")
        force = native_pair_force(self.model, self.state, particles=particles, n_system=n_system)
        force.setGlobalParameterDefaultValue(0, lambda_nti)
        return force
