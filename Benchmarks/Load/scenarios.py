"""The scenarios: what is asked, how, and how often in one round."""

import os
from dataclasses import dataclass, field, replace

TOKEN, LIMIT = frozenset({"token"}), frozenset({"limit"})
JOB = frozenset({"token", "limit", "request id"})


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str = "requests"      # or "memory", "latency", "reload"
    protocol: str = "http1"     # or "h2"
    tls: bool = False
    job: str = "plain"          # or "gateway"
    tokens: str = ""            # "few", "many", "new", "bad", or none
    status: int = 200
    limited: bool = False
    # What a target must be able to do. One that cannot is left out, or does the nearest that it can, which is said.
    needs: frozenset = field(default_factory=frozenset)
    is_nearest_shown: bool = False
    connections: int = 16
    streams: int = 32
    path: str = "/bytes/128"
    body: bool = True
    upload: int = 0
    grpc: bool = False          # a unary call, to a service that speaks HTTP/2
    rate: int = 0               # arrivals a second, where they are fixed
    rates: tuple = ()           # of a latency, the same for all; without, shares of what each target can do
    each: bool = False          # a connection a request
    resume: bool = False
    workers: int = 1
    routes: int = 0             # so many prefixes, of which the last is asked for
    rsa: bool = False
    warm: int = 3_000
    count: int = 30_000
    most_rounds: int = 100
    # Under valgrind a request takes 50 times as long; the difference of two counts is taken.
    valgrind_warm: int = 100
    valgrind_few: int = 200
    valgrind_many: int = 1_000
    # Few connections: valgrind runs one thread at a time, and a queue in front of it changes what is batched.
    valgrind_connections: int = 4
    valgrind_streams: int = 8
    # In an emulated machine, with the connections and streams of the rounds.
    emulated_warm: int = 3_000
    emulated_count: int = 20_000


S1 = Scenario("S1", "HTTP/1.1, plaintext", needs=frozenset({"request id"}), is_nearest_shown=True)
S2 = replace(S1, name="S2", title="HTTP/1.1 over TLS 1.3", tls=True)
S3 = replace(S2, name="S3", title="HTTP/2 over TLS 1.3, 16 x 32 streams", protocol="h2", count=40_000)
S4 = replace(S3, name="S4-few", title="whole job, HTTP/2: 4 tokens", job="gateway", tokens="few", needs=JOB,
             is_nearest_shown=True, count=20_000)
S4H1 = replace(S4, name="S4h1-few", title="whole job, HTTP/1.1 over TLS: 4 tokens", protocol="http1")
S5 = replace(S2, name="S5-ecdsa", needs=frozenset(), title="handshakes, ECDSA P-256", each=True, connections=8, warm=100, count=1_500,
             valgrind_warm=20, valgrind_few=50, valgrind_many=350, emulated_warm=50, emulated_count=200)
# Memory is the same from round to round, and a crowd takes ten seconds.
S7 = replace(S2, name="S7-http1", needs=frozenset(), title="memory of an idle TLS connection, HTTP/1.1", kind="memory", count=2_000,
             most_rounds=2)
S9 = replace(S1, name="S9-bad", title="refused: a bad signature, again", job="gateway", tokens="bad", status=401,
             needs=TOKEN, is_nearest_shown=False, valgrind_few=500, valgrind_many=3_000)

S8 = replace(S4, name="S8-plain", title="latency of arrivals at a fixed rate, HTTP/2, no token", kind="latency", job="plain",
             tokens="", needs=frozenset({"request id"}))
S8_JOB = replace(S4, name="S8-job", title="latency of arrivals at a fixed rate, whole job, HTTP/2", kind="latency",
                 is_nearest_shown=False)

SCENARIOS = {scenario.name: scenario for scenario in (
    S1, S2, S3, S4,
    # The warm-up shows each of the ten thousand once.
    replace(S4, name="S4-many", title="whole job, HTTP/2: 10,000 tokens", tokens="many", warm=10_000, is_nearest_shown=False,
            valgrind_warm=10_000, valgrind_few=200, valgrind_many=1_000, emulated_warm=10_000, emulated_count=10_000),
    replace(S4, name="S4-new", title="whole job, HTTP/2: every token new", tokens="new", warm=1_000, count=8_000,
            is_nearest_shown=False, valgrind_few=100, valgrind_many=400, emulated_warm=1_000, emulated_count=5_000),
    S4H1,
    S5,
    replace(S5, name="S5-rsa", title="handshakes, RSA 2048", rsa=True),
    replace(S5, name="S5-resumed", title="handshakes, resumed", resume=True),
    S7,
    replace(S7, name="S7-h2", title="memory of an idle TLS connection, HTTP/2", protocol="h2"),
    S9,
    replace(S9, name="S9-none", title="refused: no token", tokens=""),
    replace(S9, name="S9-over", title="refused: over the limit", tokens="few", limited=True, status=429, needs=LIMIT),
)}

