"""`Execution`: how a calculation is carried out, apart from what is calculated.

It holds the seed, the number of processes, the folder, whether progress is shown, and the device.
None of them but the seed changes a result; a GPU rounds differently. A part of a calculation gets a
child with a seed and a folder of its own, so that no two parts share random numbers or files.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from openmm_nti.runtime.devices import torch_device
from openmm_nti.runtime.stored import Arrays, StoredTask, mark, run_stored
from openmm_nti.runtime.tasks import derive_seed, run_tasks, track

if TYPE_CHECKING:
    import torch  # the command line imports this module before it needs torch

Result = TypeVar("Result")
Model = TypeVar("Model", bound="torch.nn.Module")
_KEYWORDS = ("seed", "workers", "directory", "progress", "device")


@dataclass(frozen=True)
class Execution:
    """How a calculation is carried out.

    Parameters
    ----------
    seed
        Decides every random number.
    workers
        Number of processes for independent pieces; it never changes a result.
    directory
        Folder that keeps finished pieces, from which an interrupted calculation goes on. None keeps
        nothing.
    progress
        Whether progress bars with the time left are shown, on the standard error stream.
    device
        Where models compute, see `devices.torch_device`: by default, on a GPU where there is one.

    Raises
    ------
    ValueError
        If `seed` is negative or `workers` is below 1.
    """

    seed: int = 1
    workers: int = 1
    directory: Path | None = None
    progress: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must be 0 or more")
        if self.workers < 1:
            raise ValueError(f"workers = {self.workers} must be at least 1: a number of processes")
        if self.directory is not None:
            object.__setattr__(self, "directory", Path(self.directory))

    def seed_of(self, *names: object) -> int:
        """Return the seed of the part that `names` name: the same on every machine."""
        return derive_seed(self.seed, *names)

    def random(self, *names: object) -> np.random.Generator:
        """Return numpy's random numbers of the part that `names` name."""
        return np.random.default_rng(self.seed_of(*names))

    def torch_random(self, *names: object) -> torch.Generator:
        """Return torch's random numbers of the part that `names` name."""
        import torch

        return torch.Generator().manual_seed(self.seed_of(*names))

    def place(self, model: Model) -> Model:
        """Return the model on the device of this process: itself, or a copy that lies there."""
        device = torch_device(self.device)
        if all(held.device == device for held in (*model.parameters(), *model.buffers())):
            return model
        return copy.deepcopy(model).to(device)

    def child(self, *names: object) -> Execution:
        """Return the execution of a part: `names` decide its seed, and its folder lies below."""
        return replace(self.folder(*names), seed=self.seed_of(*names))

    def folder(self, *names: object) -> Execution:
        """Return the same execution with a folder below this one's."""
        if self.directory is None:
            return self
        return replace(self, directory=self.directory.joinpath(*(str(name) for name in names)))

    def stored(
        self, name: str, inputs: Any, compute: Callable[[], Arrays]
    ) -> dict[str, np.ndarray]:
        """Return the arrays of `compute`, taken from disk if equal inputs have made them before.

        Parameters
        ----------
        name
            Of the file, before its fingerprint.
        inputs
            Everything that decides the arrays but the seed and the package's version, which
            always count; see `stored.fingerprint`.
        compute
            Makes the arrays.
        """
        path = self._path(name, inputs)
        return run_stored(StoredTask(lambda _item: compute(), None, name, path))

    def map_stored(
        self,
        function: Callable[[Any], Arrays],
        items: Sequence[Any],
        *,
        name: str,
        inputs: Any,
        description: str,
        labels: Sequence[str] | None = None,
    ) -> list[dict[str, np.ndarray]]:
        """Return the arrays of `function` for each of `items`, over the processes, in order.

        Each finished item is a file in the folder `name`; it is not computed again.

        Parameters
        ----------
        function
            Module-level, or a `functools.partial` of such a function: it is pickled.
        items
            Arguments. What is random in them must follow from the seed.
        name
            Of the folder.
        inputs
            Everything that decides the arrays of all items but the seed, as for `stored`. An item's
            own number is added.
        description
            What the progress bar says.
        labels
            Names of the items in messages; by default their numbers.
        """
        ending = mark(name, self.seed, inputs)
        folder = None if self.directory is None else self.directory / name
        tasks = [
            StoredTask(
                function,
                item,
                labels[number] if labels else f"{name} {number}",
                None if folder is None else folder / f"{ending}_{number:03d}.npz",
            )
            for number, item in enumerate(items)
        ]
        return self.run(run_stored, tasks, description)

    def run(
        self, function: Callable[[Any], Result], tasks: Sequence[Any], description: str
    ) -> list[Result]:
        """Return `function` of each task, over the processes, in order; see `tasks.run_tasks`."""
        return run_tasks(
            function,
            tasks,
            workers=self.workers,
            description=description,
            progress=self.progress,
        )

    def track(self, items: Sequence[Result], description: str) -> Iterator[Result]:
        """Yield each of `items`, with a progress bar where progress is shown."""
        return track(items, description, shown=self.progress)

    def _path(self, name: str, inputs: Any) -> Path | None:
        if self.directory is None:
            return None
        return self.directory / f"{name}-{mark(name, self.seed, inputs)}.npz"


def takes_execution(function: Callable[..., Result]) -> Callable[..., Result]:
    """Let `function`, whose last parameter is `execution`, take its parts as keywords instead.

    A script may then write `estimate(model, state, config, seed=1, workers=2)` in place of
    `estimate(model, state, config, Execution(seed=1, workers=2))`.
    """
    position = list(inspect.signature(function).parameters).index("execution")

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Result:
        given = {name: keywords.pop(name) for name in _KEYWORDS if name in keywords}
        if "execution" not in keywords and len(arguments) <= position:
            keywords["execution"] = Execution(**given)
        elif given:
            raise TypeError(
                f"{function.__name__}() takes either `execution` or {', '.join(given)}, not both"
            )
        return function(*arguments, **keywords)

    return wrapper
