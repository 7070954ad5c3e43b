"""The bus on a disk that loses its power, that is full, and on a store that another process holds: what was answered is
there afterwards, and what could not be stored was not answered as if it were."""

import http.client
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import pytest

from ports import free_port, number
from stand import PATIENCE, until

SECRET = "platform-test-secret"
CUTS = 3
WRITERS = 4
# Calls that are answered between two cuts.
CALLS = 120
# Longer than the store waits for another's lock (5 s), and for whoever stands behind it; eight in turn would take forty.
BUSY_SECONDS = 25


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory):
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = pathlib.Path(__file__).with_name("disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Bus:
    """A bus with its store in a folder; with a `library`, `left` is what a power cut leaves of it."""

    def __init__(self, folder, name, library=None, seed=0):
        self.data, self.left = folder / name, folder / f"{name}-left"
        self.data.mkdir(exist_ok=True)
        # What was there before is on the disk.
        shutil.copytree(self.data, self.left)
        (folder / "secret").write_text(SECRET)
        environment = dict(os.environ)
        if library:
            environment |= {
                "LD_PRELOAD": str(library), "DISK_FROM": str(self.data), "DISK_TO": str(self.left), "DISK_SEED": str(seed)}
        self.held = free_port()
        self.port = number(self.held)
        self.log = open(folder / f"{name}.log", "w+b")
        self.process = subprocess.Popen(
            [os.environ["GATEHOUSE_SERVICES"], "bus", "--port", str(self.port), "--data", str(self.data),
             "--service-token-file", str(folder / "secret")],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment)
        until("the bus is ready", lambda: self.ask("GET", "/readyz")[0] == 200)

    def ask(self, method, path, body=None):
        """Status, fields and JSON; status 0 when no whole answer came."""
        assert self.process.poll() is None or self.process.returncode < 0, self.log
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        fields = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read() or b"null")
        except (OSError, ValueError, http.client.HTTPException):
            return 0, {}, None
        finally:
            connection.close()

    def register(self):
        assert self.ask("POST", "/bus/v1/schemas", {"type": "disk.written", "schema": {"type": "object"}})[0] == 204

    def publish(self, count=1, filler=""):
        """The status, and the ids of events that were taken."""
        events = [
            {"id": str(uuid.uuid4()), "type": "disk.written", "subject": "s", "data": {"filler": filler}}
            for _ in range(count)]
        status, fields, answer = self.ask("POST", "/bus/v1/events", {"events": events})
        if status != 200:
            return status, fields, []
        assert [each["outcome"] for each in answer["outcomes"]] == ["appended"] * count
        return status, fields, [event["id"] for event in events]

    def events(self):
        ids, after = [], 0
        while True:
            status, _, page = self.ask("GET", f"/bus/v1/events?after={after}&limit=1000")
            assert status == 200
            if not page["events"]:
                return ids
            ids += [event["id"] for event in page["events"]]
            after = page["next"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(PATIENCE) == 0

    def is_whole(self):
        with sqlite3.connect(self.data / "bus.sqlite") as store:
            return store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture()
def buses(tmp_path):
    made = []

    def make(*words, **options):
        made.append(Bus(tmp_path, *words, **options))
        return made[-1]

    yield make
    for bus in made:
        if bus.process.poll() is None:
            bus.kill()


class Acknowledged:
    """What a bus said that it has."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls, self.events, self.jobs, self.done = 0, set(), set(), set()

    def add(self, events=(), jobs=(), done=()):
        with self.lock:
            self.calls += 1
            self.events.update(events)
            self.jobs.update(jobs)
            self.done.update(done)


def write(bus, known):
    """Events and jobs, until the bus is away."""
    while True:
        status, _, ids = bus.publish(3)
        if status == 0:
            return
        known.add(events=ids)
        job = str(uuid.uuid4())
        status, _, answer = bus.ask("POST", "/bus/v1/jobs", {"jobs": [{"id": job, "queue": "q", "kind": "k", "payload": {}}]})
        if status == 0:
            return
        assert answer["outcomes"] == [{"outcome": "queued"}]
        known.add(jobs=[job])
        status, _, answer = bus.ask("POST", "/bus/v1/queues/q/lease", {"limit": 1, "seconds": 60, "worker": "w"})
        if status == 0:
            return
        words = [{"id": each["id"], "token": each["token"]} for each in answer["jobs"]]
        status, _, answer = bus.ask("POST", "/bus/v1/jobs/ack", {"jobs": words})
        if status == 0:
            return
        known.add(done=[word["id"] for word, outcome in zip(words, answer["outcomes"]) if outcome == "done"])


@pytest.mark.parametrize("synchronous, kept", [("FULL", 50), ("OFF", None)])
def test_the_disk_forgets_what_was_not_synced_and_nothing_else(tmp_path, disk_library, synchronous, kept):
    data, left = tmp_path / "data", tmp_path / "left"
    data.mkdir()
    left.mkdir()
    program = f"""
import os, signal, sqlite3
store = sqlite3.connect({str(data / "x.sqlite")!r}, isolation_level=None)
store.execute("PRAGMA journal_mode = WAL")
store.execute("PRAGMA synchronous = {synchronous}")
store.execute("CREATE TABLE t (n)")
for n in range(50):
    store.execute("INSERT INTO t VALUES (?)", (n,))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ, LD_PRELOAD=str(disk_library), DISK_FROM=str(data), DISK_TO=str(left)))

    def count(folder):
        with sqlite3.connect(folder / "x.sqlite") as store:
            return store.execute("SELECT count(*) FROM t").fetchone()[0]

    assert count(data) == 50
    if kept is None:
        with pytest.raises(sqlite3.DatabaseError):
            assert count(left) == 50
    else:
        assert count(left) == kept


