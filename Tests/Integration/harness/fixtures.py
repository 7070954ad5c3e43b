"""Fixtures and hooks that every suite of the running gateway shares, by `from harness.fixtures import *`: each fixture ends
what it began, by its own handle, whether the test passed or not."""

import fcntl
import os
import signal

import pytest

from .bound import FULL, PATIENCE, SANITIZER
from .gateway import Gateway, plain
from .tokens import Certificate, Key, key_set
from .upstream import Upstream
from .upstream2 import Upstream2
from .wire import Client


def pytest_configure(config):
    config.addinivalue_line("markers", "bound(seconds): a test that may take longer than the others")
    config.addinivalue_line("markers", "unsanitized: measures, and so says nothing about a sanitizer build")
    config.addinivalue_line("markers", "alone: runs while no other test does")


def pytest_sessionstart():
    if not os.environ.get("GATEHOUSE_BIN"):
        pytest.exit("GATEHOUSE_BIN must name the gateway's program; `make integration` sets it", returncode=2)


def _is_alone(item):
    """What measures wants the machine for itself."""
    return bool(item.get_closest_marker("alone") or item.get_closest_marker("unsanitized"))


def pytest_collection_modifyitems(items):
    for item in items:
        if SANITIZER and item.get_closest_marker("unsanitized"):
            item.add_marker(pytest.mark.skip(reason="measures what a sanitizer changes"))
    # Last, so that the others wait for them once.
    items.sort(key=_is_alone)


@pytest.fixture(scope="session")
def turnstile(tmp_path_factory):
    """Two locks that the processes of one run share; `None` where there is one process."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield None
        return
    # The processes' folders have one parent.
    folder = tmp_path_factory.getbasetemp().parent
    with open(folder / "gate", "w") as gate, open(folder / "room", "w") as room:
        yield gate, room


@pytest.fixture(autouse=True)
def turn(request, turnstile):
    """Most tests wait more than they work, and run beside each other; one that is `alone` waits until no other runs. What
    fixtures of a module or a session begin is not waited for."""
    if turnstile is None:
        yield
        return
    gate, room = turnstile
    # Whoever waits for the room holds the gate, so that nobody comes in before.
    fcntl.flock(gate, fcntl.LOCK_EX)
    fcntl.flock(room, fcntl.LOCK_EX if _is_alone(request.node) else fcntl.LOCK_SH)
    fcntl.flock(gate, fcntl.LOCK_UN)
    yield
    fcntl.flock(room, fcntl.LOCK_UN)


@pytest.fixture(autouse=True)
def bound(request, turn):
    """No test runs on for ever, whatever it waits for."""
    marker = request.node.get_closest_marker("bound")
    seconds = int(marker.args[0] if marker else 6 * PATIENCE) * (10 if FULL else 1)

    def expired(*_):
        raise AssertionError(f"the test took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _making(kind):
    """Makes as many of the kind as a test wants, and closes them behind it."""
    made = []

    def make(*arguments, **options):
        made.append(kind(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def upstreams():
    """Makes upstreams."""
    yield from _making(Upstream)


@pytest.fixture
def services():
    """Makes services of HTTP/2."""
    yield from _making(Upstream2)


@pytest.fixture
def upstream(upstreams):
    """An upstream that echoes."""
    return upstreams()


@pytest.fixture
def gateways(tmp_path):
    """Makes gateways: `gateways(config)`."""
    made = []

    def make(config, **options):
        folder = tmp_path / f"gateway-{len(made)}"
        folder.mkdir()
        made.append(Gateway(folder, config, **options))
        return made[-1]

    yield make
    errors = []
    for gateway in made:
        try:
            gateway.stop()
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def gateway(gateways, upstream):
    """The plain configuration before the echoing upstream."""
    return gateways(plain(upstream))


@pytest.fixture
def clients():
    """Makes client connections: `clients(gateway)`."""
    made = []

    def make(gateway, listener=None, **options):
        made.append(Client(gateway.address(listener), **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(clients, gateway):
    return clients(gateway)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    return Key(tmp_path_factory.mktemp("key"), "key-1")


@pytest.fixture
def keys_file(tmp_path, key):
    """The key set of `key`, as a file that a configuration may name."""
    file = tmp_path / "jwks.json"
    file.write_text(key_set(key))
    return file


@pytest.fixture(scope="session")
def other_key(tmp_path_factory):
    return Key(tmp_path_factory.mktemp("other-key"), "key-2")
