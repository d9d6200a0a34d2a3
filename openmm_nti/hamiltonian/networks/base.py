"""What all networks have in common, and how to write another one.

A network is given the edges of each atom once, by `surroundings`, and then evaluated at one or more
noise levels by `at_noise`. A new kind is one file in this folder::

    class MyConfig(NetworkConfig):
        kind: Literal["mine"] = "mine"
        width: int = Field(default=32, ge=1, description="Hidden width.")

    class MyNetwork(LearnedPart):
        Config = MyConfig
        summary = "what it is, in half a sentence"

        def __init__(self, config: MyConfig) -> None: ...
        def surroundings(self, vectors, index, mask): ...  # -> Surroundings
        def at_noise(self, around, condition): ...  # -> energies (B,)

    NETWORKS = (MyNetwork,)

The two methods carry `@torch.jit.export` and annotations, for a TorchForce compiles them.
`openmm_nti.testing.check_network("mine")` says whether the kind obeys what the package relies on.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import Condition, NoiseFeatures, with_depth
from openmm_nti.hamiltonian.networks.config import NetworkConfig

ONSET_SQUARED = 0.01  # s_1^2, sigma^2: energies begin as s_eff^2 / (s_eff^2 + s_1^2)


class Surroundings(NamedTuple):
    """The edges of each atom, and those results of a network that do not depend on the noise."""

    vectors: Tensor  # minimum-image vectors to the neighbours, (3, B, N, M), sigma
    # Neighbours as indices into the (B * N) atoms, (B, N, M); not the `index` of tuples.
    index: Tensor  # type: ignore[assignment]
    mask: Tensor  # 1 for a neighbour, 0 for padding, perhaps times an envelope, (B, N, M)
    features: Tensor  # chosen by the network; four dimensions, the second is the batch


class LearnedPart(nn.Module):
    """A network for the unknown part of the Hamiltonian of a noised fluid.

    Class attributes
    ----------------
    Config
        Class of its settings. The default of the field `kind` names the kind.
    summary
        Description for the configuration file, in half a sentence.
    gives_energy
        Whether `at_noise` returns energies; otherwise it returns gradients, for a `Denoiser`.

    Attributes
    ----------
    cutoff
        Range of its neighbourhoods, sigma.
    noise
        Features of ln s, in the precision of the network.
    n_relaxations
        Steps of relaxation by two-body forces that a network without an energy takes as input.
    """

    Config: ClassVar[type[NetworkConfig]]
    summary: ClassVar[str] = "no description"
    gives_energy: ClassVar[bool] = True
    n_relaxations: int = 0

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.cutoff = config.cutoff_sigma
        self.noise = NoiseFeatures()
        self.conditioned = config.knows_depth

    @classmethod
    def kind(cls) -> str:
        """Return the name of the kind."""
        return str(cls.Config.model_fields["kind"].default)

    def noise_features(self, log_s: Tensor, depth: Tensor) -> Tensor:
        """Return the features of ln s (B,), and with the depth of the fluid if it is known.

        Shape (B, n_noise); `n_noise` of the settings tells how many.
        """
        noise = self.noise(log_s)
        if self.conditioned:
            noise = with_depth(noise, depth)
        return noise

    def forward(self, vectors: Tensor, index: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        """Return `at_noise` of `surroundings`."""
        return self.at_noise(self.surroundings(vectors, index, mask), condition)

    @torch.jit.export
    def at_once(self, vectors: Tensor, index: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        """Return what `forward` returns, for uses with first derivatives alone, by edges and noise.

        A kind may have a quicker way for it.
        """
        return self.forward(vectors, index, mask, condition)

    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set scales on a batch of typical configurations, at ln s (B,); by default, none."""

    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        """Return all results that do not depend on the noise; for arguments see `Surroundings`."""
        raise NotImplementedError

    def at_noise(self, around: Surroundings, condition: Condition) -> Tensor:
        """Return energies (B,), kT, or without an energy gradients (B, N, 3), kT / sigma."""
        raise NotImplementedError

    @classmethod
    def may_grow(cls, smaller: Any, larger: Any) -> bool:
        """Return whether a network of settings `larger` can take up the weights of `smaller`.

        Both are settings of this kind. Unless a kind says more, they must be equal.
        """
        return bool(smaller == larger)

    @torch.no_grad()
    def take_weights(self, smaller: nn.Module) -> None:
        """Take the weights of `smaller`, where `may_grow` allows, so that outputs are the same."""
        self.load_state_dict(smaller.state_dict())


def repeated(around: Surroundings, n_copies: int) -> Surroundings:
    """Return a batch of the same configurations `n_copies` times, copy after copy."""
    n_batch = around.index.shape[0]
    n_atoms = around.index.shape[1]
    copy = (
        torch.arange(n_copies, device=around.index.device)
        .repeat_interleave(n_batch)
        .reshape(-1, 1, 1)
    )
    return Surroundings(
        around.vectors.repeat(1, n_copies, 1, 1),
        around.index.repeat(n_copies, 1, 1) + copy * (n_batch * n_atoms),
        around.mask.repeat(n_copies, 1, 1),
        around.features.repeat(1, n_copies, 1, 1),
    )
