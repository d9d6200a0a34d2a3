"""Figures of runs. Each function draws on `ax`, or on a new figure, and returns the axes."""

from openmm_nti.validation.plots.bounds import bracket, gap_by_noise, work_histogram
from openmm_nti.validation.plots.drawing import COLOURS, name_at_the_end, save
from openmm_nti.validation.plots.fluid import chemical_potential, radial_distribution
from openmm_nti.validation.plots.profiles import dudl
from openmm_nti.validation.plots.summary import estimates
from openmm_nti.validation.plots.training import gain_by_noise, training_curve
from openmm_nti.validation.plots.windows import convergence, overlap_matrix

__all__ = [
    "COLOURS",
    "bracket",
    "chemical_potential",
    "convergence",
    "dudl",
    "estimates",
    "gain_by_noise",
    "gap_by_noise",
    "name_at_the_end",
    "overlap_matrix",
    "radial_distribution",
    "save",
    "training_curve",
    "work_histogram",
]
