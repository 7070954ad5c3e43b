"""What a request costs, counted: instructions by the hardware where it has a counter, else user-space instructions by
valgrind; system calls by strace; allocations by valgrind; CPU time by the kernel's own account.

Each count is taken at two numbers of requests and the difference divided: start, handshakes and end cancel out."""

import pathlib
import re
import signal
import subprocess
import time

from .peers import PROXY_CORE, pinned


def has_counter():
    """Whether this machine counts instructions in hardware, for user and kernel."""
    try:
        done = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "true"],
                              capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return False
    lines = [line for line in done.stderr.splitlines() if "instructions" in line]
    return done.returncode == 0 and len(lines) == 2 and all(line.split(",")[0].isdigit() for line in lines)


def slope(measure, few, many):
    """Cost of one request: the difference of two measurements by the difference of their requests."""
    low, high = measure(few), measure(many)
    if isinstance(low, tuple):
        return tuple((b - a) / (many - few) for a, b in zip(low, high))
    return (high - low) / (many - few)


def by_hardware(bench, peer, protocol, few=20_000, many=100_000):
    """(user, kernel) instructions a request."""
    bench.load(peer, protocol, 20_000)

    def measure(requests):
        perf = subprocess.Popen(
            ["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "-p", str(peer.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # perf says nothing when it has attached; what it misses of the start is the same at both points.
        time.sleep(0.3)
        bench.load(peer, protocol, requests)
        perf.send_signal(signal.SIGINT)
        _, text = perf.communicate(timeout=60)
        counts = [int(line.split(",")[0]) for line in text.splitlines() if "instructions" in line]
        return tuple(counts)

    return slope(measure, few, many)


def cpu_nanoseconds(pid):
    """CPU time of all threads of a process, user and kernel."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def requests_per_cpu_second(bench, peer, protocol, few=5_000, many=60_000):
    bench.load(peer, protocol, 5_000)

    def measure(requests):
        before = cpu_nanoseconds(peer.pid)
        bench.load(peer, protocol, requests)
        return cpu_nanoseconds(peer.pid) - before

    return 1e9 / slope(measure, few, many)


def system_calls(bench, peer, protocol, few=500, many=3_000):
    """System calls a request, by strace."""
    def measure(requests):
        report = bench.folder / "strace.txt"
        # strace must not share the core with what it follows any more than needed, but it must follow all threads.
        strace = subprocess.Popen(["strace", "-c", "-f", "-o", str(report), "-p", str(peer.pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = strace.stderr.readline()
        if "attached" not in line:
            raise SystemExit(f"strace cannot follow a process here: {line}{strace.stderr.read()}")
        bench.load(peer, protocol, requests)
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=60)
        return int(re.search(r"^\s*100\.00\s+\S+\s+\S*\s+(\d+).*total$", report.read_text(), re.MULTILINE)[1])

    bench.load(peer, protocol, 1_000)
    return slope(measure, few, many)


VALGRIND_FEW, VALGRIND_MANY = 300, 1_500
CACHEGRIND = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
CACHEGRIND_COUNT = r"I\s+refs:\s+([\d,]+)"
DHAT = ["--tool=dhat", "--dhat-out-file=/dev/null", "--soname-synonyms=somalloc=*jemalloc*"]
DHAT_COUNT = r"Total:\s+[\d,]+ bytes in ([\d,]+) blocks"


def valgrind_count(text, pattern):
    """`None` when it did not say one."""
    found = re.search(pattern, text)
    return int(found[1].replace(",", "")) if found else None


def _under_valgrind(bench, name, features, protocol, tool, pattern, connections=4, streams=8):
    def measure(requests):
        wrapper = ["valgrind", *tool, f"--log-file={bench.folder}/valgrind.txt", "--trace-children=no"]
        peer = bench.peer(name, features, protocol, wrapper)
        # Few connections: valgrind runs one thread at a time, and a queue in front of it changes what is batched.
        bench.load(peer, protocol, 200, connections=connections, streams=streams)
        bench.load(peer, protocol, requests, connections=connections, streams=streams)
        bench.stop(peer)
        text = (bench.folder / "valgrind.txt").read_text()
        count = valgrind_count(text, pattern)
        if count is None:
            raise SystemExit(f"valgrind did not say its count:\n{text[-2000:]}")
        return count

    return slope(measure, VALGRIND_FEW, VALGRIND_MANY)


def by_valgrind(bench, name, features, protocol):
    """User-space instructions a request; the kernel's are not seen."""
    return _under_valgrind(bench, name, features, protocol, CACHEGRIND, CACHEGRIND_COUNT)


def allocations(bench, name, features, protocol):
    """Calls of malloc and its like a request, in whatever library: Swift's, OpenSSL's, nghttp2's.

    One request at a time. OpenSSL makes six pieces of memory a wake-up, not a request: for what is written a record
    buffer (SSL_MODE_RELEASE_BUFFERS gives it back, which is what keeps idle connections small) and three of 40 bytes
    that its WPACKET takes, for what is read a record buffer and one. With several streams, how many requests share a
    wake-up is chance; with one, each has one of its own, and the count is the same from run to run."""
    return _under_valgrind(bench, name, features, protocol, DHAT, DHAT_COUNT, connections=1, streams=1)
