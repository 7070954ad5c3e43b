"""WebSockets with other people's client and server (python3-websockets), through reloads, and what they cost."""

import asyncio
import os
import ssl

import pytest
import websockets

from harness.bound import FULL, PATIENCE, SANITIZER, until
from harness.gateway import merged, plain
from harness.websocket import EchoServer, echo_bytes, handshake, opens

CONNECTIONS = 1000 if FULL else 50
RELOADS = 20
HELD = 1000 if FULL else 150
MEGABYTE = 1 << 20


@pytest.fixture
def echo():
    made = []

    def make(**options):
        made.append(EchoServer(**options))
        return made[-1]

    yield make
    for server in made:
        server.close()


def many(upstream, **change):
    """A configuration that a thousand connections of one address fit."""
    base = plain(upstream, **change)
    for listener in base["listeners"].values():
        listener["connections"] = {"per_client": 5000}
    return base


def connect(gateway, path="/ws", **options):
    host, port = gateway.address()
    scheme = "wss" if options.get("ssl") else "ws"
    return websockets.connect(
        f"{scheme}://{host}:{port}{path}", max_size=None, ping_interval=None, open_timeout=PATIENCE * 3, **options)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE * 30))


def test_messages_pings_and_a_megabyte_go_through(gateways, echo):
    gateway = gateways(plain(echo()))

    async def talk():
        async with connect(gateway) as socket:
            for message in ("hello", "grüße", b"\x00\xff", "", "x" * 125, "x" * 126, "y" * 65536, os.urandom(MEGABYTE)):
                await socket.send(message)
                assert await socket.recv() == message
            await asyncio.wait_for(await socket.ping(b"are you there"), PATIENCE)
        assert socket.close_code == 1000
    run(talk())


def test_compression_is_agreed_on_end_to_end(gateways, echo):
    gateway = gateways(plain(echo(compression="deflate")))

    async def talk():
        async with connect(gateway, compression="deflate") as socket:
            assert [extension.name for extension in socket.extensions] == ["permessage-deflate"]
            await socket.send("again and " * 100_000)
            assert await socket.recv() == "again and " * 100_000
    run(talk())
    # Compressed by the client and the server, and untouched in between.
    line = gateway.access_line(status=101)
    assert line["bytes_in"] < 100_000


def test_close_codes_pass_both_ways(gateways, echo):
    server = echo()
    gateway = gateways(plain(server))

    async def talk():
        async with connect(gateway) as socket:
            await socket.close(4001, "mine")
        async with connect(gateway) as socket:
            await socket.send("close me")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as asked")
    run(talk())
    until(lambda: len(server.closes) == 2, "both closes at the server")
    assert server.closes[0] == (4001, "mine")
    until(lambda: len([line for line in gateway.access.all if line.get("status") == 101]) == 2, "two lines")
    assert {line.get("reason") for line in gateway.access.all} <= {None, ""}


def test_subprotocols_and_refusals_of_the_library(gateways, echo):
    server = echo(subprotocols=["chat"], origins=["https://app.example.com"])
    gateway = gateways(plain(server))

    async def talk():
        async with connect(gateway, subprotocols=["chat", "other"], origin="https://app.example.com") as socket:
            assert socket.subprotocol == "chat"
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            async with connect(gateway, origin="https://evil.example.com"):
                pass
        assert refused.value.status_code == 403
    run(talk())


def test_over_tls(gateways, echo, certificate):
    gateway = gateways(merged(plain(echo()), {"listeners": {
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}}))

    async def talk():
        trust = ssl.create_default_context(cafile=str(certificate.ca))
        async with connect(gateway, ssl=trust, server_hostname="localhost") as socket:
            message = os.urandom(MEGABYTE)
            await socket.send(message)
            assert await socket.recv() == message
        assert socket.close_code == 1000
    run(talk())
    line = gateway.access_line(status=101)
    assert "1.3" in line["tls"] and line["bytes_in"] > MEGABYTE and line["bytes_out"] > MEGABYTE


@pytest.mark.bound(300)
def test_none_is_dropped_when_all_echo_a_megabyte_through_reloads(gateways, echo):
    """Acceptance 4: every connection opens before the first reload and echoes on through all of them."""
    server = echo()
    gateway = gateways(many(server, limits_of_http={"websocket_idle_timeout": "10m"}))
    # Not the last of a connection's megabyte before the last reload: in as many pieces.
    piece = MEGABYTE // RELOADS + 1
    message = os.urandom(piece)
    done = []

    async def one(opened, turns):
        async with connect(gateway) as socket:
            opened.release()
            for turn in turns:
                await turn.wait()
                await socket.send(message)
                assert await socket.recv() == message
        assert socket.close_code == 1000
        done.append(piece * RELOADS)

    async def all_of_them():
        opened = asyncio.Semaphore(0)
        turns = [asyncio.Event() for _ in range(RELOADS)]
        tasks = [asyncio.create_task(one(opened, turns)) for _ in range(CONNECTIONS)]
        for _ in range(CONNECTIONS):
            await opened.acquire()
        for turn in turns:
            # The reload comes while the pieces of this turn are under way.
            turn.set()
            await asyncio.sleep(0)
            await asyncio.to_thread(gateway.reload)
        await asyncio.gather(*tasks)

    run(all_of_them())
    assert len(done) == CONNECTIONS and min(done) >= MEGABYTE
    assert server.connections == CONNECTIONS
    assert {code for code, _ in server.closes} <= {1000}
    until(lambda: len([line for line in gateway.access.all if line.get("status") == 101]) == CONNECTIONS, "all lines")
    for line in gateway.access.all:
        assert line.get("reason") in (None, "") and line["bytes_in"] >= MEGABYTE <= line["bytes_out"]


@pytest.mark.bound(300)
@pytest.mark.unsanitized
def test_reloads_with_a_tunnel_held_open_from_each_leave_memory_flat(gateways, upstreams, clients):
    """A tunnel pins no snapshot: what stays of a reload is the tunnel, which is small, and nothing of the configuration."""
    upstream = upstreams(opens(echo_bytes))
    # Routes that would be seen if they stayed: a snapshot of them is some hundred KiB for each worker.
    routes = [{"name": f"r{index}", "match": {"prefix": f"/r{index}"}, "to": "up"} for index in range(400)]
    routes.append({"name": "all", "match": {"prefix": "/"}, "to": "up"})
    # Of two workers, since one has less than a thousand connections for one service.
    config = many(upstream, workers=2, routes=routes, log={"access": {"to": "none"}})
    gateway = gateways(config)
    held = []

    def hold(count):
        for _ in range(count):
            client = clients(gateway)
            client.send(handshake())
            assert client.head().status == 101
            held.append(client)
            gateway.reload()

    # Allocator and page cache settle.
    hold(20)
    before = gateway.resident_bytes()
    hold(HELD)
    grown = gateway.resident_bytes() - before
    # Each held tunnel: two connections, an exchange and its note. A pinned snapshot would be over 100 KiB a reload.
    assert SANITIZER or grown / HELD < 16 * 1024, f"{grown / HELD:.0f} bytes a reload with a tunnel"
    for client in held[:: max(len(held) // 20, 1)]:
        client.send(b"still open")
        assert client.exactly(10) == b"still open"
