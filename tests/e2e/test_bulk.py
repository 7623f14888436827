"""Large and one-sided transfers through the relay arrive whole."""

import hashlib
import time
from socket import SHUT_WR

import pytest
from rig.backend import Backend, read_all
from rig.wait import until
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

VERSIONS = ["--http1.1", "--http2"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_hundred_megabytes_come_down_unchanged(world, new_shim, port, name, kind, version):
    new_shim(port, web=world.nginx.unix if kind == "unix" else None)
    got = world.folder / f"{name}.bin"
    world.clients.curl(f"https://{HOSTS[0]}:{port}/big.bin", SERVER4, version, "--output", got)
    with open(got, "rb") as f:
        assert hashlib.file_digest(f, "sha256").hexdigest() == world.nginx.big_sha256
    got.unlink()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_hundred_megabytes_go_up_unchanged(world, new_shim, port, name, kind, version):
    new_shim(port, web=world.nginx.unix if kind == "unix" else None)
    world.clients.curl(f"https://{HOSTS[0]}:{port}/upload/{name}", SERVER4, version,
                       "--upload-file", world.nginx.root / "big.bin")
    assert world.nginx.uploaded_sha256(name) == world.nginx.big_sha256
    (world.nginx.root / "upload" / name).unlink()


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.usefixtures("shim")
def test_a_large_upload_waits_for_the_server_to_say_continue(world, name, source):
    output = world.clients.curl(f"https://{HOSTS[0]}/upload/{name}", SERVER4 if "." in source else f"[{SERVER6}]",
                                "--http1.1", "--header", "Expect: 100-continue", "--expect100-timeout", "60", "--verbose",
                                "--upload-file", world.nginx.root / "big.bin", source=source)
    assert "< HTTP/1.1 100 Continue" in output
    assert world.nginx.uploaded_sha256(name) == world.nginx.big_sha256
    (world.nginx.root / "upload" / name).unlink()


@pytest.mark.usefixtures("shim")
def test_an_upload_that_the_server_refuses_is_never_sent(world, name):
    with world.tls(alpn=["http/1.1"]) as stream:
        stream.sendall(f"PUT /upload/{name} HTTP/1.1\r\nHost: {HOSTS[0]}\r\nExpect: 100-continue\r\n"
                       f"Content-Length: {10**12}\r\n\r\n".encode())
        assert read_all(stream).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_slow_reader_gets_everything_and_holds_up_nobody(world, new_shim, port, kind):
    new_shim(port, web=world.nginx.unix if kind == "unix" else None, shim={"workers": "1"})
    digest = hashlib.sha256()
    with world.tls(alpn=["http/1.1"], port=port) as slow:
        slow.sendall(f"GET /big.bin HTTP/1.1\r\nHost: {HOSTS[0]}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = slow.recv().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        digest.update(body)
        for _ in range(20):
            time.sleep(0.05)
            digest.update(slow.recv(1000))
            assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
        while piece := slow.recv():
            digest.update(piece)
    assert digest.hexdigest() == world.nginx.big_sha256


@pytest.mark.usefixtures("shim")
def test_an_upload_that_ends_in_a_half_close_still_gets_its_reply(world, name):
    body = bytes(range(256)) * 4096
    with world.tls(alpn=["http/1.1"]) as stream:
        stream.sendall(f"PUT /upload/{name} HTTP/1.1\r\nHost: {HOSTS[0]}\r\n"
                       f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        stream.shutdown_write()
        assert read_all(stream).startswith(b"HTTP/1.1 201 ")
    assert world.nginx.uploaded_sha256(name) == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("size", [1, 1000, 10_000_000])
def test_each_side_may_stop_sending_and_go_on_receiving(world, new_shim, port, size):
    """The backend answers only after it has seen the end, and with as many bytes."""
    def serve(sock):
        body = read_all(sock)
        sock.sendall(hashlib.sha256(body).digest() + body)

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        new_shim(port, web=backend.address(), web_options={"proxy-protocol": "none"})
        body = b"\n" * size
        with world.connect(port=port) as sock:
            sock.sendall(body)
            sock.shutdown(SHUT_WR)
            answer = read_all(sock)
    assert len(answer) == 32 + size
    assert answer[:32] == hashlib.sha256(body).digest() == hashlib.sha256(answer[32:]).digest()


def test_a_backend_that_ends_first_still_gets_what_the_client_sends(world, new_shim, port):
    received = []

    def serve(sock):
        sock.recv(6)
        sock.sendall(b"goodbye")
        sock.shutdown(SHUT_WR)
        received.append(read_all(sock))
        sock.close()

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        new_shim(port, web=backend.address(), web_options={"proxy-protocol": "none"})
        with world.connect(port=port) as sock:
            sock.sendall(b"hello\n")
            assert read_all(sock) == b"goodbye"
            sock.sendall(b"x" * 1_000_000)
            sock.shutdown(SHUT_WR)
            assert sock.recv(1) == b""
    until(lambda: received, "the backend to read to the end")
    assert len(received[0]) == 1_000_000 and not received[0].strip(b"x")
