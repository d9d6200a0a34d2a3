"""Readable validation errors: the key, what is wrong with it, and the closest valid keys."""

from __future__ import annotations

import difflib
import reprlib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_LONGEST = 120  # characters of a value
# Keys that a StatePoint takes beside its fields.
_STATE_ALTERNATIVES = ("box_length_nm", "box_nm", "density_star", "temperature_kelvin")
# Fields that those may stand for. Where neither is given, `StatePoint` says so itself.
_STOOD_FOR = ("box_length_sigma", "temperature_star")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and the reason."""


def explain(error: ValidationError, model: type[BaseModel], *, source: str) -> str:
    """Return one line for each problem that pydantic found in data for `model`."""
    lines = [_line(problem, model) for problem in error.errors(include_url=False)]
    return "\n".join(f"{source}: {line}" for line in dict.fromkeys(lines) if line)


def valid_keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Return the keys of the section at `path` below `model`; empty if there is no such section."""
    for name in path:
        field = model.model_fields.get(name)
        section = _section(field.annotation) if field else None
        if section is None:
            return []
        model = section
    # Settings that have several kinds, such as those of networks, list their keys themselves.
    keys: list[str] = getattr(model, "known_keys", lambda: list(model.model_fields))()
    return [*keys, *_STATE_ALTERNATIVES] if path == ("system",) else keys


def _line(problem: Any, model: type[BaseModel]) -> str:
    # Numbers in the location are positions in a list of state points, which the user may have
    # written as one.
    *path, name = [str(part) for part in problem["loc"] if not isinstance(part, int)] or [""]
    key = ".".join([*path, name])
    if (problem["type"] == "extra_forbidden" and name in _STATE_ALTERNATIVES) or (
        problem["type"] == "missing" and name in _STOOD_FOR
    ):
        return ""  # good in itself; the unknown key beside it is what is wrong
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(name, valid_keys(model, tuple(path)))}"
    if problem["type"] == "missing" and isinstance(problem["loc"][-1], int):
        return f"{key}: too few values (given: {_short(problem['input'])})"
    if problem["type"] == "missing":
        return f"{key}: missing; every configuration needs it"
    message = problem["msg"].removeprefix("Value error, ")
    # The messages of our own validators of a whole section name the value themselves.
    whole = problem["type"] == "value_error" and isinstance(problem["input"], dict | BaseModel)
    given = "" if whole else f" (given: {_short(problem['input'])})"
    return f"{key}: {message}{given}" if key else f"{message}{given}"


def _short(value: Any) -> str:
    """Return a value as text, cut where it is long."""
    text = reprlib.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _suggestion(name: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(name, keys, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}? Valid keys here: {', '.join(keys)}"
    return f"; valid keys here: {', '.join(keys)}"


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation: `Model`, `Model | None` or `tuple[Model, ...]`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
