"""What joserfc says of tokens. A program of its own: joserfc wants a newer `cryptography` than Debian's, which the tests have.

Standard input: one JSON object with the rules and the keys, then a token a line. Output: `yes`, or `no` and why, a line each."""

import json
import sys
import warnings

from joserfc import jwk, jws, jwt

warnings.simplefilter("ignore")

rules = json.loads(sys.stdin.readline())
keys = {each["kid"]: jwk.import_key(each) for each in rules["keys"] if each["kid"] in rules["algorithms"]}
# Members of a header that joserfc does not know are no reason to refuse: they are none for the gateway (RFC 7515 §4).
registry = jws.JWSRegistry(algorithms=sorted(set(sum(rules["algorithms"].values(), []))), strict_check_header=False)
# How long a token may be is the gateway's own rule.
registry.max_header_length = registry.max_payload_length = registry.max_signature_length = 1 << 20
claims = jwt.JWTClaimsRegistry(
    leeway=rules["leeway"], iss={"essential": True, "value": rules["issuer"]},
    aud={"essential": True, "values": rules["audience"]}, sub={"essential": True, "allow_blank": True},
    exp={"essential": True})


def key_of(signed):
    """The key that the token names, if it may be used with the algorithm that it names."""
    header = signed.headers()
    if header["alg"] not in rules["algorithms"][header["kid"]]:
        raise ValueError("another key's algorithm")
    return keys[header["kid"]]


for line in sys.stdin:
    try:
        claims.validate(jwt.decode(line.rstrip("\n"), key_of, registry=registry).claims)
    except Exception as error:  # Whatever it is, it is no yes.
        print("no", type(error).__name__, ascii(str(error)))
    else:
        print("yes")
