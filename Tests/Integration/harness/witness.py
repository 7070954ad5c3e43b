"""A well-behaved client in a process of its own, beside whoever attacks: `python3 witness.py HOST PORT`. It asks over HTTP/1.1
and over HTTP/2 in turn, and says at the end of its input how often, how often in vain, and how long the answers took."""

import json
import pathlib
import select
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import crowd

PAUSE = 0.004
LONGEST, MOST_ERRORS = 300, 100


class Speaker2:
    """Requests one after the other over one HTTP/2 connection."""

    def __init__(self, address):
        self.socket = crowd.connect(address)
        self.frames = crowd.Frames(self.socket)
        self.socket.sendall(crowd.PREFACE + crowd.frame(crowd.SETTINGS, 0, 0))
        self.stream = 1

    def ask(self):
        number, self.stream = self.stream, self.stream + 2
        self.socket.sendall(crowd.frame(crowd.HEADERS, crowd.END_STREAM | crowd.END_HEADERS, number, crowd.ROOT))
        taken, status = 0, None
        while True:
            kind, flags, stream, payload = self.frames.next()
            if kind == crowd.SETTINGS and not flags & crowd.ACK:
                self.socket.sendall(crowd.frame(crowd.SETTINGS, crowd.ACK, 0))
            if kind in (crowd.RST_STREAM, crowd.GOAWAY):
                raise ValueError(f"frame {kind} for the witness")
            if kind == crowd.HEADERS and stream == number:
                status = payload[0]
            if kind == crowd.DATA:
                taken += len(payload)
            if stream == number and kind in (crowd.DATA, crowd.HEADERS) and flags & crowd.END_STREAM:
                # ":status: 200" stands in the static table at 8.
                if status != 0x88:
                    raise ValueError(f"the answer began with {status}")
                if taken:
                    self.socket.sendall(crowd.frame(crowd.WINDOW_UPDATE, 0, 0, taken.to_bytes(4, "big")))
                return


class Speaker1:
    """The same over HTTP/1.1."""

    def __init__(self, address):
        self.socket = crowd.connect(address)

    def ask(self):
        crowd.ask_http1(self.socket)


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    speakers = [Speaker1(address), Speaker2(address)]
    for speaker in speakers:
        speaker.ask()
    print("ready", flush=True)
    times, errors = [], []
    turn = 0
    end = time.monotonic() + LONGEST
    # Whoever asked may be gone, and the gateway too.
    while time.monotonic() < end and len(errors) < MOST_ERRORS and not select.select([sys.stdin], [], [], PAUSE)[0]:
        turn += 1
        begin = time.monotonic()
        try:
            speakers[turn % 2].ask()
        except Exception as error:  # whatever it is, it is an error that the client saw
            errors.append(repr(error))
            try:
                speakers[turn % 2] = (Speaker2 if turn % 2 else Speaker1)(address)
            except OSError:
                break
        times.append(time.monotonic() - begin)
    times.sort()
    print(json.dumps({"count": len(times), "errors": errors[:5], "failed": len(errors),
                      "p99": times[min(len(times) - 1, len(times) * 99 // 100)] if times else 0.0}), flush=True)


if __name__ == "__main__":
    main()
