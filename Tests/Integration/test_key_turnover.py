"""Tokens of a new key while the fetch that brings the key comes to its end."""

import pytest

from harness.bound import SANITIZER
from harness.issuer import Issuer, again_where_the_second_passed, guarded
from harness.tokens import bearer
from harness.wire import Client, request

pytestmark = [pytest.mark.alone] if SANITIZER else []

CONNECTIONS, SWEEPS = 40, 20


@pytest.fixture
def issuer(upstreams, key):
    return Issuer(upstreams, key)


@again_where_the_second_passed
def test_no_good_token_is_refused_as_a_fetch_begins_and_ends(gateways, upstream, issuer, key, other_key):
    """A worker may see that no fetch is under way before it has the keys that the last one brought: both are told to it apart."""
    gateway = gateways(guarded(upstream, issuer.url()))
    gateway.event("keys_fetched", issuer="main")
    issuer.hold()
    issuer.keys = (key, other_key)
    sent = request(fields=bearer(other_key.token()))
    clients = [Client(gateway.address()) for _ in range(CONNECTIONS)]
    try:
        # All at once with the one that begins the fetch.
        for client in clients:
            client.send(sent)
        issuer.asked(2)
        issuer.release()
        # One after the other, so that some arrive at each moment of it.
        for _ in range(SWEEPS):
            for client in clients:
                client.send(sent)
        statuses = {client.response().status for _ in range(SWEEPS + 1) for client in clients}
    finally:
        for client in clients:
            client.close()
    assert statuses == {200}
    assert issuer.fetches == 2
