"""`make demo ONCE=1` is judged by its exit status: a step that is not as expected must make it fail."""

import os
import pathlib
import subprocess

TOP = pathlib.Path(__file__).parents[2]


def demo(gateway, services):
    return subprocess.run(
        [TOP / "conf/demo/demo.sh", gateway, services], env={**os.environ, "ONCE": "1"},
        capture_output=True, text=True, timeout=120, check=False)


def test_services_that_end_at_once_fail_the_demo():
    done = demo("/bin/true", "/bin/false")
    assert done.returncode != 0
    assert "bus: bus ended:" in done.stderr


def test_a_step_that_is_not_as_expected_is_counted(tmp_path):
    """The judging function by itself, out of the script."""
    text = (TOP / "conf/demo/demo.sh").read_text()
    function = text[text.index("judged() {"):text.index("# ask WHAT")]
    script = tmp_path / "judge.sh"
    script.write_text(f"failures=0\n{function}\njudged one 200 200 a; judged two 200 404 b; exit $failures\n")
    done = subprocess.run(["bash", script], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert "NOT AS EXPECTED two" in done.stdout and done.stdout.startswith("ok  one")
