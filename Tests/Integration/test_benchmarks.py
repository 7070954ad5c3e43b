"""The load tests of Benchmarks/Load still run, and still refuse what is no measurement: a small one, beside nginx."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from harness.bound import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = pathlib.Path(os.environ.get("GATEHOUSE_BIN", ROOT / ".build-gateway/release/gatehouse")).parent
sys.path.insert(0, str(ROOT / "Benchmarks"))

from Load import scenarios, targets  # noqa: E402
from Load.client import Load, LoadFailed  # noqa: E402

pytestmark = pytest.mark.skipif("GATEHOUSE_SANITIZER" in os.environ, reason="what a sanitizer costs is of no interest")


def test_a_small_run_measures_gatehouse_and_nginx(tmp_path):
    done = subprocess.run(
        ["/usr/bin/python3", "-B", str(ROOT / "Benchmarks/Load/load"), "--bin", str(PROGRAMS), "--peers", "gatehouse,nginx",
         "--scenarios", "S1", "--rounds", "1", "--scale", "0.01", "--only", "", "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=10 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["target"]: row for row in json.loads((tmp_path / "results.json").read_text())["rows"]}
    assert set(rows) == {"gatehouse", "nginx"}
    for row in rows.values():
        assert row["rounds"] == 1 and "refused" not in row, row
        assert 1 < row["cpu_us"] < 10_000, row
    assert "<svg" in (tmp_path / "cpu.svg").read_text()


@pytest.mark.parametrize("change, said", [
    ({"status": 404}, "status 200 in place of 404"),
    ({"path": "/status/200"}, "a body of 0 bytes in place of 128"),
    ({"path": "/close"}, "client:"),
])
def test_a_round_with_a_wrong_answer_is_refused(change, said):
    with targets.Yard(PROGRAMS) as yard:
        process = yard.target(targets.TARGETS["gatehouse"])
        scenario = scenarios.replace(scenarios.S1, connections=2, **change)
        scenario_of_body = scenarios.S1

        class Other:
            tokens = yard.tokens

            @staticmethod
            def body(_):
                return yard.body(scenario_of_body.path)

        with pytest.raises(LoadFailed, match=said):
            load = Load(targets.build_client(), process.port, scenario, Other, 0, 100)
            load.run()


def test_a_template_takes_its_lines_by_flags():
    text = "a\n%if tls\nb @PORT@\n%if gateway\nc\n%else\nd\n%end\n%else\ne\n%end\n"
    assert targets.rendered(text, {"tls"}, {"PORT": 1}) == "a\nb 1\nd\n"
    assert targets.rendered(text, set(), {}) == "a\ne\n"
    assert targets.rendered(text, {"tls", "gateway"}, {"PORT": 2}) == "a\nb 2\nc\n"
