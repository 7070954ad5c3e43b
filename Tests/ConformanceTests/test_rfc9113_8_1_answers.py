"""RFC 9113 §8.1, §8.2, §8.3.2: what a service says over HTTP/1.1, as a client of HTTP/2 gets it."""

from dataclasses import dataclass

import pytest

from frames import CANCEL, INTERNAL_ERROR, get, headers, request
from rows import One, Row, Some

OK = b"HTTP/1.1 200 OK\r\n"
# What the gateway adds to an answer.
OURS = {"x-request-id"}


@dataclass(frozen=True)
class Gets:
    """The heads, body and trailers of one answer; `lines` without what the gateway adds."""
    status: int = 200
    lines: tuple = ()
    body: bytes = b""
    interim: tuple = ()
    trailers: tuple = ()

    def wait(self, peer):
        peer.until_answered(1)

    def wrong(self, peer):
        answer = peer.answer(1)
        if peer.goaways or not answer.is_ended or answer.reset is not None:
            return f"no whole answer: reset {answer.reset}, status {answer.status}"
        finals = [index for index, head in enumerate(answer.heads) if head[0][0] == ":status" and int(head[0][1]) >= 200]
        if len(finals) != 1:
            return f"heads {answer.heads}"
        final = answer.heads[finals[0]]
        interim = tuple(int(head[0][1]) for head in answer.heads[:finals[0]])
        trailers = tuple(line for head in answer.heads[finals[0] + 1:] for line in head)
        lines = tuple(line for line in final[1:] if line[0] not in OURS)
        if any(name != name.lower() or name.startswith(":") for name, _ in final[1:] + list(trailers)):
            return f"names of no HTTP/2 field: {final}"
        found = (int(final[0][1]), lines, answer.body, interim, trailers)
        wanted = (self.status, self.lines, self.body, self.interim, self.trailers)
        return None if found == wanted else f"got {found}"


@dataclass(frozen=True)
class Broken:
    """An answer that has begun and cannot be whole: a reset, never END_STREAM."""

    def wait(self, peer):
        peer.until_answered(1)

    def wrong(self, peer):
        answer = peer.answer(1)
        if answer.is_ended or answer.reset not in (INTERNAL_ERROR, CANCEL):
            return f"ended: {answer.is_ended}, reset {answer.reset}"
        return f"the connection ended with {peer.goaways}" if peer.goaways else None


@dataclass(frozen=True)
class Refused:
    """The gateway's own answer in place of the service's."""
    status: int = 502

    def wait(self, peer):
        peer.until_answered(1)

    def wrong(self, peer):
        answer = peer.answer(1)
        isOurs = ("content-type", "application/problem+json") in (answer.heads[-1] if answer.heads else [])
        if answer.is_ended and answer.status == self.status and isOurs:
            return None
        return f"ended: {answer.is_ended}, status {answer.status}, {answer.body[:100]!r}"


def says(clause, title, said, client, closes=False, method="GET", note=""):
    return clause, title, said, client, closes, method, note


LENGTH = ("content-length", "3")

