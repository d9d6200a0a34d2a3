"""Everything that decides an estimate, and what changes when one of it does."""

import json
import typing
from dataclasses import dataclass, field

import numpy as np
import torch
from models import make_random_model

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_samples
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import estimator


@dataclass(frozen=True)
class Inputs:
    """Everything that decides an estimate."""

    method: str
    settings: dict
    seed: int = 1
    frames: int = 1
    weight: float = 0.0
    state: StatePoint = field(default=TWO_PARTICLES)

    def number(self, folder):
        """Return all that the estimate says, as text; `refused` where the inputs do not fit."""
        known = estimator(self.method)
        job = Job(self.state, self.data(), self.model(known), Execution(self.seed, 1, folder))
        try:
            found = known.estimate(job, known.Config(**self.settings))
        except ValueError as error:
            return f"refused: {error}"
        return json.dumps(found.to_dict(), sort_keys=True)

    def data(self):
        frames = exact_samples(40, np.random.default_rng(self.frames)).positions_sigma
        energies = reduced_potential_numpy(frames, self.state)
        return Ensemble(self.state, frames * self.state.sigma_nm, energies, {})

    def model(self, known):
        if not known.needs_model:
            return None
        kind = "density" if "energy" in known.needs else "denoiser"
        model = make_random_model(self.state, kind=kind)
        with torch.no_grad():
            next(iter(model.network.parameters())).view(-1)[0] += self.weight
        return model


def other_settings(config):
    """Yield each field of the settings with the settings in which it alone is one step further."""
    now = config.model_dump()
    for name, info in type(config).model_fields.items():
        for value in (*steps_from(now[name], info.annotation), ("Ar",)):
            try:
                settings = type(config).model_validate(now | {name: value}).model_dump()
            except ValueError:
                continue
            yield name, settings
            break
        else:
            raise AssertionError(f"{type(config).__name__}.{name}: nothing else is allowed")


def steps_from(value, annotation):
    """Return values near `value`, the nearest first."""
    parts = typing.get_args(annotation)
    choices = [one for part in (annotation, *parts) for one in typing.get_args(part)]
    choices = [one for one in choices if isinstance(one, str)]
    if choices:
        return [one for one in choices if one != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value + 4, value - 1]
    if isinstance(value, float):
        return [1.2 * value, 0.8 * value]
    return ["CPU"] if value == "Reference" else ["Reference"]


def check(first, changes, folder):
    """The first number, then each other in the same folder and in a new one, then the first."""
    shared, wrong = folder / "shared", []
    number = first.number(shared)
    assert not number.startswith("refused")
    for what, must_differ, other in changes:
        again, fresh = other.number(shared), other.number(folder / f"new {what}")
        if again != fresh:
            wrong.append(f"{first.method}: {what} changed, and the number is of an old file")
        if must_differ and again == number:
            wrong.append(f"{first.method}: {what} changed nothing")
    if first.number(shared) != number:
        wrong.append(f"{first.method}: the first number did not come back")
    assert wrong == [], wrong
