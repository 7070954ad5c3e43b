"""Clients that mean harm, one attack a test. Each is measured: memory grown at its worst, CPU
ticks (10 ms) in the second after its end, what ended the attacker, and what a good client beside it saw. `ATTACK_TABLE=path`
writes the figures as a table; `GATEHOUSE_FULL=1` attacks at full size."""

import resource
import socket
import threading
import time

import pytest

from harness import crowd
from harness.attack import (AFTER, BIG, CALM, CANCEL, FRAME_SIZE, MANY, MEBIBYTE, NAMES, PROTOCOL_ERROR, STREAM_CLOSED,
                            TABLE, Raw, again, attack, everyone, field, get, metric, path, post, rst, statuses, streams,
                            ticks, update, write_table)
from harness.bound import FULL, PATIENCE, until
from harness.crowd import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, ROOT,
                           RST_STREAM, SETTINGS, frame)
from harness.gateway import Gateway, plain
from harness.tokens import Certificate
from harness.upstream import Upstream
from harness.wire import Closed, response

pytestmark = pytest.mark.unsanitized

LIMITS = {"head_timeout": "500ms", "body_idle_timeout": "3s", "idle_timeout": "3s", "body": "1MiB",
          "min_body_rate": {"rate": "4KiB/s", "window": "500ms"}}


