"""Other implementations beside the gateway: Python's PyJWT and joserfc. What they refuse under the same rules the gateway
refuses too, whatever is done to a token. The other way round it need not be: the gateway is the stricter one."""

import base64
import datetime
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import jwt
import pytest

from harness.bound import PATIENCE, SANITIZER
from harness.gateway import plain
from harness.tokens import bearer

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "Fixtures" / "tokens"
# Where the Makefile installs it.
JOSERFC = HERE.parent.parent / ".build" / "joserfc"
RULES = {
    "issuer": "https://auth.example.com", "audience": ["platform-api", "other-api"], "leeway": 30,
    "options": {"require": ["exp", "iss", "aud", "sub"]}}
ROUNDS = 1500
JOSERFC_ROUNDS = 10_000

spec = importlib.util.spec_from_file_location("fixture_keys", FIXTURES / "keys.py")
keys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keys)

# kid -> key, and what it may be used with.
KEYS = {
    "rsa": (keys.A, ["RS256", "RS384", "RS512", "PS256"]), "pss": (keys.B, ["PS256"]), "ec": (keys.EC, ["ES256"]),
    "ed": (keys.ED, ["EdDSA"])}


def accepts(token):
    """PyJWT's verdict; the key is the one that the token names, and the key says which algorithms will do."""
    try:
        key, algorithms = KEYS[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key.public_key(), algorithms=algorithms, **RULES)
    except Exception:  # Whatever it is (PyJWT lets ValueError and OverflowError of its parsers through), it is no yes.
        return False
    return True


def joserfc_verdicts(tokens):
    """`yes`, or `no` and why, for each of the tokens."""
    key_set = json.loads((FIXTURES / "corpus.json").read_text())["keys"]
    rules = {"keys": key_set, "algorithms": {kid: algorithms for kid, (_, algorithms) in KEYS.items()},
             **{name: RULES[name] for name in ("issuer", "audience", "leeway")}}
    done = subprocess.run(
        [sys.executable, "-B", HERE / "harness" / "joserfc_verdicts.py"], input="\n".join([json.dumps(rules), *tokens]),
        env={**os.environ, "PYTHONPATH": str(JOSERFC)}, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = done.stdout.splitlines()
    assert len(verdicts) == len(tokens)
    return verdicts


def corpus():
    for line in (FIXTURES / "corpus.txt").read_text().splitlines():
        yield line.split("\t")


def test_what_the_corpus_says_is_accepted_is_accepted_by_another_implementation(monkeypatch):
    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromtimestamp(1_700_000_100, tz)

    monkeypatch.setattr(jwt.api_jwt, "datetime", Then)
    count = 0
    for name, _, expected, token in corpus():
        if expected == "accepted":
            count += 1
            assert accepts(token), name
    assert count >= 30


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Mutator:
    """Tokens of every algorithm, most of them with something done to them; the seed decides all."""

    TEXT = "ABCXYZabcxyz0189-_-_.=+/~"
    VALUES = [
        "null", "true", "0", "-1", "1e400", "1e300", "9" * 30, "1.5", '""', '"x"', "[]", "{}", '["platform-api"]',
        '"platform-api"', '"\\u0000"', '"a\\nb"', "NaN", "Infinity", "[[]]", '{"a":1,"a":2}', '"https://auth.example.com"',
        '"RS256"', '"ES256"', '"none"', '"rsa"', '"ec"', '"ed"', '"pss"', "01", "1.", '"\\ud800"']
    NAMES = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "alg", "kid", "typ", "crit", "jwk", "b64", "scope"]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.last = []

    def sign(self, header, claims, kid, algorithm):
        signed = f"{b64(header.encode('utf-8', 'surrogatepass'))}.{b64(claims.encode('utf-8', 'surrogatepass'))}"
        signer = jwt.algorithms.get_default_algorithms()[algorithm]
        return f"{signed}.{b64(signer.sign(signed.encode(), KEYS[kid][0]))}"

    def splice(self, text):
        at = self.random.randrange(len(text))
        return self.random.choice([
            text[:at] + self.random.choice(self.TEXT) + text[at + 1:], text[:at] + self.random.choice(self.TEXT) + text[at:],
            text[:at] + text[at + 1:], text[:at], text[at:], text + self.random.choice(self.TEXT)])

    def edit(self, object_text):
        """The text of a JSON object with something done to it."""
        kind = self.random.randrange(6)
        if kind == 0:
            return self.splice(object_text)
        members = json.loads(object_text)
        name = self.random.choice([*self.NAMES, *members])
        if kind == 1 and name in members:
            del members[name]
            return json.dumps(members)
        value = self.random.choice(self.VALUES)
        if kind == 2:
            # Perhaps a second time.
            return f'{object_text[:-1]}, "{name}": {value}}}'
        if kind == 3:
            return self.random.choice(["", " ", "\n"]) + object_text + self.random.choice(["", " ", "{}", "x", "\0"])
        members[name] = "@"
        return json.dumps(members).replace('"@"', value)

    def token(self):
        kid = self.random.choice(list(KEYS))
        algorithm = self.random.choice(KEYS[kid][1])
        now = int(time.time())
        header = json.dumps({"alg": algorithm, "kid": kid, "typ": "JWT"})
        claims = json.dumps({
            "iss": "https://auth.example.com", "sub": "user-1", "aud": self.random.choice(["platform-api", ["x", "other-api"]]),
            "iat": now, "exp": now + 600, "n": self.random.randrange(1 << 30)})
        kind = self.random.randrange(8)
        if kind in (0, 1):
            header = self.edit(header)
        elif kind in (2, 3, 4):
            claims = self.edit(claims)
        token = self.sign(header, claims, kid, algorithm)
        if kind in (5, 6):
            for _ in range(self.random.randint(1, 2)):
                token = self.splice(token) or "x"
        elif kind == 7 and self.last:
            mine, other = token.split("."), self.random.choice(self.last).split(".")
            at = self.random.randrange(3)
            token = ".".join([*mine[:at], *other[at:at + 1], *mine[at + 1:]])
        self.last = [*self.last[-20:], token]
        return token


