"""RFC 9112 §5 Field Syntax: names, values, lines; what is valid goes on byte for byte."""

import pytest

from edge import HOST, case, is_refused, passes


def get(fields):
    return b"GET /f HTTP/1.1\r\n" + HOST + fields + b"\r\n"


REFUSED = [
    case("9112 §5.1", "a space before the colon", get(b"X-A : 1\r\n"), "bad_request"),
    case("9112 §5.1", "a tab before the colon", get(b"X-A\t: 1\r\n"), "bad_request"),
    case("9112 §5.1", "a space before the colon of Content-Length", get(b"Content-Length : 3\r\n") + b"abc", "bad_request"),
    case("9112 §5.1", "a space before the colon of Transfer-Encoding", get(b"Transfer-Encoding : chunked\r\n"), "bad_request"),
    case("9112 §5.1", "a space in a name", get(b"X A: 1\r\n"), "bad_request"),
    case("9112 §5", "an empty name", get(b": 1\r\n"), "bad_request"),
    case("9112 §5", "nothing but a colon", get(b":\r\n"), "bad_request"),
    case("9112 §5", "no colon", get(b"X-A\r\n"), "bad_request"),
    case("9112 §5", "a value without a name", get(b"= 1\r\n"), "bad_request"),
    case("9112 §5", "no colon in the last line", b"GET /f HTTP/1.1\r\n" + HOST + b"nothing\r\n\r\n", "bad_request"),
    case("9112 §5.2", "a folded value", get(b"X-A: 1\r\n 2\r\n"), "bad_request"),
    case("9112 §5.2", "a value folded by a tab", get(b"X-A: 1\r\n\t2\r\n"), "bad_request"),
    case("9112 §5.2", "a folded empty line", get(b"X-A: 1\r\n \r\n"), "bad_request"),
    case("9112 §5.2", "a folded Host", b"GET / HTTP/1.1\r\nHost:\r\n gate.test\r\n\r\n", "bad_host"),
    case("9112 §5.2", "a folded Content-Length", get(b"Content-Length: 1\r\n 0\r\n") + b"x", "bad_request"),
    case("9112 §5.2", "a folded Transfer-Encoding", get(b"Transfer-Encoding:\r\n chunked\r\n"), "bad_request"),
]

# Every byte that is no tchar (RFC 9110 §5.6.2), in the middle of a name; CR, LF and the colon have rows of their own.
NAMES = [
    case("9110 §5.1", f"0x{byte:02x} in a name", get(b"X%cA: 1\r\n" % byte), "bad_request")
    for byte in [*range(0x00, 0x0a), 0x0b, 0x0c, *range(0x0e, 0x20), *b'"(),/;<=>?@[\\]{}', 0x7f, 0x80, 0xa0, 0xc3, 0xff]]

# Every control byte but tab (RFC 9110 §5.5), in the middle of a value; CR and LF have rows of their own.
VALUES = [
    case("9110 §5.5", f"0x{byte:02x} in a value", get(b"X-A: a%cb\r\n" % byte), "bad_request")
    for byte in [*range(0x00, 0x09), 0x0b, 0x0c, *range(0x0e, 0x20), 0x7f]]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", REFUSED)
def test_refused(edge, data, reason, piece):
    is_refused(edge, data, reason, piece)


@pytest.mark.parametrize("data,reason", NAMES + VALUES)
def test_bytes_that_are_refused(edge, data, reason):
    is_refused(edge, data, reason)


LIMITS = [
    case("6585 §5", "one field too many", get(b"".join(b"X-%d: 1\r\n" % number for number in range(100))), "head_too_large"),
    case("6585 §5", "a thousand fields", get(b"a:b\r\n" * 1000), "head_too_large"),
    case("6585 §5", "a value of 32 KiB", get(b"X-A: " + b"a" * 32768 + b"\r\n"), "head_too_large"),
    case("6585 §5", "a name of 32 KiB", get(b"a" * 32768 + b": 1\r\n"), "head_too_large"),
    case("6585 §5", "a head that does not end", get(b"X-A: " + b"a" * 100000)[:-2], "head_too_large"),
    case("6585 §5", "a name that does not end", get(b"a" * 100000)[:-2], "head_too_large"),
    case("6585 §5", "many fields that do not end", b"GET /f HTTP/1.1\r\n" + HOST + b"a:b\r\n" * 20000, "head_too_large"),
]


