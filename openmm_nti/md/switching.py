r"""Nonequilibrium switching: the work done on the system while lambda changes in steps.

The work along lambda_0 -> ... -> lambda_n is the sum of the energy differences of the steps, each
at fixed positions:

.. math:: w = \sum_k [ U(x_k, \lambda_{k+1}) - U(x_k, \lambda_k) ].

Works in both directions, each started from equilibrium, give the free-energy difference by
Bennett's acceptance ratio (Crooks, Phys. Rev. E 60, 2721 (1999)):
`pymbar.bar(w_forward, w_reverse)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import openmm

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.readers import check_sampling, reduced_potentials
from openmm_nti.references.coupling import checked_couplings


def switch(context: openmm.Context, lambdas: Sequence[float], steps_per_change: int) -> np.ndarray:
    """Return the cumulative work at each of `lambdas` while lambda runs through them.

    Parameters
    ----------
    context
        Context in equilibrium at the first of `lambdas`, with a thermostat at the model's
        temperature. It is left at the last of them.
    lambdas
        Values of lambda in [0, 1], in order, (n + 1,).
    steps_per_change
        Number of integrator steps after each change of lambda but the last.

    Returns
    -------
    numpy.ndarray
        Cumulative work in kT, (n + 1,). The first is 0, the last is the total work.

    Raises
    ------
    ValueError
        If there are fewer than two lambdas or one step, a lambda is not in [0, 1], or the
        thermostat is not at the model's temperature; see `system_checks.check_thermostat`.
    """
    if len(lambdas) < 2 or steps_per_change < 1:
        raise ValueError(
            f"a ramp needs two lambdas or more and one step or more, not {len(lambdas)} and "
            f"{steps_per_change}"
        )
    checked = checked_couplings(lambdas, "lambdas")
    check_sampling(context)
    work = np.zeros(checked.size)
    context.setParameter(LAMBDA, checked[0])
    for number, (here, there) in enumerate(itertools.pairwise(checked)):
        before, after = reduced_potentials(context, (here, there))
        work[number + 1] = work[number] + after - before
        context.setParameter(LAMBDA, there)
        if number + 2 < checked.size:
            context.getIntegrator().step(steps_per_change)
    return work
