"""One cell: a scenario at a target, once. What is read of the target is its cost over exactly the counted requests."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import time

from bench.counting import CACHEGRIND, CACHEGRIND_COUNT, DHAT, DHAT_COUNT, cpu_nanoseconds, slope, valgrind_count
from bench.peers import OTHER_CORE, pinned

from .client import Load, LoadFailed

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "Integration"))
SETTLE_SECONDS = 3
EVENTS = "instructions:u,instructions:k,cycles:u,cycles:k"


def ticks(pid):
    """User and system ticks of a process, as the kernel tells them apart."""
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]), int(words[12])


def by_thread(pid):
    """CPU time of each thread."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


def by_worker(process):
    """Requests that each worker has done, as Gatehouse says itself; nothing of other targets."""
    if not process.admin_port:
        return []
    link = http.client.HTTPConnection("127.0.0.1", process.admin_port, timeout=20)
    link.request("GET", "/metrics")
    text = link.getresponse().read().decode()
    link.close()
    return [int(value) for value in re.findall(r'^gatehouse_worker_exchanges_total{worker="\d+"} (\d+)$', text, re.MULTILINE)]


def prime(yard, process, scenario):
    """Until a refusal is what is answered: a limit must first be used up, a bad token first be seen."""
    token = yard.tokens.file(scenario.tokens).read_text().split()[0] if scenario.tokens else None
    for _ in range(20):
        link = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
        link.request("GET", scenario.path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = link.getresponse()
        answer.read()
        link.close()
        if answer.status == scenario.status:
            return
    raise LoadFailed(f"status {answer.status} in place of {scenario.status}")


@contextlib.contextmanager
def serving(yard, target, scenario, wrapper=()):
    with yard.grpc_service() if scenario.grpc else contextlib.nullcontext():
        process = yard.target(target, scenario.tls, scenario.job, scenario.limited, scenario.rsa, wrapper, scenario.routes,
                              scenario.workers, scenario.grpc, scenario.kind == "reload")
        try:
            if scenario.status != 200:
                prime(yard, process, scenario)
            yield process
        finally:
            yard.stop_target(target, process)


def judged(said, scenario):
    """Handshakes must be of the kind that was asked for."""
    if scenario.each:
        wanted = said["handshakes"] if scenario.resume else 0
        if said["resumed"] != wanted or said["handshakes"] < said["answers"] - scenario.connections:
            raise LoadFailed(f"{said['resumed']} of {said['handshakes']} handshakes were resumed, not {wanted}")
    return said


def cost(yard, program, target, scenario, has_counter, scale):
    """CPU time, and what the hardware counts where it does."""
    with serving(yard, target, scenario) as process:
        count = max(200, int(scenario.count * scale)) if scenario.count > 200 else scenario.count
        load = Load(program, process.port, scenario, yard, scenario.warm, count)
        perf = None
        if has_counter:
            perf = subprocess.Popen(["perf", "stat", "-x,", "-e", EVENTS, "-p", str(process.pid)],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            # It says nothing when it has attached; the target is idle meanwhile.
            time.sleep(0.3)
        # What the target still does for the warm-up (a log that is written later, memory that is given back) is not of
        # the counted requests.
        time.sleep(0.05)
        upstream = cpu_nanoseconds(yard.upstream.pid)
        threads = by_thread(process.pid)
        workers = by_worker(process)
        user, system, nanoseconds = *ticks(process.pid), cpu_nanoseconds(process.pid)
        said = judged(load.run(), scenario)
        # What is left to do behind the last answer (its log line) is of the counted requests.
        time.sleep(0.05)
        nanoseconds = cpu_nanoseconds(process.pid) - nanoseconds
        user, system = (after - before for after, before in zip(ticks(process.pid), (user, system)))
        upstream = cpu_nanoseconds(yard.upstream.pid) - upstream
        most = max(after - threads.get(name, 0) for name, after in by_thread(process.pid).items())
        result = {"answers": said["answers"], "seconds": said["seconds"], "cpu_us": nanoseconds / count / 1000,
                  "user_share": user / max(1, user + system), "busy": nanoseconds / 1e9 / said["seconds"],
                  "busiest_thread": most / max(1, nanoseconds),
                  "other_busy": (upstream / 1e9 + said["client_cpu"]) / said["seconds"],
                  "latency_us": said["latency_us"]}
        if workers:
            done = [after - before for after, before in zip(by_worker(process), workers)]
            result["busiest_worker"] = max(done) / sum(done)
        if perf:
            perf.send_signal(signal.SIGINT)
            _, text = perf.communicate(timeout=60)
            for line in text.splitlines():
                words = line.split(",")
                if len(words) > 2 and words[0].isdigit():
                    result[words[2].replace(":", "_")] = int(words[0]) / count
        load.end()
        return result


def under_valgrind(yard, program, target, scenario, tool, pattern, connections, streams):
    """What a tool of valgrind counts, a request: the difference of two numbers of requests."""
    def measure(requests):
        report = yard.folder / "valgrind.txt"
        wrapper = ["valgrind", *tool, f"--log-file={report}", "--trace-children=no"]
        with serving(yard, target, scenario, wrapper) as process:
            load = Load(program, process.port, scenario, yard, scenario.valgrind_warm, requests, connections, streams)
            judged(load.run(), scenario)
            load.end()
        count = valgrind_count(report.read_text(), pattern)
        if count is None:
            raise LoadFailed("valgrind did not say its count")
        return count

    return slope(measure, scenario.valgrind_few, scenario.valgrind_many)


def counted(yard, program, target, scenario):
    """User-space instructions a request."""
    return {"instructions": under_valgrind(yard, program, target, scenario, CACHEGRIND, CACHEGRIND_COUNT,
                                           scenario.valgrind_connections, scenario.valgrind_streams)}


def allocations(yard, program, target, scenario):
    """Allocations a request, one request at a time: see `bench.counting.allocations`."""
    return {"allocations": under_valgrind(yard, program, target, scenario, DHAT, DHAT_COUNT, 1, 1)}


def calls(yard, program, target, scenario):
    """System calls a request, by strace, which is attached over the counted requests alone."""
    count = max(20, min(3_000, scenario.count // 10))
    with serving(yard, target, scenario) as process:
        load = Load(program, process.port, scenario, yard, min(scenario.warm, 1_000), count)
        report = yard.folder / "strace.txt"
        strace = subprocess.Popen(["strace", "-c", "-f", "-o", str(report), "-p", str(process.pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if "attached" not in strace.stderr.readline():
            raise LoadFailed("strace cannot follow a process here")
        # It says the first thread at once and the others behind it.
        time.sleep(0.3)
        judged(load.run(), scenario)
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=60)
        load.end()
    total = re.search(r"^\s*100\.00\s+\S+\s+\S*\s+(\d+).*total$", report.read_text(), re.MULTILINE)
    if not total:
        raise LoadFailed("strace did not say its count")
    return {"calls": int(total[1]) / count}


def crossed(yard, target, scenario, scale):
    """CPU time a request under h2load, a load generator of others: the difference of two numbers of requests."""
    with serving(yard, target, scenario) as process:
        def measure(requests):
            words = ["h2load", "-n", str(requests), "-c", str(scenario.connections), "-t", "1"]
            words += ["-m", str(scenario.streams)] if scenario.protocol == "h2" else ["--h1"]
            words.append(f"{'https' if scenario.tls else 'http'}://127.0.0.1:{process.port}{scenario.path}")
            before = cpu_nanoseconds(process.pid)
            done = subprocess.run(pinned(OTHER_CORE, words), capture_output=True, text=True, timeout=600, check=False)
            if f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" not in done.stdout \
                    or f"status codes: {requests} 2xx" not in done.stdout:
                raise LoadFailed(f"h2load: {done.stdout[-300:]}{done.stderr[-300:]}")
            time.sleep(0.05)
            return (cpu_nanoseconds(process.pid) - before) / 1000

        few, many = 3_000, 3_000 + max(2_000, int(scenario.count * scale))
        measure(few)
        return {"h2load_us": slope(measure, few, many)}


def memory(yard, target, scenario, scale):
    """KiB that an idle connection holds in the target, the way of `idle-memory`."""
    from harness import crowd

    count = max(100, int(scenario.count * scale))
    protocol = "h2" if scenario.protocol == "h2" else "http/1.1"
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols([protocol])
    with serving(yard, target, scenario) as process:
        address = ("127.0.0.1", process.port)
        warm = crowd.crowd(address, 100, protocol, tls)
        before = crowd.pss_bytes(process.pid)
        sockets = crowd.crowd(address, count, protocol, tls)
        # A session of HTTP/2 gives its memory back when it has been idle for a second.
        time.sleep(SETTLE_SECONDS)
        grown = (crowd.pss_bytes(process.pid) - before) / count / 1024
        for sock in warm + sockets:
            sock.close()
    return {"kib": grown}


SHARES = (0.1, 0.3, 0.6, 0.9)
LATENCY_SECONDS, LEAST_ARRIVALS = 3, 1_000


def latency(yard, program, target, scenario, scale):
    """The time from when a request was due to its answer, at shares of what the target can do, which is found first: the rate
    of a load that always has the next request ready; or at rates that are the same for all."""
    result = {"shares": {}}
    with serving(yard, target, scenario) as process:
        load = Load(program, process.port, scenario, yard, scenario.warm, max(2_000, int(scenario.count * scale)))
        result["capacity"] = load.run()
        load.end()
        capacity = result["capacity"]["answers"] / result["capacity"]["seconds"]
        for share in scenario.rates or SHARES:
            rate = share if scenario.rates else capacity * share
            count = max(LEAST_ARRIVALS, int(rate * LATENCY_SECONDS * scale))
            load = Load(program, process.port, scenario, yard, 500, count, rate=rate)
            mine, upstream = cpu_nanoseconds(process.pid), cpu_nanoseconds(yard.upstream.pid)
            said = load.run()
            mine, upstream = cpu_nanoseconds(process.pid) - mine, cpu_nanoseconds(yard.upstream.pid) - upstream
            load.end()
            # A load that does not keep its rate asks less than it says; and where it is late itself, or its core is full, it
            # is not the target that is measured.
            result["shares"][str(share)] = {
                "rate": rate, "kept": said["answers"] / said["seconds"], **said["latency_us"],
                "late_p99": said["late_us"]["p99"], "late_of_slowest": said["late_of_slowest"],
                "busy": mine / 1e9 / said["seconds"], "other_busy": (upstream / 1e9 + said["client_cpu"]) / said["seconds"]}
    result["capacity"] = capacity
    return result


RELOAD_SECONDS = 1


def tree(pid):
    """A process and all below it."""
    below = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                below.setdefault(int(words[1]), []).append(int(folder.name))
    found = [pid]
    for process in found:
        found += below.get(process, [])
    return found


def tree_nanoseconds(pid):
    """CPU time of a process and all below it, of the threads and processes too that have ended: of those the kernel tells in
    ticks."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            # The clock of the process, by the number that the kernel gives it.
            total += time.clock_gettime_ns(~process << 3 | 2)
            total += (int(words[13]) + int(words[14])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    return total


def reloads(yard, program, target, scenario, scale):
    """The same load twice at the same target: left alone, then reloaded each second. What each reload brought is a number in
    the answers, so that the client judges which were done. Errors are counted, and are no reason to refuse the round but
    where they are Gatehouse's: it says that there are none."""
    count = max(2 * scenario.rate * RELOAD_SECONDS, int(scenario.count * scale))
    result = {"reloads": 0, "count": count}
    with serving(yard, target, scenario) as process:
        for name in ("quiet", "reloaded"):
            load = Load(program, process.port, scenario, yard, scenario.warm, count, rate=scenario.rate)
            time.sleep(0.05)
            start = tree_nanoseconds(process.pid)
            begin = time.monotonic()
            load.go()
            if name == "reloaded":
                # The last of them a second before the end, that it is seen.
                for number in range(1, count // (scenario.rate * RELOAD_SECONDS)):
                    time.sleep(max(0, begin + number * RELOAD_SECONDS - time.monotonic()))
                    process.configuration.reload(process, number)
                    result["reloads"] = number
            said = load.said()
            time.sleep(0.05)
            cpu_us = (tree_nanoseconds(process.pid) - start) / count / 1000
            load.end()
            result[name] = {"cpu_us": cpu_us, "errors": said["errors"], "retried": said["retried"],
                            "ended": said["reconnections"], "seen": said["generations"] - 1, "said": said["first_error"],
                            **said["latency_us"]}
    result["cpu_us"] = result["reloaded"]["cpu_us"]
    if result["quiet"]["errors"] or result["quiet"]["seen"]:
        raise LoadFailed(f"errors without any reload: {result['quiet']}")
    seen = result["reloaded"]
    if target.name == "gatehouse" and (seen["errors"] or seen["ended"] or seen["retried"] or seen["seen"] != result["reloads"]):
        raise LoadFailed(f"{result['reloads']} reloads: {seen}")
    return result


SPOOFED = {"X-Request-ID": "spoofed", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "gopher",
           "X-Forwarded-Host": "spoofed", "X-User-ID": "spoofed"}


def review(yard, target):
    """What of the whole job the target does, as seen by the service, the client and the log: by running it."""
    process = yard.target(target, tls=True, job="gateway")
    try:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        link = http.client.HTTPSConnection("127.0.0.1", process.port, timeout=20, context=tls)

        def ask(token):
            link.request("GET", "/bytes/echo", headers={**SPOOFED, "Host": "gate.test", "Authorization": f"Bearer {token}"})
            answer = link.getresponse()
            return answer, answer.read()

        good = yard.tokens.file("few").read_text().split()[0]
        answer, body = ask(good)
        if answer.status != 200:
            raise SystemExit(f"{target.name}: {answer.status} to a good token: {body[:200]}")
        seen = {}
        for name, value in json.loads(body)["fields"]:
            seen.setdefault(name.lower(), []).append(value)
        refused, _ = ask(yard.tokens.file("bad").read_text().split()[0])
        link.close()
        kept_alive = json.loads(body)["version"] == "1.1" and "close" not in seen.get("connection", [])
    finally:
        yard.stop_target(target, process)
    lines = [line for line in process.access_log.read_text(errors="replace").splitlines() if "/bytes/echo" in line]
    members = sorted(json.loads(lines[0])) if lines else []
    request_id = answer.headers.get("X-Request-ID", "")
    return {
        "token checked": refused.status == 401,
        "request id made, sent to the service and the client":
            bool(request_id) and seen.get("x-request-id") == [request_id] and request_id != "spoofed",
        "X-Forwarded-For": seen.get("x-forwarded-for", [""])[-1].endswith("127.0.0.1"),
        "X-Forwarded-Proto": seen.get("x-forwarded-proto") == ["https"],
        "X-Forwarded-Host": seen.get("x-forwarded-host") == ["gate.test"],
        "claims as fields": seen.get("x-user-id", [""])[0].startswith("user-"),
        "keep-alive to the service": kept_alive,
        "members of the log": members,
    }
