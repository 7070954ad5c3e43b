"""RFC 9112 §6 Message Body: where a request ends, said in exactly one way or refused."""

import pytest

from edge import HOST, case, forwarded, goes_on, is_refused, passes, push

CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


def post(fields, body=b"", version=b"1.1"):
    return b"POST /p HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n" + body


LENGTHS = [
    case("9112 §6.3", "two lengths, different", post(b"Content-Length: 3\r\nContent-Length: 0\r\n", b"abc"), "bad_framing"),
    case("9112 §6.3", "two lengths, alike", post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"), "bad_framing"),
    case("9112 §6.3", "two lengths with a field between", post(b"Content-Length: 3\r\nX-A: 1\r\ncontent-length: 9\r\n", b"abc"), "bad_framing"),
    case("9112 §6.3", "two lengths, the first empty", post(b"Content-Length:\r\nContent-Length: 3\r\n", b"abc"), "bad_framing"),
    case("9112 §6.3", "three lengths", post(b"Content-Length: 3\r\n" * 3, b"abc"), "bad_framing"),
    *(case("9110 §8.6", name, post(b"Content-Length: " + value + b"\r\n", b"abc"), "bad_framing") for name, value in [
        ("a list, alike", b"3, 3"), ("a list, different", b"3, 4"), ("a list without a space", b"3,3"), ("a comma behind", b"3,"),
        ("a comma before", b",3"), ("plus", b"+3"), ("minus", b"-3"), ("minus zero", b"-0"), ("plus zero", b"+0"),
        ("hexadecimal", b"0x3"), ("hexadecimal digits", b"a"), ("a fraction", b"3.0"), ("an exponent", b"3e0"),
        ("two numbers", b"3 3"), ("a tab between digits", b"3\t3"), ("a word", b"three"), ("empty", b""), ("only whitespace", b" \t "),
        ("quotes", b'"3"'), ("a semicolon", b"3;"), ("an underscore", b"1_0"), ("digits of another script", "٣".encode()),
        ("a superscript digit", b"\xb3"), ("a letter behind", b"3b"), ("brackets", b"[3]"),
        ("2^63", b"9223372036854775808"), ("2^64", b"18446744073709551616"), ("2^64 + 3", b"18446744073709551619"),
        ("2^32 + 3 by overflow of 2^64", b"18446744078004518915"), ("19 digits", b"1000000000000000003"),
        ("a hundred digits", b"9" * 100), ("a hundred zeros", b"0" * 99 + b"3")]),
    case("9110 §8.6", "on GET", b"GET /p HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", "bad_framing"),
    case("9110 §8.6", "on HEAD", b"GET /p HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nx", "bad_framing"),
    case("9110 §8.6", "in 1.0", post(b"Content-Length: +3\r\n", b"abc", b"1.0"), "bad_framing"),
]

CODINGS = [
    case("9112 §6.1", "with a length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "behind a length", post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "with a length of 0", post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "with a length that is none", post(b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "with two lengths", post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "an unknown one with a length", post(b"Transfer-Encoding: x\r\nContent-Length: 3\r\n", b"abc"), "bad_framing"),
    case("9112 §6.1", "repeated", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "repeated, the first unknown", post(b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "repeated, the last unknown", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "repeated, the first identity", post(b"Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "repeated, one empty", post(b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_framing"),
    case("9112 §6.1", "gzip before chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS), "not_implemented"),
    case("9112 §6.1", "deflate, gzip before chunked", post(b"Transfer-Encoding: deflate,gzip,chunked\r\n", CHUNKS), "not_implemented"),
    case("9112 §6.1", "identity before chunked", post(b"Transfer-Encoding: identity, chunked\r\n", CHUNKS), "not_implemented"),
    *(case("9112 §6.1", name, post(b"Transfer-Encoding: " + value + b"\r\n", CHUNKS), "bad_framing") for name, value in [
        ("chunked twice", b"chunked, chunked"), ("chunked is not last", b"chunked, gzip"), ("gzip alone", b"gzip"),
        ("identity", b"identity"), ("cow", b"cow"), ("empty", b""), ("a comma behind", b"chunked,"), ("a comma before", b",chunked"),
        ("commas around", b", ,chunked, ,"), ("chunked twice behind gzip", b"gzip, chunked, chunked"),
        ("chunked between others", b"gzip, chunked, deflate, chunked"), ("no token before it", b"g(zip), chunked"), ("a parameter before it", b"gzip;q=1, chunked"),
        ("two words before it", b"g zip, chunked"), ("a parameter", b"chunked;q=1"), ("an empty parameter", b"chunked;"),
        ("quotes", b'"chunked"'), ("one quote", b'chunked"'), ("single quotes", b"'chunked'"), ("a prefix", b"xchunked"), ("a suffix", b"chunkedx"),
        ("a part of it", b"chunke"), ("spaces inside", b"chun ked"), ("two words", b"chunked chunked"), ("a word before", b"x chunked"),
        ("a tab and a word", b"chunked\tx"), ("a colon", b": chunked"), ("brackets", b"[chunked]"), ("a slash", b"chunked/1"),
        ("above ASCII before", b"\xa0chunked"), ("above ASCII behind", b"chunked\xa0"), ("another k", "chun\u212aed".encode()),
        ("a next line of Latin-1", b"\x85chunked")]),
    *(case("9112 §6.1", name, post(b"Transfer-Encoding: " + value + b"\r\n", CHUNKS), "bad_request") for name, value in [
        ("a vertical tab before", b"\x0bchunked"), ("a form feed before", b"\x0cchunked"), ("a vertical tab behind", b"chunked\x0b"),
        ("NUL behind", b"chunked\0"), ("a bare CR behind", b"chunked\r"), ("a bare LF before", b"\nchunked"),
        ("a control byte inside", b"chun\x08ked"), ("folded", b"\r\n chunked"), ("folded behind", b"chunked\r\n , x")]),
    case("9112 §6.1", "hidden behind a bare CR", post(b"X-A: 1\rTransfer-Encoding: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "hidden behind a bare LF", post(b"X-A: 1\nTransfer-Encoding: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "a tab before the colon", post(b"Transfer-Encoding\t: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "a vertical tab before the colon", post(b"Transfer-Encoding\x0b: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "NUL before the colon", post(b"Transfer-Encoding\0: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "a space before the name", post(b"X-A: 1\r\n Transfer-Encoding: chunked\r\n", CHUNKS), "bad_request"),
    case("9112 §6.1", "in 1.0", post(b"Transfer-Encoding: chunked\r\n", CHUNKS, b"1.0"), "bad_framing"),
    case("9112 §6.1", "in 1.0 with a length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", CHUNKS, b"1.0"), "bad_framing"),
    case("9112 §6.1", "in 1.0 with keep-alive", post(b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", CHUNKS, b"1.0"), "bad_framing"),
    case("9112 §6.1", "an unknown one in 1.0", post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS, b"1.0"), "bad_framing"),
    case("9112 §6.1", "on GET", b"GET /p HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", "bad_framing"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", LENGTHS + CODINGS)
def test_refused(edge, data, reason, piece):
    _, seen = is_refused(edge, data, reason, piece)
    assert not seen.broken, "nothing of an ambiguous message goes on"


TOO_LARGE = [
    case("9110 §15.5.14", "a length past the route's", b"POST /small HTTP/1.1\r\n" + HOST + b"Content-Length: 1025\r\n\r\n"),
    case("9110 §15.5.14", "a length past the default of 10 MiB", post(b"Content-Length: 10485761\r\n")),
    case("9110 §15.5.14", "the longest length that is a number", post(b"Content-Length: 999999999999999999\r\n")),
    case("9110 §15.5.14", "chunks past the route's", b"POST /small HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
         + b"200\r\n" + bytes(512) + b"\r\n201\r\n" + bytes(513) + b"\r\n0\r\n\r\n"),
    case("9110 §15.5.14", "a chunk that says it will be", b"POST /small HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n401\r\n"),
    case("9110 §15.5.14", "a chunk that says it will be, behind another", b"POST /small HTTP/1.1\r\n" + HOST
         + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n400\r\n"),
    case("9110 §15.5.14", "the largest chunk that is a number", post(b"Transfer-Encoding: chunked\r\n", b"7fffffffffffffff\r\n")),
]


@pytest.mark.parametrize("data", TOO_LARGE)
def test_a_body_past_the_limit(edge, data):
    is_refused(edge, data, "body_too_large")


PASSED = [
    case("9112 §6.2", "a length", post(b"Content-Length: 3\r\n", b"abc"), [b"Content-Length: 3"], b"abc"),
    case("9112 §6.2", "a length of 0", post(b"Content-Length: 0\r\n"), [b"Content-Length: 0"], b""),
    case("9112 §6.2", "whitespace around a length", post(b"Content-Length: \t3 \t\r\n", b"abc"), [b"Content-Length: \t3 \t"], b"abc"),
    case("9112 §6.2", "a length in lower case", post(b"content-length:3\r\n", b"abc"), [b"content-length:3"], b"abc"),
    case("9110 §8.6", "zeros before a length", post(b"Content-Length: 003\r\n", b"abc"), [b"Content-Length: 003"], b"abc"),
    case("9112 §6.2", "a body that looks like a request", post(b"Content-Length: 42\r\n", b"GET /smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n"[:42]),
         [b"Content-Length: 42"], b"GET /smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n"[:42]),
    case("9112 §6.2", "every byte", post(b"Content-Length: 256\r\n", bytes(range(256))), [b"Content-Length: 256"], bytes(range(256))),
    case("9112 §6.3", "neither: no body", post(b""), [], b""),
    case("9112 §6.1", "chunked", post(b"Transfer-Encoding: chunked\r\n", CHUNKS), [], b"abc"),
    case("9112 §7", "chunked in another case", post(b"Transfer-Encoding: ChUnKeD\r\n", CHUNKS), [], b"abc"),
    case("9112 §6.1", "whitespace around chunked", post(b"transfer-encoding:\t chunked \t\r\n", CHUNKS), [], b"abc"),
    case("9112 §6.1", "fields around chunked", post(b"X-A: 1\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n", CHUNKS), [b"X-A: 1", b"X-B: 2"], b"abc"),
]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,lines,body", PASSED)
def test_passed(edge, data, lines, body, piece):
    received = passes(edge, data, b"POST /p HTTP/1.1", lines, body, piece=piece)
    wanted = "length" if b"ontent-" in data or b"ontent-l" in data else "chunked" if b"chunked" in data.lower() else "none"
    assert received.framing == wanted


METHODS = [case("9110 §9.3", f"a body with {method.decode()}", method) for method in [
    b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"ANYTHING"]]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", METHODS)
def test_a_body_belongs_to_its_request_whatever_the_method(edge, method, framing):
    """A gateway that forgets the body of a GET makes a request of it."""
    head = method + b" /p HTTP/1.1\r\n" + HOST
    if framing == "length":
        passes(edge, head + b"Content-Length: 3\r\n\r\nabc", method + b" /p HTTP/1.1", [b"Content-Length: 3"], b"abc")
    else:
        passes(edge, head + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS, method + b" /p HTTP/1.1", [], b"abc")


CUT = [
    case("9112 §8", "a length, all but one byte", post(b"Content-Length: 4\r\n", b"abc")),
    case("9112 §8", "a length, nothing", post(b"Content-Length: 4\r\n")),
    case("9112 §8", "chunks without the last", post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n")),
    case("9112 §8", "chunks without the last empty line", post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n")),
    case("9112 §8", "in the middle of a chunk", post(b"Transfer-Encoding: chunked\r\n", b"3\r\nab")),
    case("9112 §8", "in a trailer", post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nX-A: 1\r\n")),
    case("9112 §8", "a head without its end", b"GET /p HTTP/1.1\r\n" + HOST),
    case("9112 §8", "a request line", b"GET /p HT"),
]


@pytest.mark.parametrize("how", ["closed", "reset", "half-closed"])
@pytest.mark.parametrize("data", CUT)
def test_a_request_cut_short_never_arrives_whole(edge, data, how):
    """RFC 9112 §8: the end of the connection is the end of no request."""
    with edge.client() as client:
        push(client, data)
        if how == "closed":
            client.close()
        elif how == "reset":
            client.reset()
        else:
            client.finish_sending()
            rest = client.until_close()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ") or rest.startswith(b"HTTP/1.1 408 "), rest
    seen = edge.settle()
    assert not seen.requests, seen
    # Whoever has got a part of it sees it end: nothing else may be written behind.
    for _ in range(3):
        if not seen.unfinished:
            break
        seen = edge.settle()
    assert not seen.unfinished, seen
    with edge.client() as client:
        goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/next"]


def test_a_request_that_comes_in_two_parts_at_every_byte(edge):
    """RFC 9112 §6: where the network splits a message means nothing."""
    data = post(b"Transfer-Encoding: chunked\r\nX-A: 1\r\n", b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    with edge.client() as client:
        for at in range(1, len(data)):
            client.send(data[:at])
            client.send(data[at:])
            assert client.response().body == b"/p"
    seen = edge.settle()
    assert len(seen.requests) == len(data) - 1
    for received in seen.requests:
        forwarded(received, b"POST /p HTTP/1.1", [b"X-A: 1"], edge.recorder.address)
        assert (received.body, received.trailers) == (b"abcde", [(b"X-Sum", b"5")])
