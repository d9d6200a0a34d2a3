"""`TetheredFluid`: molecular dynamics of a fluid whose atoms are harmonically restrained.

Each atom is tethered: it hangs on a spring whose other end, its centre, is fixed.

In a dense fluid, two atoms that were to change places would have to squeeze past each other, and
that hardly ever happens in a simulation. They are identical, though: exchanging two neighbours
costs the energy of the springs alone. Trades by the Metropolis rule do it at once (compare swap
Monte Carlo: Grigera, Parisi, Phys. Rev. E 63, 045102 (2001)). Atoms of a crystal belong to their
sites and never trade.
"""

from __future__ import annotations

import math

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.platforms import fastest_platform, minimize, platform_properties
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.sampling.metropolis import trades

Array = NDArray[np.float64]
# The time step is this part of 1/omega of a pair at contact: 0.008 at T* = 1.25.
_STEP_OF_CONTACT = 0.278
_CONTACT_KT = (2.0, 2.2)  # between these energies the stiffness of a pair is taken
_SOFTEST = 60.0  # kT/sigma^2: several soft pairs at a time are stiffer than one
_FRICTION = 0.008  # for each time step
_TIMESTEP_STAR = 0.008  # of crystals
_FRICTION_OF_CRYSTALS = 5.0  # at least; more in units of the frequency of a tether
_DAMPING, _STEP_OF_VIBRATION = 0.5, 0.4
_N_BLOCKS = 6  # of a chain; the first two of a chain from the model's answer are left out
_STEPS_BETWEEN_POSITIONS = 10
_STEPS_BETWEEN_TRADES = 40
# Atoms up to which the Reference platform is the quickest: others lose time to threads or launches.
_FEW = 40
_CONTACT_SIGMA = 0.8  # atoms are moved apart to this distance before the minimiser takes over
_MOST_ROUNDS = 500
_FORCE_TOLERANCE = 50.0  # kJ/mol/nm, as large as thermal forces
# Of a model's answer, in units of the noise: a bad one must not break the fluid.
_LONGEST_JUMP = 4.0
_VELOCITY = unit.nanometer / unit.picosecond


def platform_for(n_particles: int) -> str | None:
    """Return the name of the platform for that many particles, None for the fastest there is."""
    return "Reference" if n_particles <= _FEW else None


