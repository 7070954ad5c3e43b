"""Payloads go on unchanged, both ways, over HTTP/1.1 and HTTP/2: bodies by their SHA-256, and the fields that say how a
body is to be read, byte for byte (RFC 9110 §7.7: a gateway that transforms nothing)."""

import gzip
import hashlib
import os
import random

import pytest

from edge import read_answer
from harness.bound import FULL
from harness.http2 import Client2
from harness.wire import Client

COUNT = 10_000 if FULL else 2000
SEED = int(os.environ.get("GATEHOUSE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

# What no gateway may touch.
KEPT = ("content-encoding", "etag", "vary", "content-type", "content-range", "last-modified", "content-language", "digest")


class Dice(random.Random):
    def size(self):
        return self.choice([0, 1, 2, self.randrange(64), self.randrange(2000), self.randrange(20_000), 16_384, 65_536, self.randrange(120_000)])

    def content(self):
        """A body, and the fields that describe it."""
        body = self.randbytes(self.size())
        fields = []
        if self.random() < 0.3:
            body = gzip.compress(body, self.randrange(1, 10))
            fields.append(("Content-Encoding", self.choice(["gzip", "GZIP", "gzip, identity", "x-gzip"])))
        if self.random() < 0.7:
            fields.append(("Content-Type", self.choice(["application/json", "text/html; charset=\"utf-8\"", "multipart/form-data; boundary=a", "application/octet-stream"])))
        if self.random() < 0.5:
            fields.append(("ETag", self.choice(['"a"', 'W/"b"', '""', '"%x"' % self.getrandbits(64)])))
        if self.random() < 0.4:
            fields += [("Vary", value) for value in self.sample(["Accept-Encoding", "Origin, Accept", "*"], self.randrange(1, 3))]
        if self.random() < 0.2:
            fields.append(("Last-Modified", "Sat, 29 Oct 1994 19:43:31 GMT"))
        if self.random() < 0.2:
            fields.append(("Content-Language", "en, de"))
        self.shuffle(fields)
        return body, fields

    def trailers(self):
        return [(f"X-T{number}", "%x" % self.getrandbits(32)) for number in range(self.choice([0, 0, 1, 3]))]

    def chunked(self, body, trailers):
        out, at = b"", 0
        while at < len(body):
            size = min(len(body) - at, self.choice([1, self.randrange(1, 100), self.randrange(1, 20_000)]))
            extension = self.choice([b"", b"", b";a=b", b' ;q="x;y"'])
            out += b"%x%s\r\n%s\r\n" % (size, extension, body[at:at + size])
            at += size
        return out + b"0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers) + b"\r\n"


def lines(fields):
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in fields)


def described(fields):
    return [(name.lower(), value) for name, value in fields if name.lower() in KEPT]


def sent_by_the_service(dice, method):
    """An answer as the service writes it: bytes and whether it closes, and the status, body, fields and trailers that
    the client must find."""
    body, fields = dice.content()
    status, trailers = 200, []
    kind = dice.choice(["length", "chunked", "chunked", "close", "range", "empty", "not modified", "no content"])
    if kind == "range":
        status = 206
        fields.append(("Content-Range", f"bytes 0-{max(len(body) - 1, 0)}/{len(body) + 7}"))
    if kind == "empty":
        body = b""
    if kind in ("not modified", "no content"):
        status, body = (304 if kind == "not modified" else 204), b""
        head = b"HTTP/1.1 %d X\r\n" % status + lines(fields) + b"\r\n"
        return head, False, status, body, fields, trailers
    head = b"HTTP/1.1 %d X\r\n" % status + lines(fields)
    if kind == "chunked":
        trailers = dice.trailers()
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"" if method == "HEAD" else dice.chunked(body, trailers))
    elif kind == "close":
        data = head + b"\r\n" + (b"" if method == "HEAD" else body)
    else:
        data = head + b"Content-Length: %d\r\n\r\n" % len(body) + (b"" if method == "HEAD" else body)
    if method == "HEAD":
        body, trailers = b"", []
    return data, kind == "close" and method != "HEAD", status, body, fields, trailers


