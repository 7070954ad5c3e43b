"""Who may pass: RS256 tokens verified here, and what services are told of them (RFC 7519, 6750, 8725)."""

import base64
import json
import time

import pytest

from harness.gateway import plain
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.tokens import base64url, bearer, bearer2, key_set
from harness.wire import problem


def guarded(upstream, keys, **change):
    config = plain(upstream)
    config["auth"] = {"main": {"jwt": {
        "issuer": "https://auth.test", "audience": ["platform-api", "other-api"], "algorithms": ["RS256"],
        "leeway": "5s", "require_claims": ["sub"], "keys": {"file": str(keys)},
        "forward": {"X-User-ID": "sub", "X-Roles": "roles"}, "pass_token": False, **change}}}
    config["defaults"] = {"auth": "main", "limits": []}
    config["routes"].append({"name": "open", "match": {"prefix": "/open"}, "to": "up", "auth": "none"})
    return config


@pytest.fixture
def guard(gateways, upstream, keys_file):
    return gateways(guarded(upstream, keys_file))


def fields_of(answer):
    return [(name.lower(), value) for name, value in answer.json()["fields"]]


def test_a_good_token_passes_and_its_claims_are_told(guard, clients, key):
    client = clients(guard)
    token = key.token(sub="user-7", roles="editor")
    for _ in range(3):
        answer = client.ask(target="/x", fields=bearer(token))
        assert answer.status == 200
        fields = fields_of(answer)
        assert [value for name, value in fields if name == "x-user-id"] == ["user-7"]
        assert [value for name, value in fields if name == "x-roles"] == ["editor"]
        assert not any(name == "authorization" for name, _ in fields)
    assert guard.access_line(answer.get("x-request-id"))["subject"] == "user-7"


def test_the_token_goes_on_when_the_file_says_so(gateways, upstream, keys_file, clients, key):
    client = clients(gateways(guarded(upstream, keys_file, pass_token=True)))
    token = key.token()
    assert ("authorization", f"Bearer {token}") in fields_of(client.ask(fields=bearer(token)))


def test_a_pem_file_will_do(gateways, upstream, clients, key, tmp_path):
    file = tmp_path / "key.pem"
    file.write_bytes(key.public_pem)
    client = clients(gateways(guarded(upstream, file)))
    assert client.ask(fields=bearer(key.token())).status == 200


def test_each_audience_of_the_list_will_do(guard, clients, key):
    client = clients(guard)
    for audience in ("platform-api", "other-api", ["x", "other-api"], ["platform-api"]):
        assert client.ask(fields=bearer(key.token(aud=audience))).status == 200


def test_what_joserfc_refuses_and_pyjwt_lets_pass_is_refused(guard, clients, key):
    """RFC 7797 §6: who says `b64` must name it in `crit`. RFC 7519 §4.1.7: `jti` is a text."""
    client = clients(guard)
    head = {"alg": "RS256", "kid": key.kid}
    for token in (key.token(header={**head, "b64": True}), key.token(header={**head, "b64": False}), key.token(jti=7),
                  key.token(jti=["a"])):
        problem(client.ask(fields=bearer(token)), "token_invalid")
    assert client.ask(fields=bearer(key.token(jti="a"))).status == 200


def test_without_a_token_401_says_how(guard, clients, upstream):
    """RFC 6750 §3: a challenge, without an error when no token came at all."""
    answer = clients(guard).ask()
    problem(answer, "token_missing")
    assert answer.get("www-authenticate").startswith("Bearer")
    assert upstream.nothing_received()
    assert clients(guard).ask(target="/open").status == 200


