"""Services of HTTP/2 on python3-h2, which behave as a test tells them to, well or badly."""

import hashlib
import json
import queue
import socket
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from .bound import PATIENCE, TooLate


class Call:
    """A request as it arrived on a stream."""

    def __init__(self, number, fields):
        self.number = number
        self.fields = fields
        self.body = b""
        self.trailers = []
        self.is_ended = False
        self.reset = None

    def get(self, name, default=None):
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else default

    def described(self):
        return json.dumps({
            "method": self.get(":method"), "target": self.get(":path"), "authority": self.get(":authority"),
            "scheme": self.get(":scheme"), "fields": self.fields, "length": len(self.body),
            "sha256": hashlib.sha256(self.body).hexdigest(), "trailers": self.trailers,
        }).encode()


class Peer:
    """One connection from the gateway. Its methods are for the thread that serves it."""

    def __init__(self, sock, settings, validates):
        self.socket = sock
        self.calls = {}
        self.pings = 0
        self.goaways = []
        self.is_closed = False
        self._pending = {}
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=validates,
            normalize_outbound_headers=validates)
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def raw(self, data):
        """Bytes past the library, which would not send them."""
        self.flush()
        self.socket.sendall(data)

    def head(self, number, status=200, fields=(), end=False):
        self.h2.send_headers(number, [(":status", str(status)), *fields], end_stream=end)
        self.flush()

    def data(self, number, body, end=False, trailers=None):
        """A piece of a body, as far as credit lets it; the rest follows as credit comes."""
        self._pending.setdefault(number, []).append((memoryview(body), end, trailers))
        self._pump(number)

    def answer(self, number, status=200, fields=(), body=b"", trailers=None):
        self.head(number, status, fields)
        self.data(number, body, end=True, trailers=trailers)

    def reset(self, number, code=8):
        self.h2.reset_stream(number, code)
        self.flush()

    def goaway(self, last, code=0):
        """GOAWAY as a frame of its own: the library would take the connection for closed."""
        payload = last.to_bytes(4, "big") + code.to_bytes(4, "big")
        self.raw(len(payload).to_bytes(3, "big") + b"\x07\x00" + b"\x00\x00\x00\x00" + payload)

    def _pump(self, number):
        pieces = self._pending.get(number, [])
        while pieces:
            view, end, trailers = pieces[0]
            while len(view) > 0:
                room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
                if room <= 0:
                    pieces[0] = (view, end, trailers)
                    self.flush()
                    return
                self.h2.send_data(number, bytes(view[:room]))
                view = view[room:]
            if end and trailers is not None:
                self.h2.send_headers(number, trailers, end_stream=True)
            elif end:
                self.h2.end_stream(number)
            pieces.pop(0)
        self.flush()

    def credit(self):
        for number in list(self._pending):
            if self._pending[number]:
                try:
                    self._pump(number)
                except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
                    self._pending.pop(number)


def echo(peer, call):
    peer.answer(call.number, 200, [("content-type", "application/json")], call.described())


class Upstream2:
    """A listening socket, a thread a connection. `answer(peer, call)` answers a request that is whole; `event(peer, event)`,
    where given, sees every event first and says whether it took care of it. `greets(number)`, where given, says whether the
    connection of that number (from 0) is greeted; one that is not is held open, and nothing is said on it."""

    def __init__(self, answer=echo, event=None, begin=None, tls=None, settings=None, credit=True, validates=True,
                 greets=None):
        self.answer = answer
        self.event = event
        self.begin = begin
        self.tls = tls
        self.settings = settings
        self.gives_credit = credit
        self.validates = validates
        self.greets = greets
        # Connections that were accepted, greeted or not, and the names that TLS asked for on them.
        self.accepted = 0
        self.ungreeted = []
        self.server_names = []
        self.calls = queue.Queue()
        self.resets = queue.Queue()
        self.peers = []
        self.failures = []
        self.protocol_errors = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self):
        return len(self.peers)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.accepted
            self.accepted += 1
            threading.Thread(target=self._connection, args=(sock, number), daemon=True).start()

    def _connection(self, sock, number):
        peer = None
        try:
            sock.settimeout(10 * PATIENCE)
            if self.greets is not None and not self.greets(number):
                self.ungreeted.append(sock)
                while sock.recv(65536):
                    pass
                return
            if self.tls is not None:
                self.tls.sni_callback = lambda _, name, __: self.server_names.append(name)
                sock = self.tls.wrap_socket(sock, server_side=True)
            peer = Peer(sock, self.settings, self.validates)
            self.peers.append(peer)
            if self.begin is not None:
                self.begin(peer)
            while data := sock.recv(65536):
                for event in peer.h2.receive_data(data):
                    self._event(peer, event)
                peer.flush()
        except OSError:
            pass
        except h2.exceptions.ProtocolError as error:
            # What the gateway sent, or what a test had the service send, breaks the protocol.
            self.protocol_errors.append(error)
        except Exception as error:  # shown by `close`: a thread's exception is nobody's otherwise
            self.failures.append(error)
        finally:
            if peer is not None:
                peer.is_closed = True
            sock.close()

    def _event(self, peer, event):
        if isinstance(event, h2.events.RequestReceived):
            peer.calls[event.stream_id] = Call(event.stream_id, event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            peer.calls[event.stream_id].trailers = event.headers
        elif isinstance(event, h2.events.DataReceived):
            peer.calls[event.stream_id].body += event.data
            if self.gives_credit and event.flow_controlled_length:
                peer.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id in peer.calls:
                peer.calls[event.stream_id].reset = event.error_code
            self.resets.put((event.stream_id, event.error_code))
        elif isinstance(event, h2.events.WindowUpdated):
            peer.credit()
        elif isinstance(event, h2.events.PingReceived):
            peer.pings += 1
        if self.event is not None and self.event(peer, event):
            return
        if isinstance(event, h2.events.StreamEnded):
            call = peer.calls[event.stream_id]
            call.is_ended = True
            self.calls.put(call)
            self.answer(peer, call)

    def received(self):
        try:
            return self.calls.get(timeout=PATIENCE)
        except queue.Empty:
            raise TooLate("no request arrived at the upstream") from None

    def was_reset(self):
        """Stream and code of the next RST_STREAM that arrived here."""
        try:
            return self.resets.get(timeout=PATIENCE)
        except queue.Empty:
            raise TooLate("no RST_STREAM arrived at the upstream") from None

    def drop_connections(self):
        for peer in self.peers:
            try:
                peer.socket.shutdown(socket.SHUT_RDWR)
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
