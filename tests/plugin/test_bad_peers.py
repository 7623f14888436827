"""Processes of this machine that connect to the socket and do what they should not.

Whatever they do: nothing of it stays open in Prosody, and other senders do not notice.
"""

import os
import signal
import socket
import struct

import pytest

from clients import hand_over, ident, open_stream, tls
from prosody_box import ALPN, AUTHORITY, SIGNATURE, UNIQUE_ID, Sender, message, tcp_pair, tlv

CUT_OFF = "cut off"
IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 40001, 443)


def packet(body, version=0x21, family=0x11, length=None, signature=SIGNATURE):
    """A hand-off message of any content."""
    return signature + struct.pack("!BBH", version, family, len(body) if length is None else length) + body


def with_tlvs(*tlvs):
    return lambda unique: packet(IPV4 + b"".join(tlvs) + tlv(UNIQUE_ID, unique))


# What is wrong, the message for an id, what becomes of it
MESSAGES = {
    "nothing at all": (lambda unique: b"", CUT_OFF),
    "one byte": (lambda unique: b"\r", CUT_OFF),
    "a header that is cut": (lambda unique: message(unique)[:15], CUT_OFF),
    "a header and nothing else": (lambda unique: message(unique)[:16], CUT_OFF),
    "addresses that are cut": (lambda unique: message(unique)[:20], CUT_OFF),
    "the last byte missing": (lambda unique: message(unique)[:-1], CUT_OFF),
    "another signature": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), signature=b"GET / HTTP/1"), CUT_OFF),
    "version 1": (lambda unique: b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", CUT_OFF),
    "version 3": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), version=0x31), CUT_OFF),
    "no id": (lambda unique: packet(IPV4 + tlv(ALPN, b"xmpp-client")), CUT_OFF),
    "a short id": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique[:7])), CUT_OFF),
    "two ids": (lambda unique: packet(IPV4 + 2 * tlv(UNIQUE_ID, unique)), CUT_OFF),
    "a length that is too small": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + b"\0", length=23), "N"),
    "a length that is too large": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), length=24), "N"),
    "command LOCAL": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), version=0x20), "N"),
    "no family": (lambda unique: packet(tlv(UNIQUE_ID, unique), family=0), "N"),
    "UDP": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), family=0x12), "N"),
    "UDP over IPv6": (lambda unique: packet(bytes(36) + tlv(UNIQUE_ID, unique), family=0x22), "N"),
    "a Unix socket's addresses": (lambda unique: packet(bytes(216) + tlv(UNIQUE_ID, unique), family=0x31), "N"),
    "an unheard-of family": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), family=0xf1), CUT_OFF),
    "IPv6 with IPv4's length": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique), family=0x21), CUT_OFF),
    "a TLV over the end": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + b"\x20\xff\xff"), "N"),
    "half a TLV": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + b"\x20\0"), "N"),
    "an empty protocol": (with_tlvs(tlv(ALPN, b"")), "N"),
    "a long protocol": (with_tlvs(tlv(ALPN, bytes(256))), "N"),
    "two protocols": (with_tlvs(tlv(ALPN, b"xmpp-client"), tlv(ALPN, b"xmpp-server")), "N"),
    "an unknown protocol": (with_tlvs(tlv(ALPN, b"\x1b[2J\n")), "N"),
    "an empty host name": (with_tlvs(tlv(AUTHORITY, b"")), "N"),
    "a host name with a line end": (with_tlvs(tlv(AUTHORITY, b"one.example\nerror")), "N"),
    "two host names": (with_tlvs(2 * tlv(AUTHORITY, b"one.example")), "N"),
    "1,025 bytes": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + tlv(0x20, bytes(983))), "N"),
    "65,000 bytes": (lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + tlv(0x20, bytes(64958))), "N"),
    "an id behind 1,024 bytes": (with_tlvs(tlv(0x20, bytes(1000))), CUT_OFF),
}
GOOD_MESSAGES = {
    "1,024 bytes": lambda unique: packet(IPV4 + tlv(UNIQUE_ID, unique) + tlv(0x20, bytes(982))),
    "unknown TLVs": with_tlvs(tlv(0x20, b""), tlv(0xee, b"x")),
    "IPv6 addresses on an IPv4 socket": lambda unique: message(unique, source=("2001:db8::7", 1), dest=("2001:db8::1", 443)),
}


def reset_connection():
    client, accepted = tcp_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    return [accepted]


def listening():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return [made]


def udp():
    one, other = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
    other.bind(("127.0.0.1", 0))
    one.connect(other.getsockname())
    return [one, other]


