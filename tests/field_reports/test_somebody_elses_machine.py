"""Import and compiled operations in containers, batch jobs, and folders that others can write to.

A library with a fault is left out, with a reason; the package works without it, only slower.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import warnings

import pytest

from openmm_nti import kernels

NOBODY = 54321
AS_ROOT = os.name == "posix" and os.geteuid() == 0
# Each case is a fork that imports openmm_nti anew: starting Python and torch takes seconds.
IMPORTS = """
import json, os, sys, warnings
import openmm_nti  # and with it all that the package imports

def import_anew(environment, uid):
    for name in ("HOME", "XDG_CACHE_HOME", "OPENMM_NTI_KERNELS"):
        os.environ.pop(name, None)
    os.environ.update(environment)
    if uid is not None:
        os.setgid(uid)
        os.setuid(uid)
    for name in list(sys.modules):
        if name.partition(".")[0] == "openmm_nti":
            del sys.modules[name]
    warnings.simplefilter("error", UserWarning)
    from openmm_nti import kernels
    return kernels.why_not_loaded()

for name, (environment, uid) in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        try:
            found = import_anew(environment, uid)
        except BaseException as error:
            found = repr(error)
        print(json.dumps([name, found]), flush=True)
        os._exit(0)
    _, status = os.wait()
    if status:
        print(json.dumps([name, f"status {status}"]), flush=True)
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A stand-in of the library, with its hash, in a folder of one's own."""
    folder = tmp_path / "library"
    monkeypatch.setenv("OPENMM_NTI_KERNELS", str(folder))
    compiler = tmp_path / "compiler.sh"
    compiler.write_text(
        f'#!/bin/sh\necho "$MARK" >> {tmp_path}/calls\nfor last; do :; done\necho lib > "$last"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"env MARK=wrapped {compiler}")
    return kernels.build()


def reason():
    return kernels.why_not_loaded.__wrapped__()


def copied(folder, *, truncated=False):
    """A copy of the true library, as `openmm-nti compile` leaves it in the cache of a home."""
    source = kernels.library_path()
    place = folder / ".cache" / "openmm_nti"
    place.mkdir(parents=True, mode=0o755)
    for path in (source, source.with_name(f"{source.name}.sha256")):
        shutil.copy(path, place)
    if truncated:
        os.truncate(place / source.name, source.stat().st_size // 2)
    return {"HOME": str(folder)}


def import_cases(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    cases = {
        "no such home": ({"HOME": "/nonexistent"}, None),
        "relative cache": ({"HOME": "/nonexistent", "XDG_CACHE_HOME": "here"}, None),
    }
    if kernels.loaded():
        cases["whole"] = (copied(tmp_path / "whole"), None)
        cases["truncated"] = (copied(tmp_path / "truncated", truncated=True), None)
    if AS_ROOT:
        cases["closed home"] = ({"HOME": str(closed)}, NOBODY)
        cases["closed cache"] = ({"HOME": "/tmp", "XDG_CACHE_HOME": str(closed)}, NOBODY)
        cases["no home, no name"] = ({}, NOBODY)
    return cases


@pytest.mark.skipif(os.name != "posix", reason="homes and users as POSIX has them")
def test_the_import_needs_no_home_and_no_whole_library(tmp_path):
    cases = import_cases(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", IMPORTS, json.dumps(cases)],
        env={**os.environ, "OPENMM_NTI_KERNELS": "off"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert found.keys() == cases.keys()
    expected = {"whole": "", "truncated": "is damaged: run openmm-nti compile"}
    expected["no home, no name"] = "set OPENMM_NTI_KERNELS to a folder"
    for name, text in found.items():
        if name == "whole":
            assert text == ""
        else:
            assert expected.get(name, "not compiled") in text, name


def test_a_wrapped_compiler_builds_once_and_again_where_the_library_is_damaged(library, tmp_path):
    assert kernels.build() == library
    assert (tmp_path / "calls").read_text() == "wrapped\n"
    library.write_text("li")
    assert "damaged" in reason()
    kernels.build()
    assert (tmp_path / "calls").read_text() == 2 * "wrapped\n"
    assert "cannot be loaded" in reason()


def test_a_new_library_is_of_its_owner_alone_whatever_the_umask(library):
    shutil.rmtree(library.parent)
    before = os.umask(0)
    try:
        kernels.build()
    finally:
        os.umask(before)
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
    assert not library.stat().st_mode & 0o022


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda path: path.with_name(f"{path.name}.sha256").unlink(), "hash is not beside it"),
        (lambda path: path.with_name(f"{path.name}.sha256").write_bytes(b""), "is damaged"),
        (lambda path: path.with_name(f"{path.name}.sha256").write_bytes(b"\xff"), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.chmod(0o775), "other users may write"),
        (lambda path: path.parent.chmod(0o777), "other users may write"),
        (lambda path: path.parent.chmod(0o1777), "other users may write"),
        (lambda path: path.parent.chmod(0o770), "other users may write"),
    ],
)
def test_a_library_that_is_not_whole_or_not_ones_own_is_left_out(library, damage, wanted):
    assert "cannot be loaded" in reason()  # only because it is a stand-in
    damage(library)
    assert wanted in reason()


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_library_of_another_user_is_left_out(library, what):
    os.chown(library if what == "file" else library.parent, NOBODY, NOBODY)
    assert f"belongs to another user (uid {NOBODY})" in reason()


def test_no_library_is_built_where_others_may_write(library):
    library.unlink()
    library.parent.chmod(0o777)
    with pytest.raises(RuntimeError, match="other users may write to it: run chmod go-w"):
        kernels.build()
    assert not library.exists()


def test_a_folder_that_cannot_be_made_is_named(library, monkeypatch):
    monkeypatch.setenv("OPENMM_NTI_KERNELS", str(library / "inside a file"))
    assert reason().startswith("not compiled")
    with pytest.raises(RuntimeError, match="cannot be written to .*set OPENMM_NTI_KERNELS"):
        kernels.build()


@pytest.mark.parametrize(
    ("named", "message"),
    [("g++ '", "CXX = .* is not a command"), ("/dev/null", "no C\\+\\+ compiler '/dev/null'")],
)
def test_a_command_that_is_none_is_named(library, named, message, monkeypatch):
    library.unlink()
    monkeypatch.setenv("CXX", named)
    with pytest.raises(RuntimeError, match=message):
        kernels.build()


def test_the_reason_is_told_once_at_a_first_model(library, monkeypatch):
    library.write_text("")
    monkeypatch.setattr(kernels, "why_not_loaded", kernels.why_not_loaded.__wrapped__)
    kernels._warn_of_a_refused_library.cache_clear()
    with pytest.warns(UserWarning, match="damaged: run openmm-nti compile"):
        kernels.CompiledModule()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.CompiledModule()
