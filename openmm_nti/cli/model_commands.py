"""The commands for a finished model: list it, export it for OpenMM, and draw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openmm
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from openmm_nti.cli.config_errors import ConfigError, explain
from openmm_nti.cli.safety.preflight import check_density, check_writable
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, provenance, write_text
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.openmm_energy import OpenMMEnergy, script
from openmm_nti.model_files import load_model, read_card, shipped_models
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import neural_ti
from openmm_nti.validation.estimators.neural_ti import NeuralTIConfig


def print_models(console: Console) -> None:
    """Show the shipped models as a table: their fluid, and the N they were trained on."""
    table = Table(title="Shipped models")
    for heading in ("name", "fluid", "trained at N"):
        table.add_column(heading, overflow="fold")
    for name, path in shipped_models().items():
        card = read_card(path)
        potential = card["potential"]
        states = [StatePoint(**state) for state in card["trained_on"]]
        if family := card.get("range", {}).get("family"):
            table.add_row(name, *_family(card["range"], family, states))
            continue
        fluid = (
            f"LJ, T* = {potential['temperature_star']:g}, cutoff {potential['cutoff_sigma']:g} "
            "sigma, "
        )
        boxes = sorted({state.box_text for state in states})
        numbers = ", ".join(str(state.n_particles) for state in states)
        table.add_row(
            name,
            fluid + potential["convention"],
            f"{numbers} (L = {', '.join(boxes)} sigma)",
        )
    console.print(table)
    console.print(
        "Use: openmm_nti.load_model(NAME), or openmm-nti estimate --model NAME --n 100 --method "
        "neural_ti"
    )


def _family(
    trained: dict[str, Any], family: dict[str, Any], states: list[StatePoint]
) -> tuple[str, str]:
    """Return the fluids of a model of several in words, and the N of its training."""
    low, high = trained["temperature_star"]
    mixtures = sum(state.is_mixture for state in states)
    numbers = [state.n_particles for state in states]
    fluid = (
        f"LJ family, T* = {low:.3g} to {high:.3g}, mixtures with atoms up to "
        f"{family['length_ratio'][1]:.2g} times as large as others"
    )
    of = f"{len(states) - mixtures} fluids and {mixtures} mixtures"
    return fluid, f"{min(numbers)} to {max(numbers)} ({of})"


def state_of_model(
    path: str, n_particles: int | None, box_length_sigma: float | None
) -> StatePoint:
    """Return the first state point of a model's training, with another N or box if given.

    Raises
    ------
    ConfigError
        If the model's card has no state point and N or box is missing, or they do not fit the
        model.
    """
    card = read_card(path)
    trained_on: list[dict[str, Any]] = card["trained_on"]
    state = dict(trained_on[0]) if trained_on else dict(card["potential"])
    if n_particles is not None:
        state["n_particles"] = n_particles
    if box_length_sigma is not None:
        state = {**state, "box_sigma": None, "box_length_sigma": box_length_sigma}
    try:
        point = StatePoint(**state)
    except ValidationError as error:
        raise ConfigError(explain(error, StatePoint, source="this state point")) from None
    check_density(point)
    return point


def export_model(path: str, state: StatePoint, output: Path) -> list[Path]:
    """Write hamiltonian.pt (TorchScript) and system.xml (a System with the model); return both."""
    check_writable(output)
    model = load_model(path)
    module = output / "hamiltonian.pt"
    system = output / "system.xml"
    with atomic_path(module) as temporary:
        script(OpenMMEnergy(model, state), portable=True).save(str(temporary))
    write_text(
        system,
        openmm.XmlSerializer.serialize(
            create_system(state, torch_force(model, state, portable=True))
        ),
    )
    return [module, system]


def write_samples(
    path: str, state: StatePoint, output: Path, config: NeuralTIConfig, execution: Execution
) -> int:
    """Draw configurations by reverse diffusion, save them, and return how many there are."""
    if output.suffix != ".h5":
        raise ValueError(
            f"--output {output} must end in .h5, the format of ensembles, which mdtraj reads too"
        )
    check_writable(output.parent, f"--output {output}")
    if output.is_dir():
        raise ConfigError(f"--output {output} is a directory: name a file")
    positions = neural_ti.sample(load_model(path), state, config, execution)
    facts = {
        **provenance(execution.seed),
        "made_by": "reverse diffusion",
        "config": config.model_dump(),
    }
    Ensemble(
        state, positions * state.sigma_nm, reduced_potential_numpy(positions, state), facts
    ).save(output)
    return len(positions)
