#!/usr/bin/env python3
"""Makes tokens.txt, from code that shares nothing with the gateway: Python's `cryptography`.

Each line is a name, a tab and a token. Run it again after a change; signatures of RS256 are deterministic, so lines
that did not change stay as they are. The keys are those of keys.py.
"""
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from keys import A, A_N, B, B_N, b64

here = pathlib.Path(__file__).parent


def text(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def token(header, claims, key=A, digest=None, scheme=None):
    signed = b64(text(header).encode()) + "." + b64(text(claims).encode())
    signature = key.sign(signed.encode(), scheme or padding.PKCS1v15(), digest or hashes.SHA256())
    return signed + "." + b64(signature)


GOOD = {
    "iss": "https://auth.example.com", "sub": "user-1", "aud": "platform-api", "iat": 1700000000,
    "nbf": 1700000000, "exp": 1700000900, "roles": ["editor", "admin"],
}
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "a"}
all = {}


def claims(name, without=(), **changes):
    changed = {k: v for k, v in (GOOD | changes).items() if k not in without}
    all[name] = token(HEADER, changed)


def header(name, without=(), **changes):
    changed = {k: v for k, v in (HEADER | changes).items() if k not in without}
    all[name] = token(changed, GOOD)


# Accepted
claims("good")
claims("another", sub="user-2")
for i in range(40):
    claims(f"many-{i}", sub=f"many-{i}")
header("no-kid", without=["kid"])
all["signed-by-b"] = token(HEADER | {"kid": "b"}, GOOD | {"sub": "user-b"}, key=B)
header("at-jwt", typ="at+jwt")
header("application-at-jwt", typ="application/AT+JWT")
header("thumbprints", x5t="dGVzdA", cty="x", other={"deep": [1, {"a": None}]})
claims("audience-list", aud=["other", "platform-api"])
claims("no-sub", without=["sub"])
claims("no-roles", without=["roles"])
claims("roles-null", roles=None)
claims("roles-empty", roles=[])
claims("roles-text", roles="editor")
claims("roles-number", roles=12.5)
claims("roles-true", roles=True)
claims("roles-mixed", roles=["editor", 7, False])
claims("sub-unicode", sub="J\u00fcrgen \u65e5\u672c")
claims("exp-fraction", exp=1700000900.75)
claims("long", padding="x" * 1200)
claims("longest-values", sub="s" * 255, roles="r" * 1024)
all["exp-exponent"] = token(HEADER, text(GOOD).replace("1700000900", "17000009e2"))
all["exp-huge"] = token(HEADER, text(GOOD).replace("1700000900", "1e300"))
all["escapes"] = token(
    HEADER, text(GOOD).replace("user-1", "user\\u002d1").replace("https://", "https:\\/\\/").replace('"aud"', '"\\u0061ud"'))
all["white-space"] = token(json.dumps(HEADER, indent=1), json.dumps(GOOD, indent=2) + "\r\n")
claims("scope-text", scope="documents:read documents:write")
claims("scope-one", scope="documents:write")
claims("scope-longer", scope="documents:writer xdocuments:write documents: write")
claims("scope-spaces", scope="  documents:read   documents:write  ")
claims("scope-list", scope=["documents:read", "documents:write"])
claims("scope-list-of-words", scope=["documents:read documents:write"])
claims("scope-number", scope=7)
claims("scope-object", scope={"documents:write": True})
claims("scope-list-mixed", scope=[7, None, {"a": ["documents:read"]}, ["documents:write"], "documents:write"])
claims("scope-empty", scope="")
claims("scope-unknown", scope="everything")
claims("scp-list", scp=["documents:write"])
claims("scp-text", scp="documents:read documents:write")
claims("scope-and-scp", scope="documents:read", scp=["documents:write"])
claims("scope-null", scope=None)
all["scope-escaped"] = token(HEADER, text(GOOD | {"scope": "a https://x/write"}).replace("x/write", "x\\/write"))
claims("roles-spaces", roles="editor admin")
claims("roles-of-one-name", roles=["the editor", "auditor"])

