"""`MLPotential("nti-lj")` for openmm-ml: a fluid's learned path as one of its potentials.

openmm-ml imports this module for all its users, so it must not load torch and must not fail.
`openmm_nti` loads torch, so setup.py installs this folder under the name `openmm_nti_openmmml`.
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
    """Factory that openmm-ml finds as the entry point `nti-lj` of `openmmml.potentials`."""

    # The name is openmm-ml's.
    def createImpl(self, name: str, **args: Any) -> NtiPotentialImpl:  # noqa: N802
        """Return the potential; the arguments are those of `NtiPotentialImpl`."""
        return NtiPotentialImpl(name, **args)


class NtiPotentialImpl:
    """Potential of openmm-ml that adds a fluid's learned path to a System.

    Parameters
    ----------
    name
        Name of the potential in openmm-ml.
    model
        Name of a shipped model or path of your own, as for `openmm_nti.load_model`.
    **fluid
        Fields of `StatePoint` such as `sigma_nm`, `epsilon_kj_mol` and `mass_dalton`; by default
        those of argon. N and the box come from the topology, the temperature and the cutoff from
        the model.
    """

    def __init__(self, name: str, *, model: str = "lj-fluid-t1.25", **fluid: Any) -> None:
        self.name = name
        self._model = model
        self._fluid = fluid

    def addForces(  # noqa: N802 (the name is openmm-ml's)
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        *,
        implementation: Literal["auto", "torch", "python"] = "auto",
    ) -> None:
        """Add the learned force, whose global parameter is `lambda_nti`, to `system`.

        Parameters
        ----------
        topology
            Topology with the periodic box of the fluid.
        system
            System that openmm-ml makes.
        atoms
            Indices of the fluid's atoms; None for all.
        forceGroup
            Group of the new force.
        implementation
            `torch` for `torch_force`, `python` for `python_force`, `auto` for the first of them
            that works here.

        Raises
        ------
        ValueError
            If the topology has no box, the implementation is unknown, or the force cannot act on
            the System.
        """
        from openmm_nti.md.neural_path import NeuralPath
        from openmm_nti.md.system_checks import check_system
        from openmm_nti.model_files import load_model

        chosen = list(atoms) if atoms is not None else list(range(topology.getNumAtoms()))
        model = load_model(self._model)
        state = self._state(model, topology, len(chosen))
        # To interpolate between potentials, openmm-ml collects their forces in an empty System.
        if system.getNumParticles() > 0:
            check_system(system, state, particles=chosen)
        force = NeuralPath(model, state).force(implementation=implementation, particles=chosen)
        force.setForceGroup(forceGroup)
        system.addForce(force)

    def _state(
        self, model: LambdaHamiltonian, topology: app.Topology, n_particles: int
    ) -> StatePoint:
        """Return the state point of `n_particles` atoms of the fluid in the topology's box."""
        from openmm import unit

        from openmm_nti.fluid.state import StatePoint

        box = topology.getUnitCellDimensions()
        if box is None:
            raise ValueError(
                "the topology has no periodic box: set it by topology.setUnitCellDimensions"
            )
        fluid = {
            "n_particles": n_particles,
            "box_nm": [edge.value_in_unit(unit.nanometer) for edge in box],
            **self._fluid,
        }
        return StatePoint.model_validate({**model.potential.model_dump(), **fluid})
