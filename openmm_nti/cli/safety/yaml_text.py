"""YAML as configurations and `--set` have it: plain data, no key twice, numbers as they look."""

from __future__ import annotations

import re
from typing import Any

import yaml

from openmm_nti.cli.config_errors import ConfigError


def parse_yaml(text: str, source: str) -> Any:
    """Return the data in `text`.

    Raises
    ------
    ConfigError
        In one line that begins with `source`, if the text is not YAML, has a key twice, or names a
        Python object.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = (error.problem or error.context or "").partition("\n")[0]
        raise ConfigError(f"{source} is not valid YAML{where}: {problem}") from None
    except RecursionError:
        raise ConfigError(f"{source} is not valid YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{source} is not valid YAML: {reason}") from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Loader of plain data that refuses a key given twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is given twice: remove one of them",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """Return the number of a node, unless YAML 1.1 means another one than people do."""
    text = node.value
    if ":" in text or re.match(r"[-+]?0[0-9_]", text):
        read = yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
        raise yaml.MarkedYAMLError(
            problem=f"{text} would be read as {read}: write the number without colons and without "
            "zeros before it",
            problem_mark=node.start_mark,
        )
    return yaml.SafeLoader.yaml_constructors[node.tag](loader, node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)
