"""The fastest OpenMM platform that works here, and its settings for reproducible runs."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import openmm
from openmm import unit
from pydantic import AfterValidator

from openmm_nti.runtime.devices import number_of_gpus, process_number

_FASTEST_FIRST = ("CUDA", "HIP", "OpenCL", "CPU", "Reference")
_WITH_CUDA_NUMBERS = ("CUDA", "HIP")  # platforms that count GPUs as torch does
_PRECISIONS = ("mixed", "single")  # not all GPUs compute in double precision, which mixed needs
_OPENCL_ALL_DEVICES, _OPENCL_DEVICE_TYPE, _OPENCL_CPU = 0xFFFFFFFF, 0x1000, 1 << 1
_PROBE_ENERGY = 4 * (1.1**-12 - 1.1**-6)  # of the two particles of the probe, kJ/mol


@dataclass(frozen=True)
class _Trial:
    """What came of making a Context on a platform: a device and a precision, or a reason not to."""

    device: str = ""
    precision: str | None = None
    is_cpu: bool = False
    reason: str | None = None


def _known(name: str) -> str:
    """Return the name of a platform as it is; ValueError with the closest one if there is none.

    Whether it works here is asked later, by `fastest_platform`: a configuration that was made for a
    machine with a GPU can be read everywhere.
    """
    known = list(dict.fromkeys((*_FASTEST_FIRST, *installed_platforms())))
    if name in known:
        return name
    alike = [each for each in known if each.casefold() == name.strip().casefold()]
    hint = f"did you mean {alike[0]}? " if alike else ""
    raise ValueError(
        f"OpenMM has no platform {name!r}: {hint}choose one of {', '.join(known)}, or null for the "
        "fastest"
    )


PlatformName = Annotated[str, AfterValidator(_known)]


def installed_platforms() -> list[str]:
    """Return the names of the platforms that OpenMM has loaded here."""
    return [
        openmm.Platform.getPlatform(index).getName()
        for index in range(openmm.Platform.getNumPlatforms())
    ]


@cache
def fastest_platform(name: str | None = None) -> openmm.Platform:
    """Return the first of CUDA, HIP, OpenCL, CPU and Reference that computes correctly here.

    An installed platform may lack a device or a driver. So two particles are simulated on each,
    with the settings of `platform_properties`, until one gives the right energy. OpenCL on a CPU is
    passed over unless it is asked for: OpenMM's own CPU platform is quicker and tested better.

    Parameters
    ----------
    name
        Name of the only platform to try.

    Raises
    ------
    ValueError
        If `name` is unknown or does not work here. The message has OpenMM's reason and the
        installed platforms.
    """
    available = installed_platforms()
    reasons = {}
    for candidate in _FASTEST_FIRST if name is None else (name,):
        if candidate not in available:
            reasons[candidate] = "not installed"
            continue
        trial = _try(candidate)
        if trial.reason is None and (name is not None or not trial.is_cpu):
            return openmm.Platform.getPlatformByName(candidate)
        reasons[candidate] = trial.reason or f"its device is a CPU, {trial.device}"
    raise ValueError(
        f"platform = {name!r} cannot be used "
        f"({'; '.join(f'{key}: {why}' for key, why in reasons.items())}): "
        f"choose one of {', '.join(available)}, or none for the fastest"
    )


def platform_properties(
    platform: openmm.Platform, threads: int = 1, deterministic: bool = True
) -> dict[str, str]:
    """Return those properties of `platform` that make its forces repeat to the bit, and its GPU.

    Process k of those that share the work takes GPU k of several, counted around.

    Parameters
    ----------
    platform
        Platform of the Context.
    threads
        Number of CPU threads. GPUs compute in mixed precision, or in single precision where the
        device has no double precision.
    deterministic
        Whether forces repeat to the bit.
    """
    names = platform.getPropertyNames()
    wanted = {
        "Threads": str(threads),
        "DeterministicForces": "true" if deterministic else "false",
    }
    if "Precision" in names:
        wanted["Precision"] = _try(platform.getName()).precision or _PRECISIONS[0]
    if platform.getName() in _WITH_CUDA_NUMBERS and (count := number_of_gpus()) > 1:
        wanted["DeviceIndex"] = str(process_number() % count)  # each process a GPU of its own
    return {key: value for key, value in wanted.items() if key in names}


def platform_description(platform: openmm.Platform) -> str:
    """Return a platform with its device and precision: OpenCL (Apple M2, single precision)."""
    trial = _try(platform.getName())
    details = [trial.device] if trial.device else []
    if trial.precision is not None:
        details.append(f"{trial.precision} precision")
    if trial.precision == "single":
        details.append("the device has no double precision")
    return platform.getName() + (f" ({', '.join(details)})" if details else "")


def description_of_fastest(name: str | None) -> str:
    """Return the description of what `fastest_platform(name)` chooses in this process."""
    return platform_description(fastest_platform(name))


def minimize(context: openmm.Context, tolerance: float = 10.0, max_iterations: int = 0) -> None:
    """Minimise the energy as OpenMM's LocalEnergyMinimizer does.

    Where OpenCL runs on a CPU, it is done on OpenMM's own CPU platform: pocl 3.1 makes code of the
    minimizer's kernel getScale that never stops writing.

    Parameters
    ----------
    context
        Its positions change, its velocities stay.
    tolerance
        Root mean square force to reach, kJ/mol/nm.
    max_iterations
        0 for as many as it takes.
    """
    name = context.getPlatform().getName()
    if not (name == "OpenCL" and _try(name).is_cpu):
        openmm.LocalEnergyMinimizer.minimize(context, tolerance, max_iterations)
        return
    state = context.getState(positions=True, parameters=True)
    other = openmm.Context(
        context.getSystem(),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("CPU"),
        {"Threads": "1"},
    )
    other.setState(state)
    openmm.LocalEnergyMinimizer.minimize(other, tolerance, max_iterations)
    context.setPositions(other.getState(positions=True).getPositions(asNumpy=True))


@cache
def _try(name: str) -> _Trial:
    """Simulate two particles on a platform, in the best precision that it can."""
    platform = openmm.Platform.getPlatformByName(name)
    names = platform.getPropertyNames()
    reason = ""
    for precision in _PRECISIONS if "Precision" in names else (None,):
        properties = {} if precision is None else {"Precision": precision}
        if "DeterministicForces" in names:
            properties["DeterministicForces"] = "true"
        try:
            context = _probe(platform, properties)
            state = context.getState(energy=True)
        except openmm.OpenMMException as error:
            reason = reason or str(error)  # that of the better precision
            continue
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        if not abs(energy - _PROBE_ENERGY) < 1e-3:
            reason = f"it gives {energy:g} kJ/mol for a pair of {_PROBE_ENERGY:g} kJ/mol"
            continue
        return _Trial(_device(context, names), precision, _is_cpu(context, name))
    return _Trial(reason=reason)


def _probe(platform: openmm.Platform, properties: dict[str, str]) -> openmm.Context:
    """Return a Context of two particles with the kind of force that fluids have."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors((4, 0, 0), (0, 4, 0), (0, 0, 4))
    force = openmm.CustomNonbondedForce("4 * (r^-12 - r^-6)")
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(1.9)
    for _ in range(2):
        system.addParticle(1.0)
        force.addParticle([])
    system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
    context = openmm.Context(system, integrator, platform, properties)
    context.setPositions([openmm.Vec3(0, 0, 0), openmm.Vec3(1.1, 0, 0)])
    return context


