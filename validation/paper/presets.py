"""How much of the paper is computed and with what effort.

`QUICK` takes half an hour on two cores, `FULL` takes hours.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.settings import Settings
from openmm_nti.validation.estimators.bar_chain import BarChainConfig
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.neural_ti import NeuralTIConfig
from openmm_nti.validation.estimators.path_weights import PathConfig
from openmm_nti.validation.estimators.registry import section_config
from openmm_nti.validation.estimators.softcore import SoftcoreConfig
from openmm_nti.validation.paper.toy import ToyConfig
from openmm_nti.validation.sampling.grand_canonical import GrandCanonicalConfig
from openmm_nti.validation.sampling.placement import WindowsConfig

_PAPER_N = (40, 80, 120, 160, 200)


class PaperPreset(Settings):
    """Everything that decides the numbers, but for the model and the seed."""

    name: str = Field(description="What it is called in provenance.")
    box_length_sigma: float = Field(default=6.0, gt=0, description="Edge of the box, in sigma.")
    grid: tuple[int, ...] = Field(
        min_length=3, description="N of bounds, neural_ti, Widom and the equation of state."
    )
    figure_n: tuple[int, ...] = Field(
        default=_PAPER_N, description="N of g(r) (Fig 3); part of the grid."
    )
    paths_largest_n: int = Field(description="path_bar up to this N: beyond, paths hardly overlap.")
    windows_n: tuple[int, ...] = Field(
        default=(), description="N of mbar_neural; part of the grid."
    )
    softcore_n: tuple[int, ...] = Field(
        default=_PAPER_N, description="N of the soft-core curve (Fig 6)."
    )
    softcore_subsets: tuple[int, ...] = Field(
        default=(5, 10, 20, 50, 100), description="Windows of its coarser rules."
    )
    chain_n: int = Field(
        ge=3, description="Last N of the insertion chain, the independent reference."
    )
    n_insertions: int = Field(ge=1, description="Widom insertions in each frame.")
    beta_mu_paper: tuple[float, ...] = Field(
        default=(-28.5, -28.0, -27.0, -26.0), description="Of p(N) (Fig 4), on the paper's axis."
    )
    gcmc_beta_mu_paper: tuple[float, ...] = Field(
        default=(-28.5, -28.0),
        description="Of the grand-canonical check, on the paper's axis; a gas.",
    )
    reference: ReferenceConfig
    bound: BoundConfig
    neural_ti: NeuralTIConfig
    paths: PathConfig
    windows: WindowsConfig = WindowsConfig()
    softcore: SoftcoreConfig
    chain: BarChainConfig
    gcmc: GrandCanonicalConfig = GrandCanonicalConfig()
    toy: ToyConfig = ToyConfig()

    def state(self, n_particles: int, potential: ReducedPotential) -> StatePoint:
        """Return the state point of N particles in the paper's box."""
        return StatePoint(
            n_particles=n_particles,
            box_length_sigma=self.box_length_sigma,
            **potential.model_dump(),
        )

    def settings(self, section: str) -> BaseModel:
        """Return the settings of a section of estimates, as `estimates.<section>` of a run."""
        if section == "bar_chain":
            return self.chain
        if section == "widom":
            return section_config(section)(n_insertions_per_frame=self.n_insertions)
        found = getattr(self, section, None)
        return found if isinstance(found, BaseModel) else section_config(section)()


QUICK = PaperPreset(
    name="quick",
    grid=(2, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200),
    paths_largest_n=80,
    chain_n=120,
    n_insertions=500,
    reference=ReferenceConfig(n_frames=256),
    bound=BoundConfig(n_pairs=96, n_tethered=0),
    neural_ti=NeuralTIConfig(n_samples=16, n_steps=200),
    paths=PathConfig(n_paths=32),
    softcore=SoftcoreConfig(
        n_windows=50, n_chains=2, n_frames=10, steps_between=20, equilibration=1200
    ),
    chain=BarChainConfig(n_walkers=32, equilibration_sweeps=200, sweeps_between=20),
)

FULL = PaperPreset(
    name="full",
    grid=(2, 5, 10, 15, 20, 30, *range(40, 201, 20)),
    paths_largest_n=200,
    windows_n=(20, 40, 80, 120, 160, 200),
    chain_n=180,
    n_insertions=2000,
    reference=ReferenceConfig(),
    bound=BoundConfig(n_pairs=384, n_tethered=0),
    neural_ti=NeuralTIConfig(n_samples=32, n_steps=200),
    paths=PathConfig(n_paths=64),
    windows=WindowsConfig(window_length=2.0, target_error=0.4),
    softcore=SoftcoreConfig(n_windows=100, n_chains=4, n_frames=20),
    chain=BarChainConfig(
        n_walkers=32, equilibration_sweeps=200, n_frames=6, n_insertions=4000, sweeps_between=40
    ),
    gcmc=GrandCanonicalConfig(n_walkers=128, n_frames=2000),
)
