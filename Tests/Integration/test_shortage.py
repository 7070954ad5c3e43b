"""Blocks run short: those who take nothing hold nearly all of them, and everybody else is still heard."""

import contextlib
import socket
import threading
import time

import pytest

from harness import crowd
from harness.bound import PATIENCE
from harness.gateway import plain
from harness.http2 import Client2
from harness.websocket import handshake, switching
from harness.wire import Client, Closed, response

pytestmark = pytest.mark.unsanitized
# Well under the 20 s and more after which those who take nothing are given up.
SOON = 10


def narrow(upstream, workers=1, budget="24MiB", **http):
    config = plain(upstream, workers=workers, log={"access": {"to": "none"}}, memory={"budget": budget},
                   limits_of_http=http)
    config["listeners"]["http"]["connections"] = {"per_client": 100_000}
    return config


def serve(wire, asked):
    """`/big` is more than anybody's socket holds; `/socket` sends without end through a tunnel."""
    if asked.target == "/socket":
        wire.send(switching(asked.get("sec-websocket-key")))
        with contextlib.suppress(OSError):
            while True:
                wire.send(b"y" * 65536)
        return False
    wire.send(response(200, body=b"x" * (4 << 20 if asked.target == "/big" else 128)))
    return True


@pytest.fixture
def readers(gateways):
    """Begins connections that send something and take nothing."""
    made = []

    def begin(gateway, sent, count=1):
        for _ in range(count):
            sock = socket.socket()
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(PATIENCE)
            sock.connect(gateway.address("http"))
            sock.sendall(sent)
        # Twice as many as hold all blocks; the oldest were given up long ago.
        while len(made) > 320:
            made.pop(0).close()

    yield begin
    for sock in made:
        sock.close()


BIG = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"


def asked(gateway):
    """The status that a new client gets, soon: 200 or 503, as blocks come and go; 0 where the budget is used up besides."""
    began = time.monotonic()
    with Client(gateway.address("http")) as client:
        try:
            status = client.ask().status
        except (Closed, OSError):
            status = 0
    assert time.monotonic() - began < SOON and status in (200, 503, 0)
    return status


def fill(gateway, readers, sent=BIG):
    for _ in range(75):
        readers(gateway, sent, 8)
        if asked(gateway) != 200:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the blocks do not run short")


@pytest.mark.parametrize("sent", [BIG, handshake("/socket")], ids=["answers", "tunnels"])
def test_a_new_client_is_told_at_once(gateways, upstreams, readers, sent):
    gateway = gateways(narrow(upstreams(serve, backlog=2048), min_body_rate="none"))
    fill(gateway, readers, sent)
    for _ in range(8):
        readers(gateway, sent, 2)
        asked(gateway)


def test_a_client_of_http2_with_a_stream_open_is_told_too(gateways, upstreams, readers):
    late = threading.Event()

    def hold(wire, request):
        if request.target == "/hold":
            assert late.wait(PATIENCE)
        return serve(wire, request)

    gateway = gateways(narrow(upstreams(hold, backlog=2048), min_body_rate="none"))
    with Client2(gateway.address()) as client:
        first = client.request(path="/hold")
        client.until(lambda: client.settings is not None)
        fill(gateway, readers)
        began = time.monotonic()
        assert client.ask().status in (200, 503)
        assert time.monotonic() - began < SOON
        late.set()
        # Short, and begun before.
        assert client.answer(first).status == 200
        assert time.monotonic() - began < SOON


def test_an_upload_that_waits_for_blocks_is_not_called_slow(gateways, upstreams, readers):
    """It sends all the time; for three times its timeout the gateway has hardly a block to read that into. Those who take
    nothing are cut by the same timeout: it is long enough for them to fill all blocks on a machine that is busy."""
    gateway = gateways(narrow(upstreams(serve, backlog=2048), min_body_rate="none", body_idle_timeout="3s"))
    with Client(gateway.address("http")) as upload:
        upload.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        is_over = threading.Event()

        def drip():
            while not is_over.wait(0.05):
                upload.send(b"5\r\nhello\r\n")

        sender = threading.Thread(target=drip)
        sender.start()
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                # Others come in the place of those who were cut.
                fill(gateway, readers)
        finally:
            is_over.set()
            sender.join()
        upload.send(b"0\r\n\r\n")
        assert upload.response().status == 200


def test_a_small_budget_of_many_workers_leaves_most_blocks_for_work(gateways, upstreams, readers):
    """64 blocks each, which is the least."""
    gateway = gateways(narrow(upstreams(serve, backlog=2048), workers=8, budget="16MiB", min_body_rate="none"))
    readers(gateway, BIG, 16)
    threading.Event().wait(0.5)
    assert [asked(gateway) for _ in range(16)].count(200) >= 12
