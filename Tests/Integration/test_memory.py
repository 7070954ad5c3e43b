"""Memory: what a request takes it gives back (acceptance 5, the proof at run time, seen from outside)."""

import http.client
import re

import pytest

from harness.bound import FULL, PATIENCE
from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import request, response

WARM = 10_000 if FULL else 2_000
COUNTED = 50_000 if FULL else 10_000
SLACK = 64 * 1024
# The log's queue is memory that is touched for the first time as lines come, up to its size.
QUIET = {"access": {"to": "none"}}


def answer(wire, _):
    wire.send(response(200, body=b"x" * 128))
    return True


def heap_bytes(gateway):
    """Resident memory that is the process's own: no file, no shared table."""
    total = 0
    with open(f"/proc/{gateway.process.pid}/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            if line.startswith(("Private_Dirty:",)):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.bound(300)
@pytest.mark.unsanitized
def test_warm_requests_leave_no_memory_behind(gateways, upstreams, clients):
    gateway = gateways(plain(upstreams(answer), workers=1, log=QUIET))
    client = clients(gateway)

    def ask(count):
        # In tens: one write and ten answers keep the test short, and pipelining is part of what is proved.
        ten = request(target="/x", fields=[("X-Some", "field")]) * 10
        for _ in range(count // 10):
            client.send(ten)
            for _ in range(10):
                assert client.response().status == 200

    ask(WARM)
    before = heap_bytes(gateway)
    ask(COUNTED)
    assert heap_bytes(gateway) - before <= SLACK


@pytest.mark.bound(300)
@pytest.mark.unsanitized
def test_connections_that_come_and_go_leave_no_memory_behind(gateways, upstreams, clients):
    gateway = gateways(plain(upstreams(answer), workers=1, log=QUIET))

    def visit(count):
        for number in range(count):
            if number % 2:
                with Client2(gateway.address()) as client:
                    assert client.ask().status == 200
            else:
                client = clients(gateway)
                assert client.ask().status == 200
                client.close()

    visit(WARM // 5)
    before = heap_bytes(gateway)
    visit(COUNTED // 10)
    # A connection that stayed would be some KiB: a thousand of them could not hide in this.
    assert heap_bytes(gateway) - before <= 8 * SLACK


def allocated_bytes(gateway):
    """What the allocator (jemalloc) counts as allocated and not freed, in the whole process."""
    connection = http.client.HTTPConnection(*gateway.address("admin"), timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(re.search(r"^gatehouse_memory_allocated_bytes (\d+)$", text, re.MULTILINE).group(1))


@pytest.mark.bound(300)
@pytest.mark.unsanitized
def test_ten_thousand_warm_requests_allocate_nothing_that_stays(gateways, upstreams, clients):
    """Over the whole process: less than a tenth of a byte a request, which is what one look at the figures may keep."""
    gateway = gateways(plain(upstreams(answer), workers=1, log=QUIET, admin={"listen": "127.0.0.1:0"}))
    client = clients(gateway)

    def ask(count):
        ten = request(target="/x", fields=[("X-Some", "field")]) * 10
        for _ in range(count // 10):
            client.send(ten)
            for _ in range(10):
                assert client.response().status == 200

    ask(WARM)
    for _ in range(3):
        allocated_bytes(gateway)
    before = allocated_bytes(gateway)
    ask(10_000)
    assert allocated_bytes(gateway) - before <= 1000
