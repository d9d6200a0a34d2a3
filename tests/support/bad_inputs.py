"""Bad inputs by rule: every key of a configuration with every kind of wrong value.

Each case is a command line, what its message must name, and what it must show of the value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.hamiltonian.networks.registry import network_classes
from openmm_nti.validation.estimators.registry import sections

STATE = {"n_particles": 40, "box_length_sigma": 6.0, "temperature_star": 1.25}
SPECIES = {
    "temperature_kelvin": 149.75,
    "box_length_nm": 2.043,
    "species": {
        "Ar": {
            "n_particles": 40,
            "mass_dalton": 39.948,
            "sigma_nm": 0.3405,
            "epsilon_kj_mol": 0.996,
        }
    },
    "potential": {"type": "lennard_jones", "cutoff_nm": 1.0215, "switch_nm": 0.85125},
}
IN_SIGMA = {
    **SPECIES,
    "potential": {"type": "lennard_jones", "cutoff_sigma": 3.0, "switch_sigma": 2.5},
}
CRYSTAL = {
    "crystal": {"lattice": "fcc", "cells": [4, 4, 4]},
    "density_star": 1.1,
    "temperature_star": 1.25,
    "cutoff_sigma": 2.5,
    "switch_sigma": 2.0,
}
OF_CELL = {
    **CRYSTAL,
    "crystal": {
        "lattice": {"edges": [1.0, 1.0, 1.0], "sites": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]},
        "cells": [5, 5, 5],
    },
}
OF_FILE = {**CRYSTAL, "crystal": {"sites": "cell.pdb", "cells": [5, 5, 5]}}
ATOM = "ATOM      1  Ar   AR A   0    {0:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00          Ar"
UNIT_CELL = "CRYST1    4.000    4.000    4.000  90.00  90.00  90.00 P 1           1\n" + "\n".join(
    ATOM.format(place) for place in (0, 2)
)
# What is written into the file for each kind of wrong value, and what the message must show of it.
WRONG = {
    "null": ("null", ("null", "None", "missing", "none of them", "lacks")),
    "a list": ("[0.02]", ("list", "0.02")),
    "a mapping": ("{first: 3}", ("mapping", "dict", "first")),
    "text": ("a word", ("a word",)),
    "a bad number": ("1.5x", ("1.5x",)),
    "empty text": ("''", ("''", "empty")),
    "negative": ("-3", ("-3",)),
    "zero": ("0", ("0",)),
    "infinity": (".inf", ("inf",)),
    "NaN": (".nan", ("nan",)),
    "huge": ("1.0e+30", ("1e+30", "1000000000000000019884624838656")),
    "true": ("true", ("True", "true")),
}


# The words above are good ones in these places.
OPTIONAL = [
    "platform",
    "max_minutes",
    "start_from",
    "n_windows",
    "windows.n_frames",
    "potential",
    "cutoff_nm",
    "switch_nm",
    "bound",
    "widom",
    "neural_ti",
    "neural_ti_noised",
    "paths",
    "stages",
    "n_stages",
    "windows",
    "softcore",
    "decoupling",
    "bar_chain",
    "eos",
    "model",
    "n_ramps",
    "species_order",
    "ufm_switching",
    "sweep",
    "sweep.temperature_kelvin",
    "sweep.method",
    "potential.cutoff_sigma",
    "potential.switch_sigma",
]
MAY_BE_ZERO = [
    "seed",
    "equilibration_steps",
    "equilibration",
    "n_refinements",
    "n_relaxations",
    "warmup_steps",
    "ema_decay",
    "focus_share",
    "n_tethered",
    "corrector_steps",
]
TRUE_OR_FALSE = ["exchange", "control_variates"]  # 0 is false
GOOD = {
    *(("null", key) for key in OPTIONAL),
    *(("zero", key) for key in MAY_BE_ZERO + TRUE_OR_FALSE),
    *(("true", key) for key in TRUE_OR_FALSE),
    ("misspelt", "Aqz"),  # the name of a species
    ("a list", "sweep"),  # of temperatures
    ("a list", "temperature_star"),  # one state point for each
    ("a list", "density_star"),
    ("a list", "sweep.temperature_star"),
}


@dataclass(frozen=True)
class Case:
    """One bad input: the arguments, and words of which the message must hold one of each group."""

    name: str
    arguments: list[str]
    shows: tuple[tuple[str, ...], ...]
    files: dict[str, bytes] = field(default_factory=dict)
    config: Callable[[], str] | None = None  # makes config.yaml, when the case is wanted

    @property
    def may_be_good(self) -> bool:
        """Whether the value, though odd, is a valid one."""
        words = self.name.replace(".", ": ").split(": ")
        keys = {words[-2], ".".join(words[-3:-1])} if len(words) > 2 else set()
        return any((words[-1], key) in GOOD for key in keys)


def full_configuration(kind: str = "density") -> dict[str, Any]:
    """Return a configuration in which every section is there, and every key has a value."""
    everything = {section: {} for section, known in sections().items() if known[0].phase == "fluid"}
    config = RunConfig.model_validate(
        {
            "system": STATE,
            "network": {"kind": kind},
            "estimates": everything,
            "sweep": {"temperature_star": [1.4, 1.6], "method": "path_bar"},
        }
    )
    dumped = config.model_dump(mode="json")
    dumped["system"]["potential"] = {"type": "lennard_jones"}
    of_fluids = {key: value for key, value in dumped["estimates"].items() if value is not None}
    return {**dumped, "estimates": of_fluids}


def keys(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key in `config`, sections as well."""
    for name, value in config.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from keys(value, (*path, name))


