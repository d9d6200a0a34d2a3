"""The choice of an OpenMM platform."""

from types import SimpleNamespace

import openmm
import pytest

from openmm_nti.md import platforms
from openmm_nti.md.platforms import (
    fastest_platform,
    platform_description,
    platform_properties,
)
from openmm_nti.runtime.devices import WORKER

DEVICE = SimpleNamespace(  # stands for OpenMM's OpenCL platform with one device
    getName=lambda: "OpenCL",
    getPropertyNames=lambda: ("Precision", "DeviceName", "OpenCLPlatformIndex", "DeviceIndex"),
)


@pytest.fixture
def opencl(monkeypatch):
    """Return a function that puts an OpenCL device beside the platforms that are there."""
    known = [platforms.openmm.Platform.getPlatform(index).getName() for index in range(2)]
    real = openmm.Platform.getPlatformByName

    with_opencl = SimpleNamespace(
        getNumPlatforms=lambda: len(known) + 1,
        getPlatform=lambda index: real(known[index]) if index < len(known) else DEVICE,
        getPlatformByName=lambda name: DEVICE if name == "OpenCL" else real(name),
    )

    def install(*, has_doubles, is_cpu, energy=platforms._PROBE_ENERGY):
        in_kj_mol = energy * openmm.unit.kilojoule_per_mole
        state = SimpleNamespace(getPotentialEnergy=lambda: in_kj_mol)
        context = SimpleNamespace(getState=lambda energy: state)

        def probe(platform, properties):
            if platform.getName() != "OpenCL":
                return real_probe(platform, properties)
            if properties["Precision"] != "single" and not has_doubles:
                raise openmm.OpenMMException("This device does not support double precision")
            return context

        real_probe = platforms._probe
        monkeypatch.setattr(platforms.openmm, "Platform", with_opencl)
        monkeypatch.setattr(platforms, "_probe", probe)
        monkeypatch.setattr(platforms, "_device", lambda context, names: "Toy")
        monkeypatch.setattr(platforms, "_is_cpu", lambda context, name: is_cpu and name == "OpenCL")

    caches = (platforms.fastest_platform, platforms._try)
    for function in caches:
        function.cache_clear()
    yield install
    monkeypatch.undo()
    for function in caches:
        function.cache_clear()


def test_a_device_without_doubles_computes_in_single_precision(opencl):
    opencl(has_doubles=False, is_cpu=False)
    chosen = fastest_platform()
    assert chosen.getName() == "OpenCL"
    assert platform_properties(chosen) == {"Precision": "single"}
    assert "Toy, single precision, the device has no double" in platform_description(chosen)


def test_a_device_with_doubles_computes_in_mixed_precision(opencl):
    opencl(has_doubles=True, is_cpu=False)
    chosen = fastest_platform()
    assert platform_properties(chosen) == {"Precision": "mixed"}
    assert platform_description(chosen) == "OpenCL (Toy, mixed precision)"


def test_opencl_on_a_cpu_is_taken_only_when_asked_for(opencl):
    opencl(has_doubles=True, is_cpu=True)
    assert fastest_platform().getName() == "CPU"
    assert fastest_platform("OpenCL").getName() == "OpenCL"


@pytest.mark.parametrize("energy", [0.0, float("nan"), -0.9])
def test_a_device_that_computes_wrong_numbers_is_passed_over(opencl, energy):
    opencl(has_doubles=True, is_cpu=False, energy=energy)
    assert fastest_platform().getName() == "CPU"
    with pytest.raises(ValueError, match="OpenCL: it gives .* kJ/mol for a pair of"):
        fastest_platform("OpenCL")


def test_the_fastest_platform_works():
    system = openmm.System()
    system.addParticle(1.0)
    platform = fastest_platform()
    assert platform.getName() != "Reference"
    openmm.Context(system, openmm.VerletIntegrator(0.001), platform, platform_properties(platform))


def test_cpu_runs_reproducibly_on_the_threads_asked_for():
    properties = platform_properties(fastest_platform("CPU"), threads=3)
    assert properties == {"Threads": "3", "DeterministicForces": "true"}
    assert platform_properties(fastest_platform("Reference")) == {}


@pytest.mark.parametrize(("n_gpus", "expected"), [(2, {"DeviceIndex": "1"}), (1, {}), (0, {})])
def test_processes_simulate_on_the_gpus_in_turn(n_gpus, expected, monkeypatch):
    monkeypatch.setattr(platforms, "number_of_gpus", lambda: n_gpus)
    monkeypatch.setenv(WORKER, "3")
    cuda = SimpleNamespace(getName=lambda: "CUDA", getPropertyNames=lambda: ("DeviceIndex",))
    assert platform_properties(cuda) == expected


def test_an_unknown_platform_is_named_with_the_choices():
    with pytest.raises(
        ValueError, match="'CUDDA' cannot be used .CUDDA: not installed.: choose one of .*CPU"
    ):
        fastest_platform("CUDDA")
