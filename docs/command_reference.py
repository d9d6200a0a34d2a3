"""The reference of the command line as Markdown, made from the commands themselves."""

import inspect
import re
import sys
from pathlib import Path

import typer.main

from openmm_nti.cli import app
from openmm_nti.cli.exit_codes import ExitCode


def write_reference(path):
    """Write the reference to `path`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(reference(), encoding="utf-8")


def reference():
    """Return all commands with their options, in the order of `--help`, and the exit statuses."""
    group = typer.main.get_command(app)
    parts = ["## Options before the command", *_table(group.params)]
    for name, command in group.commands.items():
        arguments = [
            f"{parameter.metavar or parameter.name.upper()}" for parameter in _arguments(command)
        ]
        parts += [
            f"## {name}",
            "```\n" + " ".join(["openmm-nti", name, *arguments, "[OPTIONS]"]) + "\n```",
        ]
        parts += [_examples_as_code(inspect.cleandoc(command.help)), *_table(command.params)]
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return (
        "\n\n".join(
            [*parts, "## Exit status", "\n".join(["| status | meaning |", "|---|---|", *rows])]
        )
        + "\n"
    )


def _arguments(command):
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _table(parameters):
    rows = [
        f"| {_names(parameter)} | {_text(parameter)} |"
        for parameter in parameters
        if parameter.help
    ]
    return ["\n".join(["| | |", "|---|---|", *rows])] if rows else []


def _names(parameter):
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _text(parameter):
    text = parameter.help.replace("|", "\\|").replace("*", "\\*")
    if parameter.param_type_name == "option" and parameter.required:
        return f"{text} Required."
    default = parameter.default
    shown = (
        default is not None and not getattr(parameter, "is_flag", False) and not callable(default)
    )
    return f"{text} Default: `{default}`." if shown else text


def _examples_as_code(text):
    """Return `text` with its indented examples joined into one console block."""
    blocks = re.sub(r"\n\n(?=    )", "\n", text)
    blocks = re.sub(
        r"((?:^    .*\n?)+)",
        lambda found: f"\n```console\n{_prompted(found[1])}\n```\n",
        blocks,
        flags=re.MULTILINE,
    )
    return blocks.strip()


def _prompted(lines):
    return "\n".join(f"$ {line.strip()}" for line in lines.strip("\n").split("\n"))


if __name__ == "__main__":
    write_reference(Path(sys.argv[1] if len(sys.argv) > 1 else "commands.md"))
