"""RFC 9112 §3 Request Line: method, target in its four forms, and Host."""

import pytest

from edge import HOST, case, goes_on, is_refused, passes, problem, push


def get(target, fields=HOST):
    return b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"


def line(text):
    return text + b"\r\n" + HOST + b"\r\n"


LINES = [
    case("9112 §3", "a tab for the first space", line(b"GET\t/ HTTP/1.1"), "bad_request"),
    case("9112 §3", "a tab for the second space", line(b"GET /\tHTTP/1.1"), "bad_target"),
    case("9112 §3", "two spaces behind the method", line(b"GET  / HTTP/1.1"), "bad_target"),
    case("9112 §3", "two spaces behind the target", line(b"GET /  HTTP/1.1"), "bad_request"),
    case("9112 §3", "a space behind the version", line(b"GET / HTTP/1.1 "), "bad_request"),
    case("9112 §3", "a tab behind the version", line(b"GET / HTTP/1.1\t"), "bad_request"),
    case("9112 §3", "vertical tab for a space", line(b"GET\x0b/ HTTP/1.1"), "bad_request"),
    case("9112 §3", "form feed for a space", line(b"GET /\x0cHTTP/1.1"), "bad_target"),
    case("9112 §3", "a space in the target", line(b"GET /a b HTTP/1.1"), "bad_request"),
    case("9112 §3", "a word behind the version", line(b"GET / HTTP/1.1 HTTP/1.1"), "bad_request"),
    case("9112 §3", "only a method", line(b"GET"), "bad_request"),
    case("9112 §3", "a method and a space", line(b"GET "), "bad_request"),
    case("9112 §3", "no method", line(b"/ HTTP/1.1"), "bad_request"),
    case("9112 §3", "an empty method", line(b" / HTTP/1.1"), "bad_request"),
    case("9112 §3", "no target", line(b"GET HTTP/1.1"), "bad_request"),
    case("9112 §3", "an empty target", line(b"GET  HTTP/1.1"), "bad_target"),
    case("9112 §3", "a field line first", b"Host: gate.test\r\nGET / HTTP/1.1\r\n\r\n", "bad_request"),
    case("9112 §3", "a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_request"),
]

# Every byte that is no tchar (RFC 9110 §5.6.2) and does not end the method by itself.
METHODS = [
    case("9110 §9.1", f"0x{byte:02x} in the method", line(b"GE%cT / HTTP/1.1" % byte), "bad_request")
    for byte in [0, 1, 8, 0x0b, 0x0c, 0x1b, 0x7f, 0x80, 0xa0, 0xff, *b'"(),/:;<=>?@[\\]{}']]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", LINES + METHODS)
def test_a_request_line_that_is_refused(edge, data, reason, piece):
    is_refused(edge, data, reason, piece)


