"""`RunConfig`: everything that decides the numbers of a run, read from YAML and `--set key=value`.

The sections below `estimates` come from the registry of estimators.

`system` gives one or several state points: the fields of a StatePoint, of which `n_particles`,
`density_star` and `temperature_star` may be lists, or a list of such mappings. The other sections
are the settings of the stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    create_model,
    field_serializer,
    model_validator,
)

from openmm_nti.cli.commands.options import LARGEST_SEED
from openmm_nti.cli.config_errors import ConfigError, explain
from openmm_nti.cli.safety.yaml_text import parse_yaml
from openmm_nti.fluid.species_form import numbers_of_particles
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NetworkConfig
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.runtime.devices import DeviceName
from openmm_nti.settings import Settings
from openmm_nti.training import TrainingConfig
from openmm_nti.validation.estimators.base import Estimator
from openmm_nti.validation.estimators.registry import estimator, sections
from openmm_nti.validation.estimators.registry import section_config as settings_class
from openmm_nti.validation.sweep.config import SweepConfig

_LISTS = ("n_particles", "density_star", "temperature_star")  # keys of `system` that may be lists


def _estimates_config() -> type[BaseModel]:
    """Return the configuration of all estimates: a section for each kind of samples."""
    fields: dict[str, Any] = {
        section: (estimators[0].Config | None, _section_field(estimators))
        for section, estimators in sections().items()
    }
    return create_model(
        "EstimatesConfig",
        __base__=Settings,
        __doc__="Which estimates to make, and the effort for each; `null` leaves one out.",
        **fields,
    )


def _section_field(estimators: list[Estimator]) -> Any:
    """Return the default and the description of the section of `estimators`."""
    described = "; ".join(f"{known.name}: {known.summary}" for known in estimators)
    if any(known.in_runs and known.phase == "fluid" for known in estimators):
        return Field(default_factory=estimators[0].Config, description=f"{described}.")
    return Field(default=None, description=f"{described}; {{}} asks for it.")


if TYPE_CHECKING:
    EstimatesConfig = BaseModel
else:
    EstimatesConfig = _estimates_config()


def _one_for_each(system: Any) -> Any:
    """Return one mapping for each N, density and temperature, each of which may be a list."""
    if not isinstance(system, dict | list | tuple):
        raise ValueError(  # noqa: TRY004 (pydantic reports no TypeError)
            "is no mapping: give n_particles, a box and a temperature"
        )
    mappings = system if isinstance(system, list | tuple) else [system]
    if not mappings:
        raise ValueError("no state point is given: give n_particles, a box and a temperature")
    spread = [one_n for listed in mappings for one_n in numbers_of_particles(listed)]
    for key in _LISTS:
        spread = [one for mapping in spread for one in _one_for_each_value(mapping, key)]
    return spread


def _one_for_each_value(mapping: Any, key: str) -> list[Any]:
    """Return a mapping for each value of `key`, if it has a list of them."""
    values = mapping.get(key) if isinstance(mapping, dict) else None
    if isinstance(values, list) and values:
        return [{**mapping, key: value} for value in values]
    return [mapping]


def _is_crystal(state: Any) -> bool:
    """Return whether a state point, or the mapping of one, has a lattice."""
    if isinstance(state, StatePoint):
        return state.crystal is not None
    return isinstance(state, dict) and state.get("crystal") is not None


class RunConfig(Settings):
    """The settings of a whole calculation, from the state points to the estimates."""

    seed: int = Field(
        default=1,
        ge=0,
        le=LARGEST_SEED,
        description="Random seed of the whole run; `--seed` replaces it.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Processes for independent simulations; never changes results.",
    )
    device: DeviceName = Field(
        default="auto",
        description="Where models compute: `cpu`, `cuda`, `cuda:1`; `auto`: a GPU if there is one.",
    )
    system: Annotated[tuple[StatePoint, ...], BeforeValidator(_one_for_each)] = Field(
        description="The fluid. n_particles may be a list: one model is trained for all N, and "
        "estimates are made for each.",
    )
    reference: ReferenceConfig = Field(
        default_factory=ReferenceConfig,
        description="MD of the interacting fluid, the training data.",
    )
    network: SerializeAsAny[NetworkConfig] = Field(
        default_factory=NetworkConfig, description="The learned part of the Hamiltonian."
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="Score matching.")
    model: str | None = Field(
        default=None,
        min_length=1,
        description="Trained model to take in place of a training: a shipped name or a directory.",
    )
    estimates: EstimatesConfig = Field(
        default_factory=EstimatesConfig, description="Free-energy estimates; null leaves one out."
    )

    sweep: SweepConfig | None = Field(
        default=None,
        description="The fluid at several temperatures after the run, anchored at the number that "
        "it quotes: [1.25, 1.5, 2] are T*; {temperature_kelvin: [150, 200]}; with `method: "
        "path_bar`, the model stands beside the data.",
    )

    @model_validator(mode="before")
    @classmethod
    def _estimates_of_crystals(cls, data: Any) -> Any:
        """Make the estimates of a crystal where the system is one, and none of a fluid."""
        system = data.get("system") if isinstance(data, dict) else None
        states = system if isinstance(system, list | tuple) else [system]
        given = data.get("estimates") or {} if isinstance(data, dict) else None
        if not isinstance(given, dict) or not all(_is_crystal(state) for state in states):
            return data
        usual: dict[str, Any] = {
            section: {} if known[0].phase == "crystal" and known[0].in_runs else None
            for section, known in sections().items()
        }
        return {**data, "estimates": {**usual, **given}}

    @model_validator(mode="after")
    def _states_belong_together(self, info: ValidationInfo) -> Self:
        if len({state.label for state in self.system}) < len(self.system):
            raise ValueError("system: the same state point is listed twice; remove one")
        several = len({state.pair_potential for state in self.system}) > 1
        trains = info.context is None or info.context["trains"]
        if several and trains and not self.network.knows_depth:
            raise ValueError(
                "system: the state points differ in temperature_star, species, cutoff, switching "
                "or convention; one run trains one model: make one run for each, or set "
                "network.conditioned: true for one that knows the temperature and the species"
            )
        if self.sweep is not None and len(self.system) > 1:
            raise ValueError("sweep: is of one N, and system has several state points")
        return self

    def settings_of(self, known: Estimator) -> Any:
        """Return the settings of an estimator: its defaults where its section is left out."""
        return getattr(self.estimates, known.section) or known.Config()

    @property
    def needs_energy(self) -> bool:
        """Whether an estimate evaluates energies of the model, which a denoiser has not."""
        made = [
            known
            for section, estimators in sections().items()
            for known in estimators
            if getattr(self.estimates, section) is not None
        ]
        if self.sweep is not None and self.sweep.method is not None:
            made.append(estimator(self.sweep.method))
        return any("energy" in known.needs for known in made)

    @field_serializer("system")
    def _compact(self, states: tuple[StatePoint, ...]) -> Any:
        mappings = [state.model_dump() for state in states]
        shared = [{**mapping, "n_particles": 0} for mapping in mappings]
        if any(other != shared[0] for other in shared):
            return mappings
        numbers = [state.n_particles for state in states]
        return {**mappings[0], "n_particles": numbers if len(numbers) > 1 else numbers[0]}


def load_config(path: Path, settings: list[str], *, trains: bool = True) -> RunConfig:
    """Return the configuration in a YAML file, changed by settings such as `seed=2`.

    What never `trains` a model may have state points at several temperatures.

    Raises
    ------
    ConfigError
        If a key or a value is bad; the message names it, and the closest keys or allowed values.
    """
    data = read_mapping(path)
    for setting in settings:
        apply_setting(data, setting)
    if "system" in data:
        data["system"] = with_files(data["system"], path)
    try:
        return RunConfig.model_validate(data, context={"trains": trains})
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, source=str(path))) from None


def with_files(system: Any, path: Path) -> Any:
    """Return the section `system` with what files beside `path` hold, in plain keys."""
    if isinstance(system, list):
        return [with_files(state, path) for state in system]
    if not isinstance(system, dict):
        return system
    found = dict(system)
    for section, key in (("potential", "file"), ("crystal", "sites")):
        described: Any = system.get(section)
        file = described.get(key) if isinstance(described, dict) else None
        if isinstance(file, str) and file:
            found[section] = {**described, key: str(path.parent / file)}
    if "from" not in found:
        return found
    from openmm_nti.md.own_system.files import read_state

    try:
        return read_state(found, path.parent).model_dump()
    except ValidationError as error:
        raise ConfigError(f"{path}: system: {explain(error, StatePoint, source='')}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def section_config(section: str, settings: list[str]) -> Any:
    """Return the settings of `estimates.<section>`: the defaults, changed by `settings`."""
    content: dict[str, Any] = {}
    for setting in settings:
        apply_setting(content, setting)
    # Of this section alone, and as the registry has it now: it may have grown since the start.
    fields: dict[str, Any] = {section: (settings_class(section), ...)}
    model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        return getattr(model.model_validate({section: content}), section)
    except ValidationError as error:
        raise ConfigError(explain(error, model, source="--set")) from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the sections in a YAML file as they are; ConfigError if they are none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error.reason}): is it the file?") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold a mapping of sections; `openmm-nti init` writes one to start from"
        )
    return data


def apply_setting(data: dict[str, Any], setting: str) -> None:
    """Set one `section.key=value` in `data`; the value is read as YAML."""
    key, separator, text = setting.partition("=")
    if not separator or not all(step.strip() for step in key.split(".")):
        raise ConfigError(
            f"--set {setting}: expected section.key=value, such as --set training.n_steps=500"
        )
    *sections, name = key.strip().split(".")
    section: Any = data
    for step in sections:
        if section.get(step) is None:
            section[step] = {}
        section = section[step]
        if not isinstance(section, dict):
            raise ConfigError(
                f"--set {setting}: `{step}` is no section with keys in this file: edit the file"
            )
    section[name] = parse_yaml(text, f"--set {setting}: the value")
