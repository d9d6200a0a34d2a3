"""Times taken in turn, so that what else the machine does falls on all calls alike."""

import statistics
import time


def median_times(calls, rounds: int, warm_up: int) -> dict[str, float]:
    """Median seconds of each of `calls` by name, over `rounds` after `warm_up` rounds that do not count."""
    times = {name: [] for name in calls}
    for round_number in range(warm_up + rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if round_number >= warm_up:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}
