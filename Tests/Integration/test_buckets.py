"""Token buckets: exact across workers, protocols and connections (acceptance 3), and told to the client."""

import threading
import time

import pytest

from harness.bound import FULL
from harness.gateway import plain
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.tokens import bearer, key_set
from harness.wire import Client, problem, request


def limited(upstream, limit, **change):
    config = plain(upstream, **change)
    config["limits"] = {"client": {"per": "client", **limit}}
    config["defaults"]["limits"] = ["client"]
    return config


def test_a_burst_passes_and_one_more_does_not(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "5/min", "burst": 5})))
    assert [client.ask().status for _ in range(5)] == [200] * 5
    answer = client.ask()
    problem(answer, "rate_limited")
    assert 1 <= int(answer.get("retry-after")) <= 12
    assert answer.get("ratelimit-policy") == '"client";q=5;w=60'
    assert answer.get("ratelimit").startswith('"client";r=0;t=')


def test_the_default_burst_is_the_count_of_the_rate(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "20/h"})))
    assert [client.ask().status for _ in range(22)] == [200] * 20 + [429] * 2


def test_the_refusal_says_what_the_issue_promises(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "100/s", "burst": 100})))
    while (answer := client.ask()).status == 200:
        pass
    problem(answer, "rate_limited")
    assert answer.get("ratelimit-policy") == '"client";q=100;w=1'
    assert answer.get("ratelimit") == '"client";r=0;t=1'
    assert answer.get("retry-after") == "1"


def test_a_refused_client_keeps_its_connection(gateways, upstream, clients):
    gateway = gateways(limited(upstream, {"rate": "1/h"}))
    client = clients(gateway)
    assert client.ask().status == 200
    for _ in range(10):
        said = problem(client.ask(), "rate_limited")
    assert gateway.access_line(said["request_id"])["reason"] == "rate_limited"


def test_fields_with_every_answer_when_the_file_says_so(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "10/h", "headers": "always"})))
    answer = client.ask()
    assert answer.status == 200
    assert answer.get("ratelimit-policy") == '"client";q=10;w=3600'
    assert answer.get("ratelimit").startswith('"client";r=9;')


def test_two_clients_do_not_disturb_each_other(gateways, upstream):
    config = limited(upstream, {"rate": "10/h"}, client_address={"trusted_proxies": ["127.0.0.1/32"]})
    gateway = gateways(config)
    with Client(gateway.address()) as client:
        for address in ("203.0.113.1", "203.0.113.2", "2001:db8:1::1", "2001:db8:2::1"):
            fields = [("X-Forwarded-For", address)]
            assert [client.ask(fields=fields).status for _ in range(11)] == [200] * 10 + [429]
        # One /64 is one client.
        assert client.ask(fields=[("X-Forwarded-For", "2001:db8:1::ffff")]).status == 429


def test_an_untrusted_client_cannot_choose_its_bucket(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "5/h"})))
    statuses = [client.ask(fields=[("X-Forwarded-For", f"203.0.113.{number}")]).status for number in range(6)]
    assert statuses == [200] * 5 + [429]


def test_the_bucket_is_shared_by_workers_connections_and_protocols(gateways, upstream):
    gateway = gateways(limited(upstream, {"rate": "40/h"}, workers=2))
    statuses = []
    for number in range(60):
        if number % 2:
            with Client(gateway.address()) as client:
                statuses.append(client.ask().status)
        else:
            with Client2(gateway.address()) as client:
                statuses.append(client.ask().status)
    assert statuses == [200] * 40 + [429] * 20


def test_the_bucket_survives_a_reload(gateways, upstream, clients):
    config = limited(upstream, {"rate": "5/h"})
    gateway = gateways(config)
    client = clients(gateway)
    for _ in range(5):
        assert client.ask().status == 200
    gateway.reload(config)
    assert client.ask().status == 429
    # A changed rate locks nobody out for longer than it says.
    gateway.reload(limited(upstream, {"rate": "100/s", "burst": 100}))
    from harness.bound import until
    until(lambda: client.ask().status == 200, "the new rate")


