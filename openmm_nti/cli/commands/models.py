"""The commands for trained models: `models`, `sample` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openmm_nti.cli.commands.options import (
    LARGEST_SEED,
    BoxLength,
    Device,
    Json,
    Model,
    Number,
    Quiet,
    echo,
    print_json,
    results_console,
)


def models(
    json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the trained models that come with the package, and the fluid of each.

    An example:

        openmm-nti models --json
    """
    from openmm_nti.cli.model_commands import print_models
    from openmm_nti.model_files import read_card, shipped_models

    if json:
        print_json({name: read_card(path) for name, path in shipped_models().items()})
    else:
        print_models(results_console())


def sample(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Ensemble file to write (.h5, read by mdtraj).")
    ],
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Setting; keys as in estimates.neural_ti of `init`."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.")] = 1,
    device: Device = "auto",
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Draw configurations of the fluid from the model, by reverse diffusion from the ideal gas.

    An example:

        openmm-nti sample lj-fluid-t1.25 --n 100 --output samples.h5 --set n_samples=64
    """
    from openmm_nti.cli.model_commands import state_of_model, write_samples
    from openmm_nti.cli.run_config import section_config
    from openmm_nti.cli.safety.preflight import with_key
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.devices import torch_device
    from openmm_nti.validation.estimators.neural_ti import NeuralTI

    state = state_of_model(model, n_particles, box_length_sigma)
    config = section_config(NeuralTI.section, settings or [])
    with_key("--device", torch_device, device)
    execution = Execution(seed, progress=True, device=device)
    n_frames = write_samples(model, state, output, config, execution)
    if json:
        print_json(
            {
                "file": str(output),
                "configurations": n_frames,
                "state": state.model_dump(mode="json"),
            }
        )
    else:
        echo(f"Wrote {n_frames} configurations of {state} to {output}")


def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the two files.")],
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    json: Json = False,
) -> None:
    """Write the model for OpenMM, as hamiltonian.pt and system.xml.

    The first is TorchScript, for a TorchForce; the second is a System that contains the model.
    Either file is enough. The global parameter of the force is lambda_nti. An example:

        openmm-nti export lj-fluid-t1.25 --n 100 --output exported
    """
    from openmm_nti.cli.model_commands import export_model, state_of_model

    paths = export_model(model, state_of_model(model, n_particles, box_length_sigma), output)
    if json:
        print_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        echo(f"Wrote {path}")
