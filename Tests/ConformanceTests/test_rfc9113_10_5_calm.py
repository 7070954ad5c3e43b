"""RFC 9113 §10.5 Denial-of-Service Considerations: what works without end for nobody ends with ENHANCE_YOUR_CALM."""

import pytest

from edge import case
from frames import ENHANCE_YOUR_CALM, Peer, continuation, data, get, headers, literal, post, priority, request, reset, settings
from harness.http2 import Client2

# By fifties: what passes the number of open streams is refused, and costs nothing.
STREAMS = [range(start, start + 100, 2) for start in range(1, 1001, 100)]
# A path that is refused here: no service has to bear these floods.
PATH = "/%00"

FLOODS = [
    case("9113 §10.5", name, frames) for name, frames in [
        ("streams that are opened and reset", [b"".join(get(number, PATH) + reset(number) for number in some) for some in STREAMS]),
        ("streams that a mistake of the client ends", [b"".join(
            post(number, "/calm", more=[("content-length", "1")]) + data(number, b"two", end=True) for number in some) for some in STREAMS]),
        ("malformed heads", [b"".join(headers(number, request(PATH, more=[("Upper", "case")])) for number in some) for some in STREAMS]),
        ("PRIORITY", [priority(1, 3) * 4000]),
        ("empty DATA", [post(1, "/calm") + data(1) * 4000]),
        ("SETTINGS", [settings() * 4000])]]


@pytest.mark.parametrize("frames", FLOODS)
def test_a_flood_ends_the_connection_and_nobody_else(edge, frames):
    other = Client2(edge.gateway.address())
    peer = Peer(edge.gateway.address())
    for some in frames:
        peer.send(some)
        if ENHANCE_YOUR_CALM not in peer.goaways and not peer.is_closed and len(frames) > 1:
            peer.settle()
    peer.until(lambda: ENHANCE_YOUR_CALM in peer.goaways)
    assert peer.is_closed or ENHANCE_YOUR_CALM in peer.goaways, peer.goaways
    peer.close()
    assert other.ask(path="/next").body == b"/next"
    other.close()
    edge.settle()


def test_a_head_that_is_far_too_large_ends_its_stream(edge):
    """RFC 9113 §10.5.1: a few kilobytes can name an entry of the table thousands of times. 431 is for heads that end."""
    peer = Peer(edge.gateway.address())
    table = headers(1, b"\x82\x86\x84" + literal(":authority", "gate.test") + literal("x", "v" * 3900, 0x40), last=False)
    peer.send(table + continuation(1, b"\xbe" * 16000))
    peer.until(lambda: peer.answer(1).is_over or peer.goaways)
    assert peer.answer(1).reset == ENHANCE_YOUR_CALM or ENHANCE_YOUR_CALM in peer.goaways, peer.frames
    peer.close()
    edge.settle()