def digest(body):
    return len(body), hashlib.sha256(body).hexdigest()


class Over1:
    def __init__(self, edge):
        self.client = Client(edge.gateway.address())

    def exchange(self, dice, method, body, fields, trailers):
        """Sends a request and reads the answer: status, body, fields, trailers."""
        head = f"{method} /p HTTP/1.1\r\nHost: gate.test\r\n".encode() + lines(fields)
        if body is None:
            data = head + b"\r\n"
        elif trailers or dice.random() < 0.5:
            data = head + b"Transfer-Encoding: chunked\r\n\r\n" + dice.chunked(body, trailers)
        else:
            data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        at = dice.randrange(len(data))
        self.client.send(data[:at])
        self.client.send(data[at:])
        answer = read_answer(self.client, method)
        text = [(name.decode(), value.decode()) for name, value in answer.fields]
        return answer.status, answer.body, text, [tuple(line.decode().split(": ")) for line in answer.trailers]

    def close(self):
        self.client.close()


class Over2:
    def __init__(self, edge):
        self.client = Client2(edge.gateway.address())

    def exchange(self, dice, method, body, fields, trailers):
        small = [(name.lower(), value) for name, value in fields]
        if body is not None and not trailers and dice.random() < 0.5:
            small.append(("content-length", str(len(body))))
        number = self.client.request(method, "/p", small, end=body is None)
        if body is not None:
            self.client.data(number, body, end=not trailers)
            if trailers:
                self.client.trailers(number, [(name.lower(), value) for name, value in trailers])
        stream = self.client.answer(number)
        del self.client.streams[number]
        return stream.status, stream.body, stream.fields, stream.trailers

    def close(self):
        self.client.close()


@pytest.mark.bound(240)
@pytest.mark.parametrize("over", [Over1, Over2], ids=["HTTP-1.1", "HTTP-2"])
def test_bodies_and_their_fields_are_unchanged_both_ways(edge, over):
    """10,000 exchanges of both protocols together with GATEHOUSE_FULL=1; GATEHOUSE_SEED replays them."""
    dice = Dice(SEED)
    connection = over(edge)
    for number in range(COUNT // 2):
        what = f"exchange {number} of GATEHOUSE_SEED={SEED}"
        method = dice.choice(["GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
        if method in ("GET", "HEAD", "DELETE"):
            body, fields, trailers = None, [], []
        else:
            body, fields = dice.content()
            trailers = dice.trailers()
        fields = [("If-None-Match", '"a", W/"b"')] * dice.randrange(2) + [("Range", "bytes=0-9, -5")] * dice.randrange(2) + fields
        answer, closes, status, wanted, answer_fields, answer_trailers = sent_by_the_service(dice, method)
        cuts = sorted(dice.randrange(len(answer) + 1) for _ in range(dice.randrange(4)))
        pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)]) if start < end]
        edge.recorder.script(*pieces, *(["close"] if closes else []))
        got = connection.exchange(dice, method, body, fields, trailers)
        assert got[0] == status, what
        assert digest(got[1]) == digest(wanted), what
        assert described(got[2]) == described(answer_fields), what
        assert [(name.lower(), value) for name, value in got[3]] == [(name.lower(), value) for name, value in answer_trailers], what
        received = edge.recorder.take().requests[0]
        assert digest(received.body) == digest(body or b""), what
        arrived = [(name.decode(), value.decode()) for name, value in received.fields]
        assert described(arrived) == described(fields), what
        assert [value for name, value in arrived if name.lower() in ("range", "if-none-match")] == [
            value for name, value in fields if name in ("Range", "If-None-Match")], what
        assert [(name.decode().lower(), value.decode()) for name, value in received.trailers] == [
            (name.lower(), value) for name, value in trailers], what
    connection.close()
