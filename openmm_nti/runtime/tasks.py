"""`run_tasks`: independent tasks over worker processes, in order, with one progress bar.

Tasks that keep their results (`stored.StoredTask`) look for their own file first. So a calculation
that was interrupted, at any moment, is continued by running it again.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from joblib.externals.loky import get_reusable_executor
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from openmm_nti.runtime.devices import number_this_worker
from openmm_nti.runtime.executors import current_executor, run_on_dask

Result = TypeVar("Result")
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENMM_CPU_THREADS",
)


_IDLE_SECONDS = 300.0  # after which a process without work ends


class TaskError(RuntimeError):
    """A task failed; the message names the task, `__cause__` is what it raised."""


def run_tasks(
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    *,
    workers: int,
    description: str,
    progress: bool = True,
) -> list[Result]:
    """Return `function` of each task, in the order of the tasks.

    Parameters
    ----------
    function
        With more than one worker, a module-level function; it and its tasks are pickled.
    tasks
        Their `str` names them in messages.
    workers
        With 1, the tasks run in this process; more start that many processes, each with one thread.
        `executors.executor` may send the tasks elsewhere.
    description
        What the progress bar says.
    progress
        Whether a progress bar with the time left is shown, on the standard error stream.

    Raises
    ------
    TaskError
        At the first failure; it names the task, and tasks that have not finished are dropped.
    ValueError
        If `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers = {workers} must be at least 1: it is the number of processes")
    with progress_bar(progress) as bar:
        advance = bar.advance
        job = bar.add_task(description, total=len(tasks))
        executor = current_executor()
        if executor.name == "dask":
            return run_on_dask(
                executor.client,
                function,
                tasks,
                lambda: advance(job),
                lambda number, error: _task_error(description, tasks[number], error),
            )
        if executor.name == "local" or workers == 1 or len(tasks) < 2:
            return [_run_here(function, task, description, lambda: advance(job)) for task in tasks]
        return _run_in_pool(
            function, tasks, min(workers, len(tasks)), description, lambda: advance(job)
        )


def derive_seed(seed: int, *names: object) -> int:
    """Return the seed of the part of a calculation that `names` name, in [1, 2^31).

    It is the same on every machine and differs from those of other parts. OpenMM takes 0 for
    "choose one yourself", so it is never 0.
    """
    digest = hashlib.sha256("/".join(str(name) for name in (seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") % (2**31 - 1) + 1


@contextmanager
def silence() -> Iterator[None]:
    """Hide all progress bars inside the block."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def is_silent() -> bool:
    """Return whether `silence` hides progress bars now."""
    return _silent.get()


def progress_bar(shown: bool) -> Progress:
    """Return a bar with counts, elapsed time and time left, on the standard error stream."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown or is_silent(),
    )


def track(items: Sequence[Result], description: str, *, shown: bool) -> Iterator[Result]:
    """Yield each of `items`, with a progress bar where `shown`."""
    with progress_bar(shown) as bar:
        yield from bar.track(items, description=description)


def _run_here(
    function: Callable[[Any], Result], task: Any, description: str, on_finished: Callable[[], None]
) -> Result:
    try:
        result = function(task)
    except Exception as error:
        raise _task_error(description, task, error) from error
    on_finished()
    return result


def _run_in_pool(
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    n_processes: int,
    description: str,
    on_finished: Callable[[], None],
) -> list[Result]:
    results: dict[int, Result] = {}
    with _processes(n_processes) as pool:
        futures: dict[Future[Result], int] = {
            pool.submit(function, task): index for index, task in enumerate(tasks)
        }
        for future in as_completed(futures):
            index = futures[future]
            try:
                results[index] = future.result()
            except Exception as error:
                raise _task_error(description, tasks[index], error) from error
            on_finished()
    return [results[index] for index in range(len(tasks))]


@contextmanager
def _processes(n_processes: int) -> Iterator[Executor]:
    """Yield a pool of processes, which is ended at once when the block fails.

    The processes are not forked, for a fork after torch or OpenMM have started threads may hang.
    They live on for the next calculation: each takes seconds to import torch and OpenMM.
    """
    pool = get_reusable_executor(
        n_processes,
        timeout=_IDLE_SECONDS,
        initializer=_prepare_worker,
        initargs=(os.getpid(),),
        env=dict.fromkeys(_THREAD_VARIABLES, "1"),
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _task_error(description: str, task: Any, error: Exception) -> TaskError:
    name = textwrap.shorten(str(task), 200)
    reason = str(error) or type(error).__name__
    if isinstance(error, BrokenExecutor):  # whose own text has ten lines
        reason = "its process was terminated abruptly: killed, or out of memory"
    return TaskError(f"{description}: task {name} failed: {reason}")


def _prepare_worker(parent: int) -> None:
    """Give torch one thread and this process a number, and end it when its parent ends."""
    import torch

    torch.set_num_threads(1)
    number_this_worker()
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
