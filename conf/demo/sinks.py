"""Where the demonstration's mails and webhooks arrive. Prints one JSON line for each port it has, and for whatever arrives.
Its arguments are names of services: it keeps a port for each, on which it does not listen.

The first attempt of a webhook to a path that ends in `/slow` is answered after eight seconds, another at once.
"""

import json
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Tests/Platform"))

from ports import free_port, number  # noqa: E402
from postbox import Mailbox  # noqa: E402
from receiver import Receiver  # noqa: E402

_lock = threading.Lock()


def tell(**members):
    with _lock:
        print(json.dumps(members), flush=True)


class TellingMailbox(Mailbox):
    async def handle_DATA(self, server, session, envelope):
        reply = await super().handle_DATA(server, session, envelope)
        mail = self.mails[-1]
        for address in envelope.rcpt_tos:
            tell(event="mail", to=address, subject=mail["Subject"], request_id=mail["X-Request-ID"])
        return reply


class TellingReceiver(Receiver):
    """Takes whatever comes: whether it is to be believed, the demonstration judges by itself."""

    attempted = set()

    def take(self, path, fields, body):
        # Told before it is answered: whoever reads the line knows that the sender waits.
        names = ("webhook-id", "webhook-timestamp", "webhook-signature", "x-request-id")
        tell(event="webhook", path=path, body=body.decode(), **{name: fields.get(name) for name in names})
        with self.lock:
            is_first = path not in self.attempted
            self.attempted.add(path)
        if is_first and path.endswith("/slow"):
            time.sleep(8)
        return 204


def main():
    held = {name: free_port() for name in sys.argv[1:]}
    for name in held:
        tell(event="held", service=name, port=number(held[name]))
    mailbox, receiver = TellingMailbox().start(), TellingReceiver().start()
    tell(event="listening", sink="mail", port=mailbox.port)
    tell(event="listening", sink="webhooks", port=receiver.port, url=receiver.url())
    is_over = threading.Event()
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: is_over.set())
    is_over.wait()
    receiver.stop()
    mailbox.stop()


main()