CASES = [
    says("8.1", "a body of known length", OK + b"Content-Length: 3\r\n\r\nabc", Gets(lines=(LENGTH,), body=b"abc")),
    says("8.1", "a body in chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", Gets(body=b"abc")),
    says("8.1", "a body that ends with its connection", OK + b"\r\nabc", Gets(body=b"abc"), closes=True),
    says("8.1", "no body", OK + b"Content-Length: 0\r\n\r\n", Gets(lines=(("content-length", "0"),))),
    says("8.1", "trailers", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Two: 8\r\n\r\n",
         Gets(body=b"abc", trailers=(("x-sum", "7"), ("x-two", "8")))),
    says("8.1", "trailers without a body", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nGrpc-Status: 0\r\n\r\n",
         Gets(trailers=(("grpc-status", "0"),))),
    says("8.1", "trailers that must not be", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\n"
         b"Transfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nConnection: close\r\nX-Sum: 7\r\n\r\n",
         Gets(body=b"abc", trailers=(("x-sum", "7"),)), note="RFC 9110 §6.5.1"),
    says("8.1", "HEAD with the length that GET would have", OK + b"Content-Length: 3\r\n\r\n", Gets(lines=(LENGTH,)), method="HEAD"),
    says("8.1", "204", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", Gets(204, (("x", "y"),))),
    says("8.1", "304 with the length that 200 would have", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
         Gets(304, (LENGTH,))),
    says("8.1", "an interim answer before the final one",
         b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc",
         Gets(lines=(LENGTH,), body=b"abc", interim=(103,))),
    says("8.1", "two interim answers", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK
         + b"Content-Length: 3\r\n\r\nabc", Gets(lines=(LENGTH,), body=b"abc", interim=(102, 103))),
    says("8.1", "100 that nobody asked for", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc",
         Gets(lines=(LENGTH,), body=b"abc")),
    says("8.1", "101 has no place in HTTP/2", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
         Refused()),
    says("8.3.2", "the reason phrase goes", b"HTTP/1.1 404 Nowhere To Be Found\r\nContent-Length: 0\r\n\r\n",
         Gets(404, (("content-length", "0"),))),
    says("8.3.2", "a status that nobody knows", b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n",
         Gets(599, (("content-length", "0"),))),
    says("8.2", "names become lower case, values stay", OK + b"X-MiXeD: Va Lue\r\nETag: \"A\"\r\nContent-Length: 0\r\n\r\n",
         Gets(lines=(("x-mixed", "Va Lue"), ("etag", "\"A\""), ("content-length", "0")))),
    says("8.2", "lines of one name stay lines, in order", OK + b"Set-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
         Gets(lines=(("set-cookie", "a=1"), ("x", "y"), ("set-cookie", "b=2"), ("content-length", "0")))),
    says("8.2.1", "whitespace around a value goes", OK + b"X: \t y \t\r\nContent-Length: 0\r\n\r\n",
         Gets(lines=(("x", "y"), ("content-length", "0")))),
    says("8.2.2", "fields of the service's connection end here", OK + b"Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n"
         b"X-Hop: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", Gets(lines=(("content-length", "0"),))),
    says("8.2.1", "a pseudo-field from a service", OK + b":status: 500\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.2.1", "a name with a space", OK + b"X Y: 1\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.2.1", "a space before the colon", OK + b"X : 1\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.2.1", "a NUL in a value", OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.2.1", "a CR in a value", OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.2.1", "a folded line", OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", Refused()),
    says("8.1.1", "a length and chunks", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Refused()),
    says("8.1.1", "two lengths", OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", Refused(), closes=True),
    says("8.1.1", "a body shorter than its length", OK + b"Content-Length: 5\r\n\r\nabc", Broken(), closes=True),
    says("8.1.1", "chunks without their last", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Broken(), closes=True),
    says("8.1.1", "a chunk that is longer than it says", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Broken(),
         closes=True),
    says("8.1.1", "more than its length: what is over reaches nobody", OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
         Gets(lines=(LENGTH,), body=b"abc"), closes=True),
]


@pytest.mark.parametrize("case", CASES, ids=[f"RFC 9113 {case[0]}: {case[1]}" for case in CASES])
def test_answer(http2, case):
    clause, title, said, client, closes, method, _ = case
    target = f"/answer/{CASES.index(case)}"
    http2.recorder.answers[target] = (said, closes)
    http2.judge(Row(clause, title, (headers(1, request(target, method)),), client, One(target, method)))


def test_a_service_that_answers_twice_harms_no_other_request(http2):
    """§8.1: what stands behind an answer on the service's connection is nobody's, whoever asks next."""
    http2.recorder.answers["/twice"] = (
        OK + b"Content-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", False)
    for _ in range(5):
        http2.judge(Row("8.1", "twice", (headers(1, request("/twice")),
                                         lambda peer: peer.until_answered(1), get(3, "/next"),
                                         lambda peer: peer.until_answered(3), lambda peer: is_true(peer, 3)),
                        Gets(lines=(LENGTH,), body=b"one"), Some(2)))


def is_true(peer, stream):
    assert peer.answer(stream).body == b"whole\n", peer.answer(stream).body
