"""Routes, the normal form of paths, and the fields that the gateway vouches for."""

import re
import time
import uuid

import pytest

from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import chunked, problem, request, response


def fields_of(answer):
    return [(name.lower(), value) for name, value in answer.json()["fields"]]


def one(fields, name):
    values = [value for key, value in fields if key == name]
    assert len(values) == 1, (name, fields)
    return values[0]


@pytest.fixture
def named(upstreams):
    """Upstreams that answer with their name."""
    from harness.wire import response

    def make(name):
        def answer(wire, request_):
            wire.send(response(200, body=f"{name} {request_.target}".encode()))
            return True
        return upstreams(answer)
    return make


def routed(named, routes, **change):
    """A configuration with one service for each name that the routes lead to."""
    services = {name: named(name) for name in sorted({route["to"] for route in routes})}
    config = plain(next(iter(services.values())), **change)
    config["services"] = {name: {"to": [f"http://{upstream.address}"]} for name, upstream in services.items()}
    config["routes"] = [{"name": f"route-{index}", **route} for index, route in enumerate(routes)]
    return config


def test_the_longest_prefix_on_whole_segments_wins(gateways, named, clients):
    routes = [{"match": {"prefix": "/api"}, "to": "api"}, {"match": {"prefix": "/api/v1"}, "to": "v1"},
              {"match": {"prefix": "/api/v1/docs"}, "to": "docs"}, {"match": {"prefix": "/auth"}, "to": "auth"}]
    client = clients(gateways(routed(named, routes)))
    expected = {
        "/api": "api", "/api/": "api", "/api/v2": "api", "/api/v11": "api", "/api/v1": "v1", "/api/v1/": "v1",
        "/api/v1/docs": "docs", "/api/v1/docs/7?x=/auth": "docs", "/api/v1/documents": "v1", "/auth/token": "auth",
    }
    for path, service in expected.items():
        assert client.ask(target=path).body.decode() == f"{service} {path}"
    for path in ("/", "/apis", "/authors", "/API", "/other"):
        problem(client.ask(target=path), "no_route")


def test_hosts_exact_before_wildcard_before_none(gateways, named, clients):
    routes = [{"match": {"prefix": "/", "hosts": ["api.gate.test"]}, "to": "exact"},
              {"match": {"prefix": "/", "hosts": ["*.gate.test"]}, "to": "wild"},
              {"match": {"prefix": "/"}, "to": "any"}]
    client = clients(gateways(routed(named, routes)))
    for host, service in {"api.gate.test": "exact", "API.Gate.Test": "exact", "api.gate.test:8443": "exact",
                          "b.gate.test": "wild", "gate.test": "any", "xgate.test": "any", "127.0.0.1": "any"}.items():
        assert client.ask(host=host).body.decode() == f"{service} /", host


def test_routes_of_one_listener(gateways, named, clients):
    routes = [{"match": {"prefix": "/", "listeners": ["second"]}, "to": "second"},
              {"match": {"prefix": "/open"}, "to": "both"}]
    config = routed(named, routes, listeners={"second": {"bind": ["127.0.0.1:0"]}})
    gateway = gateways(config)
    assert clients(gateway, "second").ask(target="/x").body == b"second /x"
    problem(clients(gateway, "http").ask(target="/x"), "no_route")
    assert clients(gateway, "http").ask(target="/open").body == b"both /open"


NORMAL = {
    "/a/./b": "/a/b", "/a/../b": "/b", "/a/b/..": "/a/", "/a//b": "/a/b", "//a": "/a",
    "/%61%62": "/ab", "/a%2fb": "/a%2Fb", "/a%2Fb": "/a%2Fb", "/%7euser": "/~user", "/a/%2e%2e/b": "/b",
    "/a%20b": "/a%20b", "/a%c3%a4": "/a%C3%A4", "/a?b=%2e%2e/../%zz": "/a?b=%2e%2e/../%zz", "/a/?": "/a/?",
    "/a;p=1/b:c@d": "/a;p=1/b:c@d", "/a/.hidden": "/a/.hidden", "/a/...": "/a/...",
}