# What `make load-all` has besides.
BODY = replace(S3, connections=4, streams=4, warm=20, body=True, emulated_warm=20, emulated_count=200)
MORE = {scenario.name: scenario for scenario in (
    replace(BODY, name="S6-64k-down", title="64 KiB down, HTTP/2", path="/bytes/65536", warm=200, count=6_000,
            valgrind_warm=10, valgrind_few=20, valgrind_many=120),
    replace(BODY, name="S6-1m-down", title="1 MiB down, HTTP/2", path="/bytes/1048576", count=500,
            emulated_warm=4, emulated_count=20, valgrind_warm=4, valgrind_few=4, valgrind_many=20),
    replace(BODY, name="S6-100m-down", title="100 MiB down, HTTP/2", path="/bytes/104857600", count=6, warm=2,
            connections=1, streams=1, valgrind_many=0),
    # The service answers an upload with how much it got: a body that differs by target, since it shows their fields.
    replace(BODY, name="S6-64k-up", title="64 KiB up, HTTP/2", path="/echo", body=False, upload=65_536, warm=200,
            count=4_000, valgrind_warm=10, valgrind_few=20, valgrind_many=120),
    replace(BODY, name="S6-1m-up", title="1 MiB up, HTTP/2", path="/echo", body=False, upload=1_048_576, count=300,
            emulated_warm=4, emulated_count=20, valgrind_warm=4, valgrind_few=4, valgrind_many=20),
    S8, S8_JOB,
    # A target that can do three times as much has three times the arrivals above, and the core of the service and the load
    # with it: here all have the same.
    replace(S8, name="S8-plain-same", title="latency at the same rates for all, HTTP/2, no token", rates=(1_000, 3_000, 6_000, 15_000)),
    replace(S8_JOB, name="S8-job-same", title="latency at the same rates for all, whole job, HTTP/2", rates=(500, 1_500, 3_000, 10_000)),
    # Counted with the 16 connections of the others: of four each of two workers has so few that a wake-up does less at a time.
    *(replace(S3, name=f"S10-workers-{count}", title=f"S3 with {count} worker{'s' * (count > 1)}, on one core", workers=count,
              needs=frozenset({"request id", "workers"}), is_nearest_shown=False, valgrind_connections=16,
              valgrind_warm=2_000, valgrind_few=400, valgrind_many=4_400) for count in sorted({1, 2, os.cpu_count() or 1})),
    *(replace(S1, name=f"S10-connections-{count}", title=f"HTTP/1.1, plaintext, {count:,} connections", connections=count,
              warm=max(3_000, 2 * count), valgrind_many=0) for count in (1, 100, 1_000, 7_000)),
    # Two starts that read ten thousand routes are up to three million instructions apart: so many requests that these are few.
    *(replace(S1, name=f"S10-routes-{count}", title=f"HTTP/1.1, plaintext, {count:,} routes", routes=count,
              path=f"/route-{count}/bytes/128", needs=frozenset({"request id"}), valgrind_many=20_200)
      for count in (10, 1_000, 10_000)),
    # Few enough requests a second that each target is mostly idle: what a reload costs is seen, not how a queue ends.
    replace(S1, name="S11-http1", title="reload each second, 101 routes: HTTP/1.1, 2,000 requests/s", kind="reload", rate=2_000,
            count=12_000, routes=100, most_rounds=3),
    replace(S3, name="S11-h2", title="reload each second, 101 routes: HTTP/2 over TLS, 2,000 requests/s", kind="reload",
            rate=2_000, count=12_000, routes=100, most_rounds=3),
    # A message of 128 bytes, behind its prefix of five.
    replace(S3, name="S12", title="gRPC unary, 128 bytes up and down, HTTP/2 over TLS to HTTP/2", grpc=True, upload=133,
            body=False, path="/test.Echo/Unary", needs=frozenset({"request id", "HTTP/2 to the service"}),
            is_nearest_shown=False, count=20_000),
)}


def chosen(words, with_more):
    """The scenarios that these words name: `S4` is all that begin with `S4-`."""
    known = {**SCENARIOS, **MORE}
    if not words:
        return list({**SCENARIOS, **(MORE if with_more else {})}.values())
    found = []
    for word in words:
        some = [scenario for name, scenario in known.items() if name == word or name.startswith(word + "-")]
        if not some:
            raise SystemExit(f"no scenario {word}: there are {', '.join(known)}")
        found += [scenario for scenario in some if scenario not in found]
    return found
