"""RFC 9113 §4 HTTP Frames: format, size, field blocks."""

from frames import (
    COMPRESSION_ERROR, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, HEADERS, MAX_FRAME_SIZE,
    PADDED, PING, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block, continuation, data, frame,
    get, headers, literal, ping, post, priority, request, reset, settings, window_update)
from rows import (
    Answered, Cut, Ends, Nothing, One, Row, Some, answered, connection_error, either, settled, stream_error,
    table)

LIMIT = 16384
BLOCK = block(request())
LONG = literal("x-long", "v" * 9000)

ROWS = [
    # §4.1
    Row("4.1", "an unknown frame type on the connection", (frame(0x42, 0, 0, b"12345678"), get(1)), Answered(), One()),
    Row("4.1", "an unknown frame type on an open stream",
        (post(1), frame(0x42, 0xFF, 1, b"x"), data(1, b"y", end=True)), Answered(), One(method="POST", body=b"y")),
    Row("4.1", "an unknown frame type on an idle stream", (frame(0xFE, 0, 99, b"x"), get(1)), Answered(), One()),
    Row("4.1", "an unknown frame type of the largest size", (frame(0xFE, 0, 0, bytes(LIMIT)), get(1)), Answered(), One()),
    Row("4.1", "ALTSVC, which is for clients (RFC 7838 §4)", (frame(0xA, 0, 1, b"\x00\x00h2=\":1\""), get(1)),
        either(Answered(), stream_error(PROTOCOL_ERROR)), One()),
    Row("4.1", "ORIGIN, which is for clients (RFC 8336 §2.1)", (frame(0xC, 0, 0, b"\x00\x08http://a"), get(1)), Answered(),
        One()),
    Row("4.1", "undefined flags of PING", (frame(PING, 0xFE, 0, b"12345678"), get(1)), Answered(), One()),
    Row("4.1", "undefined flags of HEADERS", (headers(1, flags=0x50), ), Answered(), One()),
    Row("4.1", "undefined flags of DATA", (post(1), frame(DATA, 0xF6 | END_STREAM, 1, b"abc")), Answered(),
        One(method="POST", body=b"abc")),
    Row("4.1", "undefined flags of SETTINGS", (frame(SETTINGS, 0xFE), get(1)), Answered(), One()),
    Row("4.1", "the reserved bit of a stream identifier is not looked at", (frame(PING, 0, 1 << 31, b"12345678"), get(1)),
        Answered(), One()),
    Row("4.1", "the reserved bit on HEADERS", (frame(HEADERS, END_STREAM | END_HEADERS, 1 << 31 | 1, BLOCK),), Answered(),
        One()),
    # §4.2
    Row("4.2", "DATA of 16,384 bytes", (post(1), data(1, bytes(LIMIT), end=True)), Answered(),
        One(method="POST", body=bytes(LIMIT))),
    Row("4.2", "DATA of 16,385 bytes", (post(1), data(1, bytes(LIMIT + 1), end=True)),
        either(connection_error(FRAME_SIZE_ERROR), stream_error(FRAME_SIZE_ERROR)), Cut()),
    Row("4.2", "HEADERS of 16,385 bytes",
        (frame(HEADERS, END_STREAM | END_HEADERS, 1, BLOCK + bytes(LIMIT + 1 - len(BLOCK))),),
        connection_error(FRAME_SIZE_ERROR), Nothing()),
    Row("4.2", "CONTINUATION of 16,385 bytes",
        (headers(1, BLOCK, last=False), continuation(1, block([("x", "v" * (LIMIT + 1 - 6))]))),
        connection_error(FRAME_SIZE_ERROR), Nothing()),
    Row("4.2", "CONTINUATION of 16,384 bytes",
        (headers(1, BLOCK, last=False), continuation(1, block([("x", "v" * (LIMIT - 6))]))), Answered(),
        One(fields=(("x", "v" * (LIMIT - 6)),))),
    Row("4.2", "an unknown frame of 16,385 bytes", (frame(0x42, 0, 0, bytes(LIMIT + 1)), get(1)),
        connection_error(FRAME_SIZE_ERROR), Nothing()),
    Row("4.2", "the largest length of all", (frame(DATA, 0, 1, b"", length=(1 << 24) - 1),),
        either(connection_error(FRAME_SIZE_ERROR), stream_error(FRAME_SIZE_ERROR)), Nothing()),
    Row("4.2", "our own MAX_FRAME_SIZE does not change theirs",
        (settings((MAX_FRAME_SIZE, 1 << 20)), post(1), data(1, bytes(LIMIT + 1), end=True)),
        either(connection_error(FRAME_SIZE_ERROR), stream_error(FRAME_SIZE_ERROR)), Cut()),
    # §4.3
    Row("4.3", "a field block that does not decode", (headers(1, BLOCK + b"\x40"),), connection_error(COMPRESSION_ERROR),
        Nothing()),
    Row("4.3", "a field block of a malformed request still changes the table",
        (headers(1, literal("x-kept", "1", 0x40) + block(request(path=None))), settled, headers(3, BLOCK + b"\xbe")),
        Answered(stream=3), One(fields=(("x-kept", "1"),))),
    Row("4.3", "a field block of a closed stream still changes the table",
        (get(1), answered(1), headers(1, literal("x-kept", "2", 0x40)), settled, headers(3, BLOCK + b"\xbe")),
        either(Answered(stream=3), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)), Some(2)),
    Row("4.3", "an empty field block fragment before the rest",
        (headers(1, b"", last=False), continuation(1, b"", last=False), continuation(1, BLOCK)), Answered(), One()),
    Row("4.3", "a field block cut at each byte of its first field",
        (headers(1, BLOCK[:1], last=False), continuation(1, BLOCK[1:2], last=False), continuation(1, BLOCK[2:5], last=False),
         continuation(1, BLOCK[5:])), Answered(), One()),
    Row("4.3", "END_STREAM on HEADERS holds when CONTINUATION follows",
        (headers(1, BLOCK, last=False), continuation(1, LONG)), Answered(), One(fields=(("x-long", "v" * 9000),))),
]

