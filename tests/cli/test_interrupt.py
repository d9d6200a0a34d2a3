"""Ctrl-C while the packages are still being imported."""

import os
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from openmm_nti.cli.safety.friendly import interruptible

# `sitecustomize` runs before everything else; the interrupt comes inside of an import of ours.
INTERRUPTS = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
"""
SCRIPT = Path(sysconfig.get_path("scripts")) / "openmm-nti"


@pytest.fixture(autouse=True)
def hears_interrupts():
    """A shell starts background jobs, such as a test run, with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ([sys.executable, "-m", "openmm_nti.cli"], "torch"),
        ([sys.executable, SCRIPT], "torch"),
        ([sys.executable, SCRIPT], "openmm_nti.cli.app"),
    ],
)
def test_an_interrupt_inside_an_import_is_one_line(command, name, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS.format(name=name))
    done = subprocess.run(
        [*command, "methods"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "",
        "Interrupted; nothing was kept.\n",
    )


def test_other_programs_keep_their_own_ctrl_c():
    script = "import sys, signal; sys.modules['torch'] = None\n"
    script += "try: import openmm_nti\nexcept ImportError: pass\n"
    script += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_whose_processes_an_interrupt_has_ended_say_nothing(capsys):
    with interruptible() as interrupted:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target={}.pop, args=("a process that is gone",))
        thread.start()
        thread.join()
        assert interrupted()
    assert capsys.readouterr().err == ""
