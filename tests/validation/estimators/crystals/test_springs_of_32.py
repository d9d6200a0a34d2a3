"""The benchmark with every estimator of crystals on springs: all right within 0.1 kT."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "spring_crystal.py"


@pytest.mark.slow
def test_every_estimator_is_exact_for_32_atoms_on_springs():
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| `") == 7
