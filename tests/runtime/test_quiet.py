"""Packages are imported without their greetings, and the user's logging stays as it was."""

import logging
import subprocess
import sys

import pytest

from openmm_nti.runtime.quiet import dropped_messages, result_stream, results_alone


def test_only_messages_with_the_text_are_dropped(caplog):
    with dropped_messages({"": "old name", "greeter": ""}):
        logging.warning("an old name")  # noqa: LOG015
        logging.warning("a new name")  # noqa: LOG015
        logging.getLogger("greeter").warning("hello")
        logging.getLogger("other").warning("an old name")
    logging.getLogger("greeter").warning("hello again")
    assert caplog.messages == ["a new name", "an old name", "hello again"]


def test_an_error_inside_takes_the_filters_away():
    def fail():
        with dropped_messages({"greeter": ""}):
            raise KeyError

    before = list(logging.root.handlers)
    with pytest.raises(KeyError):
        fail()
    assert logging.getLogger("greeter").filters == []
    assert logging.root.handlers == before


def test_results_are_utf8_where_the_standard_output_takes_ascii_alone(tmp_path, monkeypatch):
    """As in containers and batch jobs without a locale: it ended the commands."""
    path = tmp_path / "results.txt"
    with path.open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with results_alone():
            sys.stdout.write("a greeting, for the errors\n")
            result_stream().write("-21.10 ± 0.15\n")
    assert path.read_text(encoding="utf-8") == "-21.10 ± 0.15\n"


CODE = """
import logging
logging.disable({level})
from openmm_nti.md.plugin import why_not_torch
import openmm_nti.reference_md.statistics
why_not_torch()
root = logging.root
print(root.manager.disable, root.level, len(root.handlers), len(root.filters))
"""


@pytest.mark.parametrize("level", [logging.NOTSET, logging.CRITICAL])
def test_logging_is_as_the_user_left_it(level):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(level=level)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.split() == [str(level), str(logging.WARNING), "0", "0"]
