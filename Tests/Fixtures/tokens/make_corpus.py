#!/usr/bin/env python3
"""Makes corpus.txt and corpus.json: tokens of every algorithm, good ones and what is made of them, each with the verdict
that the RFCs and the configuration's rules ask for. Signed by Python's `cryptography`, which shares nothing with the
gateway's JOSE; what the verdict should be is written down here, and never taken from the gateway.

Each line is a name, the settings it is asked under (see CorpusTests.swift and test_token_corpus.py), the expected reason
or `accepted`, and the token, parted by tabs. Signatures of PS256 and ES256 are random: a line whose header and claims did
not change keeps the signature that it has.
"""
import base64
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from keys import A, A_N, B, B_N, EC, ED, b64

here = pathlib.Path(__file__).parent
NOW = 1_700_000_100
GOOD = {"iss": "https://auth.example.com", "sub": "user-1", "aud": "platform-api", "iat": 1700000000,
        "exp": 1700000900, "roles": ["editor", "admin"]}
RSA_DIGESTS = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}
KIDS = {"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "pss", "ES256": "ec", "EdDSA": "ed"}
ALGORITHMS = list(KIDS)
N = int("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551", 16)  # the order of P-256


def text(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def raw_signature(data, algorithm, key=None, salt=32):
    if algorithm in RSA_DIGESTS:
        return (key or A).sign(data, padding.PKCS1v15(), RSA_DIGESTS[algorithm])
    if algorithm == "PS256":
        return (key or B).sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    if algorithm == "ES256":
        r, s = decode_dss_signature((key or EC).sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return (key or ED).sign(data)


known = {}
if (here / "corpus.txt").exists():
    for line in (here / "corpus.txt").read_text().splitlines():
        name, _, _, token = line.split("\t")
        known[name] = token
lines, names = [], set()


def add(name, expected, token, settings="all"):
    if name in names:
        raise SystemExit(f"two cases are called {name}")
    names.add(name)
    if isinstance(token, tuple):
        signed, signature = token
        old = known.get(name, "")
        if old.rpartition(".")[0] == signed and len(old) == len(signed) + 1 + len(b64(signature)):
            token = old
        else:
            token = f"{signed}.{b64(signature)}"
    lines.append(f"{name}\t{settings}\t{expected}\t{token}\n")


def made(header, claims, algorithm="RS256", key=None, **more):
    """What is signed, and the signature."""
    signed = b64(text(header).encode()) + "." + b64(text(claims).encode())
    return signed, raw_signature(signed.encode(), algorithm, key, **more)


def head(algorithm="RS256", without=(), **changes):
    whole = {"alg": algorithm, "typ": "JWT", "kid": KIDS.get(algorithm, "rsa")} | changes
    return {k: v for k, v in whole.items() if k not in without}


def body(without=(), **changes):
    return {k: v for k, v in (GOOD | changes).items() if k not in without}


def flipped(signature, at):
    changed = bytearray(signature)
    changed[at] ^= 1
    return bytes(changed)


# Each algorithm: the good token, and what is made of it.
kept = {}
for algorithm in ALGORITHMS:
    name = algorithm.lower()
    claims = body(sub=f"user-{name}")
    add(f"{name}-good", "accepted", made(head(algorithm), claims, algorithm))
    # The signature that the file has, also where it is an older one.
    signed, _, tail = lines[-1].rstrip("\n").split("\t")[3].rpartition(".")
    signature = base64.urlsafe_b64decode(tail + "=" * (-len(tail) % 4))
    kept[algorithm] = (signed, signature)

    def variant(what, expected, changed, start=signed):
        add(f"{name}-{what}", expected, f"{start}.{b64(changed) if isinstance(changed, bytes) else changed}")

    variant("first-bit", "token_bad_signature", flipped(signature, 0))
    variant("middle-bit", "token_bad_signature", flipped(signature, len(signature) // 2))
    variant("last-bit", "token_bad_signature", flipped(signature, -1))
    variant("cut", "token_bad_signature", signature[:-1])
    variant("half", "token_bad_signature", signature[: len(signature) // 2])
    variant("longer", "token_bad_signature", signature + b"\0")
    variant("zero-in-front", "token_bad_signature", b"\0" + signature)
    variant("zeros", "token_bad_signature", bytes(len(signature)))
    variant("ones", "token_bad_signature", b"\xff" * len(signature))
    variant("empty", "token_malformed", b"")
    variant("padded", "token_malformed", b64(signature) + "=")
    variant("other-spelling", "token_malformed", b64(signature)[:-1] + chr(ord(b64(signature)[-1]) + 1))
    variant("claims-swapped", "token_bad_signature", signature,
            signed.split(".")[0] + "." + b64(text(body(sub="root")).encode()))
    variant("no-kid", "token_key_not_named", signature,
            b64(text(head(algorithm, without=["kid"])).encode()) + "." + signed.split(".")[1])
    variant("unknown-kid", "token_unknown_key", signature,
            b64(text(head(algorithm, kid="nobody")).encode()) + "." + signed.split(".")[1])
    add(f"{name}-expired", "token_expired", made(head(algorithm), body(exp=1700000000), algorithm))
    add(f"{name}-only-rs256", "accepted" if algorithm == "RS256" else "token_algorithm_not_allowed",
        f"{signed}.{b64(signature)}", "rs256")
    add(f"{name}-only-curves", "accepted" if algorithm in ("ES256", "EdDSA") else "token_algorithm_not_allowed",
        f"{signed}.{b64(signature)}", "curves")
    # The token says another algorithm than its key is for: the key decides (RFC 8725 section 3.1).
    for other in ALGORITHMS:
        if other == algorithm:
            continue
        # `rsa` names no algorithm of its own and takes them all, `pss` says that it is for PS256.
        is_kind = KIDS[algorithm] == "rsa" and other in (*RSA_DIGESTS, "PS256")
        variant(f"says-{other.lower()}", "token_bad_signature" if is_kind else "token_key_not_for_algorithm", signature,
                b64(text(head(other, kid=KIDS[algorithm])).encode()) + "." + signed.split(".")[1])

# What only one kind of signature can get wrong.
add("rs256-signed-by-another", "token_bad_signature", made(head(), GOOD, key=B))
add("ps256-no-salt", "token_bad_signature", made(head("PS256"), GOOD, "PS256", salt=0))
add("ps256-long-salt", "token_bad_signature", made(head("PS256"), GOOD, "PS256", salt=64))
signed, _ = made(head("PS256"), GOOD, "RS256")
add("ps256-pkcs1", "token_bad_signature", (signed, B.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())))
signed, _ = made(head(kid="pss"), GOOD)
add("rs256-with-a-key-for-ps256", "token_key_not_for_algorithm",
    (signed, B.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())))
signed, signature = kept["ES256"]
r, s = signature[:32], signature[32:]
add("es256-halves-swapped", "token_bad_signature", f"{signed}.{b64(s + r)}")
add("es256-r-zero", "token_bad_signature", f"{signed}.{b64(bytes(32) + s)}")
add("es256-s-zero", "token_bad_signature", f"{signed}.{b64(r + bytes(32))}")
add("es256-r-order", "token_bad_signature", f"{signed}.{b64(N.to_bytes(32, 'big') + s)}")
add("es256-s-order", "token_bad_signature", f"{signed}.{b64(r + N.to_bytes(32, 'big'))}")
# RFC 7518 section 3.4 does not ask for the smaller of the two values of S: both are signatures.
add("es256-other-s", "accepted", f"{signed}.{b64(r + (N - int.from_bytes(s, 'big')).to_bytes(32, 'big'))}")
der = EC.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
while len(der) == 64:
    der = EC.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
add("es256-der", "token_bad_signature", known.get("es256-der") or f"{signed}.{b64(der)}")
signed, signature = kept["EdDSA"]
L = 2**252 + 27742317777372353535851937790883648493
more = int.from_bytes(signature[32:], "little") + L
# RFC 8032 section 5.1.7: S must be below the order of the group, or one signature has several spellings.
add("eddsa-s-plus-order", "token_bad_signature", f"{signed}.{b64(signature[:32] + more.to_bytes(32, 'little'))}")

# `alg` that is none of ours, whatever is behind it.
signed, signature = kept["RS256"]
for alg in ("none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "PS384", "PS512", "ES384", "ES512", "ES256K",
            "Ed25519", "Ed448", "rs256", "RS256 ", "RS1", "RSA-OAEP", "dir", ""):
    start = b64(text(head(alg, kid="rsa")).encode()) + "." + b64(text(GOOD).encode())
    add(f"alg-{alg.strip().lower() or 'empty'}{'-space' if alg.endswith(' ') else ''}{'-' + alg if alg in ('None', 'NONE', 'nOnE') else ''}"
        if alg not in ("rs256",) else "alg-small-letters", "token_algorithm_not_allowed", f"{start}.{b64(signature)}")
none = b64(text({"alg": "none"}).encode()) + "." + b64(text(GOOD).encode())
add("alg-none-unsigned", "token_algorithm_not_allowed", none + ".")

# The header.
for member in ("jwk", "jku", "x5u", "x5c"):
    value = {"jwk": {"kty": "RSA", "n": B_N, "e": "AQAB"}, "x5c": ["AAAA"]}.get(member, "https://evil.example/")
    add(f"header-{member}", "token_embedded_key", made(head(**{member: value}), GOOD))
    add(f"header-{member}-null", "token_embedded_key", made(head(**{member: None}), GOOD))
add("header-crit", "token_critical_header", made(head(crit=["exp"]), GOOD))
add("header-crit-b64", "token_critical_header", made(head(crit=["b64"], b64=False), GOOD))
add("header-crit-empty", "token_critical_header", made(head(crit=[]), GOOD))
add("header-no-alg", "token_malformed", made(head(without=["alg"]), GOOD))
add("header-alg-null", "token_malformed", made(head(alg=None), GOOD))
add("header-alg-list", "token_malformed", made(head(alg=["RS256"]), GOOD))
add("header-kid-number", "token_malformed", made(head(kid=7), GOOD))
add("header-kid-null", "token_malformed", made(head(kid=None), GOOD))
add("header-kid-long", "token_unknown_key", made(head(kid="k" * 300), GOOD))
add("header-kid-path", "token_unknown_key", made(head(kid="../../dev/null"), GOOD))
add("header-kid-escaped", "accepted", made('{"alg":"RS256","kid":"\\u0072sa"}', GOOD))
add("header-alg-twice", "token_malformed", made('{"alg":"none","alg":"RS256","kid":"rsa"}', GOOD))
add("header-kid-twice", "token_malformed", made('{"alg":"RS256","kid":"rsa","kid":"ec"}', GOOD))
add("header-twice-escaped", "token_malformed", made('{"alg":"RS256","\\u0061lg":"RS256","kid":"rsa"}', GOOD))
add("header-twice-deep", "token_malformed", made('{"alg":"RS256","kid":"rsa","x":{"a":1,"a":1}}', GOOD))
add("header-deep", "token_malformed", made('{"alg":"RS256","kid":"rsa","x":' + "[" * 20 + "]" * 20 + "}", GOOD))
add("header-array", "token_malformed", made('["RS256"]', GOOD))
add("header-text", "token_malformed", made('"RS256"', GOOD))
add("header-null", "token_malformed", made("null", GOOD))
add("header-trailing", "token_malformed", made(text(head()) + "{}", GOOD))
add("header-trailing-zero", "token_malformed", made(text(head()) + "\0", GOOD))
add("header-comma", "token_malformed", made(text(head())[:-1] + ",}", GOOD))
add("header-single-quotes", "token_malformed", made(text(head()).replace('"', "'"), GOOD))
add("header-byte-order-mark", "token_malformed", made("\ufeff" + text(head()), GOOD))
add("header-nan", "token_malformed", made('{"alg":"RS256","kid":"rsa","x":NaN}', GOOD))
add("header-many-members", "token_malformed",
    made(text(head())[:-1] + "".join(f',"m{i}":1' for i in range(200)) + "}", GOOD))
add("header-white-space", "accepted", made(json.dumps(head(), indent=2), GOOD))
add("header-unknown-members", "accepted", made(head(x5t="dGVzdA", cty="x", zip="DEF"), GOOD))
# RFC 7797 §6: who says `b64` has to say it in `crit` too.
add("header-b64-alone", "token_critical_header", made(head(b64=True), GOOD))

# The type.
for typ, verdict in {"at+jwt": "accepted", "AT+JWT": "accepted", "application/at+jwt": "accepted",
                     "JWT": "token_wrong_type", "at+jwt ": "token_wrong_type", "application/jwt": "token_wrong_type",
                     "": "token_wrong_type", "at": "token_wrong_type", "dpop+jwt": "token_wrong_type"}.items():
    where = "-".join(typ.split()) + ("-space" if typ.endswith(" ") else "") or "empty"
    add(f"typ-{where}", verdict, made(head(typ=typ), GOOD), "at")
add("typ-missing", "token_wrong_type", made(head(without=["typ"]), GOOD), "at")
add("typ-solidus-escaped", "accepted", made('{"alg":"RS256","kid":"rsa","typ":"application\\/at+jwt"}', GOOD), "at")
add("typ-any", "accepted", made(head(typ="whatever"), GOOD))
add("typ-number", "token_malformed", made(head(typ=1), GOOD))

# Registered claims.
for name, verdict, change in [
    ("iss-other", "token_wrong_issuer", {"iss": "https://evil.example"}),
    ("iss-slash", "token_wrong_issuer", {"iss": "https://auth.example.com/"}),
    ("iss-capital", "token_wrong_issuer", {"iss": "https://Auth.example.com"}),
    ("iss-prefix", "token_wrong_issuer", {"iss": "https://auth.example.co"}),
    ("iss-empty", "token_wrong_issuer", {"iss": ""}),
    ("iss-list", "token_malformed_claims", {"iss": ["https://auth.example.com"]}),
    ("iss-null", "token_malformed_claims", {"iss": None}),
    ("aud-list", "accepted", {"aud": ["x", "platform-api"]}),
    ("aud-second-of-ours", "accepted", {"aud": "other-api"}),
    ("aud-other", "token_wrong_audience", {"aud": "platform"}),
    ("aud-longer", "token_wrong_audience", {"aud": "platform-api2"}),
    ("aud-capital", "token_wrong_audience", {"aud": "Platform-API"}),
    ("aud-list-other", "token_wrong_audience", {"aud": ["a", "b"]}),
    ("aud-list-empty", "token_wrong_audience", {"aud": []}),
    ("aud-empty", "token_wrong_audience", {"aud": ""}),
    ("aud-object", "token_malformed_claims", {"aud": {"platform-api": 1}}),
    ("aud-list-number", "token_malformed_claims", {"aud": ["platform-api", 1]}),
    ("aud-list-list", "token_malformed_claims", {"aud": [["platform-api"]]}),
    ("aud-null", "token_malformed_claims", {"aud": None}),
    ("sub-number", "token_malformed_claims", {"sub": 1}),
    ("sub-null", "token_malformed_claims", {"sub": None}),
    ("jti-number", "token_malformed_claims", {"jti": 1}),
    ("jti-null", "token_malformed_claims", {"jti": None}),
    ("sub-empty", "token_claim_not_forwardable", {"sub": ""}),
    ("sub-line-break", "token_claim_not_forwardable", {"sub": "a\r\nX-Admin: 1"}),
    ("sub-zero", "token_claim_not_forwardable", {"sub": "a\0b"}),
    ("sub-tab", "token_claim_not_forwardable", {"sub": "a\tb"}),
    ("sub-delete", "token_claim_not_forwardable", {"sub": "a\x7f"}),
    ("sub-long", "token_claim_not_forwardable", {"sub": "s" * 256}),
    ("sub-longest", "accepted", {"sub": "s" * 255}),
    ("sub-unicode", "accepted", {"sub": "J\u00fcrgen"}),
    ("exp-now", "accepted", {"exp": NOW}),
    ("exp-leeway", "accepted", {"exp": NOW - 29}),
    ("exp-leeway-over", "token_expired", {"exp": NOW - 30}),
    ("exp-zero", "token_expired", {"exp": 0}),
    ("exp-negative", "token_expired", {"exp": -1}),
    ("exp-fraction", "accepted", {"exp": NOW + 0.5}),
    ("exp-text", "token_malformed_claims", {"exp": "1700000900"}),
    ("exp-true", "token_malformed_claims", {"exp": True}),
    ("exp-list", "token_malformed_claims", {"exp": [1700000900]}),
    ("exp-null", "token_malformed_claims", {"exp": None}),
    ("nbf-now", "accepted", {"nbf": NOW}),
    ("nbf-leeway", "accepted", {"nbf": NOW + 30}),
    ("nbf-leeway-over", "token_not_yet_valid", {"nbf": NOW + 31}),
    ("nbf-text", "token_malformed_claims", {"nbf": "0"}),
    ("iat-leeway", "accepted", {"iat": NOW + 30}),
    ("iat-future", "token_not_yet_valid", {"iat": NOW + 31}),
    ("iat-text", "token_malformed_claims", {"iat": "now"}),
    ("roles-control", "token_claim_not_forwardable", {"roles": ["a\nb"]}),
    ("roles-comma", "token_claim_not_forwardable", {"roles": ["a,b"]}),
    ("roles-object", "token_claim_not_forwardable", {"roles": {"a": 1}}),
    ("roles-null-inside", "token_claim_not_forwardable", {"roles": [None]}),
    ("roles-long", "token_claim_not_forwardable", {"roles": "r" * 1025}),
    ("roles-text", "accepted", {"roles": "admin"}),
    ("roles-empty", "accepted", {"roles": []}),
]:
    add(f"claim-{name}", verdict, made(head(), body(**change)))
for claim in ("iss", "aud", "exp", "sub"):
    add(f"claim-{claim}-missing", "token_missing_claim", made(head(), body(without=[claim])))
for name, verdict, digits in [
    ("exponent", "accepted", "17000009e2"), ("huge", "accepted", "1e300"), ("infinite", "token_malformed_claims", "1e400"),
    ("infinite-digits", "token_malformed_claims", "9" * 400), ("infinite-negative", "token_malformed_claims", "-1e999999999"),
    ("tiny", "token_expired", "1e-400"), ("nan", "token_malformed_claims", "NaN"),
    ("infinity", "token_malformed_claims", "Infinity"), ("hexadecimal", "token_malformed_claims", "0x7fffffff"),
    ("leading-zero", "token_malformed_claims", "01700000900"), ("plus", "token_malformed_claims", "+1700000900"),
    ("point-last", "token_malformed_claims", "1700000900."),
]:
    add(f"number-{name}", verdict, made(head(), text(GOOD).replace("1700000900", digits)))
inside = text(GOOD)[:-1]
for name, verdict, claims in [
    ("twice", "token_malformed_claims", inside + ',"sub":"root"}'),
    ("twice-escaped", "token_malformed_claims", inside + ',"\\u0073ub":"root"}'),
    ("twice-deep", "token_malformed_claims", inside + ',"x":{"a":1,"a":2}}'),
    ("deep", "token_malformed_claims", inside + ',"x":' + "[" * 200 + "]" * 200 + "}"),
    ("many-members", "token_malformed_claims", inside + "".join(f',"m{i}":1' for i in range(200)) + "}"),
    ("trailing", "token_malformed_claims", inside + "}{}"), ("trailing-text", "token_malformed_claims", inside + "} x"),
    ("cut", "token_malformed_claims", inside), ("array", "token_malformed_claims", "[]"),
    ("number", "token_malformed_claims", "1"), ("null", "token_malformed_claims", "null"),
    ("comma", "token_malformed_claims", inside + ",}"), ("comment", "token_malformed_claims", inside + "/**/}"),
    ("half-surrogate", "token_malformed_claims", inside + ',"x":"\\ud800"}'),
    ("raw-control", "token_malformed_claims", inside + ',"x":"a\nb"}'),
    ("empty", "token_missing_claim", "{}"), ("white-space", "accepted", json.dumps(GOOD, indent=3) + "\n"),
    ("escaped-names", "accepted", text(GOOD).replace('"aud"', '"\\u0061ud"')),
]:
    add(f"claims-{name}", verdict, made(head(), claims))
signed = b64(text(head()).encode()) + "." + b64(inside.encode() + b',"x":"\xff"}')
add("claims-not-utf-8", "token_malformed_claims", (signed, raw_signature(signed.encode(), "RS256")))

# The form of the whole.
good = ".".join([kept["RS256"][0], b64(kept["RS256"][1])])
first, second, third = good.split(".")
for name, verdict, token in [
    ("two-parts", "token_malformed", f"{first}.{second}"), ("one-part", "token_malformed", first),
    ("four-parts", "token_malformed", good + ".e30"), ("dot-last", "token_malformed", good + "."),
    ("dot-first", "token_malformed", "." + good), ("no-header", "token_malformed", f".{second}.{third}"),
    ("no-claims", "token_malformed", f"{first}..{third}"), ("dots", "token_malformed", ".."),
    ("standard-base64", "token_malformed", f"{first}.{second}.{third[:-2]}+/"),
    ("header-padded", "token_malformed", f"{first}=.{second}.{third}"),
    ("claims-padded", "token_malformed", f"{first}.{second}==.{third}"),
    ("space-inside", "token_malformed", f"{first}.{second[:9]} {second[9:]}.{third}"),
    ("percent", "token_malformed", good.replace(".", "%2E", 1)),
    ("json-form", "token_malformed", '{"payload":"%s","protected":"%s","signature":"%s"}' % (second, first, third)),
    ("length-of-one-more", "token_malformed", f"{first}.{second}A.{third}" if len(second) % 4 == 0 else f"{first}.{second[: len(second) // 4 * 4 + 1]}.{third}"),
    ("quoted", "token_malformed", f'"{good}"'), ("encrypted", "token_malformed", f"{good}.e30.e30"),
]:
    add(f"form-{name}", verdict, token)
add("form-too-long", "token_too_long", made(head(), body(padding="x" * 4000)))
add("form-longest", "accepted", made(head(), body(padding="x" * 1500)))

(here / "corpus.txt").write_text("".join(lines))
if len(lines) < 200:
    raise SystemExit(f"only {len(lines)} cases")


def jwk_rsa(n, kid, **more):
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": "AQAB"} | more


point = EC.public_key().public_numbers()
ed = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
(here / "corpus.json").write_text(json.dumps({"keys": [
    jwk_rsa(A_N, "rsa"), jwk_rsa(B_N, "pss", alg="PS256", key_ops=["verify"]),
    {"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "x": b64(point.x.to_bytes(32, "big")),
     "y": b64(point.y.to_bytes(32, "big"))},
    {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "use": "sig", "x": b64(ed)},
    {"kty": "oct", "kid": "secret", "k": "AAAA"}, {"kty": "EC", "kid": "p384", "crv": "P-384", "x": "AA", "y": "AA"},
]}, indent=1) + "\n")
for name, key in {"a": A, "ec": EC, "ed": ED}.items():
    (here / f"{name}.pem").write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
print(f"{len(lines)} cases")
