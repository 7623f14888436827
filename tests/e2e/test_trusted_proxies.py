"""A PROXY header that comes in: from whom it is believed, and what then becomes of it."""

import contextlib
import queue
import socket
import time

import pytest
from rig import proxyheader
from rig.backend import Backend, read_all
from rig.haproxy import TcpProxy
from rig.nginx import TCP4
from rig.proxyheader import LOCAL, SIGNATURE, tlv, v1, v2
from rig.tls import client_hello, context
from rig.wait import until
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

PROXY4, OTHER4, PROXY6, OTHER6 = CLIENTS4[2], CLIENTS4[0], CLIENTS6[2], CLIENTS6[0]
TRUSTED = "198.51.100.13, 2001:db8:1::/48"
FROM4, TO4 = ("203.0.113.7", 4711), ("203.0.113.1", 443)
FROM6, TO6 = ("2001:db8:7::7", 4711), ("2001:db8:7::1", 443)
PLAIN = b"GET / HTTP/1.1\r\n\r\n"

# name: (header, the source in it or None for "the connection's own", the destination)
GOOD = {
    "v1 over IPv4": (v1(FROM4, TO4), FROM4, TO4),
    "v1 over IPv6": (v1(FROM6, TO6), FROM6, TO6),
    "v1 with an IPv4 address mapped to IPv6": (v1(("::ffff:203.0.113.7", 4711), ("::ffff:203.0.113.1", 443)), FROM4, TO4),
    "v1 of an unknown protocol": (b"PROXY UNKNOWN\r\n", None, None),
    "v1 of an unknown protocol with words": (b"PROXY UNKNOWN ffff:f ::1 1 2\r\n", None, None),
    "v2 over IPv4": (v2(FROM4, TO4), FROM4, TO4),
    "v2 over IPv6": (v2(FROM6, TO6), FROM6, TO6),
    "v2 with an IPv4 address mapped to IPv6": (v2(("::ffff:203.0.113.7", 4711), ("::ffff:203.0.113.1", 443)), FROM4, TO4),
    "v2 with TLVs": (v2(FROM4, TO4, tlv(2, b"a.example") + tlv(4, bytes(200)) + tlv(0xee, b"")), FROM4, TO4),
    "v2 of a local connection": (v2(command=LOCAL), None, None),
    "v2 of a local connection with addresses": (v2(FROM4, TO4, command=LOCAL), None, None),
    "v2 of an unknown family": (v2(), None, None),
    "v2 of a client on a Unix socket": (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), None, None),
}
BAD = {
    "a hello": b"",
    "plain HTTP": PLAIN,
    "v1 in lower case": v1(FROM4, TO4).lower(),
    "v1 of another protocol": v1(FROM4, TO4).replace(b"TCP4", b"UDP4"),
    "v1 with the wrong family": v1(FROM4, TO4).replace(b"TCP4", b"TCP6"),
    "v1 with a port too high": v1(FROM4, ("203.0.113.1", 65536)),
    "v1 with a negative port": v1(FROM4, ("203.0.113.1", -1)),
    "v1 with a word too few": b"PROXY TCP4 203.0.113.7 203.0.113.1 4711\r\n",
    "v1 with a word too many": b"PROXY TCP4 203.0.113.7 203.0.113.1 4711 443 x\r\n",
    "v1 with two blanks": v1(FROM4, TO4).replace(b" ", b"  "),
    "v1 with half an end": b"PROXY TCP4 203.0.113.7 203.0.113.1 4711 443\n" + PLAIN,
    "v1 with a number that is no address": b"PROXY TCP4 203.0.113 203.0.113.1 4711 443\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"x" * 100,
    "v1 with an end too late": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    "v2 of another version": v2(FROM4, TO4, version=1),
    "v2 of another command": v2(FROM4, TO4, command=2),
    "v2 of an unheard-of family": v2(FROM4, TO4, family=4),
    "v2 of another transport": v2(FROM4, TO4, transport=2),
    "v2 with too little for its addresses": SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
    "v2 with too little for its addresses in IPv6": SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
    "v2 with a signature broken at its end": SIGNATURE[:-1] + b"X" + v2(FROM4, TO4)[12:],
}


