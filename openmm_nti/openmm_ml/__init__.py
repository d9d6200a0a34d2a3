"""`MLPotential("nti-lj")` for openmm-ml, which imports this for all its users: no torch, and
nothing that can fail.

setup.py installs this folder under a name of its own, `openmm_nti_openmmml`, for `openmm_nti`
itself loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import openmm
    from openmm import app

    from openmm_nti.fluid.state import StatePoint
    from openmm_nti.hamiltonian import LambdaHamiltonian


class NtiPotentialImplFactory:
    """What openmm-ml finds by the entry point `nti-lj` of the group `openmmml.potentials`."""

    def createImpl(self, name: str, **args: Any) -> NtiPotentialImpl:  # noqa: N802 (openmm-ml's protocol)
        """The potential; arguments as for `NtiPotentialImpl`."""
        return NtiPotentialImpl(name, **args)


class NtiPotentialImpl:
    """A fluid's learned path as openmm-ml's potential.

    Parameters
    ----------
    name
        The potential's name in openmm-ml.
    model
        As for `openmm_nti.load_model`: a shipped model's name or the path of your own.
    **fluid
        Further fields of `StatePoint`, such as `sigma_nm`, `epsilon_kj_mol` and `mass_dalton`;
        argon by default. N and the box come from the topology, the temperature and the cutoff from
        the model.
    """

    def __init__(self, name: str, *, model: str = "lj-fluid-t1.25", **fluid: Any) -> None:
        self.name, self._model, self._fluid = name, model, fluid

    def addForces(  # noqa: N802 (openmm-ml's protocol)
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        *,
        implementation: Literal["auto", "torch", "python"] = "auto",
    ) -> None:
        """Add the force with the global parameter `lambda_nti` to `system`.

        Parameters
        ----------
        topology
            With the cubic periodic box of the fluid.
        system
            That openmm-ml makes.
        atoms
            Indices of the fluid's atoms; None for all.
        forceGroup
            Group of the new force.
        implementation
            `torch` for `torch_force`, `python` for `python_force`, `auto` for the first that works
            here.

        Raises
        ------
        ValueError
            For a topology without a box, an unknown implementation, or a System the force cannot
            act on.
        """
        from openmm_nti.md.neural_path import NeuralPath
        from openmm_nti.md.system_checks import check_system
        from openmm_nti.model_files import load_model

        chosen = list(atoms) if atoms is not None else list(range(topology.getNumAtoms()))
        model = load_model(self._model)
        state = self._state(model, topology, len(chosen))
        if (
            system.getNumParticles() > 0
        ):  # for interpolation openmm-ml collects the forces in an empty System
            check_system(system, state, particles=chosen)
        force = NeuralPath(model, state).force(implementation=implementation, particles=chosen)
        force.setForceGroup(forceGroup)
        system.addForce(force)

    def _state(
        self, model: LambdaHamiltonian, topology: app.Topology, n_particles: int
    ) -> StatePoint:
        from openmm import unit

        from openmm_nti.fluid.state import StatePoint

        box = topology.getUnitCellDimensions()
        if box is None:
            raise ValueError(
                "the topology has no periodic box: set it by topology.setUnitCellDimensions"
            )
        fluid = {
            "n_particles": n_particles,
            "box_length_nm": box[0].value_in_unit(unit.nanometer),
            **self._fluid,
        }
        return StatePoint.model_validate({**model.potential.model_dump(), **fluid})
