"""Keys and tokens by the openssl command: other code than the gateway verifies them with."""

import base64
import json
import subprocess
import time


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments, data=None):
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(f"openssl {arguments}: {done.stderr.decode()}")
    return done.stdout


class Key:
    """An RSA key pair with its kid."""

    def __init__(self, folder, kid, bits=2048):
        self.kid = kid
        self.file = folder / f"{kid}.pem"
        _openssl("genrsa", "-out", str(self.file), str(bits))
        self.public_pem = _openssl("rsa", "-in", str(self.file), "-pubout")
        modulus = _openssl("rsa", "-in", str(self.file), "-noout", "-modulus").decode().strip().split("=")[1]
        self.modulus = bytes.fromhex(modulus)

    def jwk(self):
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": base64url(self.modulus),
                "e": "AQAB"}

    def sign(self, data):
        return _openssl("dgst", "-sha256", "-sign", str(self.file), data=data)

    def token(self, header=None, raw_claims=None, **claims):
        """A token that the tests' configuration accepts, changed as asked; a claim of `None` is left out."""
        now = int(time.time())
        body = {"iss": "https://auth.test", "aud": "platform-api", "sub": "user-1", "iat": now, "exp": now + 900}
        body.update(claims)
        body = {name: value for name, value in body.items() if value is not None}
        head = {"alg": "RS256", "typ": "JWT", "kid": self.kid} if header is None else header
        text = raw_claims if raw_claims is not None else json.dumps(body).encode()
        head_text = head if isinstance(head, bytes) else json.dumps(head).encode()
        signed = f"{base64url(head_text)}.{base64url(text)}"
        return f"{signed}.{base64url(self.sign(signed.encode()))}"


def key_set(*keys):
    return json.dumps({"keys": [key.jwk() for key in keys]})


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def bearer2(token):
    return [("authorization", f"Bearer {token}")]


class Certificate:
    """A certificate authority and a certificate of it for localhost."""

    def __init__(self, folder):
        self.ca = folder / "ca.crt"
        self.cert = folder / "edge.crt"
        self.key = folder / "edge.key"
        ca_key, request, extensions = folder / "ca.key", folder / "edge.csr", folder / "edge.ext"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", "/CN=Gatehouse tests", "-keyout", str(ca_key), "-out", str(self.ca))
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                 "-keyout", str(self.key), "-out", str(request))
        extensions.write_text("subjectAltName=DNS:localhost,DNS:*.gate.test,IP:127.0.0.1\n")
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(ca_key), "-CAcreateserial",
                 "-days", "2", "-extfile", str(extensions), "-out", str(self.cert))

    def settings(self):
        return {"certificates": [{"cert": str(self.cert), "key": str(self.key)}]}

    def client(self, *protocols, version=None):
        """What a client needs to trust the gateway; `version` pins one TLS version."""
        import ssl
        made = ssl.create_default_context(cafile=str(self.ca))
        made.set_alpn_protocols(list(protocols))
        if version is not None:
            made.minimum_version = made.maximum_version = version
        return made
