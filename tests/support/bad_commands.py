"""Bad inputs of the command line: options with bad values, and files of a wrong kind."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from bad_inputs import STATE, Case, of_configurations

WHOLE = {"config.yaml": yaml.safe_dump({"system": STATE}).encode()}
GENERATE = ["generate", "config.yaml", "-o", "out"]
ANALYZE = ["analyze", "config.yaml", "-o", "out"]
SWEEP = ["sweep", "config.yaml", "-o", "out"]
NUMBERS = ("x", "", "1.5x", "inf", "nan", "-1", "1e400")


def of_options() -> Iterator[Case]:
    """Yield command lines with bad options."""
    model = "lj-fluid-t1.25"
    estimate = ["estimate", "-m", "neural_ti_bound", "--model", model]
    for value in (*NUMBERS, "1.5", "9" * 30):
        for command in (["run", "config.yaml", "-o", "out"], ["train", "config.yaml", "-o", "out"]):
            yield Case(f"--seed {value}", [*command, f"--seed={value}"], (("seed",),), WHOLE)
        yield Case(f"-n {value}", [*estimate, f"--n={value}"], (("--n", "n_particles"),))
        yield Case(f"--seed {value}", [*estimate, "-n40", f"--seed={value}"], (("seed",),))
        yield Case(f"--workers {value}", [*estimate, "-n40", f"--workers={value}"], (("workers",),))
    for value in (*NUMBERS, "0", "2", "1e30"):
        shows = (("box-length-sigma", "box_length_sigma", "box"),)
        for command in (estimate, ["export", model, "-o", "out"], ["sample", model, "-o", "s.h5"]):
            yield Case(f"-l {value}", [*command, "-n40", f"-l={value}"], shows)
    for value in ("x", "", "dask", "PROCESSES"):
        for command in (["run", "config.yaml", "-o", "out"], [*estimate, "-n40"]):
            yield Case(
                f"--executor {value}", [*command, f"--executor={value}"], (("executor",),), WHOLE
            )
    for value in ("", "=", "=1", "n_levels", "n_levels=", "n_levels=[", "a.b.c=1", "n_levels=x"):
        yield Case(
            f"--set {value}", [*estimate, "-n40", "--set", value], (("--set", "n_levels", "a"),)
        )
        yield Case(
            f"run --set {value}",
            ["run", "config.yaml", "-o", "out", "--set", value],
            (("--set", "n_levels", "a"),),
            WHOLE,
        )
    for value in ("x", "", "neural", "MBAR_neural", "../path"):
        yield Case(f"-m {value}", ["estimate", "-m", value, "-n40"], (("method",),))
    for only in ("fig9", "fig3,,x", "x"):
        yield Case(f"--only {only}", ["paper", "-o", "out", "--only", only], (("only",),))


def of_sweeps() -> Iterator[Case]:
    """Yield sweeps with bad temperatures, anchors and results."""
    for value in (
        *NUMBERS,
        "1.25",
        "0,1",
        "-1,1",
        "nan,1",
        "1.25,,1.4",
        "1.4 1.6",
        "[1,2]",
        "1e30",
    ):
        arguments = [*SWEEP, f"--temperatures={value}", "--anchor=-1,0.1"]
        yield Case(f"--temperatures {value}", arguments, (("temperatures",),), WHOLE)
    for value in (*NUMBERS, "-1,0.1,3", "-1,nan", "nan,0.1", "-1,-0.1", "-1,inf", ",", "out"):
        arguments = [*SWEEP, "--temperatures=1.25,1.4", f"--anchor={value}"]
        yield Case(f"--anchor {value}", arguments, (("anchor",),), WHOLE)
    for text in (
        "[1, 2]",
        '{"state_points": 3}',
        '{"state_points": [3]}',
        '{"state_points": [{"n_particles": 40}]}',
        '{"state_points": [{"diagnostics": {"state": {"n_particles": NaN}}}]}',
        '{"state_points": [], "checksum": "0123456789abcdef"}',
        '{"state_points": []}',
    ):
        arguments = [*SWEEP, "--temperatures=1.25,1.4", "--anchor=odd.json"]
        files = {**WHOLE, "odd.json": text.encode()}
        yield Case(f"results {text}", arguments, (("odd.json",),), files)


# Numbers, keys and characters that YAML reads in its own way.
ODD_YAML = {
    "a time": b"system: {n_particles: 1:30, box_length_sigma: 6.0, temperature_star: 1.25}\n",
    "an octal": b"system: {n_particles: 040, box_length_sigma: 6.0, temperature_star: 1.25}\n",
    "another octal": b"system: {n_particles: 0o50, box_length_sigma: 6, temperature_star: 1.25}\n",
    "zeros": b"system: {n_particles: 40, box_length_sigma: 6.0, temperature_star: 001.25}\n",
    "a clock": b"system: {n_particles: 40, box_length_sigma: 6:30.5, temperature_star: 1.25}\n",
    "a comma": b"system: {n_particles: 40, box_length_sigma: '6,5', temperature_star: 1.25}\n",
    "a unit": b"system: {n_particles: 40, box_length_sigma: 6 nm, temperature_star: 1.25}\n",
    "a date": b"system: {n_particles: 40, box_length_sigma: 2024-01-01, temperature_star: 1.25}\n",
    "bytes": b"system: {n_particles: 40, box_length_sigma: !!binary aGVsbG8=}\n",
    "a set": b"system: !!set {n_particles, box_length_sigma}\n",
    "a number as key": b"1: 2\nsystem: {n_particles: 40}\n",
    "nothing as key": b"~: 2\nsystem: {n_particles: 40}\n",
    "a list as key": b"? [1, 2]\n: 3\nsystem: {n_particles: 40}\n",
    "two documents": b"system: {}\n---\nsystem: {}\n",
    "no such anchor": b"system: *nothing\n",
    "a tab": b"system:\n\tn_particles: 40\n",
    "a null byte": b"system:\x00 1\n",
    "Latin-1": "system: 1 # L\u00e4nge\n".encode("latin-1"),
    "nested lists": b"system: " + b"[" * 2000 + b"]" * 2000,
    "lists of lists": b"system: [[[[[[[[[[1, 2], [1, 2]], [1, 2]], [1, 2]]]]]]]]\n",
    "a long text": b"system: " + b"x" * 100_000,
}


def of_yaml() -> Iterator[Case]:
    """Yield configurations that are odd YAML."""
    for what, content in ODD_YAML.items():
        yield Case(
            f"YAML with {what}",
            ["run", "odd.yaml", "-o", "out"],
            (("odd.yaml",),),
            {"odd.yaml": content},
        )
    arguments = [*GENERATE, "--topology", "x.pdb"]
    yield Case("a topology alone", arguments, (("--topology",),), WHOLE)


CONTENTS = {
    "missing": None,
    "empty": b"",
    "text": b"hello there\n",
    "binary": bytes(range(256)) * 8,
    "other JSON": b'{"first": [1, 2, 3]}',
    "a list": b"- 1\n- 2\n",
    "UTF-16": "system: 1\n".encode("utf-16"),
    "code": b"!!python/object/apply:os.system ['true']\n",
    "null": b"null\n",
    "a start of HDF5": b"\x89HDF\r\n\x1a\n" + bytes(64),
}


def of_files() -> Iterator[Case]:
    """Yield commands that are given files of a wrong kind."""
    for what, content in CONTENTS.items():
        yield from _with_file(what, {} if content is None else {"bad.h5": content})
    yield from _with_file("a directory", {"bad.h5/inside": b""})
    places = {
        "below a file": "config.yaml/out",
        "too long": "x" * 300,
        "a file": "config.yaml",
        "a place that is read-only": "/proc/nothing",
    }
    for what, place in places.items():
        shows = ((place[:40],),)
        for command in ("run", "generate", "train"):
            yield Case(
                f"{command} --output {what}", [command, "config.yaml", "-o", place], shows, WHOLE
            )
        for command in (["export", "lj-fluid-t1.25"], ["sample", "lj-fluid-t1.25"]):
            end = "/s.h5" if command[0] == "sample" else ""
            yield Case(
                f"{command[0]} --output {what}", [*command, "-n40", "-o", place + end], shows, WHOLE
            )
        bound = ["estimate", "-m", "neural_ti_bound", "--model", "lj-fluid-t1.25", "-n40"]
        yield Case(f"estimate --output {what}", [*bound, "-o", place], shows, WHOLE)
        yield Case(f"paper --output {what}", ["paper", "-o", place, "--quick"], shows, WHOLE)
        arguments = ["sites", "--trajectory", "config.yaml", "-o", f"{place}/x.pdb"]
        yield Case(f"sites --output {what}", arguments, shows, WHOLE)
    for path in ("config.yaml/x.yaml", "/proc/nothing.yaml", "x" * 300):
        yield Case(f"init {path[:20]}", ["init", path], ((path[:40],),), WHOLE)


def _with_file(what: str, files: dict[str, bytes]) -> Iterator[Case]:
    named = (("bad.h5",),)
    both = {**files, **WHOLE}
    bound = ["estimate", "-m", "neural_ti_bound"]
    commands = {
        "run": ["run", "bad.h5", "-o", "out"],
        "generate": ["generate", "bad.h5", "-o", "out"],
        "train": ["train", "bad.h5", "-o", "out"],
        "trajectory": [*GENERATE, "--trajectory", "bad.h5"],
        "data": [*bound, "--model", "lj-fluid-t1.25", "--data", "bad.h5"],
        "model": [*bound, "--model", "bad.h5", "-n40"],
        "export": ["export", "bad.h5", "-o", "out"],
        "sample": ["sample", "bad.h5", "-o", "s.h5"],
        "paper": ["paper", "-o", "out", "--model", "bad.h5"],
        "report": ["report", "bad.h5"],
        "analyze": ["analyze", "bad.h5", "-o", "out", "--trajectory", "x.dcd"],
        "analyze --trajectory": [*ANALYZE, "--trajectory", "bad.h5"],
        "analyze --crystal": [
            "analyze",
            "config.yaml",
            "-o",
            "o",
            "--trajectory=bad.h5",
            "--crystal",
        ],
        "sites": ["sites", "--trajectory", "bad.h5", "-o", "sites.pdb"],
        "--topology": [*GENERATE, "--trajectory", "bad.h5", "--topology", "bad.h5"],
        "sweep": ["sweep", "bad.h5", "-o", "out", "--temperatures=1.25,1.4", "--anchor=-1,0.1"],
        "--anchor": [*SWEEP, "--temperatures=1.25,1.4", "--anchor=bad.h5"],
        "--config": [*bound, "--model", "lj-fluid-t1.25", "--config", "bad.h5"],
    }
    for name, arguments in commands.items():
        yield Case(f"{name} with {what}", arguments, named, both)
    system = {"crystal": {"sites": "bad.pdb"}, "temperature_star": 1.25}
    pdb = {name.replace("h5", "pdb"): content for name, content in files.items()}
    of_crystal = {**pdb, "config.yaml": yaml.safe_dump({"system": system}).encode()}
    yield Case(f"crystal: sites with {what}", GENERATE, (("bad.pdb",),), of_crystal)


def all_cases() -> list[Case]:
    """Return every case there is, in a fixed order."""
    return [*of_configurations(), *of_options(), *of_sweeps(), *of_yaml(), *of_files()]
