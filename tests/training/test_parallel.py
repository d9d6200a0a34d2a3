"""Two processes of torchrun train one model: the mean gradient of their two draws, the same weights
in both.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from exact import exact_ensemble

from openmm_nti import NetworkConfig, StatePoint, load_model
from openmm_nti.model_files import read_card
from openmm_nti.runtime.context import Execution
from openmm_nti.training import TrainingConfig
from openmm_nti.training.loss import score_loss
from openmm_nti.training.parallel import Processes
from openmm_nti.training.train import _Training

STATE = StatePoint(n_particles=3, box_length_sigma=6.0, temperature_star=1.25)
NETWORK = NetworkConfig(n_radial=6, n_channels=3, width=16)
CONFIG = TrainingConfig(n_steps=2, atoms_per_step=24, warmup_steps=0, validate_every=1)
SCRIPT = """
import sys
from pathlib import Path
import torch
from test_parallel import CONFIG, NETWORK, STATE
from openmm_nti import Ensemble
from openmm_nti.training import train
from openmm_nti.training.parallel import rank_and_size
torch.set_num_threads(1)
folder = Path(sys.argv[1])
data = Ensemble.load(folder / "data.h5")
model = train([data], NETWORK, CONFIG, seed=4, directory=folder / "model")
torch.save(model.state_dict(), folder / f"rank{rank_and_size()[0]}.pt")
"""


def torchrun(folder):
    (folder / "script.py").write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [*command, str(folder / "script.py"), str(folder)],
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_agree_and_take_the_mean_of_their_gradients(tmp_path):
    ensemble = exact_ensemble(STATE, 60)
    ensemble.save(tmp_path / "data.h5")
    result = torchrun(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    assert read_card(tmp_path / "model")["training"]["processes"] == 2
    assert load_model(tmp_path / "model").trained_on == (STATE,)


def test_the_mean_gradient_is_that_of_all_draws_together(tmp_path, monkeypatch):
    """What two processes add up is the gradient of the loss over both of their batches."""
    run = _Training(
        [exact_ensemble(STATE, 60)],
        NETWORK,
        CONFIG,
        Execution(seed=4, directory=tmp_path),
        "",
    )
    run.generator.manual_seed(1)
    batches = [run._random_batch(run.training_data[0]) for _ in range(2)]
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]

    def gradient(loss):
        run.optimiser.zero_grad()
        loss.backward()
        return torch.cat([p.grad.reshape(-1).clone() for p in parameters if p.grad is not None])

    each = [gradient(score_loss(run.model, batch)) for batch in batches]
    both = gradient(0.5 * sum(score_loss(run.model, batch) for batch in batches))
    other = iter(each[1:])
    processes = Processes(torch.device("cpu"))
    processes.size = 2
    monkeypatch.setattr("torch.distributed.all_reduce", lambda flat: flat.add_(next(other)))
    gradient(score_loss(run.model, batches[0]))
    processes.average_gradients(parameters)
    found = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    torch.testing.assert_close(found, both, rtol=1e-4, atol=1e-7)
