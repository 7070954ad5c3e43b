"""Services are killed in turn while documents are written; whatever was acknowledged must be there afterwards."""

import os
import sqlite3
import threading
import time

from stand import SERVICES, until

FULL = os.environ.get("GATEHOUSE_FULL") == "1"
SECONDS, KILLS = (60, 40) if FULL else (8, 6)
WRITERS = 3
# Between two kills, so that each falls among requests.
DOCUMENTS_BETWEEN = 5


def test_kill_9_of_every_service_in_turn_loses_nothing_acknowledged(stand):
    stand.sign_in()
    acknowledged, is_over = [], threading.Event()

    def write(writer):
        number = 0
        while not is_over.is_set():
            number += 1
            status, document = stand.direct(
                "core", "POST", "/api/v1/documents", body={"title": f"w{writer} n{number}", "body": "chaos"})
            if status == 201:
                acknowledged.append(document["id"])
            elif not is_over.is_set():
                # The service is away or starts: a busy loop of refusals would only take its processor time.
                time.sleep(0.02)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in writers:
        thread.start()
    begin, kills = time.monotonic(), 0
    try:
        while time.monotonic() - begin < SECONDS or kills < KILLS:
            before = len(acknowledged)
            until("documents are acknowledged", lambda: len(acknowledged) >= before + DOCUMENTS_BETWEEN)
            name = SERVICES[kills % len(SERVICES)]
            stand.kill(name)
            kills += 1
            stand.start_service(name)
            stand.await_ready(name)
    finally:
        is_over.set()
        for thread in writers:
            thread.join()

    wanted = set(acknowledged)
    assert len(wanted) == len(acknowledged)
    missing = [one for one in acknowledged if stand.direct("core", "GET", f"/api/v1/documents/{one}")[0] != 200]
    assert missing == []
    # A document whose answer was lost may be there besides.
    until("all are indexed", lambda: wanted <= stand.found("chaos"), seconds=60)
    print(f"\n{kills} kills in {time.monotonic() - begin:.0f} s: {len(wanted)} documents acknowledged, none lost")

    stand.stop()
    for name in SERVICES:
        with sqlite3.connect(stand.folder / name / f"{name}.sqlite") as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)], name
