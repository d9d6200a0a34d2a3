r"""Lower bound on the excess free energy by denoising alone (de Bruijn's identity).

With I(q_s) = E|grad ln q_s|^2 of the reference data under noise of variance s_eff^2,

.. math:: \beta F_{ex} = \langle \beta U_{LJ} \rangle + \frac12 \int I(q_s) \, d(s_{eff}^2), \qquad
          I(q_s) \ge 2 \, E[\nabla U \cdot g^*] - E|\nabla U|^2

for any model gradient and any unbiased target g* of the true one (`model_bound` says which). No
simulation and no dU/dlambda is needed, the result never exceeds beta F_ex beyond its statistical
error, and its gap is the model's whole error: 1/2 int E|grad U - grad U*|^2 d(s_eff^2), second
order in the score.

What is left of the gap is measured by tethered chains (`tethered`). They raise the bound, which
stays one, and lead to an estimate of beta F_ex that is free of the model's errors at all noise but
the smallest and largest: `neural_ti_tethered`.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, read_json, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.validation.estimators import tethered
from openmm_nti.validation.estimators.model_bound import model_bound

# errors between the bounds from below and above that chains which have forgotten their start rarely
# show
_MEMORY = 3.0
# of stored bounds: raise it when the same settings make other numbers, so that old files are not
# taken up
_EDITION = 2


class BoundConfig(BaseModel):
    """Effort spent on the denoising bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_levels: int = Field(
        default=24,
        ge=4,
        description="Noise levels: nodes of the Gauss-Legendre quadrature in ln s.",
    )
    n_pairs: int = Field(
        default=768,
        ge=8,
        description="Antithetic pairs of noised frames per level, on average; more where it "
        "counts.",
    )
    n_tethered: int = Field(
        default=64,
        ge=0,
        description="Noised frames whose tethered chains measure the model's gap and raise the "
        "bound; 0 for the model "
        "alone, as for the `truncated` convention.",
    )
    tethered_steps: int = Field(
        default=6000,
        ge=240,
        description="MD steps of each of the three chains of a frame; more on long tethers, and "
        "below 160 particles.",
    )

    @model_validator(mode="after")
    def _enough_for_an_error(self) -> BoundConfig:
        if 0 < self.n_tethered < 4:
            raise ValueError(
                f"n_tethered = {self.n_tethered} is too few for an error bar: take 0, or 4 at least"
            )
        return self

    def measures_gap(self, state: StatePoint) -> bool:
        """Whether there are tethered chains at `state`: their forces must be the gradient of the
        energy.
        """
        return self.n_tethered > 0 and state.is_continuous


@dataclass(frozen=True)
class _Part:
    """An addend of beta F_ex, with its standard error, kT."""

    value: float
    std_err: float


