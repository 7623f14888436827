"""Relays on which nothing happens: ended if asked for, and probed for vanished peers."""

import os
import queue
import re
import socket
import subprocess
import time

import pytest
from rig.backend import Backend, read_all
from rig.wait import until
from rig.world import SERVER4

BARE = {"proxy-protocol": "none"}


@pytest.fixture
def backend(world):
    """A backend that keeps its connections in a queue until the other side ends them.

    Not on loopback, where nobody vanishes and nothing is probed."""
    arrived = queue.Queue()

    def serve(sock):
        sock.settimeout(300)
        arrived.put(sock)
        read_all(sock)

    with Backend(world.server, (SERVER4, 0), serve) as made:
        made.arrived = lambda: arrived.get(timeout=20)
        yield made


def test_a_relay_without_a_byte_for_too_long_is_closed_on_both_sides(world, new_shim, port, backend):
    shim = new_shim(port, web=backend.address(), web_options=BARE, shim={"idle-timeout": "1s"})
    before = shim.sockets()
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(b"hello\n")
        inner = backend.arrived()
        assert sock.recv(1) == b""
        until(lambda: inner.fileno() == -1, "the backend to see the end")
    shim.wait_event(event="closed", reason="idle-timeout", peer=peer)
    until(lambda: shim.sockets() == before, "both sides to be closed")


def test_a_client_that_has_gone_is_not_kept_for_a_backend_that_does_not_notice(world, new_shim, port):
    noticed = queue.Queue()

    def serve(sock):
        read_all(sock)
        noticed.put(sock)
        time.sleep(60)  # and does not end its own side

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        shim = new_shim(port, web=backend.address(), web_options=BARE, shim={"half-closed-timeout": "2s"})
        before = shim.sockets()
        with world.connect(port=port) as silent:  # one that has not ended stays
            silent.sendall(b"hello\n")
            with world.connect(port=port) as sock:
                peer = "%s:%d" % sock.getsockname()
                sock.sendall(b"hello\n")
            noticed.get(timeout=60)
            shim.wait_event(event="closed", reason="idle-timeout", peer=peer)
            until(lambda: shim.sockets() == before + 2, "both sides to be closed")
        assert len(shim.events(reason="idle-timeout")) == 1


@pytest.mark.parametrize("speaker", ["client", "backend"])
def test_bytes_in_one_direction_are_enough_to_stay(world, new_shim, port, speaker):
    def serve(sock):
        while sock.recv(1):
            if speaker == "backend":
                for _ in range(16):
                    time.sleep(0.3)
                    sock.sendall(b"x")
                return

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        shim = new_shim(port, web=backend.address(), web_options=BARE, shim={"idle-timeout": "1500ms"})
        with world.connect(port=port) as sock:
            if speaker == "backend":
                sock.sendall(b"\n")
                assert read_all(sock) == b"x" * 16
            else:
                for _ in range(16):
                    sock.sendall(b"\n")
                    time.sleep(0.3)
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
    assert not shim.events(reason="idle-timeout")


def test_a_reader_that_has_stopped_is_idle_too(world, new_shim, port):
    """Bytes wait in the kernel, and none of them moves."""
    def serve(sock):
        sock.recv(1)
        while True:
            sock.sendall(b"x" * 65536)

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        shim = new_shim(port, web=backend.address(), web_options=BARE, shim={"idle-timeout": "1s"})
        before = shim.sockets()
        with world.connect(port=port) as sock:
            sock.sendall(b"\n")
            shim.wait_event(event="closed", reason="idle-timeout")
        until(lambda: shim.sockets() == before, "both sides to be closed")


def test_sessions_handed_over_are_not_the_shims_to_end(world, new_shim, port):
    new_shim(port, shim={"idle-timeout": "1s"})
    with world.login("alice", port=port) as alice, world.login("bob", port=port) as bob:
        time.sleep(3)
        alice.send(bob.jid, "still here")
        assert bob.receive() == (alice.jid, "still here")


def keepalive_timers(world, shim):
    """{(local, remote): has a keepalive timer} of the shim's established TCP connections."""
    with world.server.inside():
        text = subprocess.run(["ss", "-Htnop", "state", "established"], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line for line in text.splitlines() if f"pid={shim.process.pid}," in line]
    return {tuple(re.split(r"\s+", line.strip())[2:4]): "timer:(keepalive" in line for line in lines}


@pytest.mark.skipif("XMPP443_FULL" not in os.environ, reason="takes more than a minute: XMPP443_FULL=1")
def test_both_sides_of_a_relay_are_probed_when_silent_for_a_minute(world, new_shim, port, backend):
    shim = new_shim(port, web=backend.address(), web_options=BARE)
    with world.connect(port=port) as sock:
        sock.sendall(b"hello\n")
        backend.arrived()
        until(lambda: list(keepalive_timers(world, shim).values()) == [True, True], "keepalive on two connections", 120)
        assert (f"{SERVER4}:{port}", "%s:%d" % sock.getsockname()) in keepalive_timers(world, shim)


def test_clients_that_vanish_before_their_hello_are_found(world, new_shim, port):
    """The address is taken away from the client's machine, and nothing answers for it any more."""
    shim = new_shim(port, shim={"hello-timeout": "2s"})
    before = shim.sockets()
    address = "192.0.2.200"
    world.client.add_address("veth0", f"{address}/24")
    sock = world.connect(address, port)
    until(lambda: shim.sockets() > before, "the client to be accepted")
    world.client.ip("addr", "del", f"{address}/24", "dev", "veth0")
    until(lambda: shim.sockets() == before, "the client to be given up")
    sock.close()
