"""RFC 9110 §5, §7.6, §10.1 and RFC 7239: which fields go on, in both directions, and which are the gateway's to say."""

import pytest

from edge import GET, HOST, asked, case, forwarded, goes_on, is_refused, passes, read_answer


def get(fields):
    return b"GET /h HTTP/1.1\r\n" + HOST + fields + b"\r\n"


def block(lines):
    return b"".join(line + b"\r\n" for line in lines)


# What came, what went on.
HOP_BY_HOP = [
    case("9110 §7.6.1", name, lines, kept) for name, lines, kept in [
        ("Connection", [b"Connection: keep-alive", b"A: 1"], [b"A: 1"]),
        ("a listed field", [b"Connection: X-Hop", b"X-Hop: 1", b"A: 1"], [b"A: 1"]),
        ("a listed field before Connection", [b"X-Hop: 1", b"A: 1", b"Connection: X-Hop"], [b"A: 1"]),
        ("a listed field in another case", [b"Connection: x-hOP", b"X-Hop: 1", b"A: 1"], [b"A: 1"]),
        ("a listed field that stands twice", [b"X-Hop: 1", b"Connection: X-Hop", b"x-hop: 2", b"A: 1"], [b"A: 1"]),
        ("several listed fields", [b"Connection: X-A ,\t,X-B", b"X-A: 1", b"X-B: 2", b"X-C: 3"], [b"X-C: 3"]),
        ("two Connection fields", [b"Connection: X-A", b"X-A: 1", b"connection: X-B", b"X-B: 2", b"X-C: 3"], [b"X-C: 3"]),
        ("close and a listed field", [b"Connection: keep-alive, X-A", b"X-A: 1", b"X-AB: 2"], [b"X-AB: 2"]),
        ("a listed field that is not there", [b"Connection: X-A", b"X-B: 2"], [b"X-B: 2"]),
        ("64 options", [b"Connection: " + b",".join([b"x"] * 64), b"A: 1"], [b"A: 1"]),
        ("Keep-Alive", [b"Keep-Alive: timeout=5", b"A: 1"], [b"A: 1"]),
        ("Proxy-Connection", [b"Proxy-Connection: keep-alive", b"A: 1"], [b"A: 1"]),
        ("TE", [b"TE: trailers", b"A: 1"], [b"A: 1"]),
        ("TE with codings", [b"te: gzip;q=0.5, trailers", b"A: 1"], [b"A: 1"]),
        ("TE that Connection lists", [b"Connection: TE", b"TE: trailers", b"A: 1"], [b"A: 1"]),
        ("Upgrade", [b"Upgrade: foo/2", b"A: 1"], [b"A: 1"]),
        ("Upgrade that Connection lists", [b"Connection: Upgrade", b"Upgrade: foo/2", b"A: 1"], [b"A: 1"]),
        ("Upgrade to h2c", [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"A: 1"], [b"A: 1"]),
        ("HTTP2-Settings alone", [b"HTTP2-Settings: AAMAAABkAAQAAP__", b"A: 1"], [b"A: 1"]),
        ("Proxy-Authorization", [b"Proxy-Authorization: Basic x", b"A: 1"], [b"A: 1"]),
        ("Proxy-Authenticate", [b"Proxy-Authenticate: Basic", b"A: 1"], [b"A: 1"]),
        ("a field that looks like one", [b"X-Connection: close", b"Connections: a", b"X-TE: 1", b"Keep-Alive-X: 1"],
         [b"X-Connection: close", b"Connections: a", b"X-TE: 1", b"Keep-Alive-X: 1"]),
    ]]


@pytest.mark.parametrize("lines,kept", HOP_BY_HOP)
def test_requests(edge, lines, kept):
    passes(edge, get(block(lines)), b"GET /h HTTP/1.1", kept)


@pytest.mark.parametrize("lines,kept", HOP_BY_HOP)
def test_responses(edge, lines, kept):
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\n" + block(lines) + b"Content-Length: 1\r\n\r\na")
        answer = read_answer(client)
        assert answer.lines[:-1] == kept + [b"Content-Length: 1"], answer.lines
        assert answer.lines[-1].startswith(b"X-Request-ID: ")
        goes_on(client)
    edge.settle()


