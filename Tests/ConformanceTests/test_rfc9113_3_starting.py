"""RFC 9113 §3 Starting HTTP/2."""

from frames import ACK, DATA, PREFACE, PROTOCOL_ERROR, SETTINGS, Peer, data, frame, get, ping, settings
from harness.wire import Client
from rows import Answered, Ends, Nothing, One, Row, connection_error, table

ROWS = [
    Row("3.4", "preface and empty SETTINGS, then a request", (get(1),), Answered(), One()),
    Row("3.4", "preface, SETTINGS and request in one segment", (), Answered(), One(),
        start=PREFACE + settings() + get(1)),
    Row("3.4", "a request before our SETTINGS were acknowledged", (get(1),), Answered(), One()),
    Row("3.4", "SETTINGS acknowledged before the request", (frame(SETTINGS, ACK), get(1)), Answered(), One()),
    Row("3.4", "the last byte of the preface is wrong", (), Ends(), Nothing(),
        start=PREFACE[:-1] + b"X" + settings() + get(1)),
    Row("3.4", "the SM part of the preface is wrong", (), Ends(), Nothing(),
        start=PREFACE.replace(b"SM", b"XX") + settings() + get(1)),
    Row("3.4", "the preface of another version", (), Ends(), Nothing(),
        start=PREFACE.replace(b"2.0", b"2.1") + settings() + get(1)),
    Row("3.4", "the preface twice", (), Ends(), Nothing(), start=PREFACE + PREFACE + settings() + get(1)),
    Row("3.4", "HEADERS in place of SETTINGS", (), connection_error(PROTOCOL_ERROR), Nothing(), start=PREFACE + get(1)),
    Row("3.4", "PING in place of SETTINGS", (), connection_error(PROTOCOL_ERROR), Nothing(),
        start=PREFACE + ping() + settings() + get(1)),
    Row("3.4", "DATA in place of SETTINGS", (), connection_error(PROTOCOL_ERROR), Nothing(),
        start=PREFACE + data(1, b"x") + get(1)),
    Row("3.4", "an acknowledgement in place of SETTINGS", (), connection_error(PROTOCOL_ERROR), Nothing(),
        start=PREFACE + frame(SETTINGS, ACK) + get(1)),
    Row("3.4", "an unknown frame in place of SETTINGS", (), connection_error(PROTOCOL_ERROR), Nothing(),
        start=PREFACE + frame(0x42) + settings() + get(1)),
    Row("3.4", "frames without a preface", (), Ends(), Nothing(), start=settings() + get(1)),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_our_settings_are_the_first_frame(http2):
    """§3.4: the server's preface is a SETTINGS frame, the first that it sends."""
    peer = Peer(http2.address)
    first = peer.take()
    assert (first.kind, first.flags & ACK, first.stream, len(first.payload) % 6) == (SETTINGS, 0, 0, 0)
    peer.until(lambda: any(got.kind == SETTINGS and got.flags & ACK for got in peer.frames))
    assert not any(got.kind == DATA for got in peer.frames)
    peer.close()


def test_a_preface_in_single_bytes(http2):
    """§3.4: the preface may arrive in any pieces."""
    peer = Peer(http2.address, b"")
    for byte in PREFACE + settings() + get(1, "/pieces"):
        peer.send(bytes([byte]))
    peer.until_answered(1)
    assert peer.answer(1).status == 200
    peer.close()


def test_an_upgrade_to_h2c_is_not_taken(http2):
    """§3.1: the Upgrade token "h2c" is deprecated; the request is answered in HTTP/1.1, and the service sees none of
    it."""
    start = len(http2.recorder.requests)
    client = Client(http2.address)
    answer = client.ask(target="/upgrade", fields=[
        ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")])
    client.close()
    assert answer.status == 200
    http2.ask_beside()
    got = [request for request in http2.recorder.requests[start:] if request.target == "/upgrade"]
    assert len(got) == 1 and not got[0].all("upgrade") and not got[0].all("http2-settings")
    assert not http2.recorder.failures
