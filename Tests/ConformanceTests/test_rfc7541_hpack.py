"""RFC 7541 HPACK: representations, tables, strings. A decoding error is a connection error of type COMPRESSION_ERROR (RFC
9113 §4.3)."""

from frames import (
    COMPRESSION_ERROR, ENHANCE_YOUR_CALM, HEADER_TABLE_SIZE, PREFACE, Peer, continuation, get, headers, literal, number,
    settings, text)
from rows import Answered, Nothing, One, Row, Some, answered, connection_error, either, malformed, settled, stream_error, table

# :method GET, :scheme http, :path / of the static table; :authority with an indexed name.
INDEXED = b"\x82\x86\x84" + b"\x01" + text("gate.test")
BAD = connection_error(COMPRESSION_ERROR)


def resize(size):
    """A change of the dynamic table's size (§6.3)."""
    return number(size, 5, 0x20)


def good(title, clause, fields, expected=One(), client=Answered()):
    return Row(clause, title, (headers(1, fields),), client, expected)


def bad(title, clause, fields):
    return Row(clause, title, (headers(1, fields),), BAD, Nothing())


ROWS = [
    # §6.1, §6.2: each representation.
    good("indexed fields", "6.1", INDEXED),
    good("a literal with indexing and an indexed name", "6.2.1", INDEXED + b"\x7a" + text("me"), One(fields=(("user-agent", "me"),))),
    good("a literal with indexing and an indexed name, Huffman", "6.2.1", INDEXED + b"\x7a" + text("me", True),
         One(fields=(("user-agent", "me"),))),
    good("a literal with indexing and a new name", "6.2.1", INDEXED + literal("x-new", "1", 0x40), One(fields=(("x-new", "1"),))),
    good("a literal with indexing and a new name, Huffman", "6.2.1", INDEXED + literal("x-new", "1", 0x40, True),
         One(fields=(("x-new", "1"),))),
    good("a literal without indexing and an indexed name", "6.2.2", INDEXED + number(58, 4) + text("me"),
         One(fields=(("user-agent", "me"),))),
    good("a literal without indexing and an indexed name, Huffman", "6.2.2", INDEXED + number(58, 4) + text("me", True),
         One(fields=(("user-agent", "me"),))),
    good("a literal without indexing and a new name", "6.2.2", INDEXED + literal("x-new", "1"), One(fields=(("x-new", "1"),))),
    good("a literal without indexing and a new name, Huffman", "6.2.2", INDEXED + literal("x-new", "1", 0, True),
         One(fields=(("x-new", "1"),))),
    good("a literal never indexed and an indexed name", "6.2.3", INDEXED + number(58, 4, 0x10) + text("me"),
         One(fields=(("user-agent", "me"),))),
    good("a literal never indexed and an indexed name, Huffman", "6.2.3", INDEXED + number(58, 4, 0x10) + text("me", True),
         One(fields=(("user-agent", "me"),))),
    good("a literal never indexed and a new name", "6.2.3", INDEXED + literal("x-new", "1", 0x10), One(fields=(("x-new", "1"),))),
    good("a literal never indexed and a new name, Huffman", "6.2.3", INDEXED + literal("x-new", "1", 0x10, True),
         One(fields=(("x-new", "1"),))),
    good("a pseudo-field with the name of the table and a value of its own", "6.2.1",
         b"\x82\x86\x44" + text("/own") + b"\x01" + text("gate.test"), One("/own")),
    good("every byte, Huffman", "5.2", INDEXED + literal("x", bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)), 0, True),
         One(fields=(("x", "".join(map(chr, [*range(0x21, 0x7F), *range(0x80, 0x100)]))),))),
    # §2.3.2: the dynamic table, from one request to the next.
    Row("2.3.2", "an entry of the dynamic table", (headers(1, INDEXED + literal("x-kept", "1", 0x40)), answered(1),
                                                   headers(3, INDEXED + b"\xbe")), Answered(stream=3), Some(2)),
    Row("2.3.2", "the youngest entry has the lowest index",
        (headers(1, INDEXED + literal("x-old", "1", 0x40) + literal("x-young", "2", 0x40) + b"\xbe\xbf"),), Answered(), Some(1)),
    Row("2.3.2", "an entry within its own field block", (headers(1, INDEXED + literal("x-kept", "1", 0x40) + b"\xbe"),),
        Answered(), Some(1)),
    Row("2.3.2", "what was never indexed is no entry", (headers(1, INDEXED + literal("x", "1", 0x10) + b"\xbe"),), BAD, Nothing()),
    Row("2.3.2", "what was sent without indexing is no entry", (headers(1, INDEXED + literal("x", "1") + b"\xbe"),), BAD,
        Nothing()),
    # §2.3.3
    bad("an indexed field past both tables", "2.3.3", INDEXED + b"\xbe"),
    bad("a literal whose name is past both tables", "2.3.3", INDEXED + b"\x7e" + text("1")),
    bad("a literal without indexing whose name is past both tables", "2.3.3", INDEXED + number(70, 4) + text("1")),
    bad("a literal never indexed whose name is past both tables", "2.3.3", INDEXED + number(70, 4, 0x10) + text("1")),
    bad("an index of a million", "2.3.3", INDEXED + number(1_000_000, 7, 0x80)),
    bad("the index of an entry that a newer one has pushed out", "4.4",
        INDEXED + literal("x-old", "v" * 3000, 0x40) + literal("x-new", "v" * 3000, 0x40) + b"\xbf"),
    # §4.2, §6.3
    good("a change of the table's size to 0", "6.3", resize(0) + INDEXED),
    good("a change of the table's size to its limit", "6.3", resize(4096) + INDEXED),
    good("two changes of the table's size", "4.2", resize(0) + resize(4096) + INDEXED),
    Row("4.3", "a change to 0 empties the table", (headers(1, INDEXED + literal("x", "1", 0x40)), answered(1),
                                                   headers(3, resize(0) + resize(4096) + INDEXED + b"\xbe")), BAD, Some(1)),
    bad("a change of the table's size above what we announced", "6.3", resize(4097) + INDEXED),
    bad("a change of the table's size to 2^32", "6.3", resize(1 << 32) + INDEXED),
    bad("a change of the table's size behind a field", "4.2", INDEXED[:1] + resize(0) + INDEXED[1:]),
    bad("a change of the table's size at the end", "4.2", INDEXED + resize(0)),
    Row("4.2", "three changes of the table's size in one block", (headers(1, resize(0) + resize(100) + resize(4096) + INDEXED),),
        either(Answered(), BAD), One(), note="§4.2 sends two at most; what a receiver does with more is open"),
    good("an entry larger than the table empties it and is read all the same", "4.4",
         INDEXED + literal("x-large", "v" * 5000, 0x40), One(fields=(("x-large", "v" * 5000),))),
    bad("an entry larger than the table is no entry", "4.4", INDEXED + literal("x-large", "v" * 5000, 0x40) + b"\xbe"),
    Row("4.2", "a client's own HEADER_TABLE_SIZE is about what we send",
        (settings((HEADER_TABLE_SIZE, 65536)), settled, headers(1, resize(65536) + INDEXED)), BAD, Nothing()),
    # §5.1
    good("an integer longer than it needs to be", "5.1", INDEXED + b"\x00\x01x\x7f\x80\x00"
         + b"v" * 127, One(fields=(("x", "v" * 127),))),
    bad("an index without end", "5.1", INDEXED + b"\xff" + b"\x80" * 20),
    bad("an index that overflows", "5.1", INDEXED + b"\xff" + b"\xff" * 9 + b"\x7f"),
    bad("a length that overflows", "5.1", INDEXED + b"\x00\x7f" + b"\xff" * 9 + b"\x7f"),
    bad("an integer cut at its prefix", "5.1", INDEXED + b"\xff"),
    bad("an integer cut in its middle", "5.1", INDEXED + b"\xff\x80"),
    # §5.2
    bad("padding of eight bits", "5.2", INDEXED + b"\x00\x01x" + b"\x82\x1f\xff"),
    bad("padding of zeros", "5.2", INDEXED + b"\x00\x01x" + b"\x81\x18"),
    bad("EOS in a string", "5.2", INDEXED + b"\x00\x01x" + b"\x84\xff\xff\xff\xff"),
    bad("padding that is all there is", "5.2", INDEXED + b"\x00\x01x" + b"\x81\xff"),
    bad("a string longer than the block", "5.2", INDEXED + b"\x00\x01x\x05abc"),
    bad("a name longer than the block", "5.2", INDEXED + b"\x00\x7f\x80\x01abc"),
    bad("a Huffman string longer than the block", "5.2", INDEXED + b"\x00\x01x\x85\xf2"),
    bad("a literal without its value", "5.2", INDEXED + b"\x00\x01x"),
    bad("a literal without its name", "5.2", INDEXED + b"\x40"),
    good("an empty Huffman string", "5.2", INDEXED + b"\x00\x01x\x80", One(fields=(("x", ""),))),
    Row("5.2", "CR and LF in Huffman coding", (headers(1, INDEXED + literal("x", "a\r\nb: c", 0, True)),), malformed(), Nothing()),
    Row("5.2", "an upper-case name in Huffman coding", (headers(1, INDEXED + literal("X-A", "1", 0, True)),), malformed(), Nothing()),
    Row("5.2", "a NUL in Huffman coding", (headers(1, INDEXED + literal("x", "\0", 0, True)),), malformed(), Nothing()),
    # §6.1
    bad("index 0", "6.1", INDEXED + b"\x80"),
    bad("index 0 alone", "6.1", b"\x80"),
    # What the table keeps is checked each time that it is named.
    Row("6.2.1", "a malformed field that was indexed is malformed again",
        (headers(1, INDEXED + literal("x", "a\nb", 0x40)), settled, headers(3, INDEXED + b"\xbe")), malformed(3), Nothing()),
    Row("6.2.1", "a field of connections that was indexed is refused again",
        (headers(1, INDEXED + literal("connection", "close", 0x40)), settled, headers(3, INDEXED + b"\xbe")), malformed(3), Nothing()),
    Row("6.2.1", "a malformed field in the table harms no other request",
        (headers(1, INDEXED + literal("x", "a\nb", 0x40)), settled, headers(3, INDEXED)), Answered(stream=3), One()),
    # §7.3: a small block that stands for a large head.
    Row("7.3", "one entry of the table named many times",
        (headers(1, INDEXED + literal("x", "v" * 3900, 0x40) + b"\xbe" * 30),), Answered(431), Nothing()),
    Row("7.3", "one entry of the table named far too often",
        (headers(1, INDEXED + literal("x", "v" * 3900, 0x40), last=False), continuation(1, b"\xbe" * 16_000)),
        either(stream_error(ENHANCE_YOUR_CALM), connection_error(ENHANCE_YOUR_CALM), Answered(431)), Nothing()),
    Row("4.3", "our own field blocks decode after a table of no size",
        (get(1), answered(1), settings((HEADER_TABLE_SIZE, 0)), settled, get(3), answered(3),
         settings((HEADER_TABLE_SIZE, 4096)), settled, get(5), answered(5), get(7)), Answered(stream=7), Some(4),
        start=PREFACE + settings((HEADER_TABLE_SIZE, 100))),
]


@table(ROWS, "7541")
def test_row(http2, row):
    http2.judge(row)


def test_answers_are_never_indexed_where_they_are_secret(http2):
    """§7.1.3: what stands in a table can be guessed at by who else may use the connection; request ids are new each time."""
    peer = Peer(http2.address)
    for stream in (1, 3):
        peer.send(get(stream))
        peer.until_answered(stream)
    ids = [dict(peer.answer(stream).heads[-1])["x-request-id"] for stream in (1, 3)]
    assert ids[0] != ids[1]
    assert not any("x-request-id" in str(name) for name, _ in peer._decoder.header_table.dynamic_entries)
    peer.close()
