"""RFC 9112 §9 Connection Management: persistence, pipelining, closing, and clients of HTTP/1.0."""

import pytest

from edge import HOST, NEXT, asked, case, goes_on, problem, push, read_answer


def get(target=b"/k", fields=b"", version=b"1.1"):
    return b"GET " + target + b" HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n"


STAYS = [
    case("9112 §9.3", name, get(fields=fields, version=version)) for name, fields, version in [
        ("1.1", b"", b"1.1"), ("1.1 with keep-alive", b"Connection: keep-alive\r\n", b"1.1"), ("1.1 with an odd option", b"Connection: x\r\n", b"1.1"),
        ("1.1 with a word that holds close", b"Connection: closed, xclose\r\n", b"1.1"), ("1.1 with an empty Connection", b"Connection:\r\n", b"1.1"),
        ("1.1 with Keep-Alive", b"Keep-Alive: timeout=1, max=1\r\n", b"1.1"), ("1.1 with Proxy-Connection", b"Proxy-Connection: close\r\n", b"1.1"),
        ("1.0 with keep-alive", b"Connection: keep-alive\r\n", b"1.0"), ("1.0 with Keep-Alive in another case", b"connection: Keep-Alive\r\n", b"1.0"),
        ("1.0 with keep-alive in a list", b"Connection: x, keep-alive\r\n", b"1.0")]]


@pytest.mark.parametrize("data", STAYS)
def test_a_connection_that_stays(edge, data):
    with edge.client() as client:
        client.send(data)
        answer = read_answer(client)
        # RFC 9112 §9.3: a client of 1.0 is told; one of 1.1 knows.
        assert answer.all(b"connection") == ([b"keep-alive"] if b"HTTP/1.0" in data else []), answer.lines
        goes_on(client)
    edge.settle()


CLOSES = [
    case("9112 §9.6", name, get(fields=fields, version=version)) for name, fields, version in [
        ("1.1 with close", b"Connection: close\r\n", b"1.1"), ("close in another case", b"Connection: CLOSE\r\n", b"1.1"), ("close in a list", b"Connection: x, close ,y\r\n", b"1.1"),
        ("close in the second field", b"Connection: x\r\nConnection: close\r\n", b"1.1"), ("close beside keep-alive", b"Connection: keep-alive, close\r\n", b"1.1"),
        ("close behind keep-alive", b"Connection: keep-alive\r\nConnection: close\r\n", b"1.1"), ("close between commas", b"Connection: ,,close,\r\n", b"1.1"), ("1.0", b"", b"1.0"),
        ("1.0 with close", b"Connection: close\r\n", b"1.0"), ("1.0 with both", b"Connection: keep-alive, close\r\n", b"1.0"), ("1.0 with Proxy-Connection", b"Proxy-Connection: keep-alive\r\n", b"1.0"),
        ("1.0 with Keep-Alive alone", b"Keep-Alive: timeout=5\r\n", b"1.0")]]


@pytest.mark.parametrize("data", CLOSES)
def test_a_connection_that_closes(edge, data):
    """RFC 9112 §9.6: it is told, it is done, and a request behind it is not looked at."""
    with edge.client() as client:
        push(client, data + NEXT)
        answer = read_answer(client)
        assert (answer.body, answer.all(b"connection")) == (b"/k", [b"close"])
        assert client.until_close() == b""
    assert [received.target for received in edge.settle().requests] == [b"/k"]


