"""`gatehouse jwt check`: what is wrong with a token, and the very reason that a client gets from a running gateway."""

import json
import subprocess
import time

import pytest

from harness.gateway import binary, plain
from harness.tokens import base64url, bearer

pytestmark = pytest.mark.bound(60)


def config_of(upstream, keys):
    config = plain(upstream)
    config["auth"] = {"main": {"jwt": {
        "issuer": "https://auth.test", "audience": ["platform-api"], "leeway": "5s", "keys": {"file": str(keys)},
        "max_token": "2KiB", "forward": {"X-User-ID": "sub"}}}}
    config["defaults"] = {"auth": "main", "limits": []}
    config["routes"] = [
        {"name": "write", "match": {"prefix": "/"}, "to": "up", "require": {"scopes": ["doc:write"]}},
        {"name": "open", "match": {"prefix": "/open"}, "to": "up", "auth": "none"}]
    return config


def check(file, token, *options, stdin=None):
    done = subprocess.run(
        [binary(), "jwt", "check", token, "--config", str(file), *options], input=stdin, capture_output=True, text=True,
        timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def bad_tokens(key, other):
    """Name -> token, the step that is wrong, and pieces of what was expected and received."""
    now = int(time.time())
    granted = {"scope": "doc:write"}
    good = key.token(**granted)
    head, claims, signature = good.split(".")
    hmac = base64url(json.dumps({"alg": "HS256", "kid": key.kid}).encode())
    return {
        "two parts": (f"{head}.{claims}", "form", "three parts", "2 parts"),
        "too long": (key.token(**granted, pad="x" * 2000), "length", "at most 2048 bytes", "bytes"),
        "another algorithm": (f"{hmac}.{claims}.{signature}", "alg", "RS256", "'HS256'"),
        "an extension": (key.token({"alg": "RS256", "kid": key.kid, "crit": ["exp"]}, **granted), "crit", "nothing", '["exp"]'),
        "an extension that is not named": (key.token({"alg": "RS256", "kid": key.kid, "b64": True}, **granted), "crit", "nothing", "b64 true"),
        "its own key": (key.token({"alg": "RS256", "kid": key.kid, "jku": "https://evil.test"}, **granted),
                        "jwk, jku, x5u, x5c", "nothing", "jku"),
        "an unknown key": (other.token(**granted), "key", f"'{key.kid}' for RS256", f"'{other.kid}'"),
        "a forged signature": (other.token({"alg": "RS256", "kid": key.kid}, **granted), "signature",
                               "256 bytes of RS256", "256 bytes that it did not sign"),
        "a member twice": (key.token(raw_claims=b'{"sub":"a","sub":"b"}'), "claims", "JSON object", "stands twice"),
        "another issuer": (key.token(iss="https://evil.test", **granted), "iss", "https://auth.test", "'https://evil.test'"),
        "another audience": (key.token(aud=["a", "b"], **granted), "aud", "platform-api", '["a", "b"]'),
        "expired": (key.token(exp=now - 60, **granted), "exp", f"leeway 5 s", "s ago"),
        "not valid yet": (key.token(nbf=now + 600, **granted), "nbf", "at most", "in "),
        "no subject": (key.token(sub=None, **granted), "required claims", "sub", "no sub"),
        "a claim that breaks out": (key.token(sub="a\r\nX-Admin: 1", **granted), "claims as fields", "control", "sub:"),
        "no such scope": (key.token(scope="doc:read"), "scopes", "doc:write", "doc:read"),
    }


def test_each_kind_of_bad_token_is_explained_as_the_gateway_answers(
        gateways, upstream, clients, keys_file, key, other_key, tmp_path):
    config = config_of(upstream, keys_file)
    gateway = gateways(config)
    client = clients(gateway)
    file = tmp_path / "check.yaml"
    file.write_text(json.dumps(config))
    for name, (token, step, expected, received) in bad_tokens(key, other_key).items():
        status, out, errors = check(file, token, "--route", "write")
        assert (status, errors) == (1, ""), (name, out, errors)
        lines = out.splitlines()
        at = next(index for index, line in enumerate(lines) if line.startswith(f"WRONG  {step}:"))
        assert lines[at + 1].startswith("         expected: ") and expected in lines[at + 1], (name, out)
        assert lines[at + 2].startswith("         received: ") and received in lines[at + 2], (name, out)
        answer = client.ask(fields=bearer(token))
        reason = answer.json()["reason"]
        assert lines[-1].startswith(f"a client with this token gets {answer.status} {reason}"), (name, out)
        if answer.status == 401:
            # The very words of the challenge.
            said = answer.get("www-authenticate").split('error_description="')[1].rstrip('"')
            assert said in lines[-1], (name, lines[-1])


def test_a_good_token_passes(upstream, keys_file, key, tmp_path):
    file = tmp_path / "check.yaml"
    file.write_text(json.dumps(config_of(upstream, keys_file)))
    token = key.token(scope="doc:write")
    for given, stdin in ((token, None), ("-", token + "\n"), (f"Bearer {token}", None)):
        status, out, errors = check(file, given, "--route", "write", stdin=stdin)
        assert (status, errors) == (0, ""), out
        assert out.splitlines()[-1] == "a client with this token passes" and "WRONG" not in out
    # Without a route nothing is asked beyond that it is good.
    assert check(file, key.token())[0] == 0
    assert "auth: none" in check(file, "x", "--route", "open")[1]


def test_what_cannot_be_asked_is_said(upstream, keys_file, tmp_path):
    file = tmp_path / "check.yaml"
    file.write_text(json.dumps(config_of(upstream, keys_file)))
    assert check(file, "", "--route", "write")[1].splitlines()[-1].startswith("a client with this token gets 401 token_missing")
    status, _, errors = check(file, "x", "--route", "nobody")
    assert status == 1 and "no route 'nobody'" in errors
    status, _, errors = check(tmp_path / "none.yaml", "x")
    assert status == 1 and "cannot read" in errors
