"""The directory of one run: its files, and the rules for starting and resuming a run in it.

A directory belongs to one configuration. Stages write only complete files and look for their own
output first. So after any interruption, running again in the same directory resumes the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig, load_config
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import provenance, write_json, write_text
from openmm_nti.fluid.state import StatePoint

_FREE_TO_CHANGE = ("workers",)  # decides how fast a run is, never its results


class RunDirectory:
    """The paths of the files in the directory of a run.

    Attributes
    ----------
    path
        The directory itself.
    config, provenance, results, report
        config.yaml (resolved), provenance.json, results.json and report.html.
    reference, model
        Folders of the reference ensembles and of the trained model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.provenance = path / "provenance.json"
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.reference = path / "reference"
        self.model = path / "model"

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

    def holds(self, config: RunConfig) -> bool:
        """Return whether the run in this directory is one of `config`."""
        free = dict.fromkeys(_FREE_TO_CHANGE)
        return self.config.is_file() and {
            **self.stored_config().model_dump(),
            **free,
        } == {**config.model_dump(), **free}

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


def open_run(path: Path, config: RunConfig, *, resume: bool) -> RunDirectory:
    """Start a run of `config` in `path`, or resume the run that is there.

    Parameters
    ----------
    path
        Directory of the run; made if it does not exist.
    config
        Configuration of the run.
    resume
        Whether `path` may hold a run of the same configuration already.

    Raises
    ------
    ConfigError
        If `path` holds other files, a run of another configuration, or any run without `resume`.
    """
    directory = RunDirectory(path)
    refuse_other_files(path)
    if directory.config.is_file():
        if not resume:
            raise ConfigError(
                f"{path} already holds a run: add --resume to go on with it, or name another "
                "--output"
            )
        _refuse_another_config(directory, config)
    # The configuration goes first: a run that is killed right after it can be resumed.
    write_text(directory.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    if not directory.provenance.is_file():
        write_json(directory.provenance, provenance(config.seed))
    return directory


def refuse_other_files(path: Path) -> None:
    """Refuse what is no directory, and one that holds files but no run.

    Raises
    ------
    ConfigError
        With the name of the directory.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--output {path} is a file: name a directory")
    if not path.is_dir() or RunDirectory(path).config.is_file():
        return
    if any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise ConfigError(
            f"{path} is not empty and holds no config.yaml of a run: name another --output"
        )


def _refuse_another_config(directory: RunDirectory, config: RunConfig) -> None:
    stored = _flat(directory.stored_config().model_dump(mode="json"))
    wanted = _flat(config.model_dump(mode="json"))
    keys = sorted(stored.keys() | wanted.keys())
    differing = [
        key for key in keys if key not in _FREE_TO_CHANGE and stored.get(key) != wanted.get(key)
    ]
    if differing:
        lines = [f"  {key}: {stored.get(key)} there, {wanted.get(key)} now" for key in differing]
        raise ConfigError(
            f"{directory.path} holds a run of another configuration:\n" + "\n".join(lines) + "\n"
            "Name another --output for the new configuration, or undo the changes to go on with "
            "the old one."
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        key: value
        for name, item in data.items()
        for key, value in _flat(item, f"{prefix}.{name}" if prefix else str(name)).items()
    }
