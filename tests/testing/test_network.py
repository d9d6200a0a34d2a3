"""Our networks keep the rules; toys that break one are told which."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from openmm_nti import NetworkConfig
from openmm_nti.hamiltonian.conditioning import Condition
from openmm_nti.hamiltonian.networks.base import LearnedPart, Surroundings
from openmm_nti.hamiltonian.networks.registry import network_class, network_classes, register
from openmm_nti.testing import ConformanceError, check_network

SMALL = {"n_radial": 4, "n_channels": 2, "width": 8}


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "density", "n_refinements": 0},
        {"kind": "density", "n_refinements": 2},
        {"kind": "painn"},
        {"kind": "denoiser", "n_refinements": 2, "n_relaxations": 2},
        {"kind": "density", "conditioned": True},
        {"kind": "denoiser", "conditioned": True},
    ],
    ids=str,
)
def test_our_networks_keep_the_rules(config):
    check_network(NetworkConfig(**SMALL, **config))


class ToyConfig(NetworkConfig):
    kind: Literal["toy"] = "toy"
    flaw: str = "none"


class Toy(LearnedPart):
    """An energy of pairs, with a flaw of one's choice."""

    Config = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.flaw = config.flaw
        self.weight = nn.Parameter(torch.ones(()))

    @torch.jit.export
    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        return Surroundings(vectors, index, mask, vectors[..., :0])

    @torch.jit.export
    def at_noise(self, around: Surroundings, condition: Condition) -> Tensor:
        total = self.atoms(around).sum(1)
        if self.flaw == "mean":
            total = self.atoms(around).mean(1)
        if self.flaw == "batch":
            total = total - total.mean()
        if self.flaw == "nan":
            total = total / torch.zeros_like(total)
        if self.flaw == "eager" and not torch.jit.is_scripting():
            total = 1.01 * total
        if self.flaw == "noise":
            return total * (condition.variance + 0.1)
        return total * condition.variance

    def atoms(self, around: Surroundings) -> Tensor:
        vectors = around.vectors
        r_squared = vectors.square().sum(0)
        envelope = torch.relu(1.0 - r_squared / self.cutoff**2) ** 3
        if self.flaw == "sharp":
            envelope = torch.ones_like(r_squared)
        pairs = self.weight * envelope * around.mask
        if self.flaw == "axis":
            pairs = pairs * (1.0 + vectors[0].abs())
        if self.flaw == "order":
            pairs = pairs * torch.arange(1, 1 + pairs.shape[1]).reshape(1, -1, 1)
        if self.flaw == "detached":
            pairs = pairs * r_squared.detach()
        if self.flaw == "alone":
            return pairs.sum(-1) + self.weight
        return pairs.sum(-1)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(network_classes(), "toy", Toy)


def test_a_toy_without_a_flaw_keeps_them(toy):
    check_network("toy")


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("sharp", "it jumps where a neighbour crosses the cutoff"),
        ("axis", "it does not follow a rotation by 90 degrees"),
        ("order", "it does not follow a permutation of the atoms"),
        ("detached", "its gradient is not that of finite differences"),
        ("alone", "it does not vanish without neighbours"),
        ("mean", "do not give twice the output of one"),
        ("batch", "depends on the rest of the batch"),
        ("nan", "are not finite, or all zero"),
        ("eager", "TorchScript computes something else than Python"),
        ("noise", "it does not vanish without noise"),
    ],
)
def test_a_flaw_is_named(toy, flaw, message):
    with pytest.raises(ConformanceError, match=f"network toy: .*{message}"):
        check_network(ToyConfig(flaw=flaw))


class Uncompilable(Toy):
    def at_noise(self, around, condition):
        return super().at_noise(around, condition)


def test_what_torchscript_cannot_compile_is_named(monkeypatch):
    monkeypatch.setitem(network_classes(), "toy", Uncompilable)
    with pytest.raises(ConformanceError, match="network toy: TorchScript cannot compile it"):
        check_network("toy")


class WrongShape(Toy):
    def at_noise(self, around: Surroundings, condition: Condition) -> Tensor:
        return around.mask.sum(-1)


def test_a_wrong_shape_is_named(monkeypatch):
    monkeypatch.setitem(network_classes(), "toy", WrongShape)
    with pytest.raises(ConformanceError, match=r"the shape \(4, 8\) for 4 .* instead of \(4,\)"):
        check_network("toy")


def test_kinds_are_registered_once(monkeypatch):
    monkeypatch.setitem(network_classes(), "toy", Toy)
    assert register(Toy) is Toy
    assert network_class("toy") is Toy
    with pytest.raises(ValueError, match="two classes of networks are of kind toy: rename one"):
        register(Uncompilable)


@pytest.mark.parametrize("kind", ["densty", "panin"])
def test_an_unknown_kind_names_the_closest(kind):
    closest = {"densty": "density", "panin": "painn"}[kind]
    with pytest.raises(
        ValueError, match=f"unknown kind of network '{kind}': did you mean {closest}"
    ):
        NetworkConfig(kind=kind)
    with pytest.raises(ValueError, match=f"did you mean {closest}"):
        NetworkConfig.model_validate({"kind": kind})


def test_settings_belong_to_the_class_of_their_kind():
    density = NetworkConfig(n_radial=4, n_channels=2, width=8)
    assert type(density) is network_class("density").Config
    assert set(density.model_dump()) == {
        *("kind", "cutoff_sigma", "dtype", "n_radial", "n_channels", "width"),
        *("n_refinements", "n_moves", "n_relaxations"),
    }
    painn = density.model_copy(update={"kind": "painn"})
    assert type(painn) is network_class("painn").Config
    assert {**painn.model_dump(), "kind": "density"} == density.model_dump()
    assert NetworkConfig.model_validate(painn.model_dump()) == painn
