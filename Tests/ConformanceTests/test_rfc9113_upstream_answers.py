"""RFC 9113 §8 for what a service of HTTP/2 sends: a malformed answer is 502 and nothing of it is passed on, over either
protocol of a client; the connection to the service and the streams beside it go on."""

import contextlib

import pytest

from frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Peer, block, frame, get
from harness.gateway import Gateway, plain
from harness.http2 import Client2
from harness.upstream2 import Upstream2
from harness.wire import Client

OK = [(":status", "200")]


def case(clause, name, *frames):
    """What is sent for a stream: each part is (kind, flags, payload)."""
    return pytest.param(frames, id=f"RFC {clause}: {name}")


def head(fields, end=True):
    return HEADERS, END_HEADERS | (END_STREAM if end else 0), fields if isinstance(fields, bytes) else block(fields)


def long_head(fields):
    """A head of more than a frame: HEADERS and CONTINUATION (§6.10)."""
    text = block(fields)
    pieces = [text[at:at + 16384] for at in range(0, len(text), 16384)]
    kinds = [HEADERS] + [CONTINUATION] * (len(pieces) - 1)
    ends = [0] * (len(pieces) - 1) + [END_HEADERS]
    return [(kind, end | (END_STREAM if kind == HEADERS else 0), piece)
            for kind, end, piece in zip(kinds, ends, pieces)]


MALFORMED = [
    *(case("9113 8.2.1", f"a name with {what}", head(OK + [(name, "1")])) for what, name in [
        ("an upper-case letter", "X-A"), ("a space", "x a"), ("a colon inside", "x:a"), ("NUL", "x\0a"), ("CR LF", "x\r\na"),
        ("DEL", "x\x7f"), ("a byte above ASCII", "x\xe9"), ("a tab", "x\ta"), ("nothing", ""), ("a parenthesis", "x(a")]),
    *(case("9113 8.2.1", f"a value with {what}", head(OK + [("x-a", value)])) for what, value in [
        ("NUL", "a\0b"), ("CR", "a\rb"), ("LF", "a\nb"), ("CR LF", "a\r\nx-b: c"), ("a line end last", "a\n"), ("DEL", "a\x7fb"),
        ("a control byte", "a\x01b")]),
    *(case("9113 8.2.2", f"{name}: {value}", head(OK + [(name, value)])) for name, value in [
        ("connection", "close"), ("connection", "x-a"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"), ("upgrade", "websocket"), ("te", "gzip")]),
    *(case("9113 8.3", name, head(fields)) for name, fields in [
        ("a pseudo-field behind a field", [("x-a", "1"), (":status", "200")]), ("a pseudo-field twice", OK + OK),
        ("a pseudo-field that differs", OK + [(":status", "204")]), (":method in an answer", OK + [(":method", "GET")]),
        (":path in an answer", OK + [(":path", "/")]), ("an unknown pseudo-field", OK + [(":reason", "OK")]),
        ("an unknown pseudo-field first", [(":reason", "OK")] + OK)]),
    *(case("9113 8.3.2", f":status '{status}'", head([(":status", status)])) for status in
      ["", "2", "20", "2000", "abc", "+20", " 200", "200 ", "099", "600", "0x8", "101"]),
    case("9113 8.3.2", "no :status", head([("x-a", "1")])),
    case("9113 8.1", "an interim head that ends the stream", head([(":status", "103")])),
    case("9113 8.1", "100 that ends the stream", head([(":status", "100")])),
    *(case("9113 8.1.1", f"content-length: {value}", head(OK + [("content-length", value)])) for value in
      ["", "-1", "+1", "five", "0x5", "5, 5", "5 5", "99999999999999999999"]),
    case("9113 8.1.1", "two lengths, alike", head(OK + [("content-length", "0")] * 2)),
    case("9113 8.1.1", "two lengths, different", head(OK + [("content-length", "0"), ("content-length", "1")])),
    case("9113 10.5.1", "257 fields", head(OK + [("a", "b")] * 257)),
    case("9113 10.5.1", "a head of more than 60 KiB", *long_head(OK + [("x-a", "a" * 61440)])),
    case("9113 10.5.1", "61 fields of a KiB", *long_head(OK + [(f"x-{n}", "a" * 1024) for n in range(61)])),
]


class Service:
    """A service of HTTP/2 whose next answer is `frames`, or a good one; and a gateway before it."""

    def __init__(self, folder):
        self.frames = None
        self.upstream = Upstream2(self._answer)
        config = plain(self.upstream, workers=1)
        config["services"]["up"]["to"] = [f"h2c://{self.upstream.address}"]
        self.gateway = Gateway(folder, config)

    def _answer(self, peer, call):
        frames, self.frames = self.frames, None
        if frames is None:
            peer.answer(call.number, 200, [("x-next", "1")], b"good")
        else:
            peer.raw(b"".join(frame(kind, flags, call.number, payload) for kind, flags, payload in frames))

    def close(self):
        self.gateway.stop()
        self.upstream.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("service"))
    yield made
    made.close()


@pytest.mark.parametrize("frames", MALFORMED)
def test_a_malformed_answer_is_502(service, frames):
    """To a client of HTTP/1.1; its next request gets its own answer on the same connections."""
    connections = service.upstream.connections
    with contextlib.closing(Client(service.gateway.address())) as client:
        service.frames = frames
        # Not idempotent: it is not asked again.
        answer = client.ask("POST", body=b"x")
        assert answer.status == 502, answer
        assert answer.json()["reason"] in ("upstream_invalid", "upstream_reset"), answer.body
        assert not [name for name in answer.field_names() if name.startswith("x-") and name != "x-request-id"]
        following = client.ask("GET")
        assert (following.status, following.body) == (200, b"good")
    assert service.upstream.connections <= connections + 1


@pytest.mark.parametrize("frames", MALFORMED[::3])
def test_a_malformed_answer_is_502_over_http2(service, frames):
    with contextlib.closing(Peer(service.gateway.address())) as peer:
        service.frames = frames
        peer.send(get(1))
        peer.until(lambda: peer.answer(1).is_over)
        assert peer.answer(1).status in (502, 200), peer.answer(1)
        if peer.answer(1).status == 200:
            # GET is idempotent: it may have been asked again, and got the good answer.
            assert peer.answer(1).body == b"good"
        peer.send(get(3))
        peer.until(lambda: peer.answer(3).is_over)
        assert (peer.answer(3).status, peer.answer(3).body) == (200, b"good")


@pytest.mark.parametrize("end", [(HEADERS, END_HEADERS | END_STREAM, block([("x-sum", "abc")])), (DATA, END_STREAM, b"")])
def test_behind_a_length_of_zero_the_stream_says_its_end(service, end):
    """RFC 9113 §8.1, §8.1.1: trailers, or DATA without a byte. The answer is whole, and the stream is not reset."""
    zero = head(OK + [("content-length", "0")], end=False)
    resets = service.upstream.resets.qsize()
    with contextlib.closing(Client(service.gateway.address())) as client:
        service.frames = [zero, end]
        answer = client.ask("POST", body=b"x")
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "0", b""), answer
        following = client.ask("GET")
        assert (following.status, following.body) == (200, b"good")
    with Client2(service.gateway.address()) as client:
        service.frames = [zero, end]
        answer = client.answer(client.request("POST"))
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "0", b"")
        assert answer.trailers == ([("x-sum", "abc")] if end[0] == HEADERS else [])
        assert client.answer(client.request("GET")).body == b"good"
    # What was answered last came behind any reset.
    assert service.upstream.resets.qsize() == resets