@pytest.mark.parametrize("path", NORMAL)
def test_the_normal_form_is_what_is_matched_and_forwarded(client, path):
    """Dot segments, needless encodings and empty segments go; %2F stays; the query is not touched."""
    assert client.ask(target=path).json()["target"] == NORMAL[path]


def test_no_spelling_of_a_path_gets_round_a_route(gateways, named, clients):
    routes = [{"match": {"prefix": "/admin"}, "to": "admin"}, {"match": {"prefix": "/"}, "to": "open"}]
    client = clients(gateways(routed(named, routes)))
    for path in ("/admin", "/%61dmin", "/x/../admin", "//admin", "/./admin", "/x/%2e%2E/admin", "/%2e/admin"):
        assert client.ask(target=path).body.decode().startswith("admin "), path
    assert client.ask(target="/admin/../x").body == b"open /x"
    assert client.ask(target="/admin%2Fx").body == b"open /admin%2Fx"


def test_slashes_are_kept_when_the_file_says_so(gateways, upstream, clients):
    client = clients(gateways(plain(upstream, paths={"merge_slashes": False})))
    assert client.ask(target="/a//b").json()["target"] == "/a//b"


def test_the_log_shows_the_raw_target_where_it_differs(gateway, client):
    answer = client.ask(target="/a/../b%2fc")
    line = gateway.access_line(answer.get("x-request-id"))
    assert line["path"] == "/b%2Fc"
    assert any("/a/../b%2fc" in str(value) for key, value in line.items() if key != "path"), line


def test_x_forwarded_and_forwarded_say_who_asked(client):
    fields = fields_of(client.ask(host="public.gate.test"))
    assert one(fields, "x-forwarded-for") == "127.0.0.1"
    assert one(fields, "x-forwarded-proto") == "http"
    assert one(fields, "x-forwarded-host") == "public.gate.test"
    forwarded = one(fields, "forwarded").lower().replace('"', "")
    assert {"for=127.0.0.1", "proto=http", "host=public.gate.test"} <= set(re.split(r"[;,] ?", forwarded))


SPOOFS = ["X-Forwarded-For", "x_forwarded_for", "X-FORWARDED-PROTO", "X_Forwarded-Host", "Forwarded", "forwarded"]


@pytest.mark.parametrize("name", SPOOFS)
def test_what_an_untrusted_client_says_of_itself_is_removed(client, name):
    """§4: in any spelling, `_` for `-` included, since services behind WSGI or CGI cannot tell them apart."""
    fields = fields_of(client.ask(fields=[(name, "6.6.6.6")]))
    assert all("6.6.6.6" not in value for _, value in fields), fields