def test_a_subject_has_its_own_bucket(gateways, upstream, clients, key, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(key_set(key))
    config = plain(upstream)
    config["auth"] = {"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"file": str(file)}}}}
    config["limits"] = {"subject": {"rate": "3/h", "per": "subject"}}
    config["defaults"] = {"auth": "main", "limits": ["subject"]}
    client = clients(gateways(config))
    for subject in ("a", "b"):
        statuses = [client.ask(fields=bearer(key.token(sub=subject))).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


def test_a_client_over_its_limit_is_refused_before_its_token_is_looked_at(gateways, upstream, clients, key, tmp_path):
    """What costs an attacker nothing must not cost a signature check: 429 for good and bad tokens alike."""
    file = tmp_path / "jwks.json"
    file.write_text(key_set(key))
    config = limited(upstream, {"rate": "5/h"})
    config["auth"] = {"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"file": str(file)}}}}
    config["defaults"]["auth"] = "main"
    client = clients(gateways(config))
    bad = key.token()[:-6] + "AAAAAA"
    assert [client.ask(fields=bearer(bad)).status for _ in range(5)] == [401] * 5
    for token in (bad, key.token(), "x"):
        answer = client.ask(fields=bearer(token))
        problem(answer, "rate_limited")
        assert answer.get("www-authenticate") is None
    problem(client.ask(), "rate_limited")


def test_the_refusal_over_http_2(gateways, upstream):
    gateway = gateways(limited(upstream, {"rate": "1/h"}))
    with Client2(gateway.address()) as client:
        assert client.ask().status == 200
        stream = client.ask()
        problem2(stream, "rate_limited")
        assert stream.get("ratelimit-policy") == '"client";q=1;w=3600'
        assert stream.get("retry-after")


@pytest.mark.bound(120)
@pytest.mark.unsanitized
def test_one_client_at_three_times_its_rate_gets_just_its_rate(gateways, upstream):
    """Acceptance 3: 300 requests a second over 20 connections of both protocols; admitted = burst + rate x time, within
    1%. The rate, not the pace, is what is judged: a late request is not an error."""
    seconds = 10 if FULL else 4
    gateway = gateways(limited(upstream, {"rate": "100/s", "burst": 100}, workers=2))
    admitted, times, failures = [0] * 20, [[] for _ in range(20)], []
    start = time.monotonic() + 0.5
    pause = threading.Event()

    def ask(index):
        try:
            client = (Client2 if index % 2 else Client)(gateway.address())
            for number in range(15 * seconds):
                due = start + number / 15 + index / 300
                pause.wait(max(0, due - time.monotonic()))
                times[index].append(time.monotonic())
                status = client.ask().status
                assert status in (200, 429), status
                admitted[index] += status == 200
                times[index].append(time.monotonic())
            client.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    every = sorted(moment for of_one in times for moment in of_one)
    expected = 100 + 100 * (every[-1] - every[0])
    # One per cent, and the two requests that the ends of the interval may fall either side of.
    assert abs(sum(admitted) - expected) <= 0.01 * expected + 2, (sum(admitted), expected)


# Several windows, several limits


def test_two_windows_must_both_allow_and_both_are_told(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": ["3/h", "2/min"], "headers": "always"})))
    policy = '"client-60s";q=2;w=60, "client-3600s";q=3;w=3600'
    for left in (1, 0):
        answer = client.ask()
        assert answer.status == 200 and answer.get("ratelimit-policy") == policy
        # The tightest is told.
        assert answer.get("ratelimit").startswith(f'"client-60s";r={left};')
    answer = client.ask()
    problem(answer, "rate_limited")
    assert answer.get("ratelimit-policy") == policy
    assert answer.get("ratelimit").startswith('"client-60s";r=0;') and 1 <= int(answer.get("retry-after")) <= 30


def test_who_is_over_two_windows_is_told_to_wait_for_the_longer(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": ["2/min", "2/h"]})))
    assert [client.ask().status for _ in range(2)] == [200] * 2
    answer = client.ask()
    problem(answer, "rate_limited")
    assert answer.get("ratelimit").startswith('"client-3600s";r=0;') and int(answer.get("retry-after")) > 1700


def test_a_request_that_one_limit_refuses_takes_nothing_of_another(gateways, upstream, clients):
    config = limited(upstream, {"rate": "100/h", "headers": "always"})
    config["limits"]["tight"] = {"rate": "3/h", "per": "route"}
    config["defaults"]["limits"] = ["client", "tight"]
    gateway = gateways(config)
    client = clients(gateway)
    assert [client.ask().status for _ in range(10)] == [200] * 3 + [429] * 7
    config["defaults"]["limits"] = ["client"]
    gateway.reload(config)
    answer = clients(gateway).ask()
    assert answer.get("ratelimit").startswith('"client";r=96;'), answer.get("ratelimit")


def test_a_window_that_is_added_goes_on_with_what_the_limit_has(gateways, upstream, clients):
    gateway = gateways(limited(upstream, {"rate": "5/h"}))
    client = clients(gateway)
    assert [client.ask().status for _ in range(4)] == [200] * 4
    gateway.reload(limited(upstream, {"rate": ["5/h"]}))
    assert [client.ask().status for _ in range(2)] == [200, 429]


# Keys


def test_per_field_of_the_request(gateways, upstream, clients):
    client = clients(gateways(limited(upstream, {"rate": "2/h", "per": "header:X-Key"})))
    for value in ("a", "b"):
        statuses = [client.ask(fields=[("x-KEY", value)]).status for _ in range(3)]
        assert statuses == [200, 200, 429]
    # Who has none is not counted: another limit is for those.
    assert [client.ask().status for _ in range(5)] == [200] * 5


def test_per_route_counts_all_clients_together_and_each_route_alone(gateways, upstream):
    config = limited(upstream, {"rate": "4/h", "per": "route"}, client_address={"trusted_proxies": ["127.0.0.1/32"]})
    config["routes"].append({"name": "other", "match": {"prefix": "/other"}, "to": "up"})
    with Client(gateways(config).address()) as client:
        def ask(target):
            return [client.ask(target=target, fields=[("X-Forwarded-For", f"203.0.113.{number}")]).status
                    for number in range(6)]
        assert ask("/") == [200] * 4 + [429] * 2
        assert ask("/other") == [200] * 4 + [429] * 2


def with_tokens(upstream, key, tmp_path, limits, **change):
    file = tmp_path / "jwks.json"
    file.write_text(key_set(key))
    config = plain(upstream, **change)
    config["auth"] = {"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"file": str(file)}, "forward": {"X-Roles": "roles"}}}}
    config["limits"] = limits
    config["defaults"] = {"auth": "main", "limits": list(limits)}
    return config


@pytest.mark.parametrize("claim", ["org", "roles"])
def test_per_claim_of_the_token(gateways, upstream, clients, key, tmp_path, claim):
    """A claim that is forwarded and one that is only counted by; the latter reaches no service."""
    client = clients(gateways(with_tokens(
        upstream, key, tmp_path, {"org": {"rate": "3/h", "per": f"claim:{claim}"}})))
    for value in ("acme", "umbrella"):
        tokens = [key.token(sub=f"user-{number}", **{claim: value}) for number in range(4)]
        answers = [client.ask(fields=bearer(token)) for token in tokens]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        names = [name.lower() for name, _ in answers[0].json()["fields"]]
        assert ("x-roles" in names) == (claim == "roles") and "" not in names
    token = key.token(**{claim: None})
    assert [client.ask(fields=bearer(token)).status for _ in range(5)] == [200] * 5


def test_a_consumer_is_the_subject_or_else_the_client(gateways, upstream, clients, key, tmp_path):
    config = with_tokens(upstream, key, tmp_path, {"each": {"rate": "2/h", "per": "consumer"}})
    config["routes"].append({"name": "open", "match": {"prefix": "/open"}, "to": "up", "auth": "none"})
    client = clients(gateways(config))
    for fields, target in ((bearer(key.token(sub="a")), "/"), (bearer(key.token(sub="b")), "/"), ((), "/open")):
        assert [client.ask(target=target, fields=fields).status for _ in range(3)] == [200, 200, 429]


# The order of what is judged


def test_no_signature_is_checked_for_who_is_over_a_limit_by_address(gateways, upstream, clients, key, tmp_path):
    """The access line says how long the token took; where it was not looked at, there is nothing to say."""
    config = with_tokens(upstream, key, tmp_path, {"client": {"rate": "2/h", "per": "client"}})
    gateway = gateways(config)
    client = clients(gateway)
    for number in range(4):
        answer = client.ask(fields=bearer(key.token(sub=f"new-{number}")))
        line = gateway.access_line(answer.get("x-request-id"))
        assert (answer.status, "auth_us" in line) == ((200, True) if number < 2 else (429, False))


def test_what_the_address_limit_took_stays_taken_where_the_subject_is_over_its_own(
        gateways, upstream, clients, key, tmp_path):
    """The token had to be looked at, which the address pays for: else guessing would be free."""
    limits = {"client": {"rate": "6/h", "per": "client"}, "subject": {"rate": "1/h", "per": "subject"}}
    gateway = gateways(with_tokens(upstream, key, tmp_path, limits))
    client = clients(gateway)
    mine, other = bearer(key.token(sub="a")), bearer(key.token(sub="b"))
    assert [client.ask(fields=mine).status for _ in range(5)] == [200] + [429] * 4
    assert [client.ask(fields=other).status for _ in range(2)] == [200, 429]


def test_an_address_that_a_client_invents_behind_a_trusted_proxy_is_not_its_own(gateways, upstream):
    """Read from the right: what stands left of the first address that is not trusted was written by anybody."""
    config = limited(upstream, {"rate": "3/h"}, client_address={"trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8"]})
    with Client(gateways(config).address()) as client:
        statuses = [client.ask(fields=[("X-Forwarded-For", f"203.0.113.{number}, 198.51.100.7, 10.1.2.3")]).status
                    for number in range(4)]
        assert statuses == [200] * 3 + [429]
        statuses = [client.ask(fields=[("Forwarded", f"for=203.0.113.{number}, for=192.0.2.9, for=10.9.9.9")]).status
                    for number in range(4)]
        assert statuses == [200] * 3 + [429]


# Exactness

CASES = [(workers, protocol, connections) for workers in (1, 2, 4) for protocol in ("h1", "h2") for connections in (1, 100)]
BRIEF = [(1, "h1", 1), (2, "h2", 100), (4, "h1", 100), (4, "h2", 1)]


@pytest.mark.unsanitized
@pytest.mark.bound(120)
@pytest.mark.parametrize("windows", [["100/s"], ["100/s", "5000/min"]], ids=["one window", "two windows"])
@pytest.mark.parametrize("workers,protocol,connections", CASES if FULL else BRIEF)
def test_what_is_admitted_is_within_one_per_cent(gateways, upstream, workers, protocol, connections, windows):
    """Asked for more than it gives all the time, a bucket gives burst + rate x time: not more than from the first byte sent
    to the last received, nor less than from the first answer to the last question."""
    seconds = 10 if FULL else 1
    gateway = gateways(limited(upstream, {"rate": windows}, workers=workers, log={"access": {"to": "none"}}))
    clients = [(Client2 if protocol == "h2" else Client)(gateway.address()) for _ in range(connections)]
    each = max(1, 50 // connections)
    admitted = refused = 0

    def ask():
        nonlocal admitted, refused
        if protocol == "h2":
            asked = [(client, [client.request() for _ in range(each)]) for client in clients]
            statuses = [client.answer(number).status for client, numbers in asked for number in numbers]
        else:
            for client in clients:
                client.send(request() * each)
            statuses = [client.response().status for client in clients for _ in range(each)]
        admitted += statuses.count(200)
        refused += statuses.count(429)
        assert set(statuses) <= {200, 429}
        return 429 in statuses

    start = time.monotonic()
    ask()
    answered = time.monotonic()
    is_empty = False
    while time.monotonic() < start + seconds or not is_empty:
        last = time.monotonic()
        is_empty = ask()
    end = time.monotonic()
    for client in clients:
        client.close()
    most, least = 100 + 100 * (end - start), 100 + 100 * (last - answered)
    assert 0.99 * least - 1 <= admitted <= 1.01 * most + 1, (admitted, least, most)
    assert refused > 0