@pytest.mark.parametrize("body,lines", [
    case("9112 §6.1", "chunks", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\nX-Sum: 1\r\n\r\n", [b"Connection: close"]),
    case("9112 §6.3", "a length", b"Content-Length: 5\r\n\r\nabcde", [b"Content-Length: 5", b"Connection: keep-alive"]),
])
def test_a_client_of_1_0_gets_no_chunks(edge, body, lines):
    """RFC 9112 §6.1: not even one that would keep the connection."""
    with edge.client() as client:
        asked(edge, client, b"HTTP/1.1 200 OK\r\n" + body, send=get(fields=b"Connection: keep-alive\r\n", version=b"1.0"))
        answer = read_answer(client)
        assert answer.body == b"abcde" and not answer.trailers
        assert [line for line in answer.lines if not line.startswith(b"X-Request-ID")] == lines
    edge.settle()


def test_the_gateway_speaks_1_1_to_everybody(edge):
    """RFC 9112 §2.3: the version is the sender's own."""
    with edge.client() as client:
        client.send(get(version=b"1.0"))
        assert read_answer(client).line == b"HTTP/1.1 200 OK"
    assert edge.settle().requests[0].version == b"HTTP/1.1"


@pytest.mark.parametrize("piece", [None, 1, 7], ids=["whole", "dripped", "by sevens"])
def test_pipelined_requests_are_answered_in_order(edge, piece):
    """RFC 9112 §9.3.2: with bodies of all kinds between them."""
    data, wanted = b"", []
    for number in range(60):
        target = b"/n%d" % number
        wanted.append(target)
        data += [
            get(target), b"POST " + target + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nGET /",
            b"PUT " + target + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a\r\nGET /\r\n0\r\nT: 1\r\n\r\n",
            b"\r\n" + get(target), get(target, b"Connection: keep-alive\r\n", b"1.0")][number % 5]
    with edge.client() as client:
        push(client, data, piece)
        assert [read_answer(client).body for _ in wanted] == wanted
        goes_on(client)
    seen = edge.settle()
    assert [received.target for received in seen.requests] == wanted + [b"/next"]
    assert {received.body for received in seen.requests} == {b"", b"GET /"}


@pytest.mark.parametrize("bad", [
    case("9112 §9.3.2", "a bad request line", b"GET / HTTP/1.1 x\r\n" + HOST + b"\r\n"),
    case("9112 §9.3.2", "a bad field", get(fields=b"X : 1\r\n")),
    case("9112 §9.3.2", "two framings", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    case("9112 §9.3.2", "a bad chunk", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"),
    case("9112 §9.3.2", "a body past the limit", b"POST /small HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\n\r\n"),
])
def test_an_error_in_a_pipeline_ends_it_there(edge, bad):
    """The answers before it come, in order; what stands behind it is not looked at: nobody knows where it begins."""
    with edge.client() as client:
        push(client, get(b"/a") + get(b"/b") + bad + NEXT)
        assert [read_answer(client).body for _ in range(2)] == [b"/a", b"/b"]
        assert read_answer(client).status in (400, 413)
        assert client.until_close() == b""
    assert [received.target for received in edge.settle().requests] == [b"/a", b"/b"]


@pytest.mark.parametrize("data,reason", [
    case("9112 §9.3", "a path that has no normal form", get(b"/%00"), "bad_target"),
    case("9112 §9.3", "that path, with a body", b"POST /%00 HTTP/1.1\r\n" + HOST + b"Content-Length: 30\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\nA: b\r\n", "bad_target"),
    case("9112 §9.3", "that path, with chunks", b"POST /%00 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n", "bad_target"),
    case("9112 §9.3", "a body past the limit that is here", b"POST /small HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000, "body_too_large"),
    case("9112 §9.3", "65 options of Connection", get(b"/", b"Connection: " + b",".join([b"x"] * 65) + b"\r\n"), "bad_request"),
])
def test_a_refused_request_whose_end_is_known_costs_no_connection(edge, data, reason):
    """Its body is read to its end, and no byte of that is a request; or the connection is closed."""
    with edge.client() as client:
        push(client, data)
        answer = client.response()
        assert problem(answer, reason)["reason"] == reason
        if answer.get("connection") is None:
            goes_on(client)
        else:
            assert client.until_close() == b""
    assert [received.target for received in edge.settle().requests] in ([], [b"/next"])


def test_one_exchange_at_a_time_on_an_upstream_connection(edge):
    """RFC 9112 §9.3.2: pipelined requests of a client are not pipelined to the service."""
    with edge.client() as client:
        edge.recorder.script()
        client.send(get(b"/a") + get(b"/b"))
        first = edge.recorder.arrived()
        with edge.client() as other:
            goes_on(other)
        assert [received.target for received in edge.settle().requests] == [b"/a", b"/next"]
        edge.recorder.say(first.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
        assert [read_answer(client).body for _ in range(2)] == [b"a", b"/b"]
    edge.settle()


def test_head_in_a_pipeline(edge):
    """RFC 9110 §9.3.2: its answer is a head, and the next answer begins behind it."""
    with edge.client() as client:
        client.send(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/b") + b"HEAD /c HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/d"))
        for method, target in (("HEAD", b"/a"), ("GET", b"/b"), ("HEAD", b"/c"), ("GET", b"/d")):
            answer = read_answer(client, method)
            assert (answer.status, answer.all(b"x-seen")) == (200, [target])
    edge.settle()


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_client_that_goes_away_leaves_nothing_to_the_next(edge, ending):
    """Its answer is on its way on a connection that nobody else gets."""
    with edge.client() as client:
        edge.recorder.script()
        client.send(get(b"/gone"))
        connection = edge.recorder.arrived().connection
        if ending == "reset":
            client.reset()
        else:
            client.close()
        edge.recorder.until_closed(connection)
    for _ in range(3):
        with edge.client() as client:
            goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/gone"] + [b"/next"] * 3
