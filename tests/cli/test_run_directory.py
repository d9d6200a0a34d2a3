"""When a directory may be used: new, or the same configuration with --resume."""

import pytest

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import load_config
from openmm_nti.cli.safety.opening import open_run


@pytest.fixture
def config(tiny):
    return load_config(tiny, [])


def test_a_new_directory_gets_configuration_and_provenance(config, tmp_path):
    directory = open_run(tmp_path / "new", config, resume=True)
    assert directory.provenance.is_file()
    assert directory.stored_config() == config


def test_a_used_directory_needs_resume(config, tmp_path):
    open_run(tmp_path / "run", config, resume=False)
    with pytest.raises(ConfigError, match="add --resume"):
        open_run(tmp_path / "run", config, resume=False)
    open_run(tmp_path / "run", config, resume=True)


def test_a_start_killed_after_its_first_file_can_be_taken_up(config, tmp_path):
    directory = open_run(tmp_path / "run", config, resume=False)
    directory.provenance.unlink()
    (tmp_path / "run" / ".config.123.partial.yaml").touch()
    assert open_run(tmp_path / "run", config, resume=True).provenance.is_file()


def test_resume_with_another_configuration_names_the_keys(config, tiny, tmp_path):
    open_run(tmp_path / "run", config, resume=False)
    other = load_config(
        tiny,
        ["training.n_steps=21", "system.n_particles=7", "workers=2", "estimates.widom=null"],
    )
    said = []
    directory = open_run(tmp_path / "run", other, resume=True, say=said.append)
    assert "training.n_steps = 20 there, 21 now" in said[0]
    assert "system.n_particles = 6 there, 7 now" in said[0]
    assert "estimates.widom" in said[0]
    assert "workers" not in said[0]
    assert said[1:] == ["kept: nothing", "made again: nothing"]  # nothing was done yet
    assert directory.stored_config() == other


def test_workers_may_change(config, tiny, tmp_path):
    open_run(tmp_path / "run", config, resume=False)
    open_run(tmp_path / "run", load_config(tiny, ["workers=2"]), resume=True)


def test_a_directory_of_other_files_is_left_alone(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="holds no config.yaml"):
            open_run(tmp_path, config, resume=resume)


def test_a_file_is_no_directory(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name a directory"):
        open_run(tmp_path / "file", config, resume=False)
