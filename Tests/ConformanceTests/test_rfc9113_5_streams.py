"""RFC 9113 §5 Streams and Multiplexing: states, identifiers, concurrency, flow control, priority, errors, extensions."""

from frames import (
    FRAME_SIZE_ERROR, INITIAL_WINDOW_SIZE, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, WINDOW_UPDATE, block,
    continuation, data, frame, get, headers, ping, post, priority, request, reset, settings, window_update)
from rows import (
    Answered, Cut, Lives, Nothing, One, Row, Some, answered, connection_error, either, settled, stream_error, table)

BLOCK = block(request())
X = block([("x", "1")])

IGNORED = "§5.1 lets a frame on a closed stream be a connection error or be ignored; nghttp2 forgets closed streams"
def check(holds):
    assert holds


def send_padded(peer, stream, count):
    """One byte a frame with 255 of padding: more than the connection's window in all, as far as there is credit."""
    window = {0: 65_535, stream: 65_536}
    for left in range(count, 0, -1):
        while min(window.values()) < 257 and not peer.is_closed:
            got = peer.take()
            if got is not None and got.kind == WINDOW_UPDATE:
                window[got.stream] += int.from_bytes(got.payload, "big")
        peer.send(data(stream, b"p", end=left == 1, pad=255))
        for number in window:
            window[number] -= 257


def send_to_closed(peer, stream):
    """As much DATA as the connection's window, of 1 MiB, twice over."""
    for _ in range(16):
        peer.send(b"".join(data(stream, bytes(16384)) for _ in range(8)))
        peer.settle()


