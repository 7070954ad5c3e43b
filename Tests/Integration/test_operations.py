"""What an operator does: check, start, reload, drain, reopen logs, look at health and metrics."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import threading

import pytest

from harness import names
from harness.attack import ticks
from harness.bound import PATIENCE, until
from harness.gateway import plain, run
from harness.http2 import Client2
from harness.wire import Client, Closed, problem, request, response


def test_the_version_is_told():
    status, out, _ = run("--version")
    assert status == 0
    assert re.search(r"\d+\.\d+\.\d+", out)


def test_check_accepts_a_good_file(tmp_path, upstream):
    file = tmp_path / "good.yaml"
    file.write_text(json.dumps(plain(upstream)))
    assert run("check", str(file))[0] == 0


BROKEN = {
    "an unknown key": ("version: 1\nlisteners: {http: {bind: [\"127.0.0.1:0\"]}}\nrouts: []\n", 3),
    "a duplicate key": ("version: 1\nversion: 1\n", 2),
    "an alias": ("version: &a 1\nworkers: *a\n", 1),
    "text that is no YAML": ("version: 1\nroutes: [\n", None),
    "a route to no service": (
        "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:0\"]}}\nservices: {up: {to: [\"http://127.0.0.1:1\"]}}\n"
        "defaults: {auth: none, limits: []}\nroutes:\n  - {name: a, match: {prefix: /}, to: upp}\n", 6),
    "a route that does not say who may pass": (
        "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:0\"]}}\nservices: {up: {to: [\"http://127.0.0.1:1\"]}}\n"
        "routes:\n  - {name: a, match: {prefix: /}, to: up}\n", 5),
    "a key that is not built yet": (
        "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:0\"]}}\nservices: {up: {to: [\"http://127.0.0.1:1\"]}}\n"
        "defaults: {auth: none, limits: []}\nroutes:\n"
        "  - {name: a, match: {prefix: /}, to: up, cors: {origins: [\"*\"]}}\n", 6),
}


@pytest.mark.parametrize("what", BROKEN)
def test_check_says_where_a_file_is_wrong(tmp_path, what):
    text, line = BROKEN[what]
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    status, out, err = run("check", str(file))
    assert status != 0
    assert re.search(rf"broken\.yaml:{line or '[0-9]+'}:\d+: error: ", out + err), out + err


def test_a_file_that_is_not_there_is_an_error():
    status, out, err = run("check", "/nonexistent/gatehouse.yaml")
    assert status != 0 and "gatehouse.yaml" in out + err


def test_a_port_that_is_taken_is_an_error_at_the_start(tmp_path, upstream):
    """A second gateway must not share the port in silence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = plain(upstream, listeners={"http": {"bind": [f"127.0.0.1:{taken.getsockname()[1]}"]}})
        file = tmp_path / "taken.yaml"
        file.write_text(json.dumps(config))
        status, _, err = run("run", "--config", str(file))
        assert status != 0 and str(taken.getsockname()[1]) in err


def with_route(upstream, name, **change):
    config = plain(upstream, **change)
    config["routes"] = [{"name": name, "match": {"prefix": f"/{name}"}, "to": "up"}]
    return config


def test_a_reload_changes_the_routes_and_keeps_the_connections(gateways, upstream, clients):
    gateway = gateways(with_route(upstream, "one"))
    client = clients(gateway)
    assert client.ask(target="/one").status == 200
    gateway.reload(with_route(upstream, "two"))
    assert client.ask(target="/two").status == 200
    problem(client.ask(target="/one"), "no_route")


def test_a_bad_file_keeps_the_running_configuration_and_says_why(gateways, upstream, clients):
    gateway = gateways(with_route(upstream, "one"))
    client = clients(gateway)
    gateway.write("version: 1\nrouts: []\n")
    event = gateway.reload(good=False)
    assert re.search(r"gatehouse\.yaml:2:1", json.dumps(event) + b"".join(gateway.events.raw).decode())
    assert client.ask(target="/one").status == 200
    gateway.reload(with_route(upstream, "two"))
    assert client.ask(target="/two").status == 200


def test_a_running_exchange_keeps_the_configuration_it_began_with(gateways, upstreams, clients):
    arrived, go_on = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        go_on.wait(PATIENCE)
        wire.send(response(200, body=b"old"))

    other = upstreams(lambda wire, _: wire.send(response(200, body=b"new")) or True)
    config = plain(upstreams(serve=serve), workers=1)
    gateway = gateways(config)
    client = clients(gateway)
    client.send(request())
    assert arrived.wait(PATIENCE)
    config["services"]["up"]["to"] = [f"http://{other.address}"]
    gateway.reload(config)
    assert clients(gateway).ask().body == b"new"
    go_on.set()
    assert client.response().body == b"old"
    assert client.ask().body == b"new"


