"""What the emulated machine is made of, out of Debian's packages, which are fetched and not installed: qemu and a kernel."""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from . import targets

QEMU = "qemu-system-x86_64"
# The first whose emulated processor has SHA instructions, as processors of today have them: a handshake hashes.
LEAST_QEMU = (8, 2)
QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
# Each behind those that it needs. One that another kernel has built in is not there, and not missed.
MODULES = ("virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio", "virtio_pci", "9pnet", "9pnet_virtio",
           "netfs", "fscache", "9p", "overlay")
# As root apt would give its part to a user who may not write here.
AS_OURSELVES = ("-o", "APT::Sandbox::User=root")


def version(program):
    """What qemu says it is, in a line; nothing where it does not start, for want of a library say."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.partition("\n")[0]


def is_new_enough(said):
    found = re.search(r"version (\d+)\.(\d+)", said)
    return bool(found) and (int(found[1]), int(found[2])) >= LEAST_QEMU


def qemu():
    """The words that start a qemu that is new enough: the installed one, or out of the packages of Debian's backports."""
    installed = shutil.which(QEMU)
    if not installed:
        raise SystemExit(f"no {QEMU}, which counts in an emulated machine: install qemu-system-x86, or ask by `make count`")
    if is_new_enough(version(installed)):
        return [installed]
    folder = targets.SCRATCH / "qemu"
    program = folder / "usr" / "bin" / QEMU
    if not program.exists():
        fetch_newer(folder, version(installed))
    # Its libraries are those that the installed one has brought.
    if not is_new_enough(version(program)):
        raise SystemExit(f"{program} does not start: look at `ldd` of it")
    return [str(program), *(word for name in ("qemu", "seabios") for word in ("-L", str(folder / "usr" / "share" / name)))]


def fetch_newer(folder, installed):
    """From where this machine has its packages, by a list of sources of its own: the machine's is not touched."""
    release = re.search(r"^VERSION_CODENAME=(\S+)", pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
                            capture_output=True, text=True, timeout=60, check=False).stdout
    sites = [line.split()[0] for line in listed.splitlines() if release and line.split()[1:] == [release[1]]]
    if not sites:
        raise SystemExit(f"{installed} is older than {'.'.join(map(str, LEAST_QEMU))}, and apt does not say where a newer one would be")
    suite = f"{release[1]}-backports"
    print(f"Fetching qemu of {suite} into {folder}, 20 MB", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=targets.SCRATCH) as scratch:
        own = pathlib.Path(scratch)
        for name in ("lists/partial", "cache/archives/partial"):
            (own / name).mkdir(parents=True)
        (own / "sources.list").write_text(f"deb {sites[0]} {suite} main\n")
        apt = ["apt-get", "-qq", *AS_OURSELVES, "-o", f"Dir::Etc::sourcelist={own}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
               "-o", f"Dir::State::lists={own}/lists", "-o", f"Dir::Cache={own}/cache"]
        for words in (["update"], ["download", *(f"{name}/{suite}" for name in QEMU_PACKAGES)]):
            done = subprocess.run([*apt, *words], cwd=own, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise SystemExit(f"{installed} is older than {'.'.join(map(str, LEAST_QEMU))}, and {suite} cannot be had: {done.stderr.strip()}")
        for package in own.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(own / "files")], timeout=600, check=True)
        shutil.rmtree(folder, ignore_errors=True)
        (own / "files").replace(folder)


def kernel():
    """The folder of Debian's kernel and the modules."""
    folder = targets.SCRATCH / "kernel"
    if (folder / "vmlinuz").exists():
        return folder
    said = subprocess.run(["apt-cache", "show", "--no-all-versions", "linux-image-amd64"], capture_output=True, text=True,
                          timeout=60, check=False).stdout
    name = re.search(r"^Depends: (linux-image-\d\S+)", said, re.MULTILINE)
    if not name:
        raise SystemExit("apt does not know linux-image-amd64: is this Debian for amd64, and did apt-get update run?")
    print(f"Fetching {name[1]} into {folder}, 70 MB", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=targets.SCRATCH) as scratch:
        fetched = pathlib.Path(scratch)
        subprocess.run(["apt-get", "download", "-qq", *AS_OURSELVES, name[1]], cwd=fetched, timeout=600, check=True)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(next(fetched.glob("*.deb")))], stdout=subprocess.PIPE) as packed:
            unpack(packed.stdout, fetched / "kernel")
        if packed.returncode or not (fetched / "kernel" / "vmlinuz").exists():
            raise SystemExit(f"{name[1]} has no kernel in it")
        shutil.rmtree(folder, ignore_errors=True)
        (fetched / "kernel").replace(folder)
    return folder


def unpack(stream, folder):
    """The kernel as `vmlinuz`, and of its modules those of MODULES, from the archive of a package."""
    folder.mkdir()
    wanted = {f"{name}.ko": f"{name}.ko" for name in MODULES} | {f"{name.replace('_', '-')}.ko": f"{name}.ko" for name in MODULES}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            last = member.name.rpartition("/")[2]
            name = "vmlinuz" if last.startswith("vmlinuz-") else wanted.get(last)
            if name and member.isfile():
                (folder / name).write_bytes(archive.extractfile(member).read())
