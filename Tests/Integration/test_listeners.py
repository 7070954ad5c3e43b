"""Listening sockets: what each takes, and where it stands."""

from harness.bound import until
from harness.gateway import plain
from harness.wire import Client, Closed


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
