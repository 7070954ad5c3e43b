"""RFC 9112 §7.1 Chunked Transfer Coding: sizes, extensions, data and trailers of requests."""

import pytest

from edge import HOST, NEXT, case, is_refused, passes, push, refusal


def post(body, fields=b""):
    return b"POST /c HTTP/1.1\r\n" + HOST + fields + b"Transfer-Encoding: chunked\r\n\r\n" + body


LAST = b"0\r\n\r\n"

SIZES = [
    case("9112 §7.1", name, post(size + b"\r\nabcde\r\n" + LAST), "bad_framing") for name, size in [
        ("no size", b""), ("no hexadecimal digit", b"g"), ("0x", b"0x5"), ("0X", b"0X5"), ("x", b"x5"), ("minus", b"-5"), ("plus", b"+5"),
        ("minus zero", b"-0"), ("a space before", b" 5"), ("a tab before", b"\t5"), ("a space behind", b"5 "), ("a tab behind", b"5\t"),
        ("two sizes", b"5 5"), ("a comma", b"5,5"), ("a dot", b"5.0"), ("an underscore", b"0_5"), ("quotes", b'"5"'), ("a colon", b"5:"),
        ("an equals sign", b"5=a"), ("a letter past f", b"5g"), ("an h behind", b"5h"), ("NUL before", b"\x005"), ("NUL behind", b"5\0"),
        ("a vertical tab behind", b"5\x0b"), ("a fullwidth digit", "５".encode()), ("above ASCII behind", b"5\xa0"),
        ("2^63", b"8000000000000000"), ("2^64 - 1", b"ffffffffffffffff"), ("2^64 + 5", b"10000000000000005"),
        ("2^65 + 5", b"20000000000000005"), ("seventeen digits", b"00000000000000005"), ("a thousand zeros", b"0" * 1000 + b"5"),
        ("a CR and another byte behind", b"5\rX"), ("a bare CR before", b"\r5"), ("a bare CR behind", b"5\r"), ("a semicolon alone before", b";a"),
    ]] + [
    case("9112 §7.1", "CR and a byte in place of LF", post(b"5\rXabcde\r\n" + LAST), "bad_framing"),
    case("9112 §7.1", "2^63 where the last chunk may stand", post(b"8000000000000000\r\n\r\n"), "bad_framing"),
    case("9112 §7.1", "2^64 - 1 where the last chunk may stand", post(b"ffffffffffffffff\r\n\r\n"), "bad_framing"),
    case("9112 §7.1", "a bare LF behind a size", post(b"5\nabcde\r\n" + LAST), "bad_framing"),
    case("9112 §7.1", "a bare CR behind a size", post(b"5\rabcde\r\n" + LAST), "bad_framing"),
    case("9112 §7.1", "an empty line before a size", post(b"\r\n5\r\nabcde\r\n" + LAST), "bad_framing"),
    case("9112 §7.1", "a size that does not end", post(b"0" * 100000), "bad_framing"),
]

ENDS = [
    case("9112 §7.1", name, post(b"5\r\n" + data), "bad_framing") for name, data in [
        ("data longer than its size", b"abcdef\r\n" + LAST), ("data behind which stands nothing", b"abcde" + LAST),
        ("data ended by a byte and LF", b"abcdeX\n" + LAST), ("data ended by CR and a byte", b"abcde\rX" + LAST), ("data ended by LF", b"abcde\n" + LAST), ("data ended by CR", b"abcde\r" + LAST), ("data ended by LF CR", b"abcde\n\r" + LAST),
        ("data ended by CR CR LF", b"abcde\r\r\n" + LAST), ("data ended by spaces", b"abcde  \r\n" + LAST), ("data ended by NUL", b"abcde\0\r\n" + LAST),
        ("data shorter than its size", b"ab\r\n" + LAST),
        ("the last chunk ended by LF", b"abcde\r\n0\n\r\n"), ("the last chunk ended by CR", b"abcde\r\n0\r\r\n\r\n"),
        ("the last line is LF", b"abcde\r\n0\r\n\n"), ("the last line is CR CR LF", b"abcde\r\n0\r\n\r\r\n"),
        ("the last chunk has a sign", b"abcde\r\n-0\r\n\r\n"), ("the last chunk is empty", b"abcde\r\n\r\n\r\n")]]

