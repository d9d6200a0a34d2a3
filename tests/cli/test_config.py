"""Reading the configuration: defaults, `--set`, several N, and messages that name the key."""

from pathlib import Path

import pytest
import yaml

from openmm_nti.cli.commands.options import overriding
from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig, load_config
from openmm_nti.cli.template import commented_yaml


def test_the_template_is_the_default_configuration():
    text = commented_yaml()
    config = RunConfig.model_validate(yaml.safe_load(text))
    state = {"n_particles": 40, "box_length_sigma": 6.0, "temperature_star": 1.25}
    assert config == RunConfig(system=state)
    keys = sum(
        1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    )
    assert text.count("#") > keys / 2


def test_set_replaces_values_and_a_list_of_n_makes_several_states(tiny):
    config = load_config(
        tiny,
        overriding(
            ["system.n_particles=[4, 6]", "training.learning_rate=1e-3", "estimates.widom=null"],
            seed=9,
        ),
    )
    assert [state.n_particles for state in config.system] == [4, 6]
    assert config.training.learning_rate == 1e-3
    assert config.estimates.widom is None
    assert config.seed == 9


def test_the_resolved_configuration_reads_back_the_same(tiny, tmp_path):
    edges = ["system.box_length_sigma=null", "system.box_sigma=[6.5, 6.0, 7.0]"]
    for system in (["system.n_particles=[4, 6]"], ["system.n_particles=5"], edges):
        config = load_config(tiny, system)
        copy = tmp_path / "copy.yaml"
        copy.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        assert load_config(copy, []) == config


def test_density_gives_each_n_its_box(tiny):
    config = load_config(
        tiny,
        ["system.box_length_sigma=null", "system.density_star=0.02", "system.n_particles=[6, 8]"],
    )
    assert [state.density_star for state in config.system] == pytest.approx([0.02, 0.02])
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.n_stepz=5", r"training\.n_stepz: unknown key; did you mean n_steps"),
        ("systm.n_particles=5", r"systm: unknown key; did you mean system"),
        ("system.n_particle=5", r"system\.n_particle: unknown key; did you mean n_particles"),
        (
            "estimates.softcore.windows=5",
            r"estimates\.softcore\.windows: unknown key; did you mean n_windows",
        ),
        ("system.n_particles=1", r"system\.n_particles: .*greater than or equal to 2 \(given: 1\)"),
        ("system.n_particles=[6, 6]", "the same state point is listed twice"),
        ("system=[]", "no state point is given"),
        ("system.box_length_sigma=5", "under two cutoffs.*enlarge the box"),
        ("training.n_steps=many", r"training\.n_steps: .*integer.*'many'"),
        ("training.n_steps", "expected section.key=value"),
        ("seed.first=1", "`seed` is no section"),
        ("seed=[1", "not valid YAML"),
    ],
)
def test_a_bad_setting_is_one_clear_message(tiny, cli, tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(tiny, [setting])
    result = cli("run", tiny, "--output", tmp_path / "out", "--set", setting)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- 1", "mapping of sections"), ("seed: 1", "system: missing")],
)
def test_a_bad_file_is_one_clear_message(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path, [])


def test_an_unknown_key_beside_another_form_of_the_box_is_one_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("system: {n_particles: 9, temperature_kelvin: 150, box_nm: [3, 3, 4], msas: 4}")
    with pytest.raises(ConfigError, match=r"system\.msas: unknown key") as refused:
        load_config(path, [])
    assert len(str(refused.value).splitlines()) == 1


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path):
    assert load_config(path, [], trains=path.name != "melting_line.yaml").system
