"""The commented YAML file of `openmm-nti init`, made from the descriptions of the settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.hamiltonian.networks.registry import network_classes

_HEADER = """\
A calculation for `openmm-nti run THIS_FILE --output DIR`. Every value below but `system` is the
default and may be left out; `--set section.key=value` replaces one for a single run."""
_EXAMPLE_STATE = {"n_particles": 40, "box_length_sigma": 6.0, "temperature_star": 1.25}
_ALTERNATIVES = """\
Instead of box_length_sigma: box_length_nm, density_star, or box_sigma or box_nm with three edges.
Instead of temperature_star: temperature_kelvin. n_particles may be a list such as [40, 80]. Another
form, by species and in real units, is described in docs/fluid.md."""
_WIDTH = 100


def commented_yaml() -> str:
    """Return a complete configuration: each key with its default, and its meaning above it."""
    lines = [*_comment(_HEADER, 0), ""]
    for name, field in RunConfig.model_fields.items():
        lines += _comment(field.description or "", 0)
        if name == "system":
            lines += ["system:", *_comment(_ALTERNATIVES, 1), *_system()]
        else:
            if name == "network":
                lines += _kinds_of_networks()
            lines += _entry(name, field.get_default(call_default_factory=True), 0)
        lines.append("")
    return "\n".join(lines)


def _system() -> Iterator[str]:
    state = RunConfig.model_fields["system"].annotation.__args__[0]  # type: ignore[union-attr]
    for name, field in state.model_fields.items():
        if not field.repr:  # boxes with three edges, and what the form by species is read into
            continue
        yield from _comment(field.description or "", 1)
        value = _EXAMPLE_STATE.get(name, field.default)
        if value is PydanticUndefined:
            raise ValueError(
                f"the template has no example for system.{name}: add one to _EXAMPLE_STATE"
            )
        yield from _entry(name, value, 1)


def _kinds_of_networks() -> list[str]:
    kinds = (f"`{kind}`: {network.summary}" for kind, network in network_classes().items())
    return _comment(f"Kinds: {'; '.join(kinds)}.", 0)


def _entry(name: str, value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if not isinstance(value, BaseModel):
        text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
        yield f"{indent}{name}: {text}"
        return
    yield f"{indent}{name}:"
    for key, field in type(value).model_fields.items():
        yield from _comment(field.description or "", depth + 1)
        yield from _entry(key, getattr(value, key), depth + 1)


def _comment(text: str, depth: int) -> list[str]:
    indent = "  " * depth + "# "
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
