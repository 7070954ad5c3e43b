"""Ports that are known before anybody listens on them, and that stay one's own while nobody does."""

import socket


def free_port():
    """A socket that has a port of the loopback, and does not listen: who connects is refused. As long as it is open, the
    kernel gives that port to nobody who asks for any, to listen or to connect from; who names it, with SO_REUSEADDR as
    servers have it, may listen on it, end, and listen again. A port that was only looked up and let go is another's by
    the time that it is used: the range from which outgoing connections take theirs is the same."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def number(held):
    return held.getsockname()[1]
