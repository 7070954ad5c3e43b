"""Listening sockets: what each takes, and where it stands."""

import json
import re
import resource
import socket
import tempfile
import urllib.request
from pathlib import Path

import pytest

from harness.bound import PATIENCE, until
from harness.gateway import plain, run
from harness.http2 import Client2
from harness.wire import Client, Closed, problem


def is_served(address):
    """A connection that is kept open, `None` where it was refused."""
    client = Client(address)
    try:
        if client.ask().status == 200:
            return client
    except (Closed, BrokenPipeError, ConnectionResetError):
        pass
    client.close()
    return None


def listening(upstream, **most):
    listeners = {name: {"bind": ["127.0.0.1:0"], "connections": {"max": count}} for name, count in most.items()}
    return plain(upstream, listeners={"http": None, **listeners})


def test_each_listener_has_connections_of_its_own(gateways, upstream):
    """`max` holds over all workers, and what one listener has used up is not taken from another."""
    gateway = gateways(listening(upstream, small=3, large=5))
    small, large = gateway.address("small"), gateway.address("large")
    held = [is_served(small) for _ in range(3)]
    assert all(held) and is_served(small) is None
    others = [is_served(large) for _ in range(5)]
    assert all(others) and is_served(large) is None and is_served(small) is None
    held.pop().close()
    held.append(until(lambda: is_served(small), "a closed connection makes room"))
    assert is_served(large) is None
    for client in held + others:
        client.close()


def test_a_listener_that_does_not_say_takes_what_the_others_leave(gateways, upstream):
    """Of 96 that 256 descriptors allow, 40 are promised: whoever fills the other listener leaves them alone."""
    config = listening(upstream, counted=40)
    config["listeners"]["silent"] = {"bind": ["127.0.0.1:0"]}
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    gateway = gateways(config, prepare=limit)
    crowd = []
    while (client := is_served(gateway.address("silent"))) is not None:
        crowd.append(client)
    assert len(crowd) == 56
    held = [is_served(gateway.address("counted")) for _ in range(40)]
    assert all(held) and is_served(gateway.address("counted")) is None
    for client in crowd + held:
        client.close()


def test_a_reload_changes_what_a_listener_takes(gateways, upstream):
    gateway = gateways(listening(upstream, small=2, large=6))
    held = [is_served(gateway.address("small")) for _ in range(2)]
    assert all(held) and is_served(gateway.address("small")) is None
    gateway.reload(listening(upstream, small=4, large=4))
    held += [is_served(gateway.address("small")) for _ in range(2)]
    assert all(held) and is_served(gateway.address("small")) is None
    # Fewer than are open: those stay, new ones wait for as many to go.
    gateway.reload(listening(upstream, small=1, large=4))
    assert all(client.ask().status == 200 for client in held)
    for client in held[1:]:
        client.close()
        assert is_served(gateway.address("small")) is None
    held[0].close()
    until(lambda: (client := is_served(gateway.address("small"))) and (client.close() or True), "room again")


def test_more_than_was_settled_at_the_start_needs_a_restart(gateways, upstream):
    gateway = gateways(listening(upstream, small=2, large=2))
    gateway.reload(listening(upstream, small=3, large=2))
    assert "connections.max" in gateway.event("needs_restart")["keys"]


# MARK: Sockets in the file system


@pytest.fixture
def folder():
    """A path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        yield Path(name)


def at(upstream, *paths, **change):
    return plain(upstream, **{"listeners": {"http": None, "local": {"bind": [f"unix:{path}" for path in paths]}}, **change})


def forwarded(answer):
    return {name.lower(): value for name, value in answer.json()["fields"]}


def test_a_socket_in_the_file_system(gateways, upstream, folder):
    gateway = gateways(at(upstream, folder / "s", client_address={"trusted_proxies": ["0.0.0.0/0", "::/0"]}))
    assert gateway.addresses["local"] == f"unix:{folder}/s"
    assert (folder / "s").stat().st_mode & 0o777 == 0o666
    with Client(folder / "s") as client:
        # Its peer has no address, and so is in no range of trusted ones, however wide.
        answer = client.ask(fields=[("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "for=9.9.9.9")])
        assert forwarded(answer)["x-forwarded-for"] == "unknown"
        assert forwarded(answer)["forwarded"].startswith("for=unknown;proto=http")
        line = gateway.access_line(answer.get("x-request-id"))
        assert line["client"] == "unix" and "client_port" not in line
    with Client2(folder / "s") as client:
        assert client.ask().status == 200
    gateway.stop()
    assert not (folder / "s").exists()


def test_all_workers_share_it_and_each_connection_is_served_once(gateways, upstream, folder):
    gateway = gateways(at(upstream, folder / "s", workers=4))
    held = [Client(folder / "s") for _ in range(200)]
    answers = [client.ask().get("x-request-id") for client in held]
    assert len(set(answers)) == 200
    for client in held:
        client.close()
    assert gateway.process.poll() is None


def test_with_tls(gateways, upstream, certificate, folder):
    config = at(upstream, folder / "s")
    config["listeners"]["local"]["tls"] = certificate.settings()
    gateways(config)
    with Client(folder / "s", tls=certificate.client("http/1.1")) as client:
        assert forwarded(client.ask())["x-forwarded-proto"] == "https"


def test_a_dead_socket_is_replaced_and_a_live_one_is_an_error(gateways, upstream, folder, tmp_path):
    path = folder / "s"
    first = gateways(at(upstream, path))
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps(at(upstream, path)))
    status, _, errors = run("run", "--config", str(other))
    assert status != 0 and f"cannot listen at unix:{path}" in errors and "is another gateway running?" in errors, errors
    with Client(path) as client:
        assert client.ask().status == 200
    # Killed, it leaves the file behind.
    first.process.kill()
    first.process.wait()
    first.process.returncode = 0
    assert path.exists()
    gateways(at(upstream, path))
    with Client(path) as client:
        assert client.ask().status == 200


def test_a_file_that_is_no_socket_stays(upstream, folder, tmp_path):
    path = folder / "s"
    path.write_text("precious")
    file = tmp_path / "gatehouse.yaml"
    file.write_text(json.dumps(at(upstream, path)))
    status, _, errors = run("run", "--config", str(file))
    assert status != 0 and "what stands there is no socket" in errors, errors
    assert path.read_text() == "precious"


def test_a_reload_opens_and_removes_sockets(gateways, upstream, folder):
    gateway = gateways(at(upstream, folder / "a"))
    with Client(folder / "a") as old:
        assert old.ask().status == 200
        gateway.reload(at(upstream, folder / "a", folder / "b"))
        assert is_served(folder / "b") and is_served(folder / "a")
        gateway.reload(at(upstream, folder / "b"))
        until(lambda: not (folder / "a").exists(), "the file of a removed address goes")
        # What was accepted through it goes on.
        assert old.ask().status == 200
    assert is_served(folder / "b")
    gateway.reload(at(upstream, folder / "a", folder / "b"))
    assert is_served(folder / "a")


def test_a_socket_that_systemd_hands_over(gateways, upstream, folder):
    """sd_listen_fds(3): descriptors from 3 on, named, for this process alone."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = plain(upstream, listeners={"http": {"bind": ["systemd:web"]}})
    gateway = gateways(config, handed_over=[("other", socket.create_server(("127.0.0.1", 0))), ("web", listener)])
    with Client(listener.getsockname()) as client:
        assert client.ask().status == 200
    # Left out and named again: it stays open for as long as the process lives.
    gateway.reload(plain(upstream))
    gateway.reload(config)
    with Client(listener.getsockname()) as client:
        assert client.ask().status == 200


