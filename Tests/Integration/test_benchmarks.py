"""The load tests of Benchmarks/Load still run, and still refuse what is no measurement: a small one, beside nginx."""

import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import xml.etree.ElementTree

import pytest
from harness.bound import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = pathlib.Path(os.environ.get("GATEHOUSE_BIN", ROOT / ".build-gateway/release/gatehouse")).parent
sys.path.insert(0, str(ROOT / "Benchmarks"))

from bench import folding  # noqa: E402
from Load import cells, curves, emulated, guest_programs, report, scenarios, targets  # noqa: E402
from Load.client import Load, LoadFailed  # noqa: E402

pytestmark = pytest.mark.skipif("GATEHOUSE_SANITIZER" in os.environ, reason="what a sanitizer costs is of no interest")


def small_run(names, folder):
    """The rows of one small round of Gatehouse and nginx."""
    done = subprocess.run(
        ["/usr/bin/python3", "-B", str(ROOT / "Benchmarks/Load/load"), "--bin", str(PROGRAMS), "--peers", "gatehouse,nginx",
         "--scenarios", names, "--rounds", "1", "--scale", "0.01", "--only", "", "--out", str(folder)],
        capture_output=True, text=True, timeout=10 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "results.json").read_text())["rows"]


def test_a_small_run_measures_gatehouse_and_nginx(tmp_path):
    rows = {row["target"]: row for row in small_run("S1", tmp_path)}
    assert set(rows) == {"gatehouse", "nginx"}
    for row in rows.values():
        assert row["rounds"] == 1 and "refused" not in row, row
        assert 1 < row["cpu_us"] < 10_000, row
    assert "<svg" in (tmp_path / "cpu.svg").read_text()


def four_cells(out, *words):
    """Two scenarios, two rounds each, small; in a group of its own, so that its targets end with it."""
    return subprocess.Popen(
        ["/usr/bin/python3", "-B", str(ROOT / "Benchmarks/Load/load"), "--bin", str(PROGRAMS), "--peers", "gatehouse",
         "--scenarios", "S1,S2", "--rounds", "2", "--scale", "0.01", "--only", "", "--out", str(out), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(out)})


def cells_of(out):
    return [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]


def form(text):
    """A table without its numbers, and without the width that they take."""
    return re.sub(r" +", " ", re.sub(r"[\d.,%]+", "0", text))


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    run = four_cells(cut)
    try:
        # It says a cell before it stores it: with the second one said, the first is stored for certain.
        while "[  2/4" not in (line := run.stderr.readline()):
            assert line, "it ended before it was killed"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=PATIENCE)
    kept = cells_of(cut)
    assert 1 <= len(kept) <= 3
    # What is missing was refused once, and the kill came within the writing of a line.
    with (cut / "cells.jsonl").open("a") as file:
        missing = {**kept[0], "scenario": "S2", "round": 2}
        file.write(json.dumps({**missing, "refused": "once"}) + "\n" + json.dumps(missing)[:40])
    run = four_cells(cut, "--resume")
    table, progress = run.communicate(timeout=10 * PATIENCE)
    assert run.returncode == 0, table + progress
    assert "cut short" in progress
    keys = [(cell["scenario"], cell["round"]) for cell in cells_of(cut)]
    assert sorted(keys) == [("S1", 1), ("S1", 2), ("S2", 1), ("S2", 2)]
    assert cells_of(cut)[:len(kept)] == kept
    assert len(re.findall(r"^\[ ", progress, re.MULTILINE)) == 4 - len(kept)
    run = four_cells(whole)
    wanted, progress = run.communicate(timeout=10 * PATIENCE)
    assert run.returncode == 0, wanted + progress
    assert form(table.replace(str(cut), "")) == form(wanted.replace(str(whole), ""))
    # With nothing left to measure the same table is told again.
    run = four_cells(cut, "--resume")
    again, progress = run.communicate(timeout=10 * PATIENCE)
    assert (run.returncode, again) == (0, table) and "[ " not in progress


