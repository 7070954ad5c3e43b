"""Key sets of issuers: fetched in the background, kept, taken back (RFC 7517), with an issuer that is a real HTTP server."""

import json
import os
import queue
import threading
import urllib.error
import urllib.request

import pytest

from harness.authority import Authority
from harness.bound import SANITIZER, until
from harness.gateway import run
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.issuer import Issuer, again_where_the_second_passed, guarded
from harness.tokens import base64url, bearer, bearer2, key_set
from harness.ports import free_port
from harness.wire import Client, problem


# Who waits for a key waits a second, which a sanitizer's gateway needs for itself.
pytestmark = [pytest.mark.alone] if SANITIZER else []


@pytest.fixture
def issuer(upstreams, key):
    return Issuer(upstreams, key)


def admin(gateway, path):
    try:
        with urllib.request.urlopen(gateway.url(path, "admin"), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def fetch_counts(gateway):
    counts = {}
    for line in admin(gateway, "/metrics")[1].splitlines():
        if line.startswith("gatehouse_key_fetches_total{"):
            result = line.split('result="')[1].split('"')[0]
            counts[result] = int(line.rsplit(" ", 1)[1])
    return counts


def forged(number):
    """A token with a kid that nobody has; its signature is never looked at."""
    head = base64url(json.dumps({"alg": "RS256", "kid": f"forged-{number}"}).encode())
    return f"{head}.{base64url(b'{}')}.{base64url(b'x' * 256)}"


def status_of(gateway, token):
    with Client(gateway.address()) as client:
        return client.ask(fields=bearer(token)).status


def test_the_first_request_finds_the_keys(gateways, upstream, issuer, key, clients, tmp_path):
    cache = tmp_path / "kept.json"
    issuer.hold()
    gateway = gateways(guarded(upstream, issuer.url(), cache_file=str(cache)))
    issuer.asked(1)
    client = clients(gateway)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key.token().encode() + b"\r\n\r\n")
    issuer.release()
    assert client.response().status == 200
    event = gateway.event("keys_fetched", issuer="main", changed="true")
    assert event["next_s"] == "300"
    assert json.loads(cache.read_text()) == json.loads(key_set(key))
    assert os.stat(cache).st_mode & 0o777 == 0o600 and sorted(os.listdir(tmp_path)) == ["gateway-0", "kept.json"]
    assert issuer.fetches == 1 and fetch_counts(gateway) == {"new": 1}
    text = admin(gateway, "/metrics")[1]
    assert 'gatehouse_key_set_age_seconds{issuer="main"} ' in text
    assert admin(gateway, "/readyz")[0] == 200


def test_a_new_key_is_fetched_by_the_first_token_that_names_it(gateways, upstream, issuer, key, other_key, clients):
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    client = clients(gateway)
    old = key.token()
    for _ in range(2):
        assert client.ask(fields=bearer(old)).status == 200
    issuer.keys = (other_key,)
    assert client.ask(fields=bearer(other_key.token())).status == 200
    assert issuer.fetches == 2
    # Taken back: at once, though it was verified and remembered a moment ago, on every connection of every worker.
    for _ in range(6):
        with Client(gateway.address()) as another:
            problem(another.ask(fields=bearer(old)), "token_unknown_key")
            assert another.ask(fields=bearer(other_key.token())).status == 200
    assert issuer.fetches == 2


