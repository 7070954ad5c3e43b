"""What a user does, through the gateway, while services come and go."""

import json
import os
import threading

from stand import PASSWORD, PATIENCE, SERVICES, until


# What a service logs of itself; any other line is about a request, or what came of it.
OF_ITSELF = (
    "listening", "Server started", "stopped", "the backbone is ", "events cannot be read", "jobs cannot be leased")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def add(stand, title, body, *options):
    status, fields, document = stand.ask("POST", "/api/v1/documents", *options, body={"title": title, "body": body})
    assert status == 201, document
    return document["id"], fields["x-request-id"]


def logs_have(stand, request_id, *names):
    for name in names:
        until(f"{name} logs {request_id}", lambda name=name: request_id in stand.log(name))


def test_one_request_goes_through_all_services_under_one_id(stand):
    registration = stand.sign_in()
    # Two letters: the welcome that the worker sends by itself, and the token that auth has sent.
    until("both mails come", lambda: len(stand.mailbox.mails_to("ada@example.com")) == 2)
    for mail in stand.mailbox.mails_to("ada@example.com"):
        assert mail["From"].addresses[0].addr_spec == "platform@example.com"
        assert mail["X-Request-ID"] == registration
    logs_have(stand, registration, "gateway", "auth", "bus", "worker")

    stand.add_hook("document.*")
    document, request_id = add(stand, "Demo", "a lighthouse at night")
    until("the document is found", lambda: stand.found("lighthouse") == {document})
    status, _, answer = stand.ask("GET", "/search/documents?q=lighthouse")
    assert status == 200 and answer["hits"][0]["snippet"] == "a <em>lighthouse</em> at night"
    assert stand.ask("GET", "/search/documents?q=lighthouse", token=False)[0] == 401

    # Its HMAC was made anew by Python, or it would not be there.
    (message, (hook,)), = until("the webhook comes", lambda: stand.receiver.messages().items())
    assert (hook.body["type"], hook.body["subject"]) == ("document.created", document)
    assert hook.fields["x-request-id"] == request_id
    assert stand.receiver.refused == []
    logs_have(stand, request_id, "gateway", "core", "bus", "worker", "search")

    def delivered():
        status, _, log = stand.ask("GET", "/worker/deliveries")
        assert status == 200
        return [(each["message"], each["event"], each["state"], each["attempt"]) for each in log["deliveries"]]
    assert until("the delivery is in the log", delivered) == [(message, "document.created", "delivered", 1)]

    for name in SERVICES:
        lines = [json.loads(line) for line in stand.log(name).splitlines()]
        about = [line for line in lines if not line["event"].startswith(OF_ITSELF)]
        assert about and [line for line in about if not line.get("request_id")] == [], name

    stand.sign_in("bob@example.com")
    assert stand.ask("GET", f"/api/v1/documents/{document}")[0] == 404
    assert stand.found("lighthouse") == set()
    assert stand.ask("GET", "/worker/deliveries")[2]["deliveries"] == []


def test_one_trace_goes_through_http_events_jobs_webhooks_and_mails_into_the_logs(stand):
    stand.ask(
        "POST", "/auth/register", "-H", f"traceparent: {PARENT}", token=False,
        body={"email": "eve@example.com", "password": PASSWORD})
    # The welcome goes by an event and a job, the letter of auth by a job.
    for mail in until("both mails come", lambda: stand.mailbox.mails_to("eve@example.com")[1:] and stand.mailbox.mails):
        assert TRACE in mail["traceparent"]
    stand.sign_in()
    stand.add_hook("document.*")
    document, _ = add(stand, "Demo", "a lighthouse", "-H", f"traceparent: {PARENT}")
    (_, (hook,)), = until("the webhook comes", lambda: stand.receiver.messages().items())
    assert TRACE in hook.fields["traceparent"]
    until("the document is found", lambda: stand.found("lighthouse") == {document})

    def traced(name):
        lines = (json.loads(line) for line in stand.log(name).splitlines() if line.startswith("{"))
        return {line["event"] for line in lines if line.get("trace_id") == TRACE}
    until("each service's log has it", lambda: all((
        {"request"} <= traced("auth"), {"request"} <= traced("core"), {"request"} <= traced("bus"),
        {"event taken", "job done"} <= traced("worker"), {"event taken"} <= traced("search"))))


