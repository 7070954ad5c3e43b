"""What an HTTP/2 case is: a clause, frames, what the client must see, what the upstream must have received."""

import json
from dataclasses import dataclass

import pytest

from frames import (
    COMPRESSION_ERROR, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, INTERNAL_ERROR, NO_ERROR, PREFACE,
    PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, Peer, get, settings)
from harness.bound import until
from harness.gateway import Gateway, plain
from harness.http2 import Client2
from recorder import Recorder

CODES = {
    NO_ERROR: "NO_ERROR", PROTOCOL_ERROR: "PROTOCOL_ERROR", INTERNAL_ERROR: "INTERNAL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR", STREAM_CLOSED: "STREAM_CLOSED", FRAME_SIZE_ERROR: "FRAME_SIZE_ERROR",
    REFUSED_STREAM: "REFUSED_STREAM", COMPRESSION_ERROR: "COMPRESSION_ERROR", ENHANCE_YOUR_CALM: "ENHANCE_YOUR_CALM",
}
# The stream on which a row's connection is asked once more: above every stream of a row.
LAST_STREAM = 10_001


# What the client sees. Each says what is wrong, or `None`.

@dataclass(frozen=True)
class Lives:
    """Nothing comes of it: no reset, and the connection goes on."""

    def wait(self, peer):
        peer.settle()

    def wrong(self, peer):
        if peer.goaways or peer.is_closed:
            return f"the connection ended with {[CODES.get(code, code) for code in peer.goaways]}"
        resets = {stream: answer.reset for stream, answer in peer.answers.items() if answer.reset is not None}
        return f"streams were reset: {resets}" if resets else None


@dataclass(frozen=True)
class Answered:
    """A whole answer with this status; the connection goes on."""
    status: int = 200
    stream: int = 1
    reason: str = None
    size: int = None

    def wait(self, peer):
        peer.until(lambda: peer.answer(self.stream).is_over)

    def wrong(self, peer):
        if peer.goaways or peer.is_closed:
            return f"the connection ended with {[CODES.get(code, code) for code in peer.goaways]}"
        answer = peer.answer(self.stream)
        if answer.reset is not None and not answer.is_ended:
            return f"stream {self.stream} was reset with {CODES.get(answer.reset, answer.reset)}"
        if answer.status != self.status or not answer.is_ended:
            return f"stream {self.stream} got {answer.status}, ended: {answer.is_ended}"
        if self.size is not None and len(answer.body) != self.size:
            return f"stream {self.stream} got {len(answer.body)} bytes"
        if self.reason is not None and json.loads(answer.body)["reason"] != self.reason:
            return f"stream {self.stream} got {answer.body}"
        return None


@dataclass(frozen=True)
class StreamError:
    """RST_STREAM with one of these codes and no whole good answer (§5.4.2); the connection goes on."""
    codes: frozenset
    stream: int = 1

    def wait(self, peer):
        peer.settle()

    def wrong(self, peer):
        if peer.goaways or peer.is_closed:
            return f"the connection ended with {[CODES.get(code, code) for code in peer.goaways]}"
        answer = peer.answer(self.stream)
        if answer.reset not in self.codes:
            return f"stream {self.stream}: reset {CODES.get(answer.reset, answer.reset)}, status {answer.status}"
        return None


@dataclass(frozen=True)
class ConnectionError_:
    """GOAWAY with one of these codes, then the end of the connection (§5.4.1)."""
    codes: frozenset

    def wait(self, peer):
        peer.settle()

    def wrong(self, peer):
        if not peer.is_closed:
            return "the connection goes on"
        if not peer.goaways or peer.goaways[-1] not in self.codes:
            return f"GOAWAY {[CODES.get(code, code) for code in peer.goaways]}"
        return None


@dataclass(frozen=True)
class Ends:
    """The end of the connection, with or without GOAWAY (§3.4 leaves it out)."""

    def wait(self, peer):
        peer.settle()

    def wrong(self, peer):
        return None if peer.is_closed else "the connection goes on"


@dataclass(frozen=True)
class Either:
    """What the RFC leaves open."""
    choices: tuple

    def wait(self, peer):
        for choice in self.choices:
            choice.wait(peer)

    def wrong(self, peer):
        found = [choice.wrong(peer) for choice in self.choices]
        return None if None in found else "; ".join(found)


def stream_error(*codes, stream=1):
    return StreamError(frozenset(codes), stream)


def connection_error(*codes):
    return ConnectionError_(frozenset(codes))


def either(*choices):
    return Either(choices)


def malformed(stream=1):
    """§8.1.1: malformed requests are stream errors of type PROTOCOL_ERROR. A server may answer them first."""
    return either(stream_error(PROTOCOL_ERROR, stream=stream), Answered(400, stream))


# What the upstream received.

@dataclass(frozen=True)
class Nothing:
    def wrong(self, requests, recorder):
        return f"the upstream received {requests}" if requests else None


