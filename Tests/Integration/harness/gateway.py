"""The gateway as a process: its configuration in a folder of its own, its logs read as they come."""

import copy
import fcntl
import json
import os
import signal
import subprocess

from . import names
from .bound import PATIENCE, Lines


def binary():
    return os.environ["GATEHOUSE_BIN"]


def merged(base, change):
    """`base` with the mappings of `change` laid over it; a value of `None` removes the key."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def plain(upstream, **change):
    """One plaintext listener, one service behind every path, nobody asked for a token and nobody limited."""
    base = {
        "version": 1,
        "workers": 2,
        "listeners": {"http": {"bind": ["127.0.0.1:0"], "protocols": ["http/1.1", "h2c"]}},
        "log": {"access": {"to": "stdout", "format": "json"}},
        "services": {"up": {"to": [f"http://{upstream.address}"]}},
        "defaults": {"auth": "none", "limits": []},
        "routes": [{"name": "all", "match": {"prefix": "/"}, "to": "up"}],
    }
    return merged(base, change)


def _json(line):
    try:
        value = json.loads(line)
        return value if isinstance(value, dict) else None
    except ValueError:
        return None


def _handing_over(command, sockets):
    """The command as systemd would run it with these named sockets (sd_listen_fds(3)), and the descriptors to pass on."""
    if not sockets:
        return command, ()
    # Out of the way of 3 and those that follow.
    kept = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100) for _, sock in sockets]
    moves = " ".join(f"{3 + index}<&{number}" for index, number in enumerate(kept))
    names = ":".join(name for name, _ in sockets)
    script = (f"exec {moves}; export LISTEN_PID=$$ LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names}; "
              'exec "$0" "$@"')
    return ["bash", "-c", script, *command], kept


class Gateway:
    """A running gateway. `stop` is called by the fixture that made it."""

    def __init__(self, folder, config, options=("--drain-timeout", "2"), listeners=None, environment=None,
                 handed_over=(), prepare=None):
        self.folder = folder
        self.file = folder / "gatehouse.yaml"
        self.write(config)
        self.listeners = listeners
        if listeners is None:
            self.listeners = list(config["listeners"])
            if config.get("admin", {}).get("listen"):
                self.listeners.append("admin")
        command, kept = _handing_over([binary(), "run", "--config", str(self.file), *options], handed_over)
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})}, pass_fds=kept,
            # Run in the child before the program: limits of resources, for one.
            preexec_fn=prepare)
        for number in kept:
            os.close(number)
        self.events = Lines(self.process.stderr, _json)
        self.access = Lines(self.process.stdout, _json)
        self.addresses = {}
        for name in self.listeners:
            event = self.event(names.LISTENING, listener=name)
            self.addresses[name] = event["address"]

    def write(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        # Whole or not at all, as an editor saves: a reload never reads half a file.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)

    def event(self, name, seconds=None, start=0, **fields):
        """The first event called `name` whose fields are as given."""
        def matches(entry):
            return entry.get("event") == name and all(entry.get(key) == value for key, value in fields.items())
        return self.events.wait(matches, f"event {name} {fields}", seconds, start)

    def access_line(self, request_id=None, **fields):
        """The access line of a request, which a log thread writes after the answer has gone."""
        if request_id is not None:
            fields["request_id"] = request_id
        def matches(entry):
            return all(entry.get(key) == value for key, value in fields.items())
        return self.access.wait(matches, f"access line {fields}")

    def address(self, listener=None):
        host, port = self.addresses[listener or self.listeners[0]].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def url(self, path="/", listener=None, scheme="http"):
        host, port = self.address(listener)
        return f"{scheme}://{host}:{port}{path}"

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self, config=None, good=True):
        """SIGHUP, and the event that says what came of it."""
        if config is not None:
            self.write(config)
        start = len(self.events.all)
        self.signal(signal.SIGHUP)
        return self.event(names.RELOADED if good else names.RELOAD_REFUSED, start=start)

    def wait(self, seconds=None):
        """The exit status; the logs are whole afterwards."""
        status = self.process.wait(seconds or PATIENCE)
        self.events.finish()
        self.access.finish()
        return status

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def stop(self):
        """Ends the process, if a test has not, and fails where it did not end well."""
        if self.process.poll() is None:
            self.process.terminate()
            # Asked a second time, it waits no longer for connections that a test has left open.
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self._fail("it did not end after SIGTERM")
        self.events.finish()
        self.access.finish()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()
        if self.process.returncode != 0:
            self._fail(f"it ended with {self.process.returncode}")

    def _fail(self, what):
        log = b"".join(self.events.raw[-80:]).decode(errors="replace")
        raise AssertionError(f"the gateway: {what}; the end of its error log:\n{log}")


def run(*arguments):
    """One call of the program that ends by itself: status, output, error output."""
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr
