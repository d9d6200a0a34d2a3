"""`NetworkConfig`: the architecture of a network, as a class for each kind.

A kind of network has a subclass with its own fields. `NetworkConfig(kind="painn", width=32)` and
`NetworkConfig.model_validate({"kind": "painn", ...})` return an instance of the kind's class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.settings import Settings

DEFAULT_KIND = "density"


class NetworkConfig(Settings):
    """Settings of the learned part of the path that all kinds of networks have.

    Raises
    ------
    ValueError
        If no network is of this kind, or its class refuses a field.
    """

    kind: str = Field(default=DEFAULT_KIND, description="Kind of network.")
    cutoff_sigma: float = Field(
        default=2.0, gt=1.2, le=10, description="Range of the network's neighbourhoods, in sigma."
    )
    dtype: str = Field(
        default="float32", pattern="^float(32|64)$", description="Precision of the network."
    )

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None:
            """Take the fields of the kind's class."""

    def __new__(cls, **fields: Any) -> NetworkConfig:  # noqa: PYI034 (the kind decides the class)
        """Return an instance of the class that belongs to the kind."""
        if cls is NetworkConfig:
            return object.__new__(config_class(fields.get("kind", DEFAULT_KIND)))
        return object.__new__(cls)

    @property
    def knows_depth(self) -> bool:
        """Whether the network is told how strongly the pairs attract; only some kinds may be."""
        return bool(getattr(self, "conditioned", False))

    @model_validator(mode="wrap")
    @classmethod
    def _by_kind(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Any:
        if cls is NetworkConfig and isinstance(data, Mapping):
            return config_class(data.get("kind", DEFAULT_KIND)).model_validate(data)
        return handler(data)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        """Return a copy with the fields in `update` replaced; another kind has another class."""
        kind = (update or {}).get("kind", self.kind)
        if kind == self.kind:
            return super().model_copy(update=update, deep=deep)
        shared = {name: value for name, value in self if name in config_class(kind).model_fields}
        return config_class(kind)(**{**shared, **(update or {})})

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the names of the fields of all kinds, for hints about misspelt ones."""
        from openmm_nti.hamiltonian.networks.registry import network_classes

        classes = [network.Config for network in network_classes().values()]
        return list(dict.fromkeys(name for settings in classes for name in settings.model_fields))


class MomentConfig(NetworkConfig):
    """Fields of the networks that come with the package."""

    n_radial: int = Field(default=8, ge=4, le=64, description="Radial basis functions.")
    n_channels: int = Field(
        default=8, ge=2, le=128, description="Radial mixtures of the l = 1 and l = 2 moments."
    )
    width: int = Field(default=64, ge=8, le=1024, description="Hidden width of the atomic energy.")
    n_refinements: int = Field(
        default=1, ge=0, le=8, description="How often descriptors are taken at displaced atoms."
    )
    n_moves: int = Field(
        default=2, ge=1, le=8, description="Displacements of the atoms in each refinement."
    )
    conditioned: bool = Field(
        default=False,
        description="Whether the network knows how strongly the pairs attract, in kT: for models "
        "of several temperatures or mixtures.",
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.conditioned:
            values.pop("conditioned", None)
        return values

    @property
    def n_noise(self) -> int:
        """Number of features of the noise, and of the noise together with the depth."""
        return (1 + self.conditioned) * N_NOISE_FEATURES


def _must_be_zero(value: int, info: ValidationInfo) -> int:
    if value != 0:
        raise ValueError(
            f"n_relaxations = {value} needs kind: denoiser, not {info.data.get('kind')}"
        )
    return value


NoRelaxations = Annotated[
    int,
    AfterValidator(_must_be_zero),
    Field(description="Always 0: only a `denoiser` has relaxations."),
]


def config_class(kind: object) -> type[NetworkConfig]:
    """Return the class of the settings of `kind`; ValueError names the closest kind."""
    from openmm_nti.hamiltonian.networks.registry import network_class

    return network_class(str(kind)).Config