def closed_without_a_word(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def backend(world):
    """A backend that keeps what each connection brought."""
    received = queue.Queue()

    def serve(sock):
        received.put(read_all(sock))
        sock.sendall(b"done")

    with Backend(world.server, ("127.0.0.1", 0), serve) as made:
        made.received = lambda: received.get(timeout=20)
        yield made


def trusting(new_shim, port, backend, version="none", **shim):
    return new_shim(port, web=backend.address(), web_options={"proxy-protocol": version},
                    shim={"trusted-proxies": TRUSTED, **shim})


def whole(sock, data):
    sock.sendall(data)


def byte_by_byte(sock, data):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        sock.sendall(bytes([byte]))
        time.sleep(0.001)


@pytest.mark.parametrize("send", [whole, byte_by_byte])
@pytest.mark.parametrize("proxy", [PROXY4, PROXY6])
@pytest.mark.parametrize("header, source, destination", GOOD.values(), ids=GOOD.keys())
def test_a_header_is_taken_exactly_and_believed(world, new_shim, port, backend, header, source, destination, proxy, send):
    shim = trusting(new_shim, port, backend, "v2")
    with world.connect(proxy, port) as sock:
        source = source or sock.getsockname()[:2]
        destination = destination or sock.getpeername()[:2]
        send(sock, header + PLAIN)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"done"
    assert proxyheader.parse_v2(backend.received()) == (source, destination, {}, PLAIN)
    peer = f"[{source[0]}]:{source[1]}" if ":" in source[0] else f"{source[0]}:{source[1]}"
    assert shim.events(event="routed", peer=peer)
    shim.wait_event(event="closed", peer=peer)


@pytest.mark.parametrize("proxy", [PROXY4, PROXY6])
@pytest.mark.parametrize("start", BAD.values(), ids=BAD.keys())
def test_a_connection_whose_header_is_missing_or_wrong_is_closed(world, new_shim, port, backend, start, proxy):
    shim = trusting(new_shim, port, backend)
    with world.connect(proxy, port) as sock:
        here = sock.getsockname()[:2]
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(start + client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0]))
        assert closed_without_a_word(sock)
    peer = f"[{here[0]}]:{here[1]}" if ":" in here[0] else f"{here[0]}:{here[1]}"
    shim.wait_event(event="closed", reason="bad-proxy-header", peer=peer)
    assert backend.accepted == 0


@pytest.mark.parametrize("start", [b"P", b"PROXY TCP4 203.0.113.7", SIGNATURE, v2(FROM4, TO4)[:-1]])
def test_a_header_that_never_ends_meets_the_hellos_deadline(world, new_shim, port, backend, start):
    shim = trusting(new_shim, port, backend, **{"hello-timeout": "1s"})
    with world.connect(PROXY4, port) as sock:
        sock.sendall(start)
        assert closed_without_a_word(sock)
    shim.wait_event(event="closed", reason="hello-timeout")
    assert backend.accepted == 0


def test_the_deadline_begins_with_the_connection_and_not_after_the_header(world, new_shim, port, backend):
    shim = trusting(new_shim, port, backend, **{"hello-timeout": "2s"})
    with world.connect(PROXY4, port) as sock:
        for byte in (v2(FROM4, TO4) + client_hello(context(world.authority.cert), HOSTS[0]))[:100]:
            try:
                sock.sendall(bytes([byte]))
                time.sleep(0.05)
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            raise AssertionError("5 s of header and hello, and still connected")
    shim.wait_event(event="closed", reason="hello-timeout", peer="203.0.113.7:4711")


@pytest.mark.parametrize("start", [b"", b"PROXY TCP4 203.0", v2(FROM4, TO4)[:20], v2(FROM4, TO4)])
def test_a_trusted_proxy_that_leaves_before_the_hello_is_forgotten(world, new_shim, port, backend, start):
    shim = trusting(new_shim, port, backend)
    before = shim.sockets()
    with world.connect(PROXY4, port) as sock:
        sock.sendall(start)
    shim.wait_event(event="closed")
    until(lambda: shim.sockets() == before, "the shim to have closed it")
    assert backend.accepted == 0


@pytest.mark.parametrize("stranger", [OTHER4, OTHER6])
@pytest.mark.parametrize("header", [v1(FROM4, TO4), v2(FROM4, TO4), v2(FROM6, TO6)])
def test_a_header_from_anybody_else_goes_to_the_web_server_as_any_bytes_do(world, new_shim, port, backend, header, stranger):
    shim = trusting(new_shim, port, backend, "v2")
    data = header + client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0])
    with world.connect(stranger, port) as sock:
        here, there = sock.getsockname()[:2], sock.getpeername()[:2]
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    assert proxyheader.parse_v2(backend.received()) == (here, there, {}, data)
    assert shim.events(event="routed", verdict="not-tls", route="web")
    assert not shim.events(peer="203.0.113.7:4711")


def test_without_the_setting_nobody_is_believed(world, new_shim, port, backend):
    new_shim(port, web=backend.address(), web_options={"proxy-protocol": "none"})
    with world.connect(PROXY4, port) as sock:
        sock.sendall(v1(FROM4, TO4) + PLAIN)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    assert backend.received() == v1(FROM4, TO4) + PLAIN


