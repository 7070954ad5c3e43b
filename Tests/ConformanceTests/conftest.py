"""One gateway and one recording upstream for all rows of all tables: a row costs milliseconds."""

import collections
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "Integration"))

from harness.fixtures import *  # noqa: E402,F401,F403
from edge import Edge  # noqa: E402
from rows import http2  # noqa: E402,F401

# A case says which clause it holds the gateway to: its id begins with it.
CLAUSE = re.compile(r"\[(RFC \d{4} [\d.]+: .*?)(-whole|-dripped)?\]$")
_cases = collections.defaultdict(set)


def pytest_runtest_logreport(report):
    found = CLAUSE.search(report.nodeid)
    if report.when == "call" and found:
        file, test = report.nodeid.split("[")[0].rsplit("/", 1)[-1].split("::")
        _cases[file].add((test, found.group(1)))


def pytest_terminal_summary(terminalreporter):
    """How many cases were run, by file: the number that the suite promises."""
    http2 = sum(len(cases) for file, cases in _cases.items() if re.search("rfc(9113|7541|8441|9218)", file))
    both = sum(map(len, _cases.values()))
    terminalreporter.write_line(f"conformance: {both - http2} cases of HTTP/1.1 and {http2} of HTTP/2, each with its clause")


@pytest.fixture(scope="session")
def shared_edge(tmp_path_factory):
    made = Edge(tmp_path_factory.mktemp("edge"))
    yield made
    made.close()


@pytest.fixture
def edge(shared_edge):
    """The shared gateway; a test that fails leaves nothing behind for the next."""
    shared_edge.recorder.forget()
    return shared_edge