STAY = [
    case("9110 §7.6.1", "Host", b"host", [b"A: 1"], b""),
    case("9110 §7.6.1", "Content-Length", b"Content-Length", [b"Content-Length: 3", b"A: 1"], b"abc"),
    case("9110 §7.6.1", "Host and Content-Length among others", b"x, HOST, close-x, content-LENGTH", [b"A: 1", b"Content-Length: 3"], b"abc"),
]


@pytest.mark.parametrize("option,lines,body", STAY)
def test_connection_cannot_take_away_what_frames_or_routes(edge, option, lines, body):
    data = b"POST /h HTTP/1.1\r\n" + HOST + b"Connection: " + option + b"\r\n" + block(lines) + b"\r\n" + body
    passes(edge, data, b"POST /h HTTP/1.1", lines, body)


def test_connection_cannot_take_away_a_response_length(edge):
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabc")
        answer = read_answer(client)
        assert (answer.all(b"content-length"), answer.body) == ([b"3"], b"abc")
        goes_on(client)
    edge.settle()


@pytest.mark.parametrize("option", [
    case("9110 §7.6.1", name.decode(), name) for name in [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"X-Request-ID"]])
def test_connection_cannot_take_away_what_the_gateway_says(edge, option):
    """The list of a client is for its own fields: ours are written afterwards."""
    received = passes(edge, get(b"Connection: " + option + b"\r\n" + option + b": mine\r\nA: 1\r\n"), b"GET /h HTTP/1.1", [b"A: 1"])
    assert len(received.all(option)) == 1 and received.all(option) != [b"mine"]


# In every spelling that some server takes for the same field: CGI and its children read `-` and `_` alike.
VOUCHED = [
    case("7239 §8.1", spelt.decode(), spelt) for name in [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"X-Request-ID"]
    for spelt in dict.fromkeys([name, name.lower(), name.upper(), name.replace(b"-", b"_"), name.lower().replace(b"-", b"_", 1)])]


@pytest.mark.parametrize("name", VOUCHED)
def test_what_the_gateway_vouches_for_a_client_cannot_say(edge, name):
    value = b"for=6.6.6.6" if name.lower() == b"forwarded" else b"6.6.6.6"
    received = passes(edge, get(name + b": " + value + b"\r\nA: 1\r\n" + name + b": again\r\n"), b"GET /h HTTP/1.1", [b"A: 1"])
    assert value not in received.raw and b"again" not in received.raw


FRAMING = [
    case("9112 §11.2", spelt.decode(), spelt, value) for spelt, value in [
        (b"Content_Length", b"5"), (b"content_length", b"0"), (b"CONTENT_LENGTH", b"99"), (b"Transfer_Encoding", b"chunked"), (b"TRANSFER_ENCODING", b"chunked")]]


@pytest.mark.parametrize("name,value", FRAMING)
def test_what_frames_a_message_has_one_spelling(edge, name, value):
    """A service that reads `-` and `_` alike, as CGI does, would see a second framing: the field ends here."""
    data = b"POST /h HTTP/1.1\r\n" + HOST + name + b": " + value + b"\r\nContent-Length: 3\r\nA: 1\r\n\r\nabc"
    passes(edge, data, b"POST /h HTTP/1.1", [b"Content-Length: 3", b"A: 1"], b"abc")


def test_what_the_gateway_says_itself(edge):
    received = passes(edge, get(b""), b"GET /h HTTP/1.1", [])
    assert received.all(b"x-forwarded-for") == [b"127.0.0.1"] and received.all(b"x-forwarded-proto") == [b"http"]
    assert received.all(b"x-forwarded-host") == [b"gate.test"]
    assert received.all(b"forwarded") == [b'for=127.0.0.1;proto=http;host="gate.test"']