def of_configurations() -> Iterator[Case]:
    """Yield a case for each key and each kind of wrong value, each misspelt and doubled key."""
    bases = {"plain": full_configuration()}
    for kind in network_classes():
        if kind != "density":
            bases[kind] = {"system": STATE, "network": full_configuration(kind)["network"]}
    systems = {"species": SPECIES, "in sigma": IN_SIGMA, "crystal": CRYSTAL}
    systems |= {"cell": OF_CELL, "file": OF_FILE}
    bases |= {label: {"system": system} for label, system in systems.items()}
    for label, base in bases.items():
        for path in keys(base):
            if label != "plain" and label not in systems and path[0] != "network":
                continue
            yield from _wrong_values(label, base, path)
            yield _misspelt(label, base, path)
            yield _twice(label, base, path)
    for name in ("density_star", "box_length_nm", "temperature_kelvin"):
        base = {"system": {"n_particles": 40, "temperature_star": 1.25, "box_length_sigma": 6.0}}
        replaced = "temperature_star" if name == "temperature_kelvin" else "box_length_sigma"
        del base["system"][replaced]
        base["system"][name] = 1.0
        yield from _wrong_values("alternatives", base, ("system", name))


def _case(
    label: str, what: str, path: tuple[str, ...], text: Callable[[], str], shows: Any
) -> Case:
    # A denoiser makes no estimates.
    command = {"denoiser": "train", "crystal": "generate"}.get(label, "run")
    return Case(
        f"{label}: {'.'.join(path)}: {what}",
        [command, "config.yaml", "--output", "out"],
        ((path[-1],), shows),
        {"cell.pdb": UNIT_CELL.encode()} if label == "file" else {},
        config=text,
    )


def _wrong_values(label: str, base: dict[str, Any], path: tuple[str, ...]) -> Iterator[Case]:
    for what, (text, shows) in WRONG.items():
        if (label, what, path[-1]) == ("file", "null", "density_star"):
            continue  # the file has a box
        yield _case(label, what, path, partial(_with_value, base, path, text), shows)


def _with_value(base: dict[str, Any], path: tuple[str, ...], text: str) -> str:
    config = copy.deepcopy(base)
    _section(config, path)[path[-1]] = "@VALUE@"
    return _dumped(config).replace("'@VALUE@'", text)


def _misspelt(label: str, base: dict[str, Any], path: tuple[str, ...]) -> Case:
    wrong = path[-1][:-1] + "qz"
    text = partial(_with_other_key, base, path, wrong)
    return _case(label, "misspelt", (*path[:-1], wrong), text, (wrong,))


def _with_other_key(base: dict[str, Any], path: tuple[str, ...], wrong: str) -> str:
    config = copy.deepcopy(base)
    section = _section(config, path)
    section[wrong] = section.pop(path[-1])
    return _dumped(config)


def _twice(label: str, base: dict[str, Any], path: tuple[str, ...]) -> Case:
    return _case(label, "twice", path, partial(_with_two, base, path), ("twice",))


def _with_two(base: dict[str, Any], path: tuple[str, ...]) -> str:
    indent = "  " * (len(path) - 1)
    lines = _dumped(base).splitlines()
    place = _line_of(lines, path)
    return "\n".join([*lines[:place], f"{indent}{path[-1]}: 1", *lines[place:]])


def _line_of(lines: list[str], path: tuple[str, ...]) -> int:
    place = 0
    for depth, name in enumerate(path):
        start = f"{'  ' * depth}{name}:"
        place = next(i for i in range(place, len(lines)) if lines[i].startswith(start))
    return place


def _dumped(config: Any) -> str:
    return yaml.safe_dump(config, sort_keys=False)


def _section(config: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path[:-1]:
        config = config[name]
    return config


def write_files(case: Case, folder: Path) -> None:
    """Write the files that a case needs."""
    made = {} if case.config is None else {"config.yaml": case.config().encode()}
    for name, content in {**case.files, **made}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
