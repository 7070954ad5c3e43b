"""Takes webhooks and judges each by itself, from the specification alone (https://www.standardwebhooks.com)."""

import base64
import dataclasses
import hashlib
import hmac
import http.server
import json
import threading
import time

from ports import free_port, number

# How old a signed time may be, and how far ahead.
TOLERANCE = 300
BODY_LIMIT = 1 << 20


@dataclasses.dataclass(frozen=True)
class Delivery:
    path: str
    id: str
    body: dict
    fields: dict
    arrived: float
    # What it was answered with.
    status: int


def fault(secrets, fields, body, now):
    """Why a message is not to be believed; `None` when one of the secrets has signed it just now."""
    name, when, signatures = (fields.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not name or not when.isdigit():
        return "webhook-id or webhook-timestamp is missing"
    if abs(now - int(when)) > TOLERANCE:
        return f"signed {now - int(when):.0f} s ago"
    given = [one.partition(",")[2] for one in signatures.split() if one.startswith("v1,")]
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        code = hmac.new(key, f"{name}.{when}.".encode() + body, hashlib.sha256).digest()
        if any(hmac.compare_digest(base64.b64encode(code).decode(), one) for one in given):
            return None
    return f"no signature fits: {signatures!r}"


class Receiver:
    """`start()`, `trust(path, secret)`, then ask `messages(path)`."""

    def __init__(self):
        # Its own after a stop too: senders know it by then.
        self.held = free_port()
        self.port = number(self.held)
        self.secrets = {}
        # By path: the status for the n-th delivery that is believed, from 1; 204 where nothing is said.
        self.answer = {}
        self.deliveries = []
        # Why messages were not believed.
        self.refused = []
        self.lock = threading.Lock()
        self.server = None

    def start(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def url(self, path="/hook"):
        return f"http://127.0.0.1:{self.port}{path}"

    def trust(self, path, *secrets):
        """Only these secrets sign for the path from now on."""
        with self.lock:
            self.secrets[path] = secrets

    def messages(self, path="/hook"):
        """What was believed and answered with 2xx: by `webhook-id`, all deliveries of it in their order."""
        found = {}
        with self.lock:
            for one in self.deliveries:
                if one.path == path and one.status < 300:
                    found.setdefault(one.id, []).append(one)
        return found

    def duplicates(self, path="/hook"):
        return sum(len(all_of_one) - 1 for all_of_one in self.messages(path).values())

    def take(self, path, fields, body):
        """The status of the answer."""
        with self.lock:
            reason = fault(self.secrets.get(path, ()), fields, body, time.time())
            if reason:
                self.refused.append((path, reason))
                return 401
            number = 1 + sum(one.path == path for one in self.deliveries)
            status = self.answer.get(path, lambda number: 204)(number)
            self.deliveries.append(
                Delivery(path, fields["webhook-id"], json.loads(body), fields, time.time(), status))
            return status

    def handler(receiver):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length", "0"))
                if length > BODY_LIMIT:
                    return self.send_error(413)
                fields = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver.take(self.path, fields, self.rfile.read(length)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        return Handler
