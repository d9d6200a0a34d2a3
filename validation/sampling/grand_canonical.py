r"""Grand-canonical Monte Carlo: the number of particles in a box open to a reservoir.

Independent boxes move side by side, as in `monte_carlo`. A step tries one displacement and, at even
odds, one insertion at a random place or one removal of a random particle, accepted with

.. math:: \min\Big(1, \frac{z V}{N + 1} e^{-\beta \Delta U}\Big), \qquad
          \min\Big(1, \frac{N}{z V} e^{-\beta \Delta U}\Big), \qquad z \sigma^3 = e^{\beta\mu},

with mu counted as in `observables`: ln(rho sigma^3) + beta mu_ex. (D. J. Adams, Mol. Phys. 29, 307
(1975).) No free energy is computed on the way, so <N> checks p(N) of `observables`. In a dense
fluid neither insertions nor removals succeed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md.statistics import mean_and_error
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings

_FIRST_CAPACITY = 32
_STEP_SIGMA = 0.5


class GrandCanonicalConfig(Settings):
    """Effort spent on grand-canonical Monte Carlo."""

    n_walkers: int = Field(
        default=64, ge=8, le=100_000, description="Independent boxes; each starts empty."
    )
    equilibration_steps: int = Field(
        default=4000,
        ge=0,
        le=1_000_000_000,
        description="Steps of each box before the first frame.",
    )
    n_frames: int = Field(default=400, ge=2, le=10_000_000, description="Times at which N is read.")
    steps_between: int = Field(default=20, ge=1, le=1_000_000, description="Steps between them.")


@dataclass(frozen=True, eq=False)
class OpenBox:
    """Result of grand-canonical Monte Carlo at one chemical potential.

    Attributes
    ----------
    beta_mu
        ln(rho sigma^3) + beta mu_ex of the reservoir.
    mean_number, std_err
        <N> and its standard error, from independent boxes.
    drift
        Mean N of the second half less that of the first, in standard errors: several say that boxes
        still filled.
    distribution
        Share of frames with N = 0, 1, ... particles. Shape (M + 1,).
    """

    beta_mu: float
    mean_number: float
    std_err: float
    drift: float
    distribution: np.ndarray


@takes_execution
def sample(
    state: StatePoint, beta_mu: float, config: GrandCanonicalConfig, execution: Execution
) -> OpenBox:
    """Return samples of N in the box of `state`, open to a reservoir at `beta_mu`.

    `n_particles` of the state plays no part.
    """
    if state.is_mixture:
        raise ValueError(
            f"species = {', '.join(state.composition)}: grand-canonical Monte Carlo has one "
            "species here; compare with bar_chain"
        )
    random = execution.random("grand canonical", f"{beta_mu:.6f}")
    boxes = _Boxes(state, beta_mu, config.n_walkers, random)
    boxes.run(config.equilibration_steps)
    numbers = np.empty((config.n_frames, config.n_walkers))
    for frame in range(config.n_frames):
        boxes.run(config.steps_between)
        numbers[frame] = boxes.numbers
    mean, error = mean_and_error(
        numbers.T.ravel(), np.repeat(np.arange(config.n_walkers), config.n_frames)
    )
    half = config.n_frames // 2
    change = numbers[half:].mean(axis=0) - numbers[:half].mean(axis=0)
    spread = float(change.std(ddof=1)) / math.sqrt(config.n_walkers)
    counts = np.bincount(numbers.astype(int).ravel())
    return OpenBox(
        beta_mu,
        mean,
        error,
        float(change.mean()) / spread if spread else 0.0,
        counts / counts.sum(),
    )


class _Boxes:
    """Boxes of different numbers of particles, in arrays of one shape.

    Slots from `numbers` on are empty.
    """

    def __init__(
        self, state: StatePoint, beta_mu: float, n_walkers: int, rng: np.random.Generator
    ) -> None:
        self._state = state
        self._rng = rng
        self._edges = state.edges_sigma[:, None]
        self._log_zv = beta_mu + 3 * math.log(state.box_length_sigma)
        self._coordinates = np.zeros((3, n_walkers, _FIRST_CAPACITY))
        self._walkers = np.arange(n_walkers)
        self.numbers = np.zeros(n_walkers, dtype=int)

    def run(self, n_steps: int) -> None:
        """Make `n_steps` steps of every box."""
        for _ in range(n_steps):
            self._displace()
            self._exchange()

    def _displace(self) -> None:
        chosen = self._random_particles()
        before = self._coordinates[:, self._walkers, chosen]
        after = before + self._rng.uniform(-_STEP_SIGMA, _STEP_SIGMA, before.shape)
        rise = self._energies(after, chosen) - self._energies(before, chosen)
        taken = (rise < self._rng.standard_exponential(rise.shape)) & (self.numbers > 0)
        self._coordinates[:, taken, chosen[taken]] = after[:, taken] % self._edges

    def _exchange(self) -> None:
        """Try one insertion or one removal in each box.

        Both need the energy of one particle with the others.
        """
        inserts = self._rng.random(self.numbers.shape) < 0.5
        chosen = self._random_particles()
        new = self._rng.uniform(0, self._edges, (3, len(chosen)))
        places = np.where(inserts, new, self._coordinates[:, self._walkers, chosen])
        energy = self._energies(places, np.where(inserts, -1, chosen))
        with np.errstate(divide="ignore"):  # ln 0: an empty box has nothing to remove
            log_insert = self._log_zv - np.log(self.numbers + 1) - energy
            log_remove = np.log(self.numbers) - self._log_zv + energy
        wanted = np.where(inserts, log_insert, log_remove) > -self._rng.standard_exponential(
            energy.shape
        )
        added, removed = np.flatnonzero(wanted & inserts), np.flatnonzero(wanted & ~inserts)
        self._coordinates[:, added, self.numbers[added]] = places[:, added]
        self._coordinates[:, removed, chosen[removed]] = self._coordinates[
            :, removed, self.numbers[removed] - 1
        ]
        self.numbers[added] += 1
        self.numbers[removed] -= 1
        if self.numbers.max() == self._coordinates.shape[2]:
            self._coordinates = np.concatenate(
                [self._coordinates, np.zeros_like(self._coordinates)], axis=2
            )

    def _random_particles(self) -> np.ndarray:
        """Return one random slot of each box; 0 where the box is empty. Shape (W,)."""
        return np.asarray((self._rng.random(self.numbers.shape) * self.numbers).astype(int))

    def _energies(self, places: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """Return beta U (W,) of a particle at `places` (3, W) with all but slot `left_out` (W,)."""
        used = max(1, int(self.numbers.max()))
        r2 = np.zeros((len(self.numbers), used))
        for axis, edge in enumerate(self._edges):
            separation = self._coordinates[axis, :, :used] - places[axis, :, None]
            separation -= edge * np.rint(separation / edge)
            r2 += separation**2
        slots = np.arange(used)
        r2[(slots >= self.numbers[:, None]) | (slots == left_out[:, None])] = np.inf
        energies = np.where(
            np.isfinite(r2), pair_energy(np.where(np.isfinite(r2), r2, 1.0), self._state), 0.0
        )
        return np.asarray(energies.sum(axis=1) / self._state.temperature_star)