ROWS = [
    # §5.1 idle: only HEADERS and PRIORITY.
    Row("5.1", "idle: DATA", (data(1, b"x", end=True),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: empty DATA", (data(1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: RST_STREAM", (reset(1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: WINDOW_UPDATE", (window_update(1, 100),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: CONTINUATION", (continuation(1, BLOCK),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: PRIORITY", (priority(1, 0), get(1)), Answered(), One()),
    Row("5.1", "idle: DATA on a stream of the server's", (data(2, b"x"),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: RST_STREAM on a stream of the server's", (reset(2),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1", "idle: WINDOW_UPDATE on a stream of the server's", (window_update(2, 1),), connection_error(PROTOCOL_ERROR),
        Nothing()),
    # §5.1 open
    Row("5.1", "open: WINDOW_UPDATE, PRIORITY and PING between the parts of a request",
        (post(1), window_update(1, 100), priority(1, 0), ping(), data(1, b"ab"), window_update(0, 100), data(1, b"c"),
         priority(1, 0), data(1, end=True)), Answered(), One(method="POST", body=b"abc")),
    Row("5.1", "open: RST_STREAM before the body has ended", (post(1, "/left"), data(1, b"ab"), reset(1)), Lives(), Cut()),
    # §5.1 half-closed (remote)
    Row("5.1", "half-closed: DATA", (get(1, "/hold"), settled, data(1, b"x")),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Some(1),
        note="a stream error by the letter; nghttp2 ends the connection"),
    Row("5.1", "half-closed: empty DATA with END_STREAM", (get(1, "/hold"), settled, data(1, end=True)),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Some(1)),
    Row("5.1", "half-closed: HEADERS", (get(1, "/hold"), settled, headers(1, X)),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Some(1)),
    Row("5.1", "half-closed: CONTINUATION", (get(1, "/hold"), settled, continuation(1, X)),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)), Some(1),
        note="§6.10 asks for PROTOCOL_ERROR, §5.1 for STREAM_CLOSED"),
    Row("5.1", "half-closed: DATA behind trailers", (post(1, "/hold"), headers(1, X), settled, data(1, b"x")),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Some(1)),
    Row("5.1", "half-closed: WINDOW_UPDATE", (get(1, "/bytes/100"), window_update(1, 100)), Answered(size=100),
        One("/bytes/100")),
    Row("5.1", "half-closed: PRIORITY", (get(1, "/bytes/100"), priority(1, 0)), Answered(size=100), One("/bytes/100")),
    Row("5.1", "half-closed: RST_STREAM", (get(1, "/hold"), settled, reset(1)), Lives(), Some(1)),
    # §5.1 closed, by our RST_STREAM
    Row("5.1", "reset: DATA", (post(1, "/hold"), reset(1), data(1, b"x")),
        either(Lives(), stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Cut(), note=IGNORED),
    Row("5.1", "reset: HEADERS", (post(1, "/hold"), reset(1), headers(1, X)),
        either(Lives(), stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)), Cut(), note=IGNORED),
    Row("5.1", "reset: CONTINUATION", (post(1, "/hold"), reset(1), continuation(1, X)),
        connection_error(STREAM_CLOSED, PROTOCOL_ERROR), Cut()),
    Row("5.1", "reset: RST_STREAM once more", (post(1, "/hold"), reset(1), reset(1)),
        either(Lives(), connection_error(STREAM_CLOSED)), Cut()),
    Row("5.1", "reset: WINDOW_UPDATE", (post(1, "/hold"), reset(1), window_update(1, 1)),
        either(Lives(), connection_error(STREAM_CLOSED)), Cut()),
    Row("5.1", "reset: PRIORITY", (post(1, "/hold"), reset(1), priority(1, 0)), Lives(), Cut()),
    # §5.1 closed, by both ends
    Row("5.1", "closed: DATA", (get(1), answered(1), data(1, b"x")),
        either(Lives(), stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), One(), note=IGNORED),
    Row("5.1", "closed: HEADERS", (get(1), answered(1), headers(1)),
        either(Lives(), stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)), One(), note=IGNORED),
    Row("5.1", "closed: CONTINUATION", (get(1), answered(1), continuation(1, X)),
        connection_error(STREAM_CLOSED, PROTOCOL_ERROR), One()),
    Row("5.1", "closed: WINDOW_UPDATE", (get(1), answered(1), window_update(1, 1)), Lives(), One()),
    Row("5.1", "closed: RST_STREAM", (get(1), answered(1), reset(1)), Lives(), One()),
    Row("5.1", "closed: PRIORITY", (get(1), answered(1), priority(1, 0)), Lives(), One()),
    # §5.1.1
    Row("5.1.1", "an even identifier", (get(2),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("5.1.1", "identifiers with gaps", (get(5), answered(5), get(1001)), Answered(stream=1001), Some(2)),
    Row("5.1.1", "an identifier that was passed over", (get(5, "/hold/five"), settled, get(3, "/three")),
        connection_error(PROTOCOL_ERROR), One("/hold/five")),
    Row("5.1.1", "an identifier passed over before any", (get(3, "/hold/three"), settled, get(1, "/one")),
        connection_error(PROTOCOL_ERROR), One("/hold/three")),
    Row("5.1.1", "an identifier passed over, when the later stream is closed",
        (get(7, "/seven"), answered(7), get(3, "/three")), connection_error(PROTOCOL_ERROR), One("/seven")),
    Row("5.1.1", "a request on a stream that carries one", (post(1, "/hold"), settled, headers(1, end=False)),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Cut()),
    Row("5.1.1", "identifiers of the server's in PRIORITY", (priority(2, 0), priority(4, 2), get(1)), Answered(), One()),
    # §5.1.2
    Row("5.1.2", "one stream more than was announced",
        (b"".join(get(number, "/hold") for number in range(1, 203, 2)), settled, reset(1)), stream_error(REFUSED_STREAM, stream=201),
        Some(100)),
    Row("5.1.2", "a hundred streams at once", (b"".join(get(number, "/bytes/10") for number in range(1, 201, 2)),
                                               *(answered(number) for number in range(1, 201, 2))),
        Answered(stream=199), Some(100)),
    Row("5.1.2", "streams that are closed do not count",
        (*(step for number in range(1, 301, 2) for step in (get(number), answered(number))),), Answered(stream=299),
        Some(150)),
    # §5.2
    Row("5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 0: a head, and no body until there is credit",
        (get(1, "/bytes/10"), settled, lambda peer: peer.until(lambda: peer.answer(1).status == 200), settled,
         lambda peer: check(peer.answer(1).body == b""), window_update(1, 10),
         answered(1), settings((INITIAL_WINDOW_SIZE, 65_535))), Answered(size=10), One("/bytes/10"),
        start=PREFACE + settings((INITIAL_WINDOW_SIZE, 0))),
    Row("5.2", "padding counts, and its credit comes back", (post(1), lambda peer: send_padded(peer, 1, 400)), Answered(),
        One(method="POST", body=b"p" * 400)),
    Row("5.2", "DATA on a closed stream does not use up the connection's window",
        (get(1), answered(1), lambda peer: send_to_closed(peer, 1), post(3), data(3, b"x" * 16384, end=True)),
        either(Answered(stream=3), connection_error(STREAM_CLOSED)), Some(2), note=IGNORED),
    # §5.3
    Row("5.3.2", "PRIORITY that depends on itself", (priority(1, 1), get(1)), Answered(), One(), 
        note="RFC 9113 §5.3.2 has no priorities that could depend on anything"),
    Row("5.3.2", "HEADERS that depend on themselves", (headers(1, priority=(1, 16, False)),),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Nothing(),
        note="a stream error in RFC 7540 §5.3.1; nghttp2 ends the connection. RFC 9113 §5.3.2 asks for nothing"),
    Row("5.3.2", "HEADERS with a deprecated priority", (headers(1, priority=(0, 256, True)),), Answered(), One()),
    Row("5.3.2", "HEADERS with a priority and padding", (headers(1, priority=(0, 1, False), pad=200),), Answered(), One()),
    Row("5.3.2", "a dependency on a stream that is not", (headers(1, priority=(77, 16, False)),), Answered(), One()),
    Row("5.3.2", "PRIORITY with weights 1 and 256", (priority(1, 0, 1), priority(1, 0, 256), get(1)), Answered(), One()),
    Row("5.3.2", "PRIORITY, exclusive, around a ring", (priority(1, 3, 16, True), priority(3, 1, 16, True), get(1)),
        Answered(), One()),
    Row("5.3.2", "PRIORITY of an idle stream above, then a lower one", (priority(5, 0, 16), get(1)), Answered(), One()),
    # §5.4
    Row("5.4.1", "a connection error is told by GOAWAY, then the connection ends", (get(1, "/hold"), settled, ping(b"short")),
        connection_error(FRAME_SIZE_ERROR), Some(1)),
    Row("5.4.1", "what comes behind a connection error is not looked at", (ping(b"short") + get(1, "/late"),),
        connection_error(FRAME_SIZE_ERROR), Nothing()),
    Row("5.4.2", "a stream error leaves the other streams alone",
        (post(1), headers(3, request(path=None)), data(1, b"x", end=True)), Answered(), One(method="POST", body=b"x")),
    Row("5.4.2", "frames behind a stream error are not taken for errors",
        (headers(1, request(path=None, method="POST"), end=False) + data(1, b"x") + window_update(1, 5) + headers(1, X),),
        stream_error(PROTOCOL_ERROR), Nothing()),
    # §5.5
    Row("5.5", "an unknown frame between the frames of a request",
        (post(1), frame(0x99, 0, 1, b"?"), data(1, b"x", end=True)), Answered(), One(method="POST", body=b"x")),
    Row("5.5", "an unknown setting", (settings((0x99, 1), (0xFFFF, 0xFFFFFFFF)), get(1)), Answered(), One()),
    Row("5.5", "an unknown frame on a stream of the server's", (frame(0x99, 0, 2, b"?"), get(1)), Answered(), One()),
    Row("5.5", "PRIORITY_UPDATE (RFC 9218 §7.1)", (frame(0x10, 0, 0, b"\x00\x00\x00\x01u=1"), get(1)), Answered(), One()),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)
