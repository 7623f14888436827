"""What is in the PROXY header that the backend gets, byte by byte."""

import itertools
import queue

import pytest
from rig import proxyheader
from rig.backend import Backend
from rig.haproxy import Haproxy
from rig.proxyheader import ALPN, AUTHORITY, UNIQUE_ID
from rig.tls import client_hello, context
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

KINDS = {"authority": AUTHORITY, "alpn": ALPN, "unique-id": UNIQUE_ID}
CHOICES = [chosen for n in range(4) for chosen in itertools.combinations(KINDS, n)]


@pytest.fixture
def backend(world):
    """A backend that shows what came first, and closes."""
    first = queue.Queue()
    with Backend(world.server, ("127.0.0.1", 0), lambda sock: first.put(sock.recv(65536))) as made:
        made.first = lambda: first.get(timeout=20)
        yield made


def header_for(world, backend, port, host, alpn, source=CLIENTS4[0]):
    """What the backend gets for such a hello, as (source, TLVs)."""
    hello = client_hello(context(world.authority.cert, alpn), host)
    with world.connect(source, port) as sock:
        here, there = sock.getsockname()[:2], sock.getpeername()[:2]
        sock.sendall(hello)
        got_source, got_destination, tlvs, rest = proxyheader.parse_v2(backend.first())
    assert (got_source, got_destination) == (here, there)
    assert hello.startswith(rest)  # it may come a moment later
    return tlvs


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.parametrize("chosen", CHOICES, ids=["+".join(chosen) or "none" for chosen in CHOICES])
def test_the_header_has_the_tlvs_that_were_asked_for_and_no_others(world, new_shim, port, backend, chosen, source):
    options = {"proxy-protocol": "v2"}
    if chosen:
        options["proxy-tlvs"] = " ".join(chosen)
    new_shim(port, web=backend.address(), web_options=options)
    tlvs = header_for(world, backend, port, HOSTS[0], ["h2", "http/1.1"], source)
    assert set(tlvs) == {KINDS[one] for one in chosen}
    assert tlvs.get(AUTHORITY, HOSTS[0].encode()) == HOSTS[0].encode()
    assert tlvs.get(ALPN, b"h2") == b"h2"  # no rule matched: the one offered first
    assert len(tlvs.get(UNIQUE_ID, bytes(8))) == 8


def test_the_protocol_in_the_header_is_the_one_the_rule_has_matched(world, new_shim, port, backend):
    new_shim(port, routes={"mail": {"alpn": "imap", "proxy": backend.address(), "proxy-tlvs": "alpn"}})
    assert header_for(world, backend, port, HOSTS[0], ["h2", "imap", "pop3"]) == {ALPN: b"imap"}


def test_no_two_connections_have_the_same_id(world, new_shim, port, backend):
    new_shim(port, web=backend.address(), web_options={"proxy-tlvs": "unique-id"}, shim={"workers": "4"})
    ids = [header_for(world, backend, port, HOSTS[0], None)[UNIQUE_ID] for _ in range(40)]
    assert len(set(ids)) == 40


def test_a_hello_that_names_nothing_has_a_header_without_names(world, new_shim, port, backend):
    new_shim(port, web=backend.address(), web_options={"proxy-tlvs": "authority alpn"})
    assert header_for(world, backend, port, None, None) == {}


def test_what_is_no_hello_has_a_header_without_names(world, new_shim, port, backend):
    new_shim(port, web=backend.address(), web_options={"proxy-tlvs": "authority alpn unique-id"})
    with world.connect(port=port) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        _, _, tlvs, rest = proxyheader.parse_v2(backend.first())
    assert set(tlvs) == {UNIQUE_ID}
    assert b"GET / HTTP/1.0\r\n\r\n".startswith(rest)


def test_version_1_has_no_room_for_them_and_goes_without(world, new_shim, port, backend):
    new_shim(port, web=backend.address(), web_options={"proxy-protocol": "v1", "proxy-tlvs": "unique-id"})
    with world.connect(port=port) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        expected = proxyheader.v1(sock.getsockname(), sock.getpeername())
        assert backend.first().startswith(expected)


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
def test_haproxy_reads_the_names_and_the_id(world, new_shim, port, name, source):
    with Haproxy(world.folder / name, world.server, world.authority.issue(HOSTS[0])) as server:
        new_shim(port, web=server.tcp4, web_options={"proxy-tlvs": "authority unique-id alpn"})
        world.clients.curl(f"https://{HOSTS[0]}:{port}/{name}", SERVER4 if "." in source else f"[{SERVER6}]", source=source)
        seen = server.request_for(f"/{name}")
    assert (seen["addr"], seen["authority"], len(seen["id"])) == (source, HOSTS[0], 16)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_ipv4_client_of_a_dual_stack_listener_is_an_ipv4_client(world, new_shim, port, backend, version):
    """Apache and others stumble over ::ffff:192.0.2.11 in TCP6."""
    new_shim(port, web=backend.address(), web_options={"proxy-protocol": version},
             process={"passed": world.dual_stack_listener(port)})
    with world.connect(CLIENTS4[0], port) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        here, there = sock.getsockname(), sock.getpeername()
        got = backend.first()
    if version == "v1":
        assert got.startswith(proxyheader.v1(here, there))
    else:
        assert proxyheader.parse_v2(got)[:2] == (here, there)
