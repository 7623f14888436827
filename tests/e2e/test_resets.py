"""Connections that end early: by a reset, without a byte, or while the other side still sends."""

import contextlib
import queue
import socket
import struct

import pytest
from rig.backend import Backend, read_all
from rig.wait import until

BARE = {"proxy-protocol": "none"}


def reset(sock):
    """End a connection with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ending(sock):
    """How a connection ends: "reset" or "end", after so many bytes."""
    size = 0
    try:
        while piece := sock.recv(65536):
            size += len(piece)
    except ConnectionResetError:
        return "reset", size
    return "end", size


@pytest.fixture
def relay(world, new_shim, port):
    """relay(serve): a backend behind a shim; gives the shim and a connection that said "hello"."""
    with contextlib.ExitStack() as stack:
        def make(serve):
            backend = stack.enter_context(Backend(world.server, ("127.0.0.1", 0), serve))
            shim = new_shim(port, web=backend.address(), web_options=BARE)
            before = shim.sockets()
            sock = world.connect(port=port)
            sock.sendall(b"hello\n")
            stack.callback(lambda: until(lambda: shim.sockets() == before, "the shim to have closed both sides"))
            return shim, sock

        yield make


@pytest.mark.parametrize("moment", ["before any answer", "after an answer", "client has half-closed"])
def test_a_clients_reset_reaches_the_backend_as_a_reset(relay, moment):
    heard, ends = queue.Queue(), queue.Queue()

    def serve(sock):
        heard.put(sock.recv(6))
        if moment == "after an answer":
            sock.sendall(b"x")
        if moment != "client has half-closed":
            ends.put(ending(sock)[0])
            return
        assert sock.recv(1) == b""
        try:
            while True:  # only writing can tell now
                sock.sendall(b"x" * 65536)
        except (ConnectionResetError, BrokenPipeError):
            ends.put("reset")

    shim, sock = relay(serve)
    peer = "%s:%d" % sock.getsockname()
    assert heard.get(timeout=20) == b"hello\n"
    if moment == "client has half-closed":
        sock.shutdown(socket.SHUT_WR)
    if moment != "before any answer":
        assert sock.recv(1) == b"x"
    reset(sock)
    assert ends.get(timeout=20) == "reset"
    if moment != "client has half-closed":  # there a failed write may be the first sign
        shim.wait_event(event="closed", reason="reset", peer=peer)


@pytest.mark.parametrize("moment", ["before any answer", "after an answer", "client has half-closed"])
def test_a_backends_reset_reaches_the_client_as_a_reset(relay, moment):
    may_reset = queue.Queue()

    def serve(sock):
        assert sock.recv(6) == b"hello\n"
        if moment == "client has half-closed":
            assert sock.recv(1) == b""
        if moment == "after an answer":
            sock.sendall(b"x")
        may_reset.get(timeout=20)
        reset(sock)

    shim, sock = relay(serve)
    with sock:
        peer = "%s:%d" % sock.getsockname()
        if moment == "client has half-closed":
            sock.shutdown(socket.SHUT_WR)
        if moment == "after an answer":
            assert sock.recv(1) == b"x"
        may_reset.put(None)
        assert ending(sock) == ("reset", 0)
    shim.wait_event(event="closed", reason="reset", peer=peer)


@pytest.mark.parametrize("end", ["close", "half-close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02"])
def test_a_client_that_ends_before_its_hello_is_forgotten_and_the_backend_not_bothered(
        world, new_shim, port, end, sent):
    with Backend(world.server, ("127.0.0.1", 0), read_all) as backend:
        shim = new_shim(port, web=backend.address())
        before = shim.sockets()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                sock = stack.enter_context(world.connect(port=port))
                if sent:
                    sock.sendall(sent)
                if end == "half-close":
                    sock.shutdown(socket.SHUT_WR)
                    assert ending(sock)[1] == 0
                elif end == "reset":
                    reset(sock)
                else:
                    sock.close()
            until(lambda: len(shim.events(event="closed", reason="client-gone")) == 20, "20 clients to be gone")
        until(lambda: shim.sockets() == before, "the shim to have closed them")
        assert backend.accepted == 0


def test_a_backend_that_closes_without_a_byte_ends_the_client(relay):
    _, sock = relay(lambda backend: backend.recv(6))
    with sock:
        assert ending(sock) == ("end", 0)