# §4.3, §6.2, §6.10: a field block is one piece; nothing may stand in it.
BETWEEN = {
    "PRIORITY": priority(1, 0),
    "HEADERS of another stream": get(3),
    "HEADERS of the same stream": get(1),
    "DATA": data(1, b"x"),
    "PING": ping(),
    "SETTINGS": settings(),
    "WINDOW_UPDATE": window_update(0, 1),
    "RST_STREAM": reset(1),
    "GOAWAY": frame(GOAWAY, 0, 0, bytes(8)),
    "an unknown frame": frame(0x42, 0, 1, b"x"),
    "CONTINUATION of another stream": continuation(3, b""),
}
ROWS += [
    Row("4.3", f"{what} inside a field block", (headers(1, BLOCK, last=False), between, continuation(1, b"")),
        connection_error(PROTOCOL_ERROR), Nothing()) for what, between in BETWEEN.items()
]
ROWS += [
    Row("4.3", f"{what} between two CONTINUATIONs",
        (headers(1, BLOCK, last=False), continuation(1, LONG, last=False), BETWEEN[what], continuation(1, b"")),
        connection_error(PROTOCOL_ERROR), Nothing()) for what in ("DATA", "PING", "an unknown frame")
]

# §4.2: frames whose size is given by their type.
SIZES = [
    ("PING of 7 bytes", frame(PING, 0, 0, bytes(7)), "6.7"),
    ("PING of 9 bytes", frame(PING, 0, 0, bytes(9)), "6.7"),
    ("RST_STREAM of 3 bytes", frame(RST_STREAM, 0, 1, bytes(3)), "6.4"),
    ("RST_STREAM of 5 bytes", frame(RST_STREAM, 0, 1, bytes(5)), "6.4"),
    ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), "6.5"),
    ("SETTINGS of 7 bytes", frame(SETTINGS, 0, 0, bytes(7)), "6.5"),
    ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 1, bytes(3)), "6.9"),
    ("WINDOW_UPDATE of 5 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), "6.9"),
    ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), "6.8"),
    ("HEADERS with a priority of 4 bytes", frame(HEADERS, END_HEADERS | 0x20, 3, bytes(4)), "6.2"),
]
ROWS += [
    Row(clause, what, (post(1, "/hold"), wrong), connection_error(FRAME_SIZE_ERROR), Cut())
    for what, wrong, clause in SIZES
]
ROWS += [
    Row("6.2", "HEADERS without the byte that tells the padding", (post(1, "/hold"), frame(HEADERS, END_HEADERS | PADDED, 3)),
        connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR), Cut(), note="too short, or padding that does not fit"),
    Row("6.3", "PRIORITY of 4 bytes", (post(1), frame(PRIORITY, 0, 1, bytes(4)), data(1, end=True)),
        either(stream_error(FRAME_SIZE_ERROR), connection_error(FRAME_SIZE_ERROR)), Cut(),
        note="a stream error by the letter; nghttp2 ends the connection, which §5.4.2 allows for any stream error"),
    Row("6.3", "PRIORITY of 6 bytes", (post(1), frame(PRIORITY, 0, 1, bytes(6)), data(1, end=True)),
        either(stream_error(FRAME_SIZE_ERROR), connection_error(FRAME_SIZE_ERROR)), Cut(), note="as above"),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_a_frame_in_single_bytes(http2):
    """§4.1: a frame may arrive in any pieces."""
    http2.judge(Row("4.1", "single bytes", tuple(
        bytes([byte]) for byte in post(1) + data(1, b"in pieces", end=True, pad=3)), Answered(),
        One(method="POST", body=b"in pieces")))


def test_a_connection_that_ends_inside_a_frame(http2):
    """§4.1: half a frame is nothing."""
    http2.judge(Row("4.1", "half a frame", (get(1)[:-1], lambda peer: peer.socket.shutdown(1)), Ends(), Nothing()))
