"""Models on disk: weights as safetensors, and a JSON card that describes the model.

Neither file is a pickle, so loading a model runs no code. Models that ship with the package lie in
`openmm_nti/models`, each in the folder of its name, and load by that name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from openmm_nti.files import atomic_path, provenance, read_json, sha256_of, write_text
from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig, NoisedFluid, build_model
from openmm_nti.hamiltonian.length_scale import lengths_of
from openmm_nti.hamiltonian.networks.atom_traits import depths_of
from openmm_nti.hamiltonian.training_range import TrainingRange
from openmm_nti.references.registry import reference_named

FORMAT = 3
_READABLE = (1, 2, 3)  # 1 has no training range and is Lennard-Jones; 1 and 2 have no checksums
_CHECKSUMS = "checksums"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
DENOISER_FOLDER = "denoiser"
SHIPPED = Path(__file__).parent / "models"
_UNITS = {"length": "sigma", "energy": "kT", "lambda": "0 ideal gas, 1 interacting fluid"}


def save_model(
    model: NoisedFluid,
    directory: str | Path,
    *,
    trained_on: Sequence[StatePoint] = (),
    seed: int = 0,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write `model` to `directory`, as model.safetensors and model.json.

    Each file is written atomically, the card last.

    Parameters
    ----------
    model
        Model to save.
    directory
        Directory of the two files; made if it does not exist.
    trained_on
        State points of the reference data.
    seed
        Random seed of the training run.
    training
        Further facts for the card, such as steps, losses and cost.

    Returns
    -------
    Path
        The directory.
    """
    directory = Path(directory)
    with atomic_path(directory / WEIGHTS_FILE) as temporary:
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()}, temporary
        )
    card = {
        "format": FORMAT,
        "potential": {
            **model.potential.model_dump(),
            "potential": model.potential.potential.model_dump(),
        },
        **_home(model),
        "reference": model.reference.name,
        "range": TrainingRange.of(model.potential, trained_on).card(),
        "network": model.network_config.model_dump() if model.network_config else None,
        "trained_on": [state.model_dump() for state in trained_on],
        "training": training or {},
        "units": _UNITS,
        "provenance": provenance(seed),
    }
    write_card(directory, card)
    return directory


