"""Services are killed in turn while documents are written and accounts made; whatever was acknowledged must have had its
effects afterwards: stored, indexed, told by a webhook, greeted by a mail."""

import os
import sqlite3
import threading
import time

from stand import PASSWORD, SERVICES, until

FULL = os.environ.get("GATEHOUSE_FULL") == "1"
SECONDS, KILLS = (60, 40) if FULL else (20, 10)
WRITERS = 3
# Between two kills, so that each falls among requests.
DOCUMENTS_BETWEEN = 5
# A writer's rest: what is written must be delivered before the test's patience is over.
REST_SECONDS = 0.02
# Until the last lease has run out and its job was done by another.
SETTLING_SECONDS = 90


def repeat(is_over, act):
    """Does it again and again, a little later each time; a busy loop would only take the services' processor time."""
    number = 0
    while not is_over.is_set():
        number += 1
        act(number)
        is_over.wait(REST_SECONDS)


def test_kill_9_of_every_service_in_turn_loses_nothing_acknowledged(stand):
    stand.sign_in()
    stand.add_hook("document.created")
    documents, accounts, is_over = [], [], threading.Event()

    def write(writer, number):
        status, document = stand.direct(
            "core", "POST", "/api/v1/documents", body={"title": f"w{writer} n{number}", "body": "chaos"})
        if status == 201:
            documents.append(document["id"])

    def join(number):
        email = f"user-{number}@example.com"
        # Registrations are counted by address: each comes from another, as the gateway would say.
        status, _ = stand.direct(
            "auth", "POST", "/auth/register", body={"email": email, "password": PASSWORD},
            fields=[("X-Forwarded-For", f"10.{number >> 8}.{number & 255}.1")])
        if status == 201:
            accounts.append(email)
        is_over.wait(0.2)

    threads = [
        threading.Thread(target=repeat, args=(is_over, lambda number, writer=writer: write(writer, number)))
        for writer in range(WRITERS)]
    threads.append(threading.Thread(target=repeat, args=(is_over, join)))
    for thread in threads:
        thread.start()
    begin, kills = time.monotonic(), 0
    try:
        while time.monotonic() - begin < SECONDS or kills < KILLS:
            before = len(documents)
            until("documents are acknowledged", lambda: len(documents) >= before + DOCUMENTS_BETWEEN)
            name = SERVICES[kills % len(SERVICES)]
            stand.kill(name)
            kills += 1
            stand.start_service(name)
            stand.await_ready(name)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    took = time.monotonic() - begin

    wanted = set(documents)
    assert len(wanted) == len(documents)
    missing = [one for one in documents if stand.direct("core", "GET", f"/api/v1/documents/{one}")[0] != 200]
    assert missing == []
    # A document whose answer was lost may be there besides.
    until("all are indexed", lambda: wanted <= stand.found("chaos"), SETTLING_SECONDS)
    until("all webhooks came", lambda: wanted <= set(stand.told()), SETTLING_SECONDS)
    until("all mails came", lambda: all(len(letters(stand, email)) == 2 for email in accounts), SETTLING_SECONDS)
    until("nothing waits", lambda: all(
        stand.gauge(name, "outbox_waiting") == 0 for name in ("auth", "core", "worker")), SETTLING_SECONDS)
    for name in ("auth", "core", "worker"):
        assert stand.gauge(name, "outbox_parked") == 0, name

    # A message is known by its id, however often it comes: one id a document.
    assert stand.receiver.refused == [] and all(len(ids) == 1 for ids in stand.told().values())
    print(
        f"\n{kills} kills in {took:.0f} s: {len(documents)} documents and {len(accounts)} accounts acknowledged, none lost; "
        f"{stand.receiver.duplicates()} of {len(stand.told())} webhooks and {stand.mailbox.duplicates()} of "
        f"{len(stand.mailbox.mails)} mails came twice")

    stand.stop()
    for name in SERVICES:
        with sqlite3.connect(stand.folder / name / f"{name}.sqlite") as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)], name


def letters(stand, email):
    """Which letters came; a second copy of one has the same Message-ID."""
    return {mail["Message-ID"] for mail in stand.mailbox.mails_to(email)}
