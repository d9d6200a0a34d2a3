"""The choice of an OpenMM platform."""

import openmm
import pytest

from openmm_nti.md.platforms import fastest_platform, platform_properties


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


def test_an_unknown_platform_is_named_with_the_choices():
    with pytest.raises(
        ValueError, match="'CUDDA' cannot be used .CUDDA: not installed.: choose one of .*CPU"
    ):
        fastest_platform("CUDDA")