class TetheredFluid:
    """Langevin dynamics of the fluid with every atom on a spring, and trades between neighbours.

    Parameters
    ----------
    state
        The fluid.
    execution
        Its seed decides velocities, thermostat and trades.
    """

    def __init__(self, state: StatePoint, execution: Execution) -> None:
        self._state = state
        self._rng = np.random.default_rng(execution.seed)
        self._force = openmm.CustomExternalForce(
            "0.5 * spring * ((x - x0)^2 + (y - y0)^2 + (z - z0)^2)"
        )
        self._force.addGlobalParameter("spring", 0.0)
        for name in ("x0", "y0", "z0"):
            self._force.addPerParticleParameter(name)
        for particle in range(state.n_particles):
            self._force.addParticle(particle, [0.0, 0.0, 0.0])
        system = fluid_system(state)
        system.addForce(self._force)
        self._speed = speed_per_ps(state)
        self._longest_step = longest_step_ps(state)
        self._integrator = openmm.LangevinMiddleIntegrator(
            state.temperature_kelvin * unit.kelvin,
            _FRICTION / self._longest_step / unit.picosecond,
            self._longest_step * unit.picosecond,
        )
        self._integrator.setRandomNumberSeed(execution.seed_of("thermostat"))
        fastest = fastest_platform(platform_for(state.n_particles))
        self._context = openmm.Context(
            system, self._integrator, fastest, platform_properties(fastest)
        )
        self._species = state.species_of_particles if state.is_mixture else None
        self._centres = np.zeros((state.n_particles, 3))
        self._spread = math.inf

    def tether(self, centres: Array, spread: float) -> None:
        """Tether the atoms to `centres` (N, 3): the energy is |x - centre|^2 / 2 spread^2 in kT.

        Centres and spread are in sigma.
        """
        self._centres = centres
        self._spread = spread
        for particle, centre in enumerate(centres * self._state.sigma_nm):
            self._force.setParticleParameters(particle, particle, centre)
        self._force.updateParametersInContext(self._context)
        self._context.setParameter(
            "spring", self._state.kt_kj_mol / (spread * self._state.sigma_nm) ** 2
        )
        self._take_pace(self._speed / spread)

    def _take_pace(self, frequency: float) -> None:
        """Fit the time step to the frequency of an atom on its tether, in 1/ps.

        Vibrations are then resolved, and in crystals, where friction is fitted too, soon forgotten.
        """
        step = min(self._longest_step, _STEP_OF_VIBRATION / frequency)
        if self._state.crystal is not None:
            least = _FRICTION_OF_CRYSTALS / self._state.time_unit_ps
            friction = max(least, _DAMPING * frequency)
            self._integrator.setFriction(friction / unit.picosecond)
        self._integrator.setStepSize(step * unit.picosecond)

    def displacements(self, start: Array, n_steps: int, *, settle: bool) -> Array:
        """Return mean displacements from the centres in six consecutive parts of a chain.

        Parameters
        ----------
        start
            Displacements (N, 3) that the chain begins with, sigma.
        n_steps
            Length of the chain in MD steps.
        settle
            Whether overlaps are removed first.

        Returns
        -------
        Array
            (6, N, 3), sigma.
        """
        positions = self._centres + start
        if settle:
            positions = remove_overlaps(positions, self._state.edges_sigma)
        self._place(positions)
        if settle:
            minimize(self._context, _FORCE_TOLERANCE)
        seed = int(self._rng.integers(1, 2**31 - 1))
        self._context.setVelocitiesToTemperature(self._state.temperature_kelvin * unit.kelvin, seed)
        n_rounds = max(_N_BLOCKS, n_steps // _STEPS_BETWEEN_TRADES)
        rounds = np.array([self._round() for _ in range(n_rounds)])
        return np.array([part.mean(axis=0) for part in np.array_split(rounds, _N_BLOCKS)])

    def _round(self) -> Array:
        """Make some steps, then trades; return the mean displacement, (N, 3), sigma."""
        total = np.zeros_like(self._centres)
        n_reads = _STEPS_BETWEEN_TRADES // _STEPS_BETWEEN_POSITIONS
        for _ in range(n_reads):
            self._integrator.step(_STEPS_BETWEEN_POSITIONS)
            positions = self._positions()
            total += positions - self._centres
        self._trade(positions)
        return total / n_reads

    def _positions(self) -> Array:
        now = self._context.getState(positions=True).getPositions(asNumpy=True)
        return np.asarray(now.value_in_unit(unit.nanometer)) / self._state.sigma_nm

    def _place(self, positions: Array) -> None:
        self._context.setPositions(positions * self._state.sigma_nm)

    def _trade(self, positions: Array) -> None:
        """Let neighbours change places by the Metropolis rule, unless they have sites."""
        if self._state.crystal is not None:
            return
        edges = self._state.edges_sigma
        whose = trades(positions, self._centres, self._spread, edges, self._rng, self._species)
        if (whose == np.arange(len(whose))).all():
            return
        now = self._context.getState(velocities=True).getVelocities(asNumpy=True)
        displacements = np.empty_like(positions)
        velocities = np.empty_like(positions)
        displacements[whose] = positions - self._centres[whose]
        velocities[whose] = now.value_in_unit(_VELOCITY)
        self._place(self._centres + nearest_image(displacements, edges))
        self._context.setVelocities(velocities)


def products(
    fluid: TetheredFluid,
    start: Array,
    answer: Array,
    spread: float,
    n_steps: int,
    guess: Array | None = None,
) -> tuple[float, float, float]:
    """Return the three products of displacements of one frame, in sigma^2.

    They are `lower`, `middle` and `upper` of `validation.estimators.tethered`.

    Parameters
    ----------
    fluid
        Tethered to the noised positions.
    start
        Displacements (N, 3) of the true frame from its noised positions, sigma.
    answer
        Those that the model expects.
    spread
        Of the tethers, sigma.
    n_steps
        Length of the chains.
    guess
        Displacements without overlaps, known without the frame, that chains may begin with; by
        default the answer, whose overlaps are removed.
    """
    settle = guess is None
    if guess is None:
        length = np.linalg.norm(answer, axis=1, keepdims=True)
        guess = answer * np.minimum(1.0, _LONGEST_JUMP * spread / np.maximum(length, 1e-9))
    a = fluid.displacements(start, n_steps, settle=False) - answer
    b = fluid.displacements(guess, n_steps, settle=settle)[2:].mean(0) - answer
    c = fluid.displacements(guess, n_steps, settle=settle)[2:].mean(0) - answer
    # Displaced together, the atoms have the same energy: nothing can be learned about that.
    a, b, c = (chain - chain.mean(axis=-2, keepdims=True) for chain in (a, b, c))
    product = float((a.mean(0) * (b + c)).sum())
    lower = product - (b * c).sum()
    return lower, 0.5 * product, (a[:2].mean(0) * a[-2:].mean(0)).sum()


def longest_step_ps(state: StatePoint) -> float:
    """Return the time step for the stiffest kind of pair at contact and the lightest atom, in ps.

    So soft atoms take longer steps than hard ones: how far an atom comes in a step is then in
    proportion to the distances at which its neighbours' forces change. A crystal's is in units of
    the Lennard-Jones time: there the tethers decide.
    """
    if state.crystal is not None:
        return _TIMESTEP_STAR * state.time_unit_ps
    stiffness = _SOFTEST
    for kind in state.pair_potential.kinds:
        (far, slope), (near, steeper) = map(kind.pair_in_kt.core, _CONTACT_KT)
        if far > near > 0:
            stiffness = max(stiffness, (slope - steeper) / (far - near))
    return _STEP_OF_CONTACT / (speed_per_ps(state) * math.sqrt(stiffness))


def speed_per_ps(state: StatePoint) -> float:
    """Return sqrt(kT / m) of the lightest atom, in sigma per ps."""
    return math.sqrt(state.kt_kj_mol / min(state.masses_dalton)) / state.sigma_nm


def remove_overlaps(positions: Array, edges: ArrayLike) -> Array:
    """Return `positions` (N, 3) in sigma with overlapping atoms moved apart.

    They are moved as far as finite forces need: a minimiser gives up where two atoms are almost in
    one place.
    """
    # a little displacement that differs from atom to atom, so that no two are in one place
    positions = positions + 1e-3 * np.sin(np.arange(positions.size).reshape(positions.shape))
    first, second = np.triu_indices(len(positions), 1)
    for _ in range(_MOST_ROUNDS):
        vectors = nearest_image(positions[first] - positions[second], edges)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        close = lengths < _CONTACT_SIGMA
        if not close.any():
            break
        # Each of the two goes half of what is missing, and a little more.
        steps = vectors[close] * (0.5 * (1.01 * _CONTACT_SIGMA / lengths[close] - 1.0))[:, None]
        np.add.at(positions, first[close], steps)
        np.add.at(positions, second[close], -steps)
    return positions
