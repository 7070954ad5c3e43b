"""One JSON line an exchange: what it says, and what it must never say."""

import datetime
import http.client
import json
import signal

from harness import names
from harness.bound import PATIENCE, until
from harness.gateway import plain
from harness.wire import problem, request, response


def test_a_line_says_what_happened(gateway, client, upstream):
    answer = client.ask("POST", "/a/b?secret=1", [("X-A", "1")], b"x" * 1000)
    line = gateway.access_line(answer.get("x-request-id"))
    assert names.ACCESS_FIELDS - {"reason", "tls", "subject", "endpoint"} <= set(line), line
    assert (line["method"], line["host"], line["path"], line["route"], line["service"], line["status"]) == (
        "POST", "gate.test", "/a/b", "all", "up", 200)
    assert line["client"] == "127.0.0.1"
    assert line["endpoint"].endswith(upstream.address)
    assert line["bytes_in"] >= 1000 and line["bytes_out"] >= len(answer.body)
    assert line["duration_us"] > 0
    assert line["protocol"].lower() in ("http/1.1", "h1", "http1")
    stamp = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - stamp).total_seconds()) < 120


def test_no_query_no_token_no_cookie_is_logged(gateway, client):
    answer = client.ask(target="/a?password=hunter2",
                        fields=[("Authorization", "Bearer hunter2"), ("Cookie", "hunter2")])
    gateway.access_line(answer.get("x-request-id"))
    assert b"hunter2" not in b"".join(gateway.access.raw) + b"".join(gateway.events.raw)


def test_what_a_client_sends_cannot_break_a_line(gateway, client):
    """Quotes, control bytes and invalid UTF-8 are escaped: one exchange, one line of JSON, whatever the bytes."""
    marker = "%22%0a%0d%1b%ff%7b"
    answer = client.ask(target=f"/q{marker}", host='gate.test')
    line = gateway.access_line(answer.get("x-request-id"))
    assert line["path"].startswith("/q%22%0A%0D%1B%FF")
    client.send(b"G\x80T /\xff\"\x0b HTTP/1.1\r\nHost: \"\xfe\r\n\r\n")
    said = problem(client.response(), "bad_request")
    gateway.access_line(said["request_id"])
    for raw in gateway.access.raw:
        json.loads(raw.decode("utf-8"))


def test_a_refused_head_has_its_line_too(gateway, client):
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    said = problem(client.response(), "bad_request")
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"], line["client"]) == (400, said["reason"], "127.0.0.1")


def test_a_route_can_be_silent(gateways, upstream, clients):
    config = plain(upstream)
    config["routes"].append({"name": "quiet", "match": {"prefix": "/quiet"}, "to": "up", "log": "none"})
    gateway = gateways(config)
    client = clients(gateway)
    quiet = client.ask(target="/quiet").get("x-request-id")
    loud = client.ask(target="/loud").get("x-request-id")
    gateway.access_line(loud)
    assert quiet.encode() not in b"".join(gateway.access.raw)


def test_every_exchange_has_exactly_one_line(gateways, upstreams, clients):
    def answer(wire, request_):
        wire.send(response(200, body=b"x"))
        return True

    gateway = gateways(plain(upstreams(answer)))
    connections = [clients(gateway) for _ in range(8)]
    for number in range(100):
        for client in connections:
            client.send(request(target=f"/{number}"))
        ids = [client.response().get("x-request-id") for client in connections]
    for request_id in ids:
        gateway.access_line(request_id)
    gateway.stop()
    lines = gateway.access.all
    assert len(lines) == 800
    assert len({line["request_id"] for line in lines}) == 800


def test_the_tls_version_is_logged(gateways, upstream, certificate):
    from harness.wire import Client
    gateway = gateways(plain(upstream, listeners={
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}))
    with Client(gateway.address(), tls=certificate.client("http/1.1")) as client:
        line = gateway.access_line(client.ask().get("x-request-id"))
    assert "1.3" in line["tls"]


def test_a_disk_that_is_full_is_told_once_and_its_lines_are_counted(gateways, upstream, clients, tmp_path):
    """`/dev/full` fails each write; behind the link stands a file later on."""
    link, file, count = tmp_path / "access.log", tmp_path / "moved.log", 50
    link.symlink_to("/dev/full")
    gateway = gateways(plain(upstream, admin={"listen": "127.0.0.1:0"}, log={"access": {"to": str(link)}}))
    client = clients(gateway)
    for _ in range(count):
        client.ask()

    def lost():
        return dropped(gateway) == count

    until(lost, "all lines are counted as lost")
    gateway.event("log_write_failed")
    assert len([event for event in gateway.events.all if event["event"] == "log_write_failed"]) == 1
    link.unlink()
    link.symlink_to(file)
    gateway.signal(signal.SIGUSR1)
    gateway.event("log_reopened")
    client.ask()
    assert gateway.event("log_write_resumed")["lost_lines"] == str(count)
    assert dropped(gateway) == count and len(file.read_text().splitlines()) == 1


def dropped(gateway):
    connection = http.client.HTTPConnection(*gateway.address("admin"), timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(text.split("\ngatehouse_log_lines_dropped_total ")[1].split("\n")[0])
