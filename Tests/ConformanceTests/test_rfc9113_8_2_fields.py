"""RFC 9113 §8.2 HTTP Fields, and §10.3 what must not become HTTP/1.1: bytes in names and values, fields of a connection,
cookies."""

from frames import block, continuation, data, headers, literal, post, request
from rows import Answered, Nothing, One, Row, either, malformed, table

VISIBLE = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"


def field(name, value):
    return (headers(1, request(more=[(name, value)])),)


# §8.2.1: bytes that a name must not hold; each alone, first, in the middle and last.
BAD_IN_NAMES = {
    "NUL": "\0", "TAB": "\t", "LF": "\n", "CR": "\r", "CRLF": "\r\n", "ESC": "\x1b", "DEL": "\x7f", "space": " ",
    "colon": ":", "an upper-case letter": "Q", "an obs-text byte": "\xe9", "a quote": '"', "a comma": ",", "a slash": "/",
    "a semicolon": ";", "an equals sign": "=", "a bracket": "[", "a parenthesis": "(", "an at sign": "@", "a brace": "{",
    "a backslash": "\\", "a question mark": "?", "a less-than sign": "<",
}
# §8.2.1: bytes that a value must not hold.
BAD_IN_VALUES = {"NUL": "\0", "LF": "\n", "CR": "\r", "CRLF": "\r\n"}
# RFC 9110 §5.5: no control byte but TAB. RFC 9113 leaves these to the reader of values.
CONTROLS = {"SOH": "\x01", "BEL": "\x07", "BS": "\x08", "VT": "\x0b", "FF": "\x0c", "ESC": "\x1b", "US": "\x1f", "DEL": "\x7f"}

