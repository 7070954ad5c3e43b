"""What is ambiguous is refused with 400 and the connection closed: the ways in which two servers can be made to
disagree about where a request ends (RFC 9112 §11.2), and what else the grammar forbids."""

import pytest

from harness.wire import problem, request

HOST = b"Host: gate.test\r\n"

SMUGGLING = {
    "both framings": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, other order":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a list of two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 6\r\n\r\nabcdef",
    "a signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nabcde",
    "a negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\nabcde",
    "a hexadecimal length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x5\r\n\r\nabcde",
    "an empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n",
    "a length past 64 bits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "a length of many digits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 200 + b"\r\n\r\n",
    "space before the colon": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length : 5\r\n\r\nabcde",
    "a coding that is not known": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before chunked":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked and something after it":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked on two lines":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked with a control byte before it":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "an empty coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n  2\r\n\r\n",
    "a first field that is folded": b"GET / HTTP/1.1\r\n X-A: 1\r\n" + HOST + b"\r\n",
    "a bare LF": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "a bare LF between fields": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\nX-B: 2\r\n\r\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\rX-B: 2\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n",
    "a NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X-\x00A: a\r\n\r\n",
    "a name with a space in it": b"GET / HTTP/1.1\r\n" + HOST + b"X A: a\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "a field without a colon": b"GET / HTTP/1.1\r\n" + HOST + b"X-A\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: other.test\r\n\r\n",
    "the same host twice": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: gate.test/path\r\n\r\n",
    "a host with user information": b"GET / HTTP/1.1\r\nHost: user@gate.test\r\n\r\n",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: gate.test other\r\n\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space at the end of the request line": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "a version in small letters": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "an unknown version": b"GET / HTTP/1.2.3\r\n" + HOST + b"\r\n",
    "a method that is no token": b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk-form for GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a relative target": b"GET path HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a byte past ASCII in the path": b"GET /a\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control byte in the path": b"GET /a\x01b HTTP/1.1\r\n" + HOST + b"\r\n",
}


# What the grammar gives a better word for: RFC 9112 §6.1, RFC 9110 §15.6.6.
REASON = {"a coding before chunked": "not_implemented", "an unknown version": "unsupported_version"}


@pytest.mark.parametrize("name", SMUGGLING)
def test_an_ambiguous_request_is_refused_and_the_connection_closed(gateway, client, upstream, name):
    # What follows would be the smuggled request: it must never be seen as one.
    client.send(SMUGGLING[name] + request(target="/smuggled"))
    said = problem(client.response(), REASON.get(name, "bad_request"))
    assert client.until_close() == b""
    assert upstream.nothing_received()
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"]) == (said["status"], said["reason"])


BAD_PATHS = {
    "a path that climbs above the root": b"GET /../../a HTTP/1.1\r\n" + HOST + b"\r\n",
    "an encoded NUL in the path": b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a backslash in the path": b"GET /a\\b HTTP/1.1\r\n" + HOST + b"\r\n",
    "an encoded backslash": b"GET /a%5Cb HTTP/1.1\r\n" + HOST + b"\r\n",
    "half a percent-encoding": b"GET /a%2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a percent-encoding of no digits": b"GET /a%zz HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("name", BAD_PATHS)
def test_a_path_that_services_read_in_different_ways_is_refused(client, upstream, name):
    """Where the request ends is plain, so the connection may go on: the next request is one."""
    client.send(BAD_PATHS[name])
    answer = client.response()
    problem(answer, "bad_request")
    assert upstream.nothing_received()
    if answer.get("connection", "").lower() != "close":
        assert client.ask().status == 200


BAD_BODIES = {
    "a chunk size that is no number": b"xyz\r\n",
    "a chunk size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with space before it": b" 3\r\nabc\r\n0\r\n\r\n",
    "a chunk size past 64 bits": b"10000000000000000\r\n",
    "a chunk size that ends with LF": b"3\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "an extension without an end": b"3;" + b"x" * 70_000,
    "no size at all": b"\r\nabc\r\n0\r\n\r\n",
    "a trailer that is no field": b"0\r\nbad trailer\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_broken_chunked_body_ends_the_connection_and_reaches_nobody_as_complete(client, upstream, name):
    """RFC 9112 §7.1: the body's end cannot be known any more."""
    client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]) + BAD_BODIES[name])
    answer = client.response()
    # A size that says more than a body may have is 413.
    assert answer.status in (400, 413, 431), answer.start_line
    client.until_close()
    assert upstream.nothing_received()


def test_a_length_said_twice_alike_is_one_length_or_refused(client):
    """RFC 9112 §6.3: a recipient may merge equal values or refuse; it may not take both as two."""
    client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")
    answer = client.response()
    if answer.status == 200:
        assert answer.json()["length"] == 3
        assert sum(name.lower() == "content-length" for name, _ in answer.json()["fields"]) == 1
    else:
        problem(answer, "bad_request")


def test_empty_lines_before_a_request_are_passed_over(client):
    """RFC 9112 §2.2: at least one CRLF before the request line is ignored."""
    client.send(b"\r\n" + request(target="/after"))
    assert client.response().json()["target"] == "/after"


def test_a_framing_field_of_a_response_that_is_ambiguous_gets_502(gateways, upstreams, clients):
    """RFC 9112 §6.3: a gateway must not guess where a response ends."""
    from harness.gateway import plain

    def answer(wire, _):
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
        return False

    client = clients(gateways(plain(upstreams(answer))))
    assert client.ask().status == 502
