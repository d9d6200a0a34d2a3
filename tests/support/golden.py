"""Numbers that no change of structure may move: write them before, compare after.

    python tests/support/golden.py write FILE
    python tests/support/golden.py compare FILE

The first writes energies, slopes and gradients of the shipped models, and every estimate of two
tiny runs. The second prints what differs from FILE and ends with status 1 if anything does.

On one machine the numbers are equal to the last bit. `golden.json` holds those of the models
alone, which `test_golden.py` compares to 1e-6 on any machine (float32 networks).
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from typer.testing import CliRunner

from openmm_nti import load_model
from openmm_nti.cli import app
from openmm_nti.model_files import load_denoiser

MODEL = "lj-fluid-t1.25"
LAMBDAS = (0.0, 0.2, 0.5, 0.8, 0.95, 1.0)
NOISE = (0.05, 0.25, 1.0)  # sigma
SIZES = (2, 12, 40)
EDGE = 6.0  # sigma


def frames(n):
    """Two frames of `n` particles (2, N, 3) in sigma: a lattice, little and much disturbed."""
    rng = np.random.default_rng(n)
    side = int(np.ceil(n ** (1 / 3) - 1e-9))
    sites = np.stack(np.unravel_index(np.arange(side**3)[:n], (side,) * 3), axis=-1) + 0.5
    spacing = EDGE / side if n > 20 else 1.12
    noise = rng.standard_normal((2, n, 3)) * np.array([0.03, 0.25]).reshape(2, 1, 1)
    return torch.as_tensor(sites * spacing + noise)


def model_numbers():
    """Energies, slopes by lambda and gradients of the shipped models, as nested lists."""
    model, denoiser = load_model(MODEL), load_denoiser(MODEL)
    box = torch.full((3,), EDGE, dtype=torch.float64)
    numbers = {}
    for n in SIZES:
        positions = frames(n).requires_grad_(True)
        at = torch.tensor(LAMBDAS, dtype=torch.float64)
        numbers[f"N = {n}: U at all lambda"] = model.energies_at(positions.detach(), box, at)
        for value in LAMBDAS[1:]:
            lam = torch.full((2,), value, dtype=torch.float64, requires_grad=True)
            energy = model(positions, box, lam)
            gradient, slope = torch.autograd.grad(energy.sum(), (positions, lam))
            numbers[f"N = {n}, lambda = {value}: U"] = energy.detach()
            numbers[f"N = {n}, lambda = {value}: dU/dlambda"] = slope
            numbers[f"N = {n}, lambda = {value}: gradient of two atoms"] = gradient[:, :2]
        for noise in NOISE:
            level = torch.full((2,), float(np.log(noise)), dtype=torch.float64)
            for name, one in (("model", model), ("denoiser", denoiser)):
                field = one.gradient(positions.detach(), box, level).detach()
                numbers[f"N = {n}, s = {noise}: {name}'s gradient of two atoms"] = field[:, :2]
    return {name: value.tolist() for name, value in numbers.items()}


def run_numbers():
    """Value, error and diagnostics of every estimate of two tiny runs."""
    from tiny import TINY

    switched = {**TINY, "estimates": {**TINY["estimates"], "eos": {}}}
    by_torch = {**TINY["estimates"]["windows"], "engine": "torch", "n_chains": 8, "exchange": True}
    truncated = {
        **TINY,
        "system": {**TINY["system"], "convention": "truncated", "n_particles": [6, 8]},
        "estimates": {**TINY["estimates"], "windows": by_torch, "decoupling": None, "eos": {}},
    }
    numbers = {}
    for name, config in (("switched", switched), ("truncated", truncated)):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.yaml"
            file.write_text(yaml.safe_dump(config), encoding="utf-8")
            output = Path(folder) / "run"
            found = CliRunner().invoke(app, ["run", str(file), "--output", str(output), "--quiet"])
            if found.exit_code:
                raise RuntimeError(found.output)
            results = json.loads((output / "results.json").read_text(encoding="utf-8"))
        numbers[name] = results["state_points"]
    return numbers


def flat(data, prefix=""):
    """Yield (path, value) of everything in nested lists and mappings."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from flat(value, f"{prefix}/{key}")
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from flat(value, f"{prefix}/{number}")
    else:
        yield prefix, data


def main():
    action, file = sys.argv[1:3]
    torch.set_num_threads(1)
    now = dict(flat({"models": model_numbers(), "runs": run_numbers()}))
    if action == "write":
        Path(file).write_text(json.dumps(now, indent=1), encoding="utf-8")
        return 0
    before = json.loads(Path(file).read_text(encoding="utf-8"))
    ignored = ("seconds", "made_with")
    names = [name for name in before if not any(word in name for word in ignored)]
    differing = [name for name in names if name in now and now[name] != before[name]]
    missing = [name for name in names if name not in now]
    line = f"{len(names)} numbers, {len(differing)} differ, {len(missing)} are no longer there"
    print(line)  # noqa: T201
    for name in [*differing, *missing][:40]:
        print(f"  {name}: {before[name]} before, {now.get(name)} now")  # noqa: T201
    return 1 if differing or missing else 0


if __name__ == "__main__":
    sys.exit(main())
