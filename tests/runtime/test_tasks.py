"""`run_tasks`: order, failures that name the task, threads; `derive_seed`."""

import os
import time

import pytest
import torch

from openmm_nti.runtime.tasks import TaskError, derive_seed, run_tasks


def square(number):
    if number < 0:
        message = "a square needs no sign"
        raise ValueError(message)
    return number**2


def slow_first(number):
    time.sleep(0.3 if number == 0 else 0)
    return (
        number,
        torch.get_num_threads(),
        os.environ["OMP_NUM_THREADS"],
        os.environ["OPENMM_CPU_THREADS"],
    )


def exit_hard(number):
    if number == 1:
        os._exit(3)
    return number


def test_results_keep_the_order_in_this_process():
    assert run_tasks(square, [3, 1, 2], workers=1, description="squares", progress=False) == [
        9,
        1,
        4,
    ]


def test_processes_keep_the_order_and_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    results = run_tasks(slow_first, [0, 1, 2], workers=2, description="slow", progress=False)
    assert results == [(number, 1, "1", "1") for number in range(3)]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_no_tasks_is_no_work():
    assert run_tasks(square, [], workers=2, description="nothing", progress=False) == []


def test_the_first_failure_names_its_task():
    with pytest.raises(
        TaskError, match="squares: task -4 failed: a square needs no sign"
    ) as caught:
        run_tasks(square, [1, -4], workers=1, description="squares", progress=False)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_process_that_dies_is_reported():
    with pytest.raises(TaskError, match=r"deaths: task \d failed: .*terminated abruptly"):
        run_tasks(exit_hard, [0, 1], workers=2, description="deaths", progress=False)


def test_progress_goes_to_the_error_stream(capsys):
    run_tasks(square, [1, 2], workers=1, description="squares of numbers")
    output = capsys.readouterr()
    assert "squares of numbers" in output.err
    assert "2/2" in output.err
    assert not output.out


def test_no_workers_is_refused():
    with pytest.raises(ValueError, match="workers = 0 must be at least 1"):
        run_tasks(square, [1], workers=0, description="squares")


def test_seeds_differ_by_part_and_stay_the_same_for_ever():
    seeds = {derive_seed(1, "N40", chain, segment) for chain in range(20) for segment in range(20)}
    assert len(seeds) == 400
    assert all(1 <= seed < 2**31 for seed in seeds)
    assert derive_seed(1, "N40", 0) != derive_seed(2, "N40", 0)
    assert derive_seed(1, "N40", 0) == 868154014
