"""RFC 9113 §8.1 HTTP Message Framing: heads, content, trailers, lengths."""

from frames import PROTOCOL_ERROR, block, data, get, headers, post, request, reset
from rows import (
    Answered, Cut, CutOr, Lives, Nothing, One, Row, connection_error, either, malformed, settled, stream_error, table)

TRAILER = block([("x-sum", "7")])


def length(value, *more):
    return [("content-length", value), *more]


ROWS = [
    Row("8.1", "GET", (get(1, "/a?b=c"),), Answered(), One("/a?b=c", fields=(("transfer-encoding", None),
                                                                           ("content-length", None)))),
    Row("8.1", "HEAD", (headers(1, request("/bytes/10", "HEAD")),), Answered(size=0), One("/bytes/10", "HEAD")),
    Row("8.1", "POST with a body", (post(1), data(1, b"abc", end=True)), Answered(),
        One(method="POST", body=b"abc", fields=(("transfer-encoding", "chunked"),))),
    Row("8.1", "POST with a body and its length", (post(1, more=length("3")), data(1, b"abc", end=True)), Answered(),
        One(method="POST", body=b"abc", fields=(("content-length", "3"), ("transfer-encoding", None)))),
    Row("8.1", "POST with trailers", (post(1), data(1, b"abc"), headers(1, TRAILER)), Answered(),
        One(method="POST", body=b"abc", trailers=((b"x-sum", b"7"),))),
    Row("8.1", "POST with trailers and no body", (post(1), headers(1, TRAILER)), Answered(),
        One(method="POST", trailers=((b"x-sum", b"7"),))),
    Row("8.1", "trailers behind a body of known length have no place in HTTP/1.1",
        (post(1, more=length("3")), data(1, b"abc"), headers(1, TRAILER)), Answered(),
        One(method="POST", body=b"abc", trailers=())),
    Row("8.1", "GET with a body", (headers(1, request(), end=False), data(1, b"abc", end=True)), Answered(), One(body=b"abc")),
    Row("8.1", "DELETE with a body of known length",
        (headers(1, request(method="DELETE", more=length("2")), end=False), data(1, b"ok", end=True)), Answered(),
        One(method="DELETE", body=b"ok")),
    Row("8.1", "a method that nobody knows", (headers(1, request(method="BREW")),), Answered(), One(method="BREW")),
    Row("8.1", "a method in lower case is another method", (headers(1, request(method="get")),), Answered(),
        One(method="get")),
    Row("8.1", "an empty trailer section", (post(1), data(1, b"abc"), headers(1, b"")),
        either(Answered(), stream_error(PROTOCOL_ERROR)), One(method="POST", body=b"abc", trailers=())),
    # HEADERS where none may be.
    Row("8.1", "a second HEADERS without END_STREAM", (post(1), data(1, b"x"), headers(1, TRAILER, end=False)),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Cut()),
    Row("8.1", "a second HEADERS without END_STREAM, then DATA",
        (post(1), headers(1, TRAILER, end=False), data(1, b"x", end=True)),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Cut()),
    Row("8.1", "a whole second request on the stream", (post(1), data(1, b"x"), headers(1, request("/second"))),
        either(stream_error(PROTOCOL_ERROR), connection_error(PROTOCOL_ERROR)), Cut()),
    # Trailers.
    *(Row("8.1", f"a pseudo-field in trailers: {name}", (post(1), data(1, b"x"), headers(1, block([(name, value)]))),
          stream_error(PROTOCOL_ERROR), Cut())
      for name, value in ((":path", "/"), (":method", "GET"), (":status", "200"), (":authority", "a"), (":x", "1"))),
    *(Row("8.2.2", f"{name} in trailers", (post(1), data(1, b"x"), headers(1, block([(name, value)]))),
          stream_error(PROTOCOL_ERROR), Cut())
      for name, value in (("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"),
                          ("keep-alive", "1"), ("proxy-connection", "x"))),
    *(Row("8.2.1", f"{what} in a trailer", (post(1), data(1, b"x"), headers(1, block([field]))), stream_error(PROTOCOL_ERROR),
          Cut())
      for what, field in (("CRLF", ("x", "1\r\ny: 2")), ("NUL", ("x", "\0")), ("a name with a space", ("a b", "1")),
                          ("an upper-case name", ("X-Sum", "1")), ("an empty name", ("", "1")),
                          ("LF", ("x", "1\n2")), ("a name with CRLF", ("x\r\ny", "1")))),
    *(Row("8.1", f"{name} in trailers does not get through",
          (post(1), data(1, b"x"), headers(1, block([(name, value), ("x-sum", "7")]))),
          either(Answered(), stream_error(PROTOCOL_ERROR)), One(method="POST", body=b"x", trailers=((b"x-sum", b"7"),)),
          note="RFC 9110 §6.5.1: never what frames, routes or authenticates")
      for name, value in (("content-length", "1"), ("host", "other.test"), ("authorization", "Bearer x"),
                          ("cookie", "a=1"), ("x-forwarded-for", "1.2.3.4"), ("x-request-id", "mine"),
                          ("te", "trailers"), ("trailer", "x"), ("expect", "100-continue"))),
    # §8.1.1: Content-Length against DATA.
    Row("8.1.1", "less DATA than the length", (post(1, more=length("5")), data(1, b"abc", end=True)),
        stream_error(PROTOCOL_ERROR), Cut()),
    Row("8.1.1", "more DATA than the length", (post(1, more=length("2")), data(1, b"abc", end=True)),
        stream_error(PROTOCOL_ERROR), Cut()),
    Row("8.1.1", "more DATA than the length, in several frames",
        (post(1, more=length("2")), data(1, b"a"), data(1, b"b"), data(1, b"c", end=True)),
        either(stream_error(PROTOCOL_ERROR), Answered()), CutOr(One(method="POST", body=b"ab")),
        note="the request is whole with its second byte; what comes then ends the stream"),
    Row("8.1.1", "less DATA than the length, in several frames",
        (post(1, more=length("4")), data(1, b"a"), data(1, b"b"), data(1, b"c", end=True)), stream_error(PROTOCOL_ERROR),
        Cut()),
    Row("8.1.1", "a length and END_STREAM on HEADERS", (headers(1, request(method="POST", more=length("5"))),),
        malformed(), Nothing()),
    Row("8.1.1", "a length on GET and END_STREAM on HEADERS", (headers(1, request(more=length("5"))),), malformed(),
        Nothing()),
    Row("8.1.1", "a length and trailers without DATA", (post(1, more=length("5")), headers(1, TRAILER)),
        stream_error(PROTOCOL_ERROR), Cut()),
    Row("8.1.1", "a length, less DATA, trailers", (post(1, more=length("5")), data(1, b"abc"), headers(1, TRAILER)),
        stream_error(PROTOCOL_ERROR), Cut()),
    Row("8.1.1", "a length of 0 with DATA", (post(1, more=length("0")), data(1, b"x", end=True)),
        either(stream_error(PROTOCOL_ERROR), Answered()), CutOr(One(method="POST"))),
    Row("8.1.1", "a length of 0 and END_STREAM", (headers(1, request(method="POST", more=length("0"))),), Answered(),
        One(method="POST", fields=(("content-length", "0"),))),
    Row("8.1.1", "a length of 0 and empty DATA", (post(1, more=length("0")), data(1, end=True)), Answered(),
        One(method="POST", fields=(("content-length", "0"),))),
    Row("8.1.1", "padding does not count in the length", (post(1, more=length("3")), data(1, b"abc", end=True, pad=50)),
        Answered(), One(method="POST", body=b"abc", fields=(("content-length", "3"),))),
    Row("8.1.1", "a request that is reset before its end is never whole",
        (post(1, more=length("5")), data(1, b"abc"), settled, reset(1)), Lives(), Cut()),
    *(Row("8.1.1", f"content-length {value!r}", (post(1, more=length(value)), data(1, b"abc", end=True)), malformed(),
          Nothing())
      for value in ("-3", "+3", "3x", "0x3", "3.0", "", " 3", "3 ", "3, 3", "3,3", "1e1", "99999999999999999999",
                    "18446744073709551619", "\xb2", "three")),
    Row("8.1.1", "content-length with leading zeros is the number that it is",
        (post(1, more=length("0003")), data(1, b"abc", end=True)), Answered(), One(method="POST", body=b"abc")),
    Row("8.1.1", "two lengths that differ", (post(1, more=length("3", ("content-length", "4"))), data(1, b"abc", end=True)),
        malformed(), Nothing()),
    Row("8.1.1", "two lengths that agree", (post(1, more=length("3", ("content-length", "3"))), data(1, b"abc", end=True)),
        malformed(), Nothing()),
]

