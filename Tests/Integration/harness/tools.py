"""curl, h2load, nghttp and wrk, bounded in time, with their reports as numbers."""

import re
import subprocess

from .bound import PATIENCE


def curl(*arguments, data=None, seconds=None):
    """The output of curl; its failure is the test's."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(seconds or PATIENCE), *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=(seconds or PATIENCE) + 5, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr.decode()}"
    return done.stdout


def h2load(url, *arguments, seconds=600):
    """Requests that succeeded and failed, and the statuses by their first digit."""
    done = subprocess.run(
        ["h2load", *arguments, url], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(
        r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        done.stdout)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    assert counts and statuses, done.stdout
    names = ("total", "started", "done", "succeeded", "failed", "errored", "timeout")
    report = dict(zip(names, map(int, counts.groups())))
    report.update(zip(("2xx", "3xx", "4xx", "5xx"), map(int, statuses.groups())))
    report["text"] = done.stdout
    return report


def all_succeeded(report, count=None):
    wanted = count if count is not None else report["total"]
    assert (report["2xx"], report["succeeded"], report["failed"], report["errored"], report["timeout"]) == (
        wanted, wanted, 0, 0, 0), report["text"]


def wrk(url, *arguments, seconds=600):
    """Requests done; a socket error or a status other than 2xx and 3xx fails."""
    done = subprocess.run(["wrk", *arguments, url], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    return int(re.search(r"(\d+) requests in", done.stdout).group(1))