def test_reloads_under_load_lose_nothing(gateways, upstream):
    """Good and bad files in turn, while clients ask: every answer is right."""
    gateway = gateways(plain(upstream))
    stop, failures, asked = threading.Event(), [], [0, 0, 0, 0]

    def ask(index):
        with Client(gateway.address()) as client:
            while not stop.is_set():
                try:
                    answer = client.ask("POST", body=b"x" * 5000)
                    assert answer.status == 200 and answer.get("connection", "").lower() != "close"
                    asked[index] += 1
                except Exception as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        if number % 4 == 3:
            gateway.write("version: 2\n")
            gateway.reload(good=False)
        else:
            config = plain(upstream)
            config["routes"].append({"name": f"extra-{number}", "match": {"prefix": f"/extra/{number}"}, "to": "up"})
            gateway.reload(config)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert all(count > 0 for count in asked)


def test_sigterm_drains_what_runs_and_exits_0(gateways, upstreams, clients):
    arrived, go_on = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        go_on.wait(PATIENCE)
        wire.send(response(200, body=b"finished"))

    gateway = gateways(plain(upstreams(serve=serve)), options=["--drain-timeout", "20"])
    address = gateway.address()
    client = clients(gateway)
    client.send(request())
    assert arrived.wait(PATIENCE)
    gateway.signal(signal.SIGTERM)

    def refuses():
        try:
            with socket.create_connection(address, 1) as sock:
                sock.settimeout(0.2)
                sock.sendall(request())
                return sock.recv(12)[:12] in (b"", b"HTTP/1.1 503")
        except TimeoutError:
            return False
        except OSError:
            return True

    until(refuses, "new connections are refused")
    go_on.set()
    answer = client.response()
    assert answer.body == b"finished"
    assert answer.get("connection", "").lower() == "close"
    assert gateway.wait() == 0


def test_a_drain_has_an_end(gateways, upstreams, clients):
    """What does not finish in time is cut, and the exit is 0 all the same."""
    arrived = threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        wire.until_close()

    gateway = gateways(plain(upstreams(serve=serve)), options=["--drain-timeout", "1"])
    client = clients(gateway)
    client.send(request())
    assert arrived.wait(PATIENCE)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    with pytest.raises(Closed):
        client.response()
        client.response()


def test_an_idle_gateway_ends_at_once(gateways, upstream):
    gateway = gateways(plain(upstream))
    gateway.signal(signal.SIGTERM)
    assert gateway.wait(10) == 0


def test_an_idle_connection_gets_its_last_answer_during_a_drain(gateways, upstream, clients):
    """An early close loses a request: idle connections are told with their next answer."""
    gateway = gateways(plain(upstream), options=["--drain-timeout", "15"])
    client = clients(gateway)
    assert client.ask().status == 200
    gateway.signal(signal.SIGTERM)
    answer = client.ask()
    assert answer.status == 200
    while answer.get("connection", "").lower() != "close":
        answer = client.ask()
    assert gateway.wait() == 0


def test_an_http_2_connection_is_told_to_go_away_in_two_steps(gateways, upstreams):
    """RFC 9113 §6.8: first a notice with the largest id, then the last stream that was taken."""
    arrived, go_on = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        go_on.wait(PATIENCE)
        wire.send(response(200, body=b"finished"))

    gateway = gateways(plain(upstreams(serve=serve)), options=["--drain-timeout", "20"])
    with Client2(gateway.address()) as client:
        number = client.request()
        assert arrived.wait(PATIENCE)
        gateway.signal(signal.SIGTERM)
        client.until(lambda: client.goaways)
        assert client.goaways[0] == (0, 2**31 - 1)
        go_on.set()
        assert client.answer(number).body == b"finished"
        client.until_closed()
        assert client.goaways[-1] == (0, number)
    assert gateway.wait() == 0


def test_sigusr1_reopens_the_log(gateways, upstream, clients, tmp_path):
    log = tmp_path / "access.log"
    gateway = gateways(plain(upstream, log={"access": {"to": str(log)}}))
    client = clients(gateway)
    first = client.ask().get("x-request-id")
    until(lambda: first in log.read_text(), "the first line")
    moved = tmp_path / "access.log.1"
    log.rename(moved)
    second = client.ask().get("x-request-id")
    until(lambda: second in moved.read_text(), "the line after the rename, still in the old file")
    gateway.signal(signal.SIGUSR1)
    until(log.exists, "a new file")
    third = client.ask().get("x-request-id")
    until(lambda: third in log.read_text(), "the line in the new file")
    assert third not in moved.read_text() and second not in log.read_text()


