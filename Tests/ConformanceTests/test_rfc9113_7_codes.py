"""RFC 9113 §7 Error Codes: a code that is not known means nothing special."""

from frames import (
    CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HTTP_1_1_REQUIRED,
    INADEQUATE_SECURITY, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, SETTINGS_TIMEOUT, STREAM_CLOSED, data,
    goaway, post, reset)
from rows import Cut, Ends, Lives, One, Row, settled, table

CODES = [
    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED,
    14, 0xFF, 0xFFFFFFFF,
]


def whole(peer):
    peer.until_answered(1)
    assert peer.answer(1).status == 200 and peer.answer(1).is_ended
    peer.socket.shutdown(1)


ROWS = [
    Row("7", f"RST_STREAM with code {code:#x}", (post(1, "/hold"), settled, reset(1, code)), Lives(), Cut())
    for code in CODES
] + [
    Row("7", f"GOAWAY with code {code:#x}", (post(1), goaway(code), data(1, b"x", end=True), whole), Ends(),
        One(method="POST", body=b"x")) for code in CODES
] + [
    Row("7", "GOAWAY with debug data and a last stream that is none of ours",
        (post(1), goaway(0, (1 << 31) - 2, debug=b"d" * 1000), data(1, b"x", end=True), whole), Ends(),
        One(method="POST", body=b"x")),
    Row("7", "GOAWAY twice", (post(1), goaway(0, 100), goaway(0, 0), data(1, b"x", end=True), whole), Ends(),
        One(method="POST", body=b"x")),
    Row("7", "GOAWAY when nothing is under way", (goaway(), lambda peer: peer.socket.shutdown(1)), Ends(), Cut()),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)