@again_where_the_second_passed
def test_over_http2_streams_wait_and_their_bodies_stay_whole(gateways, upstream, issuer, key, other_key):
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    issuer.keys = (key, other_key)
    body = bytes(range(256)) * 400
    with Client2(gateway.address()) as client:
        whole = client.request("POST", fields=bearer2(other_key.token()), end=False)
        client.data(whole, body[:60000], end=False)
        empty = client.request(fields=bearer2(other_key.token()))
        late = client.request("POST", fields=bearer2(other_key.token()), end=False)
        issuer.asked(2)
        # Others go on meanwhile.
        good = client.request(fields=bearer2(key.token()))
        assert client.answer(good).status == 200
        issuer.release()
        client.data(whole, body[60000:])
        client.data(late, b"abc")
        answers = [client.answer(number) for number in (whole, empty, late)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert [answer.json()["length"] for answer in answers] == [len(body), 0, 3]
    assert issuer.fetches == 2


@again_where_the_second_passed
def test_one_fetch_serves_all_who_wait_and_bodies_are_not_read(gateways, upstream, issuer, key, other_key):
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    issuer.keys = (other_key,)
    waiting = [Client(gateway.address()) for _ in range(20)]
    token = other_key.token()
    for number, client in enumerate(waiting):
        body = b"x" * (number * 1000)
        client.send(f"POST /{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    issuer.asked(2)
    issuer.release()
    for number, client in enumerate(waiting):
        answer = client.response()
        assert answer.status == 200 and answer.json()["length"] == number * 1000
        # The connection goes on behind it.
        assert client.ask(fields=bearer(token)).status == 200
        client.close()
    assert issuer.fetches == 2


@again_where_the_second_passed
def test_who_waits_for_a_key_holds_a_place_of_the_route_and_gives_it_back(gateways, upstream, issuer, key, other_key):
    """`concurrency` is taken before the token is looked at: a crowd with forged kids is as many as anybody else may be."""
    config = guarded(upstream, issuer.url())
    config["routes"][0]["concurrency"] = {"max": 1, "per": "client"}
    gateway = gateways(config)
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    issuer.keys = (key, other_key)
    with Client(gateway.address()) as waiting, Client(gateway.address()) as other:
        waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + other_key.token().encode() + b"\r\n\r\n")
        issuer.asked(2)
        problem(other.ask(fields=bearer(key.token())), "too_many_in_flight")
        issuer.release()
        assert waiting.response().status == 200
        assert other.ask(fields=bearer(key.token())).status == 200
        # One that is refused in the end gives it back too.
        problem(waiting.ask(fields=bearer(forged(1))), "token_unknown_key")
        assert other.ask(fields=bearer(key.token())).status == 200
    assert issuer.fetches == 2


@again_where_the_second_passed
def test_a_client_that_goes_away_waits_no_longer(gateways, upstream, issuer, key, other_key):
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    # It is this one that has the issuer asked: a stream that is reset as soon as it is opened has never been a request.
    stream_client = Client2(gateway.address())
    number = stream_client.request("GET", "/reset", bearer2(other_key.token()))
    issuer.asked(2)
    lost = Client(gateway.address())
    lost.send(b"GET /lost HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + other_key.token().encode() + b"\r\n\r\n")
    lost.close()
    stream_client.reset(number)
    # Well before the second that it may wait, and before the issuer answers.
    for path in ("/lost", "/reset"):
        line = gateway.access_line(path=path)
        assert line["reason"] == "client_closed" and line["duration_us"] < 900_000, line
    issuer.release()
    issuer.keys = (key, other_key)
    assert stream_client.answer(stream_client.request(fields=bearer2(key.token()))).status == 200
    stream_client.close()


# A sanitizer's gateway does not check 256 signatures in the second that they may wait.
@pytest.mark.unsanitized
@again_where_the_second_passed
def test_the_lot_has_256_places_and_who_finds_none_is_told_to_come_again(gateways, upstream, issuer, key, other_key):
    config = guarded(upstream, issuer.url())
    config["workers"] = 1
    gateway = gateways(config)
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    issuer.keys = (key, other_key)
    fields = bearer2(other_key.token())
    connections = [Client2(gateway.address()) for _ in range(4)]
    sent = [(client, client.request(fields=fields)) for client in connections for _ in range(80)]
    issuer.asked(2)
    refused = 0
    for client, number in sent[256:]:
        answer = client.answer(number)
        if answer.status == 503:
            problem2(answer, "keys_unavailable")
            assert answer.get("retry-after") == "5"
            refused += 1
    assert refused == len(sent) - 256
    issuer.release()
    assert all(client.answer(number).status == 200 for client, number in sent[:256])
    for client in connections:
        client.close()
    assert 'gatehouse_limits_reached_total{limit="keys.waiting"} 64' in admin(gateway, "/metrics")[1]
    assert issuer.fetches == 2


def test_who_has_waited_a_second_is_told_to_come_again(gateways, upstream, issuer, key, other_key, clients):
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    client = clients(gateway)
    answer = client.ask("POST", fields=bearer(other_key.token()), body=b"abc")
    problem(answer, "keys_unavailable")
    assert answer.get("retry-after") == "5"
    line = gateway.access_line(reason="keys_unavailable")
    # A busy machine gets round to it later.
    assert 1_000_000 <= line["duration_us"] < 5_000_000
    # Its connection goes on, behind the body that was never wanted.
    assert client.ask(fields=bearer(key.token())).status == 200
    issuer.release()


def test_after_a_fetch_that_failed_the_cooldown_says_503_and_401_when_the_issuer_is_back(
        gateways, upstream, issuer, key, other_key, clients):
    """While the issuer cannot be asked nobody knows whether a key exists; a flood has it asked no more often for that."""
    gateway = gateways(guarded(upstream, issuer.url(), cooldown="1h"))
    gateway.event("keys_fetched", issuer="main")
    client = clients(gateway)
    good = key.token()
    assert client.ask(fields=bearer(good)).status == 200
    issuer.say(500)
    problem(client.ask(fields=bearer(other_key.token())), "keys_unavailable")
    before = issuer.fetches
    for number in range(200):
        answer = client.ask(fields=bearer(forged(number)))
        problem(answer, "keys_unavailable")
        assert answer.get("retry-after") == "5"
        if number % 20 == 0:
            assert client.ask(fields=bearer(good)).status == 200
    # The control side asks again by itself, a second after the first failure and two after the next.
    assert issuer.fetches - before <= 3
    with Client2(gateway.address()) as second:
        problem2(second.answer(second.request(fields=bearer2(forged(1)))), "keys_unavailable")
        assert second.answer(second.request(fields=bearer2(good))).status == 200
    assert fetch_counts(gateway)["status"] >= 1
    issuer.behave = issuer.give
    until(lambda: fetch_counts(gateway).get("unchanged"), "the issuer is back")
    before = issuer.fetches
    problem(client.ask(fields=bearer(other_key.token())), "token_unknown_key")
    assert issuer.fetches == before


def test_a_flood_of_forged_keys_costs_one_fetch_and_no_good_token(gateways, upstream, issuer, key):
    gateway = gateways(guarded(upstream, issuer.url(), cooldown="1h"))
    gateway.event("keys_fetched", issuer="main")
    good = key.token()
    assert status_of(gateway, good) == 200
    before = issuer.fetches
    results = queue.Queue()

    def flood(start):
        with Client(gateway.address()) as client:
            for number in range(start, start + 2500):
                results.put(client.ask(fields=bearer(forged(number))).status)
                if number % 25 == 0:
                    results.put(("good", client.ask(fields=bearer(good)).status))

    threads = [threading.Thread(target=flood, args=(start,)) for start in range(0, 10000, 2500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [results.get() for _ in range(10400)]
    assert [status for status in seen if isinstance(status, tuple) and status[1] != 200] == []
    assert seen.count(401) == 10000
    assert issuer.fetches - before <= 1


def test_a_cold_start_without_the_issuer_serves_what_was_kept(gateways, upstream, key, clients, tmp_path):
    cache = tmp_path / "kept.json"
    cache.write_text(key_set(key))
    with free_port() as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/keys"
        gateway = gateways(guarded(upstream, url, cache_file=str(cache)))
        gateway.event("keys_fetch_failed", result="connect")
        assert clients(gateway).ask(fields=bearer(key.token())).status == 200
        assert admin(gateway, "/readyz")[0] == 200


def test_a_cold_start_without_issuer_or_kept_keys_says_so_until_they_come(gateways, upstream, issuer, key, clients, tmp_path):
    cache = tmp_path / "kept.json"
    cache.write_text("{ no keys")
    issuer.say(500)
    gateway = gateways(guarded(upstream, issuer.url(), cache_file=str(cache)))
    gateway.event("key_cache_ignored", issuer="main")
    gateway.event("keys_fetch_failed", result="status")
    client = clients(gateway)
    answer = client.ask(fields=bearer(key.token()))
    problem(answer, "keys_unavailable")
    assert answer.get("retry-after") == "5"
    with Client2(gateway.address()) as client2:
        problem2(client2.answer(client2.request(fields=bearer2(key.token()))), "keys_unavailable")
    # Who brings no token needs no keys to be refused.
    problem(client.ask(), "token_missing")
    status, text = admin(gateway, "/readyz")
    said = json.loads(text)
    assert status == 503 and said["reasons"] == ["keys_unavailable"]
    assert said["without_keys"] == [{"issuer": "main", "why": "the answer has status 500"}]
    issuer.behave = issuer.give
    gateway.event("keys_fetched", issuer="main")
    assert client.ask(fields=bearer(key.token())).status == 200
    assert admin(gateway, "/readyz")[0] == 200


@pytest.mark.parametrize("result, answer", [
    ("status", (500,)), ("status", (404,)), ("status", (204,)), ("redirect", (302, [("Location", "/elsewhere")])),
    ("invalid", (200, (), b"not a key set")), ("invalid", (200, (), b'{"keys":[]}')), ("invalid", (200, (), b"")),
    ("too_large", (200, (), b" " * (1 << 20) + b"{}")), ("too_large", (200, [("Content-Length", "99999999999")], b"{")),
    ("truncated", (200, [("Content-Length", "1000")], b"{")), ("not_http", (200, [("Bad name", "x")], b"{}")),
    ("not_http", (200, [("Transfer-Encoding", "chunked")], b"xyz\r\n")),
    ("too_large", (200, [("X", "y" * 20000)], b"{}")),
])
def test_what_is_no_key_set_changes_nothing(gateways, upstream, issuer, key, result, answer):
    gateway = gateways(guarded(upstream, issuer.url(), refresh="1s"))
    gateway.event("keys_fetched", issuer="main")
    issuer.say(*answer)
    event = gateway.event("keys_fetch_failed", issuer="main")
    assert event["result"] == result, event
    assert status_of(gateway, key.token()) == 200
    assert admin(gateway, "/readyz")[0] == 200 and fetch_counts(gateway)[result] >= 1


def test_an_issuer_that_never_answers_is_given_up(gateways, upstream, issuer, key):
    gateway = gateways(guarded(upstream, issuer.url(), refresh="1s"))
    gateway.event("keys_fetched", issuer="main")
    issuer.hold()
    gateway.event("keys_fetch_failed", issuer="main", result="timeout")
    assert status_of(gateway, key.token()) == 200
    issuer.release()


@pytest.mark.parametrize("framing", ["length", "chunked", "close", "interim"])
def test_each_framing_of_an_answer_is_read(gateways, upstream, issuer, key, framing):
    text = key_set(key).encode()

    def behave(wire, request):
        head = b"HTTP/1.1 200 OK\r\n"
        if framing == "interim":
            head = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + head
        if framing == "chunked":
            wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for offset in range(0, len(text), 100):
                piece = text[offset:offset + 100]
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            wire.send(b"0\r\nX-Trailer: y\r\n\r\n")
        elif framing == "close":
            wire.send(head + b"\r\n" + text)
        else:
            for byte in head + f"Content-Length: {len(text)}\r\n\r\n".encode() + text:
                wire.send(bytes([byte]))
        return False

    issuer.behave = behave
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200


def test_https_is_verified_against_the_systems_authorities(gateways, upstream, upstreams, key, tmp_path):
    authority = Authority(tmp_path)
    trusted = {"SSL_CERT_FILE": str(authority.cert), "SSL_CERT_DIR": str(tmp_path / "none")}
    good = Issuer(upstreams, key, tls=authority.server(authority.issue("good", "DNS:localhost,IP:127.0.0.1")))
    for host in ("localhost", "127.0.0.1"):
        gateway = gateways(guarded(upstream, good.url(host)), environment=trusted)
        gateway.event("keys_fetched", issuer="main")
        assert status_of(gateway, key.token()) == 200
    wrong = Issuer(upstreams, key, tls=authority.server(authority.issue("wrong", "DNS:elsewhere.test")))
    for address, environment in ((wrong.url("localhost"), trusted), (good.url("localhost"), {})):
        gateway = gateways(guarded(upstream, address), environment=environment)
        event = gateway.event("keys_fetch_failed", issuer="main")
        assert event["result"] == "tls" and "untrusted" in event["reason"], event
        assert status_of(gateway, key.token()) == 503


@pytest.mark.parametrize("said, expected", [
    ([("Cache-Control", "public, max-age=600")], "600"), ([("Cache-Control", "max-age=0")], "10"),
    ([("cache-control", "no-store")], "10"), ([("Cache-Control", "max-age=31536000")], "3600"),
    ([("Cache-Control", "max-age=900, max-age=700")], "700"), ([("Cache-Control", "public")], "120"), ([], "120"),
])
def test_what_the_issuer_says_of_freshness_is_honoured_within_bounds(gateways, upstream, issuer, said, expected):
    """RFC 9111 §5.2.2."""
    issuer.fields = said
    gateway = gateways(guarded(upstream, issuer.url(), refresh="2m"))
    assert gateway.event("keys_fetched", issuer="main")["next_s"] == expected


def test_a_set_that_cannot_be_fetched_again_is_dropped_after_its_time(gateways, upstream, issuer, key):
    gateway = gateways(guarded(upstream, issuer.url(), refresh="1s", keep_if_unreachable="2s"))
    gateway.event("keys_fetched", issuer="main")
    token = key.token()
    assert status_of(gateway, token) == 200
    issuer.say(503)
    gateway.event("keys_dropped", issuer="main")
    until(lambda: status_of(gateway, token) == 503, "the token is no longer good")
    assert json.loads(admin(gateway, "/readyz")[1])["reasons"] == ["keys_unavailable"]
    issuer.behave = issuer.give
    until(lambda: status_of(gateway, token) == 200, "the keys are back")


@again_where_the_second_passed
def test_a_reload_keeps_keys_and_those_who_wait(gateways, upstream, issuer, key, other_key):
    config = guarded(upstream, issuer.url())
    # What limits have told and counted by then is of a route that the reload takes away.
    config["limits"] = {"many": {"rate": "1000/s", "per": "client", "headers": "always"}}
    config["defaults"]["limits"] = ["many"]
    config["routes"][0]["concurrency"] = {"max": 5, "per": "client"}
    gateway = gateways(config)
    gateway.event("keys_fetched", issuer="main")
    assert status_of(gateway, key.token()) == 200
    issuer.hold()
    issuer.keys = (key, other_key)
    waiting = [Client(gateway.address()) for _ in range(4)]
    streams = Client2(gateway.address())
    for client in waiting:
        client.send(b"POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nAuthorization: Bearer "
                    + other_key.token().encode() + b"\r\n\r\nabc")
    number = streams.request("POST", "/old", bearer2(other_key.token()), end=False)
    issuer.asked(2)
    config["routes"].append({"name": "old", "match": {"prefix": "/old"}, "to": "up", "limits": [],
                             "concurrency": {"max": 5, "per": "subject"}})
    gateway.reload(config)
    issuer.release()
    for client in waiting:
        answer = client.response()
        assert answer.status == 200 and answer.json()["length"] == 3
        client.close()
    streams.data(number, b"xyz")
    assert streams.answer(number).json()["length"] == 3
    streams.close()
    assert gateway.access_line(path="/old", route="old")["status"] == 200
    # Nothing of what waited is counted any more, on either route.
    with Client2(gateway.address()) as again:
        for path in ("/", "/old"):
            numbers = [again.request("POST", path, bearer2(key.token()), end=False) for _ in range(5)]
            for number in numbers:
                again.data(number, b"")
            assert [again.answer(number).status for number in numbers] == [200] * 5
    issuer.say(500)
    gateway.reload()
    assert status_of(gateway, key.token()) == 200


def test_a_key_file_is_read_again_when_it_changes_and_a_broken_one_is_not(gateways, upstream, key, other_key, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(key_set(key))
    config = guarded(upstream, "")
    config["auth"]["main"]["jwt"]["keys"] = {"file": str(file)}
    gateway = gateways(config)
    old, new = key.token(), other_key.token()
    assert status_of(gateway, old) == 200

    def replace(text):
        fresh = tmp_path / "fresh.json"
        fresh.write_text(text)
        fresh.rename(file)

    replace('{"keys": [')
    event = gateway.event("keys_refused", issuer="main")
    assert event["file"] == str(file) and "JSON" in event["reason"]
    assert status_of(gateway, old) == 200
    replace(key_set(other_key))
    gateway.event("keys_read", issuer="main")
    until(lambda: status_of(gateway, new) == 200, "the new key is taken")
    with Client(gateway.address()) as client:
        problem(client.ask(fields=bearer(old)), "token_unknown_key")
    # In place too, and by a reload at once.
    file.write_text(key_set(key))
    gateway.reload()
    until(lambda: status_of(gateway, old) == 200, "the old key is back")
    assert admin(gateway, "/readyz")[0] == 200


def test_a_cache_file_that_somebody_replaces_is_taken(gateways, upstream, issuer, key, other_key, tmp_path):
    cache = tmp_path / "kept.json"
    gateway = gateways(guarded(upstream, issuer.url(), cache_file=str(cache), cooldown="1h"))
    gateway.event("keys_fetched", issuer="main")
    fresh = tmp_path / "fresh.json"
    fresh.write_text(key_set(key, other_key))
    fresh.rename(cache)
    gateway.event("keys_read", issuer="main", file=str(cache))
    until(lambda: status_of(gateway, other_key.token()) == 200, "the other key is taken")
    assert issuer.fetches == 1


def test_two_issuers_do_not_mix(gateways, upstream, upstreams, key, other_key):
    first, second = Issuer(upstreams, key), Issuer(upstreams, other_key)
    config = guarded(upstream, first.url(), cooldown="1h")
    config["auth"]["other"] = {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"url": second.url(), "cooldown": "1h"}}}
    config["routes"].append({"name": "other", "match": {"prefix": "/other"}, "to": "up", "auth": "other"})
    gateway = gateways(config)
    gateway.event("keys_fetched", issuer="main")
    gateway.event("keys_fetched", issuer="other")
    with Client(gateway.address()) as client:
        assert client.ask(fields=bearer(key.token())).status == 200
        assert client.ask(target="/other", fields=bearer(other_key.token())).status == 200
        problem(client.ask(target="/other", fields=bearer(key.token())), "token_unknown_key")
        problem(client.ask(fields=bearer(other_key.token())), "token_unknown_key")




def written(tmp_path, config):
    file = tmp_path / "gatehouse.yaml"
    file.write_text(json.dumps(config))
    return str(file)


def test_jwks_show_lists_each_key_and_why_one_is_not_usable(upstream, key, other_key, tmp_path):
    kept = tmp_path / "kept.json"
    keys = [key.jwk(), {**other_key.jwk(), "kid": "enc", "use": "enc"}, {**other_key.jwk(), "kid": "late", "alg": "RS512"},
            {**other_key.jwk(), "kid": "odd", "alg": "RSA-OAEP"}, {"kty": "oct", "kid": "secret", "k": "AAAA"},
            {**other_key.jwk(), "kid": "ops", "key_ops": ["encrypt"]}]
    kept.write_text(json.dumps({"keys": keys}))
    file = written(tmp_path, guarded(upstream, "https://auth.test/keys", cache_file=str(kept)))
    status, out, errors = run("jwks", "show", "--config", file)
    assert (status, errors) == (0, ""), (out, errors)
    assert "main: https://auth.test/keys" in out and f"kept in {kept}" in out and " s old" in out
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()[4:]}
    assert rows == {
        "key-1": "RSA RS256 2048 for RS256", "enc": "RSA RS256 - no: its use is not 'sig'",
        "late": "RSA RS512 - no: none of the algorithms in the configuration is for it",
        "odd": "RSA RSA-OAEP - no: no algorithm here is its alg",
        "secret": "oct - - no: no algorithm here takes its kty and crv",
        "ops": "RSA RS256 - no: its key_ops do not have 'verify'"}
    # One that is for us and cannot be used makes the whole set none.
    kept.write_text(json.dumps({"keys": [key.jwk(), {**other_key.jwk(), "n": "AQAB"}]}))
    status, out, _ = run("jwks", "show", "--config", file)
    assert status == 1 and "the gateway does not take this set: keys[1]" in out and "key-2" in out
    kept.unlink()
    status, out, _ = run("jwks", "show", "--config", file)
    assert status == 1 and "cannot read it" in out
    status, out, errors = run("jwks", "show", "--config", str(tmp_path / "none.yaml"))
    assert status == 1 and out == "" and "cannot read the file" in errors


def test_jwks_refresh_reaches_a_running_gateway_through_its_cache_file(gateways, upstream, issuer, key, other_key, tmp_path):
    kept = tmp_path / "kept.json"
    config = guarded(upstream, issuer.url(), cache_file=str(kept), cooldown="1h")
    gateway = gateways(config)
    gateway.event("keys_fetched", issuer="main")
    file = str(gateway.file)
    issuer.keys = (other_key,)
    status, out, errors = run("jwks", "refresh", "--config", file)
    assert (status, errors) == (0, "") and f"main: fetched and written to {kept}" in out, (out, errors)
    assert json.loads(kept.read_text()) == json.loads(key_set(other_key)) and os.stat(kept).st_mode & 0o777 == 0o600
    gateway.event("keys_read", issuer="main", file=str(kept))
    until(lambda: status_of(gateway, other_key.token()) == 200, "the new key is taken")
    before = kept.read_text()
    for answer, said in (((500,), "status 500"), ((200, (), b"{}"), "no key set"), ((301,), "redirect")):
        issuer.say(*answer)
        status, out, _ = run("jwks", "refresh", "--config", file)
        assert status == 1 and said in out and kept.read_text() == before, out