def forgeries(key, other):
    """Each is refused, and by its name says why it might not have been."""
    good = key.token()
    head, claims, signature = good.split(".")
    now = int(time.time())
    hs_head = base64url(json.dumps({"alg": "HS256", "kid": key.kid}).encode())
    none_head = base64url(b'{"alg":"none"}')
    return {
        "a signature of another key": other.token(header={"alg": "RS256", "kid": key.kid}),
        "a kid that is not in the set": other.token(),
        "another signature": f"{head}.{claims}.{base64url(bytes(256))}",
        "no signature": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "four parts": good + ".e30",
        "alg none": f"{none_head}.{claims}.",
        "alg none with a signature": f"{none_head}.{claims}.{signature}",
        "HMAC with the public key": f"{hs_head}.{claims}.{signature}",
        "a signature that is cut": good[:-4],
        "a signature with padding": good + "==",
        "standard base64": good.replace("-", "+").replace("_", "/") + "+",
        "a line break in it": good[:20] + "\t" + good[20:],
        "claims that are changed": f"{head}.{base64url(b'{}')}.{signature}",
        "another issuer": key.token(iss="https://evil.test"),
        "no issuer": key.token(iss=None),
        "an issuer that begins alike": key.token(iss="https://auth.test.evil"),
        "another audience": key.token(aud="someone"),
        "no audience": key.token(aud=None),
        "an empty audience": key.token(aud=[]),
        "no subject": key.token(sub=None),
        "not valid yet": key.token(nbf=now + 600),
        "an expiry that is text": key.token(exp=str(now + 600)),
        "no expiry": key.token(exp=None),
        "a member twice": key.token(raw_claims=(
            '{"iss":"https://auth.test","aud":"platform-api","sub":"a","sub":"b","exp":%d}' % (now + 600)).encode()),
        "claims that are no object": key.token(raw_claims=b"[1]"),
        "claims that are no JSON": key.token(raw_claims=b"{sub:1}"),
        "a head with crit": key.token(header={"alg": "RS256", "kid": key.kid, "crit": ["exp"]}),
        "a head with alg twice": key.token(header=f'{{"alg":"none","alg":"RS256","kid":"{key.kid}"}}'.encode()),
        "a head in small letters": key.token(header={"alg": "rs256", "kid": key.kid}),
        "nothing": "x",
        "dots": "..",
        "much": "a" * 9000,
    }


def test_a_forged_token_is_401_and_reaches_nobody(guard, clients, upstream, key, other_key):
    client = clients(guard)
    for name, token in forgeries(key, other_key).items():
        # Twice: a remembered bad token is still bad.
        for _ in range(2):
            answer = client.ask(fields=bearer(token))
            assert answer.status == 401, (name, answer.start_line)
            problem(answer, "token_invalid")
            assert 'error="invalid_token"' in answer.get("www-authenticate"), name
    assert upstream.nothing_received()
    assert client.ask(fields=bearer(key.token())).status == 200


def test_an_expired_token_is_401(guard, clients, key):
    answer = clients(guard).ask(fields=bearer(key.token(exp=int(time.time()) - 60)))
    problem(answer, "token_expired")
    assert 'error="invalid_token"' in answer.get("www-authenticate")


def test_leeway_is_given_and_no_more(guard, clients, key):
    now = int(time.time())
    assert clients(guard).ask(fields=bearer(key.token(exp=now - 1))).status == 200
    assert clients(guard).ask(fields=bearer(key.token(nbf=now + 2))).status == 200
    assert clients(guard).ask(fields=bearer(key.token(exp=now - 20))).status == 401


def test_a_token_ends_while_it_is_cached(guard, clients, key):
    """The cache never gives a token more life than it has: it expires leeway after its `exp`."""
    from harness.bound import until
    client = clients(guard)
    token = key.token(exp=int(time.time()) - 3)
    assert client.ask(fields=bearer(token)).status == 200
    answer = until(lambda: (got := client.ask(fields=bearer(token))).status == 401 and got, "the token to expire")
    problem(answer, "token_expired")


SCHEMES = {"basic": "Basic dXNlcjpwYXNz", "no scheme": "{}", "two spaces": "Bearer  {}", "empty": "Bearer ",
           "only the scheme": "Bearer", "a list": "Bearer {}, Bearer x"}


@pytest.mark.parametrize("name", SCHEMES)
def test_another_scheme_is_no_token(guard, clients, key, name):
    answer = clients(guard).ask(fields=[("Authorization", SCHEMES[name].format(key.token()))])
    assert answer.status == 401
    assert answer.get("www-authenticate").startswith("Bearer")


