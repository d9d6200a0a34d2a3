"""Import paths of version 0.1.0: each works, or says where its contents are now."""

import importlib
import pickle
import subprocess
import sys

import numpy as np
import openmm
import pytest

import openmm_nti
from openmm_nti import _moved
from openmm_nti.md.forces import create_system, python_force
from openmm_nti.md.openmm_energy import OpenMMEnergy
from openmm_nti.md.python_energy import PythonEnergy
from openmm_nti.md.readers import dudl

OLD_NAMES = [
    "forces.torch_force",
    "forces.python_force",
    "forces.create_system",
    "forces.add_to_system",
    "forces.dudl",
    "forces.reduced_potentials",
    "forces.OpenMMEnergy",
    "forces.PythonEnergy",
    "lj_fluid.lj_system",
    "lj_fluid.lj_topology",
    "lj_fluid.LJFluid",
    "lj_fluid.lattice_positions_nm",
    "lj_fluid.reduced_potential_numpy",
    "state.StatePoint",
    "state.PairPotential",
    "tasks.run_tasks",
    "executors.executor",
    "neural_path.NeuralPath",
    "native_pair.native_pair_force",
    "reporters.LambdaReporter",
    "replica_exchange.ReplicaExchange",
    "switching.switch",
    "platforms.fastest_platform",
    "system_checks.check_system",
    "hamiltonian.noise.log_noise",
    "hamiltonian.network.DensityNetwork",
    "validation.mbar_ti.estimate_mbar",
    "validation.mbar_ti.estimate_ti",
    "validation.window_data.WindowData",
    "validation.bounds.BoundConfig",
    "validation.neural_ti.NeuralTIConfig",
    "validation.softcore.SoftcoreConfig",
    "validation.tethered_fluid.TetheredFluid",
]


@pytest.mark.parametrize("name", sorted(_moved._NEW_PLACES))
def test_an_old_module_is_imported(name):
    module = importlib.import_module(f"openmm_nti.{name}")
    places = [importlib.import_module(f"openmm_nti.{place}") for place in _moved._NEW_PLACES[name]]
    assert module in places or len(places) > 1
    for place in places:
        for public in vars(place):
            if not public.startswith("_"):
                assert hasattr(module, public), f"{name} lacks {public} of {place.__name__}"


@pytest.mark.parametrize("path", OLD_NAMES)
def test_an_old_name_is_found(path):
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(f"openmm_nti.{module}"), name) is not None


@pytest.mark.parametrize("name", sorted(_moved._GONE))
def test_a_module_that_is_gone_says_where_to_look(name):
    old = f"openmm_nti.{name}"
    with pytest.raises(ModuleNotFoundError, match=f"{old} is gone: .*openmm_nti") as caught:
        importlib.import_module(old)
    assert caught.value.name == old
    words = str(caught.value).replace(",", " ").split()
    named = [word for word in words if word.startswith("openmm_nti.") and word != old]
    assert named
    for word in named:
        importlib.import_module(word)


def test_a_name_that_never_was_is_refused():
    with pytest.raises(ModuleNotFoundError, match="No module named 'openmm_nti.farces'"):
        importlib.import_module("openmm_nti.farces")
    with pytest.raises(AttributeError, match="forces has no torch_farce.*openmm_nti.md.forces"):
        importlib.import_module("openmm_nti.forces").torch_farce  # noqa: B018
    with pytest.raises(ImportError, match="torch_farce"):
        exec("from openmm_nti.forces import torch_farce")


def test_a_new_module_keeps_its_own_name():
    import openmm_nti.md.reporters as new

    assert importlib.import_module("openmm_nti.reporters") is new
    assert new.__name__ == new.__spec__.name == "openmm_nti.md.reporters"


def test_what_a_script_needs_first_is_at_the_top():
    for name in ("torch_force", "dudl", "create_system", "load_model", "StatePoint", "NeuralPath"):
        assert getattr(openmm_nti, name) is not None
        assert name in openmm_nti.__all__


READ = """
import sys
import openmm_nti, openmm
from openmm_nti.forces import dudl

system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
context.setPositions(eval(sys.argv[2]))
print(dudl(context), "openmm_nti.forces" in sys.modules)
"""


def test_a_system_saved_by_the_old_package_is_read(
    monkeypatch, random_model, small_state, fluid_positions, tmp_path
):
    """A PythonForce holds a pickle, and a pickle holds the import paths of its classes."""
    positions = fluid_positions[0] * small_state.sigma_nm
    importlib.import_module("openmm_nti.forces")
    importlib.import_module("openmm_nti.openmm_energy")
    monkeypatch.setattr(PythonEnergy, "__module__", "openmm_nti.forces")
    monkeypatch.setattr(OpenMMEnergy, "__module__", "openmm_nti.openmm_energy")
    system = create_system(small_state, python_force(random_model, small_state))
    xml = openmm.XmlSerializer.serialize(system)
    assert b"openmm_nti.forces".hex() in xml
    assert b"openmm_nti.md.python_energy".hex() not in xml
    (tmp_path / "old.xml").write_text(xml)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    expected = dudl(context)
    command = [sys.executable, "-c", READ, str(tmp_path / "old.xml"), repr(positions.tolist())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, old = done.stdout.split()
    assert old == "True"
    np.testing.assert_allclose(float(found), expected, rtol=1e-9)


def test_classes_pickled_under_old_names_are_found():
    """Of an ensemble or a task that another process of the old package pickled."""
    for path in OLD_NAMES:
        module, _, name = path.rpartition(".")
        by_name = f"copenmm_nti.{module}\n{name}\n.".encode()
        assert pickle.loads(by_name).__qualname__ == name
