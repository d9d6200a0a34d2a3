"""What a training has brought, in sentences: how far the bound rose, and at what cost.

The gain is measured on frames that were kept out of training; see `training.held_out`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from openmm_nti.free_energy import uncertain

_CLEAR = 2.0  # standard errors


def learned(training: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each state point of a training, and one on its cost.

    Parameters
    ----------
    training
        The key `training` of a model's card.
    """
    for label, gains in (training.get("held_out") or {}).items():
        gain, error = (  # null, in a file, is NaN
            math.nan if gains.get(name) is None else gains[name] for name in ("gain_kt", "gain_err")
        )
        if not (math.isfinite(gain) and math.isfinite(error) and error > 0):
            said = "what the network adds to the lower bound is unknown"
        elif gain > _CLEAR * error:
            said = f"the network raises the lower bound by {uncertain(gain, error)} kT"
        else:
            said = (
                "the network adds nothing measurable to the lower bound "
                f"({uncertain(gain, error)} kT); the path of pairs alone would do as well"
            )
        yield f"Learned at {label}: {said}."
    seconds = training.get("core_seconds")
    if seconds is not None:
        yield f"Training took {training['steps']} steps, {seconds / 60:.1f} minutes of one process."
