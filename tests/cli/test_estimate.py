"""Everything done with a finished model: single estimates, samples and exports."""

import json

import mdtraj
import openmm
import pytest
import yaml
from tiny import TINY

from openmm_nti.reference_md import ReferenceConfig


def test_estimate_repeats_a_number_of_the_run(finished, cli, numbers):
    (data,) = (finished / "reference").glob("*.h5")
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bound"].items()]
    bound = ["--method", "neural_ti_bound", "--model", finished, "--seed", 3, "--json", *settings]
    result = cli("estimate", *bound, "--data", data)
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)
    assert (estimate["value"], estimate["std_err"]) == numbers(finished / "results.json")[
        6, "neural_ti_bound"
    ]


def test_estimate_simulates_the_reference_data_it_needs(
    finished, tmp_path, monkeypatch, cli, numbers
):
    module = "openmm_nti.cli.single_estimate.ReferenceConfig"
    monkeypatch.setattr(module, lambda: ReferenceConfig(**TINY["reference"]))
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bound"].items()]
    bound = [
        "--method",
        "neural_ti_bound",
        "--model",
        finished,
        "--n",
        6,
        "--seed",
        3,
        "--json",
        *settings,
    ]
    result = cli("estimate", *bound, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert (
        json.loads(result.stdout)["value"]
        == numbers(finished / "results.json")[6, "neural_ti_bound"][0]
    )
    other = cli(
        "estimate", *bound, "--n", 7, "--data", tmp_path / "reference" / "N6_L6_T1.25_switched.h5"
    )
    assert other.exit_code == 2
    assert "leave out --n" in other.output


def test_a_model_elsewhere_than_trained_warns(finished, cli):
    reverse = [
        "--method",
        "neural_ti",
        "--model",
        finished,
        "--set",
        "n_samples=4",
        "--set",
        "n_steps=10",
    ]
    with pytest.warns(
        UserWarning, match=r"outside of the model's training range, 0.02778 to 0.02778"
    ):
        result = cli("estimate", *reverse, "--n", 8)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "neural_ti_bond"], "did you mean neural_ti_bound"),
        (["-m", "neural_ti_bound", "--model", "nothing"], "no model at nothing"),
        (["-m", "widom", "--set", "insertions=3"], "did you mean n_insertions_per_frame"),
    ],
)
def test_estimate_says_what_is_missing(finished, arguments, message, cli):
    (data,) = (finished / "reference").glob("*.h5")
    result = cli("estimate", *arguments, "--data", data)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.filterwarnings("ignore:the network was trained for")
def test_without_a_model_the_shipped_one_for_the_state_is_taken(finished, cli):
    (data,) = (finished / "reference").glob("*.h5")
    small = ("--set", "n_levels=4", "--set", "n_pairs=8", "--set", "n_tethered=0")
    result = cli("estimate", "-m", "neural_ti_bound", "--data", data, *small)
    assert result.exit_code == 0, result.output
    assert "model: lj-" in result.output
    assert "the shipped one for this state; --model takes another" in " ".join(
        result.output.split()
    )


