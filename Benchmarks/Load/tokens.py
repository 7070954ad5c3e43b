"""Tokens of RS256, 785 bytes each: a few, ten thousand, as many as there are requests, and one with a bad signature.

Signing takes a millisecond, so they are kept in the scratch folder, with their key, until they have little time left."""

import base64
import json
import pathlib
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE = "https://auth.test", "platform-api"
LENGTH = 785
LIFE_SECONDS, LEAST_SECONDS = 86_400, 3 * 3600
FEW, MANY = 4, 10_000


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value):
    return b64(json.dumps(value, separators=(",", ":")).encode())


class Tokens:
    def __init__(self, scratch):
        self.folder = pathlib.Path(scratch) / "tokens"
        self.folder.mkdir(parents=True, exist_ok=True)
        age = self.folder / "made"
        if not age.exists() or time.time() - float(age.read_text()) > LIFE_SECONDS - LEAST_SECONDS:
            for file in self.folder.iterdir():
                file.unlink()
            key = rsa.generate_private_key(65537, 2048)
            (self.folder / "key.pem").write_bytes(key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            age.write_text(str(time.time()))
        self.key = serialization.load_pem_private_key((self.folder / "key.pem").read_bytes(), None)
        self.made = int(float(age.read_text()))
        public = self.key.public_key()
        self.public_pem = public.public_bytes(serialization.Encoding.PEM,
                                              serialization.PublicFormat.SubjectPublicKeyInfo)
        numbers = public.public_numbers()
        self.key_set = json.dumps({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "main", "n": b64(numbers.n.to_bytes(256, "big")),
            "e": b64(numbers.e.to_bytes(3, "big"))}]})

    def token(self, number, good=True):
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{number:06}", "iat": self.made,
                  "exp": self.made + LIFE_SECONDS, "roles": ["editor", "admin"],
                  "scope": "documents:read documents:write", "jti": ""}
        head = compact({"alg": "RS256", "typ": "JWT", "kid": "main"})
        # What is missing to the length, in the claim that names the token.
        room = (LENGTH - len(head) - 2 - 342) * 3 // 4 - len(json.dumps(claims, separators=(",", ":")))
        claims["jti"] = f"{number:0{room}}"
        signed = f"{head}.{compact(claims)}"
        signature = bytearray(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))
        if not good:
            signature[128] ^= 1
        token = f"{signed}.{b64(bytes(signature))}"
        if len(token) != LENGTH:
            raise SystemExit(f"a token of {len(token)} bytes")
        return token

    def file(self, kind, count=0):
        """A file with a token a line: `few`, `many`, `new` (so many of them, none like the `many`), `bad`."""
        count = {"few": FEW, "many": MANY, "bad": 1}.get(kind, count)
        first = 1_000_000 if kind == "new" else 0
        path = self.folder / f"{kind}.txt"
        held = path.read_text().split() if path.exists() else []
        # Two runs that began at once may have left tokens of one and the key of the other.
        if held and held[0] != self.token(first, good=kind != "bad"):
            held = []
        if len(held) < count:
            print(f"  signing {count - len(held)} tokens", file=sys.stderr)
            held += [self.token(first + number, good=kind != "bad") for number in range(len(held), count)]
            path.write_text("\n".join(held) + "\n")
        return path
