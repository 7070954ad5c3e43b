"""Processes that start in any order, that are several over one store, and that are told to stop."""

import json
import os
import sqlite3
import subprocess
import threading

import pytest

from stand import PATIENCE, SERVICES, Stand, until

# Shorter than any wait of theirs (20 s for jobs and events), of which a stop must wait for none.
STOP_SECONDS = 10
WORKERS = ("worker", "worker-2", "worker-3")
SCHEDULES, ROUNDS = 12, 8


@pytest.fixture()
def bare(tmp_path):
    """Nothing runs yet."""
    stand = Stand(tmp_path)
    try:
        yield stand
    finally:
        stand.stop()


def ask(stand, process, method, path, body=None):
    status, answer = stand.direct(process, method, path, body=body)
    assert status in (200, 201, 202, 204), (status, answer)
    return answer


def row(stand, service, sql, *values):
    """One row of a service's store, read beside it."""
    with sqlite3.connect(f"file:{stand.folder}/{service}/{service}.sqlite?mode=ro", uri=True) as store:
        return store.execute(sql, values).fetchone()


def test_services_that_start_in_the_opposite_order_find_each_other(bare):
    # Core first and the bus last: each is alive before those that it needs are there.
    bare.start(order=tuple(reversed(SERVICES)))
    bare.sign_in()
    bare.add_hook("document.created")
    status, _, document = bare.ask("POST", "/api/v1/documents", body={"title": "Late", "body": "a harbour"})
    assert status == 201
    until("the document is found", lambda: bare.found("harbour") == {document["id"]})
    until("the webhook comes", lambda: set(bare.told()) == {document["id"]})
    until("the mails come", lambda: len(bare.mailbox.mails_to("ada@example.com")) == 2)


def test_three_workers_over_one_store_make_one_job_a_tick(bare):
    (bare.folder / "secret").write_text("platform-test-secret\n")
    # All at once, and there is no store yet.
    for name in ("bus", "auth", "core"):
        bare.start_service(name)
    for process in WORKERS:
        bare.start_service("worker", process)
    for name in ("bus", "auth", "core", *WORKERS):
        bare.await_ready(name)
    bare.start_gateway()
    bare.sign_in()
    for _ in range(SCHEDULES):
        ask(bare, "worker", "POST", "/worker/schedules", {"every": 31_622_400, "kind": "echo", "payload": 1})
    store = sqlite3.connect(bare.folder / "worker/worker.sqlite", timeout=30)
    for tick in range(1, ROUNDS + 1):
        with store:
            assert store.execute("UPDATE schedule SET next_at = ?", (tick,)).rowcount == SCHEDULES
        # A new schedule makes its worker look; all three at the same moment.
        made = []
        bells = [threading.Thread(target=lambda process=process: made.append(ask(
            bare, process, "POST", "/worker/schedules", {"every": 31_622_400, "kind": "echo"}))) for process in WORKERS]
        for bell in bells:
            bell.start()
        for bell in bells:
            bell.join()
        until("all have had their turn", lambda: store.execute(
            "SELECT count(*) FROM schedule WHERE last_at = ?", (tick,)).fetchone() == (SCHEDULES,))
        assert len(made) == len(WORKERS)
        for each in made:
            ask(bare, "worker", "DELETE", f"/worker/schedules/{each['id']}")
    store.close()
    wanted = SCHEDULES * ROUNDS
    until("all jobs are done", lambda: row(
        bare, "bus", "SELECT count(*) FROM job WHERE kind = 'echo' AND state = 2") == (wanted,))
    assert row(bare, "bus", "SELECT count(*), count(DISTINCT idempotency_key), max(attempts), sum(expiries) FROM job "
               "WHERE kind = 'echo'") == (wanted, wanted, 1, 0)
    # Not only did the bus take one of several: no worker ordered what another had.
    turns = sum(bare.log(process).count('"event":"schedule is due"') for process in WORKERS)
    assert turns == wanted
    # One welcome, though three followed the log.
    until("the mails come", lambda: len(bare.mailbox.mails_to("ada@example.com")) == 2)
    assert bare.mailbox.duplicates() == 0