# Refused for the header
all["alg-none"] = b64(text(HEADER | {"alg": "none"}).encode()) + "." + b64(text(GOOD).encode()) + "."
header("alg-none-signed", alg="none")
header("alg-lower", alg="rs256")
header("alg-missing", without=["alg"])
header("alg-number", alg=256)
all["alg-rs384"] = token(HEADER | {"alg": "RS384"}, GOOD, digest=hashes.SHA384())
all["alg-ps256"] = token(HEADER | {"alg": "PS256"}, GOOD)
# The oldest trick: the public key, which everybody knows, as the secret of an HMAC (RFC 8725 section 2.1).
pem = A.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
signed = b64(text(HEADER | {"alg": "HS256"}).encode()) + "." + b64(text(GOOD).encode())
all["alg-hs256"] = signed + "." + b64(hmac.digest(pem, signed.encode(), hashlib.sha256))
header("crit", crit=["exp"], exp=1)
header("crit-empty", crit=[])
header("jwk", jwk={"kty": "RSA", "n": B_N, "e": "AQAB"})
header("jku", jku="https://evil.example/jwks")
header("x5u", x5u="https://evil.example/crt")
header("x5c", x5c=["AAAA"])
header("kid-unknown", kid="nobody")
header("kid-number", kid=1)
header("typ-number", typ=1)
all["header-duplicate"] = token('{"alg":"RS256","kid":"a","kid":"b"}', GOOD)
all["header-duplicate-escaped"] = token('{"alg":"RS256","\\u0061lg":"none","kid":"a"}', GOOD)
all["header-duplicate-deep"] = token('{"alg":"RS256","kid":"a","x":{"y":1,"y":2}}', GOOD)
all["header-array"] = token('["alg","RS256"]', GOOD)
all["header-trailing"] = token('{"alg":"RS256","kid":"a"}{}', GOOD)
all["header-cut"] = token('{"alg":"RS256","kid":"a"', GOOD)

# Refused for the claims
claims("iss-wrong", iss="https://auth.example.com/")
claims("iss-missing", without=["iss"])
claims("iss-list", iss=["https://auth.example.com"])
claims("aud-wrong", aud="other")
claims("aud-list-wrong", aud=["other", "platform-api2"])
claims("aud-list-empty", aud=[])
claims("aud-missing", without=["aud"])
claims("aud-number", aud=1)
claims("aud-list-number", aud=["platform-api", 1])
claims("exp-missing", without=["exp"])
claims("exp-text", exp="1700000900")
claims("exp-null", exp=None)
claims("exp-negative", exp=-1700000900)
claims("exp-past", exp=1699990000)
claims("nbf-future", nbf=1700009000)
claims("iat-future", iat=1700009000)
claims("nbf-text", nbf="1")
claims("sub-number", sub=1)
claims("sub-null", sub=None)
claims("sub-empty", sub="")
claims("sub-long", sub="s" * 256)
claims("sub-newline", sub="a\nX-Admin: 1")
claims("sub-delete", sub="a\x7f")
claims("sub-zero", sub="a\0")
claims("sub-space-first", sub=" admin")
claims("sub-space-last", sub="admin ")
claims("roles-object", roles={"editor": True})
claims("roles-nested", roles=[["editor"]])
claims("roles-comma", roles=["editor,admin"])
claims("roles-blank", roles=["editor", ""])
claims("roles-null-inside", roles=["editor", None])
claims("roles-control", roles=["editor\r\nX: y"])
claims("roles-long", roles="r" * 1025)
all["claims-duplicate"] = token(HEADER, text(GOOD)[:-1] + ',"sub":"user-9"}')
all["claims-duplicate-escaped"] = token(HEADER, text(GOOD)[:-1] + ',"\\u0073ub":"user-9"}')
all["claims-duplicate-deep"] = token(HEADER, text(GOOD)[:-1] + ',"x":[{"y":{"z":1,"z":2}}]}')
all["claims-array"] = token(HEADER, "[]")
all["claims-text"] = token(HEADER, '"claims"')
all["claims-trailing"] = token(HEADER, text(GOOD) + "{}")
all["claims-deep"] = token(HEADER, text(GOOD)[:-1] + ',"x":' + "[" * 100 + "]" * 100 + "}")
all["claims-lone-surrogate"] = token(HEADER, text(GOOD)[:-1] + ',"x":"\\ud800"}')

# Refused for the signature
all["signed-by-other"] = token(HEADER, GOOD, key=B)
all["signed-sha512"] = token(HEADER, GOOD, digest=hashes.SHA512())
parts = all["good"].split(".")
all["payload-swapped"] = ".".join([parts[0], all["another"].split(".")[1], parts[2]])
all["signature-short"] = ".".join([parts[0], parts[1], parts[2][:-2]])
all["signature-zero"] = ".".join([parts[0], parts[1], "A" * 342])
lines = "".join(f"{name}\t{value}\n" for name, value in all.items())
(here / "tokens.txt").write_text(lines)


def jwk(n, kid=None, **more):
    return ({"kty": "RSA", "kid": kid} if kid else {"kty": "RSA"}) | {"use": "sig", "alg": "RS256", "n": n, "e": "AQAB"} | more


(here / "a.json").write_text(json.dumps({"keys": [jwk(A_N, "a")]}, indent=1) + "\n")
(here / "a-and-b.json").write_text(json.dumps({"keys": [
    {"kty": "EC", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"},
    jwk(A_N, "a"), jwk(B_N, "b"), jwk(B_N, "encryption", use="enc"), jwk(B_N, "other", alg="RS512"),
]}, indent=1) + "\n")
(here / "b.json").write_text(json.dumps({"keys": [jwk(B_N, "b")]}, indent=1) + "\n")
(here / "a.pem").write_bytes(pem)
