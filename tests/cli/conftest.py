"""A configuration file and the command line, for the tests of the command line."""

from pathlib import Path

import pytest
import yaml
from tiny import TINY
from typer.testing import CliRunner

from openmm_nti.cli import app


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture
def cli():
    """Call the command line in this process: cli("run", path, ...) -> result with exit_code and
    output.
    """
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