EXTENSIONS = [
    case("9112 §7.1.1", name, post(b"5" + extension + b"\r\nabcde\r\n" + LAST), "bad_framing") for name, extension in [
        ("a bare LF", b";a\nb"), ("a bare CR", b";a\rb"), ("a bare CR at the end", b";a\r"), ("NUL", b";a\0"), ("a control byte", b";a=\x08"), ("DEL", b";a=\x7f"),
        ("a bare LF in quotes", b';a="\n"'), ("whitespace without an extension", b" \t"), ("an extension without a semicolon", b" a=b"),
        ("longer than 256 bytes", b";" + b"a" * 256), ("longer than 256 bytes of whitespace", b" " * 256 + b";"),
        ("one that does not end", b";" + b"a" * 100000)]
    ] + [
    case("9112 §7.1.1", "more than 16 KiB of them in a message", post((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 82 + LAST), "bad_framing"),
    case("9112 §7.1.1", "more than 256 bytes at the last chunk", post(b"0;" + b"a" * 256 + b"\r\n\r\n"), "bad_framing"),
]

TRAILERS = [
    case("9112 §7.1.2", name, post(b"5\r\nabcde\r\n0\r\n" + trailer + b"\r\n"), "bad_framing") for name, trailer in [
        ("a space before the colon", b"X-A : 1\r\n"), ("an empty name", b": 1\r\n"), ("no colon", b"X-A\r\n"), ("a space first", b" X-A: 1\r\n"),
        ("a folded value", b"X-A: 1\r\n 2\r\n"), ("a folded value by a tab", b"X-A: 1\r\n\t2\r\n"), ("NUL in a value", b"X-A: a\0b\r\n"),
        ("a control byte in a value", b"X-A: a\x1bb\r\n"), ("a bare CR in a value", b"X-A: a\rb\r\n"), ("a bare LF in a value", b"X-A: a\nb\r\n"),
        ("a bare LF behind a value", b"X-A: a\n"), ("CR CR LF behind a value", b"X-A: a\r\r\n"), ("a bare CR in a name", b"X\r-A: 1\r\n"),
        ("a bare LF in a name", b"X\n-A: 1\r\n"), ("above ASCII in a name", b"X\xe9: 1\r\n"), ("a request line", b"GET /smuggled HTTP/1.1\r\n"),
        ("33 lines", b"X-A: 1\r\n" * 33), ("more than 8 KiB", b"X-A: " + b"a" * 8192 + b"\r\n"), ("one that does not end", b"X-A: " + b"a" * 100000),
        ("a name that does not end", b"a" * 100000)]]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("data,reason", SIZES + ENDS + EXTENSIONS + TRAILERS)
def test_refused(edge, data, reason, piece):
    """The head and good chunks may have gone on: then the upstream's connection ends before its last chunk."""
    if piece and len(data) > 2000:
        piece = 997
    is_refused(edge, data, reason, piece)


@pytest.mark.parametrize("data,reason", [row for row in SIZES + ENDS + EXTENSIONS + TRAILERS if len(row.values[0]) < 400])
def test_refused_in_two_parts(edge, data, reason):
    """Wherever the network splits it: a decoder that has refused is not asked again, whatever is at hand by then."""
    for at in range(data.index(b"\r\n\r\n") + 5, len(data)):
        with edge.client() as client:
            push(client, data[:at])
            push(client, data[at:] + NEXT)
            refusal(client, reason)
    seen = edge.settle()
    assert not seen.requests and not seen.unfinished, seen


PASSED = [
    case("9112 §7.1", name, body, b"abcde") for name, body in [
        ("one chunk", b"5\r\nabcde\r\n" + LAST), ("a chunk for each byte", b"".join(b"1\r\n%c\r\n" % byte for byte in b"abcde") + LAST),
        ("zeros before a size", b"0005\r\nabcde\r\n" + LAST), ("sixteen digits", b"0000000000000005\r\nabcde\r\n" + LAST),
        ("several zeros at the end", b"5\r\nabcde\r\n0000\r\n\r\n")]
    ] + [
    case("9112 §7.1", "an empty body", LAST, b""),
    case("9112 §7.1", "digits in lower case", b"1a\r\n" + b"x" * 26 + b"\r\n" + LAST, b"x" * 26),
    case("9112 §7.1", "digits in upper case", b"1A\r\n" + b"x" * 26 + b"\r\n" + LAST, b"x" * 26),
    case("9112 §7.1", "data that looks like chunks", b"9\r\n0\r\n\r\nGET \r\n" + LAST, b"0\r\n\r\nGET "),
    case("9112 §7.1", "every byte", b"100\r\n" + bytes(range(256)) + b"\r\n" + LAST, bytes(range(256))),
    ] + [
    case("9112 §7.1.1", name, b"5" + extension + b"\r\nabcde\r\n0" + extension + b"\r\n\r\n", b"abcde") for name, extension in [
        ("a name", b";a"), ("a value", b";a=b"), ("a quoted value", b';a="b;c\\"d"'), ("several", b";a=b;c;d=e"), ("whitespace around", b" ; a = b"),
        ("a tab before", b"\t;a"), ("nothing behind the semicolon", b";"), ("256 bytes", b";" + b"a" * 255), ("bytes above ASCII", b";a=\xc3\xa9")]]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("body,wanted", PASSED)
def test_passed(edge, body, wanted, piece):
    """The service gets chunks of the gateway's making: no extension goes on (RFC 9112 §7.1.1)."""
    # The recorder takes no extension for a chunk size.
    passes(edge, post(body), b"POST /c HTTP/1.1", [], wanted, piece=piece)


KEPT = [
    case("9110 §6.5", name, trailers, trailers) for name, trailers in [
        ("one", [b"X-Sum: 1"]), ("several, in order", [b"B: 1", b"A: 2", b"C: 3"]), ("equal ones", [b"X-A: 1", b"X-A: 2"]),
        ("their case", [b"x-lower: 1", b"X-UPPER: 2"]), ("an empty value", [b"X-A:"]), ("bytes above ASCII", [b"X-A: caf\xe9"]),
        ("those of gRPC", [b"grpc-status: 0", b"grpc-message: ok"]), ("a digest", [b"Content-Digest: sha-256=:x:"]), ("32 of them", [b"X-%d: 1" % number for number in range(32)])]]

# Fields that frame, route, authenticate, control, say how content is read (RFC 9110 §6.5.1), or that the gateway
# vouches for; spelt in any way that some server takes for the same.
DROPPED = [
    case("9110 §6.5.1", name.decode(), [b"X-A: 1", name + b": x", b"X-B: 2"], [b"X-A: 1", b"X-B: 2"]) for name in [
        b"Content-Length", b"Transfer-Encoding", b"TRANSFER-ENCODING", b"Host", b"host", b"Authorization", b"Proxy-Authorization", b"Cookie", b"Set-Cookie",
        b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"Expect", b"Max-Forwards", b"Pragma", b"Range", b"Cache-Control",
        b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range", b"Content-Type", b"Content-Encoding", b"Content-Range",
        b"Age", b"Expires", b"Date", b"Location", b"Retry-After", b"Vary", b"Warning", b"WWW-Authenticate", b"Proxy-Authenticate", b"Via", b"HTTP2-Settings",
        b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Request-ID", b"x-request-id",
        b"X_Request_ID", b"X_Forwarded_For", b"x-forwarded_proto"]]


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "dripped"])
@pytest.mark.parametrize("trailers,wanted", KEPT + DROPPED)
def test_trailers(edge, trailers, wanted, piece):
    body = b"5\r\nabcde\r\n0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"
    received = passes(
        edge, post(body), b"POST /c HTTP/1.1", [], b"abcde", piece=piece,
        trailers=[tuple(part.strip() for part in line.split(b":", 1)) for line in wanted])
    sent = received.raw.partition(b"\r\n0\r\n")[2]
    assert sent == b"".join(line + b"\r\n" for line in wanted) + b"\r\n", "byte for byte"


def test_trailers_that_connection_lists_end_here(edge):
    """RFC 9110 §7.6.1: header and trailer fields alike."""
    body = b"5\r\nabcde\r\n0\r\nX-Hop: 1\r\n\r\n"
    passes(edge, post(body, b"Connection: X-Hop\r\n"), b"POST /c HTTP/1.1", [], b"abcde")


def test_the_field_trailer_goes_on(edge):
    """RFC 9110 §6.6.2: it says what will come, to whoever reads the content."""
    passes(edge, post(b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", b"Trailer: X-Sum\r\n"), b"POST /c HTTP/1.1", [b"Trailer: X-Sum"], b"a",
           trailers=[(b"X-Sum", b"1")])


def test_a_chunk_is_passed_on_before_the_next_has_come(edge):
    """RFC 9112 §7: nothing waits for the end of the message."""
    edge.recorder.script(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", early=True)
    with edge.client() as client:
        push(client, post(b"5\r\nabcde\r\n"))
        # The answer that is given at the head comes while the body is still open.
        answer = client.response()
        assert (answer.status, answer.body) == (200, b"ok")
    edge.settle()