def test_a_file_that_is_none_of_cells_is_left_alone(tmp_path):
    (tmp_path / "cells.jsonl").write_text("mine\n{}\n")
    run = four_cells(tmp_path, "--resume")
    _, progress = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1 and "not a file of cells" in progress
    assert (tmp_path / "cells.jsonl").read_text() == "mine\n{}\n"


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


def test_a_small_run_reloads_and_calls_by_grpc(tmp_path):
    """What a peer loses is counted and shown; of Gatehouse's nothing may be."""
    rows = {(row["scenario"], row["target"]): row for row in small_run("S11-h2,S12", tmp_path)}
    for target in ("gatehouse", "nginx"):
        assert rows["S12", target]["cpu_us"] > 1
        row = rows["S11-h2", target]
        assert (row["reloads"], row["seen"]) == (1, 1), row
    assert rows["S11-h2", "gatehouse"]["errors"] == rows["S11-h2", "gatehouse"]["ended"] == 0
    # It closes what the old worker held: the client saw that, and went on.
    assert rows["S11-h2", "nginx"]["ended"] > 0


def test_a_reload_that_changes_nothing_is_none(monkeypatch):
    monkeypatch.setattr(targets.Configuration, "reload", lambda *_: None)
    scenario = scenarios.replace(scenarios.MORE["S11-http1"], rate=500)
    with targets.Yard(PROGRAMS) as yard, pytest.raises(LoadFailed, match="1 reloads: .*'seen': 0"):
        cells.reloads(yard, targets.build_client(), targets.TARGETS["gatehouse"], scenario, 0.01)


def test_errors_are_counted_where_that_is_asked_for_and_a_status_of_grpc_is_judged():
    s11, s12 = scenarios.MORE["S11-http1"], scenarios.MORE["S12"]
    with targets.Yard(PROGRAMS) as yard:
        wrong = scenarios.replace(s11, path="/status/404", warm=0, body=False)
        with cells.serving(yard, targets.TARGETS["gatehouse"], wrong) as process:
            load = Load(targets.build_client(), process.port, wrong, yard, 0, 100)
            said = load.run()
            load.end()
        assert said["errors"] == 100 and said["first_error"] == "status 404 in place of 200"
        failing = scenarios.replace(s12, path="/test.Echo/Fail")
        with cells.serving(yard, targets.TARGETS["gatehouse"], failing) as process, pytest.raises(LoadFailed, match="grpc-status 13"):
            Load(targets.build_client(), process.port, failing, yard, 0, 100).run()


def samples(anon=lambda t: 9000, descriptors=lambda t: 25, cpu=lambda t: t * 0.0001):
    return [{"seconds": t, "anon_kib": anon(t), "pss_kib": 12_000, "rss_kib": 20_000, "descriptors": descriptors(t),
             "cpu_seconds": cpu(t)} for t in range(0, 3600, 6)]


