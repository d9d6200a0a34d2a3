"""Excess chemical potential against density, from one insertion chain.

The figure shows the equation of state beside it.

Usage: python examples/chemical_potential.py [N] [OUTPUT], by default N = 40 (two minutes on one
core). OUTPUT gets chemical_potential.svg and the numbers it shows, chemical_potential.csv. Needs
`pip install openmm-nti[eos]`.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import openmm_nti
from openmm_nti.validation import plots
from openmm_nti.validation.analysis.observables import FreeEnergyCurve, fit_curve
from openmm_nti.validation.estimators import bar_chain, eos

n_particles = int(sys.argv[1]) if len(sys.argv) > 1 else 40
output = Path(sys.argv[2] if len(sys.argv) > 2 else "chemical-potential")
state = openmm_nti.StatePoint(n_particles=n_particles, box_length_sigma=6.0, temperature_star=1.25)

estimate = bar_chain.estimate(state, bar_chain.BarChainConfig(), seed=1, directory=output)
print(estimate, estimate.verdict.text, sep="; ")

fit = fit_curve(FreeEnergyCurve.from_chain(estimate, state.box_length_sigma))
print(
    f"polynomial of degree {fit.degree}, chi^2 {fit.chi_squared:.1f} of {fit.n_degrees_of_freedom}"
)

n = np.arange(2, n_particles)
density = n / state.volume_sigma3
value, error = fit.chemical_potential(n)
bulk = [
    eos.chemical_potential(state.model_copy(update={"n_particles": int(number)})) for number in n
]
bulk_value, bulk_error = (
    np.array([getattr(one, name) for one in bulk]) for name in ("value", "std_err")
)

ax = Figure(layout="constrained").add_subplot()
plots.chemical_potential(density, value, error, label="insertion chain", ax=ax)
plots.chemical_potential(density, bulk_value, bulk_error, label="equation of state", ax=ax)
columns = {
    "density": density,
    "beta_mu_ex": value,
    "std_err": error,
    "eos": bulk_value,
    "eos_std_err": bulk_error,
}
print("numbers:", plots.save(ax, output / "chemical_potential.svg", columns))
