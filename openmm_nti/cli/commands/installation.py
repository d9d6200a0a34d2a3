"""The commands for the installation: `compile` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from openmm_nti.cli.commands.options import echo, print_json, results_console
from openmm_nti.cli.exit_codes import ExitCode


def compile_kernels() -> None:
    """Build the compiled operations for this processor, which make a CPU several times faster.

    It takes half a minute, once, and needs a C++ compiler: c++, or the one that CXX names. The
    operations go to the directory of OPENMM_NTI_KERNELS, or to openmm_nti in the user's cache, and
    are used from then on. OPENMM_NTI_KERNELS=off leaves them out. An example:

        openmm-nti compile
    """
    from openmm_nti.kernels import build

    echo(str(build()))


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation: versions, plugins, and a TorchForce on three particles.

    Ends with status 3 if something is broken. An example:

        openmm-nti doctor --json
    """
    from openmm_nti.cli.doctor import examine, print_findings

    findings = examine()
    if json:
        print_json(findings.to_dict())
    else:
        print_findings(findings, results_console())
    if not findings.healthy:
        raise typer.Exit(ExitCode.BROKEN_INSTALLATION)
