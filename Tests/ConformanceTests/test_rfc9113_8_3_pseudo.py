"""RFC 9113 §8.3 HTTP Control Data: pseudo-fields of requests, and what they become in HTTP/1.1."""

from frames import PROTOCOL_ERROR, data, headers, request
from rows import Answered, Nothing, One, Row, either, malformed, stream_error, table


def ask(**options):
    return (headers(1, request(**options)),)


def fields(*pairs):
    return (headers(1, list(pairs)),)


METHOD, SCHEME, AUTHORITY, PATH = request()
REPEATED = {":method": "GET", ":scheme": "http", ":authority": "gate.test", ":path": "/"}

ROWS = [
    # §8.3: which, how often, where.
    *(Row("8.3", f"{name} twice, alike", ask(more=[(name, value)]), stream_error(PROTOCOL_ERROR), Nothing())
      for name, value in REPEATED.items()),
    *(Row("8.3", f"{name} twice, apart", (headers(1, [(name, value)] + request()[::-1]),), stream_error(PROTOCOL_ERROR),
          Nothing()) for name, value in REPEATED.items()),
    *(Row("8.3", f"{name} behind a field line", (headers(1, [pair for pair in request() if pair[0] != name]
                                                           + [("x", "1"), (name, value)]),), stream_error(PROTOCOL_ERROR),
          Nothing()) for name, value in REPEATED.items()),
    Row("8.3", "pseudo-fields in another order", (headers(1, request()[::-1]),), Answered(), One()),
    *(Row("8.3", f"an unknown pseudo-field {name!r}", ask(more=[(name, "1")]), malformed(), Nothing())
      for name in (":custom", ":", "::path", ":path ", ":host", ":Path", ":PATH", ":method:", ":version", ":reason")),
    Row("8.3", "a pseudo-field of responses", ask(more=[(":status", "200")]), stream_error(PROTOCOL_ERROR), Nothing()),
    Row("8.3.1", "no :method", fields(SCHEME, AUTHORITY, PATH), malformed(), Nothing()),
    Row("8.3.1", "no :scheme", fields(METHOD, AUTHORITY, PATH), malformed(), Nothing()),
    Row("8.3.1", "no :path", fields(METHOD, SCHEME, AUTHORITY), malformed(), Nothing()),
    Row("8.3.1", "no pseudo-field at all", fields(("host", "gate.test")), malformed(), Nothing()),
    Row("8.3.1", "field names of HTTP/1.1 in their place", fields(("method", "GET"), ("path", "/"), ("host", "a")), malformed(),
        Nothing()),
    # :method
    *(Row("8.3.1", f":method {value!r}", ask(method=value), malformed(), Nothing())
      for value in ("", " ", "G ET", "GET ", " GET", "GET /smuggled HTTP/1.1\r\nx:", "GET\r\n", "GET\0", "G\tET", "GET:", "GET/",
                    "(GET)", "G\xc9T")),
    Row("8.3.1", ":method of token bytes", ask(method="M-S.E_A!R#C$H"), Answered(), One(method="M-S.E_A!R#C$H")),
    # RFC 9110 §9.3.6, RFC 9113 §8.5
    Row("8.5", "CONNECT", fields((":method", "CONNECT"), (":authority", "internal:22")), Answered(501), Nothing()),
    Row("8.5", "CONNECT with :scheme and :path", ask(method="CONNECT"), either(stream_error(PROTOCOL_ERROR), Answered(501)),
        Nothing()),
    Row("8.5", "CONNECT without :authority", fields((":method", "CONNECT")), either(malformed(), Answered(501)), Nothing()),
    # :scheme
    Row("8.3.1", ":scheme https on plaintext is what a proxy before us may have seen", ask(scheme="https"),
        either(Answered(), malformed()), One()),
    Row("8.3.1", ":scheme in capitals", ask(scheme="HTTP"), either(Answered(), malformed()), One()),
    *(Row("8.3.1", f":scheme {value!r}", ask(scheme=value), malformed(), Nothing())
      for value in ("", "ftp", "file", "http:", "http://", "javascript", "ht tp", "http\r\nx: y", "http\0", "1", "http/x",
                    "http://internal/?")),
    # :path
    Row("8.3.1", ":path with a query", ask(path="/a?b=c&d=/e?f"), Answered(), One("/a?b=c&d=/e?f")),
    Row("8.3.1", ":path with an empty query", ask(path="/a?"), Answered(), One("/a?")),
    Row("8.3.1", ":path of percent-encodings in their normal form", ask(path="/%7ea/%2f%c3%a9"), Answered(), One("/~a/%2F%C3%A9")),
    Row("8.3.1", ":path with dot segments in its normal form", ask(path="/a/./b/../c"), Answered(), One("/a/c")),
    Row("8.3.1", ":path that climbs past the root", ask(path="/../../etc/passwd"), Answered(400, reason="bad_target"),
        Nothing()),
    Row("8.3.1", ":path of two slashes is no authority", ask(path="//evil.test/x"), Answered(), One("/evil.test/x")),
    Row("8.3.1", "* for OPTIONS", ask(method="OPTIONS", path="*"), either(Answered(), Answered(404), Answered(400)), Nothing(),
        note="about the server as a whole (RFC 9110 §9.3.7), which no route leads to"),
    Row("8.3.1", "OPTIONS of a path", ask(method="OPTIONS", path="/x"), Answered(), One("/x", "OPTIONS")),
    *(Row("8.3.1", f":path {value!r}", ask(path=value), malformed(), Nothing())
      for value in (
          "", "*", "x", "a/b", "?", "?a=b", ".", "..", "./a", "../a", "http://gate.test/", "https://gate.test/a",
          "http://evil.test/", "gate.test:80", "/a b", " /", "/ ", "/a\tb", "/a HTTP/1.1", "/ HTTP/1.1\r\nHost: evil\r\n\r\n",
          "/a\r\nx: y", "/a\rb", "/a\nb", "/a\0b", "/a\x7f", "/a\x1b[0m", "/a#b", "#", "/#", "/a?b#c", "/a?b c", "/a?b\r\nc", "/a?b\0",
          "/%00", "/a%", "/a%2", "/a%zz", "/%5c..%5c", "/a\\b", "/\xe9", "/a?\xe9", "\\\\evil\\x", "/a%00b")),
    Row("8.3.1", ":path with an encoded line break is a path", ask(path="/a%0d%0ax:%20y"), either(Answered(), Answered(400)),
        One("/a%0D%0Ax:%20y")),
    Row("8.3.1", ":path longer than the limit", ask(path="/" + "p" * 15_000), Answered(414), Nothing()),
    # :authority
    *(Row("8.3.1", f":authority {value!r} is forwarded as it is", ask(authority=value), Answered(),
          One(fields=(("x-forwarded-host", value),)))
      for value in ("gate.test", "gate.test:8080", "GATE.test", "127.0.0.1", "[::1]", "[::1]:80", "a")),
    *(Row("8.3.1", f":authority {value!r}", ask(authority=value), malformed(), Nothing())
      for value in (
          "", "user@gate.test", "user:secret@gate.test", "@gate.test", "gate.test@evil.test", "gate.test/", "gate.test/x",
          "gate.test?x", "gate.test#x", "gate test", " gate.test", "gate.test ", "gate.test\r\nx: y", "gate.test\0", "gate.test:", "gate.test:x",
          "gate.test:80:80", "gate.test:99999", "gate.test:-1", ":80",
          "[::1", "::1", "[::1]x", "[gate.test]", "[v1.a]",
          "gate.test,evil.test", "gate%2etest", "gate\ttest", "\xe9.test", "http://gate.test", "//gate.test", "gate.test\\x", "a" * 600)),
    # :authority against Host
    Row("8.3.1", "Host in place of :authority", fields(METHOD, SCHEME, PATH, ("host", "other.test")), Answered(),
        One(fields=(("x-forwarded-host", "other.test"),))),
    Row("8.3.1", "Host like :authority", ask(more=[("host", "gate.test")]), Answered(),
        One(fields=(("x-forwarded-host", "gate.test"),))),
    Row("8.3.1", "Host like :authority in another case", ask(more=[("host", "GATE.TEST")]), Answered(), One()),
    *(Row("8.3.1", f"Host {value!r} beside :authority", ask(more=[("host", value)]), malformed(), Nothing())
      for value in ("other.test", "gate.test:80", "gate.test.", "", "gate.test, other.test", "user@gate.test", "gate.test/")),
    Row("8.3.1", "neither :authority nor Host", fields(METHOD, SCHEME, PATH), malformed(), Nothing()),
    Row("8.3.1", "Host twice", ask(more=[("host", "gate.test"), ("host", "gate.test")]), malformed(), Nothing()),
    Row("8.3.1", "Host twice, in place of :authority",
        fields(METHOD, SCHEME, PATH, ("host", "gate.test"), ("host", "other.test")), malformed(), Nothing()),
    *(Row("8.3.1", f"Host {value!r} in place of :authority", fields(METHOD, SCHEME, PATH, ("host", value)), malformed(), Nothing())
      for value in ("", "a b", "user@gate.test", "gate.test/x", "gate.test:x", "a\r\nx: y")),
    # §8.3.2 and a body
    Row("8.3", "a malformed head with a body: none of it gets through",
        (headers(1, request(method="POST", path=""), end=False) + data(1, b"x" * 1000, end=True),), malformed(), Nothing()),
    Row("8.3", "a refused head with a body: none of it gets through",
        (headers(1, request(method="POST", path="/a#b"), end=False), data(1, b"x" * 1000, end=True)), Answered(400), Nothing()),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_a_malformed_head_has_an_access_line(http2):
    """§8.1.1: its stream is reset, so that the log is the only place that shows it."""
    start = len(http2.gateway.access.all)
    http2.judge(Row("8.1.1", "logged", (headers(1, request("/logged", more=[("connection", "close")])),), malformed(), Nothing()))
    line = http2.gateway.access_line(path="/logged")
    assert (line["status"], line["reason"], line["method"], line["bytes_out"]) == (400, "bad_request", "GET", 0)
    lines = [entry for entry in http2.gateway.access.all[start:] if entry.get("path") == "/logged"]
    assert len(lines) == 1
