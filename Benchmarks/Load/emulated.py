"""Instructions in user and kernel space together on a machine that has no counter for them: by emulation.

qemu without the help of the processor can let its clock go forward by exactly one nanosecond an instruction. What a Debian
kernel that runs there takes for the CPU time of a process is then how many instructions it ran, its system calls and the
interrupts that came meanwhile included. So the guest measures the cells of `cells.cost` as the host does, with the files of
the host, which it can read and not change."""

import json
import pathlib
import platform
import subprocess
import sys
import threading

from . import guest_programs, targets
from .client import LoadFailed

# Booting takes ten seconds on an idle machine, a cell twenty; who is not done in this is not going to be.
BOOT_SECONDS, CELL_SECONDS = 300, 900
MEMORY_MIB = 3_072
# A string instruction is counted once for each of its steps: without these features neither the kernel nor the C library
# copies by them. Page tables of five levels are what few machines have.
PROCESSOR = "max,-erms,-fsrm,-la57"
KERNEL_WORDS = "console=ttyS0 quiet panic=-1 tsc=reliable clearcpuid=rep_good,erms,fsrm"


def archive(entries):
    """A root file system as the kernel unpacks it ("newc"), of (name, mode, bytes or device)."""
    out = bytearray()
    for number, (name, mode, data) in enumerate((*entries, ("TRAILER!!!", 0, b"")), 1):
        device, data = (data, b"") if isinstance(data, tuple) else ((0, 0), data)
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def root(folder, init, command):
    """The first process, the modules in their order, and the command that it runs."""
    modules = [file for file in (folder / f"{name}.ko" for name in guest_programs.MODULES) if file.exists()]
    return archive([
        ("dev", 0o040755, b""), ("dev/console", 0o020600, (5, 1)), ("modules", 0o040755, b""),
        ("init", 0o100755, init.read_bytes()), ("command", 0o100644, "\n".join(command).encode()),
        *((f"modules/{number}", 0o100644, file.read_bytes()) for number, file in enumerate(modules))])


class Emulator:
    """A machine that is started with the first cell, and anew with the next one when it failed at one."""

    def __init__(self, programs, yard):
        if platform.machine() != "x86_64":
            raise SystemExit(f"emulated counts are of amd64 processors, this is {platform.machine()}")
        self.programs, self.yard, self.child = programs, yard, None
        self.qemu = guest_programs.qemu()
        self.version = guest_programs.version(self.qemu[0])
        self.folder = guest_programs.kernel()
        self.init = targets.build("guest-init", "-static")
        self.console, self.log = yard.folder / "guest-console.log", yard.folder / "guest-qemu.log"

    def measured(self, scenario, target):
        # Signing is slow there, and what is signed there is gone with the machine.
        if scenario.tokens:
            self.yard.tokens.file(scenario.tokens, scenario.emulated_warm + scenario.emulated_count)
        if not self.child:
            self._start()
        try:
            self.child.stdin.write(json.dumps([scenario.name, target.name]) + "\n")
            self.child.stdin.flush()
        except OSError:
            self._fail("the machine ended between two cells")
        cell = json.loads(self._line(CELL_SECONDS))
        if "refused" in cell:
            raise LoadFailed(cell["refused"])
        return cell

    def stop(self):
        """Nothing in it is worth an orderly end."""
        if self.child:
            self.child.kill()
            self.child.communicate()
            self.child = None

    def _start(self):
        files = self.yard.folder / "guest.initrd"
        files.write_bytes(root(self.folder, self.init, [
            sys.executable, "-B", str(pathlib.Path(__file__).with_name("guest.py")), str(self.programs)]))
        # It ends with this program, however that ends: it would go on by itself.
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.qemu, "-M", "pc", "-cpu", PROCESSOR, "-smp", "1", "-m", str(MEMORY_MIB),
             "-accel", "tcg,tb-size=512", "-icount", "shift=0", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", str(self.folder / "vmlinuz"), "-initrd", str(files), "-append", KERNEL_WORDS,
             "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
             "-serial", f"file:{self.console}", "-serial", "stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True)
        if (said := self._line(BOOT_SECONDS)) != "ready\n":
            self._fail(f"the machine said {said!r}")

    def _line(self, seconds):
        """What the guest says next. It is bound by this side's clock: the guest's own goes as fast as it gets on."""
        timer = threading.Timer(seconds, self.child.kill)
        timer.start()
        line = self.child.stdout.readline()
        timer.cancel()
        timer.join()
        if not line.endswith("\n"):
            self._fail(f"the machine ended, or was not done in {seconds} s")
        return line

    def _fail(self, what):
        self.stop()
        told = "".join(file.read_text(errors="replace") for file in (self.log, self.console) if file.exists())
        raise LoadFailed(f"{what}: {told.strip()[-600:]}")