def _device(context: openmm.Context, names: tuple[str, ...]) -> str:
    name = "DeviceName"
    return str(context.getPlatform().getPropertyValue(context, name)) if name in names else ""


def _is_cpu(context: openmm.Context, name: str) -> bool:
    """Return whether a Context of OpenCL runs on a CPU, of which OpenMM itself says nothing."""
    if name != "OpenCL":
        return False
    opencl = _opencl_library()
    if opencl is None:
        return False
    value = context.getPlatform().getPropertyValue
    platform = int(value(context, "OpenCLPlatformIndex"))
    device = int(value(context, "DeviceIndex").split(",")[0])
    platforms, devices = (ctypes.c_void_p * (platform + 1))(), (ctypes.c_void_p * (device + 1))()
    kind = ctypes.c_uint64()
    opencl.clGetPlatformIDs(platform + 1, platforms, None)
    opencl.clGetDeviceIDs(
        ctypes.c_void_p(platforms[platform]),
        ctypes.c_uint64(_OPENCL_ALL_DEVICES),
        device + 1,
        devices,
        None,
    )
    opencl.clGetDeviceInfo(
        ctypes.c_void_p(devices[device]),
        _OPENCL_DEVICE_TYPE,
        ctypes.c_size_t(ctypes.sizeof(kind)),
        ctypes.byref(kind),
        None,
    )
    return bool(kind.value & _OPENCL_CPU)


def _opencl_library() -> ctypes.CDLL | None:
    """Return the library of OpenCL that OpenMM has loaded."""
    for name in ("libOpenCL.so.1", ctypes.util.find_library("OpenCL")):
        try:
            return ctypes.CDLL(name) if name else None
        except OSError:
            continue
    return None
