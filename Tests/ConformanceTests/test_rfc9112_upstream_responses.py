"""RFC 9112 §4, §6.3, §7, §8 for what an upstream sends: a client never takes a forged or cut answer for a whole one, and
whatever an upstream does, the next request gets its own answer."""

import pytest

from edge import (GET, HEAD, OLD, POISON, POST, asked, case, given_up, goes_on, nothing_is_poisoned, problem, read_answer)
from harness.recorder import CLOSE, RESET
from harness.wire import Closed


def ok(fields=b"", body=b"", status=b"200 OK"):
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n" + body


LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

BAD_HEADS = [
    *(case("9112 §4", name, line + b"\r\nContent-Length: 0\r\n\r\n") for name, line in [
        ("another protocol", b"SSH-2.0-OpenSSH_9.2"), ("no status", b"HTTP/1.1"), ("no status, a space", b"HTTP/1.1 "), ("no version", b"200 OK"),
        ("a status that is no number", b"HTTP/1.1 abc OK"), ("a colon in the middle", b"HTTP/1.1 2:0 OK"), ("a colon at the end", b"HTTP/1.1 20: OK"), ("a colon first", b"HTTP/1.1 :00 OK"), ("two digits", b"HTTP/1.1 20 OK"), ("four digits", b"HTTP/1.1 2000 OK"), ("one digit", b"HTTP/1.1 2 OK"),
        ("a sign", b"HTTP/1.1 +20 OK"), ("a minus", b"HTTP/1.1 -20 OK"), ("hexadecimal", b"HTTP/1.1 0xc OK"), ("below 100", b"HTTP/1.1 099 OK"), ("000", b"HTTP/1.1 000 OK"),
        ("600", b"HTTP/1.1 600 OK"), ("999", b"HTTP/1.1 999 OK"), ("two spaces before", b"HTTP/1.1  200 OK"), ("a tab before", b"HTTP/1.1\t200 OK"),
        ("a tab behind", b"HTTP/1.1 200\tOK"), ("a space first", b" HTTP/1.1 200 OK"), ("lower case", b"http/1.1 200 OK"), ("version 1.2", b"HTTP/1.2 200 OK"),
        ("version 2.0", b"HTTP/2.0 200 OK"), ("version 0.9", b"HTTP/0.9 200 OK"), ("a version of two digits", b"HTTP/1.10 200 OK"), ("NUL in the reason", b"HTTP/1.1 200 O\0K"),
        ("a control byte in the reason", b"HTTP/1.1 200 O\x1bK"), ("a bare CR in the reason", b"HTTP/1.1 200 O\rK"), ("a bare LF in the reason", b"HTTP/1.1 200 O\nK"),
        ("a control byte and LF behind the reason", b"HTTP/1.1 200 OK\x01\nX-A: 1"), ("LF LF behind the reason", b"HTTP/1.1 200 OK\n\nX-A: 1"),
        ("an empty line first", b"\r\nHTTP/1.1 200 OK"), ("a bare LF first", b"\nHTTP/1.1 200 OK"), ("a request", b"GET / HTTP/1.1"), ("html", b"<html><body>hello there</body></html>")]),
    case("9112 §2.2", "a bare LF behind the status line", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    case("9112 §2.2", "a bare LF behind a field", b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n"),
    case("9112 §2.2", "a bare LF for the empty line", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n"),
    case("9112 §2.2", "nothing but bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    case("9112 §2.2", "a bare CR behind a field", b"HTTP/1.1 200 OK\r\nX-A: 1\rContent-Length: 0\r\n\r\n"),
    case("9112 §2.2", "CR CR LF", b"HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n"),
    *(case("9112 §5", name, ok(fields + b"Content-Length: 0\r\n")) for name, fields in [
        ("NUL in a value", b"X-A: a\0b\r\n"), ("a control byte in a value", b"X-A: a\x08b\r\n"), ("DEL in a value", b"X-A: a\x7fb\r\n"),
        ("a bare CR in a value", b"X-A: a\rb\r\n"), ("a bare LF in a value", b"X-A: a\nX-B: b\r\n"), ("a space before the colon", b"X-A : 1\r\n"),
        ("a tab before the colon", b"X-A\t: 1\r\n"), ("an empty name", b": 1\r\n"), ("no colon", b"X-A\r\n"), ("a space in a name", b"X A: 1\r\n"), ("NUL in a name", b"X\0A: 1\r\n"),
        ("above ASCII in a name", b"X\xe9: 1\r\n"), ("a folded value", b"X-A: 1\r\n 2\r\n"), ("a value folded by a tab", b"X-A: 1\r\n\t2\r\n"), ("a space before the first field", b" X-A: 1\r\n")]),
    *(case("9112 §6.3", name, ok(fields, b"5\r\nabcde\r\n0\r\n\r\n")) for name, fields in [
        ("chunked and a length", CHUNKED + LENGTH), ("a length and chunked", LENGTH + CHUNKED), ("two lengths, different", LENGTH + b"Content-Length: 6\r\n"),
        ("two lengths, alike", LENGTH + LENGTH), ("chunked twice", CHUNKED + CHUNKED), ("chunked twice in a list", b"Transfer-Encoding: chunked, chunked\r\n"),
        ("a coding that nobody asked for", b"Transfer-Encoding: gzip, chunked\r\n"), ("chunked is not last", b"Transfer-Encoding: chunked, gzip\r\n"),
        ("gzip alone", b"Transfer-Encoding: gzip\r\n"), ("identity", b"Transfer-Encoding: identity\r\n"), ("an empty coding", b"Transfer-Encoding:\r\n"),
        ("an obfuscated coding", b"Transfer-Encoding: xchunked\r\n"), ("a coding with a control byte", b"Transfer-Encoding: \x0bchunked\r\n"), ("a parameter", b"Transfer-Encoding: chunked;q=1\r\n")]),
    *(case("9110 §8.6", name, ok(b"Content-Length: " + value + b"\r\n", b"abcde")) for name, value in [
        ("a list, alike", b"5, 5"), ("a list, different", b"5, 6"), ("plus", b"+5"), ("minus", b"-5"), ("hexadecimal", b"0x5"), ("a word", b"five"), ("empty", b""),
        ("2^64 + 5", b"18446744073709551621"), ("a fraction", b"5.0"), ("two numbers", b"5 5"), ("quotes", b'"5"')]),
    case("9112 §6.1", "chunked in 1.0", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n5\r\nabcde\r\n0\r\n\r\n"),
    case("9112 §6.1", "chunked in 1.0 with keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    case("9110 §8.6", "a bad length on 204", ok(b"Content-Length: -1\r\n", status=b"204 No Content")),
    case("9112 §6.3", "both framings on 304", ok(LENGTH + CHUNKED, status=b"304 Not Modified")),
    case("9110 §15.2.2", "101 that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    case("9110 §15.2.2", "101 to another protocol", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    case("9112 §6.1", "103 in chunks", b"HTTP/1.1 103 Early Hints\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + ok(b"Content-Length: 0\r\n")),
    case("9112 §6.1", "103 in chunks, and none came", b"HTTP/1.1 103 Early Hints\r\n" + CHUNKED + b"\r\n" + ok(b"Content-Length: 0\r\n")),
    case("9110 §8.6", "103 with a length, and nothing came", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\n" + ok(b"Content-Length: 0\r\n")),
    case("9110 §8.6", "103 with a length", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 67\r\n\r\n" + POISON + ok(b"Content-Length: 0\r\n")),
    case("9110 §8.6", "100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 67\r\n\r\n" + POISON + ok(b"Content-Length: 0\r\n")),
    case("9110 §15.2", "33 heads of 1xx", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 33 + ok(b"Content-Length: 0\r\n")),
    case("9110 §15.2", "33 heads of 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 33 + ok(b"Content-Length: 0\r\n")),
    case("9110 §7.6.1", "Connection lists 65 options", ok(b"Connection: " + b",".join([b"x"] * 65) + b"\r\nContent-Length: 0\r\n")),
    case("9112 §5.4", "257 fields", ok(b"a:b\r\n" * 257 + b"Content-Length: 0\r\n")),
    case("9112 §5.4", "a head of more than 60 KiB", ok(b"X-A: " + b"a" * 61440 + b"\r\nContent-Length: 0\r\n")),
    case("9112 §5.4", "a head that does not end", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000),
    case("9112 §5.4", "a status line that does not end", b"HTTP/1.1 200 " + b"a" * 200_000),
]


@pytest.mark.parametrize("send", [GET, POST, HEAD], ids=["GET", "POST", "HEAD"])
@pytest.mark.parametrize("head", BAD_HEADS)
def test_a_head_that_is_no_answer_is_502(edge, head, send):
    method = send.split(b" ")[0].decode()
    with edge.client() as client:
        asked(edge, client, head + POISON, send=send)
        answer = client.response(method)
        assert answer.status == 502
        if method != "HEAD":
            assert problem(answer, "upstream_invalid")["reason"] == "upstream_invalid"
        connection = nothing_is_poisoned(edge, client)
    given_up(edge, connection)


AT_ONCE = [
    case("9112 §4", name, data) for name, data in [
        ("another protocol", b"SSH-2"), ("one byte of another protocol", b"\x15"), ("an end of line in the name", b"HTTP\n"), ("a line of the name alone", b"HTTP/1.1\n"), ("lower case", b"http/"),
        ("a control byte in the reason", b"HTTP/1.1 200 O\x01"), ("a bare LF in the reason", b"HTTP/1.1 200 OK\n"), ("a status that is no number", b"HTTP/1.1 2x0 OK"), ("another version", b"HTTP/3.0 200 OK"),
        ("a NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: a\0"), ("a bare LF behind a field", b"HTTP/1.1 200 OK\r\nX-A: 1\n"), ("a head of 60 KiB without its end", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 61440)]]


@pytest.mark.parametrize("data", AT_ONCE)
def test_what_can_be_no_head_is_502_before_it_ends(edge, data):
    """The service says no more and does not close: nobody waits for what cannot become an answer."""
    with edge.client() as client:
        asked(edge, client, data)
        assert problem(client.response(), "upstream_invalid")["reason"] == "upstream_invalid"
        connection = nothing_is_poisoned(edge, client)
    given_up(edge, connection)


WHOLE = [
    case("9112 §6.3", "a length", ok(LENGTH, b"abcde"), b"abcde"),
    case("9112 §6.3", "a length of 0", ok(b"Content-Length: 0\r\n"), b""),
    case("9112 §6.3", "chunks", ok(CHUNKED, b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"), b"abcde"),
    case("9112 §7", "chunked in another case", ok(b"transfer-encoding: CHUNKED\r\n", b"5\r\nabcde\r\n0\r\n\r\n"), b"abcde"),
    case("9112 §7.1.1", "chunks with extensions", ok(CHUNKED, b"5;a=b\r\nabcde\r\n0;c\r\n\r\n"), b"abcde"),
    case("9112 §6.3", "no chunk but the last", ok(CHUNKED, b"0\r\n\r\n"), b""),
    case("9112 §4", "no reason", ok(LENGTH, b"abcde", b"200 "), b"abcde"),
    case("9112 §4", "no reason and no space", ok(LENGTH, b"abcde", b"200"), b"abcde"),
    case("9112 §4", "a long reason above ASCII", ok(LENGTH, b"abcde", b"200 caf\xe9 \t" + b"x" * 1000), b"abcde"),
    case("9112 §2.3", "1.0 with keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\nabcde", b"abcde"),
    case("9110 §15.4", "a redirection with a body", ok(LENGTH + b"Location: /x\r\n", b"abcde", b"302 Found"), b"abcde"),
    case("9110 §15.5", "a client's error", ok(LENGTH, b"abcde", b"404 Not Found"), b"abcde"),
    case("9110 §15.6", "a server's error", ok(LENGTH, b"abcde", b"503 Service Unavailable"), b"abcde"),
    case("9110 §15", "an unknown status", ok(LENGTH, b"abcde", b"299 Odd"), b"abcde"),
    case("9110 §15", "the largest status", ok(LENGTH, b"abcde", b"599 Odd"), b"abcde"),
    case("9110 §15.3.6", "205 without content", ok(b"Content-Length: 0\r\n", status=b"205 Reset Content"), b""),
    case("9112 §7.1", "data that looks like an answer", ok(b"Content-Length: %d\r\n" % len(POISON), POISON), POISON),
]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "dripped"])
@pytest.mark.parametrize("response,body", WHOLE)
def test_a_whole_answer(edge, response, body, split):
    """Both connections carry the next exchange."""
    steps = [response[at:at + 1] for at in range(len(response))] if split else [response]
    with edge.client() as client:
        asked(edge, client, *steps)
        answer = read_answer(client)
        assert (answer.status, answer.body) == (int(response.split(b" ")[1][:3]), body)
        goes_on(client)
    first, second = edge.settle().requests
    assert first.connection is second.connection, "a clean upstream connection is used again"


BY_CLOSE = [
    case("9112 §6.3", "neither a length nor chunks", ok(b"X-A: 1\r\n", b"abcde")),
    case("9112 §6.3", "in 1.0", b"HTTP/1.0 200 OK\r\n\r\nabcde"),
    case("9112 §6.3", "with Connection: close", ok(b"Connection: close\r\n", b"abcde")),
    case("9112 §9.3", "a length with Connection: close", ok(b"Connection: close\r\n" + LENGTH, b"abcde")),
    case("9112 §9.3", "chunks with Connection: close", ok(b"Connection: Close\r\n" + CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n")),
    case("9112 §9.3", "a length in 1.0", b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\nabcde"),
    case("9112 §9.3", "a length, and closed without a word", ok(LENGTH, b"abcde")),
    case("9112 §9.3", "chunks, and closed without a word", ok(CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n")),
]


@pytest.mark.parametrize("send", [GET, POST, OLD], ids=["GET", "POST", "1.0"])
@pytest.mark.parametrize("response", BY_CLOSE)
def test_an_answer_whose_connection_ends(edge, response, send):
    with edge.client() as client:
        asked(edge, client, response, CLOSE, send=send)
        answer = read_answer(client)
        assert (answer.status, answer.body) == (200, b"abcde")
        assert not answer.all(b"connection") or send == OLD
        nothing_is_poisoned(edge, None if send == OLD else client)


CUT = [
    case("9112 §8", name, ok(*parts)) for name, parts in [
        ("a length, nothing came", (LENGTH,)), ("a length, one byte short", (LENGTH, b"abcd")), ("a huge length", (b"Content-Length: 999999999999999999\r\n", b"abcd")),
        ("chunks, nothing came", (CHUNKED,)), ("in a chunk's size", (CHUNKED, b"5")), ("behind a chunk's size", (CHUNKED, b"5\r\n")), ("in a chunk", (CHUNKED, b"5\r\nab")),
        ("behind a chunk's bytes", (CHUNKED, b"5\r\nabcde")), ("in a chunk's end", (CHUNKED, b"5\r\nabcde\r")), ("behind a chunk", (CHUNKED, b"5\r\nabcde\r\n")),
        ("in the last chunk", (CHUNKED, b"5\r\nabcde\r\n0")), ("behind the last chunk", (CHUNKED, b"5\r\nabcde\r\n0\r\n")), ("in a trailer", (CHUNKED, b"5\r\nabcde\r\n0\r\nX-A: 1")),
        ("behind a trailer", (CHUNKED, b"5\r\nabcde\r\n0\r\nX-A: 1\r\n")), ("in the last line", (CHUNKED, b"5\r\nabcde\r\n0\r\n\r"))]
    ] + [
    case("9112 §7.1", name, ok(CHUNKED, b"5\r\nabcde\r\n" + rest + POISON)) for name, rest in [
        ("a size that is none", b"g\r\n"), ("a negative size", b"-1\r\n"), ("a size of 2^64", b"10000000000000000\r\n"), ("a size of 2^63", b"8000000000000000\r\n"), ("0x", b"0x1\r\na\r\n0\r\n\r\n"),
        ("a space before a size", b" 1\r\na\r\n0\r\n\r\n"), ("no size", b"\r\n"), ("a bare LF behind a size", b"1\na\r\n0\r\n\r\n"), ("a bare CR in an extension", b"1;a\rb\r\na\r\n0\r\n\r\n"),
        ("a bare LF in an extension", b"1;a\nb\r\na\r\n0\r\n\r\n"), ("an extension of 257 bytes", b"1;" + b"a" * 257 + b"\r\na\r\n0\r\n\r\n"), ("data longer than its size", b"1\r\nab\r\n0\r\n\r\n"),
        ("data ended by LF", b"1\r\na\n0\r\n\r\n"), ("a bare LF behind the last chunk", b"0\n\r\n"), ("a bare LF at the end", b"0\r\n\n"), ("a bad trailer", b"0\r\nX A: 1\r\n\r\n"),
        ("a trailer with NUL", b"0\r\nX-A: \0\r\n\r\n"), ("a folded trailer", b"0\r\nX-A: 1\r\n 2\r\n\r\n"), ("33 trailers", b"0\r\n" + b"a:b\r\n" * 33 + b"\r\n"), ("trailers of 9 KiB", b"0\r\nX-A: " + b"a" * 9216 + b"\r\n\r\n")]]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize("send", [GET, POST, OLD], ids=["GET", "POST", "1.0"])
@pytest.mark.parametrize("response", CUT)
def test_an_answer_cut_short_is_seen_to_be(edge, response, send, ending):
    """A missing last chunk, missing bytes, or a reset: nothing that a client could take for the end of a message. A 502 is
    as good, where the cut was seen before the head went on."""
    with edge.client() as client:
        asked(edge, client, response, ending, send=send)
        try:
            answer = read_answer(client)
            assert answer.status == 502, (answer.lines, answer.body)
        except Closed as closed:
            # Without a mark of its end in 1.0, only a reset says that the body was cut.
            assert send != OLD or b"Content-Length" in response or "reset" in str(closed), closed
        nothing_is_poisoned(edge, None)


@pytest.mark.parametrize("send", [GET, OLD], ids=["1.1", "1.0"])
def test_a_reset_in_a_body_that_ends_with_its_connection_is_no_end(edge, send):
    """RFC 9112 §8: a body without a length or chunks is whole only when its connection was closed, not broken."""
    with edge.client() as client:
        asked(edge, client, ok(b"X-A: 1\r\n", b"abcde"), send=send)
        while b"abcde" not in client.buffer:
            client._more()
        connection = edge.recorder.arrived().connection
        # Unread bytes make of the end of a connection a reset, whoever asks for it: so does SO_LINGER.
        connection.socket.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        edge.recorder.hang_up(connection)
        with pytest.raises(Closed) as closed:
            read_answer(client)
        assert send != OLD or "reset" in str(closed.value)
    nothing_is_poisoned(edge, None)


NO_BODY = [
    case("9110 §9.3.2", "HEAD with a length", HEAD, ok(LENGTH), [b"Content-Length: 5"]),
    case("9110 §9.3.2", "HEAD in chunks", HEAD, ok(CHUNKED), []),
    case("9110 §9.3.2", "HEAD with neither", HEAD, ok(b"X-A: 1\r\n"), [b"X-A: 1"]),
    case("9110 §9.3.2", "HEAD and 404", HEAD, ok(LENGTH, status=b"404 Not Found"), [b"Content-Length: 5"]),
    case("9110 §15.3.5", "204", GET, ok(status=b"204 No Content"), []),
    case("9110 §8.6", "204 with a length of 0", GET, ok(b"Content-Length: 0\r\n", status=b"204 No Content"), []),
    case("9110 §15.4.5", "304", GET, ok(b'ETag: "a"\r\n', status=b"304 Not Modified"), [b'ETag: "a"']),
    case("9110 §8.6", "304 with the length of the content", GET, ok(LENGTH, status=b"304 Not Modified"), [b"Content-Length: 5"]),
    case("9112 §6.1", "304 in chunks", GET, ok(CHUNKED, status=b"304 Not Modified"), []),
    case("9110 §15.3.5", "204 to a POST", POST, ok(status=b"204 No Content"), []),
]


@pytest.mark.parametrize("send,response,lines", NO_BODY)
def test_an_answer_that_has_no_content(edge, send, response, lines):
    """RFC 9112 §6.3 (1): it ends with its head, and so do the connections' next ones begin there."""
    with edge.client() as client:
        asked(edge, client, response, send=send)
        answer = read_answer(client, send.split(b" ")[0].decode())
        assert [line for line in answer.lines if not line.startswith(b"X-Request-ID")] == lines
        goes_on(client)
    first, second = edge.settle().requests
    assert first.connection is second.connection


FORBIDDEN = [
    case("9112 §6.3", "HEAD", HEAD, ok(LENGTH, b"abcde")),
    case("9112 §6.3", "HEAD, an answer as the body", HEAD, ok(b"Content-Length: %d\r\n" % len(POISON), POISON)),
    case("9112 §6.3", "HEAD in chunks", HEAD, ok(CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n")),
    case("9112 §6.3", "204", GET, ok(b"", POISON, b"204 No Content")),
    case("9112 §6.3", "204 with a length", GET, ok(LENGTH, b"abcde", b"204 No Content")),
    case("9112 §6.3", "204 in chunks", GET, ok(CHUNKED, b"0\r\n\r\n", b"204 No Content")),
    case("9112 §6.3", "304", GET, ok(b"Content-Length: %d\r\n" % len(POISON), POISON, b"304 Not Modified")),
    case("9112 §6.3", "304 in chunks", GET, ok(CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n", b"304 Not Modified")),
    case("9112 §9.2", "an answer behind the answer", GET, ok(LENGTH, b"abcde") + POISON),
    case("9112 §9.2", "an answer behind the chunks", GET, ok(CHUNKED, b"0\r\n\r\n") + POISON),
    case("9112 §9.2", "one byte behind the answer", GET, ok(LENGTH, b"abcde") + b"H"),
    case("9112 §9.2", "an empty line behind the answer", GET, ok(LENGTH, b"abcde") + b"\r\n"),
    case("9112 §9.2", "a body longer than its length", GET, ok(LENGTH, b"abcde" + POISON)),
]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("send,response", FORBIDDEN)
def test_bytes_behind_an_answer_are_nobodys(edge, send, response, later):
    """Response-queue poisoning: they never reach a client, whether they come with the answer or while the connection is
    idle. A connection that has brought them carries nothing more."""
    method = send.split(b" ")[0].decode()
    with edge.client() as client:
        head, mark, rest = response.partition(b"\r\n\r\n")
        asked(edge, client, head + mark if later and method == "HEAD" else response, send=send)
        answer = read_answer(client, method)
        assert not answer.all(b"x-poison")
        connection = edge.recorder.arrived().connection
        if later and connection.is_open:
            try:
                edge.recorder.say(connection, rest or POISON)
            except OSError:
                pass
            given_up(edge, connection)
        used = nothing_is_poisoned(edge, client)
        assert used is connection
    given_up(edge, connection)


ANNOUNCED = [
    case("9110 §8.6", "204 with a length", ok(LENGTH, status=b"204 No Content")),
    case("9112 §6.1", "204 in chunks", ok(CHUNKED, status=b"204 No Content")),
]


@pytest.mark.parametrize("response", ANNOUNCED)
def test_a_body_that_is_announced_where_none_may_be_ends_the_connection(edge, response):
    """It has not come yet, and may: before the next answer."""
    with edge.client() as client:
        asked(edge, client, response)
        answer = read_answer(client)
        assert (answer.status, answer.all(b"content-length"), answer.all(b"transfer-encoding")) == (204, [], [])
        given_up(edge, edge.recorder.arrived().connection)
        nothing_is_poisoned(edge, client)


INTERIM = [
    case("9110 §15.2", "103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", [(103, [b"Link: </a>"])]),
    case("9110 §15.2", "102", b"HTTP/1.1 102 Processing\r\n\r\n", [(102, [])]),
    case("9110 §15.2", "an unknown one", b"HTTP/1.1 199 Odd\r\nX-A: 1\r\n\r\n", [(199, [b"X-A: 1"])]),
    case("9110 §15.2.1", "100, to an expectation that we have met ourselves", b"HTTP/1.1 100 Continue\r\n\r\n", []),
    case("9110 §15.2", "several", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 A\r\nLink: a\r\n\r\nHTTP/1.1 103 B\r\nLink: b\r\n\r\n",
         [(103, [b"Link: a"]), (103, [b"Link: b"])]),
    case("9110 §15.2", "32 of them", b"HTTP/1.1 103 A\r\n\r\n" * 32, [(103, [])] * 32),
    case("9110 §7.6.1", "what is about the connection is dropped", b"HTTP/1.1 103 A\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-A: 2\r\n\r\n", [(103, [b"X-A: 2"])]),
    case("9110 §8.6", "a length of 0", b"HTTP/1.1 103 A\r\nContent-Length: 0\r\n\r\n", [(103, [])]),
]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "dripped"])
@pytest.mark.parametrize("heads,wanted", INTERIM)
def test_interim_answers(edge, heads, wanted, split):
    response = heads + ok(LENGTH, b"abcde")
    steps = [response[at:at + 1] for at in range(len(response))] if split else [response]
    with edge.client() as client:
        asked(edge, client, *steps)
        answer = read_answer(client)
        assert (answer.status, answer.body) == (200, b"abcde")
        assert [(interim.status, interim.lines) for interim in answer.interim] == wanted
        nothing_is_poisoned(edge, client)


def test_a_client_of_1_0_gets_no_interim_answer(edge):
    """RFC 9110 §15.2."""
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(LENGTH, b"abcde"), send=OLD)
        answer = read_answer(client)
        assert (answer.status, answer.body, answer.interim) == (200, b"abcde", [])
    edge.settle()


BROKEN_OFF = [
    case("9112 §8", "nothing", ()), case("9112 §8", "a part of the status line", (b"HTTP/1.1 20",)), case("9112 §8", "a status line", (b"HTTP/1.1 200 OK\r\n",)),
    case("9112 §8", "a head without its end", (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",)), case("9112 §8", "an interim answer alone", (b"HTTP/1.1 103 A\r\n\r\n",)),
]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize("steps", BROKEN_OFF)
def test_an_answer_broken_off_in_its_head_is_502(edge, steps, ending):
    """A POST that may have arrived is sent once (RFC 9110 §9.2.2)."""
    # A fresh connection, on which nothing is stale.
    for connection in edge.recorder.open_connections():
        edge.recorder.hang_up(connection)
    with edge.client() as client:
        asked(edge, client, *steps, ending, send=POST)
        answer = client.response("POST")
        assert problem(answer, "upstream_reset")["reason"] == "upstream_reset"
        nothing_is_poisoned(edge, client)


LATE = [case("9110 §15.6.5", "silence", ()), case("9110 §15.6.5", "a part of a head", (b"HTTP/1.1 200 OK\r\nX-A: 1",)), case("9110 §15.6.5", "interim answers only", (b"HTTP/1.1 103 A\r\n\r\n",))]


@pytest.mark.parametrize("steps", LATE)
def test_an_answer_that_comes_too_late_is_nobodys(edge, steps):
    with edge.client() as client:
        asked(edge, client, *steps, send=b"GET /quick HTTP/1.1\r\nHost: gate.test\r\n\r\n")
        assert problem(client.response(), "upstream_timeout")["reason"] == "upstream_timeout"
        connection = edge.recorder.arrived().connection
        given_up(edge, connection)
        goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/quick", b"/next"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_before_the_request_has_ended(edge, framing):
    """RFC 9112 §9.5: the client gets it; neither connection is used for another request."""
    fields = b"Content-Length: 9\r\n" if framing == "length" else CHUNKED
    with edge.client() as client:
        asked(edge, client, ok(LENGTH, b"early"), early=True,
              send=b"POST /r HTTP/1.1\r\nHost: gate.test\r\n" + fields + b"\r\n" + (b"half" if framing == "length" else b"4\r\nhalf\r\n"))
        answer = read_answer(client)
        assert (answer.status, answer.body, answer.all(b"connection")) == (200, b"early", [b"close"])
        assert client.until_close() == b""
    seen = edge.settle()
    assert not seen.requests and not seen.unfinished and len(seen.broken) == 1, seen
    with edge.client() as client:
        goes_on(client)
    edge.settle()
