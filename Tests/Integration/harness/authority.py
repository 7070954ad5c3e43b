"""A certificate authority of a test's own, for services that the gateway speaks TLS with."""

import ssl

from .tokens import _openssl


class Authority:
    """Issues certificates, good ones and others; the files lie in `folder`."""

    def __init__(self, folder, name="service-ca"):
        self.folder = folder
        self.cert = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", f"/CN={name}", "-keyout", str(self.key), "-out", str(self.cert))

    def issue(self, name, names, days=2, rsa=False, usage=None):
        """A certificate for the subject alternative names of `names`, with the common name `name`: its two files. Below
        zero days it has expired."""
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        kind = ("rsa:2048",) if rsa else ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        _openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extensions.write_text((f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n")
                              + (f"extendedKeyUsage={usage}\n" if usage else ""))
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.cert), "-CAkey", str(self.key),
                 "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(cert))
        return cert, key

    def server(self, pair, *protocols, clients=None, version=None):
        """What a service needs to show `pair`; `clients` is the authority whose certificates it asks for."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*map(str, pair))
        if protocols:
            made.set_alpn_protocols(list(protocols))
        if clients is not None:
            made.load_verify_locations(str(clients.cert))
            made.verify_mode = ssl.CERT_REQUIRED
        if version is not None:
            made.minimum_version = made.maximum_version = version
        return made
