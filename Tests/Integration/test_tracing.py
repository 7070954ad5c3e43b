"""W3C Trace Context, level 1: what a service gets to see of a trace, and what the log tells of it."""

import re

import pytest

from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def sent(answer):
    """The trace fields that the service got, in their order."""
    return [(name, value) for name, value in answer.json()["fields"] if name.lower().startswith("trace")]


def traced(upstream, handling=None):
    return plain(upstream, **({"tracing": {"traceparent": handling}} if handling else {}))


@pytest.mark.parametrize("handling", [None, "propagate", "generate"])
def test_a_valid_one_goes_on_as_it_came(gateways, upstream, clients, handling):
    """§2.2: who makes no spans of its own passes both fields on unchanged, spelling and order too."""
    gateway = gateways(traced(upstream, handling))
    client = clients(gateway)
    for parent in (PARENT, f"cc-{TRACE}-00f067aa0ba902b7-01-more"):
        fields = [("TraceState", "a=1"), ("Traceparent", parent), ("tracestate", STATE)]
        answer = client.ask(fields=fields)
        assert sent(answer) == fields
        assert gateway.access_line(answer.get("x-request-id"))["trace_id"] == TRACE
    with Client2(gateway.address()) as http2:
        answer = http2.ask(fields=[("traceparent", PARENT), ("tracestate", STATE)])
        assert sent(answer) == [("traceparent", PARENT), ("tracestate", STATE)]
        assert gateway.access_line(answer.get("x-request-id"))["trace_id"] == TRACE


BROKEN = {
    "zero-trace": [("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01")],
    "zero-parent": [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
    "version-ff": [("traceparent", "ff" + PARENT[2:])],
    "too-long": [("traceparent", PARENT + "-x")],
    "upper": [("traceparent", PARENT.upper())],
    "empty": [("traceparent", "")],
    "twice": [("traceparent", PARENT), ("Traceparent", PARENT)],
    "listed": [("traceparent", f"{PARENT}, {PARENT}")],
    "state-alone": [],
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_valid_is_no_trace(gateways, upstream, clients, case):
    """§3.2, §3.3: dropped, and the state with it."""
    gateway = gateways(traced(upstream))
    answer = clients(gateway).ask(fields=[*BROKEN[case], ("tracestate", STATE), ("X-Other", "stays")])
    assert sent(answer) == [] and ["X-Other", "stays"] in [list(field) for field in answer.json()["fields"]]
    assert "trace_id" not in gateway.access_line(answer.get("x-request-id"))


@pytest.mark.parametrize("case", [*BROKEN, "nothing"])
def test_generate_begins_a_trace_where_there_is_none(gateways, upstream, clients, case):
    gateway = gateways(traced(upstream, "generate"))
    fields = [] if case == "nothing" else [*BROKEN[case], ("tracestate", STATE)]
    client = clients(gateway)
    seen = set()
    for _ in range(3):
        answer = client.ask(fields=fields)
        [(name, value)] = sent(answer)
        made = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-00", value)
        assert name == "traceparent" and made, value
        assert gateway.access_line(answer.get("x-request-id"))["trace_id"] == made[1]
        seen |= {made[1], made[2]}
    assert len(seen) == 6


def test_drop_ends_every_trace(gateways, upstream, clients):
    gateway = gateways(traced(upstream, "drop"))
    answer = clients(gateway).ask(fields=[("traceparent", PARENT), ("tracestate", STATE)])
    assert sent(answer) == []
    assert "trace_id" not in gateway.access_line(answer.get("x-request-id"))


def test_what_connection_lists_is_no_trace(gateways, upstream, clients):
    """RFC 9110 §7.6.1: it was for us alone."""
    gateway = gateways(traced(upstream))
    answer = clients(gateway).ask(fields=[("traceparent", PARENT), ("Connection", "traceparent")])
    assert sent(answer) == []


def test_a_refused_request_is_part_of_its_trace(gateways, upstream, clients):
    config = traced(upstream)
    config["routes"][0]["match"]["prefix"] = "/only"
    gateway = gateways(config)
    answer = clients(gateway).ask(fields=[("traceparent", PARENT)])
    problem(answer, "no_route")
    assert gateway.access_line(answer.get("x-request-id"))["trace_id"] == TRACE