# RFC 9110 §10.1.1
ROWS += [
    Row("8.1", "expect: 100-continue", (
        post(1, more=length("3", ("expect", "100-continue"))), lambda peer: peer.until(lambda: peer.answer(1).status == 100),
        data(1, b"abc", end=True)), Answered(), One(method="POST", body=b"abc", fields=(("expect", None),))),
    Row("8.1", "an expectation that is not known", (post(1, more=[("expect", "magic")]), data(1, b"abc", end=True)),
        Answered(417), Nothing()),
    Row("8.1", "expect: 100-continue in another case", (
        post(1, more=[("expect", "100-Continue")]), data(1, b"abc", end=True)), Answered(), One(method="POST", body=b"abc")),
]


@table(ROWS)
def test_row(http2, row):
    http2.judge(row)


def test_a_request_that_is_not_as_long_as_it_said_is_logged_as_malformed(http2):
    """§8.1.1: a stream error is a mistake of the client, and not a change of its mind."""
    http2.judge(Row("8.1.1", "logged", (post(1, "/short", more=length("5")), data(1, b"abc", end=True)),
                    stream_error(PROTOCOL_ERROR), Cut()))
    line = http2.gateway.access_line(path="/short")
    assert (line["status"], line["reason"], line["bytes_out"]) == (400, "bad_request", 0)
    http2.judge(Row("8.1.1", "logged", (post(1, "/changed-mind"), data(1, b"abc"), settled, reset(1)), Lives(), Cut()))
    assert http2.gateway.access_line(path="/changed-mind")["reason"] == "client_closed"
