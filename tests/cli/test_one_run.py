"""One process at a time in the directory of a run, and nothing left by those that died."""

import os
import signal
import subprocess
import sys

import pytest

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.pipeline import Pipeline
from openmm_nti.cli.safety.one_run import only_run
from openmm_nti.files import atomic_path

HOLD = (
    "import pathlib, sys; from openmm_nti.cli.safety.one_run import only_run\n"
    "with only_run(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)
DIES_WRITING = (
    "import os, sys; from openmm_nti.files import atomic_path\n"
    "with atomic_path(sys.argv[1]) as path: path.touch(); os._exit(0)"
)


@pytest.fixture
def no_stages(monkeypatch):
    """Let a run end before its first stage."""

    def stop(_self):
        raise ConfigError("the stages begin")

    monkeypatch.setattr(Pipeline, "run", stop)


@pytest.mark.usefixtures("no_stages")
def test_a_second_process_is_refused_until_the_first_is_killed(tiny, tmp_path, cli):
    directory = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        for command in ("run", "generate", "train"):
            refused = cli(command, tiny, "--output", directory)
            assert refused.exit_code == 2
            assert refused.output == (
                f"{directory} is in use by another process of openmm-nti: wait for its end, or "
                "name another --output\n"
            )
        assert not (directory / "config.yaml").exists()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert cli("run", tiny, "--output", directory).output == "the stages begin\n"


def test_only_temporary_files_of_dead_processes_of_this_machine_are_removed(tmp_path):
    below = tmp_path / "N6" / "windows"
    subprocess.run([sys.executable, "-c", DIES_WRITING, below / "a.b.npz"], check=True)
    (dead,) = below.iterdir()
    assert dead.suffix == ".npz"
    elsewhere = dead.with_name(dead.name.replace("@", "@not-"))
    elsewhere.touch()
    with atomic_path(below / "living.h5") as living:
        living.touch()
        with only_run(tmp_path):
            assert set(below.iterdir()) == {living, elsewhere}
            assert str(os.getpid()) in living.name
    assert (below / "living.h5").is_file()
