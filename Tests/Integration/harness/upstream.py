"""Upstreams that behave as a test tells them to, well or badly."""

import hashlib
import json
import queue
import socket
import ssl
import threading

from .bound import PATIENCE, TooLate
from .wire import Closed, Wire, response


def echo(wire, request):
    """Answers with what arrived, as JSON."""
    wire.send(response(200, [("Content-Type", "application/json")], described(request)))
    return True


def described(request):
    return json.dumps({
        "method": request.method, "target": request.target, "fields": request.fields,
        "length": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest(),
        "trailers": request.trailers,
    }).encode()


class Upstream:
    """A listening socket, a thread a connection. `answer(wire, request)` answers one request that was read whole and
    says whether the connection goes on; `serve(wire)`, where given, has the connection for itself from its start."""

    def __init__(self, answer=echo, serve=None, backlog=512, tls=None, path=None):
        self.answer = answer
        self.serve = serve
        self.tls = tls
        # What each handshake that succeeded agreed on.
        self.tls_facts = []
        self.requests = queue.Queue()
        self.connections = 0
        self.failures = []
        self._open = set()
        self._lock = threading.Lock()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
            self.port = self._listener.getsockname()[1]
            self.address = f"127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(backlog)
            self.address = f"unix:{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock):
        try:
            if self.tls is not None:
                sock = self._secured(sock)
            wire = Wire(sock)
            if self.serve is not None:
                self.serve(wire)
                return
            while (request := wire.request()) is not None:
                self.requests.put(request)
                if not self.answer(wire, request):
                    return
        except (Closed, OSError):
            pass
        except Exception as error:  # shown by `close`: a thread's exception is nobody's otherwise
            self.failures.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _secured(self, sock):
        asked = []
        sock.settimeout(PATIENCE)
        self.tls.sni_callback = lambda _, name, __: asked.append(name)
        with self._lock:
            self._open.discard(sock)
        secured = self.tls.wrap_socket(sock, server_side=True)
        with self._lock:
            self._open.add(secured)
            self.tls_facts.append({
                "sni": asked[0] if asked else None, "version": secured.version(), "resumed": secured.session_reused,
                "peer": secured.getpeercert(), "alpn": secured.selected_alpn_protocol(),
            })
        return secured

    def received(self):
        """The next request that arrived here."""
        try:
            return self.requests.get(timeout=PATIENCE)
        except queue.Empty:
            raise TooLate("no request arrived at the upstream") from None

    def nothing_received(self):
        return self.requests.empty()

    def drop_connections(self):
        """Closes every open connection, as a restarting service does."""
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.drop_connections()
        if self.failures:
            raise AssertionError(f"an upstream's thread failed: {self.failures}")
