"""nginx as the service, by every protocol that it speaks."""

import hashlib
import shutil
import socket
import subprocess

import pytest

from harness.authority import Authority
from harness.bound import until
from harness.gateway import plain
from harness.http2 import Client2
from harness.ports import free_port, number

SCHEMES = ("http", "https", "h2c", "h2")


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """A running nginx: its ports by scheme, and the authority of its certificate."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder)
    cert, key = authority.issue("nginx", "DNS:localhost,IP:127.0.0.1")
    (folder / "blob").write_bytes(hashlib.sha256(b"blob").digest() * 20_000)
    held = [free_port() for _ in SCHEMES]
    ports = dict(zip(SCHEMES, map(number, held)))
    secure = f"ssl_certificate {cert}; ssl_certificate_key {key};"
    words = {"http": "", "https": "ssl", "h2c": "http2", "h2": "ssl http2"}
    servers = "".join(
        f"server {{ listen 127.0.0.1:{ports[scheme]} {words[scheme]}; {secure if 'ssl' in words[scheme] else ''} "
        f"root {folder}; location /echo {{ return 200 $request_method:$content_length:$http_host:$http2; }} }}\n"
        for scheme in SCHEMES)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}; keepalive_requests 50;\n{servers}}}\n")
    said = folder / "nginx.err"
    with open(said, "wb") as errors:
        process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=errors)

    def listens():
        assert process.poll() is None, said.read_text()
        try:
            socket.create_connection(("127.0.0.1", ports["h2"]), 1).close()
            return True
        except OSError:
            return False

    until(listens, "nginx")
    yield ports, authority
    process.terminate()
    process.wait()
    for each in held:
        each.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nginx_answers_by_every_protocol(gateways, clients, nginx, scheme):
    """More requests than nginx lets one connection carry: its goodbyes cost nobody an answer."""
    ports, authority = nginx
    config = plain(type("Service", (), {"address": ""}), workers=1)
    config["services"]["up"] = {"to": [f"{scheme}://localhost:{ports[scheme]}"]}
    if scheme in ("https", "h2"):
        config["services"]["up"]["tls"] = {"ca": str(authority.cert)}
    gateway = gateways(config)
    client = clients(gateway)
    blob = hashlib.sha256(b"blob").digest() * 20_000
    for number in range(120):
        answer = client.ask("GET", "/blob") if number % 10 == 0 else client.ask("POST", "/echo", body=b"x" * number)
        if number % 10 == 0:
            assert answer.status == 200 and answer.body == blob
            part = client.ask("GET", "/blob", [("Range", "bytes=5-9")])
            assert (part.status, part.body) == (206, blob[5:10])
        else:
            http2 = {"h2": "h2", "h2c": "h2c"}.get(scheme, "")
            assert answer.body.decode() == f"POST:{number}:localhost:{ports[scheme]}:{http2}"
    with Client2(gateway.address()) as second:
        numbers = [second.request(path="/blob") for _ in range(20)]
        assert all(second.answer(number).body == blob for number in numbers)
        assert second.ask("HEAD", "/blob").body == b""
