"""The directory of one run: its files.

A directory belongs to one configuration. Stages write only complete files and look for their own
output first. So after any interruption, running again in the same directory resumes the run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig, load_config
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.model_files import CARD_FILE, model_directory, read_card


class RunDirectory:
    """The paths of the files in the directory of a run.

    Attributes
    ----------
    path
        The directory itself.
    config, provenance, results, report
        config.yaml (resolved), provenance.json, results.json and report.html.
    reference, model, sweep
        Folders of the reference ensembles, of the trained model, and of a sweep.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.provenance = path / "provenance.json"
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.reference = path / "reference"
        self.model = path / "model"
        self.sweep = path / "sweep"

    def ensemble(self, state: StatePoint) -> Ensemble:
        """Return the reference ensemble of `state`, always from disk.

        So a first run and a resumed run have the same numbers.

        Raises
        ------
        ValueError
            If the file holds frames of another state point.
        """
        path = self.reference / f"{state.label}.h5"
        ensemble = Ensemble.load(path)
        if ensemble.state != state:
            known, wanted = ensemble.state.model_dump(), state.model_dump()
            differing = [
                f"{name} = {known.get(name)} instead of {wanted.get(name)}"
                for name in sorted({*known, *wanted})
                if known.get(name) != wanted.get(name)
            ]
            raise ValueError(
                f"{path} holds frames of another state point ({', '.join(differing)}): delete it, "
                "or change the configuration"
            )
        return ensemble

    def state(self, state: StatePoint) -> Path:
        """Return the folder of all results at `state`."""
        return self.path / state.label

    def estimates(self, state: StatePoint) -> Path:
        """Return the folder of the JSON files of the estimates at `state`."""
        return self.state(state) / "estimates"

    def estimate(self, state: StatePoint, method: str, species: str | None) -> Path:
        """Return the JSON file of an estimate; see `FreeEnergy.species`."""
        return self.estimates(state) / f"{method}{'' if species is None else f'.{species}'}.json"

    def take_model(self, source: str) -> None:
        """Copy a trained model into the folder `model`, all of it or nothing.

        Raises
        ------
        ConfigError
            If the folder holds another model.
        """
        card = read_card(source)
        if (self.model / CARD_FILE).is_file():
            if read_card(self.model) != card:
                raise ConfigError(
                    f"{self.model} is another model than {source} is now: delete it, or name "
                    "another --output"
                )
            return
        partial = self.model.with_name(f".{self.model.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(
            model_directory(source), partial, ignore=shutil.ignore_patterns("checkpoint*")
        )
        shutil.rmtree(self.model, ignore_errors=True)  # without a card: of a run that ended there
        partial.rename(self.model)

    def stored_config(self) -> RunConfig:
        """Return the configuration of the run in this directory.

        Raises
        ------
        ConfigError
            If there is none, or it is not valid.
        """
        if not self.config.is_file():
            raise ConfigError(f"{self.path} is not the directory of a run: it holds no config.yaml")
        return load_config(self.config, [])
