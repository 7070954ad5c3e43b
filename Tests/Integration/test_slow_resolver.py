"""A name server that never answers: what waits for it waits no longer than its limit, and ends at once when it is told to."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import names
from harness.bound import PATIENCE, SANITIZER, until
from harness.gateway import binary, plain
from harness.tokens import bearer
from harness.wire import Client, problem

# A sanitizer's library wants to be the first that is loaded.
pytestmark = pytest.mark.skipif(bool(SANITIZER), reason="a library is preloaded")

SOURCE = Path(__file__).parent / "fixtures" / "slow_resolver.c"
# How soon a gateway ends that is told to.
ENDING = 2


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("resolver") / "slow_resolver.so"
    subprocess.run(["cc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True,
                   timeout=PATIENCE)
    return made


class Resolver:
    def __init__(self, folder, library):
        self.file = folder / "asked"
        self.environment = {"LD_PRELOAD": str(library), "SLOW_RESOLVER_ASKED": str(self.file)}

    def asked(self, count=1):
        """Waits until so many names have been asked for that have no answer."""
        until(lambda: self.file.exists() and self.file.stat().st_size >= count, f"question {count}")


@pytest.fixture
def resolver(tmp_path, library):
    return Resolver(tmp_path, library)


def elsewhere(upstream, *services):
    return plain(upstream, services={"up": {"to": [f"http://{each}" for each in services]}})


def keyed(upstream):
    """Keys are fetched from an issuer whose name has no answer."""
    return plain(
        upstream, admin={"listen": "127.0.0.1:0"},
        auth={"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                               "keys": {"url": "http://issuer.slow/jwks.json"}}}},
        defaults={"auth": "main", "limits": []})


@pytest.fixture
def starting(tmp_path):
    """Starts a gateway without waiting for its listeners."""
    begun = []

    def start(config, resolver):
        file = tmp_path / "start.yaml"
        file.write_text(json.dumps(config, indent=1))
        begun.append(subprocess.Popen(
            [binary(), "run", "--config", str(file)], env={**os.environ, **resolver.environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        return begun[-1]
    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended_by(process, number):
    """The status of a process that is told to end, within the time for it."""
    process.send_signal(number)
    return process.wait(ENDING)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_waits_for_a_name_server_ends_when_it_is_told_to(starting, resolver, upstream, number):
    process = starting(elsewhere(upstream, "a.slow:80", "127.0.0.1:1"), resolver)
    resolver.asked()
    # What is no end changes nothing.
    process.send_signal(signal.SIGHUP)
    assert ended_by(process, number) == 0
    assert b'"stopped"' in process.stderr.read()


def test_a_reload_that_waits_for_a_name_server_does_not_hold_up_the_end(gateways, resolver, upstream):
    gateway = gateways(plain(upstream), environment=resolver.environment)
    gateway.write(elsewhere(upstream, "a.slow:80", "b.slow:80"))
    gateway.signal(signal.SIGHUP)
    resolver.asked(2)
    # The client goes before: a connection that is open is drained, which has a time of its own.
    with Client(gateway.address()) as client:
        assert client.ask().status == 200
    assert ended_by(gateway.process, signal.SIGTERM) == 0


def test_keys_whose_issuer_has_no_address_do_not_hold_up_the_end(gateways, resolver, upstream):
    gateway = gateways(keyed(upstream), environment=resolver.environment)
    resolver.asked()
    assert ended_by(gateway.process, signal.SIGTERM) == 0


def test_after_ten_seconds_a_start_a_reload_and_a_fetch_say_what_had_no_answer(
        starting, gateways, resolver, upstream, clients, key):
    """All three at the same time, since each takes ten seconds."""
    began = time.monotonic()
    start = starting(elsewhere(upstream, "a.slow:80", "localhost:80", "b.slow:80"), resolver)
    gateway = gateways(keyed(upstream), environment=resolver.environment)
    other = keyed(upstream)
    other["services"]["up"]["to"] = ["http://c.slow"]
    gateway.write(other)
    seen = len(gateway.events.all)
    gateway.signal(signal.SIGHUP)
    resolver.asked(4)

    _, error = start.communicate(timeout=PATIENCE)
    assert start.returncode == 1
    told = re.findall(r"start\.yaml:\d+:\d+: error: (.*)", error.decode())
    assert told == ["cannot resolve 'a.slow': no answer within 10 s", "cannot resolve 'b.slow': no answer within 10 s"]
    event = gateway.event(names.RELOAD_REFUSED, start=seen)
    assert re.search(r"gatehouse\.yaml:\d+:\d+: error: cannot resolve 'c\.slow': no answer within 10 s", event["reason"])
    event = gateway.event("keys_fetch_failed", issuer="main")
    assert event["reason"] == "the name cannot be resolved: no answer within 10 s"
    # Two of one file, one after the other, would take twenty.
    assert 10 <= time.monotonic() - began < 19
    # What ran goes on, and the next reload is none the worse.
    problem(clients(gateway).ask(fields=bearer(key.token())), "keys_unavailable")
    gateway.reload(plain(upstream, admin={"listen": "127.0.0.1:0"}))
    assert clients(gateway).ask().status == 200
