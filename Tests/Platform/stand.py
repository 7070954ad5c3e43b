"""Starts, kills and asks the platform: the services with a store each, and the gateway before them over TLS and HTTP/2."""

import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

from ports import free_port, number
from postbox import Mailbox
from receiver import Receiver

TOP = pathlib.Path(__file__).parents[2]
SERVICES = ("bus", "auth", "search", "worker", "core")
# The end of what hangs; what works takes a moment of it, but a longer one where others work too.
PATIENCE = 60
ISSUER = "https://auth.example.com"
PASSWORD = "correct horse battery staple"
# A worker that is killed keeps its jobs so long. It says that it lives each third of it: one of a busy machine may stand
# still for two seconds, and must not lose its jobs by that.
LEASE_SECONDS = 6


def until(what, judge, seconds=PATIENCE):
    """The first true answer of `judge`; it is asked again until then, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = judge()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class Stand:
    def __init__(self, folder):
        self.folder = folder
        # A service's own over its restarts, so that the others find it again.
        self.held, self.ports = [], {}
        for name in SERVICES:
            self.hold(name)
        self.mailbox = Mailbox().start()
        self.receiver = Receiver().start()
        self.processes = {}
        self.token = None

    # --- processes

    def hold(self, process):
        self.held.append(free_port())
        self.ports[process] = number(self.held[-1])

    def start(self, order=SERVICES):
        """`order`: Of the services; each but the first begins once the one before answers."""
        self.start_services(order)
        self.start_gateway()

    def start_services(self, order=SERVICES):
        (self.folder / "secret").write_text("platform-test-secret\n")
        for name in order:
            self.start_service(name)
            if order is not SERVICES:
                until(f"{name} is alive", lambda name=name: self.direct(name, "GET", "/healthz")[0] == 200)
        for name in order:
            self.await_ready(name)

    def start_service(self, name, process=None):
        """`process`: The name of one more process of that service, over the same store."""
        process = process or name
        if process not in self.ports:
            self.hold(process)
        command = [
            os.environ["GATEHOUSE_SERVICES"], name, "--port", str(self.ports[process]), "--data",
            str(self.folder / name), "--issuer", ISSUER]
        command += ["--service-token-file", str(self.folder / "secret")]
        if name != "bus":
            command += ["--bus-url", f"http://127.0.0.1:{self.ports['bus']}"]
        if name not in ("bus", "auth"):
            command += ["--jwks-url", f"http://127.0.0.1:{self.ports['auth']}/.well-known/jwks.json"]
        if name == "worker":
            command += [
                "--smtp-url", self.mailbox.url, "--mail-from", "platform@example.com",
                "--allow-private-webhooks", "--lease-seconds", str(LEASE_SECONDS)]
        self.run(process, command)

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

    def stop_service(self, name):
        """As an operator does; it must end by itself."""
        self.processes[name].terminate()
        assert self.processes[name].wait(PATIENCE) == 0

    def stop(self):
        """Ends what still runs, the gateway first; each must end by itself with status 0."""
        statuses = {}
        for name in ["gateway", *reversed([name for name in self.processes if name != "gateway"])]:
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
        self.receiver.stop()
        self.mailbox.stop()
        for each in self.held:
            each.close()
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
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            # Killed in the midst of an answer; what it said is not known.
            return 0, None

    def sign_in(self, email="ada@example.com"):
        """Makes an account and signs in; tells the registration's request id."""
        status, fields, account = self.ask(
            "POST", "/auth/register", body={"email": email, "password": PASSWORD}, token=False)
        assert status == 201, account
        status, _, tokens = self.ask(
            "POST", "/auth/token", "-d", "grant_type=password", "--data-urlencode", f"username={email}",
            "--data-urlencode", f"password={PASSWORD}", token=False)
        assert status == 200, tokens
        self.token = tokens["access_token"]
        return fields["x-request-id"]

    def add_hook(self, *types):
        """Has the receiver told of events; the endpoint's id."""
        status, _, endpoint = self.ask("POST", "/worker/webhooks", body={"url": self.receiver.url(), "events": list(types)})
        assert status == 201, endpoint
        self.receiver.trust("/hook", endpoint["secret"])
        return endpoint["id"]

    def told(self):
        """What the receiver believed and took: of each subject the ids of its messages."""
        told = {}
        for name, deliveries in self.receiver.messages().items():
            told.setdefault(deliveries[0].body["subject"], set()).add(name)
        return told

    def gauge(self, service, name):
        """A value of a service's metrics; `None` while the service is away."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[service]}/metrics", timeout=PATIENCE) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        start = f'gatehouse_service_{name}{{service="{service}"}} '
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), None)

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