@pytest.mark.parametrize("grown, what", [
    (samples(), []),
    # A warm-up, a saw, and one spike are no growth.
    (samples(anon=lambda t: min(9000, 2000 + 10 * t) + t % 60 * 8 + (50_000 if t == 3000 else 0)), []),
    # Three bytes a request, at 200 a second.
    (samples(anon=lambda t: 9000 + t * 200 * 3 // 1024), ["memory"]),
    # One descriptor in ten minutes.
    (samples(descriptors=lambda t: 25 + t // 600), ["descriptors"]),
    (samples(cpu=lambda t: t * 0.02), ["CPU"]),
])
def test_a_soak_finds_what_grows(grown, what):
    assert [verdict["what"] for verdict in curves.verdicts(grown, is_idle=True) if not verdict["is_good"]] == what


def test_a_soak_of_seconds(tmp_path):
    done = subprocess.run(
        ["/usr/bin/python3", "-B", str(ROOT / "Benchmarks/Load/soak"), "--bin", str(PROGRAMS), "--idle", "0.04", "--loaded", "0.06",
         "--out", str(tmp_path)], capture_output=True, text=True, timeout=10 * PATIENCE, check=False)
    # So short a run is not judged by what it grew, only that it was judged.
    for name in ("idle", "loaded"):
        verdicts = json.loads((tmp_path / f"soak-{name}.json").read_text())["verdicts"]
        assert [verdict["what"] for verdict in verdicts] == ["memory", "descriptors", "CPU"]
        assert "<polyline" in (tmp_path / f"soak-{name}.svg").read_text()
    assert len(re.findall(r"answers in", done.stdout)) == 4, done.stdout + done.stderr


def test_a_template_takes_its_lines_by_flags():
    text = "a\n%if tls\nb @PORT@\n%if gateway\nc\n%else\nd\n%end\n%else\ne\n%end\n"
    assert targets.rendered(text, {"tls"}, {"PORT": 1}) == "a\nb 1\nd\n"
    assert targets.rendered(text, set(), {}) == "a\ne\n"
    assert targets.rendered(text, {"tls", "gateway"}, {"PORT": 2}) == "a\nb 2\nc\n"


# Two stacks, one of them twice, as `perf script` prints them; and what callgrind writes of a function that calls another.
SAMPLES = """gatehouse 70/71 
\tffffffff81000000 tcp_sendmsg+0x12 ([kernel.kallsyms])
\t    7f0000001000 __send (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t    550000001000 $s5Proxy6WorkerV4sendyyF (/opt/gatehouse)

gatehouse 70/71 
\t    7f0000002000 EVP_DecryptUpdate (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
\t    550000001000 main (/opt/gatehouse)

"""
SAMPLES += SAMPLES.partition("\n\n")[0] + "\n\n"
COSTS = """events: Ir
ob=(1) /opt/gatehouse
fn=(1) main
0 5
cob=(2) /usr/lib/libcrypto.so.3
cfn=(2) EVP_DecryptUpdate
calls=1 0
0 900
+3 7

ob=(2)
fn=(2)
0 900
"""


def test_stacks_are_folded_by_whose_code_they_are_and_drawn():
    folded = folding.stacks(SAMPLES)
    assert sorted(folded.values()) == [1, 2]
    assert {stack: count for stack, count in folded.items() if count == 1} == {
        (("main", "ours"), ("EVP_DecryptUpdate", "libcrypto")): 1}
    shares = folding.own_shares(folded)
    assert set(shares) == {"kernel", "libcrypto"} and abs(shares["kernel"] - 2 / 3) < 1e-9
    assert abs(folding.inclusive(folded, "__send") - 2 / 3) < 1e-9 and folding.inclusive(folded, "__sen") == 0
    picture = folding.drawn(folded, "a <title>", "about")
    root = xml.etree.ElementTree.fromstring(picture)
    names = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert "tcp_sendmsg (kernel) 66.67%" in names and "main (ours) 33.33%" in names and len(names) == 5, names
    with pytest.raises(SystemExit, match="no sample"):
        folding.drawn(folding.stacks(""), "none", "")


def test_instructions_are_of_the_library_that_runs_them():
    assert folding.callgrind_costs(COSTS.splitlines(True)) == {("ours", "main"): 12, ("libcrypto", "EVP_DecryptUpdate"): 900}


# A machine in the place of the emulated one: it counts S1, refuses S2, and dies of S3.
MACHINE = """#!/usr/bin/python3
import json, sys
print("ready", flush=True)
for line in sys.stdin:
    name, target = json.loads(line)
    if name == "S3":
        sys.exit("no more of it")
    print(json.dumps({"emulated": 1000} if name == "S1" else {"refused": f"{target} cannot"}), flush=True)
"""


def test_an_emulated_machine_is_asked_cell_by_cell_and_started_anew(tmp_path, monkeypatch):
    machine, starts = tmp_path / "machine", []
    machine.write_text(MACHINE)
    machine.chmod(0o755)
    monkeypatch.setattr(guest_programs, "qemu", lambda: [str(machine)])
    monkeypatch.setattr(guest_programs, "version", lambda program: "none")
    monkeypatch.setattr(guest_programs, "kernel", lambda: tmp_path)
    monkeypatch.setattr(emulated, "CELL_SECONDS", PATIENCE)

    class Yard:
        folder = tmp_path

    emulator = emulated.Emulator(PROGRAMS, Yard)
    start = emulator._start
    monkeypatch.setattr(emulator, "_start", lambda: (starts.append(1), start()))
    gatehouse = targets.TARGETS["gatehouse"]
    assert emulator.measured(scenarios.S1, gatehouse) == {"emulated": 1000}
    with pytest.raises(LoadFailed, match="gatehouse cannot"):
        emulator.measured(scenarios.S2, gatehouse)
    assert len(starts) == 1
    with pytest.raises(LoadFailed, match="the machine ended.*no more of it"):
        emulator.measured(scenarios.S3, gatehouse)
    assert emulator.measured(scenarios.S1, gatehouse) == {"emulated": 1000}
    assert len(starts) == 2
    emulator.child.kill()
    emulator.child.wait()
    with pytest.raises(LoadFailed, match="the machine ended"):
        emulator.measured(scenarios.S1, gatehouse)
    assert emulator.child is None
    machine.write_text("#!/bin/sh\necho ready\nexec cat >/dev/null\n")
    monkeypatch.setattr(emulated, "CELL_SECONDS", 0.1)
    with pytest.raises(LoadFailed, match="not done in 0.1 s"):
        emulator.measured(scenarios.S1, gatehouse)
    assert emulator.child is None


def test_an_emulator_is_new_enough_when_its_processor_has_sha_instructions():
    said = ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "QEMU emulator version 8.1.9", "QEMU emulator version 8.2.0",
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", "")
    assert [guest_programs.is_new_enough(line) for line in said] == [False, False, True, True, False]


def test_what_the_emulated_machine_runs_measures_and_says_what_it_refuses(tmp_path):
    """Here it counts nanoseconds, there instructions."""
    done = subprocess.run(
        ["/usr/bin/python3", "-B", str(ROOT / "Benchmarks/Load/guest.py"), str(PROGRAMS)], text=True, capture_output=True,
        input='["S1", "gatehouse"]\n["S9-none", "nginx"]\n', timeout=10 * PATIENCE, check=False, env={**os.environ, "TMPDIR": str(tmp_path)})
    ready, counted, refused = done.stdout.splitlines()
    assert ready == "ready" and 1_000 < json.loads(counted)["emulated"] < 10_000_000, done.stdout + done.stderr
    assert json.loads(refused) == {"refused": "status 200 in place of 401"}


def test_the_emulated_machine_gets_a_kernel_its_modules_and_the_command(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as package:
        for name in ("boot/vmlinuz-6.1", "lib/modules/6.1/kernel/fs/9p/9p.ko", "lib/modules/6.1/kernel/virtio-ring.ko", "etc/other.ko"):
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    packed.seek(0)
    guest_programs.unpack(packed, tmp_path / "kernel")
    assert sorted(file.name for file in (tmp_path / "kernel").iterdir()) == ["9p.ko", "virtio_ring.ko", "vmlinuz"]
    files, place, found = emulated.root(tmp_path / "kernel", targets.build("guest-init", "-static"), ["a", "b c"]), 0, {}
    while "TRAILER!!!" not in found:
        assert files[place:place + 6] == b"070701" and place % 4 == 0
        size, name_size = (int(files[place + at:place + at + 8], 16) for at in (54, 94))
        data = (place + 110 + name_size + 3) // 4 * 4
        found[files[place + 110:place + 109 + name_size].decode()] = files[data:data + size]
        place = (data + size + 3) // 4 * 4
    assert found["command"] == b"a\nb c" and found["init"][:4] == b"\x7fELF"
    # What others need is loaded before them.
    assert b"virtio-ring" in found["modules/0"] and b"9p" in found["modules/1"] and "modules/2" not in found


def test_emulated_instructions_stand_in_the_table():
    cells_of_s1 = [{"scenario": "S1", "target": name, "kind": "emulated", "round": 0, "emulated": count}
                   for name, count in (("gatehouse", 31_000.4), ("nginx", 44_000))]
    rows = list(report.rows(cells_of_s1, [scenarios.S1], [targets.TARGETS[name] for name in ("gatehouse", "nginx")], False))
    assert re.search(r"gatehouse +- +31,000 ", report.table(rows, False)) and "44,000" in report.verdicts(rows)