def serve(wire, request):
    if request.target.startswith("/big"):
        wire.send(response(200, body=b"x" * BIG))
    elif request.target.startswith("/wait"):
        threading.Event().wait(4)
        wire.send(response(200, body=b"late"))
    else:
        wire.send(response(200, body=b"x" * 128))
    return True


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One gateway for all attacks but those that need a configuration of their own."""
    upstream = Upstream(serve, backlog=2048)
    certificate = Certificate(tmp_path_factory.mktemp("certificate"))
    folder = tmp_path_factory.mktemp("gateway")
    config = plain(upstream, workers=1, log={"access": {"to": "none"}}, limits_of_http=LIMITS,
                   admin={"listen": "127.0.0.1:0"})
    config["listeners"]["http"]["connections"] = {"per_client": 100_000}
    config["listeners"]["https"] = {
        "bind": ["127.0.0.1:0"], "connections": {"per_client": 100_000},
        "tls": {**certificate.settings(), "handshake": {"timeout": "500ms", "in_flight": 40}}}
    gateway = Gateway(folder, config)
    gateway.certificate = certificate
    yield gateway
    gateway.stop()
    upstream.close()
    write_table()


# HTTP/1.1


def test_slow_heads(house):
    def run():
        said = statuses(everyone(house.address("http"), MANY, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a"))
        assert said == "408", said
        return said
    attack(house, f"{MANY} heads, dripped (slowloris)", run, "head_timeout")


def test_slow_heads_in_tls_records_of_a_byte(house):
    def run():
        tls = house.certificate.client("http/1.1")
        sock = crowd.connect(house.address("https"), tls, "http/1.1")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        sock.settimeout(0.02)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                sock.send(b"a")
                got = sock.recv(65536)
                assert got.startswith(b"HTTP/1.1 408"), got
                return "408"
            except TimeoutError:
                continue
        raise AssertionError("nothing ended it")
    attack(house, "head in TLS records of one byte", run, "head_timeout")


BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("name,begin,data", [
    ("bodies, dripped", BODY, b"a"),
    ("chunk extensions, dripped", CHUNKED + b"5;", b"a"),
    ("chunk framing of one byte each, dripped", CHUNKED, b"1\r\na\r\n"),
    ("trailers, dripped", CHUNKED + b"1\r\na\r\n0\r\nX: ", b"a"),
])
def test_slow_bodies(house, name, begin, data):
    def run():
        said = statuses(everyone(house.address("http"), MANY, begin, data))
        assert said == "408", said
        return said
    attack(house, f"{MANY} {name}", run, "min_body_rate")


def slow_reader(address, request, take):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect(address)
    sock.sendall(request)
    pace = threading.Event()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pace.wait(0.05)
        try:
            if take and not sock.recv(take):
                return "closed"
            if not take:
                # The reset shows when something is sent: the socket is never read.
                sock.send(b"\r\n")
        except OSError as error:
            return "reset" if isinstance(error, (ConnectionResetError, BrokenPipeError)) else str(error)
    raise AssertionError("nothing ended it")


@pytest.mark.parametrize("take", [0, 20])
def test_slow_readers(house, take):
    def run():
        return slow_reader(house.address("http"), b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", take)
    attack(house, f"answer of 4 MiB, read at {20 * take} bytes a second", run, "min_body_rate")


def test_answers_that_are_never_read(house):
    def run():
        ten = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(house.address("http"))
        sock.settimeout(0.2)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                sock.send(ten)
            except TimeoutError:
                continue
            except OSError:
                return "reset"
        raise AssertionError("nothing ended it")
    attack(house, "requests without end, answers never read", run, "min_body_rate")


def test_stalled_handshakes(house):
    def run():
        sockets = [socket.create_connection(house.address("https")) for _ in range(2 * MANY)]
        ends = 0
        for sock in sockets:
            sock.settimeout(PATIENCE)
            with_error = False
            try:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")
                ends += sock.recv(1) == b""
            except OSError:
                with_error = True
            ends += with_error
            sock.close()
        assert ends == len(sockets)
        return f"{ends} closed"
    attack(house, f"{2 * MANY} TLS handshakes, stalled", run, "handshake.timeout")
    assert metric(house, "handshake.in_flight") > 0


def test_an_idle_crowd(house):
    def run():
        answers = everyone(house.address("http"), 4 * MANY, b"", b"", pause=0.05)
        assert set(answers) == {b""}
        return f"{len(answers)} closed by idle_timeout"
    attack(house, f"{4 * MANY} connections that say nothing", run)


def test_huge_heads(house):
    def run():
        def once():
            sock = crowd.connect(house.address("http"))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            line = b"X-Field: " + b"a" * 1000 + b"\r\n"
            try:
                for _ in range(100):
                    sock.sendall(line)
            except OSError:
                pass
            got = sock.recv(65536)
            assert got.startswith(b"HTTP/1.1 431"), got
            sock.close()
        return f"431 ({again(once)} connections)"
    attack(house, "a head without end", run, "head")


def test_chunks_of_one_byte_without_end(house):
    def run():
        sock = crowd.connect(house.address("http"))
        sock.sendall(CHUNKED)
        sock.setblocking(False)
        piece = b"1\r\na\r\n" * 10_000
        sent = 0
        pace = threading.Event()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                sent += sock.send(piece[sent % len(piece):])
            except BlockingIOError:
                pace.wait(0.001)
            except OSError:
                pass
            try:
                got = sock.recv(65536)
                assert got.startswith(b"HTTP/1.1 413"), got
                return "413"
            except BlockingIOError:
                pass
        raise AssertionError("nothing ended it")
    attack(house, "chunks of one byte, without end", run, "body")


# HTTP/2


FLOODS = [
    ("rapid reset (CVE-2023-44487)", lambda: (get(n) + rst(n) for n in streams()), CALM, "resets"),
    ("MadeYouReset: WINDOW_UPDATE of 0 (CVE-2025-8671)",
     lambda: (post(n) + update(n, 0) for n in streams()), PROTOCOL_ERROR, None),
    ("MadeYouReset: a window past 2^31",
     lambda: (post(n) + update(n, 0x7FFFFFFF) for n in streams()), CALM, "resets"),
    ("MadeYouReset: DATA on a half-closed stream",
     lambda: (get(n, path(b"/wait")) + frame(DATA, 0, n, b"a") for n in streams()), STREAM_CLOSED, None),
    ("MadeYouReset: HEADERS on a half-closed stream",
     lambda: (get(n, path(b"/wait")) + get(n) for n in streams()), STREAM_CLOSED, None),
    ("MadeYouReset: content-length that DATA exceeds",
     lambda: (frame(HEADERS, END_HEADERS, n, b"\x83" + ROOT[1:] + b"\x0f\x0d\x011") + frame(DATA, 0, n, b"abc")
              for n in streams()), CALM, "resets"),
    ("MadeYouReset: PRIORITY of four bytes", lambda: (frame(PRIORITY, 0, n, b"abcd") for n in streams()), FRAME_SIZE, None),
    ("more streams than allowed, SETTINGS never acknowledged",
     lambda: (get(n, path(b"/wait")) for n in streams()), CALM, "resets"),
    ("malformed heads", lambda: (get(n, b"\x82\x87\x84\x40\x01X\x01a") for n in streams()), CALM, "resets"),
    ("CONTINUATION flood (CVE-2024-27316)",
     lambda: (frame(HEADERS, END_STREAM, 1, ROOT) if n == 1 else frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 1000)
              for n in streams()), CALM, None),
    ("empty CONTINUATION frames",
     lambda: (frame(HEADERS, END_STREAM, 1, ROOT) if n == 1 else frame(CONTINUATION, 0, 1) for n in streams()),
     CALM, None),
    ("SETTINGS flood (CVE-2019-9515)", lambda: (frame(SETTINGS, 0, 0) * 20 for _ in streams()), CALM, "control_frames"),
    ("SETTINGS that change the table to and fro",
     lambda: (frame(SETTINGS, 0, 0, b"\0\x01\0\0\0\0") + frame(SETTINGS, 0, 0, b"\0\x01\0\0\x10\0") for _ in streams()),
     CALM, "control_frames"),
    ("PING flood (CVE-2019-9512)", lambda: (frame(PING, 0, 0, b"12345678") * 20 for _ in streams()), CALM, "control_frames"),
    ("PRIORITY flood (CVE-2019-9513)",
     lambda: (frame(PRIORITY, 0, n, b"\0\0\0\0\x10") * 20 for n in streams()), CALM, "control_frames"),
    ("empty DATA flood (CVE-2019-9518)",
     lambda: (post(1) if n == 1 else frame(DATA, 0, 1) * 20 for n in streams()), CALM, "control_frames"),
    ("DATA of padding alone",
     lambda: (post(1) if n == 1 else frame(DATA, 8, 1, b"\0") * 20 for n in streams()), CALM, "control_frames"),
    ("WINDOW_UPDATE flood, a byte each", lambda: (update(0, 1) * 20 for _ in streams()), CALM, "control_frames"),
    ("unknown frames", lambda: (frame(0xFA, 0, 0, b"abc") * 20 for _ in streams()), CALM, "control_frames"),
    ("self-dependency", lambda: (frame(HEADERS, END_STREAM | END_HEADERS | 0x20, n, n.to_bytes(4, "big") + b"\x10" + ROOT)
                                 for n in streams()), PROTOCOL_ERROR, None),
]


@pytest.mark.parametrize("name,pieces,code,limit", FLOODS, ids=[flood[0] for flood in FLOODS])
def test_floods(house, name, pieces, code, limit):
    def run():
        def once():
            got = Raw(house.address("http")).flood(pieces())
            assert got == code, NAMES.get(got, got)
        return f"{NAMES[code]} ({again(once)} connections)"
    attack(house, name, run, limit)


def test_an_hpack_bomb(house):
    """A field of 4,000 bytes in the table, named ten thousand times by a byte each: 40 MB from 10 KB."""
    def run():
        raw = Raw(house.address("http"))
        name = b"\x40\x04bomb\x7f\xa1\x1e" + b"a" * 4000
        raw.send(get(1, ROOT + name))
        for number in range(3, 43, 2):
            raw.send(get(number, ROOT + b"\xbe" * 10_000))
        code = raw.until_end()
        return f"{len(raw.resets)} streams reset, {NAMES[code]}" if raw.resets else NAMES[code]
    attack(house, "HPACK bomb: 20 heads of 40 MB each", run)


def test_hpack_table_thrash(house):
    """Each head fills the table anew."""
    count = 20_000 if FULL else 2_000
    def run():
        raw = Raw(house.address("http"))
        answered = threading.Event()
        seen = [0]

        def read():
            try:
                while seen[0] < count:
                    kind, flags, _, payload = raw.frames.next()
                    if kind == DATA:
                        raw.send(update(0, len(payload)))
                    if kind in (DATA, HEADERS) and flags & END_STREAM or kind == RST_STREAM:
                        seen[0] += 1
                    assert kind != GOAWAY, payload
            except (Closed, OSError):
                pass
            answered.set()

        threading.Thread(target=read, daemon=True).start()
        pace = threading.Event()
        for index in range(count):
            value = str(index).encode().rjust(3000, b"a")
            while index - seen[0] > 50 and not answered.is_set():
                pace.wait(0.0005)
            if not raw.send(get(2 * index + 1, ROOT + b"\x40\x01t\x7f\xb9\x16" + value)):
                break
        assert answered.wait(PATIENCE) and seen[0] == count, seen
        raw.socket.close()
        return f"nothing: {count} requests are answered"
    attack(house, "HPACK table thrash, 3 KB each", run)


def stalled(house, window, target, drips=0):
    """100 streams whose client has a window of `window` bytes and gives one byte at a time, `drips` times a second."""
    raw = Raw(house.address("http"), b"\0\x04" + window.to_bytes(4, "big"))
    for number in range(1, 200, 2):
        raw.send(get(number, path(target)))
    over = threading.Event()

    def give():
        while drips and not over.wait(1 / drips):
            if not raw.send(update(1, 1) + update(3, 1)):
                return

    threading.Thread(target=give, daemon=True).start()
    try:
        while len(raw.resets) < 100:
            kind, _, _, payload = raw.frames.next()
            assert kind != GOAWAY, payload
            if kind == RST_STREAM:
                raw.resets.append(int.from_bytes(payload, "big"))
    finally:
        over.set()
    raw.socket.close()
    assert set(raw.resets) == {CANCEL}, raw.resets
    return "100 streams: RST_STREAM CANCEL"


@pytest.mark.parametrize("name,window,target,drips", [
    ("zero window, 100 answers of 4 MiB", 0, b"/big", 0),
    ("zero window, 100 small answers", 0, b"/", 0),
    ("window of a byte, given again 20 times a second", 1, b"/big", 20),
])
def test_windows_that_stall(house, name, window, target, drips):
    attack(house, name, lambda: stalled(house, window, target, drips), "min_body_rate")


def test_a_body_dripped_over_http_2(house):
    def run():
        raw = Raw(house.address("http"))
        raw.send(post(1))
        over = threading.Event()

        def give():
            while not over.wait(0.02):
                if not raw.send(frame(DATA, 0, 1, b"a")):
                    return

        threading.Thread(target=give, daemon=True).start()
        while True:
            kind, _, stream, payload = raw.frames.next()
            if stream == 1 and kind == HEADERS:
                over.set()
                raw.socket.close()
                # ":status: 408", a literal with the name of the static table's 8.
                assert b"408" in payload or b"\x08\x82\x68\x0f" in payload or payload[0] == 0x48, payload
                return "408"
            assert kind not in (GOAWAY, RST_STREAM), (kind, payload)
    attack(house, "body dripped in DATA of one byte", run, "min_body_rate")


def test_a_head_dripped_in_continuation(house):
    """Another stream is open meanwhile, so that the connection is not idle."""
    def run():
        raw = Raw(house.address("http"))
        raw.send(get(1, path(b"/wait")) + frame(HEADERS, END_STREAM, 3, ROOT[:3]))
        over = threading.Event()

        def give():
            # Within the number of frames that a head may have, and still too slow.
            for byte in ROOT[3:9]:
                if over.wait(0.2) or not raw.send(frame(CONTINUATION, 0, 3, bytes([byte]))):
                    return

        threading.Thread(target=give, daemon=True).start()
        code = raw.until_end()
        over.set()
        assert code == CALM, NAMES.get(code, code)
        return NAMES[code]
    attack(house, "head dripped in CONTINUATION", run, "head_timeout")


def test_uploads_that_nobody_takes(gateways, upstreams):
    """100 bodies of as much as the windows allow, before a service that reads none of them: all that is held is bounded by the
    windows, and the service's time is up after its own timeout, not the client's."""
    over = threading.Event()

    def serve_or_stall(wire):
        head = wire.head()
        if head.method == "POST":
            over.wait(PATIENCE)
            return
        while True:
            wire.body(head)
            wire.send(response(200, body=b"x" * 128))
            head = wire.head()

    upstream = upstreams(serve=serve_or_stall, backlog=2048)
    config = plain(upstream, workers=1, log={"access": {"to": "none"}}, limits_of_http=LIMITS,
                   admin={"listen": "127.0.0.1:0"})
    config["resilience"] = {"quick": {"timeouts": {"request": "1s"}}}
    config["services"]["up"]["resilience"] = "quick"
    gateway = gateways(config)

    def run():
        raw = Raw(gateway.address("http"))
        for number in range(1, 200, 2):
            raw.send(frame(HEADERS, END_HEADERS, number, b"\x83" + ROOT[1:]))
        # Credit of the connection comes back at receipt; that of a stream when its service takes what was sent.
        for _ in range(4):
            for number in range(1, 200, 2):
                assert raw.send(frame(DATA, 0, number, b"a" * 16000))
        answers = 0
        while answers < 100:
            kind, flags, _, payload = raw.frames.next()
            assert kind != GOAWAY, payload
            answers += kind == HEADERS
        raw.socket.close()
        over.set()
        return "100 streams answered 408 or 504"
    attack(gateway, "100 uploads of 64 KiB, before a service that takes none", run)


# Descriptors


def test_descriptors_run_out(gateways, upstreams):
    """As many connections as there are descriptors, and more: those within the limit are served, the others end, nothing spins,
    and all is well again when they have gone."""
    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    upstream = upstreams(serve)
    config = plain(upstream, workers=1, log={"access": {"to": "none"}}, admin={"listen": "127.0.0.1:0"},
                   limits_of_http={"idle_timeout": "30s"})
    config["listeners"]["http"]["connections"] = {"per_client": 100_000}
    gateway = gateways(config, prepare=limited)

    def run():
        sockets = []
        for _ in range(400):
            sock = socket.create_connection(gateway.address("http"), PATIENCE)
            sock.settimeout(PATIENCE)
            sockets.append(sock)
        closed = 0
        for sock in sockets:
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                closed += sock.recv(65536) == b""
            except OSError:
                closed += 1
        assert 0 < closed < 400, closed
        start = ticks(gateway.process.pid)
        threading.Event().wait(AFTER)
        assert (ticks(gateway.process.pid) - start) / AFTER <= 20
        for sock in sockets:
            sock.close()
        return f"{closed} of 400 closed"
    attack(gateway, "400 connections, 128 descriptors", run, "connections.max")
    until(lambda: is_served(gateway), "a new client is served")


def is_served(gateway):
    try:
        with crowd.connect(gateway.address("http")) as sock:
            crowd.ask_http1(sock)
        return True
    except (OSError, IndexError):
        return False


# Memory


@pytest.mark.bound(120)
def test_the_memory_budget_holds(gateways, upstreams):
    """Answers that nobody takes, as many as it needs: new exchanges get 503 with Retry-After, the process stays within its
    budget, and is as it was when they have gone."""
    upstream = upstreams(serve, backlog=2048)
    config = plain(upstream, workers=1, log={"access": {"to": "none"}}, memory={"budget": "24MiB"},
                   admin={"listen": "127.0.0.1:0"}, limits_of_http={"min_body_rate": "none"})
    config["listeners"]["http"]["connections"] = {"per_client": 100_000}
    gateway = gateways(config)
    pid = gateway.process.pid
    sockets = []

    def answer(sock):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            return sock.recv(65536)
        except OSError:
            return b""

    good = crowd.connect(gateway.address("http"))
    assert answer(good).startswith(b"HTTP/1.1 200")
    shed = b""
    for _ in range(75):
        for _ in range(8):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(PATIENCE)
            sock.connect(gateway.address("http"))
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            sockets.append(sock)
        began = time.monotonic()
        shed = answer(good)
        # It is served or told: those who take nothing do not make others wait.
        assert time.monotonic() - began < 10
        if shed.startswith(b"HTTP/1.1 503"):
            break
        # Idle connections may have gone first, if all went so quickly.
        if not shed.startswith(b"HTTP/1.1 200"):
            good = crowd.connect(gateway.address("http"))
        threading.Event().wait(0.11)
    assert shed.startswith(b"HTTP/1.1 503") and b"Retry-After: " in shed, shed
    start = ticks(pid)
    threading.Event().wait(AFTER)
    spent = (ticks(pid) - start) / AFTER
    resident = field(pid, "VmHWM")
    TABLE.append([f"{len(sockets)} answers of 4 MiB never read, budget 24 MiB", f"resident {resident / MEBIBYTE:.1f} MiB",
                  f"{spent:.0f}", "503, Retry-After (`memory.budget` or `memory.blocks`)", "503 while it lasts"])
    assert spent <= 20, spent
    assert resident < 40 * MEBIBYTE, resident
    for sock in sockets:
        sock.close()
    until(lambda: is_served(gateway), "a new client is served")