def test_a_worker_that_is_killed_in_the_midst_of_a_delivery_makes_a_second_attempt(stand):
    stand.sign_in()
    stand.add_hook("document.created")
    has_come, goes_on = threading.Event(), threading.Event()

    def answer(number):
        if not has_come.is_set():
            has_come.set()
            goes_on.wait(PATIENCE)
        return 204

    stand.receiver.answer["/hook"] = answer
    add(stand, "Demo", "text")
    assert has_come.wait(PATIENCE)
    stand.kill("worker")
    goes_on.set()
    stand.start_service("worker")
    until("the webhook comes again, under its id", lambda: [len(each) for each in stand.receiver.messages().values()] == [2])

    def attempts():
        return [each["attempt"] for each in stand.ask("GET", "/worker/deliveries")[2]["deliveries"]]
    until("the second attempt is in the log", lambda: attempts() == [2])


def test_a_mail_that_was_taken_when_its_worker_was_killed_comes_again_under_its_id(stand):
    def answer(number):
        if number == 1:
            # The mail is whole, and nobody hears that it was taken.
            stand.kill("worker")
        return "250 OK"

    def ids():
        return [mail["Message-ID"] for mail in stand.mailbox.mails_to("ada@example.com")]

    stand.mailbox.answer = answer
    stand.sign_in()
    first = until("a mail is taken", ids)[0]
    stand.start_service("worker")
    until("it comes again", lambda: ids().count(first) == 2)
    until("both letters are there", lambda: len(set(ids())) == 2)
    one, again = (mail.get_content() for mail in stand.mailbox.mails_to("ada@example.com") if mail["Message-ID"] == first)
    assert one == again


def test_a_search_whose_database_is_deleted_makes_it_anew_of_the_log(stand):
    stand.sign_in()
    documents = {add(stand, f"Number {number}", "a harbour")[0] for number in range(5)}
    gone = documents.pop()
    assert stand.ask("DELETE", f"/api/v1/documents/{gone}")[0] == 204
    until("four are found", lambda: stand.found("harbour") == documents)
    stand.kill("search")
    for file in (stand.folder / "search").glob("search.sqlite*"):
        file.unlink()
    stand.start_service("search")
    until("four are found again", lambda: stand.found("harbour") == documents)


def test_the_bus_may_be_stopped_and_what_was_done_meanwhile_arrives_later(stand):
    stand.sign_in()
    stand.add_hook("document.created")
    stand.stop_service("bus")
    document, _ = add(stand, "Away", "a harbour")
    stand.sign_in("eve@example.com")
    assert stand.gauge("core", "outbox_waiting") == 2
    assert stand.found("harbour") == set() and stand.told() == {}
    stand.start_service("bus")
    until("the outboxes are empty", lambda: stand.gauge("core", "outbox_waiting") == 0 == stand.gauge("auth", "outbox_waiting"))
    until("the webhook comes", lambda: set(stand.told()) == {document})
    until("the mails come", lambda: len(stand.mailbox.mails_to("eve@example.com")) == 2)


def test_core_may_be_killed_while_the_bus_and_search_are_away(stand):
    stand.sign_in()
    for name in ("search", "bus"):
        stand.kill(name)
    document, _ = add(stand, "Away", "a harbour")
    assert stand.ask("GET", "/search/documents?q=harbour")[0] == 502
    # What the bus must be told has to outlive core too.
    stand.kill("core")
    for name in ("core", "search", "bus"):
        stand.start_service(name)
    until("the document is found", lambda: stand.found("harbour") == {document})
    assert stand.ask("GET", f"/api/v1/documents/{document}")[0] == 200


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
