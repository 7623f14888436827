"""The beginning of a connection: how the ClientHello arrives, or does not."""

import contextlib
import socket
import ssl
import time

import pytest
from rig.prosody import PASSWORD
from rig.tls import TlsStream, client_hello, context, in_records
from rig.wait import settled, until
from rig.world import CLIENTS4, CLIENTS6, HOSTS
from rig.xmpp import XmppClient


def byte_by_byte(sock, record):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in record:
        sock.sendall(bytes([byte]))
        time.sleep(0.001)


def in_small_records(sock, record):
    sock.sendall(b"".join(in_records(record, 64)))


def in_records_and_segments(sock, record):
    for piece in in_records(record, 100):
        byte_by_byte(sock, piece)


SENDERS = [byte_by_byte, in_small_records, in_records_and_segments]


@pytest.mark.parametrize("send_hello", SENDERS)
@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.usefixtures("shim")
def test_a_client_logs_in_however_its_hello_is_cut_up(world, source, send_hello):
    with world.login("alice", source=source, send_hello=send_hello) as alice:
        assert world.prosody.login_of(alice.jid)["ip"] == source


@pytest.mark.parametrize("send_hello", SENDERS)
@pytest.mark.usefixtures("shim")
def test_a_browser_is_served_however_its_hello_is_cut_up(world, send_hello):
    with world.tls(HOSTS[1], ["h2", "http/1.1"], send_hello=send_hello) as stream:
        assert stream.certificate_names() == [HOSTS[1]]
        assert stream.alpn() == "h2"


def long_list(size):
    """Protocol names of about so many bytes, with ours at the end."""
    return ["x" * 99] * (size // 100) + ["xmpp-client"]


@pytest.mark.parametrize("size", [1_500, 5_000, 14_000])
@pytest.mark.usefixtures("shim")
def test_a_long_hello_is_read_to_its_end(world, size):
    """Longer than a segment, as with post-quantum keys, or than several."""
    with world.tls(alpn=long_list(size)) as stream:
        assert stream.alpn() == "xmpp-client"


def test_a_hello_beyond_all_measure_is_left_to_the_web_server(world, shim):
    hello = client_hello(context(world.authority.cert, long_list(40_000)), HOSTS[0])
    with world.connect() as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(hello)
        assert shim.wait_event(event="routed", peer=peer)["route"] == "web"
        assert sock.recv(4096)  # an alert: there is no such protocol


def closed_by_server(sock):
    """What the server still said before it closed."""
    try:
        return sock.recv(4096)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("said", [0, 1, 5, 100])
def test_a_client_that_does_not_finish_its_hello_is_closed_at_the_deadline(world, new_shim, port, said):
    shim = new_shim(port, shim={"hello-timeout": "1s"})
    hello = client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0])
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(hello[:said])
        assert closed_by_server(sock) == b""
        shim.wait_event(event="closed", reason="hello-timeout", peer=peer)


def test_sending_slowly_does_not_put_the_deadline_off(world, new_shim, port):
    shim = new_shim(port, shim={"hello-timeout": "1s"})
    hello = client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0])
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        for byte in hello[:-1]:
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                break
            if shim.events(event="closed", peer=peer):
                break
            time.sleep(0.1)
        shim.wait_event(event="closed", reason="hello-timeout", peer=peer)


def test_an_established_session_outlives_the_hello_deadline(world, new_shim, port):
    shim = new_shim(port, shim={"hello-timeout": "1s"})
    with world.login("alice", port=port) as alice, world.login("bob", port=port) as bob:
        with world.connect(port=port) as silent:
            assert closed_by_server(silent) == b""
        assert shim.events(event="closed", reason="hello-timeout")
        alice.send(bob.jid, "still here")
        assert bob.receive() == (alice.jid, "still here")


def test_a_client_that_leaves_before_its_hello_is_forgotten_at_once(world, new_shim, port):
    shim = new_shim(port, shim={"hello-timeout": "600s"})
    before = shim.sockets()
    for leave in (lambda sock: None, lambda sock: sock.sendall(b"\x16\x03\x01")):
        with world.connect(port=port) as sock:
            leave(sock)
            until(lambda: shim.sockets() == before + 1, "the shim to have accepted")
        until(lambda: shim.sockets() == before, "the shim to have let go")
    assert len(shim.events(event="closed", reason="client-gone")) == 2


GARBAGE = {
    "zeros": b"\0" * 2000,
    "almost a record": b"\x16" * 2000,
    "records of no hello": b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff" * 50,
    "xmpp without tls": b"<?xml version='1.0'?><stream:stream>\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_hello_is_answered_by_the_web_server(world, shim, garbage):
    with world.connect() as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(garbage)
        with contextlib.suppress(OSError):  # it may have closed already
            sock.shutdown(socket.SHUT_WR)
        while closed_by_server(sock):
            pass
        assert shim.wait_event(event="routed", peer=peer)["route"] == "web"


@pytest.mark.usefixtures("shim")
def test_a_client_of_tls_1_2_logs_in_too(world):
    ctx = context(world.authority.cert, ["xmpp-client"])
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    with TlsStream(world.connect(), ctx, HOSTS[0]) as stream:
        assert XmppClient(stream, "alice", HOSTS[0], PASSWORD, "old").jid == f"alice@{HOSTS[0]}/old"


def test_bytes_that_were_looked_at_do_not_wake_the_shim_again(world, new_shim, port):
    """A level-triggered epoll would report them for ever, and the shim would never rest."""
    shim = new_shim(port, shim={"hello-timeout": "600s"})
    hello = client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0])
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(world.connect(port=port)).sendall(hello[:100])
        settled(shim.process.cpu_seconds, "the shim to rest", 20)