# RFC 9110 §10.1.1.
EXPECTED = [
    case("9110 §10.1.1", name, version, expect, interim) for name, version, expect, interim in [
        ("100-continue", b"1.1", b"Expect: 100-continue\r\n", True), ("in another case", b"1.1", b"expect: 100-Continue\r\n", True),
        ("with whitespace", b"1.1", b"Expect: \t100-continue \r\n", True), ("twice", b"1.1", b"Expect: 100-continue\r\n" * 2, True),
        ("in 1.0 it is ignored", b"1.0", b"Connection: keep-alive\r\nExpect: 100-continue\r\n", False), ("an unknown one in 1.0", b"1.0", b"Connection: keep-alive\r\nExpect: x\r\n", False)]]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("version,expect,interim", EXPECTED)
def test_expect(edge, version, expect, interim, chunked):
    """The gateway reads the body itself, so it says itself that it may come; the service is not asked."""
    if chunked and version == b"1.0":
        pytest.skip("no chunks in 1.0")
    framing, body = (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") if chunked else (b"Content-Length: 3\r\n", b"abc")
    with edge.client() as client:
        client.send(b"POST /e HTTP/" + version + b"\r\n" + HOST + expect + framing + b"\r\n")
        if interim:
            assert client.head().status == 100
        client.send(body)
        answer = read_answer(client)
        assert (answer.body, answer.interim) == (b"/e", [])
        goes_on(client)
    received = edge.settle().requests[0]
    forwarded(received, b"POST /e HTTP/1.1", [] if chunked else [b"Content-Length: 3"], edge.recorder.address)
    assert received.body == b"abc"


@pytest.mark.parametrize("data", [
    case("9110 §10.1.1", "without a body", b"GET /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n\r\n"),
    case("9110 §10.1.1", "with a length of 0", b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"),
    case("9110 §10.1.1", "with the body right behind", b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
])
def test_nobody_waits_and_nobody_is_told(edge, data):
    with edge.client() as client:
        client.send(data)
        answer = read_answer(client)
        assert (answer.body, answer.interim) == (b"/e", [])
        goes_on(client)
    edge.settle()


@pytest.mark.parametrize("value", [
    case("9110 §10.1.1", name, value) for name, value in [
        ("another", b"200-ok"), ("a list", b"100-continue, x"), ("100-continue in a list of its own", b"100-continue,"), ("a parameter", b"100-continue;a"),
        ("empty", b""), ("a prefix", b"x100-continue"), ("quotes", b'"100-continue"'), ("the number", b"100")]])
def test_an_unknown_expectation_is_417(edge, value):
    _, seen = is_refused(edge, b"POST /e HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nExpect: " + value + b"\r\n\r\nabc", "expectation_failed")
    assert not seen.broken


@pytest.mark.parametrize("data,reason", [
    case("9110 §10.1.1", "a body past the limit", b"POST /small HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n", "body_too_large"),
    case("9110 §10.1.1", "a bad length", b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: x\r\n\r\n", "bad_framing"),
])
def test_a_final_answer_in_place_of_100(edge, data, reason):
    with edge.client() as client:
        client.send(data)
        answer = client.response()
        assert answer.json()["reason"] == reason and client.interim == []
    assert not edge.settle().requests


# Lines of a response; all of them go on byte for byte.
RESPONSE_LINES = [
    case("9112 §5", name, lines) for name, lines in [
        ("no space behind the colon", [b"X-A:1"]), ("spaces and tabs around a value", [b"X-A: \t 1 \t "]), ("an empty value", [b"X-A:"]), ("an empty value with whitespace", [b"X-A: \t "]),
        ("colons in a value", [b"X-A: :a:b::"]), ("bytes above ASCII", [b"X-A: caf\xe9 \xc3\xa9 \xff\x80"]), ("every token byte in a name", [b"!#$%&'*+-.^_`|~09AZaz: 1"]),
        ("a long value", [b"X-A: " + b"v" * 20000]), ("255 fields", [b"X-%d: 1" % number for number in range(255)])]
    ] + [
    case("9110 §5.3", name, lines) for name, lines in [
        ("the order of fields", [b"B: 1", b"A: 2", b"a: 3", b"B: 4"]), ("cookies are not joined", [b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2, c", b"set-cookie: a=1"]),
        ("challenges are not joined", [b"WWW-Authenticate: Basic realm=\"a, b\"", b"WWW-Authenticate: Bearer"]), ("equal lines", [b"X-A: 1"] * 3)]
    ] + [
    case("9110 §8", name, lines) for name, lines in [
        ("Content-Encoding", [b"Content-Encoding: gzip"]), ("validators", [b'ETag: W/"a"', b"Last-Modified: Sat, 29 Oct 1994 19:43:31 GMT"]), ("Vary", [b"Vary: Accept-Encoding, Origin", b"Vary: *"]),
        ("Content-Type", [b"Content-Type: text/html; charset=iso-8859-1"]), ("caching", [b"Cache-Control: max-age=1", b"Age: 1", b"Expires: 0"]), ("Date and Server", [b"Date: x", b"Server: a/1 (b)"]),
        ("ranges", [b"Accept-Ranges: bytes", b"Content-Range: bytes 0-0/1"]), ("redirection", [b"Location: http://10.0.0.1:80/a?b#c"]), ("Via", [b"Via: 1.0 fred, 1.1 p"]), ("Trailer", [b"Trailer: X-Sum"]),
        ("Retry-After", [b"Retry-After: 120"]), ("Alt-Svc", [b'Alt-Svc: h2=":443"'])]]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("lines", RESPONSE_LINES)
def test_a_response_field_goes_on_byte_for_byte(edge, lines, chunked):
    framing, body = (b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n") if chunked else (b"Content-Length: 1\r\n", b"a")
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\n" + block(lines) + framing + b"\r\n" + body)
        answer = read_answer(client)
        own = [b"Transfer-Encoding: chunked"] if chunked else []
        assert answer.lines[:-1] == lines + ([] if chunked else [b"Content-Length: 1"]) + own
        assert answer.lines[-1].startswith(b"X-Request-ID: ") and answer.body == b"a"
        goes_on(client)
    edge.settle()


def test_the_request_id_of_an_answer_is_the_gateways(edge):
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nx-request-id: again\r\nContent-Length: 1\r\n\r\na")
        answer = read_answer(client)
        received = edge.settle().requests[0]
        assert answer.all(b"x-request-id") == received.all(b"x-request-id") and answer.all(b"x-request-id")[0] not in (b"theirs", b"again")


TRAILERS = [
    case("9110 §6.5.1", name, [b"X-A: 1", name.encode() + b": x", b"X-B: 2"], [b"X-A: 1", b"X-B: 2"]) for name in [
        "Content-Length", "Transfer-Encoding", "Set-Cookie", "Connection", "Keep-Alive", "Trailer", "Upgrade", "Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "Age", "Expires",
        "Date", "Location", "Retry-After", "Vary", "Warning", "WWW-Authenticate", "Proxy-Authenticate", "X-Request-ID", "Authorization", "Via", "Pragma"]] + [
    case("9110 §6.5", "several, in order, in their case", [b"B: 1", b"a: 2", b"B: 3"], [b"B: 1", b"a: 2", b"B: 3"]), case("9110 §6.5", "those of gRPC", [b"grpc-status: 0"], [b"grpc-status: 0"]),
    case("9110 §6.5", "32 of them", [b"X-%d: 1" % number for number in range(32)], [b"X-%d: 1" % number for number in range(32)])]


@pytest.mark.parametrize("lines,kept", TRAILERS)
def test_response_trailers(edge, lines, kept):
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + block(lines) + b"\r\n", send=GET)
        answer = read_answer(client)
        assert (answer.body, answer.trailers) == (b"a", kept)
        goes_on(client)
    edge.settle()


def test_response_trailers_that_connection_lists_end_here(edge):
    """RFC 9110 §7.6.1: header and trailer fields alike."""
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Hop: 1\r\n\r\n")
        answer = read_answer(client)
        assert (answer.body, answer.trailers) == (b"a", [])
        goes_on(client)
    edge.settle()