def test_what_was_acknowledged_outlives_power_cuts(buses, disk_library, tmp_path):
    known = Acknowledged()
    for cut in range(CUTS):
        bus = buses(f"cut{cut}", library=disk_library, seed=cut)
        if cut == 0:
            bus.register()
        wanted = known.calls + CALLS
        threads = [threading.Thread(target=write, args=(bus, known)) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        until("calls are answered", lambda: known.calls >= wanted)
        bus.kill()
        for thread in threads:
            thread.join()
        bus.left.rename(tmp_path / f"cut{cut + 1}")
    bus = buses(f"cut{CUTS}")
    found = bus.events()
    assert len(found) == len(set(found)) and known.events - set(found) == set()
    # A job whose end was acknowledged is done, and none that was acknowledged is away.
    states = {job: bus.ask("GET", f"/bus/v1/jobs/{job}")[2]["state"] for job in known.jobs | known.done}
    assert {states[job] for job in known.done} == {"done"}
    assert len(known.events) > CUTS * CALLS / 2 and len(known.done) > CUTS * CALLS / 8
    bus.stop()
    assert bus.is_whole()


def test_a_full_disk_takes_nothing_says_so_and_is_used_again_once_there_is_room(buses, disk_library):
    bus = buses("full", library=disk_library)
    bus.register()
    known = set(bus.publish(10)[2])
    (bus.left / "full").touch()
    for _ in range(3):
        status, fields, _ = bus.publish(10, filler="x" * 10_000)
        assert status == 507 and int(fields["Retry-After"]) > 0
    status, _, _ = bus.ask("POST", "/bus/v1/jobs", {"jobs": [{"queue": "q", "kind": "k"}]})
    assert status == 507
    until("the bus is not ready", lambda: bus.ask("GET", "/readyz")[0] == 503)
    assert set(bus.events()) == known
    (bus.left / "full").unlink()
    until("the bus is ready again", lambda: bus.ask("GET", "/readyz")[0] == 200)
    status, _, ids = bus.publish(10)
    assert status == 200 and set(bus.events()) == known | set(ids)
    assert bus.ask("GET", "/bus/v1/stats")[2]["queues"] == []
    bus.stop()
    assert bus.is_whole()


def test_a_store_that_another_process_holds_is_503_for_all_who_wait_and_loses_nothing(buses):
    bus = buses("held")
    bus.register()
    known = set(bus.publish(10)[2])
    answers = []
    with sqlite3.connect(bus.data / "bus.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        threads = [threading.Thread(target=lambda: answers.append(bus.publish(2))) for _ in range(8)]
        for thread in threads:
            thread.start()
        # What is there is read meanwhile.
        assert set(bus.events()) == known
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        other.execute("ROLLBACK")
    assert [status for status, _, _ in answers] == [503] * 8
    assert all(int(fields["Retry-After"]) > 0 for _, fields, _ in answers)
    assert took < BUSY_SECONDS, f"{took:.1f} s: each has waited by itself"
    status, _, ids = bus.publish(2)
    assert status == 200 and set(bus.events()) == known | set(ids)
    bus.stop()
    assert bus.is_whole()
