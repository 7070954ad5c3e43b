"""An issuer that serves its key set over HTTP or HTTPS, and behaves as a test tells it to."""

import functools
import threading

from .bound import PATIENCE, until
from .gateway import plain
from .tokens import key_set
from .wire import response

ATTEMPTS = 5


def guarded(upstream, url, **keys):
    """A configuration in which every route asks for a token of the issuer whose keys are at `url`."""
    config = plain(upstream)
    config["admin"] = {"listen": "127.0.0.1:0"}
    config["auth"] = {"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"url": url, **keys}}}}
    config["defaults"] = {"auth": "main", "limits": []}
    return config


class Issuer:
    """`behave(wire, request)` answers each fetch; at first it gives the keys."""

    def __init__(self, upstreams, *keys, tls=None):
        self._first = keys
        self.keys = keys
        self.fields = []
        self.fetches = 0
        self.behave = self.give
        self._gate = threading.Event()
        self._gate.set()
        self._upstream = upstreams(self._answer, tls=tls)
        self.scheme = "https" if tls else "http"
        self.port = self._upstream.port

    def _answer(self, wire, request):
        self.fetches += 1
        assert request.method == "GET" and request.get("accept-encoding") == "identity", request.fields
        return self.behave(wire, request)

    def url(self, host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.port}/.well-known/jwks.json"

    def give(self, wire, request):
        wire.send(response(200, [("Content-Type", "application/json"), *self.fields], key_set(*self.keys).encode()))
        return False

    def say(self, status, fields=(), body=b""):
        """Answers each fetch with that from now on."""
        def behave(wire, request):
            wire.send(response(status, fields, body))
            return False
        self.behave = behave

    def hold(self):
        """Keeps each fetch waiting until `release`, and then gives the keys that it has by then."""
        self._gate.clear()

        def behave(wire, request):
            assert self._gate.wait(PATIENCE)
            return self.give(wire, request)
        self.behave = behave

    def release(self):
        self._gate.set()
        self.behave = self.give

    def renew(self):
        """Lets go whoever waits, and is as it was made."""
        self._gate.set()
        self.keys, self.fields, self.fetches, self.behave = self._first, [], 0, self.give

    def asked(self, count):
        """Waits until so many fetches have come."""
        until(lambda: self.fetches >= count, f"fetch {count} of the keys")


def again_where_the_second_passed(test):
    """Who waits for a key waits a second, and a machine where six builds run may not get round to what a test does meanwhile.
    Where its gateway's log tells of an exchange of about a second, a test that failed is done anew, some times."""
    @functools.wraps(test)
    def attempts(gateways, issuer, **others):
        for left in reversed(range(ATTEMPTS)):
            made = []

            def make(*arguments, made=made, **options):
                made.append(gateways(*arguments, **options))
                return made[-1]

            try:
                return test(gateways=make, issuer=issuer, **others)
            except AssertionError:
                issuer.renew()
                for gateway in made:
                    gateway.stop()
                lines = [line for gateway in made for line in gateway.access.all]
                if left == 0 or not any(line["duration_us"] >= 900_000 for line in lines):
                    raise
    return attempts
