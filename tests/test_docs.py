"""Runs the documentation: see "Tests" in CONTRIBUTING.md for the marks in the pages."""

import importlib.util
import re
import shlex
import textwrap

import mdtraj
import numpy as np
import pytest
import typer.main
from pages import FILE, LINK, PAGES, PYTHON, ROOT, RUNNABLE, anchors, files_in_place, page_name
from typer.testing import CliRunner

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint, save_model
from openmm_nti.cli import app
from openmm_nti.cli.exit_codes import ExitCode
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """`fluid/`: a small untrained model and some reference data of N = 40, as the pages assume."""
    folder = tmp_path_factory.mktemp("docs") / "fluid"
    state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
    model = LambdaHamiltonian(
        state.pair_potential, NetworkConfig(n_radial=4, n_channels=2, width=8)
    )
    save_model(model, folder / "model", trained_on=[state])
    positions = np.stack([lattice_positions_nm(state, seed) for seed in range(60)])
    Ensemble(state, positions, reduced_potential_numpy(positions / state.sigma_nm, state), {}).save(
        folder / "reference" / f"{state.label}.h5"
    )
    return folder


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_runnable_blocks_run(page, run_directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run_directory.parent)
    namespace = {"__name__": page.stem}
    with files_in_place(page, tmp_path):
        for language, code in RUNNABLE.findall(page.read_text(encoding="utf-8")):
            if language == "python":
                exec(compile(code, str(page), "exec"), namespace)
                assert capsys.readouterr().out
            else:
                assert language == "console"
                run_console(code)
        namespace.clear()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_blocks_compile(page):
    for code in PYTHON.findall(page.read_text(encoding="utf-8")):
        compile(textwrap.dedent(code), str(page), "exec")


@pytest.mark.parametrize("kind", ["an_estimator", "a_potential", "a_network"])
def test_a_page_that_adds_something_shows_one_short_file(kind):
    page = ROOT / "docs" / f"add_{kind}.md"
    ((_, code),) = FILE.findall(page.read_text(encoding="utf-8"))
    assert 10 < len(code.splitlines()) < 60


def run_console(code):
    for line in code.replace("\\\n", " ").splitlines():
        dollar, command, *arguments = shlex.split(line, comments=True)
        assert (dollar, command) == ("$", "openmm-nti")
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_to_files_and_headings(page):
    for target, heading in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if heading and path.suffix == ".md":
            assert heading in anchors(path), f"{page.name} links to {target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_of_text_are_under_120_characters(page):
    in_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        in_code ^= line.lstrip().startswith("```")
        if not (in_code or line.lstrip().startswith(("|", "$$"))):
            assert len(line) <= 120, f"{page.name}:{number}"


def test_the_api_reference_lists_modules_that_exist():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    modules = re.findall(r"automodule:: (\S+)", text)
    assert len(modules) > 40
    assert all(importlib.util.find_spec(module) for module in modules)


def test_the_notebooks_are_notebooks_to_jupytext():
    jupytext = pytest.importorskip("jupytext")
    for page in (ROOT / "docs" / "notebooks").glob("*.md"):
        cells = jupytext.read(page).cells
        blocks = RUNNABLE.findall(page.read_text(encoding="utf-8"))
        assert sum(cell.cell_type == "code" for cell in cells) == len(blocks)


def test_the_command_reference_has_every_command_option_and_exit_status(tmp_path):
    script = ROOT / "docs" / "command_reference.py"
    specification = importlib.util.spec_from_file_location("command_reference", script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.write_reference(tmp_path / "made" / "commands.md")
    text = (tmp_path / "made" / "commands.md").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        section = text[text.index(f"\n## {name}\n") :]
        section = section[: section.index("\n## ", 1)]
        assert f"$ openmm-nti {name}" in section  # an example
        assert all(
            f"`{option}`" in section
            for each in command.params
            for option in each.opts
            if option[0] == "-"
        )
    assert all(f"| {code.value} | {code.meaning} |" in text for code in ExitCode)


def test_chemical_potential_example_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("teqp")
    script = ROOT / "examples" / "chemical_potential.py"
    monkeypatch.setattr("sys.argv", [str(script), "6", str(tmp_path)])
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), {"__name__": "__main__"})
    assert "beta_f_ex = " in capsys.readouterr().out
    table = np.genfromtxt(tmp_path / "chemical_potential.csv", delimiter=",", names=True)
    assert len(table) == 4
    assert (
        np.abs(table["beta_mu_ex"] - table["eos"]) < 0.02
    ).all()  # a gas, where finite size is of order 1 / N


@pytest.fixture(scope="module")
def two_body_model(tmp_path_factory):
    """The path of pairs alone: the quickest model there is."""
    state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
    return save_model(
        LambdaHamiltonian(state.pair_potential), tmp_path_factory.mktemp("examples") / "model"
    )


@pytest.fixture
def trajectory(run_directory, tmp_path):
    """A trajectory as another program writes it: DCD, with a PDB topology."""
    frames = mdtraj.load(str(next((run_directory / "reference").glob("*.h5"))))
    frames.save_dcd(str(tmp_path / "own.dcd"))
    frames[0].save_pdb(str(tmp_path / "own.pdb"))
    return [str(tmp_path / "own.dcd"), str(tmp_path / "own.pdb")]


@pytest.mark.filterwarnings(
    "ignore:.* encountered in:RuntimeWarning"
)  # MBAR and BAR of the hastiest of samples
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("drop_in_torchforce.py", ["MODEL"], "dU/dlambda"),
        ("equilibrium.py", ["MODEL", "4"], "<dudl_kj_mol> ="),
        ("ti_by_hand.py", ["MODEL", "1"], "beta F_ex ="),
        ("replica_exchange.py", ["MODEL", "2"], "beta F_ex ="),
        ("growth_ramp.py", ["MODEL", "2", "1"], "beta F_ex ="),
        ("draw_family.py", ["2", "3", "5"], "n_particles ... A-B"),
        ("mean_of_models.py", ["lj-family", "lj-family", "0.6", "mean"], "0.6 of the way ... 62"),
        ("make_trajectory.py", ["1000", "50", "203.66"], "argon.dcd: 4 frames"),
        ("own_system.py", ["1000"], "own.dcd: 4 frames"),
        ("own_trajectory.py", ["TRAJECTORY", "MODEL", "8"], "path_bar ... own_trajectory.csv"),
        ("toy_gaussians.py", ["20"], "ln 3 = 1.0986"),
    ],
)
def test_example_scripts_run(
    script, arguments, expected, two_body_model, trajectory, tmp_path, monkeypatch, capsys
):
    given = {"MODEL": [str(two_body_model)], "TRAJECTORY": trajectory}
    path = ROOT / "examples" / script
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", [str(path), *(each for word in arguments for each in given.get(word, [word]))]
    )
    exec(
        compile(path.read_text(encoding="utf-8"), str(path), "exec"),
        {"__name__": "__main__", "__doc__": ""},
    )
    output = capsys.readouterr().out
    assert all(each in output for each in expected.split(" ... "))


def test_every_example_script_is_run():
    (cases,) = (
        mark.args[1] for mark in test_example_scripts_run.pytestmark if mark.name == "parametrize"
    )
    tested = {script for script, _, _ in cases}
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {
        *tested,
        "chemical_potential.py",
    }
