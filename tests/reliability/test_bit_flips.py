"""One flipped bit in a file of ours is refused in one line, or changes nothing that is read.

Flips are read in other processes, so that a crash of a library is counted. `python
tests/reliability/test_bit_flips.py 200` prints the table of 200 flips of each kind of file.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # where this file is run by itself
from stored_files import KINDS, content, write_all

LONGEST_MESSAGE = 600


def outcome(kind, path, whole):
    """Return what came of reading a damaged file."""
    try:
        return "same" if content(kind, path) == whole else "silent"
    except ValueError as error:
        text = str(error)
        clear = path.name in text and "\n" not in text and len(text) < LONGEST_MESSAGE
        return "refused" if clear else f"unclear ({type(error).__name__}: {text[:120]!r})"
    except Exception as error:  # noqa: BLE001
        return f"unclear ({type(error).__name__}: {str(error)[:120]!r})"


def read_flips(kind, folder, first, n_flips):
    """Print the outcome of each flip, in the process of its own that `count_flips` starts."""
    warnings.simplefilter("ignore")
    path = Path(folder) / KINDS[kind]
    original = path.read_bytes()
    whole = content(kind, path)
    for number in range(first, n_flips):
        seed = int.from_bytes(hashlib.sha256(f"{kind} {number}".encode()).digest()[:4])
        bit = int(np.random.default_rng(seed).integers(8 * len(original)))
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        sys.stdout.write(f"flip {outcome(kind, path, whole)}\n")
        sys.stdout.flush()
    path.write_bytes(original)


def count_flips(kind, folder, n_flips):
    """Return how often each outcome came of `n_flips` seeded flips; a crash ends one of them."""
    path, found = folder / KINDS[kind], []
    original = path.read_bytes()
    while len(found) < n_flips:
        command = [sys.executable, __file__, kind, str(folder), str(len(found)), str(n_flips)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
        path.write_bytes(original)
        found += [line[5:] for line in done.stdout.splitlines() if line.startswith("flip ")]
        if len(found) < n_flips:
            if done.returncode >= 0:
                raise RuntimeError(done.stderr)
            found.append("crash")
    return Counter(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("flips")
    write_all(path)
    return path


@pytest.mark.parametrize(
    ("kind", "n_flips"),
    [
        ("card", 24),
        *(pytest.param(kind, 200, marks=pytest.mark.slow) for kind in KINDS),
    ],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(kind, n_flips, folder):
    found = count_flips(kind, folder, n_flips)
    assert found["refused"] + found["same"] == n_flips, found
    assert found["refused"] >= n_flips / 2, found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        read_flips(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        with tempfile.TemporaryDirectory() as name:
            write_all(Path(name))
            for each in KINDS:
                counts = dict(count_flips(each, Path(name), int(sys.argv[1])))
                sys.stdout.write(f"{each} {counts}\n")
                sys.stdout.flush()
