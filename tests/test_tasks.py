import os
import time

import numpy
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import modularity.tasks
from mlp import InputError
from modularity.tasks import mapped, on_one_core


def slow_square(number, wait):
    time.sleep(wait)
    return number**2, os.getpid()


def counted(steps, advance):
    for _ in range(steps):
        advance()
    return 10 * steps


def refusing(number):
    if number == 2:
        raise InputError("two: choose another")
    return number


def threads():
    numpy.ones((50, 50)) @ numpy.ones((50, 50))
    return torch.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]


def rotated(seed):
    """Sums whose last bits depend on their order."""
    matrix = torch.randn(300, 300, generator=torch.Generator().manual_seed(seed))
    return (matrix @ matrix @ matrix).sum().item()


@pytest.fixture(params=[1, 2], ids=["here", "two processes"])
def jobs(request, monkeypatch):
    """On a machine that says it has two cores."""
    monkeypatch.setattr(modularity.tasks, "cpu_count", lambda: 2)
    return request.param


@pytest.fixture
def bars(monkeypatch):
    made, original = [], modularity.tasks.tqdm

    def bar(**options):
        made.append(original(**options))
        return made[-1]

    monkeypatch.setattr(modularity.tasks, "tqdm", bar)
    return made


def test_results_come_in_the_order_of_the_tasks(jobs, bars):
    """Though the first takes the longest.  One job is this process, and two are others."""
    tasks = [(number, 0.4 if number == 0 else 0) for number in range(6)]
    squares, processes = zip(*mapped(slow_square, iter(tasks), jobs, "squares"))
    assert squares == (0, 1, 4, 9, 16, 25)
    assert (os.getpid() in processes) == (jobs == 1)
    assert [(bar.n, bar.total, bar.desc) for bar in bars] == [(6, 6, "squares")]


def test_the_number_of_jobs_changes_no_bit(monkeypatch):
    monkeypatch.setattr(modularity.tasks, "cpu_count", lambda: 2)
    tasks = [(seed,) for seed in range(4)]
    here, apart = (list(mapped(rotated, tasks, jobs, "sums")) for jobs in (1, 2))
    assert here == apart == [on_one_core(rotated, seed) for seed in range(4)]


def test_a_bar_counts_the_steps_of_tasks(jobs, bars):
    assert list(mapped(counted, [(3,), (0,), (5,)], jobs, "steps", "epoch", [3, 0, 5])) == [30, 0, 50]
    assert [(bar.n, bar.total, bar.unit) for bar in bars] == [(8, 8, "epoch")]


def test_each_task_has_one_thread(jobs):
    """And what calls it has as many as before, also if it fails."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2):
            pools = [pool["num_threads"] for pool in threadpool_info()]
            for of_torch, of_pools in mapped(threads, [()] * 2, jobs, "threads"):
                assert of_torch == 1
                assert of_pools and set(of_pools) == {1}
            with pytest.raises(InputError):
                on_one_core(refusing, 2)
            assert [pool["num_threads"] for pool in threadpool_info()] == pools
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_tasks_have_no_results(jobs):
    assert list(mapped(refusing, [], jobs, "nothing")) == []
    assert list(mapped(counted, [], jobs, "nothing", "epoch", [])) == []


def test_a_refusal_in_a_task_is_one_here(jobs):
    found = mapped(refusing, [(number,) for number in range(4)], jobs, "refusals")
    with pytest.raises(InputError, match="^two: choose another$"):
        list(found)
