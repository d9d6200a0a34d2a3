"""Files are whole, have the permissions that the user asks for, and a checksum."""

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from openmm_nti import files
from openmm_nti.files import atomic_path, read_json, write_json, write_text
from openmm_nti.runtime import stored


@pytest.fixture
def umask():
    """Return a function that sets the umask of this process; it is put back at the end."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_new_files_have_the_mode_of_the_users_umask(mask, umask, tmp_path):
    umask(mask)
    write_text(tmp_path / "text.txt", "text")
    (tmp_path / "plain.txt").write_text("text")
    assert mode(tmp_path / "text.txt") == mode(tmp_path / "plain.txt") == 0o666 & ~mask


def test_a_file_that_a_library_closed_to_others_is_opened(umask, tmp_path):
    with atomic_path(tmp_path / "weights") as temporary:
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    assert mode(tmp_path / "weights") == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_nobody_changes_the_umask_even_for_a_moment(tmp_path):
    """Another thread's files would get the wrong permissions."""
    code = """
import os
def refuse(mask): raise SystemExit("the umask was touched")
os.umask = refuse
import sys
from openmm_nti.files import write_text
write_text(sys.argv[1], "x")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x").read_text() == "x"


def test_threads_write_side_by_side(umask, tmp_path):
    def write(number):
        write_json(tmp_path / f"{number}.json", {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == list(range(64))
    assert {mode(path) for path in tmp_path.iterdir()} == {0o644}


def test_a_failed_block_leaves_nothing(tmp_path):
    def fail():
        with atomic_path(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_there_is_one_fingerprint():
    data = [1, {"a": None, "b": [2.5, "x"]}, (True, 3)]
    assert stored.fingerprint(data) == files.fingerprint(data)
    assert stored.fingerprint(data) != stored.fingerprint([*data, np.ones(2)])


def test_json_that_was_edited_is_refused(tmp_path):
    path = tmp_path / "numbers.json"
    write_json(path, {"value": -0.5, 3: ["3", None]})
    assert read_json(path) == {"value": -0.5, "3": ["3", None]}
    written = path.read_text()
    path.write_text(json.dumps(json.loads(written), sort_keys=True))
    assert read_json(path) == {"value": -0.5, "3": ["3", None]}  # laid out by another program
    for old, new in (("0.5", "0.7"), ("value", "values"), ("checksum", "checkrum"), ("null", "0")):
        path.write_text(written.replace(old, new))
        with pytest.raises(ValueError, match=r"numbers.json is damaged or was edited"):
            read_json(path)
    path.write_text('{"value": -0.5}')  # of version 0.1.0
    assert read_json(path) == {"value": -0.5}