def test_a_lease_goes_on_while_its_worker_is_at_it_and_is_given_back_by_one_that_stops(stand):
    stand.sign_in()
    stand.add_hook("document.created")
    has_come, goes_on = threading.Event(), threading.Event()

    def answer(number):
        if number == 1 and not has_come.is_set():
            has_come.set()
            goes_on.wait(60)
        return 204

    stand.receiver.answer["/hook"] = answer
    stand.ask("POST", "/api/v1/documents", body={"title": "Slow", "body": "text"})
    assert has_come.wait(PATIENCE)
    job = "SELECT state, attempts, expiries, failures, lease_until FROM job WHERE kind = 'webhook'"
    *_, first_end = row(stand, "bus", job)

    def is_past_its_first_end():
        *_, until_when = row(stand, "bus", job)
        return until_when is not None and until_when > first_end + 1_000
    until("the lease was extended", is_past_its_first_end)
    assert row(stand, "bus", job)[:4] == (1, 1, 0, 0)

    stand.processes["worker"].terminate()
    assert stand.processes["worker"].wait(STOP_SECONDS) == 0
    # Ready for anybody at once, and nobody's failure.
    assert row(stand, "bus", job) == (0, 1, 0, 0, None)
    goes_on.set()
    stand.start_service("worker")
    until("it is done by the second", lambda: row(stand, "bus", job)[:4] == (2, 2, 0, 0))


def command(*words):
    """What a command of the program prints: the JSON objects, and the last line where that is none."""
    done = subprocess.run([os.environ["GATEHOUSE_SERVICES"], *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], [line for line in lines if not line.startswith("{")]


def test_what_was_set_aside_is_listed_and_tried_once_more_when_people_say_so(bare):
    bare.start_services(("bus", "auth", "worker"))
    bare.stop_service("worker")
    job = {"id": "01900000-0000-7000-8000-000000000001", "queue": "work", "kind": "no-such-kind", "payload": 1}
    with sqlite3.connect(bare.folder / "worker/worker.sqlite") as store:
        store.execute(
            "INSERT INTO outbox_parked VALUES (7, 1, ?, 'refused: it was', 0)",
            (json.dumps(job | {"correlationId": "r-1"}),))
    store.close()
    parked = ["parked", "worker", "--data", str(bare.folder / "worker")]
    (listed,), rest = command(*parked)
    assert (listed["place"], listed["number"], listed["error"], listed["message"]["id"]) == (
        "outbox", 7, "refused: it was", job["id"]) and rest == []
    assert command(*parked, "--put-back") == ([listed], ["1 put back"])
    assert command(*parked) == ([], [])

    # It is told to the bus now, and it ends badly: the kind is unknown.
    bare.start_service("worker")
    state = "SELECT state, attempts FROM job"
    until("the job is dead", lambda: row(bare, "bus", state) == (3, 1))
    dead = ["dead", "--queue", "work", "--bus-url", f"http://127.0.0.1:{bare.ports['bus']}",
            "--service-token-file", str(bare.folder / "secret")]
    (listed,), rest = command(*dead)
    assert (listed["id"], listed["kind"], listed["request_id"]) == (job["id"], "no-such-kind", "r-1") and rest == []
    assert "unknown kind" in listed["error"]
    assert command(*dead, "--redrive") == ([listed], ["1 redriven"])
    until("it was tried again", lambda: row(bare, "bus", state) == (3, 2))
    assert command("dead", "--queue", "mail", *dead[3:]) == ([], [])


def test_an_idle_service_that_is_told_to_stop_waits_for_nothing(stand):
    for name in reversed(SERVICES):
        stand.processes[name].terminate()
        assert stand.processes[name].wait(STOP_SECONDS) == 0, name