def test_a_reload_may_begin_and_end_the_trust(world, new_shim, port, backend):
    options = {"web": backend.address(), "web_options": {"proxy-protocol": "none"}}
    shim = new_shim(port, **options)
    for times, (trusted, expected) in enumerate(((TRUSTED, PLAIN), ("192.0.2.99", v1(FROM4, TO4) + PLAIN)), 2):
        shim.reload(world.config(port, shim={"trusted-proxies": trusted}, **options))
        shim.wait_ready(times=times)
        with world.connect(PROXY4, port) as sock:
            sock.sendall(v1(FROM4, TO4) + PLAIN)
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
        assert backend.received() == expected


def test_limits_count_the_address_in_the_header_and_not_the_proxys(world, new_shim, port, backend):
    shim = trusting(new_shim, port, backend, **{"max-pending-per-ip": "3", "hello-timeout": "600s", "workers": "1"})
    with contextlib.ExitStack() as stack:
        def claim(address):
            sock = stack.enter_context(world.connect(PROXY4, port))
            sock.sendall(v1((address, 1), TO4))
            return sock

        for n in range(9):
            claim(f"203.0.113.{n}")
        for _ in range(3):
            claim("203.0.113.100")
        fourth = claim("203.0.113.100")
        assert closed_without_a_word(fourth)
        shim.wait_event(event="closed", reason="too-many-pending", peer="203.0.113.100:1")
        assert len(shim.events(event="closed")) == 1
        for _ in range(3):  # as many as the limit, all of that client being gone
            stack.enter_context(world.connect(OTHER4, port))
        late = claim("203.0.113.101")
        late.sendall(PLAIN)
        late.shutdown(socket.SHUT_WR)
        assert read_all(late) == b"done"
    until(lambda: len(shim.events(event="closed")) == 17, "all to be closed")


def test_addresses_in_headers_are_free_again_when_their_connections_end(world, new_shim, port, backend):
    shim = trusting(new_shim, port, backend, **{"max-pending-per-ip": "2", "hello-timeout": "600s"})
    for start in (v1(FROM4, TO4), v1(FROM6, TO6), v2(FROM4, TO4), v2(FROM6, TO6), v1(FROM4, TO4) + b"\x16\x03", b"PROXY"):
        for n in range(5):
            since = shim.mark()
            with world.connect(PROXY4, port) as sock:
                sock.sendall(start)
            shim.wait_event(since, event="closed", reason="client-gone")
    assert not shim.events(reason="too-many-pending")


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS4[2], CLIENTS6[0], CLIENTS6[2]])
@pytest.mark.parametrize("inner", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy_prosody_and_nginx_see_the_client(world, new_shim, port, name, send, inner, source):
    new_shim(port, shim={"trusted-proxies": "127.0.0.1 ::1"})
    front = port + 5000
    with TcpProxy(world.folder / name, world.server, front, f"{inner}:{port}", send):
        with world.login("alice", source=source, port=front) as alice:
            seen = world.prosody.login_of(alice.jid)
            assert (seen["ip"], seen["port"]) == (source, alice.stream.sock.getsockname()[1])
        world.clients.curl(f"https://{HOSTS[0]}:{front}/{name}", SERVER4 if "." in source else f"[{SERVER6}]", source=source)
        assert world.nginx.request_for(f"/{name}")["addr"] == source


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("tlvs", [None, "authority alpn unique-id"])
def test_in_a_chain_of_two_shims_prosody_and_nginx_see_the_client(world, new_shim, port, name, version, source, tlvs):
    front = port + 5000
    new_shim(port, shim={"trusted-proxies": "127.0.0.1"})
    options = {"proxy-protocol": version, **({"proxy-tlvs": tlvs} if tlvs else {})}
    new_shim(front, fdpass=None, web=f"127.0.0.1:{port}", web_options=options)
    with world.login("alice", source=source, port=front) as alice, world.login("bob", port=front) as bob:
        assert world.prosody.login_of(alice.jid)["ip"] == source
        alice.send(bob.jid, "through two")
        assert bob.receive() == (alice.jid, "through two")
    world.clients.curl(f"https://{HOSTS[0]}:{front}/{name}", SERVER4 if "." in source else f"[{SERVER6}]", source=source)
    assert world.nginx.request_for(f"/{name}")["addr"] == source


def test_a_large_file_goes_through_a_chain_of_two_shims_unchanged(world, new_shim, port, name):
    front = port + 5000
    new_shim(port, shim={"trusted-proxies": "127.0.0.1"}, web=TCP4)
    new_shim(front, fdpass=None, web=f"127.0.0.1:{port}")
    world.clients.curl(f"https://{HOSTS[0]}:{front}/upload/{name}", SERVER4, "--upload-file", world.nginx.root / "big.bin")
    assert world.nginx.uploaded_sha256(name) == world.nginx.big_sha256
    (world.nginx.root / "upload" / name).unlink()
