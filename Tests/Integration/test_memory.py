"""Memory: what a request takes it gives back (acceptance 5, the proof at run time, seen from outside)."""

import contextlib
import http.client
import re
import select
import socket
import time

import pytest

from harness import crowd
from harness.bound import FULL, PATIENCE, until
from harness.gateway import plain
from harness.http2 import Client2, Stream
from harness.http2 import problem as problem2
from harness.upstream2 import Upstream2
from harness.wire import Client, request, response

WARM = 10_000 if FULL else 2_000
COUNTED = 50_000 if FULL else 10_000
SLACK = 64 * 1024
# The log's queue is memory that is touched for the first time as lines come, up to its size.
HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "gate.test"), (":path", "/")]
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


@pytest.mark.unsanitized
def test_without_blocks_new_exchanges_are_refused_and_later_ones_served(gateways, clients):
    """Half of the budget is for blocks: 3,840 of them. Each request that waits holds one; whoever comes when hardly any are
    left is told so at once, and not when the others have given up."""
    greeted = False
    service = Upstream2(greets=lambda number: greeted)
    config = plain(service, workers=1, memory={"budget": "120MiB"}, admin={"listen": "127.0.0.1:0"})
    config["services"]["up"]["to"] = [f"h2c://{service.address}"]
    config["routes"][0]["timeouts"] = {"connect": "60s"}
    gateway = gateways(config)
    crowd = {}
    # All but the last leave it 40 blocks.
    for _ in range(39):
        client = Client2(gateway.address())
        crowd[client.socket] = client
        client.until(lambda: client.settings is not None)
        # All in one piece: what was read is looked at, whatever blocks are left.
        for number in range(1, 200, 2):
            client.streams[number] = Stream()
            client.connection.send_headers(number, HEAD, end_stream=True)
        client.flush()
    began = time.monotonic()
    shed = []

    def look():
        for sock in select.select(list(crowd), [], [], 0.05)[0]:
            crowd[sock].pump()
            shed.extend(stream for stream in crowd[sock].streams.values() if stream.is_ended)
        return shed
    until(look, "an answer to one of them")
    assert time.monotonic() - began < 30, "only when the others had given up"
    # 3,900 ask for 3,840 blocks, of which 48 are not for them; the rest is what connections read with meanwhile.
    assert len(shed) < 160
    for stream in shed:
        problem2(stream, "overloaded")
        assert stream.get("retry-after") == "1"
    assert gateway.access_line(reason="overloaded")
    for client in crowd.values():
        client.close()
    greeted = True
    for sock in service.ungreeted:
        sock.shutdown(socket.SHUT_RDWR)
    client = clients(gateway)
    until(lambda: client.ask().status == 200, "a request is served")
    service.close()


@pytest.mark.unsanitized
def test_a_shortage_ends_with_those_who_made_it(gateways, upstream, certificate):
    """What the workers make at the start and keep for later is not held against a small budget: it takes clients to fill it,
    and when they have gone there is room again."""
    gateway = gateways(plain(upstream, workers=1, memory={"budget": "16MiB"}, listeners={"secure": {
        "bind": ["127.0.0.1:0"], "connections": {"per_client": 100_000}, "tls": certificate.settings()}}))

    def status():
        with contextlib.closing(Client(gateway.address("http"))) as client:
            return client.ask().status

    sockets = crowd.fill(gateway.address("secure"), certificate.client(), lambda: status() == 503)
    assert len(sockets) > 300
    for sock in sockets:
        sock.close()
    until(lambda: status() == 200, "an answer of the service")
