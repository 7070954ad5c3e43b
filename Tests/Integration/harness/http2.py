"""An HTTP/2 client on python3-h2 that a test drives frame by frame."""

import json
import socket

import h2.config
import h2.connection
import h2.events

from . import names
from .bound import PATIENCE
from .wire import Closed, connected


class Stream:
    """What has come back on one stream."""

    def __init__(self):
        self.fields = []
        self.interim = []
        self.body = b""
        self.trailers = []
        self.is_ended = False
        self.reset = None

    @property
    def status(self):
        return int(dict(self.fields)[":status"])

    def get(self, name, default=None):
        values = [value for key, value in self.fields if key == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} stands {len(values)} times: {values}")
        return values[0] if values else default

    def json(self):
        return json.loads(self.body)


class Client2:
    """One HTTP/2 connection; credit is given back as DATA arrives, unless `gives_credit` is false."""

    def __init__(self, address, tls=None, name="localhost", gives_credit=True, preamble=b""):
        sock = connected(address)
        sock.sendall(preamble)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=name)
            assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
        sock.settimeout(PATIENCE)
        self.socket = sock
        self.gives_credit = gives_credit
        self.streams = {}
        self.goaways = []
        self.settings = None
        self.is_closed = False
        settings = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False)
        self.connection = h2.connection.H2Connection(settings)
        self.connection.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def flush(self):
        data = self.connection.data_to_send()
        if data:
            try:
                self.socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                self.is_closed = True

    def request(self, method="GET", path="/", fields=(), end=True, authority="gate.test", scheme="http"):
        """Opens a stream with its head; the stream's number."""
        number = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *fields]
        self.streams[number] = Stream()
        self.connection.send_headers(number, head, end_stream=end)
        self.flush()
        return number

    def data(self, number, body, end=True):
        """Sends a body as far as flow control lets it; stops early where the stream is over."""
        view = memoryview(body)
        while len(view) > 0:
            stream = self.streams[number]
            if stream.is_ended or stream.reset is not None or self.is_closed:
                return False
            room = min(self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size)
            if room <= 0:
                self.pump()
                continue
            self.connection.send_data(number, bytes(view[:room]), end_stream=end and room >= len(view))
            view = view[room:]
            self.flush()
        if end and not body:
            self.connection.end_stream(number)
            self.flush()
        return True

    def trailers(self, number, fields):
        self.connection.send_headers(number, list(fields), end_stream=True)
        self.flush()

    def reset(self, number, code=8):
        self.connection.reset_stream(number, code)
        self.flush()

    def pump(self):
        """Takes what arrives next."""
        data = self.socket.recv(65536)
        if not data:
            self.is_closed = True
            raise Closed("end of the connection")
        for event in self.connection.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append((event.error_code, event.last_stream_id))
            # The library shuts its own door at the first GOAWAY; streams below the last id still run (RFC 9113 §6.8).
            self.connection.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings = {key: change.new_value for key, change in event.changed_settings.items()}
        elif stream is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            stream.fields = list(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(list(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            if self.gives_credit and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            stream.is_ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code

    def until(self, check):
        while not check():
            self.pump()

    def answer(self, number):
        """The whole answer on a stream; a reset before its end is the test's to expect by `until`."""
        stream = self.streams[number]
        self.until(lambda: stream.is_ended or stream.reset is not None)
        assert stream.is_ended, f"stream {number} was reset with {stream.reset} after {stream.fields}"
        return stream

    def ask(self, method="GET", path="/", fields=(), body=None, **options):
        number = self.request(method, path, fields, end=body is None, **options)
        if body is not None:
            self.data(number, body)
        return self.answer(number)

    def until_closed(self):
        try:
            while True:
                self.pump()
        except (Closed, ConnectionResetError):
            self.is_closed = True


def problem(stream, reason):
    """The gateway made this answer itself, for this reason."""
    assert stream.status == names.REASONS[reason], (stream.fields, stream.body)
    assert stream.get("content-type") == "application/problem+json", stream.fields
    said = json.loads(stream.body)
    assert said["status"] == stream.status and said["reason"] in names.kind(reason), said
    return said
