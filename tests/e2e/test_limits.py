"""Limits, shortages and backends that do not answer."""

import concurrent.futures
import contextlib
import os
import socket

import pytest
from rig.backend import Backend
from rig.wait import settled, until
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4

PLAIN = b"GET / HTTP/1.1\r\n\r\n"


@contextlib.contextmanager
def silent_clients(world, count, port, source=CLIENTS4[0]):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(world.connect(source, port)) for _ in range(count)]


def closed_without_a_word(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("source, neighbour, stranger", [
    (CLIENTS4[0], CLIENTS4[0], CLIENTS4[1]),
    (CLIENTS6[0], CLIENTS6[1], CLIENTS6[2]),  # one /64, and another one
])
def test_one_address_may_have_only_so_many_unfinished_hellos(world, new_shim, port, source, neighbour, stranger):
    shim = new_shim(port, shim={"max-pending-per-ip": "4", "hello-timeout": "600s"})
    before = shim.sockets()
    with silent_clients(world, 4, port, source):
        until(lambda: shim.sockets() == before + 4, "four clients to be accepted")
        with world.connect(neighbour, port) as fifth:
            assert closed_without_a_word(fifth)
        shim.wait_event(event="closed", reason="too-many-pending")
        world.login("alice", source=stranger, port=port).logout()
    until(lambda: shim.sockets() == before, "the four to be forgotten")
    world.login("alice", source=source, port=port).logout()


def test_clients_that_have_been_routed_do_not_count_as_pending(world, new_shim, port):
    shim = new_shim(port, shim={"max-pending-per-ip": "4"})
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(world.login(port=port))
            stack.enter_context(world.tls(port=port))
    assert not shim.events(reason="too-many-pending")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_beyond_max_connections_the_oldest_that_is_undecided_goes(world, new_shim, port, said):
    shim = new_shim(port, shim={"max-connections": "8", "workers": "1", "hello-timeout": "600s"})
    before = shim.sockets()
    with silent_clients(world, 8, port) as silent:
        for sock in silent:
            sock.sendall(said)
        until(lambda: shim.sockets() == before + 8, "eight clients to be accepted")
        for n in range(3):
            peer = "%s:%d" % silent[n].getsockname()
            with world.login("alice", port=port):
                assert closed_without_a_word(silent[n])
            shim.wait_event(event="closed", reason="evicted", peer=peer)
            silent.append(world.connect(port=port))  # takes the place of the one that has logged in
            until(lambda: shim.sockets() == before + 8, "eight again")
        assert len(shim.events(reason="evicted")) == 3
        if not said:
            silent[7].sendall(PLAIN)
            assert b"400 Bad Request" in silent[7].recv(4096)
        for sock in silent[8:]:
            sock.close()


def test_a_connection_that_has_a_verdict_is_never_evicted(world, new_shim, port):
    """Relays fill three places of four, and the fourth changes hands."""
    shim = new_shim(port, shim={"max-connections": "4", "workers": "1", "hello-timeout": "600s"})
    with contextlib.ExitStack() as stack:
        relayed = [stack.enter_context(world.tls(port=port, alpn=["http/1.1"])) for _ in range(3)]
        silent = [stack.enter_context(world.connect(port=port)) for _ in range(6)]
        until(lambda: len(shim.events(reason="evicted")) == 5, "five of the silent to go")
        for sock in silent[:5]:
            assert closed_without_a_word(sock)
        world.login("alice", port=port).logout()
        for stream in relayed:
            stream.sendall(f"GET / HTTP/1.1\r\nHost: {HOSTS[0]}\r\n\r\n".encode())
            assert stream.recv().startswith(b"HTTP/1.1 200 ")


def test_beyond_max_connections_clients_wait_until_there_is_room(world, new_shim, port):
    shim = new_shim(port, shim={"max-connections": "8", "workers": "1"})
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(1) as pool:
        relayed = [stack.enter_context(world.tls(port=port)) for _ in range(8)]
        late = pool.submit(world.login, "alice", port=port)
        shim.wait_event(event="full")
        settled(shim.mark, "the shim's log")
        assert not late.done()
        assert not shim.events(event="handed-off")
        relayed[0].close()
        late.result(60).logout()
    assert not shim.events(reason="evicted")


def test_sessions_handed_over_do_not_count_as_connections(world, new_shim, port):
    new_shim(port, shim={"max-connections": "4"})
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(world.login(port=port))
        assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4)


