"""What `openmm-nti analyze` runs: a whole run of one trajectory, in minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig, load_config, read_mapping
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import build_model
from openmm_nti.md.own_system.comparison import compare_energies
from openmm_nti.md.own_system.files import read_described
from openmm_nti.model_files import load_model, shipped_models
from openmm_nti.validation.estimators.registry import sections
from openmm_nti.validation.pace import measure

_COMPARED = 20  # frames
_SECTION, _FEWEST_CHAINS = "estimates.bound", 8
_ANY_NUMBER = 1_000_000  # of steps: the minutes end the training


def analysis_config(
    path: Path, settings: list[str], output: Path, *, minutes: float, model: str | None
) -> RunConfig:
    """Return the configuration of an analysis: what the file leaves open is chosen to be quick.

    Parameters
    ----------
    path, settings
        As for `load_config`. What they say of `estimates`, `workers` and `training` stays.
    output
        Directory of the analysis. One that goes on keeps the chains that were chosen there.
    minutes
        Time for training, where no model is taken, and about as much for the chains of the bound.
    model
        Name or directory of a model; None for a shipped one that covers the state, if there is one.

    Raises
    ------
    ConfigError
        For a bad configuration, or one of several state points.
    """
    given = read_mapping(path)
    more = list(settings)
    if "workers" not in given:
        more.insert(0, f"workers={os.cpu_count() or 1}")
    if not given.get("training"):
        more[:0] = [f"training.n_steps={_ANY_NUMBER}", f"training.max_minutes={minutes:g}"]
    if "estimates" not in given:
        more[:0] = [f"estimates.{name}=null" for name in sections() if not _is_quick(name)]
    config = load_config(path, more)
    if len(config.system) != 1:
        raise ConfigError(f"{path}: system: has several state points; a trajectory is of one")
    if taken := model or config.model or covering_model(config.system[0]):
        more.append(f"model={taken}")
    chosen = any(setting.startswith(_SECTION) for setting in settings)
    if "estimates" not in given and not chosen:
        more.append(f"{_SECTION}.n_tethered={_chains(minutes, config, RunDirectory(output))}")
    return load_config(path, more)


def _chains(minutes: float, config: RunConfig, run: RunDirectory) -> int:
    """Return how many chains of the bound to run: the default, or as many as there is time for."""
    if run.config.is_file() and (stored := _bound(run.stored_config())) is not None:
        return int(stored.n_tethered)
    state, settings = config.system[0], _bound(config)
    pace = measure(state, build_model(state.pair_potential, config.network))
    known = sections()[_SECTION.partition(".")[2]][0]
    seconds = known.seconds(settings, state.n_particles, pace)
    share = 60.0 * minutes * config.workers / max(seconds, 1e-9)
    return int(min(settings.n_tethered, max(_FEWEST_CHAINS, settings.n_tethered * share)))


def _bound(config: RunConfig) -> Any:
    return getattr(config.estimates, _SECTION.partition(".")[2])


def _is_quick(section: str) -> bool:
    """Tell whether the frames are enough for the estimates of a section, without further MD."""
    needs = set().union(*(known.needs for known in sections()[section]))
    return "data" in needs and "energy" not in needs


def covering_model(state: StatePoint) -> str | None:
    """Return the name of a shipped model of this fluid at this temperature and density, if any."""
    for name in shipped_models():
        model = load_model(name)
        known = model.training_range
        if not known.differences(model.potential, state) and known.holds_density(state):
            return name
    return None


def check_against_system(path: Path, ensemble: Ensemble) -> str:
    """Compare energies by the System that the configuration names with those of the state point.

    Returns a sentence, or nothing where the configuration names no System.

    Raises
    ------
    ValueError
        If the energies differ.
    """
    described = read_mapping(path).get("system")
    if not isinstance(described, dict) or "from" not in described:
        return ""
    system, reading = read_described(described, path.parent)
    compared = compare_energies(system, reading, ensemble.positions_nm[:_COMPARED])
    said = (
        f"energies by the System and by what was read of it: {len(compared.by_system)} frames "
        f"differ by at most {compared.largest_kt:.2g} kT"
    )
    if reading.correction_kj_mol:
        share = reading.correction_kj_mol / reading.state.kt_kj_mol
        said += f"; its long-range correction, {share:.6g} kT, is a constant and left out"
    if reading.kept:
        said += f"; left out of the fluid: {', '.join(reading.kept)}"
    return said
