"""Takes mails over SMTP, by aiosmtpd, and keeps them in memory. (`mailbox` is a module of Python.)"""

import asyncio
import email
import email.policy
import threading

from aiosmtpd.smtp import SMTP

from ports import free_port, number


class Mailbox:
    """`start()`, then ask `mails_to(address)`."""

    def __init__(self):
        # Its own after a stop too: senders know it by then.
        self.held = free_port()
        self.port = number(self.held)
        # The reply to the n-th mail, from 1; "250 OK" takes it.
        self.answer = lambda number: "250 OK"
        self.mails = []
        self.offered = 0
        self.lock = threading.Lock()
        self.loop = None

    def start(self):
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.serve, args=(self.loop, ready), daemon=True)
        self.thread.start()
        assert ready.wait(10), "the mailbox does not listen"
        return self

    def serve(self, loop, ready):
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(
            loop.create_server(lambda: SMTP(self, hostname="mailbox.test", loop=loop), "127.0.0.1", self.port))
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def stop(self):
        if self.loop:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)
            self.loop = None

    @property
    def url(self):
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_DATA(self, server, session, envelope):
        with self.lock:
            self.offered += 1
            reply = self.answer(self.offered)
            if reply.startswith("250"):
                mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
                # What was said in SMTP, whatever the header says.
                mail.recipients = tuple(envelope.rcpt_tos)
                self.mails.append(mail)
        return reply

    def mails_to(self, address):
        """In the order in which they came, those that came twice too."""
        with self.lock:
            return [mail for mail in self.mails if address in mail.recipients]

    def duplicates(self):
        with self.lock:
            return len(self.mails) - len({mail["Message-ID"] for mail in self.mails})