def _home(model: NoisedFluid) -> dict[str, float]:
    """Return length and depth of the pair that the network was first trained for, if another."""
    own = lengths_of(model.potential)[0], depths_of(model.potential)[0]
    if own == (model.home_length, model.home_depth):
        return {}
    return {"home_length_sigma": model.home_length, "home_depth_kt": model.home_depth}


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a card to a model's directory, with the checksums of the weights and of itself.

    A card edited by hand is refused when it is read. This writes the change with new checksums.
    """
    card = json.loads(json.dumps(card, allow_nan=False))  # as a reader will see it
    card.pop(_CHECKSUMS, None)
    sums = {WEIGHTS_FILE: sha256_of(path / WEIGHTS_FILE), CARD_FILE: _hash_of(card)}
    write_text(path / CARD_FILE, json.dumps(card | {_CHECKSUMS: sums}, indent=2) + "\n")


def _hash_of(card: dict[str, Any]) -> str:
    """Return the SHA-256 of a card's content, however it is laid out in the file."""
    text = json.dumps(card, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_card(card: dict[str, Any], file: Path) -> None:
    """Refuse a card that is not the one that was written; older formats have no checksum."""
    sums = card.get(_CHECKSUMS)
    if sums is None and card["format"] < 3:
        return
    content = {key: value for key, value in card.items() if key != _CHECKSUMS}
    if not isinstance(sums, dict) or sums.get(CARD_FILE) != _hash_of(content):
        raise ValueError(
            f"{file} has changed since it was written: its content is not that of its checksum; "
            "copy it again, or sign it by `model_files.write_card`"
        )


def _check_weights(card: dict[str, Any], weights: Path) -> None:
    """Refuse weights that are not those that the card was written for."""
    sums = card.get(_CHECKSUMS)
    if sums is not None and weights.is_file() and sums.get(WEIGHTS_FILE) != sha256_of(weights):
        raise ValueError(
            f"{weights} is truncated or damaged, or of another model than {CARD_FILE}: its content "
            "is not that of its checksum; copy both again"
        )


def load_model(path: str | Path) -> LambdaHamiltonian:
    """Return a Hamiltonian saved by `save_model`, in evaluation mode.

    Parameters
    ----------
    path
        Directory of the model, either file in it, the directory of a run, or the name of a shipped
        model (`shipped_models`).

    Raises
    ------
    ValueError
        If a file is missing, truncated or of another format, if weights and card do not belong
        together, or if the model is a denoiser, which has no energy.
    """
    model = load_any_model(path)
    if isinstance(model, LambdaHamiltonian):
        return model
    raise ValueError(
        f"the model at {path} is a denoiser, without an energy: "
        "it serves neural_ti_bound, neural_ti_tethered and path_bar alone; "
        "train a network of kind `density` for everything else"
    )


def load_denoiser(path: str | Path) -> NoisedFluid:
    """Return the best score at `path` for the denoising bound.

    It is the denoiser in the folder `denoiser` beside the model, or else the model itself.
    Arguments and errors are those of `load_model`.
    """
    return load_any_model(denoiser_directory(path))


def denoiser_directory(path: str | Path) -> Path:
    """Return the directory from which `load_denoiser` reads."""
    directory = model_directory(path)
    companion = directory / DENOISER_FOLDER
    return companion if (companion / CARD_FILE).is_file() else directory


def training_core_seconds(path: str | Path) -> float | None:
    """Return the time that training took of all processes together, or None if it is unknown.

    Earlier trainings from which it started are included. `path` is as for `load_model`.
    """
    facts = read_card(model_directory(path))["training"]
    return facts.get(
        "core_seconds", facts["seconds"] * facts.get("processes", 1) if "seconds" in facts else None
    )


def load_any_model(path: str | Path) -> NoisedFluid:
    """Return the Hamiltonian or the denoiser at `path`; see `load_model`."""
    directory = model_directory(path)
    card = read_card(directory)
    try:
        potential = ReducedPotential(**card["potential"])
        network = NetworkConfig(**card["network"]) if card["network"] else None
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(
            f"{directory / CARD_FILE} describes no model ({error}): save the model again"
        ) from error
    model = build_model(potential, network)
    if "home_length_sigma" in card:
        depth = float(card.get("home_depth_kt", model.home_depth))
        model.take_home(float(card["home_length_sigma"]), depth)
    weights = directory / WEIGHTS_FILE
    _check_weights(card, weights)
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{weights} is missing, truncated or no safetensors file ({error}): copy it again"
        ) from error
    _check_types(model, state, weights)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{weights} and {CARD_FILE} belong to different models: copy both again"
        ) from error
    trained_on = [StatePoint(**state) for state in card["trained_on"]]
    model.take_range(
        trained_on,
        TrainingRange.from_card(card["range"])
        if "range" in card
        else TrainingRange.of(potential, trained_on),
    )
    model.reference = reference_named(card.get("reference", "ideal_gas"))
    return model.eval().requires_grad_(False)


def _check_types(model: NoisedFluid, state: Mapping[str, Tensor], weights: Path) -> None:
    """Refuse weights that torch would cast: they were made by something else."""
    for name, wanted in model.state_dict().items():
        if name in state and state[name].dtype.is_floating_point != wanted.dtype.is_floating_point:
            raise ValueError(
                f"{weights}: {name} is {state[name].dtype}, where the model has {wanted.dtype}: "
                "copy the model again"
            )


def shipped_models() -> dict[str, Path]:
    """Return the directories of the models that come with the package, by name."""
    return {card.parent.name: card.parent for card in sorted(SHIPPED.glob(f"*/{CARD_FILE}"))}


def model_directory(path: str | Path) -> Path:
    """Return the directory of the model at `path`; ValueError if there is none."""
    shipped = shipped_models()
    if str(path) in shipped and not Path(path).exists():
        return shipped[str(path)]
    path = Path(path)
    directory = path if path.is_dir() else path.parent
    for candidate in (directory, directory / "model"):
        if (candidate / CARD_FILE).is_file():
            return candidate
    names = f", or the name of a shipped model: {', '.join(shipped)}" if shipped else ""
    raise ValueError(
        f"no model at {path}: expected a directory with {WEIGHTS_FILE} and {CARD_FILE}{names}"
    )


def read_card(path: str | Path) -> dict[str, Any]:
    """Return the JSON card of the model at `path`.

    Raises
    ------
    ValueError
        If the card is missing, truncated, or of a format that this version does not read.
    """
    file = model_directory(path) / CARD_FILE
    card = read_json(file)
    if not isinstance(card, dict) or card.get("format") not in _READABLE:
        raise ValueError(
            f"{file} is not a model card of format {' or '.join(map(str, _READABLE))}: it was "
            "written by another version"
        )
    _check_card(card, file)
    return card


def weights_fingerprint(model: NoisedFluid) -> str:
    """Return the fingerprint of a model, which is the same for equal models."""
    return model.fingerprint()