def estimate(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    *,
    seed: int,
    directory: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> FreeEnergy:
    """Lower bound on beta F_ex, from denoising by the model and then by tethered chains that begin
    where it ends.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid; frames the model was trained on make the bound
        look better than it is by the amount of its overfitting.
    config
        Effort.
    seed
        Of the noise, the choice of frames, and the chains.
    directory
        Keeps what is finished, from which an interrupted estimate goes on; None leaves nothing on
        disk.
    workers
        Processes to share the tethered chains out to.
    progress
        Show progress bars with the time left.

    Returns
    -------
    FreeEnergy
        Method `neural_ti_bound`. Diagnostics: `model_bound` and `model_bound_err`, what the model
        has alone; `noise_sigma` (levels), `contribution_kt` and `contribution_err` (what each adds
        to that); `mean_energy_kt`; and where there are tethered chains those of
        `estimate_tethered`.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials.
    """
    alone, gap = _parts(model, ensemble, config, seed, directory, workers, progress)
    if gap is None:
        return alone
    added = _Part(*gap.integral(gap.lower))
    return _sum(
        alone, added, "neural_ti_bound", {**alone.diagnostics, **_of_chains(alone, gap, config)}
    )


def estimate_tethered(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    *,
    seed: int,
    directory: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> FreeEnergy:
    """Beta F_ex from the model's bound and its gap as measured by tethered chains.

    Exact for a model whose errors are at noise within `tethered.NOISE_SIGMA`; others are not seen.

    Parameters
    ----------
    model, ensemble, config, seed, directory, workers, progress
        As for `estimate`, whose samples it shares.

    Returns
    -------
    FreeEnergy
        Method `neural_ti_tethered`. Diagnostics: `lower`, `upper` and their errors, between which
        it lies but for noise; `gap` with its error, what the model lacks, and where:
        `gap_density_kt` with `gap_density_err` by unit of ln s at `gap_noise_sigma`; `n_tethered`,
        `tethered_steps`; and a `verdict` on whether the chains were long enough.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or there are no tethered chains.
    """
    alone, gap = _parts(model, ensemble, config, seed, directory, workers, progress)
    if gap is None:
        raise ValueError(
            "neural_ti_tethered needs tethered chains: n_tethered above 0, and the `switched` "
            "convention"
        )
    return _sum(
        alone,
        _Part(*gap.integral(gap.middle)),
        "neural_ti_tethered",
        _of_chains(alone, gap, config),
    )


def _parts(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    seed: int,
    directory: str | Path | None,
    workers: int,
    progress: bool,
) -> tuple[FreeEnergy, tethered.Gap | None]:
    """The bound of the model alone, and what tethered chains say about its gap."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="openmm-nti-") as temporary:
            return _parts(model, ensemble, config, seed, temporary, workers, progress)
    check_model_fits(model, ensemble.state)
    effort = [config.n_levels, config.n_pairs, _EDITION]
    data = [
        ensemble.state.model_dump(),
        float(ensemble.positions_nm.sum()),
        len(ensemble.positions_nm),
    ]
    path = (
        Path(directory)
        / "bound"
        / f"{fingerprint([data, effort, seed, weights_fingerprint(model)])}.json"
    )
    if not path.is_file():
        write_json(
            path,
            model_bound(
                model, ensemble, config.n_levels, config.n_pairs, seed=seed, progress=progress
            ).to_dict(),
        )
    alone = FreeEnergy.from_dict(read_json(path))
    if not config.measures_gap(ensemble.state):
        return alone, None
    gap = tethered.measure(
        model,
        ensemble,
        config.n_tethered,
        config.tethered_steps,
        seed=seed,
        directory=Path(directory),
        workers=workers,
        progress=progress,
    )
    return alone, gap


def _sum(
    alone: FreeEnergy, added: _Part, method: str, diagnostics: dict[str, object]
) -> FreeEnergy:
    return FreeEnergy(
        value=alone.value + added.value,
        std_err=math.hypot(alone.std_err, added.std_err),
        method=method,
        convention=alone.convention,
        n_particles=alone.n_particles,
        diagnostics=diagnostics,
    )


def _of_chains(alone: FreeEnergy, gap: tethered.Gap, config: BoundConfig) -> dict[str, object]:
    """What the tethered chains say, as diagnostics."""
    lower, middle, upper = (
        _Part(*gap.integral(each)) for each in (gap.lower, gap.middle, gap.upper)
    )
    noise, density, errors = gap.profile(gap.middle)
    memory = _Part(*gap.integral(gap.upper - gap.lower))
    remembers = memory.value > _MEMORY * memory.std_err
    between = f"{memory.value:.2g} +- {memory.std_err:.2g} kT between the chains' bounds"
    return {
        "n_tethered": config.n_tethered,
        "tethered_steps": config.tethered_steps,
        "gap": middle.value,
        "gap_err": middle.std_err,
        "gap_noise_sigma": noise.tolist(),
        "gap_density_kt": density.tolist(),
        "gap_density_err": errors.tolist(),
        "lower": alone.value + lower.value,
        "lower_err": math.hypot(alone.std_err, lower.std_err),
        "upper": alone.value + upper.value,
        "upper_err": math.hypot(alone.std_err, upper.std_err),
        "verdict": f"poor: {between}; take more tethered_steps"
        if remembers
        else f"good ({between})",
    }
