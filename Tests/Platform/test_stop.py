"""SIGTERM ends a service that has nothing in hand at once, while the others wait at it and it waits at the bus."""

import time

import pytest

from stand import SERVICES, Stand, until

# What is promised. It takes some 20 ms.
STOP_SECONDS = 1
ROUNDS = 3


@pytest.fixture()
def services(tmp_path):
    stand = Stand(tmp_path)
    try:
        stand.start_services()
        yield stand
    finally:
        stand.stop()


def test_an_idle_service_ends_within_a_second(services):
    took = {}
    for _ in range(ROUNDS):
        # The worker's and the index's waits at the bus are open again.
        until("the log is followed", lambda: services.gauge("search", "event_log_reachable") == 1)
        for name in SERVICES:
            begin = time.monotonic()
            services.stop_service(name)
            took.setdefault(name, []).append(time.monotonic() - begin)
            services.start_service(name)
            services.await_ready(name)
    # The machine may have been busy with something else once.
    assert all(sorted(each)[ROUNDS // 2] < STOP_SECONDS for each in took.values()), took
