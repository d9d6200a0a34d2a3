"""What docs/troubleshooting.md says of other packages, seen here: messages, and the ways out."""

import openmm
import pytest
import torch
from contexts import energy_and_forces, make_context
from pages import ROOT

from openmm_nti import create_system, torch_force
from openmm_nti.md.forces import python_force

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


class Counting(openmm.MinimizationReporter):
    calls = 0

    def report(self, *_):
        self.calls += 1
        return False


@pytest.fixture
def context_with(random_model, small_state, fluid_positions):
    def make(make_force):
        system = create_system(small_state, make_force(random_model, small_state))
        return make_context(system, fluid_positions[0] * small_state.sigma_nm)

    return make


def headed(message):
    """The message, which the page must have as a symptom."""
    assert f"### `{message}`" in PAGE
    return message


@pytest.mark.slow
@pytest.mark.skipif(
    not openmm.__version__.startswith("8.5"), reason="the fault is that of OpenMM 8.5"
)
def test_a_minimization_with_a_reporter_fails_with_a_torch_force(context_with):
    message = headed("The autograd engine was called while holding the GIL")
    with pytest.raises(openmm.OpenMMException, match=message):
        openmm.LocalEnergyMinimizer.minimize(context_with(torch_force), 10.0, 3, Counting())


def test_a_minimization_with_a_reporter_works_with_a_python_force(context_with):
    context, reporter = context_with(python_force), Counting()
    before, _ = energy_and_forces(context)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 3, reporter)
    assert reporter.calls > 0
    assert energy_and_forces(context)[0] < before


@pytest.mark.slow
def test_without_a_reporter_a_torch_force_is_minimized(context_with):
    context = context_with(torch_force)
    before, _ = energy_and_forces(context)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 3)
    assert energy_and_forces(context)[0] < before


@pytest.mark.slow
def test_inference_mode_leaves_a_torch_force_without_forces(context_with):
    context = context_with(torch_force)
    expected, _ = energy_and_forces(context)
    with (
        torch.inference_mode(),
        pytest.raises(
            openmm.OpenMMException, match=headed("element 0 of tensors does not require grad")
        ),
    ):
        energy_and_forces(context)
    with torch.no_grad():
        context.setPositions(context.getState(positions=True).getPositions())
        assert energy_and_forces(context)[0] == pytest.approx(expected)


def test_a_result_needs_utf8(tmp_path):
    headed("UnicodeEncodeError: 'ascii' codec can't encode character")
    with (
        (tmp_path / "out").open("w", encoding="ascii") as stream,
        pytest.raises(UnicodeEncodeError, match="'ascii' codec can't encode character"),
    ):
        stream.write("-21.10 ± 0.15")
