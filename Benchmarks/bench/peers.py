"""Proxies with the same job before the same upstream, each one process with one worker on core 0; the upstream and the
load generator have core 1. Everything listens on the loopback and is ended by its own process handle."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "Tests" / "Integration"))

from harness.ports import free_port, number  # noqa: E402

PROXY_CORE, OTHER_CORE = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)
PATH = "/bytes/128"
START_SECONDS = 60

# The jobs of the table: what is switched on, and how the client speaks.
JOBS = {
    "plain, HTTP/1.1": ("plain", "http1"),
    "plain, TLS HTTP/2": ("plain", "http2"),
    "log + limit, HTTP/1.1": ("full", "http1"),
    "log + limit, TLS HTTP/2": ("full", "http2"),
}


def pinned(core, command):
    return ["taskset", "-c", str(core), *command]


def wait_for_port(port, process):
    """Until something accepts there: asked again and again, since nginx says nothing when it is ready."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"{process.args} did not listen in {START_SECONDS} s")


def certificate(folder):
    cert, key = folder / "edge.crt", folder / "edge.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=60)
    return cert, key


class Process:
    """A child that is ended by its own handle."""

    def __init__(self, command, core, log):
        self.log = open(log, "wb")
        self.child = subprocess.Popen(
            pinned(core, command), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    @property
    def pid(self):
        # taskset becomes the program it starts, and so does valgrind.
        return self.child.pid

    def stop(self, number=15, seconds=60):
        # Said again each second: nginx forgets a signal that comes just before it begins to wait.
        for _ in range(seconds):
            if self.child.poll() is not None:
                break
            self.child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(1)
        else:
            self.child.kill()
            self.child.wait()
        self.log.close()


class Bench:
    """A folder with certificate and upstream, and the making of peers in it."""

    def __init__(self, programs):
        self.programs = pathlib.Path(programs)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
        self.cert, self.key = certificate(self.folder)
        self.running = []
        self.held = {}
        self.upstream_port = self._upstream()

    def close(self):
        for process in reversed(self.running):
            process.stop()
        for held in self.held.values():
            held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def port(self):
        """One that is nobody else's until what listens there is stopped."""
        held = free_port()
        self.held[number(held)] = held
        return number(held)

    def _upstream(self):
        port = self.port()
        program = self.programs / "gatehouse-upstream"
        if program.exists():
            self.upstream_name = "gatehouse-upstream"
            command = [str(program), "--listen", f"127.0.0.1:{port}"]
        else:
            self.upstream_name = "nginx return"
            command = ["nginx", "-c", str(self._nginx_conf("upstream", f"""
    access_log off;
    server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;
      location / {{ return 200 "{'x' * 128}"; }} }}"""))]
        process = Process(command, OTHER_CORE, self.folder / "upstream.log")
        self.running.append(process)
        wait_for_port(port, process.child)
        return port

    def _nginx_conf(self, name, body):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file = folder / "nginx.conf"
        # One process without a master: the same thing to count as the other peer.
        file.write_text(f"""daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; multi_accept on; }}
http {{ {paths}
{body}
}}
""")
        return file

    def nginx(self, features, protocol, wrapper=()):
        port = self.port()
        extra = "access_log off;"
        if features == "full":
            extra = f"""
    log_format line escape=json '{{"time":"$time_iso8601","request_id":"$request_id","client":"$remote_addr",'
      '"method":"$request_method","host":"$host","path":"$uri","status":$status,"protocol":"$server_protocol",'
      '"bytes_in":$request_length,"bytes_out":$bytes_sent,"total":$request_time,"endpoint":"$upstream_addr"}}';
    access_log {self.folder}/nginx-access.log line;
    limit_req_zone $binary_remote_addr zone=clients:10m rate=1000000r/s; limit_req_status 429;"""
        limit = "limit_req zone=clients burst=1000000 nodelay;" if features == "full" else ""
        tls = f"ssl_certificate {self.cert}; ssl_certificate_key {self.key};" if protocol == "http2" else ""
        conf = self._nginx_conf("proxy", f"""{extra}
    upstream up {{ server 127.0.0.1:{self.upstream_port}; keepalive 64; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port} {'ssl http2' if tls else ''}; {tls}
      keepalive_requests 100000000; http2_max_concurrent_streams 128;
      location / {{ {limit} proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host $host; proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host; add_header X-Request-ID $request_id; }} }}""")
        return self._peer([*wrapper, shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(conf)], port)

    def gatehouse(self, features, protocol, wrapper=()):
        port = self.port()
        listener = {"bind": [f"127.0.0.1:{port}"], "connections": {"per_client": 100_000}}
        if protocol == "http2":
            listener["tls"] = {"certificates": [{"cert": str(self.cert), "key": str(self.key)}]}
            listener["protocols"] = ["h2", "http/1.1"]
        log = str(self.folder / "gatehouse-access.log") if features == "full" else "none"
        config = {
            "version": 1, "workers": 1, "listeners": {"edge": listener},
            "log": {"access": {"to": log, "format": "json"}},
            "limits_of_http": {"streams": 128},
            "limits": {"client": {"rate": "1000000/s", "per": "client"}},
            "services": {"up": {"to": [f"http://127.0.0.1:{self.upstream_port}"]}},
            "defaults": {"auth": "none", "limits": ["client"] if features == "full" else []},
            "routes": [{"name": "all", "match": {"prefix": "/"}, "to": "up"}],
        }
        if features != "full":
            del config["limits"]
        file = self.folder / "gatehouse.yaml"
        file.write_text(json.dumps(config, indent=1))
        program = self.programs / "gatehouse"
        if wrapper:
            # Valgrind 3.19 gives up on the debug information of Swift's runtime; the code is the same without.
            plain = self.folder / "gatehouse-plain"
            if not plain.exists():
                subprocess.run(["strip", "--strip-debug", "-o", str(plain), str(program)], check=True)
            program = plain
        return self._peer([*wrapper, str(program), "run", "--config", str(file)], port)

    def peer(self, name, features, protocol, wrapper=()):
        return (self.nginx if name == "nginx" else self.gatehouse)(features, protocol, wrapper)

    def _peer(self, command, port):
        process = Process(command, PROXY_CORE, self.folder / "peer.log")
        process.port = port
        self.running.append(process)
        wait_for_port(port, process.child)
        return process

    def stop(self, process, number=15):
        process.stop(number)
        self.running.remove(process)
        self.held.pop(process.port).close()
        return (self.folder / "peer.log").read_text(errors="replace")

    def load(self, process, protocol, requests, connections=16, streams=32):
        """Exactly so many requests, each answered 2xx, or the benchmark ends here; the seconds it took."""
        scheme = "https" if protocol == "http2" else "http"
        options = ["-n", str(requests), "-c", str(connections), "-t", "1"]
        options += ["-m", str(streams)] if protocol == "http2" else ["--h1"]
        start = time.monotonic()
        done = subprocess.run(
            pinned(OTHER_CORE, ["h2load", *options, f"{scheme}://127.0.0.1:{process.port}{PATH}"]),
            capture_output=True, text=True, timeout=900, check=False)
        seconds = time.monotonic() - start
        if f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" not in done.stdout \
                or f"status codes: {requests} 2xx" not in done.stdout:
            raise SystemExit(f"the load did not succeed:\n{done.stdout}{done.stderr}")
        return seconds
