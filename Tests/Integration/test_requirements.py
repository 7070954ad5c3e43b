"""What a good token may do: scopes and roles by route, 403 otherwise (RFC 6750 §3.1, RFC 8693 §4.2)."""

import pytest

from harness.gateway import plain
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.tokens import bearer, bearer2
from harness.wire import problem

ROUTES = [
    {"name": "write", "match": {"prefix": "/write"}, "to": "up", "require": {"scopes": ["doc:write", "doc:admin"]}},
    {"name": "edit", "match": {"prefix": "/edit"}, "to": "up", "require": {"roles": ["editor", "the admin"]}},
    {"name": "both", "match": {"prefix": "/both"}, "to": "up", "require": {"scopes": ["doc:write"], "roles": ["editor"]}},
    {"name": "plain", "match": {"prefix": "/"}, "to": "up"},
]


def requiring(upstream, keys, routes=None):
    config = plain(upstream)
    config["auth"] = {"main": {"jwt": {
        "issuer": "https://auth.test", "audience": ["platform-api"], "keys": {"file": str(keys)}}}}
    config["defaults"] = {"auth": "main", "limits": []}
    config["routes"] = routes or ROUTES
    return config


@pytest.fixture
def guard(gateways, upstream, keys_file):
    return gateways(requiring(upstream, keys_file))


SCOPE_CHALLENGE = 'Bearer error="insufficient_scope", scope="doc:write doc:admin"'
ROLE_CHALLENGE = 'Bearer error="insufficient_scope", error_description="a role is missing"'

# target, claims, reason (None: it passes), challenge
CASES = [
    ("/write", {"scope": "doc:read doc:write"}, None, None),
    ("/write", {"scope": "doc:admin"}, None, None),
    ("/write", {"scp": ["doc:admin"]}, None, None),
    ("/write", {"scope": "doc:read"}, "insufficient_scope", SCOPE_CHALLENGE),
    ("/write", {"scope": "doc:writer"}, "insufficient_scope", SCOPE_CHALLENGE),
    ("/write", {}, "insufficient_scope", SCOPE_CHALLENGE),
    ("/write", {"roles": ["doc:write"]}, "insufficient_scope", SCOPE_CHALLENGE),
    ("/edit", {"roles": ["x", "editor"]}, None, None),
    ("/edit", {"roles": "the admin"}, None, None),
    ("/edit", {"roles": ["the", "admin"]}, "insufficient_role", ROLE_CHALLENGE),
    ("/edit", {"scope": "editor"}, "insufficient_role", ROLE_CHALLENGE),
    ("/both", {"scope": "doc:write", "roles": ["editor"]}, None, None),
    ("/both", {"scope": "doc:write"}, "insufficient_role", ROLE_CHALLENGE),
    ("/both", {"roles": ["editor"]}, "insufficient_scope", 'Bearer error="insufficient_scope", scope="doc:write"'),
    ("/other", {}, None, None),
]


def test_a_token_may_do_what_it_grants_and_no_more(guard, clients, upstream, key):
    client = clients(guard)
    for target, claims, reason, challenge in CASES:
        token = key.token(**claims)
        # Twice: what is remembered of a token is what it grants.
        for _ in range(2):
            answer = client.ask(target=target, fields=bearer(token))
            if reason is None:
                assert answer.status == 200, (target, claims)
                upstream.received()
            else:
                problem(answer, reason)
                assert answer.status == 403
                assert answer.get("www-authenticate") == challenge, (target, claims)
                assert upstream.nothing_received()
    line = guard.access_line(reason="insufficient_scope")
    assert (line["status"], line["subject"], line["route"]) == (403, "user-1", "write")


def test_the_same_over_http_2_and_grpc(guard, key):
    with Client2(guard.address()) as client:
        for target, claims, reason, challenge in CASES:
            fields = bearer2(key.token(**claims))
            answer = client.ask(path=target, fields=fields)
            if reason is None:
                assert answer.status == 200
                continue
            problem2(answer, reason)
            assert (answer.status, answer.get("www-authenticate")) == (403, challenge)
            call = client.ask("POST", target, [*fields, ("content-type", "application/grpc"), ("te", "trailers")])
            # PERMISSION_DENIED.
            assert (call.status, call.get("grpc-status")) == (200, "7")


def test_a_bad_token_is_401_whatever_it_grants(guard, clients, key, other_key):
    forged = other_key.token(header={"alg": "RS256", "kid": key.kid}, scope="doc:write")
    problem(clients(guard).ask(target="/write", fields=bearer(forged)), "token_invalid")


def test_a_reload_changes_what_is_required_of_tokens_seen_before(gateways, upstream, keys_file, clients, key):
    gateway = gateways(requiring(upstream, keys_file))
    client = clients(gateway)
    token = key.token(scope="doc:read")
    problem(client.ask(target="/write", fields=bearer(token)), "insufficient_scope")
    changed = [dict(ROUTES[0], require={"scopes": ["new", "doc:read"]}), *ROUTES[1:]]
    gateway.write(requiring(upstream, keys_file, changed))
    gateway.reload()
    assert client.ask(target="/write", fields=bearer(token)).status == 200
    gateway.write(requiring(upstream, keys_file, [dict(ROUTES[0], require={"roles": ["doc:read"]}), *ROUTES[1:]]))
    gateway.reload()
    problem(client.ask(target="/write", fields=bearer(token)), "insufficient_role")
