"""What changed settings touch in the directory of a run: it is set aside, and made again.

Reference data follow from the state point, `reference` and the seed; the model from all data,
`network`, `training`, `model` and the seed; an estimate from its state point, its own section, the
seed, and the data and the model where it needs them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig, read_mapping
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.ensemble import Ensemble
from openmm_nti.validation.estimators.registry import all_estimators

_FREE_TO_CHANGE = ("workers", "device")  # they decide how fast a run is, not its results


@dataclass(frozen=True)
class Finished:
    """One finished part of a run: its name for users, its files, and whether it stays valid."""

    name: str
    files: tuple[Path, ...]
    valid: bool


class Changes:
    """The settings of a run that differ from those in its directory, and what they touch.

    Attributes
    ----------
    settings
        One line for each changed setting.
    parts
        The finished parts of the run; none are looked for where no setting has changed.

    Raises
    ------
    ConfigError
        If the directory holds an imported trajectory of another state point.
    """

    def __init__(self, run: RunDirectory, config: RunConfig) -> None:
        self._run = run
        self._old = _Sections(read_mapping(run.config))
        self._new = _Sections(config.model_dump(mode="json"))
        self.settings = self._old.differences(self._new)
        self._imported: set[str] = set()
        self.parts = list(self._finished()) if self.settings else []

    @property
    def touched(self) -> list[Finished]:
        """The finished parts that must be made again."""
        return [part for part in self.parts if not part.valid]

    def set_aside(self, say: Callable[[str], None]) -> None:
        """Move what is touched into a folder `earlier-N`, and say what is kept and what is not."""
        path = self._run.path
        if not self.settings:
            return
        say(f"changed settings: {'; '.join(self.settings)}")
        say(f"kept: {_names(part for part in self.parts if part.valid)}")
        if not self.touched:
            say("made again: nothing")
            return
        earlier = _new_folder(path)
        shutil.copy(self._run.config, earlier)
        summaries = [self._run.results, self._run.report]
        if not self._same("seed"):
            summaries.append(self._run.provenance)
        for file in (*(file for part in self.touched for file in part.files), *summaries):
            if file.exists():
                target = earlier / file.relative_to(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
        say(f"made again: {_names(self.touched)}; the old files are in {earlier}")

    def _finished(self) -> Iterator[Finished]:
        """Yield the parts of the run that are on disk."""
        for path in sorted(self._run.reference.glob("[!.]*.h5")):
            if "trajectory" in Ensemble.load(path).provenance:
                self._check_imported(path)
                self._imported.add(path.stem)
            yield Finished(f"reference data {path.stem}", (path,), self._same_data(path.stem))
        if self._run.model.is_dir() and any(self._run.model.iterdir()):
            yield Finished("training", (self._run.model,), self._same_model())
        if self._run.sweep.is_dir():
            same = all(self._same_state(label) for label in self._old.states)
            valid = same and self._same("seed", "reference")
            yield Finished("sweep", (self._run.sweep,), valid)
        for path in sorted(self._run.path.glob("*/estimates/[!.]*.json")):
            known = all_estimators().get(path.stem)
            folder = path.parent.parent
            if folder.name.startswith(_EARLIER):
                continue
            written = known.files if known is not None else ()
            files = (path, *(folder / name for name in written), folder / "gr.npz")
            name = f"{path.stem} at {folder.name}"
            yield Finished(name, files, self._same_estimate(path.stem, folder.name))

    def _same(self, *sections: str) -> bool:
        return all(
            self._old.sections.get(name) == self._new.sections.get(name) for name in sections
        )

    def _same_state(self, label: str) -> bool:
        old, new = self._old.states.get(label), self._new.states.get(label)
        return old is not None and old == new

    def _same_data(self, label: str) -> bool:
        by_md = label not in self._imported
        return self._same_state(label) and (not by_md or self._same("seed", "reference"))

    def _same_model(self) -> bool:
        return (
            self._same("seed", "network", "training", "model")
            and list(self._old.states) == list(self._new.states)
            and all(self._same_data(label) for label in self._new.states)
        )

    def _same_estimate(self, method: str, label: str) -> bool:
        known = all_estimators().get(method)
        if known is None:
            return False
        old, new = (each.sections.get("estimates") or {} for each in (self._old, self._new))
        return (
            self._same("seed")
            and self._same_state(label)
            and old.get(known.section) == new.get(known.section)
            and ("data" not in known.needs or self._same_data(label))
            and (not known.needs_model or self._same_model())
        )

    def _check_imported(self, path: Path) -> None:
        if not self._same_state(path.stem):
            raise ConfigError(
                f"{path} comes from a trajectory of your own, and `system` is of another state "
                "point now: name another --output, or undo the change of `system`"
            )


_EARLIER = "earlier-"


class _Sections:
    """The sections of a configuration with all defaults; those that are not valid as they are."""

    def __init__(self, raw: dict[str, Any]) -> None:
        system = {"system": raw.get("system")}
        self.states: dict[str, Any] = {}
        self.sections = dict(raw)
        try:
            states = RunConfig.model_validate(system).system
        except ValidationError:
            return
        self.states = {state.label: state.model_dump(mode="json") for state in states}
        for name in RunConfig.model_fields:
            try:
                valid = RunConfig.model_validate({**system, **_only(raw, name)})
            except ValidationError:
                continue
            self.sections[name] = valid.model_dump(mode="json")[name]

    def differences(self, other: _Sections) -> list[str]:
        """Return a line for each key whose value differs in `other`."""
        old, new = _flat(self.sections), _flat(other.sections)
        keys = sorted({*old, *new} - set(_FREE_TO_CHANGE))
        return [
            f"{key} = {old.get(key)} there, {new.get(key)} now"
            for key in keys
            if old.get(key) != new.get(key)
        ]


def _only(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: raw[name]} if name in raw else {}


def _names(parts: Any) -> str:
    return ", ".join(part.name for part in parts) or "nothing"


def _new_folder(path: Path) -> Path:
    """Make the first folder `earlier-N` below `path` that is not there yet."""
    number = 1
    while (path / f"{_EARLIER}{number}").exists():
        number += 1
    folder = path / f"{_EARLIER}{number}"
    folder.mkdir()
    return folder


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        key: value
        for name, item in data.items()
        for key, value in _flat(item, f"{prefix}.{name}" if prefix else str(name)).items()
    }