TARGETS = [
    *(case("3986 §2", f"0x{byte:02x} in the path", get(b"/a%cb" % byte), "bad_target")
      for byte in [0, 1, 8, 9, 0x0b, 0x0c, 0x1b, 0x7f, 0x80, 0xc3, 0xff]),
    *(case("3986 §2", f"0x{byte:02x} in the query", get(b"/?a%cb" % byte), "bad_target")
      for byte in [0, 9, 0x1b, 0x7f, 0x80, 0xff]),
    case("9112 §3.2.1", "a fragment", get(b"/a#b"), "bad_target"),
    case("9112 §3.2.1", "a fragment in the query", get(b"/a?b#c"), "bad_target"),
    case("9112 §3.2.1", "no slash", get(b"a"), "bad_target"),
    case("9112 §3.2.1", "a query alone", get(b"?a"), "bad_target"),
    case("9112 §3.2.1", "a dot", get(b"."), "bad_target"),
    case("9112 §3.2.1", "a backslash first", get(b"\\a"), "bad_target"),
    case("3986 §6.2.2", "a backslash", get(b"/a\\b"), "bad_target"),
    case("3986 §6.2.2", "an encoded backslash", get(b"/a%5cb"), "bad_target"),
    case("3986 §6.2.2", "an encoded NUL", get(b"/a%00b"), "bad_target"),
    case("3986 §2.1", "a percent alone", get(b"/a%"), "bad_target"),
    case("3986 §2.1", "a percent and one digit", get(b"/a%4"), "bad_target"),
    case("3986 §2.1", "a percent and no digits", get(b"/a%zz"), "bad_target"),
    case("3986 §5.2.4", "above the root", get(b"/../a"), "bad_target"),
    case("3986 §5.2.4", "above the root, encoded", get(b"/a/%2e%2e/%2E./b"), "bad_target"),
    case("9112 §3.2.2", "another scheme", get(b"ftp://gate.test/"), "bad_target"),
    case("9112 §3.2.2", "a scheme without slashes", get(b"http:/gate.test/"), "bad_target"),
    case("9112 §3.2.2", "no authority", get(b"http:///a"), "bad_target"),
    case("9112 §3.2.2", "nothing behind the scheme", get(b"http://"), "bad_target"),
    case("9110 §4.2.4", "user information", get(b"http://user@gate.test/"), "bad_target"),
    case("9110 §4.2.4", "user and password", get(b"http://a:b@gate.test/"), "bad_target"),
    case("9112 §3.2.2", "a port that is none", get(b"http://gate.test:x/"), "bad_target"),
    case("9112 §3.2.2", "a port too large", get(b"http://gate.test:65536/"), "bad_target"),
    case("9112 §3.2.2", "an empty port", get(b"http://gate.test:/"), "bad_target"),
    case("9112 §3.2.2", "a backslash behind the authority", get(b"http://gate.test\\a"), "bad_target"),
    case("9112 §3.2.2", "a percent in the authority", get(b"http://gate%2etest/"), "bad_target"),
    case("9112 §3.2.2", "Host says another name", get(b"http://other.test/"), "bad_host"),
    case("9112 §3.2.2", "Host says another port", get(b"http://gate.test:80/"), "bad_host"),
    case("9112 §3.2.2", "Host is a part of it", get(b"http://gate.test.evil/"), "bad_host"),
    case("9112 §3.2.2", "no Host beside it", get(b"http://gate.test/", b""), "bad_host"),
    case("9112 §3.2.3", "CONNECT", line(b"CONNECT gate.test:443 HTTP/1.1"), "not_implemented"),
    case("9112 §3.2.3", "CONNECT with a path", line(b"CONNECT / HTTP/1.1"), "not_implemented"),
    case("9112 §3.2.3", "CONNECT with a whole URI", line(b"CONNECT http://gate.test/ HTTP/1.1"), "not_implemented"),
    case("9112 §3.2.3", "authority-form for GET", get(b"gate.test:80"), "bad_target"),
    case("9112 §3.2.4", "asterisk-form for GET", get(b"*"), "bad_target"),
    case("9112 §3.2.4", "asterisk-form for POST", line(b"POST * HTTP/1.1"), "bad_target"),
    case("9112 §3.2.4", "a URI without a path for OPTIONS", line(b"OPTIONS http://gate.test HTTP/1.1"), "bad_target"),
    case("9112 §3.2.4", "two asterisks", line(b"OPTIONS ** HTTP/1.1"), "bad_target"),
    case("9112 §3.2.4", "an asterisk with a query", line(b"OPTIONS *?a HTTP/1.1"), "bad_target"),
    case("9112 §3.2.4", "an asterisk with a path", line(b"OPTIONS */a HTTP/1.1"), "bad_target"),
    case("9112 §3", "a target of 8 KiB", get(b"/" + b"a" * 8192), "uri_too_long"),
    case("9112 §3", "one byte past the limit", get(b"/" + b"a" * (8192 - 13)), "uri_too_long"),
    case("9112 §3", "a target that does not end", b"GET /" + b"a" * 40000, "uri_too_long"),
    case("9112 §3", "a method that does not end", b"G" * 40000, "uri_too_long"),
    case("9110 §9.1", "a method longer than the line may be", line(b"G" * 8200 + b" / HTTP/1.1"), "uri_too_long"),
    case("9112 §3", "a query that does not end", b"GET /?" + b"a" * 40000, "uri_too_long"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", TARGETS)
def test_a_target_that_is_refused(edge, data, reason, piece):
    if piece and len(data) > 1000:
        piece = 997
    # A target that is only wrong as a path is a message all the same: the connection could go on, and may.
    if reason == "bad_target" and data.startswith(b"GET /"):
        return is_refused_as_a_path(edge, data, piece)
    is_refused(edge, data, reason, piece)


def is_refused_as_a_path(edge, data, piece):
    with edge.client() as client:
        push(client, data, piece)
        answer = client.response()
        assert problem(answer, "bad_target")["reason"] == "bad_target"
        if answer.get("connection") is None:
            goes_on(client)
        else:
            assert client.until_close() == b""
    seen = edge.settle()
    assert [received.target for received in seen.requests] in ([], [b"/next"]), seen
    assert not seen.broken and not seen.unfinished, seen


HOSTS = [
    case("9112 §3.2", "missing", get(b"/", b""), "bad_host"),
    case("9112 §3.2", "repeated, alike", get(b"/", HOST + HOST), "bad_host"),
    case("9112 §3.2", "repeated, different", get(b"/", HOST + b"Host: other.test\r\n"), "bad_host"),
    case("9112 §3.2", "repeated with fields between", get(b"/", HOST + b"X-A: 1\r\nhost: gate.test\r\n"), "bad_host"),
    case("9112 §3.2", "repeated, one empty", get(b"/", HOST + b"Host:\r\n"), "bad_host"),
    *(case("9112 §3.2", name, get(b"/", b"Host: " + value + b"\r\n"), "bad_host") for name, value in [
        ("empty", b""), ("a comma list", b"gate.test, other.test"), ("a comma", b"gate.test,"),
        ("user information", b"user@gate.test"), ("a path", b"gate.test/a"), ("a query", b"gate.test?a"),
        ("a fragment", b"gate.test#a"), ("a URI", b"http://gate.test"), ("a space inside", b"gate .test"),
        ("a tab inside", b"gate\t.test"), ("a backslash", b"gate.test\\a"), ("quotes", b'"gate.test"'),
        ("a percent", b"gate%2etest"), ("above ASCII", b"g\xc3\xa4te.test"), ("angle brackets", b"<gate.test>"),
        ("a port that is none", b"gate.test:http"), ("an empty port", b"gate.test:"), ("a port of six digits", b"gate.test:000080"),
        ("a port too large", b"gate.test:65536"), ("a negative port", b"gate.test:-1"), ("two ports", b"gate.test:80:80"),
        ("a port alone", b":80"), ("an unclosed bracket", b"[::1"), ("a bracket alone", b"]"), ("empty brackets", b"[]"),
        ("an address without brackets", b"::1"), ("a name in brackets", b"[gate.test]"), ("a zone", b"[fe80::1%25eth0]"),
        ("text behind the bracket", b"[::1]x"), ("another bracket behind", b"[::1}"), ("a slash for the bracket", b"[::1/:80"), ("an address too long", b"[" + b"0" * 50 + b"::1]"),
        ("a slash before the port", b"gate.test/80"), ("a comma before the port", b"gate.test,80"), ("one colon in brackets", b"[:]"), ("eight colons", b"[1:2:3:4:5:6:7:8:9]"), ("a future address", b"[v1.a]"), ("longer than 512 bytes", b"a" * 513)]),
    case("9112 §3.2", "in 1.0 repeated", b"GET / HTTP/1.0\r\n" + HOST + b"Host: other.test\r\n\r\n", "bad_host"),
    case("9112 §3.2", "in 1.0 not valid", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "bad_host"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", HOSTS)
def test_a_host_that_is_refused(edge, data, reason, piece):
    is_refused(edge, data, reason, piece)


PASSED = [
    case("9112 §3.2.1", "origin-form", get(b"/a/b?c=d&e"), b"GET /a/b?c=d&e HTTP/1.1"),
    case("9112 §3.2.1", "an empty query keeps its mark", get(b"/a?"), b"GET /a? HTTP/1.1"),
    case("9112 §3.2.1", "a query is not touched", get(b"/a?x=%2e%2E/../b\\c[]{}|^`\"<>"), b"GET /a?x=%2e%2E/../b\\c[]{}|^`\"<> HTTP/1.1"),
    case("9112 §3.2.1", "marks in the query", get(b"/a??b=c?d"), b"GET /a??b=c?d HTTP/1.1"),
    case("3986 §6.2.2", "dot segments are resolved", get(b"/a/./b/../c"), b"GET /a/c HTTP/1.1"),
    case("3986 §6.2.2", "unreserved bytes are decoded", get(b"/%61%7e%2D"), b"GET /a~- HTTP/1.1"),
    case("3986 §6.2.2", "other encodings are in upper case", get(b"/%c3%a4%2f"), b"GET /%C3%A4%2F HTTP/1.1"),
    case("3986 §6.2.2", "empty segments are merged", get(b"//a///b/"), b"GET /a/b/ HTTP/1.1"),
    case("9112 §3.2.2", "absolute-form becomes origin-form", get(b"http://gate.test/a?b"), b"GET /a?b HTTP/1.1"),
    case("9110 §4.2.3", "the scheme in upper case", get(b"HTTP://gate.test/a"), b"GET /a HTTP/1.1"),
    case("9112 §3.2.2", "the scheme of TLS", get(b"https://gate.test/a"), b"GET /a HTTP/1.1"),
    case("9110 §4.2.3", "the host in another case", get(b"http://GATE.test/a"), b"GET /a HTTP/1.1"),
    case("9110 §4.2.3", "an empty path is a slash", get(b"http://gate.test"), b"GET / HTTP/1.1"),
    case("9110 §4.2.3", "an empty path before a query", get(b"http://gate.test?a/b"), b"GET /?a/b HTTP/1.1"),
    case("9112 §3", "a target of just the limit", get(b"/" + b"a" * (8192 - 14)), b"GET /" + b"a" * (8192 - 14) + b" HTTP/1.1"),
    *(case("9110 §9.1", f"the method {method.decode()}"[:40], line(method + b" /m HTTP/1.1"), method + b" /m HTTP/1.1") for method in [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"trace", b"PATCH", b"PROPFIND", b"M-SEARCH", b"get", b"Get",
        b"G", b"GETS", b"!#$%&'*+-.^_`|~", b"0123", b"PRIX", b"X" * 300]),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,wanted", PASSED)
def test_passed(edge, data, wanted, piece):
    if piece and len(data) > 1000:
        piece = 997
    passes(edge, data, wanted, [], piece=piece)


def test_asterisk_form_for_options_is_valid_and_nobodys(edge):
    """RFC 9110 §9.3.7: it asks about the server as a whole, which here is none of the services."""
    with edge.client() as client:
        client.send(line(b"OPTIONS * HTTP/1.1"))
        problem(client.response(), "no_route")
        goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/next"]


VALID_HOSTS = [
    case("9112 §3.2", name, value) for name, value in [
        ("a name", b"gate.test"), ("a port", b"gate.test:8443"), ("upper case", b"GATE.Test"), ("a final dot", b"gate.test."),
        ("an underscore", b"a_b.gate.test"), ("an address", b"127.0.0.1:80"), ("an IPv6 address", b"[::1]"),
        ("an IPv6 address with a port", b"[2001:DB8::1]:443"), ("an embedded IPv4 address", b"[::ffff:1.2.3.4]"),
        ("one letter", b"a"), ("the largest port", b"gate.test:65535"), ("512 bytes", b"a" * 512)]]


@pytest.mark.parametrize("value", VALID_HOSTS)
def test_a_host_that_is_valid_is_forwarded_as_it_came(edge, value):
    passes(edge, get(b"/host", b"Host: " + value + b"\r\n"), b"GET /host HTTP/1.1", [], host=value)


def test_whitespace_around_host_is_no_part_of_it(edge):
    """RFC 9112 §5."""
    passes(edge, get(b"/host", b"Host: \t gate.test\t \r\n"), b"GET /host HTTP/1.1", [], host=b"gate.test")


def test_a_request_of_1_0_needs_no_host(edge):
    """RFC 9112 §3.2 asks for it in 1.1 only; the service gets a request of 1.1, which has one."""
    received = passes(
        edge, b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"GET /a HTTP/1.1", [])
    assert received.all(b"host") == [edge.recorder.address.encode()]