@dataclass(frozen=True)
class One:
    """Exactly one whole request, with these fields among others (`None`: none of that name)."""
    target: str = "/"
    method: str = "GET"
    body: bytes = b""
    fields: tuple = ()
    trailers: tuple = None

    def wrong(self, requests, recorder):
        if len(requests) != 1:
            return f"the upstream received {requests}"
        got = requests[0]
        if not got.is_complete or (got.method, got.target) != (self.method, self.target):
            return f"the upstream received {got}"
        if got.body != self.body:
            return f"the upstream received the body {got.body[:80]!r}"
        if self.trailers is not None and got.trailers != list(self.trailers):
            return f"the upstream received the trailers {got.trailers}"
        for name, value in self.fields:
            if got.all(name) != ([] if value is None else [value]):
                return f"the upstream received {name}: {got.all(name)}"
        return None


@dataclass(frozen=True)
class Some:
    """So many whole requests, whatever they are."""
    count: int

    def wrong(self, requests, recorder):
        isWhole = len(requests) == self.count and all(request.is_complete for request in requests)
        return None if isWhole else f"the upstream received {requests}"


@dataclass(frozen=True)
class Cut:
    """The beginning of one request at most, whose connection ended before it was whole: no service can take it for a
    request."""

    def wrong(self, requests, recorder):
        if len(requests) > 1:
            return f"the upstream received {requests}"
        for request in requests:
            recorder.until_cut(request)
            if request.is_complete:
                return f"the upstream received {request} whole"
        return None


@dataclass(frozen=True)
class CutOr:
    """`Cut`, or the whole request that stood there before what was wrong came."""
    whole: One

    def wrong(self, requests, recorder):
        return self.whole.wrong(requests, recorder) and Cut().wrong(requests, recorder)


@dataclass(frozen=True)
class Row:
    clause: str
    title: str
    # Bytes to send, and functions of the peer to wait for something.
    steps: tuple
    client: object
    upstream: object
    # Where what we do is one of several things that the RFC allows.
    note: str = ""
    start: bytes = PREFACE + settings()


def answered(stream=1):
    """A step: the answer on this stream is whole."""
    return lambda peer: peer.until_answered(stream)


def settled(peer):
    """A step: what was sent so far has had its effect."""
    peer.settle()


def table(rows, rfc="9113"):
    """The rows as parameters, each named by its clause; two of one name would hide one another."""
    names = [f"RFC {rfc} {row.clause}: {row.title}" for row in rows]
    assert len(set(names)) == len(names), "two rows have one name"
    return pytest.mark.parametrize("row", rows, ids=names)


class Stage:
    """A gateway before a recording upstream, for all rows; a client beside that never does anything wrong.

    One worker, so that what a row has sent is decided before the question that the good client asks after it."""

    def __init__(self, folder):
        self.recorder = Recorder()
        # Rows draw resets on connections of their own; the limit is somebody else's test.
        # The good client may have nothing to do for minutes: tests that run alone hold up all others.
        self.gateway = Gateway(folder, plain(self.recorder, workers=1, limits_of_http={"idle_timeout": "10m"}))
        self.address = self.gateway.address()
        self.good = Client2(self.address)

    def close(self):
        self.good.close()
        self.gateway.stop()
        self.recorder.close()

    def ask_beside(self):
        """The good client must see no error, whatever its neighbours do. Twice: a connection to the upstream that was
        begun before the first answer has been written to before the second."""
        for _ in range(2):
            assert self.good.ask(path="/good").status == 200
        assert not self.good.goaways

    def judge(self, row):
        start = len(self.recorder.requests)
        peer = Peer(self.address, row.start)
        try:
            for step in row.steps:
                if isinstance(step, bytes):
                    peer.send(step)
                else:
                    step(peer)
            row.client.wait(peer)
            found = row.client.wrong(peer)
            assert found is None, f"{found}; frames: {peer.frames}"
            if not peer.is_closed:
                # The connection serves on, whatever came of the row's own stream.
                peer.send(get(LAST_STREAM, "/after"))
                peer.until_answered(LAST_STREAM)
                assert peer.answer(LAST_STREAM).status == 200, f"the connection is of no use: {peer.frames}"
            self.ask_beside()
            received = [
                request for request in self.recorder.requests[start:] if request.target not in ("/after", "/good")]
            found = row.upstream.wrong(received, self.recorder)
            assert found is None, found
            assert not self.recorder.failures, self.recorder.failures
        finally:
            peer.close()
            del self.recorder.failures[:]


@pytest.fixture(scope="session")
def http2(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("http2"))
    yield stage
    stage.close()


def arrived(stage, path):
    """Waits until the upstream has seen a request for `path`."""
    until(lambda: any(request.target == path for request in stage.recorder.requests), f"{path} at the upstream")
