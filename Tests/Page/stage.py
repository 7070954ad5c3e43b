"""The gateway before the reference services, from conf/gatehouse.yaml as it is, but for its addresses."""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess

from harness.authority import Authority
from harness.bound import Lines
from harness.gateway import Gateway

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SERVICES = os.environ.get("GATEHOUSE_SERVICES", str(ROOT / ".build/debug/gatehouse-services"))
NAMES = {"auth": 9001, "core": 9002, "worker": 9003, "search": 9004}


def _json(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


class Services:
    """`gatehouse-services all` on free ports, its stores in `folder`."""

    def __init__(self, folder):
        ports = [text for name in ("bus", *NAMES) for text in (f"--{name}-port", "0")]
        self._log = open(folder / "services.err", "wb")
        self.process = subprocess.Popen(
            [SERVICES, "all", "--data", str(folder / "data"), "--issuer", "https://auth.example.com",
             # The receiver of webhooks is on this machine.
             "--allow-private-webhooks", *ports],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log)
        self._lines = Lines(self.process.stdout, _json)
        self.ports = {
            name: self._lines.wait(lambda line, name=name: line.get("service") == name, f"{name} listens")["port"]
            for name in NAMES}

    def close(self):
        self.process.terminate()
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._lines.finish()
            self.process.stdout.close()
            self._log.close()
        assert status == 0, f"the services ended with {status}"


class Stage:
    """Both, and what a browser needs to know of them."""

    def __init__(self, folder):
        tls = folder / "tls"
        tls.mkdir()
        cert, _ = Authority(tls).issue("api", "DNS:localhost,IP:127.0.0.1")
        self.services = Services(folder)
        try:
            self.gateway = Gateway(folder, self._configuration(), listeners=["https", "http", "admin"])
        except BaseException:
            self.services.close()
            raise
        self.origin = f"https://localhost:{self.gateway.address('https')[1]}"
        self.pin = self._pin(cert)

    def _configuration(self):
        text = (ROOT / "conf/gatehouse.yaml").read_text()
        changes = {'"0.0.0.0:8443", "[::]:8443"': '"127.0.0.1:0"', '"0.0.0.0:8080"': '"127.0.0.1:0"',
                   "listen: 127.0.0.1:9180": "listen: 127.0.0.1:0"}
        changes |= {f"http://127.0.0.1:{port}": f"http://127.0.0.1:{self.services.ports[name]}" for name, port in NAMES.items()}
        for old, new in changes.items():
            assert old in text, f"conf/gatehouse.yaml no longer has {old}"
            text = text.replace(old, new)
        return text

    @staticmethod
    def _pin(cert):
        """The digest of the certificate's public key: the browser trusts this one and no other."""
        done = subprocess.run(["openssl", "x509", "-in", str(cert), "-pubkey", "-noout"], capture_output=True, text=True, check=True)
        body = re.sub(r"-----.*?-----|\s", "", done.stdout)
        return base64.b64encode(hashlib.sha256(base64.b64decode(body)).digest()).decode()

    def close(self):
        try:
            self.gateway.stop()
        finally:
            self.services.close()
