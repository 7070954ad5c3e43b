"""The webhook receiver and the mailbox can tell good from bad: a judge that takes everything shows nothing."""

import base64
import hashlib
import hmac
import json
import smtplib
import time
import urllib.error
import urllib.request

import pytest

from postbox import Mailbox
from receiver import Receiver, fault

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# The specification's own example.
FIELDS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}
BODY = b'{"test": 2432232314}'


def test_the_receiver_believes_the_example_of_the_specification_and_nothing_near_it():
    now = 1614265330
    assert fault([SECRET], FIELDS, BODY, now) is None
    other = "whsec_" + "A" * 32
    assert fault([other, SECRET], FIELDS, BODY, now + 299) is None
    two = {**FIELDS, "webhook-signature": "v1,AAAA v2,x " + FIELDS["webhook-signature"]}
    assert fault([SECRET], two, BODY, now) is None
    assert fault([], FIELDS, BODY, now) and fault([other], FIELDS, BODY, now)
    assert fault([SECRET], FIELDS, BODY + b" ", now)
    assert fault([SECRET], FIELDS, BODY, now + 301) and fault([SECRET], FIELDS, BODY, now - 301)
    for name in FIELDS:
        assert fault([SECRET], {**FIELDS, name: ""}, BODY, now)
    assert fault([SECRET], {**FIELDS, "webhook-id": "msg_q"}, BODY, now)


def sent(receiver, name, secret=SECRET, path="/hook"):
    body, when = json.dumps({"type": "t.t"}).encode(), str(int(time.time()))
    code = hmac.new(base64.b64decode(secret[6:]), f"{name}.{when}.".encode() + body, hashlib.sha256).digest()
    request = urllib.request.Request(receiver.url(path), data=body, headers={
        "webhook-id": name, "webhook-timestamp": when,
        "webhook-signature": "v1," + base64.b64encode(code).decode()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_receiver_counts_messages_that_come_twice_and_goes_on_after_a_stop():
    receiver = Receiver().start()
    try:
        assert sent(receiver, "a") == 401 and receiver.refused
        receiver.trust("/hook", SECRET)
        receiver.answer["/hook"] = lambda number: 503 if number == 1 else 204
        assert [sent(receiver, name) for name in ("a", "a", "b", "a")] == [503, 204, 204, 204]
        assert sent(receiver, "a", path="/other") == 401
        receiver.stop()
        with pytest.raises(OSError):
            sent(receiver, "c")
        receiver.start()
        assert sent(receiver, "c") == 204
        assert {name: len(all_of_one) for name, all_of_one in receiver.messages().items()} == {"a": 2, "b": 1, "c": 1}
        assert receiver.duplicates() == 1
        assert receiver.messages()["a"][0].body == {"type": "t.t"}
    finally:
        receiver.stop()


def test_the_mailbox_keeps_what_it_took_and_goes_on_after_a_stop():
    mailbox = Mailbox().start()
    try:
        def send(name, to="ada@example.com"):
            with smtplib.SMTP("127.0.0.1", mailbox.port, timeout=10) as client:
                client.sendmail("us@example.com", [to], f"Subject: {name}\r\nMessage-ID: <{name}@x>\r\n\r\nHello\r\n")

        mailbox.answer = lambda number: "451 later" if number == 1 else "250 OK"
        with pytest.raises(smtplib.SMTPDataError):
            send("one")
        send("one")
        send("two", to="bob@example.com")
        mailbox.stop()
        with pytest.raises(OSError):
            send("three")
        mailbox.start()
        send("one")
        mails = mailbox.mails_to("ada@example.com")
        assert [mail["Subject"] for mail in mails] == ["one", "one"]
        assert mails[0].get_content() == "Hello\n" or mails[0].get_content() == "Hello\r\n"
        assert mailbox.mails_to("carol@example.com") == [] and mailbox.duplicates() == 1
    finally:
        mailbox.stop()
