"""`shipped_for`: which of the models that come with the package serves a state."""

from __future__ import annotations

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.model_files import load_denoiser, shipped_models


def shipped_for(state: StatePoint) -> list[str]:
    """Return the names of the shipped models, the one that serves `state` best first.

    Models that were trained for the state come before others. Among these, a model of one fluid
    comes before one of several, which knows each less well; among the others, the one of several
    comes first, for it knows more that is alike.
    """
    models = {name: load_denoiser(name) for name in shipped_models()}
    inside = [name for name, model in models.items() if _holds(model, state)]
    outside = [name for name in models if name not in inside]
    return [
        *sorted(inside, key=lambda name: _is_family(models[name])),
        *sorted(outside, key=lambda name: not _is_family(models[name])),
    ]


def _holds(model: NoisedFluid, state: StatePoint) -> bool:
    """Return whether a state is inside of what the model was trained for."""
    trained = model.training_range
    return not trained.differences(model.potential, state) and trained.holds_density(state)


def _is_family(model: NoisedFluid) -> bool:
    return model.training_range.family is not None