def answered(gateways, upstream, clients, seed, rounds):
    """So many tokens that follow from the seed, and what the gateway says of each."""
    config = plain(upstream, workers=1)
    config["auth"] = {"main": {"jwt": {
        "issuer": RULES["issuer"], "audience": RULES["audience"], "leeway": "30s",
        "algorithms": ["RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA"],
        "keys": {"file": str(FIXTURES / "corpus.json")}}}}
    config["defaults"] = {"auth": "main", "limits": []}
    client, mutator = clients(gateways(config)), Mutator(seed)
    for round_ in range(rounds):
        token = mutator.token()
        answer = client.ask(fields=bearer(token))
        assert answer.status in (200, 401), (seed, round_, token)
        yield token, answer.status == 200


@pytest.mark.bound(120)
def test_what_another_implementation_refuses_is_refused(gateways, upstream, clients):
    seed, accepted, stricter = int(os.environ.get("TOKEN_SEED", "7519")), 0, 0
    for token, is_accepted in answered(gateways, upstream, clients, seed, ROUNDS):
        if is_accepted:
            accepted += 1
            assert accepts(token), f"seed {seed}: accepted here and refused by PyJWT: {token}"
        elif accepts(token):
            stricter += 1
    # Neither all nor none, or nothing was compared.
    assert ROUNDS // 20 < accepted < ROUNDS // 2, (accepted, stricter)
    assert stricter < ROUNDS // 4, (accepted, stricter)


@pytest.mark.skipif(not JOSERFC.exists(), reason="`make joserfc` installs joserfc from the Python package index")
@pytest.mark.skipif(bool(SANITIZER), reason="looks at verdicts, not at memory")
@pytest.mark.bound(240)
def test_what_joserfc_refuses_is_refused(gateways, upstream, clients):
    seed = int(os.environ.get("TOKEN_SEED", "8725"))
    answers = list(answered(gateways, upstream, clients, seed, JOSERFC_ROUNDS))
    verdicts = joserfc_verdicts([token for token, _ in answers])
    accepted = stricter = 0
    for (token, is_accepted), verdict in zip(answers, verdicts):
        if is_accepted:
            accepted += 1
            assert verdict == "yes", f"seed {seed}: accepted here and refused by joserfc ({verdict}): {token}"
        elif verdict == "yes":
            stricter += 1
    assert JOSERFC_ROUNDS // 20 < accepted < JOSERFC_ROUNDS // 2, (accepted, stricter)
    assert stricter < JOSERFC_ROUNDS // 4, (accepted, stricter)
