"""The compiled operations give the numbers of the PyTorch ones: values, gradients, and gradients of
gradients.
"""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from models import make_random_model

from openmm_nti import kernels
from openmm_nti.hamiltonian.geometry import PairSearch, cubic_box, neighbour_matrix, pairs_of_all
from openmm_nti.hamiltonian.networks.descriptors import Descriptors
from openmm_nti.hamiltonian.networks.edges import EdgeSums, exponents, initial_basis
from openmm_nti.kernels import applies_to, use_compiled

B, N, K, Q, C = 2, 7, 6, 4, 3


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    if not kernels.loaded():
        pytest.skip("the operations are not compiled: openmm-nti compile")


def edges(n_neighbours):
    """Vectors, displacements, mask, polynomials; and the index of the neighbours."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, N, (B, N, n_neighbours), generator=generator) + N * torch.arange(
        B
    ).reshape(B, 1, 1)
    arrays = (
        0.6 * torch.randn(3, B, N, n_neighbours, generator=generator),
        0.1 * torch.randn(3, B, N, generator=generator),
        torch.rand(B, N, n_neighbours, generator=generator) + 0.1,
        0.2 * exponents(initial_basis(1.8, K)),
    )
    return arrays, index


def all_derivatives(operation, inputs, dtype):
    """Outputs, their gradient along random cotangents, and the gradient of that along random
    tangents.
    """
    generator = torch.Generator().manual_seed(1)

    def random_like(x):
        return (
            torch.randn(x.shape, generator=generator, dtype=torch.float64)
            .to(dtype)
            .requires_grad_(True)
        )

    inputs = [x.to(dtype).requires_grad_(True) for x in inputs]
    outputs = operation(*inputs)
    cotangents = [random_like(x) for x in outputs]
    total = sum((x * c).sum() for x, c in zip(outputs, cotangents, strict=True))
    gradients = torch.autograd.grad(total, inputs, create_graph=True)
    total = sum((g * random_like(g).detach()).sum() for g in gradients)
    second = torch.autograd.grad(total, [*cotangents, *inputs])
    return [x.detach() for x in (*outputs, *gradients, *second)]


def assert_alike(operation, inputs, tolerance=2e-6):
    """In float32, where it is compiled, as in float64, where it is not."""
    compiled, exact = (
        all_derivatives(operation, inputs, dtype) for dtype in (torch.float32, torch.float64)
    )
    for found, wanted in zip(compiled, exact, strict=True):
        assert float((found - wanted).abs().max()) < tolerance * float(wanted.abs().max())


@pytest.mark.parametrize("n_neighbours", [5, 8, 19])
def test_radial_messages(n_neighbours):
    arrays, index = edges(n_neighbours)
    generator = torch.Generator().manual_seed(2)
    radial, gates = (
        torch.randn(B, Q, K, generator=generator),
        torch.randn(B, N, 2 * Q, generator=generator),
    )

    def operation(vectors, displacement, mask, polynomials, radial, gates):
        return [
            EdgeSums(1.8).radial_messages(
                vectors, displacement, index, mask, polynomials, radial, gates
            )
        ]

    assert_alike(operation, [*arrays, radial, gates])


@pytest.mark.parametrize("n_neighbours", [5, 8, 19])
def test_moments(n_neighbours):
    arrays, index = edges(n_neighbours)

    def operation(vectors, displacement, mask, polynomials):
        return [EdgeSums(1.8).moments(vectors, displacement, index, mask, polynomials).contiguous()]

    assert_alike(operation, arrays)


def test_cutoff_envelope():
    (vectors, *_), _ = edges(9)
    sums = EdgeSums(1.8)
    r = 1.5 + 0.6 * torch.rand(
        9, generator=torch.Generator().manual_seed(7)
    )  # about where it falls
    vectors = vectors * r / vectors.norm(dim=0)
    assert_alike(
        lambda x: [sums.cutoff_envelope(x)], [vectors], tolerance=2e-5
    )  # steep: it falls within a tenth
    envelope = sums.cutoff_envelope(vectors)
    assert bool((envelope == 0.0).any())
    assert bool((envelope == 1.0).any())


def test_silu():
    x = 8.0 * torch.randn(B, N, 19, generator=torch.Generator().manual_seed(6))
    assert_alike(
        lambda x: [torch.ops.openmm_nti.silu(x) if applies_to(x) else torch.nn.functional.silu(x)],
        [x],
    )


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_invariants(used):
    descriptors = Descriptors(K, C)
    generator = torch.Generator().manual_seed(3)
    descriptors.scales.copy_(0.5 + torch.rand(descriptors.scales.shape, generator=generator))

    def operation(moments, mixtures):
        module = copy.deepcopy(descriptors).to(moments.dtype)
        module.mixtures = torch.nn.Identity()
        found = module(moments, mixtures)
        return [found[n] for n in used]

    moments = torch.randn(10, B, K, N, generator=generator)
    assert_alike(
        operation, [moments, torch.randn(B, 2 * C, K, generator=generator)], tolerance=1e-5
    )


def test_several_threads_share_a_configuration():
    generator = torch.Generator().manual_seed(5)
    vectors, displacement = (
        torch.randn(3, 1, 130, 11, generator=generator),
        torch.randn(3, 1, 130, generator=generator),
    )
    index, mask = torch.randint(0, 130, (1, 130, 11), generator=generator), torch.ones(1, 130, 11)
    radial, gates = (
        torch.randn(1, Q, K, generator=generator),
        torch.randn(1, 130, 2 * Q, generator=generator),
    )

    def operation(vectors, displacement, polynomials, radial, gates):
        sums = EdgeSums(1.8)
        messages = sums.radial_messages(
            vectors, displacement, index, mask, polynomials, radial, gates
        )
        return [
            messages,
            sums.moments(vectors, displacement, index, mask, polynomials).contiguous(),
        ]

    inputs = [vectors, 0.1 * displacement, 0.2 * exponents(initial_basis(1.8, K)), radial, gates]
    one = all_derivatives(operation, inputs, torch.float32)
    torch.set_num_threads(3)
    try:
        three = all_derivatives(operation, inputs, torch.float32)
    finally:
        torch.set_num_threads(1)
    for found, wanted in zip(three, one, strict=True):
        assert float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def as_set(pairs):
    return {frozenset(pair) for pair in pairs.t().tolist()}


def test_pairs_and_neighbours():
    box, cutoff = torch.tensor([6.0, 5.2, 7.1], dtype=torch.float64), 2.3
    positions = (
        20.0 * torch.rand(3, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        - 7.0
    )
    search = PairSearch()
    pairs = search.pairs(positions, box, cutoff)
    compiled = torch.stack([pairs.first, pairs.second])
    assert as_set(compiled) == as_set(torch.stack(pairs_of_all(positions, box, cutoff)))
    assert len(as_set(compiled)) == compiled.shape[1]
    vectors, index, mask = search.neighbours(pairs, 3, 50)
    expected, _ = neighbour_matrix(pairs.first, pairs.second, 150)
    for atom, (row, kept, wanted) in enumerate(
        zip(index.reshape(150, -1), mask.reshape(150, -1), expected, strict=True)
    ):
        neighbours = set(row[kept == 1.0].tolist())
        assert neighbours == set(wanted.tolist()) - {atom}
        assert set(row[kept == 0.0].tolist()) <= {atom}
    assert torch.allclose(vectors.norm(dim=0)[mask == 1.0].sum(), 2.0 * pairs.r.sum())


@pytest.mark.parametrize(
    ("kind", "n_relaxations"), [("density", 0), ("denoiser", 0), ("denoiser", 3)]
)
def test_scores_and_their_gradients_by_the_weights(
    kind, n_relaxations, small_state, fluid_positions
):
    model = make_random_model(
        small_state, dtype="float32", n_refinements=2, kind=kind, n_relaxations=n_relaxations
    )
    plain = copy.deepcopy(model)
    use_compiled(plain, False)
    positions, box = torch.as_tensor(fluid_positions), cubic_box(small_state.box_length_sigma)
    log_s = torch.linspace(-3.0, 0.5, len(positions), dtype=torch.float64)
    found = []
    for each in (model, plain):
        each.requires_grad_(True)
        score = each.gradient(positions, box, log_s, create_graph=True)
        score.square().mean().backward()
        found.append([score.detach(), *(p.grad for p in each.parameters() if p.grad is not None)])
    for compiled, torch_s in zip(*found, strict=True):
        assert float((compiled - torch_s).abs().max()) <= 2e-5 * float(torch_s.abs().max()) + 1e-7


def test_energies_and_their_slope_by_lambda(small_state, fluid_positions):
    single = make_random_model(small_state, dtype="float32", n_refinements=2)
    plain = copy.deepcopy(single)
    use_compiled(plain, False)
    positions = torch.as_tensor(fluid_positions)
    box = torch.tensor([6.6, 6.0, 6.3], dtype=torch.float64)
    found = []
    for model in (single, plain):
        lam = torch.linspace(0.0, 1.0, len(positions), dtype=torch.float64, requires_grad=True)
        x = positions.clone().requires_grad_(True)
        energy = model(x, box, lam)
        found.append([energy.detach(), *torch.autograd.grad(energy.sum(), [x, lam])])
    for compiled, torch_s in zip(*found, strict=True):
        assert float((compiled - torch_s).abs().max()) <= 1e-5 * float(torch_s.abs().max())


def test_a_second_derivative_of_the_two_body_term_is_refused(
    small_state, fluid_positions, random_model
):
    x = torch.as_tensor(fluid_positions).requires_grad_(True)
    energy = random_model.pair_energy(
        x, cubic_box(6.0), torch.full((len(x),), -2.0, dtype=torch.float64)
    )
    with pytest.raises(RuntimeError, match="OPENMM_NTI_KERNELS=off"):
        torch.autograd.grad(energy.sum(), x, create_graph=True)


def test_a_pickled_model_does_without(random_model, monkeypatch):
    stored = pickle.dumps(random_model)
    assert pickle.loads(stored).network.sums.compiled
    monkeypatch.setattr(kernels, "loaded", lambda: False)
    assert not pickle.loads(stored).network.sums.compiled


def test_they_can_be_left_out():
    command = [sys.executable, "-c", "from openmm_nti import kernels; print(kernels.loaded())"]
    done = subprocess.run(
        command,
        env={"OPENMM_NTI_KERNELS": "off", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENMM_NTI_KERNELS", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"no-such-compiler.*install one"):
        kernels.build()
    assert list(tmp_path.iterdir()) == []