def test_a_shim_with_few_descriptors_goes_on_serving(world, new_shim, port):
    shim = new_shim(port, process={"nofile": (256, 256)},
                    shim={"max-pending-per-ip": "1000", "hello-timeout": "1s", "max-connections": "1000"})
    with silent_clients(world, 200, port):
        world.login("alice", port=port).logout()
        assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    assert shim.process.alive()


def test_a_shim_short_of_descriptors_for_relays_goes_on_serving(world, new_shim, port):
    """Clients that do get routed need a second descriptor each, and bulk needs pipes."""
    shim = new_shim(port, process={"nofile": (256, 256)}, shim={"max-pending-per-ip": "1000"})
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(world.connect(port=port)).sendall(b"\n")
    world.login("alice", port=port).logout()
    assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    assert shim.process.alive()


@pytest.mark.parametrize("nofile, workers", [(128, 1), (256, 2)])
def test_all_places_can_be_taken_while_bytes_wait_on_each(world, new_shim, port, nofile, workers):
    """Bytes that wait are in pipes, which need descriptors too, and must not take those of connections."""
    size = 8 << 20  # more than sockets and a pipe hold

    def serve(sock):
        assert sock.recv(4096) == PLAIN  # what is unread when it closes would make that a reset
        sock.settimeout(300)
        sock.sendall(bytes(size))

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend, contextlib.ExitStack() as stack:
        shim = new_shim(port, web=backend.address(), web_options={"proxy-protocol": "none"},
                        process={"nofile": (nofile, nofile)}, shim={"workers": str(workers)})
        places = int(shim.wait_event(event="limit-lowered")["max-connections"])
        assert places > nofile // 5
        clients = []
        for n in range(places):
            sock = stack.enter_context(world.connect(port=port))
            sock.sendall(PLAIN)
            clients.append(sock)
            # Each worker has its share, so that the last ones may have to wait for places of the other.
            if workers == 1:
                until(lambda n=n: backend.accepted == n + 1, "the backend to be called")
        until(lambda: backend.accepted > places - places // 4, "the backend to be called")
        settled(lambda: len(shim.process.fds()), "the shim's descriptors")
        assert any(link.startswith("pipe:") for link in shim.process.fds())
        for sock in clients:
            sock.settimeout(120)
            left = size
            while left > 0:
                got = len(sock.recv(1 << 20))
                assert got > 0
                left -= got
            sock.close()
        assert not shim.events(event="accept-paused")
        assert not shim.events(reason="no-resources")


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix", "dead unix"])
def test_a_client_is_closed_when_the_web_server_is_down(world, new_shim, port, name, kind):
    path = world.folder / f"{name}.sock"
    if kind == "dead unix":
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(path))
        path.chmod(0o666)
    shim = new_shim(port, web={"tcp4": "127.0.0.1:19999", "tcp6": "[::1]:19999"}.get(kind, f"unix:{path}"))
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(PLAIN)
        assert closed_without_a_word(sock)
    shim.wait_event(event="closed", reason="backend-refused", peer=peer)
    world.login("alice", port=port).logout()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_client_is_closed_when_the_web_server_does_not_accept(world, new_shim, port, name, kind):
    address = ("127.0.0.1", 0) if kind == "tcp" else str(world.folder / f"{name}.sock")
    with Backend(world.server, address, None, backlog=0) as backend, contextlib.ExitStack() as queue:
        if kind == "unix":
            os.chmod(address, 0o666)
        shim = new_shim(port, web=backend.address(), shim={"connect-timeout": "1s", "hello-timeout": "600s"})
        before = shim.sockets()
        for _ in range(4):  # fill the listener's queue
            with world.server.inside():
                filler = queue.enter_context(socket.socket(backend.listener.family))
            filler.setblocking(False)
            filler.connect_ex(backend.listener.getsockname())
        with world.connect(port=port) as sock:
            peer = "%s:%d" % sock.getsockname()
            sock.sendall(PLAIN)
            assert closed_without_a_word(sock)
        shim.wait_event(event="closed", reason="backend-timeout", peer=peer)
        until(lambda: shim.sockets() == before, "both sides to be closed")


def test_several_workers_serve_one_port(world, new_shim, port):
    shim = new_shim(port, shim={"workers": "4"})
    assert len(os.listdir(f"/proc/{shim.process.pid}/task")) >= 4
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(world.login(port=port, source=source))
                    for source in CLIENTS4 + CLIENTS6 for _ in range(4)]
        for one, other in zip(sessions, sessions[1:]):
            one.send(other.jid, "pass it on")
            assert other.receive() == (one.jid, "pass it on")
        for n in range(8):
            assert world.clients.curl(f"https://{HOSTS[n % 2]}:{port}/", SERVER4)
    assert shim.process.alive()
