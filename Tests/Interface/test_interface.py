"""What each service says of itself at /openapi.json, held against what it does: schemathesis makes requests of it, good ones and
bad ones, and judges each answer. A status that is not described, an answer that is not as described, a 5xx, and an answer to
who shows no token or a wrong one, are failures."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "Platform"))
from stand import Stand  # noqa: E402

SCHEMATHESIS = os.environ.get("GATEHOUSE_SCHEMATHESIS", "schemathesis")
SEED = os.environ.get("SEED") or "20261127"
IS_FULL = os.environ.get("GATEHOUSE_FULL") == "1"
# In CI the same requests each time; at full size others besides, for as long as said.
EXTENT = ["--max-examples", "100", "--max-time", "120"] if IS_FULL else ["--max-examples", "20"]
CHECKS = ",".join([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "ignored_auth"])
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    stand = Stand(tmp_path_factory.mktemp("interface"))
    try:
        stand.start_services()
        # What waits for the next event would do so for half a minute a request.
        (stand.folder / "schemathesis.toml").write_text("[parameters]\nwait = 0\n")
        yield stand
    finally:
        stand.stop()


def token(stand, email):
    """An administrator's: what only they may ask is asked as well."""
    assert stand.direct("auth", "POST", "/auth/register", {"email": email, "password": PASSWORD})[0] == 201
    subprocess.run(
        [os.environ["GATEHOUSE_SERVICES"], "grant", "--data", str(stand.folder / "auth"), "--email", email],
        check=True, capture_output=True)
    form = urllib.parse.urlencode({"grant_type": "password", "username": email, "password": PASSWORD})
    with urllib.request.urlopen(f"http://127.0.0.1:{stand.ports['auth']}/auth/token", form.encode()) as answer:
        return json.load(answer)["access_token"]


def only(*operations):
    return [word for one in operations for word in ("--include-operation-id", one)]


def without(*operations):
    return [word for one in operations for word in ("--exclude-operation-id", one)]


def test_a_wait_for_jobs_and_for_events_is_as_described_and_ends_in_time(stand):
    # The first: leases that the random requests leave behind would wake it as they run out.
    origin = f"http://127.0.0.1:{stand.ports['bus']}"
    secret = (stand.folder / "secret").read_text().strip()
    with urllib.request.urlopen(f"{origin}/openapi.json") as answer:
        paths = json.load(answer)["paths"]

    def ask(described, path, shown=secret, body=None):
        """Status and JSON, both as the description says."""
        request = urllib.request.Request(
            origin + path, data=body and json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {shown}", "Content-Type": "application/json"})
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            promised = paths[described]["post" if body else "get"]["responses"][str(answer.status)]
            if "$ref" not in promised:
                assert answer.headers["Content-Type"] in promised["content"]
            return answer.status, json.load(answer)

    jobs, events = "/bus/v1/queues/{queue}/wait", "/bus/v1/events"
    nothing = [(jobs, "/bus/v1/queues/empty/wait?", {"mayBeDue": False}), (events, f"{events}?types=unheard.of&", [])]
    for described, path, empty in nothing:
        begin = time.monotonic()
        status, said = ask(described, f"{path}wait=1")
        assert (status, said.get("events", said)) == (200, empty) and time.monotonic() - begin >= 0.9
        for wrong in ("31", "-1", "1.5", "soon", ""):
            status, said = ask(described, f"{path}wait={wrong}")
            assert (status, said["reason"]) == (400, "invalid_query"), wrong
        assert ask(described, f"{path}wait=30", shown="0123456789abcdef")[0] == 401
    # A job that is there is waited for by nobody.
    job = {"queue": "some", "kind": "echo", "payload": None}
    status, said = ask("/bus/v1/jobs", "/bus/v1/jobs", body={"jobs": [job]})
    assert (status, said["outcomes"][0]["outcome"]) == (200, "queued"), said
    assert ask(jobs, "/bus/v1/queues/some/wait?wait=30") == (200, {"mayBeDue": True})


@pytest.mark.parametrize("name, who, operations", [
    ("core", "account", []),
    ("search", "account", []),
    ("worker", "account", []),
    # Signing out would leave the others without a token, and services introspect with their own.
    ("auth", "account", without("logout", "introspect")),
    ("auth", "leaving", only("logout")),
    ("auth", "service", only("introspect")),
    # What waits for jobs has a test of its own, above.
    ("bus", "service", without("waitForJobs")),
])
def test_a_service_does_what_its_description_says(stand, name, who, operations):
    origin = f"http://127.0.0.1:{stand.ports[name]}"
    shown = (stand.folder / "secret").read_text().strip() if who == "service" else token(stand, f"{who}.{name}@example.com")
    done = subprocess.run(
        [SCHEMATHESIS, "run", f"{origin}/openapi.json", "--url", origin, "--checks", CHECKS, "--seed", SEED,
         *EXTENT, "--request-timeout", "60", "--generation-database", "none", *operations,
         "--warnings", "off", "--no-color", "--header", f"Authorization: Bearer {shown}"],
        capture_output=True, text=True, cwd=stand.folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:] + stand.log(name)[-2000:]
    print(name, *[line.strip() for line in done.stdout.splitlines() if "generated" in line])