def unix(kind):
    return lambda: socket.socketpair(socket.AF_UNIX, kind)


def files(*paths):
    return lambda: [open(path, "rb", buffering=0) for path in paths]


class Path:
    """A descriptor for which nothing but the path is open."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_PATH)

    def fileno(self):
        return self._fd

    def close(self):
        os.close(self._fd)


# What comes instead of one connection: how it is made, how many of it are sent, the answer
DESCRIPTORS = {
    "none": (list, 0, "N"),
    "two": (tcp_pair, 2, "N"),
    "the most there can be": (files(*["/dev/null"] * 253), 253, "N"),
    "a file": (files("/etc/hostname"), 1, "N"),
    "a path": (lambda: [Path("/")], 1, "N"),
    "a UDP socket": (udp, 1, "N"),
    "a Unix stream": (unix(socket.SOCK_STREAM), 1, "N"),
    "a Unix datagram socket": (unix(socket.SOCK_DGRAM), 1, "N"),
    "a listening socket": (listening, 1, "N"),
    "a socket that was never connected": (lambda: [socket.socket()], 1, "A"),
    "a connection that was reset": (reset_connection, 1, "A"),
}


@pytest.fixture
def nothing_leaks(prosody, sender):
    """At the end Prosody has as many descriptors open as before."""
    prosody.settle()
    before = prosody.descriptors()
    yield
    prosody.wait_until(lambda: prosody.descriptors() <= before)


def expect(other, unique, outcome):
    if outcome == CUT_OFF:
        with pytest.raises(EOFError):
            other.answers(1)
    else:
        assert other.answers(1) == {unique: outcome}


def hand_over_and_end(sender):
    client, verdict = hand_over(sender)
    assert verdict == "A"
    assert "mechanisms" in open_stream(tls(client, "one.example"), "one.example")


@pytest.mark.usefixtures("nothing_leaks")
@pytest.mark.parametrize("wrong", MESSAGES)
def test_bad_message_is_refused_or_ends_its_sender_only(prosody, sender, wrong):
    make, outcome = MESSAGES[wrong]
    client, accepted = tcp_pair()
    other, unique = Sender(prosody.socket), ident()
    other.send(make(unique), accepted.fileno())
    expect(other, unique, outcome)
    accepted.close()
    assert client.recv(1) == b""  # no copy of it is open any more
    if outcome == "N":
        hand_over_and_end(other)
    hand_over_and_end(sender)
    other.close()


@pytest.mark.parametrize("unusual", GOOD_MESSAGES)
def test_unusual_message_is_good_all_the_same(prosody, sender, unusual):
    client, accepted = tcp_pair()
    unique = ident()
    sender.send(GOOD_MESSAGES[unusual](unique), accepted.fileno())
    assert sender.answers(1) == {unique: "A"}
    assert "mechanisms" in open_stream(tls(client, "one.example"), "one.example")


@pytest.mark.usefixtures("nothing_leaks")
@pytest.mark.parametrize("what", DESCRIPTORS)
def test_what_is_not_one_connection_is_not_adopted(prosody, sender, what):
    make, count, verdict = DESCRIPTORS[what]
    made = make()
    other, unique = Sender(prosody.socket), ident()
    other.send(message(unique), *(one.fileno() for one in made[:count]))
    assert other.answers(1) == {unique: verdict}
    hand_over_and_end(other)
    hand_over_and_end(sender)
    for one in made:
        one.close()
    other.close()


@pytest.mark.usefixtures("nothing_leaks")
def test_empty_packet_without_a_descriptor_ends_its_sender_only(prosody, sender):
    other = Sender(prosody.socket)
    other.send(b"")
    expect(other, None, CUT_OFF)
    hand_over_and_end(sender)


def test_garbage_ends_only_its_own_sender(prosody, sender):
    seen = prosody.log_size()
    other = Sender(prosody.socket)
    other.send(b"garbage\x1b[2J\n")
    expect(other, None, CUT_OFF)
    assert hand_over(sender)[1] == "A"
    line, = [line for line in prosody.text(seen).splitlines() if "not understood" in line]
    assert "are its version and this one's compatible?" in line
    assert "garbage" not in prosody.text(seen)


def test_answers_due_are_given_before_a_sender_is_cut_off(fresh):
    box = fresh()
    sender = Sender(box.socket)
    box.process.send_signal(signal.SIGSTOP)
    unique = ident()
    sender.send(message(unique))
    sender.send(b"garbage")
    box.process.send_signal(signal.SIGCONT)
    assert sender.answers(1) == {unique: "N"}
    with pytest.raises(EOFError):
        sender.answers(1)
