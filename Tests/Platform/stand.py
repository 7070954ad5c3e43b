"""Starts, kills and asks the platform: four services with a store each, and the gateway before them over TLS and HTTP/2."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

TOP = pathlib.Path(__file__).parents[2]
SERVICES = ("auth", "search", "worker", "core")
PATIENCE = 30
ISSUER = "https://auth.example.com"


def until(what, judge, seconds=PATIENCE):
    """The first true answer of `judge`; it is asked again until then, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = judge()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


def free_port():
    """A port that stays a service's own over its restarts, so that the others find it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stand:
    def __init__(self, folder):
        self.folder = folder
        self.ports = {name: free_port() for name in SERVICES}
        self.processes = {}
        self.token = None

    # --- processes

    def start(self):
        (self.folder / "secret").write_text("platform-test-secret\n")
        for name in SERVICES:
            self.start_service(name)
        for name in SERVICES:
            self.await_ready(name)
        self.start_gateway()

    def start_service(self, name):
        command = [
            os.environ["GATEHOUSE_SERVICES"], name, "--port", str(self.ports[name]), "--data",
            str(self.folder / name), "--issuer", ISSUER]
        if name != "auth":
            command += ["--jwks-url", f"http://127.0.0.1:{self.ports['auth']}/.well-known/jwks.json"]
        if name in ("core", "search"):
            command += ["--service-token-file", str(self.folder / "secret")]
        if name == "core":
            command += ["--search-url", f"http://127.0.0.1:{self.ports['search']}"]
        self.run(name, command)

    def start_gateway(self):
        self.certificates()
        text = (TOP / "conf/gatehouse.yaml").read_text()
        for number, name in enumerate(("auth", "core", "worker", "search"), 9001):
            text = text.replace(f"http://127.0.0.1:{number}", f"http://127.0.0.1:{self.ports[name]}")
        text = text.replace('"0.0.0.0:8443", "[::]:8443"', '"127.0.0.1:0"').replace('"0.0.0.0:8080"', '"127.0.0.1:0"')
        text = text.replace("listen: 127.0.0.1:9180", "listen: 127.0.0.1:0")
        (self.folder / "gatehouse.yaml").write_text(text)
        self.run("gateway", [os.environ["GATEHOUSE_BIN"], "run", "--config", str(self.folder / "gatehouse.yaml")])
        self.origin = "https://localhost:" + until("the gateway listens", self.gateway_port)

    def gateway_port(self):
        assert self.processes["gateway"].poll() is None, self.log("gateway")
        for line in self.log("gateway").splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "listening" and event.get("listener") == "https":
                return event["address"].rsplit(":", 1)[1]
        return None

    def run(self, name, command):
        with open(self.folder / f"{name}.out", "ab") as out, open(self.folder / f"{name}.err", "ab") as err:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def await_ready(self, name):
        def ready():
            assert self.processes[name].poll() is None, self.log(name)[-2000:]
            return self.direct(name, "GET", "/readyz")[0] == 200
        until(f"{name} is ready", ready)

    def kill(self, name):
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def stop(self):
        """Ends what still runs, the gateway first; each must end by itself with status 0."""
        statuses = {}
        for name in ["gateway", *reversed(SERVICES)]:
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                statuses[name] = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                statuses[name] = "killed"
        self.processes = {}
        assert all(status == 0 for status in statuses.values()), statuses

    def log(self, name):
        return (self.folder / f"{name}.err").read_text() + (self.folder / f"{name}.out").read_text()

    def certificates(self):
        run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True)
        tls = self.folder / "tls"
        tls.mkdir()
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("req", "-x509", *key, "-days", "2", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", str(tls / "api.key"), "-out", str(tls / "api.crt"))

    # --- questions

    def ask(self, method, path, *options, body=None, token=True):
        """Through the gateway, over TLS and HTTP/2: status, fields and JSON."""
        command = [
            "curl", "--silent", "--show-error", "--http2", "--cacert", str(self.folder / "tls/api.crt"), "--max-time",
            str(PATIENCE), "-X", method, "-D", str(self.folder / "head"), "-w", "\n%{http_version} %{http_code}",
            *options]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        if token:
            command += ["-H", f"Authorization: Bearer {self.token}"]
        done = subprocess.run([*command, self.origin + path], capture_output=True, text=True, check=True)
        text, last = done.stdout.rsplit("\n", 1)
        version, status = last.split()
        assert version == "2"
        fields = dict(
            line.lower().split(": ", 1) for line in (self.folder / "head").read_text().splitlines() if ": " in line)
        return int(status), fields, json.loads(text) if text else None

    def direct(self, name, method, path, body=None, fields=()):
        """Past the gateway: status and JSON; status 0 when the service is away."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[name]}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(), headers=dict(fields))
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            # Killed in the midst of an answer; what it said is not known.
            return 0, None

    def sign_in(self, email="ada@example.com", password="correct horse battery staple"):
        status, _, account = self.ask(
            "POST", "/auth/register", body={"email": email, "password": password}, token=False)
        assert status == 201, account
        status, _, tokens = self.ask(
            "POST", "/auth/token", "-d", "grant_type=password", "--data-urlencode", f"username={email}",
            "--data-urlencode", f"password={password}", token=False)
        assert status == 200, tokens
        self.token = tokens["access_token"]

    def found(self, words):
        """The ids of all documents that are found, page by page."""
        ids, cursor = set(), ""
        while cursor is not None:
            status, page = self.direct("search", "GET", f"/search/documents?limit=50&q={words}{cursor}")
            if status != 200:
                return set()
            ids |= {hit["id"] for hit in page["hits"]}
            following = page.get("nextCursor")
            cursor = f"&cursor={following}" if following else None
        return ids
