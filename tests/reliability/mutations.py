"""Changes the arithmetic of the estimators in one place at a time; a fast test must notice.

`python tests/reliability/mutations.py 120` draws 120 of all changes, prints those that no test
notices, and counts. A second number is the seed of the draw, a third one ends it after so many
minutes. Nothing is written: the changed module is made in the memory of a process of its own.
"""

import ast
import importlib.machinery
import importlib.util
import math
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 300
# Each module with the tests that check its numbers.
ANALYSIS, ESTIMATORS = "tests/validation/analysis", "tests/validation/estimators"
WINDOWS = [f"{ANALYSIS}/test_window_estimates.py"]
TESTS = {
    "openmm_nti.validation.analysis.mbar_equations": WINDOWS,
    "openmm_nti.validation.analysis.window_estimates": [
        *WINDOWS,
        f"{ANALYSIS}/test_control_variates.py",
    ],
    "openmm_nti.validation.analysis.window_bootstrap": [
        *WINDOWS,
        f"{ANALYSIS}/test_window_data.py",
    ],
    "openmm_nti.validation.analysis.window_diagnostics": WINDOWS,
    "openmm_nti.validation.analysis.convergence": [f"{ANALYSIS}/test_convergence.py"],
    "openmm_nti.validation.analysis.control_variates": [f"{ANALYSIS}/test_control_variates.py"],
    "openmm_nti.validation.analysis.equilibration": [f"{ANALYSIS}/test_equilibration.py"],
    "openmm_nti.validation.analysis.observables": [f"{ANALYSIS}/test_observables.py"],
    "openmm_nti.validation.analysis.free_energy_curve": [f"{ANALYSIS}/test_observables.py"],
    "openmm_nti.validation.analysis.walker_bar": [f"{ESTIMATORS}/test_bar_chain.py"],
    "openmm_nti.validation.analysis.works": [f"{ESTIMATORS}/test_path_weights.py"],
    "openmm_nti.validation.analysis.regression": [
        f"{ANALYSIS}/test_regression.py",
        f"{ESTIMATORS}/test_path_weights.py",
    ],
    "openmm_nti.validation.estimators.path_weights": [f"{ESTIMATORS}/test_path_weights.py"],
    "openmm_nti.validation.estimators.widom": [f"{ESTIMATORS}/test_widom_gr.py"],
    "openmm_nti.validation.estimators.noised_ti": [f"{ESTIMATORS}/test_noised_ti.py"],
    "openmm_nti.validation.sweep.thermodynamics": ["tests/validation/sweep"],
    "openmm_nti.reference_md.statistics": ["tests/reference_md/test_statistics.py"],
}
PRELOADED = ("torch", "openmm", "mdtraj", "pymbar", "scipy.optimize", "scipy.stats", "pytest")
# What is no arithmetic of an estimate: messages, settings, and how long it will take.
LEFT_OUT = (ast.Raise, ast.JoinedStr, ast.ClassDef, ast.AnnAssign)
FORECASTS = ("seconds", "expected_windows", "figures", "evaluations")
SWAPS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
}
CONSTANTS = {0: [1], 1: [0, 2], 0.5: [1.0]}


def changes(tree):
    """Yield the node, what is changed and a function that changes it, for each possible change."""
    yield from _changes_of(tree)
    for child in ast.iter_child_nodes(tree):
        forecast = isinstance(child, ast.FunctionDef) and child.name in FORECASTS
        if isinstance(child, ast.ClassDef):
            for inner in child.body:
                if isinstance(inner, ast.FunctionDef) and inner.name not in FORECASTS:
                    yield from changes(inner)
        elif not forecast and not isinstance(child, LEFT_OUT):
            yield from changes(child)


def _changes_of(node):
    if isinstance(node, ast.BinOp):
        for other in SWAPS.get(type(node.op), []):
            yield node, _words(node.op, other), partial(setattr, node, "op", other())
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in SWAPS.get(type(operator), []):
                new = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield node, _words(operator, other), partial(setattr, node, "ops", new)
    elif isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        for other in CONSTANTS.get(node.value, []):
            yield node, f"{node.value} -> {other}", partial(setattr, node, "value", other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, "minus dropped", partial(setattr, node, "op", ast.UAdd())


def _words(one, other):
    return f"{type(one).__name__} -> {other.__name__}"


def path_of(module):
    return ROOT / f"{module.removeprefix('openmm_nti.').replace('.', '/')}.py"


def run_tests(module, number):
    """Run the tests of a module with one change, in this process; number None changes nothing."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    if number is not None:
        list(changes(tree))[number][2]()

    class Changed(importlib.machinery.SourceFileLoader):
        def get_code(self, _name):
            return compile(tree, self.path, "exec")

    class Finder:
        @staticmethod
        def find_spec(name, *_places):
            path = str(path_of(name))
            loader = Changed(name, path)
            return (
                importlib.util.spec_from_file_location(name, path, loader=loader)
                if (name == module)
                else None
            )

    sys.meta_path.insert(0, Finder)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    import pytest

    os.chdir(ROOT)
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS[module]]))


def outcome(module, number):
    """Return `survived`, `noticed` or `too slow`."""
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(module, number))
    process.start()
    process.join(LONGEST_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        return "too slow"
    return "noticed" if process.exitcode else "survived"


def main(n, seed=1, minutes=math.inf):
    for name in PRELOADED:
        importlib.import_module(name)
    trees = {module: path_of(module).read_text(encoding="utf-8") for module in TESTS}
    found = {module: list(changes(ast.parse(text))) for module, text in trees.items()}
    every = [(module, number) for module in found for number in range(len(found[module]))]
    drawn = random.Random(seed).sample(every, min(n, len(every)))
    end = time.monotonic() + 60 * minutes
    counts = {module: Counter() for module in TESTS}
    for module, number in drawn:
        if time.monotonic() > end:
            break
        if not counts[module] and outcome(module, None) != "survived":
            raise SystemExit(f"the tests of {module} fail without a change: mend them first")
        node, what, _ = found[module][number]
        result = outcome(module, number)
        counts[module][result] += 1
        if result != "noticed":
            line = trees[module].splitlines()[node.lineno - 1].strip()
            sys.stdout.write(f"{result}: {module}:{node.lineno}: {what}: {line}\n")
            sys.stdout.flush()
    for module, count in counts.items():
        sys.stdout.write(f"{module}: {len(found[module])} changes, {dict(count)}\n")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
