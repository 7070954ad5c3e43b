"""Instructions of one call of a function in a running program, counted by single steps of the processor itself: nothing is
emulated, so that code for this very machine runs, and nothing but the call is counted, no timer and no other thread.

Some 15,000 steps a second. A repeated instruction (`rep movsb`) counts once, as hardware counters have it. The rest of the
thread stands still for as long. x86-64 and the right to trace are needed; Linux's ptrace(2)."""

import contextlib
import ctypes
import os
import pathlib
import platform
import re
import signal
import subprocess

PEEKTEXT, PEEKUSER, POKETEXT, POKEUSER, CONT, SINGLESTEP, DETACH = 1, 3, 4, 6, 7, 9, 17
SEIZE, INTERRUPT = 0x4206, 0x4207
# Offsets of `struct user`.
INSTRUCTION_POINTER, STACK_POINTER = 128, 152
TRAP = 0xCC
REPEATING = (0xF2, 0xF3)
ALL_THREADS = 0x40000000
WORD = (1 << 64) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class NotSteppable(Exception):
    """Why nothing can be stepped here."""


def _ask(request, thread, address=0, data=0):
    ctypes.set_errno(0)
    value = _ptrace(request, thread, address, data)
    if value == -1 and (number := ctypes.get_errno()):
        raise NotSteppable(f"ptrace {request}: {os.strerror(number)}")
    return value & WORD


def symbol(program, pattern):
    """The address in `program` of the one function whose name matches."""
    listed = subprocess.run(["nm", "--defined-only", str(program)], capture_output=True, text=True, timeout=120, check=True)
    found = {line.split()[0] for line in listed.stdout.splitlines()
             if line.split()[1] in "tT" and re.fullmatch(pattern, line.split()[2])}
    if len(found) != 1:
        raise NotSteppable(f"{program} has {len(found)} functions like {pattern}")
    return int(found.pop(), 16)


def _start(pid):
    """Where the program, which may stand anywhere, was loaded."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return int(maps.readline().split("-")[0], 16)


class Stepped:
    """A thread whose calls of the function at `address` of its program are counted. For the one thread that made it."""

    def __init__(self, pid, thread, address):
        if platform.machine() != "x86_64":
            raise NotSteppable("only x86-64 is known here")
        self.thread = thread
        self.entry = _start(pid) + address
        _ask(SEIZE, thread)
        _ask(INTERRUPT, thread)
        self._stop()
        self.code = _ask(PEEKTEXT, thread, self.entry)
        self._arm(True)

    def close(self):
        """The thread is to stand still: between two calls of `count`."""
        with contextlib.suppress(NotSteppable):
            self._arm(False)
            _ask(DETACH, self.thread)

    def _arm(self, is_armed):
        _ask(POKETEXT, self.thread, self.entry, self.code & ~0xFF | TRAP if is_armed else self.code)

    def _stop(self):
        _, status = os.waitpid(self.thread, ALL_THREADS)
        if not os.WIFSTOPPED(status):
            raise NotSteppable("the program ended")
        # What is above the signal says that it is none, but of ptrace itself.
        return os.WSTOPSIG(status), status >> 16

    def count(self):
        """The instructions of the next call, its last included. The thread stands still behind it."""
        number = 0
        while True:
            _ask(CONT, self.thread, 0, number)
            number, event = self._stop()
            if event:
                number = 0
            elif number == signal.SIGTRAP:
                break
        if _ask(PEEKUSER, self.thread, INSTRUCTION_POINTER) != self.entry + 1:
            raise NotSteppable("stopped where nobody wanted it")
        _ask(POKEUSER, self.thread, INSTRUCTION_POINTER, self.entry)
        self._arm(False)
        stack = _ask(PEEKUSER, self.thread, STACK_POINTER)
        back = _ask(PEEKTEXT, self.thread, stack)
        counted, before, at = 0, 0, self.entry
        while at != back or _ask(PEEKUSER, self.thread, STACK_POINTER) <= stack:
            is_again = at == before and _ask(PEEKTEXT, self.thread, at) & 0xFF in REPEATING
            counted += 0 if is_again else 1
            before = at
            _ask(SINGLESTEP, self.thread)
            self._stop()
            at = _ask(PEEKUSER, self.thread, INSTRUCTION_POINTER)
        self._arm(True)
        return counted


def threads(pid):
    """The CPU time of each thread, in ns."""
    return {int(task.name): int((task / "schedstat").read_text().split()[0])
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}
