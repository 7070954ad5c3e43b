"""RFC 9113 §6 Frame Definitions: what each frame must and must not be."""

from frames import (
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, PADDED,
    PING, PREFACE, PROTOCOL_ERROR, PUSH_PROMISE, SETTINGS, STREAM_CLOSED, block,
    continuation, data, dependency, frame, get, goaway, headers, ping, post, priority, request, reset, settings,
    window_update)
from rows import (
    Answered, Cut, Ends, Lives, Nothing, One, Row, Some, answered, connection_error, either, settled, stream_error, table)

BLOCK = block(request())
MAX_WINDOW = (1 << 31) - 1


def sizes(peer, stream):
    """Lengths of the DATA frames that came on a stream."""
    return [len(got.payload) for got in peer.frames if got.kind == DATA and got.stream == stream]


def has_body(count, stream=1):
    """A step: exactly so many bytes come, and no more of them while nothing is sent."""
    def wait(peer):
        peer.until(lambda: len(peer.answer(stream).body) >= count)
        peer.settle()
        assert len(peer.answer(stream).body) == count, f"{len(peer.answer(stream).body)} bytes"
    return wait


ROWS = [
    # §6.1
    Row("6.1", "DATA in several frames", (post(1), data(1, b"a"), data(1, b"b"), data(1, b"c", end=True)), Answered(),
        One(method="POST", body=b"abc")),
    Row("6.1", "DATA with padding", (post(1), data(1, b"abc", end=True, pad=17)), Answered(), One(method="POST", body=b"abc")),
    Row("6.1", "DATA with padding of no length", (post(1), data(1, b"abc", end=True, pad=0)), Answered(),
        One(method="POST", body=b"abc")),
    Row("6.1", "DATA that is padding alone", (post(1), data(1, b"", pad=255), data(1, b"", end=True, pad=255)), Answered(),
        One(method="POST")),
    Row("6.1", "DATA with padding that is not zero", (post(1), frame(DATA, PADDED | END_STREAM, 1, b"\x03abcXYZ")),
        either(Answered(), connection_error(PROTOCOL_ERROR)), One(method="POST", body=b"abc"),
        note="a receiver need not look at padding"),
    Row("6.1", "empty DATA with END_STREAM", (post(1), data(1, end=True)), Answered(), One(method="POST")),
    Row("6.1", "DATA on stream 0", (post(1, "/hold"), data(0, b"x")), connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.1", "padding as long as the payload", (post(1, "/hold"), frame(DATA, PADDED, 1, b"\x04abc")),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.1", "padding longer than the payload", (post(1, "/hold"), frame(DATA, PADDED | END_STREAM, 1, b"\xffabc")),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.1", "padded DATA without the byte that tells it", (post(1, "/hold"), frame(DATA, PADDED, 1)),
        connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR), Cut()),
    Row("6.1", "DATA on a stream that is half-closed", (get(1, "/hold"), settled, data(1, b"x", end=True)),
        either(stream_error(STREAM_CLOSED), connection_error(STREAM_CLOSED)), Some(1)),
    # §6.2
    Row("6.2", "HEADERS with padding", (headers(1, pad=100),), Answered(), One()),
    Row("6.2", "HEADERS with a priority", (headers(1, priority=(0, 200, False)),), Answered(), One()),
    Row("6.2", "HEADERS on stream 0", (headers(0),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.2", "padding longer than the field block",
        (frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([len(BLOCK) + 1]) + BLOCK),),
        connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.2", "padding that leaves no room for the priority",
        (frame(HEADERS, END_HEADERS | END_STREAM | PADDED | 0x20, 1, b"\x04" + dependency(0)),),
        connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR), Nothing()),
    Row("6.2", "an empty field block", (headers(1, b""),), stream_error(PROTOCOL_ERROR), Nothing()),
    # §6.3
    Row("6.3", "PRIORITY on stream 0", (priority(0, 1), get(1)), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.3", "PRIORITY that changes a request under way", (post(1), priority(1, 0, 256, True), data(1, b"x", end=True)),
        Answered(), One(method="POST", body=b"x")),
    # §6.4
    Row("6.4", "RST_STREAM on stream 0", (reset(0),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.4", "RST_STREAM on an idle stream", (reset(3),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.4", "RST_STREAM ends the exchange with the service", (post(1, "/hold"), settled, reset(1)), Lives(), Cut()),
    # §6.5
    Row("6.5", "an acknowledgement with a payload", (frame(SETTINGS, ACK, 0, bytes(6)),), connection_error(FRAME_SIZE_ERROR),
        Nothing()),
    Row("6.5", "SETTINGS on a stream", (frame(SETTINGS, 0, 1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.5", "an acknowledgement on a stream", (frame(SETTINGS, ACK, 1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.5", "an acknowledgement of nothing", (frame(SETTINGS, ACK), frame(SETTINGS, ACK), get(1)),
        connection_error(PROTOCOL_ERROR), Nothing(), note="§6.5.3 does not say; nghttp2 counts what it has sent"),
    Row("6.5.2", "ENABLE_PUSH of 0", (settings((ENABLE_PUSH, 0)), get(1)), Answered(), One()),
    Row("6.5.2", "ENABLE_PUSH of 1: nothing is pushed", (settings((ENABLE_PUSH, 1)), get(1)), Answered(), One()),
    Row("6.5.2", "ENABLE_PUSH of 2", (settings((ENABLE_PUSH, 2)),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.5.2", "INITIAL_WINDOW_SIZE of 2^31 - 1", (settings((INITIAL_WINDOW_SIZE, MAX_WINDOW)), get(1)), Answered(), One()),
    Row("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", (settings((INITIAL_WINDOW_SIZE, 1 << 31)),),
        connection_error(FLOW_CONTROL_ERROR), Nothing()),
    Row("6.5.2", "MAX_FRAME_SIZE of 16,383", (settings((MAX_FRAME_SIZE, 16383)),), connection_error(PROTOCOL_ERROR),
        Nothing()),
    Row("6.5.2", "MAX_FRAME_SIZE of 0", (settings((MAX_FRAME_SIZE, 0)),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.5.2", "MAX_FRAME_SIZE of 2^24", (settings((MAX_FRAME_SIZE, 1 << 24)),), connection_error(PROTOCOL_ERROR),
        Nothing()),
    Row("6.5.2", "MAX_FRAME_SIZE of 2^24 - 1: our frames stay within what they were",
        (settings((MAX_FRAME_SIZE, (1 << 24) - 1)), get(1, "/bytes/60000"), answered(1),
         lambda peer: fits(max(sizes(peer, 1)), 16384)), Answered(size=60000), One("/bytes/60000")),
    Row("6.5.2", "HEADER_TABLE_SIZE of 0: our field blocks name no entry",
        (settings((HEADER_TABLE_SIZE, 0)), settled, get(1), answered(1), get(3)), Answered(stream=3), Some(2)),
    Row("6.5.2", "HEADER_TABLE_SIZE of 2^32 - 1", (settings((HEADER_TABLE_SIZE, (1 << 32) - 1)), get(1)), Answered(), One()),
    Row("6.5.2", "HEADER_TABLE_SIZE of 0 and back in one frame",
        (settings((HEADER_TABLE_SIZE, 0), (HEADER_TABLE_SIZE, 4096)), settled, get(1), answered(1), get(3)),
        Answered(stream=3), Some(2)),
    Row("6.5.2", "MAX_CONCURRENT_STREAMS of 0 is about streams that we do not make",
        (settings((MAX_CONCURRENT_STREAMS, 0)), get(1)), Answered(), One()),
    Row("6.5.2", "MAX_HEADER_LIST_SIZE of 2^32 - 1", (settings((MAX_HEADER_LIST_SIZE, (1 << 32) - 1)), get(1)), Answered(),
        One()),
    Row("6.5.2", "an unknown setting among known ones",
        (settings((0x7777, 7), (INITIAL_WINDOW_SIZE, 5)), settled, get(1, "/bytes/20"), has_body(5), window_update(1, 100),
         answered(1), settings((INITIAL_WINDOW_SIZE, 65535))), Answered(size=20), One("/bytes/20")),
    Row("6.5.3", "settings of one frame hold in their order",
        (settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)), settled, get(1, "/bytes/20"), has_body(1),
         window_update(1, 100), answered(1), settings((INITIAL_WINDOW_SIZE, 65535))), Answered(size=20), One("/bytes/20")),
    # §6.6, §8.4
    Row("6.6", "PUSH_PROMISE from a client",
        (post(1, "/hold"), frame(PUSH_PROMISE, END_HEADERS, 1, b"\x00\x00\x00\x02" + BLOCK)),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.6", "PUSH_PROMISE on stream 0", (frame(PUSH_PROMISE, END_HEADERS, 0, b"\x00\x00\x00\x02" + BLOCK),),
        connection_error(PROTOCOL_ERROR), Nothing()),
    # §6.7
    Row("6.7", "PING on a stream", (ping(stream=1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.7", "PING of no byte", (frame(PING),), connection_error(FRAME_SIZE_ERROR), Nothing()),
    Row("6.7", "an acknowledgement of nothing", (ping(b"\xff" * 8, ACK), get(1)), Answered(), One()),
    # §6.8
    Row("6.8", "GOAWAY on a stream", (goaway(stream=1),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.8", "GOAWAY with debug data on a stream", (goaway(stream=3, debug=b"why"),), connection_error(PROTOCOL_ERROR),
        Nothing()),
    # §6.9
    Row("6.9", "WINDOW_UPDATE of 0 on the connection", (window_update(0, 0),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.9", "WINDOW_UPDATE of 0 on a stream", (post(1, "/hold"), window_update(1, 0)),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Cut(),
        note="a stream error by the letter; nghttp2 ends the connection, which §5.4.2 allows"),
    Row("6.9", "the reserved bit of an increment is not looked at", (window_update(0, 1 << 31 | 1), get(1)), Answered(),
        One()),
    Row("6.9.1", "no more of a body than the stream's window",
        (settings((INITIAL_WINDOW_SIZE, 1)), settled, get(1, "/bytes/3"), has_body(1), window_update(1, 1), has_body(2),
         window_update(1, 1), answered(1), settings((INITIAL_WINDOW_SIZE, 65535))), Answered(size=3), One("/bytes/3")),
    Row("6.9.1", "no more of a body than the connection's window",
        (settings((INITIAL_WINDOW_SIZE, 100_000)), settled, get(1, "/bytes/65540"), has_body(65_535), window_update(0, 3),
         has_body(65_538), window_update(0, 70_000)), Answered(size=65_540), One("/bytes/65540")),
    Row("6.9.1", "the connection's window above 2^31 - 1", (window_update(0, MAX_WINDOW), window_update(0, 1)),
        connection_error(FLOW_CONTROL_ERROR), Nothing()),
    Row("6.9.1", "a stream's window above 2^31 - 1",
        (get(1, "/hold"), settled, window_update(1, MAX_WINDOW), window_update(1, 1)),
        either(stream_error(FLOW_CONTROL_ERROR), connection_error(FLOW_CONTROL_ERROR)), Some(1)),
    Row("6.9.2", "a changed INITIAL_WINDOW_SIZE holds for open streams",
        (settings((INITIAL_WINDOW_SIZE, 0)), settled, get(1, "/bytes/5"), settled, settings((INITIAL_WINDOW_SIZE, 2)),
         has_body(2), settings((INITIAL_WINDOW_SIZE, 65535))), Answered(size=5), One("/bytes/5")),
    Row("6.9.2", "a window that has become negative is made up for first",
        (settings((INITIAL_WINDOW_SIZE, 4)), settled, get(1, "/bytes/10"), has_body(4),
         settings((INITIAL_WINDOW_SIZE, 1)), settled, window_update(1, 3), has_body(4), window_update(1, 1), has_body(5),
         window_update(1, 100), answered(1), settings((INITIAL_WINDOW_SIZE, 65535))), Answered(size=10), One("/bytes/10")),
    Row("6.9.2", "INITIAL_WINDOW_SIZE that lifts a stream's window above 2^31 - 1",
        (settings((INITIAL_WINDOW_SIZE, 1)), get(1, "/hold"), settled, window_update(1, MAX_WINDOW - 1),
         settings((INITIAL_WINDOW_SIZE, 2)), settled, settings((INITIAL_WINDOW_SIZE, 65535))),
        either(connection_error(FLOW_CONTROL_ERROR), stream_error(FLOW_CONTROL_ERROR)), Some(1)),
    # §6.10
    Row("6.10", "two CONTINUATIONs", (headers(1, BLOCK[:10], last=False), continuation(1, BLOCK[10:20], last=False),
                                      continuation(1, BLOCK[20:])), Answered(), One()),
    Row("6.10", "CONTINUATION without HEADERS", (continuation(1, BLOCK),), connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.10", "CONTINUATION on stream 0", (headers(1, BLOCK, last=False), frame(CONTINUATION, END_HEADERS, 0)),
        connection_error(PROTOCOL_ERROR), Nothing()),
    Row("6.10", "CONTINUATION behind HEADERS that ended their fields", (post(1, "/hold"), continuation(1, b"")),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.10", "CONTINUATION behind a CONTINUATION that ended the fields",
        (headers(1, block(request("/hold", "POST")), end=False, last=False), continuation(1, b""), continuation(1, b"")),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.10", "CONTINUATION behind DATA", (post(1, "/hold"), data(1, b"x"), continuation(1, b"")),
        connection_error(PROTOCOL_ERROR), Cut()),
    Row("6.10", "trailers in CONTINUATION",
        (post(1), data(1, b"x"), headers(1, block([("x-one", "1")]), last=False), continuation(1, block([("x-two", "2")]))),
        Answered(), One(method="POST", body=b"x", trailers=((b"x-one", b"1"), (b"x-two", b"2")))),
]


def fits(count, limit):
    assert count <= limit, f"a frame of {count} bytes"


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_ping_is_answered_with_what_it_held(http2):
    """§6.7: an acknowledgement has the identical payload."""
    def acknowledged(peer):
        peer.until(lambda: b"\x00\x01\xfe\xffpong" in peer.pongs)
    http2.judge(Row("6.7", "PING", (ping(b"\x00\x01\xfe\xffpong"), acknowledged), Lives(), Nothing()))


def test_an_acknowledged_ping_is_not_answered(http2):
    """§6.7: never answer an acknowledgement."""
    def unanswered(peer):
        peer.settle()
        assert b"unasked!" not in peer.pongs
    http2.judge(Row("6.7", "PING with ACK", (ping(b"unasked!", ACK), unanswered), Lives(), Nothing()))


def test_settings_are_acknowledged_once_each(http2):
    """§6.5.3."""
    def acknowledged(peer):
        peer.settle()
        found = [got for got in peer.frames if got.kind == SETTINGS and got.flags & ACK]
        assert len(found) == 4 and not any(got.payload for got in found)
    http2.judge(Row("6.5.3", "SETTINGS", (settings(), settings((ENABLE_PUSH, 0)), settings(), acknowledged), Lives(),
                    Nothing(), start=PREFACE + settings()))


def test_goaway_of_a_client_lets_its_requests_end(http2):
    """§6.8: the request under way is answered; the connection ends by itself or by the client."""
    def whole(peer):
        peer.until_answered(1)
        assert peer.answer(1).status == 200 and peer.answer(1).is_ended
        peer.socket.shutdown(1)
    http2.judge(Row("6.8", "GOAWAY", (post(1), goaway(), data(1, b"x", end=True), whole), Ends(), One(
        method="POST", body=b"x")))