ROWS = [
    Row("8.2.1", "every byte that a name may hold", field(VISIBLE, "1"), Answered(), One(fields=((VISIBLE, "1"),))),
    Row("8.2.1", "every byte that a value may hold",
        field("x-all", "".join(map(chr, range(0x21, 0x7F))) + " \t " + "".join(map(chr, range(0x80, 0x100)))), Answered(),
        One(fields=(("x-all", "".join(map(chr, range(0x21, 0x7F))) + " \t " + "".join(map(chr, range(0x80, 0x100)))),))),
    Row("8.2.1", "an empty value", field("x-empty", ""), Answered(), One(fields=(("x-empty", ""),))),
    Row("8.2.1", "an empty name", field("", "1"), malformed(), Nothing()),
    Row("8.2.1", "a name that is a number", field("1", "1"), Answered(), One(fields=(("1", "1"),))),
    Row("8.2.1", "a name of an upper-case letter alone", field("X", "1"), malformed(), Nothing()),
    Row("8.2.1", "a known name in capitals", field("Content-Length", "0"), malformed(), Nothing()),
    Row("8.2.1", "transfer-encoding in capitals", field("Transfer-Encoding", "chunked"), malformed(), Nothing()),
    Row("8.2.1", "a colon and a space in a name", field("x: y", "1"), malformed(), Nothing()),
    Row("8.2.1", "a whole request in a name",
        field("x: 1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\nx", "1"), malformed(), Nothing()),
    Row("8.2.1", "a whole request in a value",
        field("x", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"), malformed(), Nothing()),
    Row("8.2.1", "a line of chunked framing in a value", field("x", "1\r\nTransfer-Encoding: chunked"), malformed(),
        Nothing()),
    Row("8.2.1", "a value that begins with a space", field("x", " 1"), malformed(), Nothing()),
    Row("8.2.1", "a value that ends with a space", field("x", "1 "), malformed(), Nothing()),
    Row("8.2.1", "a value that begins with a tab", field("x", "\t1"), malformed(), Nothing()),
    Row("8.2.1", "a value that ends with a tab", field("x", "1\t"), malformed(), Nothing()),
    Row("8.2.1", "a value of a space alone", field("x", " "), malformed(), Nothing()),
    *(Row("8.2.1", f"{what} in the middle of a name", field(f"x{bad}y", "1"), malformed(), Nothing())
      for what, bad in BAD_IN_NAMES.items()),
    *(Row("8.2.1", f"{what} at the start of a name", field(f"{bad}x", "1"), malformed(), Nothing())
      for what, bad in BAD_IN_NAMES.items()),
    *(Row("8.2.1", f"{what} at the end of a name", field(f"x{bad}", "1"), malformed(), Nothing())
      for what, bad in BAD_IN_NAMES.items()),
    *(Row("8.2.1", f"{what} {where} a value", field("x", form.format(bad)), malformed(), Nothing())
      for what, bad in BAD_IN_VALUES.items()
      for where, form in (("in the middle of", "a{}b"), ("at the start of", "{}b"), ("at the end of", "a{}"))),
    *(Row("8.2.1", f"{what} in a value (RFC 9110 §5.5)", field("x", f"a{bad}b"), malformed(), Nothing())
      for what, bad in CONTROLS.items()),
    *(Row("8.2.1", f"{what} in a value of {name}", field(name, f"a{bad}b"), malformed(), Nothing())
      for name in ("cookie", "user-agent", "authorization", "content-type", "host") for what, bad in (("CRLF", "\r\n"),
                                                                                                     ("NUL", "\0"))),
    # §8.2.2
    *(Row("8.2.2", f"{name}: {value}", field(name, value), malformed(), Nothing())
      for name, value in (
          ("connection", "close"), ("connection", "keep-alive"), ("connection", "upgrade"), ("connection", "x-a"),
          ("connection", ""), ("proxy-connection", "keep-alive"), ("keep-alive", "timeout=5"),
          ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("transfer-encoding", "gzip, chunked"),
          ("transfer-encoding", ""), ("upgrade", "h2c"), ("upgrade", "websocket"), ("http2-settings", "AAMAAABk"),
          ("te", "gzip"), ("te", "trailers, deflate"), ("te", "chunked"), ("te", ""), ("te", "trailers;q=1"))),
    Row("8.2.2", "te: trailers ends at the gateway", field("te", "trailers"), Answered(), One(fields=(("te", None),))),
    Row("8.2.2", "te: Trailers in another case", field("te", "Trailers"), either(Answered(), malformed()),
        One(fields=(("te", None),))),
    Row("8.2.2", "transfer-encoding: chunked beside DATA that is chunked",
        (post(1, more=[("transfer-encoding", "chunked")]), data(1, b"5\r\nhello\r\n0\r\n\r\n", end=True)), malformed(),
        Nothing()),
    Row("8.2.2", "transfer-encoding and content-length",
        (post(1, more=[("transfer-encoding", "chunked"), ("content-length", "3")]), data(1, b"0\r\n\r\n", end=True)),
        malformed(), Nothing()),
    Row("8.2.2", "a body that looks like chunks and a request is a body",
        (post(1), data(1, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", end=True)), Answered(),
        One(method="POST", body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")),
    Row("8.2.2", "a body of known length that looks like a request",
        (post(1, more=[("content-length", "41")]), data(1, b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.b\r\n\r\n\r\n"[:41], end=True)),
        Answered(), One(method="POST", body=b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.b\r\n\r\n\r\n"[:41])),
    *(Row("8.2.2", f"proxy fields end at the gateway: {name}", field(name, "Basic eDp5"), Answered(), One(fields=((name, None),)),
          note="RFC 9110 §11.7") for name in ("proxy-authorization", "proxy-authenticate")),
    # §8.2.3
    Row("8.2.3", "cookie crumbs are one field",
        (headers(1, request(more=[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])),), Answered(),
        One(fields=(("cookie", "a=1; b=2; c=3"),))),
    Row("8.2.3", "one cookie", field("cookie", "a=1; b=2"), Answered(), One(fields=(("cookie", "a=1; b=2"),))),
    Row("8.2.3", "empty cookie crumbs", (headers(1, request(more=[("cookie", ""), ("cookie", "a=1")])),), Answered(),
        One(fields=(("cookie", "; a=1"),))),
    Row("8.2.3", "a thousand crumbs are not joined without end",
        (headers(1, request(more=[("cookie", f"c{index}=1") for index in range(1000)])),), Answered(431), Nothing()),
    # What else is told twice.
    Row("8.2", "fields that only the gateway may say are taken out",
        (headers(1, request(more=[("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"),
                                  ("x-forwarded-host", "evil"), ("x-forwarded-proto", "gopher")])),), Answered(),
        One(fields=(("x-forwarded-for", "127.0.0.1"), ("x_forwarded_for", None), ("x-forwarded-proto", "http"),
                    ("x-forwarded-host", "gate.test")))),
    Row("8.2", "a field in the way that HTTP/1.1 would fold it", field("x", "a\r\n b"), malformed(), Nothing()),
    Row("8.2", "a name that is a request line", field("get / http/1.1", "x"), malformed(), Nothing()),
    Row("10.5.1", "more fields than the limit", (headers(1, request(more=[(f"x{index}", "1") for index in range(200)])),),
        Answered(431, reason="head_too_large"), Nothing()),
    Row("10.5.1", "a field larger than the limit",
        (headers(1, block(request()) + literal("x", "v" * 10_000), last=False),
         continuation(1, literal("y", "w" * 16_000), last=False), continuation(1, literal("z", "w" * 16_000))),
        Answered(431, reason="head_too_large"), Nothing()),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_fields_keep_their_order(http2):
    """§8.2, RFC 9110 §5.3: the order of lines of one name means something; a gateway keeps it."""
    start = len(http2.recorder.requests)
    http2.judge(Row("8.2", "order", (headers(1, request("/order", more=[("x-a", "1"), ("x-b", "2"), ("x-a", "3")])),),
                    Answered(), One("/order")))
    got = [request for request in http2.recorder.requests[start:] if request.target == "/order"][0]
    ours = [(name, value) for name, value in got.fields if name in (b"x-a", b"x-b")]
    assert ours == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]
