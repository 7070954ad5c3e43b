"""An issuer that serves its key set over HTTP or HTTPS, and behaves as a test tells it to."""

import threading

from .bound import PATIENCE, until
from .tokens import key_set
from .wire import response


class Issuer:
    """`behave(wire, request)` answers each fetch; at first it gives the keys."""

    def __init__(self, upstreams, *keys, tls=None):
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

    def asked(self, count):
        """Waits until so many fetches have come."""
        until(lambda: self.fetches >= count, f"fetch {count} of the keys")
