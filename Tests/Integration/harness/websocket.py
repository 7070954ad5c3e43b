"""WebSockets: handshakes and frames by hand, and a server on python3-websockets."""

import asyncio
import base64
import hashlib
import os
import threading

import websockets

from .bound import PATIENCE
from .wire import request, response

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def accept(key):
    """RFC 6455 §4.2.2."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def handshake(target="/ws", fields=(), key=KEY, version="13", upgrade="websocket", connection="Upgrade", method="GET"):
    """A client's first bytes; a part that is `None` is left out."""
    lines = []
    for name, value in (("Connection", connection), ("Upgrade", upgrade), ("Sec-WebSocket-Key", key),
                        ("Sec-WebSocket-Version", version)):
        if value is not None:
            lines.append((name, value))
    return request(method, target, [*lines, *fields])


def switching(key, fields=(), connection="Upgrade", upgrade="websocket", proof=None, status="101 Switching Protocols"):
    """A server's 101; a part that is `None` is left out."""
    lines = [f"HTTP/1.1 {status}"]
    for name, value in (("Connection", connection), ("Upgrade", upgrade),
                        ("Sec-WebSocket-Accept", accept(key) if proof is None else proof or None)):
        if value is not None:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def opens(then):
    """An upstream's `answer`: opens every tunnel, then `then(wire, request)` has it."""
    def answer(wire, asked):
        key = asked.get("sec-websocket-key")
        if key is None:
            wire.send(response(400, body=b"no handshake"))
            return True
        wire.send(switching(key))
        then(wire, asked)
        return False
    return answer


def echo_bytes(wire, _):
    """Sends back what comes, to the end."""
    if wire.buffer:
        wire.send(wire.buffer)
        wire.buffer = b""
    while data := wire.socket.recv(65536):
        wire.send(data)


class EchoServer:
    """A server on python3-websockets that echoes messages, in a thread of its own. `count` connections at a time."""

    def __init__(self, **options):
        self.connections = 0
        self.closes = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._options = {"max_size": None, "compression": None, "ping_interval": None, "backlog": 1024, **options}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _echo(self, socket):
        self.connections += 1
        try:
            async for message in socket:
                if message == "close me":
                    await socket.close(4321, "as asked")
                    break
                await socket.send(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.closes.append((socket.close_code, socket.close_reason))

    def _run(self):
        asyncio.set_event_loop(self._loop)

        async def begin():
            self._stop = asyncio.Event()
            server = await websockets.serve(self._echo, "127.0.0.1", 0, **self._options)
            port = server.sockets[0].getsockname()[1]
            self.address = f"127.0.0.1:{port}"
            self._ready.set()
            await self._stop.wait()
            server.close()
            await server.wait_closed()

        self._loop.run_until_complete(begin())
        self._loop.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)


def fresh_key():
    return base64.b64encode(os.urandom(16)).decode()