def test_what_systemd_did_not_hand_over_is_an_error(upstream, tmp_path):
    file = tmp_path / "gatehouse.yaml"
    file.write_text(json.dumps(plain(upstream, listeners={"http": {"bind": ["systemd:web"]}})))
    status, _, errors = run("run", "--config", str(file))
    assert status != 0 and "systemd has handed over no socket of this name" in errors, errors


# MARK: Services behind sockets in the file system


def test_a_service_behind_a_socket_in_the_file_system(gateways, upstreams, clients, folder):
    service = upstreams(path=folder / "up")
    config = plain(service)
    config["services"] = {"up": {"to": [f"unix:{folder}/up"]}}
    gateway = gateways(config)
    client = clients(gateway)
    for _ in range(3):
        answer = client.ask("POST", body=b"x" * 100_000)
        assert answer.json()["length"] == 100_000 and forwarded(answer)["host"] == "localhost"
    assert service.connections == 1
    assert gateway.access_line(answer.get("x-request-id"))["endpoint"] == f"unix:{folder}/up"
    config["routes"][0]["preserve_host"] = True
    gateway.reload(config)
    assert forwarded(client.ask())["host"] == "gate.test"
    with Client2(gateway.address()) as http2:
        assert forwarded(http2.ask())["host"] == "gate.test"


def test_a_service_whose_socket_is_missing_or_dead_is_502(gateways, upstreams, clients, folder):
    config = plain(upstreams())
    config["services"] = {"up": {"to": [f"unix:{folder}/none"]}}
    client = clients(gateways(config))
    problem(client.ask(), "upstream_connect")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "none"))
    dead.close()
    problem(client.ask(), "upstream_connect")


def test_another_address_takes_over(gateways, upstreams, clients, folder):
    service = upstreams()
    config = plain(service)
    config["services"] = {"up": {"to": [f"unix:{folder}/none", f"http://{service.address}"], "balance": "round-robin"}}
    client = clients(gateways(config))
    assert [client.ask().status for _ in range(6)] == [200] * 6


def by_worker(gateway, name):
    """What /metrics says of each worker."""
    with urllib.request.urlopen(gateway.url("/metrics", "admin"), timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return [int(value) for value in re.findall(rf'^{name}{{worker="\d+"}} (\d+)$', text, re.MULTILINE)]


@pytest.mark.parametrize("come", ["one after the other", "all at once"])
def test_no_worker_has_more_than_its_share_of_long_connections(gateways, upstream, come):
    """Of 16 connections of HTTP/2 neither of two workers does more than 60% of the requests, wherever the kernel's hash puts
    them: by that alone every second such crowd would be divided worse."""
    gateway = gateways(plain(upstream, admin={"listen": "127.0.0.1:0"}))
    exchanges, connections = "gatehouse_worker_exchanges_total", "gatehouse_worker_connections_open"
    for crowd in range(1, 9):
        before = by_worker(gateway, exchanges)
        clients = []
        for _ in range(16):
            clients.append(Client2(gateway.address("http")))
            if come == "one after the other":
                clients[-1].ask()
        for client in clients:
            while len(client.streams) < 4:
                assert client.ask().status == 200
        until(lambda: sum(by_worker(gateway, exchanges)) == crowd * 64, "every exchange is counted")
        done = [now - then for now, then in zip(by_worker(gateway, exchanges), before)]
        assert len(done) == 2 and max(done) <= 0.6 * sum(done), done
        assert by_worker(gateway, connections) == [count // 4 for count in done]
        for client in clients:
            client.close()
        until(lambda: by_worker(gateway, connections) == [0, 0], "every connection is closed")