def test_the_scheme_is_read_in_any_case(guard, clients, key):
    """RFC 9110 §11.1."""
    assert clients(guard).ask(fields=[("authorization", f"bearer {key.token()}")]).status == 200


def test_two_authorizations_are_refused(guard, clients, key, upstream):
    answer = clients(guard).ask(fields=bearer(key.token()) + bearer("x"))
    assert answer.status in (400, 401)
    assert upstream.nothing_received()


SPOOFS = ["X-User-ID", "x-user-id", "X_User_ID", "x_user-id", "X-ROLES"]


@pytest.mark.parametrize("name", SPOOFS)
def test_a_client_cannot_speak_for_the_gateway(guard, clients, key, name):
    """§4: in any spelling, on open routes too, and from trailers."""
    client = clients(guard)
    for target, fields in (("/x", bearer(key.token(roles=None))), ("/open", [])):
        answer = client.ask(target=target, fields=[*fields, (name, "root")])
        assert answer.status == 200
        assert all(value != "root" for _, value in fields_of(answer)), answer.json()
    from harness.wire import chunked, request
    client.send(request("POST", "/open", [("Transfer-Encoding", "chunked")]) + chunked(b"x", trailers=[(name, "root")]))
    assert all(value != "root" for _, value in client.response().json()["trailers"])


def test_a_claim_cannot_break_out_of_its_field(guard, clients, key):
    """A line break in a claim must not become a field, nor reach the service at all."""
    answer = clients(guard).ask(fields=bearer(key.token(sub="a\r\nX-Roles: root")))
    if answer.status == 200:
        assert all("root" not in value or name == "x-user-id" for name, value in fields_of(answer))
        assert not any(name == "x-roles" for name, _ in fields_of(answer))
    else:
        assert answer.status == 401


def test_a_new_key_set_comes_with_a_reload(gateways, upstream, keys_file, clients, key, other_key):
    gateway = gateways(guarded(upstream, keys_file))
    client = clients(gateway)
    assert client.ask(fields=bearer(other_key.token())).status == 401
    assert client.ask(fields=bearer(key.token())).status == 200
    keys_file.write_text(key_set(other_key))
    gateway.reload()
    assert client.ask(fields=bearer(other_key.token())).status == 200
    assert client.ask(fields=bearer(key.token())).status == 401


def test_a_key_that_is_too_short_is_refused_by_check(tmp_path, upstream):
    """RFC 7518 §3.3: RSA keys have at least 2048 bits."""
    from harness.gateway import run
    from harness.tokens import Key
    weak = Key(tmp_path, "weak", bits=1024)
    file = tmp_path / "weak.json"
    file.write_text(key_set(weak))
    config = tmp_path / "weak.yaml"
    config.write_text(json.dumps(guarded(upstream, file)))
    assert run("check", str(config))[0] != 0


def test_tokens_over_http_2(guard, key, other_key):
    with Client2(guard.address()) as client:
        good = client.ask(fields=bearer2(key.token(sub="user-9")))
        assert good.status == 200
        assert ["x-user-id", "user-9"] in [[name.lower(), value] for name, value in good.json()["fields"]]
        for name, token in forgeries(key, other_key).items():
            if name == "a line break in it":
                continue
            problem2(client.ask(fields=bearer2(token)), "token_invalid")
        missing = client.ask()
        problem2(missing, "token_missing")
        assert missing.get("www-authenticate").startswith("Bearer")


def test_one_token_many_connections(guard, clients, key):
    token = key.token()
    for _ in range(30):
        assert clients(guard).ask(fields=bearer(token)).status == 200


def test_the_signature_is_the_whole_of_it(guard, clients, key):
    """Every bit of the signature counts: one bit changed anywhere is another signature."""
    head, claims, signature = key.token().split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    client = clients(guard)
    for at in range(0, len(raw), 37):
        changed = bytearray(raw)
        changed[at] ^= 1
        assert client.ask(fields=bearer(f"{head}.{claims}.{base64url(bytes(changed))}")).status == 401
