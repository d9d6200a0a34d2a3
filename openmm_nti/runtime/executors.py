"""Where independent tasks run: in this process, in several processes, or on a dask cluster.

    with executor("dask", "tcp://node1:8786"):
        generate(...)  # or any other function that calls `tasks.run_tasks`

Results do not depend on it: every task has its own seed and writes its own file. Workers on other
machines need the same package and the same file system at the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

Result = TypeVar("Result")
ExecutorName = Literal["local", "processes", "dask"]
_CONNECT_SECONDS = 10.0
_RETRIES = 2


@dataclass(frozen=True)
class Executor:
    """Where `run_tasks` runs tasks; `client` is the dask client, None for the others."""

    name: ExecutorName
    client: Any = None


_PROCESSES = Executor("processes")
_current: ContextVar[Executor] = ContextVar("executor", default=_PROCESSES)


def current_executor() -> Executor:
    """Return the executor of the innermost `with executor(...)`; by default, processes."""
    return _current.get()


@contextmanager
def executor(name: str, scheduler: str | None = None) -> Iterator[None]:
    """Run the tasks inside the block where `name` says.

    Parameters
    ----------
    name
        `local` (this process), `processes` (as many as `workers`) or `dask` (the workers of a
        cluster).
    scheduler
        Address of the dask scheduler, such as tcp://node1:8786; only for dask.

    Raises
    ------
    ValueError
        If the name is none of these, the address is missing or not wanted, dask is not installed,
        or no scheduler answers within ten seconds.
    """
    if name not in get_args(ExecutorName):
        raise ValueError(f"executor = {name!r} must be one of {', '.join(get_args(ExecutorName))}")
    if (scheduler is not None) != (name == "dask"):
        raise ValueError(
            f"executor = {name}, scheduler = {scheduler}: dask, and dask alone, needs a "
            "scheduler's address"
        )
    client = _connect(scheduler) if scheduler is not None else None
    token = _current.set(Executor(name, client))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _current.reset(token)
        if client is not None:
            client.close()


def run_on_dask(
    client: Any,
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    on_finished: Callable[[], None],
    failed: Callable[[int, Exception], Exception],
) -> list[Result]:
    """Return `function` of each task, in order; tasks that fail or lose their worker are repeated.

    Parameters
    ----------
    client
        The dask client.
    function
        A module-level function.
    tasks
        Its arguments.
    on_finished
        Called after each task.
    failed
        Makes the exception to raise, from the number of a task that failed every time and its last
        exception.
    """
    from distributed import as_completed

    futures = [
        client.submit(_with_one_thread, function, task, pure=False, retries=_RETRIES)
        for task in tasks
    ]
    numbers = {future.key: number for number, future in enumerate(futures)}
    results: dict[int, Result] = {}
    try:
        for future in as_completed(futures, loop=client.loop):
            number = numbers[future.key]
            try:
                results[number] = future.result()
            except Exception as error:
                raise failed(number, error) from error
            on_finished()
    finally:
        client.cancel(futures)
    return [results[number] for number in range(len(tasks))]


def _with_one_thread(function: Callable[[Any], Result], task: Any) -> Result:
    """Return `function(task)` of one thread, as in processes: more threads round differently."""
    import torch

    torch.set_num_threads(1)
    return function(task)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "executor = dask needs dask.distributed: pip install 'openmm-nti[dask]'"
        ) from error
    try:
        return Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"scheduler = {scheduler}: no dask scheduler answers there ({error}); start one by "
            "`dask scheduler`, with workers by `dask worker ADDRESS --nthreads 1`"
        ) from error
