"""A configuration, a finished run and the command line, for the tests of the command line."""

import json
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from tiny import TINY
from typer.testing import CliRunner

from openmm_nti.cli import app
from openmm_nti.files import write_text


def call(*arguments):
    """Call the command line in this process: the result has exit_code and output."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def cli():
    """Return `call`: cli("run", path, ...)."""
    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder that all processes of a test session share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def config(shared):
    path = shared / "tiny.yaml"
    write_text(path, yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def finished(config, shared):
    """An undisturbed run, made once for all processes; its output is in `output.txt`."""
    directory = shared / "runs" / "finished"
    output = directory.parent / "output.txt"
    with FileLock(shared / "finished.lock"):
        if not output.is_file():
            result = call("run", config, "--output", directory)
            assert result.exit_code == 0, result.output
            write_text(output, result.output)
    return directory


@pytest.fixture(scope="session")
def numbers():
    """Return a reader of every value and standard error of a results.json."""

    def read(results):
        points = json.loads(results.read_text())["state_points"]
        return {
            (point["n_particles"], method): (estimate["value"], estimate["std_err"])
            for point in points
            for quantity in ("beta_f_ex", "beta_mu_ex")
            for method, estimate in point[quantity].items()
        }

    return read
