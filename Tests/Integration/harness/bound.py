"""Waiting with an end: every wait of a test has a deadline, and none is a pause of fixed length."""

import os
import threading
import time

# Sanitizers cost an order of magnitude, and machines that build at the same time cost another.
SANITIZER = os.environ.get("GATEHOUSE_SANITIZER", "")
PATIENCE = float(os.environ.get("GATEHOUSE_PATIENCE", "60" if SANITIZER else "20"))
FULL = os.environ.get("GATEHOUSE_FULL") == "1"


class TooLate(AssertionError):
    """What a test waited for did not happen."""


def until(check, what, seconds=None):
    """The first true value of `check()`; for facts that only asking can show, such as a file's content."""
    deadline = time.monotonic() + (seconds or PATIENCE)
    pause = threading.Event()
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TooLate(f"not within {seconds or PATIENCE} s: {what}")
        pause.wait(0.01)


class Lines:
    """Lines of a pipe as they come, kept, and waited for by what they say."""

    def __init__(self, pipe, parse):
        self.all = []
        self.raw = []
        self._parse = parse
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe):
        for line in pipe:
            with self._changed:
                self.raw.append(line)
                value = self._parse(line)
                if value is not None:
                    self.all.append(value)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, wanted, what, seconds=None, start=0):
        """The first entry from index `start` on for which `wanted` holds."""
        deadline = time.monotonic() + (seconds or PATIENCE)
        looked = start
        with self._changed:
            while True:
                for entry in self.all[looked:]:
                    if wanted(entry):
                        return entry
                looked = max(looked, len(self.all))
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    tail = b"".join(self.raw[-30:]).decode(errors="replace")
                    raise TooLate(f"{'the process ended' if self._ended else 'too late'}: {what}\n{tail}")
                self._changed.wait(left)

    def finish(self):
        self._thread.join(PATIENCE)