def get(gateway, path):
    connection = http.client.HTTPConnection(*gateway.address("admin"), timeout=PATIENCE)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.fixture
def admin(gateways, upstream):
    return gateways(plain(upstream, admin={"listen": "127.0.0.1:0"}))


def test_health_and_readiness(admin):
    assert get(admin, "/healthz")[0] == 200
    assert get(admin, "/readyz")[0] == 200
    assert get(admin, "/other")[0] == 404


def test_readiness_ends_with_the_drain_and_says_why(gateways, upstreams, clients):
    arrived, go_on = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        go_on.wait(PATIENCE)
        wire.send(response(200, body=b"x"))

    gateway = gateways(plain(upstreams(serve=serve), admin={"listen": "127.0.0.1:0"}))
    client = clients(gateway)
    client.send(request())
    assert arrived.wait(PATIENCE)
    gateway.signal(signal.SIGTERM)
    status, body = until(lambda: (got := get(gateway, "/readyz"))[0] == 503 and got, "not ready")
    assert status == 503 and "drain" in body
    assert get(gateway, "/healthz")[0] == 200
    go_on.set()
    assert client.response().status == 200
    assert gateway.wait() == 0


def samples(text):
    """Prometheus text (version 0.0.4) as {(name, labels): value}; a line that is none fails."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line)
        assert match, line
        key = (match[1], match[2] or "")
        assert key not in found, f"twice: {line}"
        found[key] = float(match[3])
    return found


def test_metrics_count_exchanges(admin, clients):
    client = clients(admin)
    for _ in range(7):
        client.ask()
    client.ask(target="/%00")

    def counted():
        found = samples(get(admin, "/metrics")[1])
        good = sum(value for (name, labels), value in found.items()
                   if name.startswith("gatehouse_") and "bucket" not in name and 'route="all"' in labels
                   and '200' in labels)
        return good >= 7 and found

    found = until(counted, "seven exchanges in /metrics")
    assert any(f'reason="{reason}"' in labels for _, labels in found for reason in names.kind("bad_request"))
    assert any(name.endswith("_bucket") for name, _ in found)
    assert any("generation" in name for name, _ in found)


def test_metrics_show_the_generation_after_a_reload(admin, upstream):
    def generation():
        found = samples(get(admin, "/metrics")[1])
        return next(value for (name, _), value in found.items() if "generation" in name)

    before = generation()
    admin.reload(plain(upstream, admin={"listen": "127.0.0.1:0"}))
    until(lambda: generation() == before + 1, "the next generation")


def test_metrics_of_ten_thousand_routes_are_told_whole(gateways, upstream, clients, keys_file):
    """18 MB, more than the blocks of the control side hold. Each request is refused at once, and counted for its route."""
    count, step = 10_000, 100
    gateway = gateways(plain(
        upstream, admin={"listen": "127.0.0.1:0"}, log={"access": {"to": "none"}},
        auth={"main": {"jwt": {"issuer": "https://auth.test", "audience": ["api"], "keys": {"file": str(keys_file)}}}},
        defaults={"auth": "main"},
        routes=[{"name": f"route-{number}", "match": {"prefix": f"/{number}"}, "to": "up"} for number in range(count)]))
    client = clients(gateway)
    for start in range(0, count, step):
        client.send(b"".join(request(target=f"/{number}") for number in range(start, start + step)))
        for _ in range(step):
            assert client.response().status == 401
    status, text = get(gateway, "/metrics")
    assert status == 200
    lines = [line for line in text.splitlines() if line.startswith("gatehouse_exchange_duration_seconds_count{")]
    assert len(lines) == count and all(line.endswith(" 1") for line in lines)


def test_an_admin_listener_without_descriptors_does_not_spin(gateways, upstream):
    """More connections of the admin server than there are descriptors: those that wait in the queue wake nobody."""
    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    gateway = gateways(plain(upstream, workers=1, admin={"listen": "127.0.0.1:0"}), prepare=limited)
    folder = f"/proc/{gateway.process.pid}/fd"
    crowd = [socket.create_connection(gateway.address("admin"), PATIENCE) for _ in range(60)]
    until(lambda: len(os.listdir(folder)) == 48, "no descriptor is left")
    start = ticks(gateway.process.pid)
    threading.Event().wait(0.4)
    assert ticks(gateway.process.pid) - start <= 8
    for sock in crowd:
        sock.close()
    assert get(gateway, "/healthz")[0] == 200


def test_the_admin_listener_reads_only(admin):
    connection = http.client.HTTPConnection(*admin.address("admin"), timeout=PATIENCE)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status in (404, 405)
    connection.close()
