r"""Nonequilibrium switching along lambda: a ramp in one Context, with the work it takes.

The work of a ramp lambda_0 -> ... -> lambda_n is the sum of what the changes of lambda cost at
fixed positions,

.. math:: w = \sum_k [ U(x_k, \lambda_{k+1}) - U(x_k, \lambda_k) ],

and works of ramps in both directions, each started in equilibrium, give the free-energy difference
by Bennett's acceptance ratio (Crooks, Phys. Rev. E 60, 2721 (1999)): `pymbar.bar(w_forward,
w_reverse)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import openmm

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.readers import reduced_potentials


def switch(context: openmm.Context, lambdas: Sequence[float], steps_per_change: int) -> np.ndarray:
    """Drive `context` through `lambdas` and return the work done up to each of them.

    Parameters
    ----------
    context
        In equilibrium at the first of `lambdas`, with a thermostat at the model's temperature.
    lambdas
        Couplings in the order of the ramp, (n + 1,).
    steps_per_change
        Integrator steps after each change of lambda; none are needed after the last.

    Returns
    -------
    numpy.ndarray
        Cumulative work in kT, (n + 1,); the first is 0, the last the work of the whole ramp.

    Raises
    ------
    ValueError
        If there are fewer than two lambdas, or no positive number of steps.
    """
    if len(lambdas) < 2 or steps_per_change < 1:
        raise ValueError(
            f"a ramp needs two lambdas or more and one step or more, not {len(lambdas)} and "
            f"{steps_per_change}"
        )
    work = np.zeros(len(lambdas))
    context.setParameter(LAMBDA, lambdas[0])
    for number, (here, there) in enumerate(itertools.pairwise(lambdas)):
        before, after = reduced_potentials(context, (here, there))
        work[number + 1] = work[number] + after - before
        context.setParameter(LAMBDA, there)
        if number + 2 < len(lambdas):
            context.getIntegrator().step(steps_per_change)
    return work