def test_a_trusted_proxy_is_believed(gateways, upstream, clients):
    config = plain(upstream, client_address={"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]})
    gateway = gateways(config)
    answer = clients(gateway).ask(fields=[("X-Forwarded-For", "9.9.9.9, 203.0.113.7, 10.1.2.3")])
    assert one(fields_of(answer), "x-forwarded-for").startswith("9.9.9.9, 203.0.113.7, 10.1.2.3")
    # From the right, as long as hops are trusted: the first that is not is the client.
    assert gateway.access_line(answer.get("x-request-id"))["client"] == "203.0.113.7"


TRAILS = {
    # X-Forwarded-For, and what else is known to be written there.
    "port": ([("X-Forwarded-For", "203.0.113.7:4711, 10.1.2.3:80")], "203.0.113.7"),
    "ipv6": ([("X-Forwarded-For", "2001:db8::7, [2001:db8:1::1]:80, 10.1.2.3")], "2001:db8:1::1"),
    "unknown": ([("X-Forwarded-For", "203.0.113.7, unknown, 10.1.2.3")], "10.1.2.3"),
    "mapped": ([("X-Forwarded-For", "::ffff:203.0.113.7, ::ffff:10.1.2.3")], "203.0.113.7"),
    "lines": ([("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "10.1.2.3")], "203.0.113.7"),
    # RFC 7239 §4, §6.
    "forwarded": ([("Forwarded", "for=9.9.9.9, For=203.0.113.7;proto=http, for=10.1.2.3")], "203.0.113.7"),
    "quoted": ([("Forwarded", 'for="[2001:db8::7]:4711";by=x, for="10.1.2.3:80"')], "2001:db8::7"),
    "two-lines": ([("Forwarded", "for=203.0.113.7"), ("forwarded", "for=10.1.2.3")], "203.0.113.7"),
    "hidden": ([("Forwarded", "for=203.0.113.7, for=_hidden, for=10.1.2.3")], "10.1.2.3"),
    "nobody": ([("Forwarded", "for=203.0.113.7, proto=http")], "127.0.0.1"),
    # The client leaves a string open, and a trusted proxy appends to it: nothing of that line is believed.
    "open": ([("Forwarded", 'for="6.6.6.6, for=203.0.113.7')], "127.0.0.1"),
    "open-line": ([("Forwarded", 'for="6.6.6.6'), ("Forwarded", "for=203.0.113.7")], "203.0.113.7"),
    # One of the two is read, the older one.
    "both": ([("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "203.0.113.7")], "203.0.113.7"),
}


@pytest.mark.parametrize("trail", TRAILS)
def test_the_client_behind_trusted_proxies(gateways, upstream, clients, trail):
    gateway = gateways(plain(upstream, client_address={"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}))
    fields, client = TRAILS[trail]
    answer = clients(gateway).ask(fields=fields)
    assert gateway.access_line(answer.get("x-request-id"))["client"] == client


def test_a_forwarded_that_is_not_valid_is_not_passed_on(gateways, upstream, clients):
    """RFC 7239 §4: what we append to a quoted string that is still open would be a part of that string."""
    gateway = gateways(plain(upstream, client_address={"trusted_proxies": ["127.0.0.0/8"]}))
    fields = [("Forwarded", 'for="6.6.6.6'), ("Forwarded", "for=203.0.113.7")]
    forwarded = one(fields_of(clients(gateway).ask(fields=fields)), "forwarded")
    assert forwarded.startswith("for=203.0.113.7, for=127.0.0.1;"), forwarded


def test_a_request_id_is_made_forwarded_echoed_and_logged(gateway, client):
    """UUIDv7 (RFC 9562 §5.7), of this moment."""
    answer = client.ask()
    made = answer.get("x-request-id")
    parsed = uuid.UUID(made)
    assert parsed.version == 7 and str(parsed) == made
    assert abs((parsed.int >> 80) / 1000 - time.time()) < 60
    assert one(fields_of(answer), "x-request-id") == made
    assert gateway.access_line(made)["status"] == 200
    assert client.ask().get("x-request-id") != made


def test_a_request_id_of_an_untrusted_client_is_replaced(client):
    answer = client.ask(fields=[("X-Request-ID", "mine"), ("x_request_id", "mine")])
    assert answer.get("x-request-id") != "mine"
    assert all(value != "mine" for _, value in fields_of(answer))


@pytest.mark.parametrize("value,is_kept", [
    ("abc-123._~:+/=", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ('a"b', False), ("", False)])
def test_a_request_id_of_a_trusted_peer_is_kept_when_it_is_clean(gateways, upstream, clients, value, is_kept):
    client = clients(gateways(plain(upstream, request_id={"accept_from": "any"})))
    answer = client.ask(fields=[("X-Request-ID", value)])
    assert (answer.get("x-request-id") == value) == is_kept
    assert one(fields_of(answer), "x-request-id") == answer.get("x-request-id")


def test_the_host_goes_on_or_is_the_services_own(gateways, upstream, clients):
    config = plain(upstream)
    config["routes"] = [{"name": "kept", "match": {"prefix": "/kept"}, "to": "up", "preserve_host": True},
                        {"name": "own", "match": {"prefix": "/own"}, "to": "up", "preserve_host": False}]
    client = clients(gateways(config))
    assert one(fields_of(client.ask(target="/kept", host="public.gate.test")), "host") == "public.gate.test"
    assert one(fields_of(client.ask(target="/own", host="public.gate.test")), "host") == upstream.address


def test_every_problem_has_the_same_shape(gateways, named, clients):
    gateway = gateways(routed(named, [{"match": {"prefix": "/only"}, "to": "only"}]))
    client = clients(gateway)
    answer = client.ask(target="/nowhere")
    said = problem(answer, "no_route")
    assert said["request_id"] == answer.get("x-request-id")
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"], line["path"]) == (404, "no_route", "/nowhere")
    head = client.ask("HEAD", "/nowhere")
    assert (head.status, head.body) == (404, b"")


def test_one_endpoint_after_the_other(gateways, named, clients):
    """Two endpoints share the work of a service."""
    first, second = named("first"), named("second")
    config = plain(first)
    config["services"]["up"]["to"] = [f"http://{first.address}", f"http://{second.address}"]
    gateway = gateways(config)
    seen = {clients(gateway).ask().body for _ in range(40)}
    assert seen == {b"first /", b"second /"}


def test_pipelined_requests_take_different_routes(gateways, named, clients):
    routes = [{"match": {"prefix": "/a"}, "to": "a"}, {"match": {"prefix": "/b"}, "to": "b"}]
    client = clients(gateways(routed(named, routes)))
    client.send(b"".join(request(target=path) for path in ("/a", "/b", "/none", "/a/1")))
    assert [client.response().body for _ in range(2)] == [b"a /a", b"b /b"]
    problem(client.response(), "no_route")
    assert client.response().body == b"a /a/1"


@pytest.mark.parametrize("name", ["X-Request-ID", "X-Correlation-Id", "trace"])
def test_an_answer_has_the_id_under_the_name_that_is_configured(gateways, upstreams, clients, name):
    """In the service's answer and in our own, over HTTP/1.1 and HTTP/2, and never what the service says of it, be it behind
    the body."""
    def answer(wire, asked):
        wire.send(response(200, [(name, "forged"), ("Transfer-Encoding", "chunked"), ("X-Seen", asked.get(name))])
                  + chunked(b"body", trailers=[(name, "forged"), ("X-Sum", "1")]))
        return True
    config = plain(upstreams(answer), request_id={"header": name})
    config["routes"].append({"name": "secret", "match": {"prefix": "/x"}, "to": "up", "limits": ["one"]})
    config["limits"] = {"one": {"rate": "1/h", "per": "client"}}
    gateway = gateways(config)
    first = clients(gateway)
    with Client2(gateway.address()) as second:
        for got in (first.ask(), second.ask()):
            assert got.get(name) == got.get("x-seen") != "forged"
            assert got.trailers in ([("X-Sum", "1")], [("x-sum", "1")])
        first.ask(target="/x")
        for got in (first.ask(target="/x"), second.ask(path="/x")):
            assert got.get(name) == problem_of(got)["request_id"]
            assert name == "X-Request-ID" or got.get("x-request-id") is None


def problem_of(answer):
    assert answer.status == 429, answer.fields
    return answer.json()


def test_a_request_without_a_host_says_nothing_of_one(gateway, client):
    """Only HTTP/1.0 has such; an empty X-Forwarded-Host would be a host that nobody asked for."""
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    names = dict(fields_of(client.response()))
    assert "x-forwarded-host" not in names and "host=" not in names["forwarded"]
    client.send(b"GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n")
    assert one(fields_of(client.response()), "x-forwarded-host") == "gate.test"


@pytest.mark.parametrize("method", ["TRACE", "TRACE with a body"])
def test_trace_is_refused_over_both_protocols(gateways, upstreams, clients, method):
    """RFC 9110 §9.3.8: it would hand the client what we say of it to the service alone."""
    upstream = upstreams()
    gateway = gateways(plain(upstream))
    body = b"body" if " " in method else None
    with Client2(gateway.address()) as second:
        for got in (clients(gateway).ask("TRACE", body=body), second.ask("TRACE", body=body)):
            assert got.status == 405 and got.json()["reason"] == "method_not_allowed"
            assert "GET" in got.get("allow") and "TRACE" not in got.get("allow")
    assert upstream.nothing_received()
    # Methods are told apart by case (RFC 9110 §9.1).
    assert clients(gateway).ask("trace").json()["method"] == "trace"