@pytest.mark.parametrize("piece", [None, 997], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", LIMITS)
def test_a_head_past_its_limits(edge, data, reason, piece):
    is_refused(edge, data, reason, piece)


def test_a_head_of_just_the_limit_passes(edge):
    """`limits_of_http.head` counts the whole head, with its last empty line."""
    frame = len(get(b"X-A: \r\n"))
    line = b"X-A: " + b"a" * (32768 - frame)
    passes(edge, get(line + b"\r\n"), b"GET /f HTTP/1.1", [line])
    is_refused(edge, get(line + b"a\r\n"), "head_too_large")


def test_as_many_fields_as_the_limit_pass(edge):
    lines = [b"X-%d: %d" % (number, number) for number in range(99)]
    passes(edge, get(b"".join(line + b"\r\n" for line in lines)), b"GET /f HTTP/1.1", lines)


PASSED = [
    case("9112 §5", name, lines) for name, lines in [
        ("no space behind the colon", [b"X-A:1"]),
        ("spaces and tabs around a value", [b"X-A: \t 1 \t "]),
        ("an empty value", [b"X-A:"]),
        ("an empty value with whitespace", [b"X-A: \t "]),
        ("an empty value among others", [b"X-A: 1", b"X-B:", b"X-C: 3"]),
        ("spaces and a tab inside a value", [b"X-A: a  b\tc"]),
        ("colons in a value", [b"X-A: :a:b::"]),
        ("a value that looks like a field", [b"X-A: Content-Length: 5"]),
        ("quotes and backslashes", [b'X-A: "a \\" b, c\\"']),
        ("bytes above ASCII", [b"X-A: caf\xe9 \xc3\xa9 \xff\x80"]),
        ("every token byte in a name", [b"!#$%&'*+-.^_`|~09AZaz: 1"]),
        ("a name of one byte", [b"a: 1"]),
        ("a long name", [b"a" * 3000 + b": 1"]),
        ("a long value", [b"X-A: " + b"v" * 9000]),
    ]] + [
    case("9110 §5.3", name, lines) for name, lines in [
        ("the order of different fields", [b"B: 1", b"A: 2", b"C: 3", b"A-B: 4"]),
        ("the order of equal fields", [b"X-A: 1", b"X-B: 2", b"X-A: 3", b"x-a: 4"]),
        ("equal lines", [b"X-A: 1", b"X-A: 1", b"X-A: 1"]),
        ("lists are not joined or split", [b"X-A: 1, 2", b"X-A: 3"]),
        ("equal cookies", [b"Cookie: a=1", b"Cookie: b=2; c=3"]),
    ]] + [
    case("9110 §5.1", name, lines) for name, lines in [
        ("the case of names", [b"x-lower: 1", b"X-UPPER: 2", b"x-MiXeD: 3"]),
        ("the case of known names", [b"ACCEPT: */*", b"user-agent: a", b"aCCept-enCODing: gzip"]),
        ("a name with an underscore", [b"X_A: 1", b"_: 2"]),
    ]] + [
    case("9110 §8", name, lines) for name, lines in [
        ("Content-Type without a body", [b"Content-Type: text/plain; charset=utf-8"]),
        ("conditions", [b'If-None-Match: "a", W/"b"', b"If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT"]),
        ("ranges", [b"Range: bytes=0-499, -500", b'If-Range: "a"']),
        ("negotiation", [b"Accept: text/*;q=0.3, */*;q=0.5", b"Accept-Encoding: gzip, br;q=0", b"Accept-Language: da"]),
        ("who is asked and who asks", [b"Authorization: Basic YTpi", b"From: a@b", b"Referer: http://a/b?c#d"]),
    ]]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("lines", PASSED)
def test_passed_byte_for_byte(edge, lines, piece):
    if piece and sum(map(len, lines)) > 1000:
        piece = 997
    passes(edge, get(b"".join(line + b"\r\n" for line in lines)), b"GET /f HTTP/1.1", lines, piece=piece)
