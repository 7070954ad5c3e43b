"""RFC 8441 Bootstrapping WebSockets: what an Extended CONNECT must be, before a tunnel is opened."""

from frames import PROTOCOL_ERROR, SETTINGS, Peer, block, data, headers, post, request
from rows import Answered, Cut, Nothing, One, Row, either, malformed, stream_error, table

WEBSOCKET = (":protocol", "websocket")


def connect(*more, protocol="websocket", end=False, **options):
    fields = request(method="CONNECT", **options)
    if protocol is not None:
        fields.append((":protocol", protocol))
    return (headers(1, fields + list(more), end=end),)


ROWS = [
    Row("5", "a handshake becomes an Upgrade; a service that does not upgrade is no tunnel", connect(("sec-websocket-version", "13"), path="/ws"),
        Answered(502, reason="upstream_invalid"),
        One("/ws", fields=(("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"),
                           ("content-length", None), ("transfer-encoding", None)))),
    *(Row("4", f":protocol {value!r} is of no use", connect(protocol=value), Answered(501, reason="not_implemented"), Nothing())
      for value in ("connect-udp", "connect-ip", "http", "websocket2", "web socket", "websocket,websocket", "websocketX")),
    Row("4", "an empty :protocol", connect(protocol=""), either(malformed(), Answered(501)), Nothing()),
    *(Row("4", f":protocol with {what}", connect(protocol=value), malformed(), Nothing())
      for what, value in (("CRLF", "websocket\r\nx: y"), ("NUL", "websocket\0"), ("LF", "web\nsocket"), ("a space before", " websocket"))),
    *(Row("4", f":protocol with {method}", (headers(1, request(method=method, more=[WEBSOCKET])),), stream_error(PROTOCOL_ERROR),
          Nothing()) for method in ("GET", "POST", "OPTIONS", "connect")),
    Row("4", ":protocol twice", (headers(1, request(method="CONNECT", more=[WEBSOCKET, WEBSOCKET]), end=False),),
        stream_error(PROTOCOL_ERROR), Nothing()),
    Row("4", ":protocol behind a field line", (headers(1, request(method="CONNECT", more=[("x", "1"), WEBSOCKET]), end=False),),
        stream_error(PROTOCOL_ERROR), Nothing()),
    Row("4", ":protocol in trailers", (post(1), data(1, b"x"), headers(1, block([WEBSOCKET]))), stream_error(PROTOCOL_ERROR), Cut()),
    *(Row("4", f"no {name}", (headers(1, [pair for pair in request(method="CONNECT", more=[WEBSOCKET]) if pair[0] != name],
                                       end=False),), stream_error(PROTOCOL_ERROR), Nothing())
      for name in (":scheme", ":path", ":authority")),
    *(Row("4", f":path {value!r}", connect(path=value), malformed(), Nothing())
      for value in ("", "*", "ws", "/a b", "/a#b", "/%00", "/ws HTTP/1.1\r\nx: y")),
    *(Row("4", f":authority {value!r}", connect(authority=value), malformed(), Nothing())
      for value in ("u@gate.test", "gate.test/x", "gate.test:x", "")),
    *(Row("4", f"{name}: {value} beside :protocol", connect((name, value)), malformed(), Nothing(),
          note="RFC 9113 §8.2.2: what HTTP/1.1 asks a WebSocket with has no place here")
      for name, value in (("upgrade", "websocket"), ("connection", "upgrade"), ("transfer-encoding", "chunked"), ("te", "gzip"))),
    Row("4", "a length", connect(("content-length", "5")), malformed(), Nothing(), note="RFC 9110 §9.3.6: CONNECT has no content"),
    Row("4", "a length of 0", connect(("content-length", "0")), malformed(), Nothing()),
    Row("4", "CONNECT without :protocol", (headers(1, [(":method", "CONNECT"), (":authority", "internal:22")], end=False),),
        Answered(501, reason="not_implemented"), Nothing()),
    Row("4", "CONNECT without :protocol and with :scheme and :path", connect(protocol=None), stream_error(PROTOCOL_ERROR), Nothing(),
        note="RFC 9113 §8.5"),
]


@table(ROWS, "8441")
def test_row(http2, row):
    http2.judge(row)


def test_the_setting_is_announced(http2):
    """§3: SETTINGS_ENABLE_CONNECT_PROTOCOL of 1, without which no client may send :protocol."""
    peer = Peer(http2.address)
    first = peer.take()
    peer.close()
    pairs = [first.payload[start:start + 6] for start in range(0, len(first.payload), 6)]
    assert first.kind == SETTINGS and b"\x00\x08\x00\x00\x00\x01" in pairs
