"""The systemd units: what systemd makes of them, where they are installed, and that the services take what they say."""

import configparser
import json
import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from stand import PATIENCE, SERVICES, TOP, until

UNITS = TOP / "systemd"
TEMPLATE = "gatehouse-service@.service"


def installed(folder):
    """The units as `make install-units` puts them there."""
    subprocess.run(
        ["make", "-C", str(TOP), "install-units", f"DESTDIR={folder}", "PREFIX=/opt/gate"], check=True, capture_output=True)
    return folder / "opt/gate/lib/systemd/system"


def test_the_units_are_installed_for_their_prefix(tmp_path):
    names = sorted(path.name for path in installed(tmp_path).iterdir())
    assert names == ["gatehouse-service@.service", "gatehouse.service", "gatehouse.target"]
    for name in names:
        text = (tmp_path / "opt/gate/lib/systemd/system" / name).read_text()
        assert "/usr/local" not in text
        assert ("/opt/gate/bin/" in text) == name.endswith(".service"), name


def test_what_is_installed_runs_where_its_units_say(tmp_path):
    # What `make install-services` does once it has built them, which would take minutes more.
    subprocess.run(
        ["make", "-C", str(TOP), "install-services-built", f"SERVICES={os.environ['GATEHOUSE_SERVICES']}",
         f"DESTDIR={tmp_path}", "PREFIX=/opt/gate"], check=True, capture_output=True)
    program = tmp_path / "opt/gate/bin/gatehouse-services"
    assert program.stat().st_mode & 0o7777 == 0o755
    unit = (tmp_path / "opt/gate/lib/systemd/system" / TEMPLATE).read_text()
    assert "ExecStart=/opt/gate/bin/gatehouse-services %i " in unit
    said = subprocess.run([program, "--help"], env={}, cwd="/", capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in said.partition("SUBCOMMANDS:")[2].splitlines() if line.startswith("  ") and line.split()]
    assert {*SERVICES, "all", "grant"} <= set(listed), said


def test_systemd_understands_each_line_of_them_and_finds_them_closed(tmp_path):
    units = installed(tmp_path)
    # As they will be, but for where the programs are: systemd looks whether they can be run.
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gatehouse", "gatehouse-services"):
        shutil.copy("/bin/true", programs / name)
    files = []
    for path in units.iterdir():
        text = path.read_text().replace("/opt/gate/bin", str(programs))
        for name in [path.name.replace("@", f"@{service}") for service in SERVICES] if "@" in path.name else [path.name]:
            (tmp_path / name).write_text(text)
            files.append(str(tmp_path / name))
    assert len(files) == 2 + len(SERVICES)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True)
    # A key that it does not know is told of, and is no failure.
    assert done.returncode == 0 and not done.stderr, done.stderr
    # 10 is no protection at all; what systemd calls OK ends at 5.
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", *[file for file in files if file.endswith(".service")]],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_each_service_runs_by_the_line_of_its_unit_whichever_comes_first(tmp_path):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNITS / TEMPLATE)
    assert unit["Service"]["LoadCredential"].startswith("service-token:")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/service-token").write_text("platform-test-secret\n")
    processes = {}
    try:
        # The bus last: nobody needs it in order to start.
        for name in sorted(SERVICES, key=lambda name: name == "bus"):
            line = unit["Service"]["ExecStart"].replace("%i", name)
            line = line.replace("/usr/local/bin/gatehouse-services", os.environ["GATEHOUSE_SERVICES"])
            line = line.replace("${STATE_DIRECTORY}", str(tmp_path / name))
            line = line.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path / "credentials"))
            line = line.replace("$OPTIONS", "--issuer https://auth.example.com --port 0")
            assert "$" not in line and "%" not in line, line
            with open(tmp_path / f"{name}.out", "wb") as out, open(tmp_path / f"{name}.err", "wb") as err:
                processes[name] = subprocess.Popen(
                    shlex.split(line), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={}, cwd="/")
        for name, process in processes.items():
            def listens():
                assert process.poll() is None, (tmp_path / f"{name}.err").read_text()[-2000:]
                return (tmp_path / f"{name}.out").read_text().endswith("\n")
            until(f"{name} listens", listens)
            assert json.loads((tmp_path / f"{name}.out").read_text())["service"] == name
            assert list((tmp_path / name).glob("*.sqlite")), name
    finally:
        for process in processes.values():
            process.terminate()
        statuses = {name: process.wait(PATIENCE) for name, process in processes.items()}
    assert set(statuses.values()) == {0}, statuses
