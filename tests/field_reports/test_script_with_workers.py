"""A script without a `__main__` guard, which has computed with two threads, and then uses workers.

A forked process would wait for the other thread of OpenMP for ever.
"""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os
import torch
from openmm_nti import StatePoint, load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.runtime.tasks import run_tasks

print("started")
torch.set_num_threads(2)
state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
model = load_model("lj-fluid-t1.25")

def energy(seed):
    x = torch.as_tensor(lattice_positions_nm(state, seed) / state.sigma_nm).unsqueeze(0)
    value = model(x, cubic_box(6.0), torch.tensor([0.5], dtype=torch.float64))
    torch.rand(500_000).exp().sum()  # large enough for all threads
    return float(value), os.getpid(), torch.get_num_threads()

here = [energy(seed) for seed in (1, 2, 3)]
there = run_tasks(energy, [1, 2, 3], workers=2, description="energies", progress=False)
print(json.dumps([here, there]))
"""


@pytest.mark.slow
def test_workers_after_an_energy_with_two_threads(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("started") == 1  # the workers do not run the script
    here, there = json.loads(lines[-1])
    assert all(n_threads == 2 for _, _, n_threads in here)
    assert all(n_threads == 1 for _, _, n_threads in there)
    assert not {pid for _, pid, _ in here} & {pid for _, pid, _ in there}
    for (value, _, _), (other, _, _) in zip(here, there, strict=True):
        assert other == pytest.approx(value, rel=1e-5)
        assert abs(value) > 0.1
