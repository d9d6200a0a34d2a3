"""The rules for starting a run in a directory, and for going on with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.cli.safety.changes import Changes
from openmm_nti.files import provenance, write_json, write_text
from openmm_nti.training.parallel import rank_and_size


def open_run(
    path: Path,
    config: RunConfig,
    *,
    resume: bool,
    say: Callable[[str], None] = lambda _text: None,
) -> RunDirectory:
    """Start a run of `config` in `path`, or go on with the run that is there.

    Parameters
    ----------
    path
        Directory of the run; made if it does not exist.
    config
        Configuration of the run.
    resume
        Whether `path` may hold a run already. What settings have changed since touches is set
        aside in `path`/earlier-N.
    say
        Function that receives what is kept and what is made again, if settings have changed.

    Raises
    ------
    ConfigError
        If `path` holds other files, any run without `resume`, or an imported trajectory of another
        state point.
    """
    directory = RunDirectory(path)
    refuse_other_files(path)
    if directory.config.is_file():
        if not resume:
            raise ConfigError(
                f"{path} already holds a run: add --resume to go on with it, or name another "
                "--output"
            )
        changes = Changes(directory, config)
        if changes.touched and rank_and_size()[1] > 1:
            raise ConfigError(
                f"{path} holds results of other settings ({'; '.join(changes.settings)}): make the "
                "change by `openmm-nti generate` before torchrun"
            )
        changes.set_aside(say)
    # Set aside first: a run that is killed in between finds the same changes again.
    write_config(directory, config)
    if not directory.provenance.is_file():
        write_json(directory.provenance, provenance(config.seed))
    return directory


def write_config(directory: RunDirectory, config: RunConfig) -> None:
    """Write the configuration with all defaults to the directory of a run."""
    write_text(directory.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


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
