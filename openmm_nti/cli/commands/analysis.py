"""What `openmm-nti analyze` runs: a whole run of one trajectory, in minutes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm_nti.cli.commands.choice import TRAINING_SHARE, Choice, choose, efforts_at
from openmm_nti.cli.pipeline import Pipeline
from openmm_nti.cli.run_config import RunConfig, apply_setting, load_config, read_mapping
from openmm_nti.cli.safety.preflight import one_state
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.own_system.comparison import compare_energies
from openmm_nti.md.own_system.files import read_described
from openmm_nti.validation.estimators.registry import sections

_COMPARED = 20  # frames
_ANY_NUMBER = 1_000_000  # of steps: the minutes end the training


@dataclass(frozen=True)
class Analysis:
    """An analysis as the user asks for it.

    Attributes
    ----------
    path, settings
        As for `load_config`. What they say of `model`, `network`, `training`, `estimates` and
        `workers` stays.
    output
        Directory of the analysis. One that goes on keeps what was chosen there.
    minutes
        Time for the whole analysis, of which a training takes half.
    model
        Name or directory of a model, if the user names one.
    """

    path: Path
    settings: list[str]
    output: Path
    minutes: float
    model: str | None = None

    def config(self) -> RunConfig:
        """Return the configuration, with what the frames have decided if they have.

        Raises
        ------
        ConfigError
            For a bad configuration, or one of several state points.
        """
        given = self._given()
        more = [] if "workers" in given else [f"workers={os.cpu_count() or 1}"]
        if not given.get("training"):
            limit = TRAINING_SHARE * self.minutes
            more += [f"training.n_steps={_ANY_NUMBER}", f"training.max_minutes={limit:g}"]
        if "estimates" not in read_mapping(self.path):
            more += [f"estimates.{name}=null" for name in sections() if not _is_quick(name)]
        if (choice := Choice.stored(self.output)) is not None:
            more += choice.settings
        more += self.settings
        if self.model is not None:
            more.append(f"model={self.model}")
        config = load_config(self.path, more)
        one_state(config, self.path, "a trajectory")
        return config

    def decide(self, pipeline: Pipeline, seconds: float) -> None:
        """Let the frames decide what is open, and say what and why; what is decided stays."""
        choice = Choice.stored(self.output)
        if choice is None:
            ensemble = pipeline.directory.ensemble(pipeline.config.system[0])
            is_open = self._open(ensemble.state)
            choice = choose(pipeline.config, ensemble, is_open, seconds)
            choice.save(self.output)
            pipeline.take_config(self.config())
        for line in choice.said:
            pipeline.console.print(line, soft_wrap=True)

    def _given(self) -> dict[str, Any]:
        """Return the sections that the user gives, in the file and by settings."""
        given = read_mapping(self.path)
        for setting in self.settings:
            apply_setting(given, setting)
        return given

    def _open(self, state: StatePoint) -> set[str]:
        """Return what the user has not said, of `model` and the sections of paths and bound."""
        given = self._given()
        of_state = {effort.section for effort in efforts_at(state).values()}
        is_open = of_state - set(given.get("estimates") or {})
        if self.model is None and not any(map(given.get, ("model", "training", "network"))):
            is_open.add("model")
        return is_open


def _is_quick(section: str) -> bool:
    """Tell whether the frames are enough for the estimates of a section, without further MD."""
    needs = set().union(*(known.needs for known in sections()[section]))
    return "data" in needs and "energy" not in needs


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
