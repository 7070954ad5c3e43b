"""What an idle TLS connection costs after one request. `Benchmarks/idle-memory` asks 5,000 of them,
beside nginx; here a crowd that a build machine can carry says the same."""

import pytest

from harness import crowd
from harness.bound import FULL, until
from harness.gateway import plain
from harness.wire import response

WARM = 100
CROWD = 5_000 if FULL else 2_000
# Pages of the program that come back in the meantime are a mebibyte or so: much for so few.
KIND = "Pss" if FULL else "Pss_Anon"


def answer(wire, _):
    wire.send(response(200, body=b"x" * 128))
    return True


@pytest.mark.bound(300)
@pytest.mark.unsanitized
@pytest.mark.parametrize("protocol,limit", [("h2", 16.0), ("http/1.1", 15.0)])
def test_an_idle_connection_costs_no_more_than_it_may(gateways, upstreams, certificate, protocol, limit):
    listener = {"bind": ["127.0.0.1:0"], "tls": certificate.settings(), "protocols": ["h2", "http/1.1"],
                "connections": {"per_client": 100_000}}
    gateway = gateways(plain(upstreams(answer), workers=1, log={"access": {"to": "none"}},
                             listeners={"http": listener}))
    tls = certificate.client(protocol)
    sockets = crowd.crowd(gateway.address(), WARM, protocol, tls)
    before = crowd.pss_bytes(gateway.process.pid, KIND)
    sockets += crowd.crowd(gateway.address(), CROWD, protocol, tls)
    grown = []

    def is_small():
        grown.append((crowd.pss_bytes(gateway.process.pid, KIND) - before) / CROWD / 1024)
        return grown[-1] <= limit

    # A session of HTTP/2 gives its memory back when it has been idle for a second.
    try:
        until(is_small, f"at most {limit} KiB a connection")
    finally:
        for sock in sockets:
            sock.close()
        print(f"{grown[-1]:.2f} KiB a connection")
