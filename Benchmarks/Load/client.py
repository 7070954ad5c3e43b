"""Driving the load generator: it says "ready" behind its warm-up, and what is read between that and its answer is the cost
of exactly the counted requests."""

import json
import subprocess

from bench.peers import OTHER_CORE, pinned


class LoadFailed(Exception):
    """The round has an error in it and is none."""


class Load:
    def __init__(self, program, port, scenario, yard, warm, count, connections=None, streams=None, rate=None):
        words = [str(program), "--port", str(port), "--warm", str(warm), "--count", str(count),
                 "--connections", str(connections or scenario.connections), "--status", str(scenario.status),
                 "--path", scenario.path]
        if scenario.tls:
            words.append("--tls")
        if scenario.protocol == "h2":
            words += ["--h2", "--streams", str(streams or scenario.streams)]
        if scenario.tokens:
            words += ["--tokens", str(yard.tokens.file(scenario.tokens, warm + count))]
        if scenario.status == 200 and scenario.body:
            words += ["--body", str(yard.body(scenario.path))]
        if scenario.upload:
            words += ["--upload", str(scenario.upload)]
        if scenario.each:
            words.append("--each")
        if scenario.resume:
            words.append("--resume")
        if scenario.grpc:
            words.append("--grpc")
        if scenario.kind == "reload":
            words += ["--count-errors", "--generations"]
        if rate:
            words += ["--rate", f"{rate:.1f}"]
        self.child = subprocess.Popen(pinned(OTHER_CORE, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            self._fail()

    def _fail(self):
        self.child.kill()
        _, errors = self.child.communicate()
        raise LoadFailed(errors.strip() or f"the load ended with {self.child.returncode}")

    def run(self):
        """The counted requests: what the client says of them."""
        self.go()
        return self.said()

    def go(self):
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    def said(self):
        line = self.child.stdout.readline()
        if not line:
            self._fail()
        return json.loads(line)

    def end(self):
        self.child.communicate("end\n", timeout=60)
