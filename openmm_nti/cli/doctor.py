"""`openmm-nti doctor`: checks of the installation, with advice where something is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import PurePath
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from openmm_nti import __version__
from openmm_nti.cli import torch_force_probe
from openmm_nti.files import versions

KNOWN_GOOD = "openmm 8.5.2, torch 2.12.1, acellera-openmmtorch 1.10, Python 3.11 to 3.13"
PLUGIN_BUILDS = (
    "acellera-openmmtorch-cpu",
    "acellera-openmmtorch-cu12",
    "acellera-openmmtorch-cu13",
    "openmmtorch",
)
_RANGES = {"openmm": ((8, 5), (8, 6)), "torch": ((2, 11), (2, 13))}
_CRASHES = (
    "the process crashed: the versions of openmm, torch and openmm-torch do not fit together; "
    "install the known good set"
)
_NO_DEVICE = "harmless where the machine has no such device; otherwise see docs/installation.md"
_SYMBOLS = {
    "good": "[green]good[/green]",
    "warning": "[yellow]warning[/yellow]",
    "bad": "[bold red]bad[/bold red]",
}

Verdict = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """The result of one check and, if it is not good, what to do."""

    subject: str
    found: str
    verdict: Verdict = "good"
    advice: str = ""


@dataclass(frozen=True)
class Findings:
    """All findings of one examination."""

    items: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether nothing is bad: warnings leave a working installation."""
        return all(item.verdict != "bad" for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return all findings as a dictionary for JSON."""
        return {
            "healthy": self.healthy,
            "known_good": KNOWN_GOOD,
            "findings": [asdict(item) for item in self.items],
        }


def examine() -> Findings:
    """Check everything a calculation needs; a broken installation raises no error."""
    installed = versions()
    items = [judge_version(name, version) for name, version in installed.items()]
    items.append(
        judge_plugin_builds(
            {name: v for name in PLUGIN_BUILDS if (v := _version_of(name)) is not None}
        )
    )
    platforms = _platforms(items)
    if platforms:
        items.append(_platform_choice())
        items.append(_choice())
    items.append(_compiled())
    items += [_torch_force(name) for name in platforms]
    return Findings(items)


def version_line() -> str:
    """Return the versions of openmm-nti, openmm, torch and the installed plugin builds."""
    names = ("openmm", "torch", *PLUGIN_BUILDS)
    installed = {name: version for name in names if (version := _version_of(name)) is not None}
    plugin = "" if installed.keys() & set(PLUGIN_BUILDS) else ", no openmm-torch plugin as a wheel"
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    return f"openmm-nti {__version__} ({listed}{plugin})"


def judge_plugin_builds(builds: dict[str, str]) -> Finding:
    """Return whether exactly one build of openmm-torch is installed: all have the same files.

    Parameters
    ----------
    builds
        Versions of the installed builds, by the name of their distribution.
    """
    listed = ", ".join(f"{name} {version}" for name, version in builds.items())
    if not builds:
        return Finding(
            "openmm-torch",
            "not installed as a wheel",
            "warning",
            'pip install "openmm-nti[cpu]" (or [cuda12], [cuda13]), or conda install -c '
            "conda-forge openmm-torch",
        )
    if len(builds) > 1:
        return Finding(
            "openmm-torch",
            listed,
            "bad",
            f"these overwrite each other: pip uninstall -y {' '.join(builds)}, then install one of "
            "them again",
        )
    return Finding("openmm-torch", listed)


def plugin_failures(messages: Sequence[str]) -> list[Finding]:
    """Return a finding for each cause in OpenMM's "Error loading library PATH: CAUSE"."""
    plugins: dict[str, list[str]] = {}
    for message in messages:
        library, _, cause = message.strip().removeprefix("Error loading library ").partition(": ")
        plugins.setdefault(cause, []).append(PurePath(library).stem.removeprefix("lib"))
    return [
        Finding("plugins not loaded", f"{', '.join(names)}: {cause}", "warning", _NO_DEVICE)
        for cause, names in plugins.items()
    ]


def print_findings(findings: Findings, console: Console) -> None:
    """Show the findings as a table and the verdict below it."""
    table = Table(title="openmm-nti doctor")
    for heading in ("what", "found", "verdict", "what to do"):
        table.add_column(heading, overflow="fold")
    for item in findings.items:
        table.add_row(item.subject, item.found, _SYMBOLS[item.verdict], item.advice)
    console.print(table)
    console.print(f"Known good together: {KNOWN_GOOD}.")
    console.print(
        "This installation works." if findings.healthy else "This installation does not work.",
        style="bold",
    )


def judge_version(name: str, version: str) -> Finding:
    """Return whether `version` of the package `name` is in the range that works."""
    if version == "not installed":
        return Finding(name, version, "bad", "install openmm-nti with its requirements")
    if name in _RANGES:
        low, high = _RANGES[name]
        numbers = tuple(int(part) for part in version.split("+", maxsplit=1)[0].split(".")[:2])
        if not low <= numbers < high:
            wanted = f"{name}>={low[0]}.{low[1]},<{high[0]}.{high[1]}"
            return Finding(
                name, version, "bad", f'TorchForce is not safe with it: pip install "{wanted}"'
            )
    return Finding(name, version)


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _platforms(items: list[Finding]) -> list[str]:
    """Return the names of OpenMM's platforms, and add findings about them to `items`."""
    try:
        import openmm
    except ImportError as error:
        items.append(Finding("OpenMM platforms", str(error), "bad", "install openmm"))
        return []
    names = [
        openmm.Platform.getPlatform(index).getName()
        for index in range(openmm.Platform.getNumPlatforms())
    ]
    items.append(Finding("OpenMM platforms", ", ".join(names)))
    items += plugin_failures(openmm.Platform.getPluginLoadFailures())
    return [name for name in ("Reference", "CPU", "CUDA", "HIP", "OpenCL") if name in names]


def _platform_choice() -> Finding:
    """Return the platform, device and precision that calculations use by default."""
    from openmm_nti.md.platforms import description_of_fastest

    return Finding("platform by default", description_of_fastest(None))


def _choice() -> Finding:
    """Return which force `NeuralPath` and openmm-ml make here by default, and why."""
    from openmm_nti.md.plugin import why_not_torch

    subject = "force chosen by default"
    reason = why_not_torch()
    if not reason:
        return Finding(subject, "TorchForce: the plugin loads, and OpenMM takes copies of it")
    return Finding(
        subject,
        f"PythonForce: {reason}",
        "warning",
        "the same numbers; for estimates, --set estimates.windows.force=python",
    )


def _compiled() -> Finding:
    """Return whether the inner operations of the networks are compiled."""
    from openmm_nti.kernels import library_path, why_not_loaded

    reason = why_not_loaded()
    if not reason:
        return Finding("compiled operations", str(library_path()))
    return Finding(
        "compiled operations",
        reason,
        "warning",
        "several times faster on a CPU with them: openmm-nti compile",
    )


def _torch_force(platform_name: str) -> Finding:
    """Return whether the TorchForce of the probe gives correct numbers on one platform."""
    subject = f"TorchForce on {platform_name}"
    command = [sys.executable, "-m", torch_force_probe.__name__, platform_name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(subject, "no answer within 120 s", "bad", "install the known good set")
    if done.returncode < 0:
        return Finding(subject, f"signal {-done.returncode}", "bad", _CRASHES)
    if done.returncode > 0:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding(
            subject, last_line, "bad", "see the findings above; install the known good set"
        )
    # OpenMM prints warnings about OpenCL there, before ours.
    return judge_numbers(subject, json.loads(done.stdout.strip().splitlines()[-1]))


def judge_numbers(subject: str, numbers: dict[str, float]) -> Finding:
    """Compare the energy and derivative of the probe, in kJ/mol, with the exact numbers."""
    found = f"U = {numbers['energy']:.6g}, dU/dlambda = {numbers['derivative']:.6g} kJ/mol"
    exact = (torch_force_probe.ENERGY, torch_force_probe.DERIVATIVE)
    if all(
        abs(a - b) < 1e-4 * b
        for a, b in zip((numbers["energy"], numbers["derivative"]), exact, strict=True)
    ):
        return Finding(subject, found)
    return Finding(
        subject, found, "bad", f"expected {exact[0]:g} and {exact[1]:g}: install the known good set"
    )
