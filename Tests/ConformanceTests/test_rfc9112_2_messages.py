"""RFC 9112 §2 Message: what separates lines and messages, and versions."""

import pytest

from edge import HOST, case, is_refused, passes, refusal

REFUSED = [
    case("9112 §2.2", "bare LF behind the request line", b"GET / HTTP/1.1\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare LF behind a field", b"GET / HTTP/1.1\r\nHost: gate.test\n\r\n", "bad_request"),
    case("9112 §2.2", "a byte and LF behind the request line", b"GET / HTTP/1.1x\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "LF LF behind the request line", b"GET / HTTP/1.1\n\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a control byte and LF behind a field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\x01\nX-B: 2\r\n\r\n", "bad_request"),
    case("9112 §2.2", "LF LF behind a field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\n\n", "bad_request"),
    case("9112 §2.2", "bare LF for the empty line", b"GET / HTTP/1.1\r\n" + HOST + b"\n", "bad_request"),
    case("9112 §2.2", "nothing but bare LF", b"GET / HTTP/1.1\nHost: gate.test\n\n", "bad_request"),
    case("9112 §2.2", "bare LF in the method", b"GE\nT / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare LF in the target", b"GET /a\nb HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare LF in the version", b"GET / HTTP/1\n.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare LF in a field value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\nX-B: b\r\n\r\n", "bad_request"),
    case("9112 §2.2", "bare CR behind the request line", b"GET / HTTP/1.1\r" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare CR behind a field", b"GET / HTTP/1.1\r\nHost: gate.test\rX-A: 1\r\n\r\n", "bad_request"),
    case("9112 §2.2", "bare CR in the method", b"GE\rT / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "bare CR in a field name", b"GET / HTTP/1.1\r\n" + HOST + b"X\r-A: 1\r\n\r\n", "bad_request"),
    case("9112 §2.2", "bare CR in a field value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n", "bad_request"),
    case("9112 §2.2", "CR CR LF behind the request line", b"GET / HTTP/1.1\r\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "CR CR LF behind a field", b"GET / HTTP/1.1\r\nHost: gate.test\r\r\n\r\n", "bad_request"),
    case("9112 §2.2", "CR CR LF for the empty line", b"GET / HTTP/1.1\r\n" + HOST + b"\r\r\n", "bad_request"),
    case("9112 §2.2", "CR where the head should begin", b"\rGET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "LF where the head should begin", b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "two empty lines before the head", b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a space before the first field", b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a tab before the first field", b"GET / HTTP/1.1\r\n\t" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a line of spaces before the first field", b"GET / HTTP/1.1\r\n  \r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a space before the method", b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "NUL before the method", b"\0GET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "a byte order mark", b"\xef\xbb\xbfGET / HTTP/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.2", "the first bytes of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), "bad_request"),
    case("9112 §2.3", "version 1.2", b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", "unsupported_version"),
    case("9112 §2.3", "version 1.9", b"GET / HTTP/1.9\r\n" + HOST + b"\r\n", "unsupported_version"),
    case("9112 §2.3", "version 2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", "unsupported_version"),
    case("9112 §2.3", "version 3.0", b"GET / HTTP/3.0\r\n" + HOST + b"\r\n", "unsupported_version"),
    case("9112 §2.3", "version 0.9", b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", "unsupported_version"),
    case("9112 §2.3", "the request of HTTP/0.9", b"GET /\r\n", "bad_request"),
    case("9112 §2.3", "lower case", b"GET / http/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "mixed case", b"GET / Http/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "another name", b"GET / HTTPS/1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "another protocol", b"GET / ICAP/1.0\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "no minor digit", b"GET / HTTP/1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "no digits", b"GET / HTTP/\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "two minor digits", b"GET / HTTP/1.10\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "two major digits", b"GET / HTTP/01.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "a comma for the dot", b"GET / HTTP/1,1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "letters for digits", b"GET / HTTP/x.y\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "a sign", b"GET / HTTP/+1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "a space inside", b"GET / HTTP /1.1\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "a letter behind", b"GET / HTTP/1.1x\r\n" + HOST + b"\r\n", "bad_request"),
    case("9112 §2.3", "NUL behind", b"GET / HTTP/1.1\0\r\n" + HOST + b"\r\n", "bad_request"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", REFUSED)
def test_refused(edge, data, reason, piece):
    is_refused(edge, data, reason, piece)


AT_ONCE = [
    case("9112 §2.2", "a bare LF behind the version", b"GET / HTTP/1.1\n", "bad_request"),
    case("9112 §2.2", "a bare LF in the version", b"GET / HTTP\n", "bad_request"),
    case("9112 §2.2", "a bare LF behind the target", b"GET /\n", "bad_request"),
    case("9112 §2.2", "a bare LF behind a value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\n", "bad_request"),
    case("9112 §2.2", "a bare LF behind a field name", b"GET / HTTP/1.1\r\n" + HOST + b"X-A\n", "bad_request"),
    case("9112 §2.2", "a bare LF for the empty line", b"GET / HTTP/1.1\r\n" + HOST + b"\n", "bad_request"),
    case("9112 §2.3", "another protocol", b"GET / FTP/", "bad_request"),
    case("9112 §2.3", "lower case", b"GET / h", "bad_request"),
    case("9112 §3", "a control byte in the method", b"GE\x01", "bad_request"),
    case("9112 §3", "a control byte in the target", b"GET /\x01", "bad_target"),
    case("9112 §5", "a control byte in a value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\x01", "bad_request"),
    case("9112 §5", "a space in a name", b"GET / HTTP/1.1\r\n" + HOST + b"X A", "bad_request"),
    case("9112 §5.2", "a space before a field", b"GET / HTTP/1.1\r\n" + HOST + b" ", "bad_request"),
    case("9112 §3.2", "a second Host", b"GET / HTTP/1.1\r\n" + HOST + b"Host: a\r\n", "bad_host"),
    case("9112 §3", "a target past the limit", b"GET /" + b"a" * 9000, "uri_too_long"),
    case("9112 §3", "a target past the limit, behind an empty line", b"\r\nGET /" + b"a" * 9000, "uri_too_long"),
    case("9112 §3", "a method past the limit", b"G" * 9000, "uri_too_long"),
    case("6585 §5", "a head past the limit", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 32768, "head_too_large"),
]


@pytest.mark.parametrize("data,reason", AT_ONCE)
def test_what_can_be_no_head_is_refused_before_it_ends(edge, data, reason):
    """Nobody waits for the rest of what cannot become a request."""
    with edge.client() as client:
        client.send(data)
        refusal(client, reason)
    seen = edge.settle()
    assert not seen.requests and not seen.broken and not seen.unfinished, seen


PASSED = [
    case("9112 §2.2", "one empty line before the head", b"\r\nGET /a HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /a HTTP/1.1"),
    case("9112 §2.3", "version 1.1", b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /b HTTP/1.1"),
    case("9112 §2.3", "version 1.0 goes on as 1.1", b"GET /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"GET /c HTTP/1.1"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,line", PASSED)
def test_passed(edge, data, line, piece):
    passes(edge, data, line, [], piece=piece)


def test_an_empty_line_behind_a_body_is_passed_over(edge):
    """RFC 9112 §2.2: old clients send CRLF behind a POST; it is no request."""
    with edge.client() as client:
        client.send(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx\r\nGET /b HTTP/1.1\r\n" + HOST + b"\r\n")
        assert [client.response().body for _ in range(2)] == [b"/a", b"/b"]
    assert [received.line for received in edge.settle().requests] == [b"POST /a HTTP/1.1", b"GET /b HTTP/1.1"]
