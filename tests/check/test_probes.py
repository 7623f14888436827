"""What the connections look like on the wire, seen by a server that only listens, and read by the shim's own parser."""

import re
import socket
import subprocess
import threading

import pytest

from domain_world import V4


@pytest.fixture(scope="module")
def arrived(world):
    """[[piece, ...], ...]: what each connection said, as it was received."""
    connections, lock = [], threading.Lock()
    with world.server.inside():
        listener = socket.create_server((V4, 18998))

    def serve(sock):
        pieces = []
        sock.settimeout(3)
        with sock:
            try:
                while piece := sock.recv(65536):
                    pieces.append(piece)
            except OSError:
                pass
        with lock:
            connections.append(pieces)

    def accept():
        threads = []
        try:
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()
        except OSError:
            for thread in threads:
                thread.join()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    world.check("one.example", "--connect", f"{V4}:18998", timeout=2)
    listener.shutdown(socket.SHUT_RDWR)
    acceptor.join()
    listener.close()
    return connections


def explained(world, data):
    done = subprocess.run([world.shim_binary, "--web", "127.0.0.1:1", "--explain", "-"], input=data, capture_output=True, check=True)
    summary, structure = done.stdout.decode().split("\n\n")[:2]
    return dict(line.split(": ", 1) for line in summary.splitlines()), structure


@pytest.fixture(scope="module")
def hellos(world, arrived):
    """[(pieces, summary, structure)] of the connections that begin TLS."""
    return [(pieces, *explained(world, b"".join(pieces))) for pieces in arrived if pieces and pieces[0][0] == 22]


def test_each_hello_is_a_proper_one_for_the_domain(hellos):
    assert len(hellos) == 7
    assert {(said["verdict"], said["sni"]) for _, said, _ in hellos} == {("ok", "one.example")}
    assert sorted(said["alpn"] for _, said, _ in hellos) == ["(none)", "h2", "http/1.1", *["xmpp-client"] * 4]


def test_one_is_larger_than_two_kibibytes(hellos):
    large = [said for pieces, said, _ in hellos if len(b"".join(pieces)) > 2048]
    assert len(large) == 1 and large[0]["alpn"] == "xmpp-client"


def test_one_comes_in_pieces(hellos):
    cut = [said for pieces, said, _ in hellos if [len(piece) for piece in pieces[:2]] == [3, 57]]
    assert len(cut) == 1 and cut[0]["alpn"] == "xmpp-client"


def test_one_comes_in_records(hellos):
    cut = [said for _, said, structure in hellos if len(re.findall(" record ", structure)) > 2]
    assert len(cut) == 1 and cut[0]["alpn"] == "xmpp-client"


def test_one_is_plain_http_and_one_says_nothing(arrived):
    assert sum(pieces[0].startswith(b"GET / HTTP/1.1\r\nHost: one.example\r\n") for pieces in arrived if pieces) == 1
    assert sum(not pieces for pieces in arrived) == 1
