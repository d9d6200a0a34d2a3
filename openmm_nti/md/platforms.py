"""The fastest OpenMM platform that works here, and its settings for reproducible runs."""

from __future__ import annotations

from functools import cache

import openmm

_FASTEST_FIRST = ("CUDA", "HIP", "OpenCL", "CPU", "Reference")


@cache
def fastest_platform(name: str | None = None) -> openmm.Platform:
    """Return the first of CUDA, HIP, OpenCL, CPU and Reference on which a Context can be made.

    An installed platform may lack a device or a driver. So a small Context is made on each, until
    one succeeds.

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
    available = [
        openmm.Platform.getPlatform(index).getName()
        for index in range(openmm.Platform.getNumPlatforms())
    ]
    reasons = {}
    for candidate in _FASTEST_FIRST if name is None else (name,):
        if candidate not in available:
            reasons[candidate] = "not installed"
            continue
        platform = openmm.Platform.getPlatformByName(candidate)
        reason = _why_not(platform)
        if reason is None:
            return platform
        reasons[candidate] = reason
    raise ValueError(
        f"platform = {name!r} cannot be used "
        f"({'; '.join(f'{key}: {why}' for key, why in reasons.items())}): "
        f"choose one of {', '.join(available)}, or none for the fastest"
    )


def platform_properties(
    platform: openmm.Platform, threads: int = 1, deterministic: bool = True
) -> dict[str, str]:
    """Return those properties of `platform` that make its forces repeat to the bit.

    Parameters
    ----------
    platform
        Platform of the Context.
    threads
        Number of CPU threads. GPUs compute in mixed precision.
    deterministic
        Whether forces repeat to the bit.
    """
    wanted = {
        "Threads": str(threads),
        "Precision": "mixed",
        "DeterministicForces": "true" if deterministic else "false",
    }
    return {key: value for key, value in wanted.items() if key in platform.getPropertyNames()}


def _why_not(platform: openmm.Platform) -> str | None:
    """Return OpenMM's reason why no Context can be made on `platform`; None if one can."""
    system = openmm.System()
    system.addParticle(1.0)
    try:
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException as error:
        return str(error)
    return None
