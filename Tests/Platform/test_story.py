"""What a user does, through the gateway, while services come and go."""

import os

from stand import SERVICES, until


def test_a_document_goes_from_its_owner_into_the_search_under_one_request_id(stand):
    stand.sign_in()
    status, fields, document = stand.ask(
        "POST", "/api/v1/documents", body={"title": "Demo", "body": "a lighthouse at night"})
    assert status == 201
    until("the document is found", lambda: stand.found("lighthouse") == {document["id"]})

    status, _, answer = stand.ask("GET", "/search/documents?q=lighthouse")
    assert status == 200 and answer["hits"][0]["snippet"] == "a <em>lighthouse</em> at night"
    assert stand.ask("GET", "/search/documents?q=lighthouse", token=False)[0] == 401

    request_id = fields["x-request-id"]
    for name in ("gateway", "core", "search"):
        until(f"{name} logs the request", lambda: request_id in stand.log(name))

    stand.sign_in("bob@example.com")
    assert stand.ask("GET", f"/api/v1/documents/{document['id']}")[0] == 404
    assert stand.found("lighthouse") == set()


def test_search_may_be_away_and_core_may_be_killed_and_nothing_acknowledged_is_lost(stand):
    stand.sign_in()
    stand.kill("search")
    status, _, document = stand.ask("POST", "/api/v1/documents", body={"title": "Away", "body": "a harbour"})
    assert status == 201
    assert stand.ask("GET", "/search/documents?q=harbour")[0] == 502
    # The note for search must outlive core too.
    stand.kill("core")
    stand.start_service("core")
    stand.start_service("search")
    until("the document is found", lambda: stand.found("harbour") == {document["id"]})
    assert stand.ask("GET", f"/api/v1/documents/{document['id']}")[0] == 200


def test_auth_may_be_away_and_its_tokens_go_on_being_good(stand):
    stand.sign_in()
    stand.kill("auth")
    assert stand.ask("POST", "/api/v1/documents", body={"title": "Without", "body": ""})[0] == 201
    refused = stand.ask("POST", "/auth/token", "-d", "grant_type=password", token=False)
    assert refused[0] == 502
    stand.start_service("auth")
    stand.await_ready("auth")
    assert stand.ask("GET", "/auth/me")[0] == 200


def test_no_service_opens_the_store_of_another(stand):
    for name in SERVICES:
        folder = f"/proc/{stand.processes[name].pid}/fd"
        opened = set()
        for number in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{number}")
            except FileNotFoundError:
                continue
            if ".sqlite" in target:
                opened.add(target)
        assert opened, f"{name} has no store open"
        assert all(target.startswith(f"{stand.folder}/{name}/{name}.sqlite") for target in opened), opened