def test_estimate_by_the_insertion_chain_needs_no_data(finished, tmp_path, cli, numbers):
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bar_chain"].items()]
    chain = [
        "--method",
        "bar_chain",
        "--model",
        finished,
        "--n",
        6,
        "--seed",
        3,
        "--json",
        *settings,
    ]
    result = cli("estimate", *chain, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)
    assert (estimate["value"], estimate["std_err"]) == numbers(finished / "results.json")[
        6, "bar_chain"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["bar_chain"]


def test_estimate_says_where_md_ran(finished, tmp_path, cli):
    (data,) = (finished / "reference").glob("*.h5")
    soft = {**TINY["estimates"]["softcore"], "n_windows": 3, "n_frames": 3, "equilibration": 4}
    settings = [f"--set={key}={value}" for key, value in soft.items()]
    asked = ["--method", "mbar_softcore", "--data", data, "--output", tmp_path, *settings]
    for _ in range(2):  # the second takes the samples from disk
        result = cli("estimate", *asked, "--json")
        assert "MD on Reference\n" in result.stderr
        estimate = json.loads(result.stdout)
        assert estimate["provenance"]["platform"] == "Reference"
        assert estimate["diagnostics"]["platform"] == "Reference"
        assert estimate["provenance"]["seed"] == 1


def test_estimate_asks_for_the_state_point(finished, cli):
    for arguments, message in (
        ([], "--model with --n, or --data"),
        (["--model", finished], "Add --n N"),
    ):
        result = cli("estimate", "-m", "neural_ti", *arguments)
        assert result.exit_code == 2
        assert message in result.output


def test_samples_are_a_trajectory(finished, tmp_path, cli):
    result = cli(
        "sample",
        finished,
        "--output",
        tmp_path / "s.h5",
        "--set",
        "n_samples=4",
        "--set",
        "n_steps=10",
    )
    assert result.exit_code == 0, result.output
    assert mdtraj.load(tmp_path / "s.h5").xyz.shape == (4, 6, 3)


def test_the_exported_system_runs_in_openmm(finished, tmp_path, cli):
    pytest.importorskip("openmmtorch")
    with pytest.warns(UserWarning, match="training range"):
        result = cli(
            "export", finished / "model", "--output", tmp_path, "--n", 4, "--box-length-sigma", 7
        )
    assert result.exit_code == 0, result.output
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([openmm.Vec3(0.4 * i, 0.0, 0.0) for i in range(4)])
    context.setParameter("lambda_nti", 0.5)
    energy = context.getState(getEnergy=True, getParameterDerivatives=True)
    assert energy.getEnergyParameterDerivatives()["lambda_nti"] != 0.0
    assert (tmp_path / "hamiltonian.pt").stat().st_size > 0


def test_a_box_too_small_for_the_model_is_refused(finished, tmp_path, cli):
    result = cli("export", finished, "--output", tmp_path / "x", "--box-length-sigma", 5)
    assert result.exit_code == 2
    assert "under two cutoffs" in result.output


@pytest.mark.filterwarnings("ignore:the network was trained")
def test_a_denoiser_that_sees_beyond_the_box_is_refused_before_any_simulation(cli, tmp_path):
    """Its energies would fit: those of `lj-family` see less far than its denoiser."""
    system = {
        "n_particles": 130,
        "density_star": 0.359174,
        "temperature_star": 0.02,
        "cutoff_sigma": 3.4,
        "switch_sigma": 3.0,
        "potential": {"type": "uhlenbeck_ford"},
    }
    (tmp_path / "soft.yaml").write_text(yaml.safe_dump({"system": system}))
    options = ("--config", tmp_path / "soft.yaml", "--model", "lj-family", "-o", tmp_path / "out")
    result = cli("estimate", "--method", "path_stages", *options)
    assert result.exit_code == 2, result.output
    assert "the model's network sees pairs up to 4.396 sigma" in result.output
    assert not list((tmp_path / "out").rglob("*.h5"))


def test_n_takes_one_of_several_state_points(tmp_path, cli):
    config = tmp_path / "sizes.yaml"
    config.write_text(
        "system: {n_particles: [2, 3], box_length_sigma: 6.0, temperature_star: 1.25}"
    )
    few = [f"--set={name}" for name in ("n_windows=4", "n_frames=40", "platform=Reference")]
    asked = ("estimate", "--config", config, "--method", "mbar_softcore", "--json", *few)
    taken = cli(*asked, "--n", 3)
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["n_particles"] == 3
    for more, said in (
        ((), "has several state points (n_particles = 2, 3), and an estimate is of one"),
        (("--n", 4), "--n 4: "),
        (("--n", 3, "-l", 7.0), "leave out --box-length-sigma"),
    ):
        refused = cli(*asked, *more)
        assert (refused.exit_code, said in " ".join(refused.output.split())) == (2, True), (
            refused.output
        )
