"""fdpass_tcp_ports: a PROXY header from a trusted proxy, then direct TLS."""

import contextlib
import itertools
import os
import signal
import socket
import struct

import pytest

from clients import STREAM, open_stream, read_until, shell
from front import CLIENT, PROXY, SERVER, STRANGER, TRUSTED, Network
from rig.proxyheader import ALPN, LOCAL, tlv, v1, v2

TO = ((SERVER[0], 443), (SERVER[1], 443))
LONG = tlv(4, bytes(3000))


@pytest.fixture(scope="module")
def net():
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def ports(net):
    return [net.port(), net.port()]


def options(ports, **others):
    """The ports, the second one for servers; anything else by its name without fdpass_."""
    lines = [f"fdpass_tcp_ports = {{ {', '.join(map(str, ports))} }}", TRUSTED,
             f'fdpass_tcp_interfaces = {{ "{SERVER[0]}", "{SERVER[1]}" }}', 'http_default_host = "one.example"']
    if len(ports) > 1:
        lines.append(f'fdpass_tcp_protocols = {{ [{ports[1]}] = "xmpp-server" }}')
    return "\n".join(lines + [f"fdpass_{name} = {value}" for name, value in others.items()])


@pytest.fixture(scope="module")
def box(net, ports):
    box = net.prosody(options(ports))
    yield box
    box.close()


@pytest.fixture
def fresh_box(net):
    """fresh_box(ports, ...): a Prosody for one test."""
    boxes = []

    def make(ports, modules=("c2s", "s2s", "tls", "saslauth", "http"), **others):
        boxes.append(net.prosody(options(ports, **others), modules=modules))
        return boxes[-1]
    yield make
    for one in boxes:
        one.close()


def sockets(box):
    """How many sockets it has. Files come and go while it starts."""
    folder, count = f"/proc/{box.process.pid}/fd", 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
    return count


def leaks_nothing(box, before):
    box.wait_until(lambda: sockets(box) == before)
    return True


def log_of_stream(box, conn, address):
    """Opens and ends a stream; Prosody's log has to name its address."""
    seen = box.log_size()
    assert "from='one.example'" in open_stream(conn, "one.example")
    conn.sendall(b"</stream:stream>")
    box.wait_for_log(f"c2s stream for {address} closed", since=seen)
    conn.close()


def ended(sock):
    """Whether the other side ends the connection without a word."""
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


def complaints(box, since=0):
    """Lines above "info" in Prosody's log, less those about a test's configuration."""
    return [line for line in box.text(since).splitlines() if "Configuration warning" not in line
            and ("\twarn\t" in line or "\terror\t" in line or "traceback" in line.lower())]


# header, the address that Prosody has to see (None: the proxy's)
HEADERS = {
    "v1-4": (v1((CLIENT[0], 4711), TO[0]), CLIENT[0]),
    "v1-6": (v1((CLIENT[1], 4711), TO[1]), CLIENT[1]),
    "v1-mapped": (v1((f"::ffff:{CLIENT[0]}", 4711), ("::ffff:192.0.2.1", 443)), CLIENT[0]),
    "v1-long-form": (v1(("2001:0DB8:000C:0:0:0:0:0077", 4711), TO[1]), CLIENT[1]),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", None),
    "v2-4": (v2((CLIENT[0], 4711), TO[0]), CLIENT[0]),
    "v2-6": (v2((CLIENT[1], 4711), TO[1]), CLIENT[1]),
    "v2-mapped": (v2((f"::ffff:{CLIENT[0]}", 4711), ("::ffff:192.0.2.1", 443)), CLIENT[0]),
    "v2-tlvs": (v2((CLIENT[0], 4711), TO[0], tlv(ALPN, b"xmpp-client") + tlv(2, b"one.example") + tlv(0xe0, b"?")), CLIENT[0]),
    "v2-long": (v2((CLIENT[0], 4711), TO[0], LONG), CLIENT[0]),
    "v2-local": (v2(command=LOCAL), None),
    "v2-local-address": (v2((CLIENT[0], 4711), TO[0], command=LOCAL), None),
    "v2-unspecified": (v2(), None),
}
CUTS = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[n:n + 1] for n in range(len(data[:200]))] + [data[200:]],
    "odd": lambda data: [data[n:n + 37] for n in range(0, len(data), 37)],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_client_behind_a_header_has_its_address_and_loses_no_byte(net, box, ports, family, header, cut):
    data, address = HEADERS[header]
    conn = net.tls(net.connect(PROXY[family], ports[0]), data, cut=CUTS[cut])
    assert conn.alpn() == "xmpp-client"
    log_of_stream(box, conn, address or PROXY[family])


def test_hello_right_behind_the_header_byte(net, box, ports):
    """The header ends one byte before, at and after the end of a segment."""
    data, address = HEADERS["v2-4"]
    for end in (len(data) - 1, len(data), len(data) + 1):
        conn = net.tls(net.connect(PROXY[0], ports[0]), data, cut=lambda whole, end=end: [whole[:end], whole[end:]])
        log_of_stream(box, conn, address)


@pytest.mark.parametrize("port, alpn, protocol", [
    (0, None, "xmpp-client"), (1, None, "xmpp-server"), (0, "xmpp-server", "xmpp-server"),
    (1, "xmpp-client", "xmpp-client"), (0, "http/1.1", "http/1.1"),
])
def test_header_or_port_decides_the_service(net, box, ports, port, alpn, protocol):
    data = v2((CLIENT[0], 4711), TO[0], tlv(ALPN, alpn.encode()) if alpn else b"")
    conn = net.tls(net.connect(PROXY[0], ports[port]), data, alpn=protocol)
    assert conn.alpn() == protocol
    if protocol == "http/1.1":
        conn.sendall(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
        assert read_until(conn, b"\r\n").startswith("HTTP/1.1 ")
    else:
        xmlns = {"xmpp-client": "jabber:client", "xmpp-server": "jabber:server"}[protocol]
        conn.sendall(STREAM.format("one.example", xmlns).encode())
        assert f"xmlns='{xmlns}'" in read_until(conn, xmlns.encode())


def test_unknown_protocol_is_refused_and_logged_without_its_bytes(net, box, ports):
    seen = box.log_size()
    for _ in range(3):
        sock = net.connect(PROXY[0], ports[0])
        sock.sendall(v2((CLIENT[0], 4711), TO[0], tlv(ALPN, b"evil\nname")))
        assert ended(sock)
    assert [line.count("(9 bytes): no service for it in fdpass_services") for line in complaints(box, seen)] == [1]


@pytest.mark.parametrize("stranger", STRANGER)
def test_stranger_is_refused_unread_with_a_remedy(net, fresh_box, stranger):
    port = net.port()
    box = fresh_box([port])
    before = sockets(box)
    for _ in range(3):
        sock = net.connect(stranger, port)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(HEADERS["v2-4"][0])
        assert ended(sock)
        sock.close()
    assert len(complaints(box)) == 1
    assert f"Refused a connection from [{stranger}] to port {port}: if it is your proxy, add its address to " \
        "fdpass_trusted_proxies" in box.text()
    assert leaks_nothing(box, before)


@pytest.mark.parametrize("start, reason", [
    (b"\x16\x03\x01\x02\x00\x01", "no PROXY header"),
    (b"<?xml version='1.0'?>", "no PROXY header"),
    (b"PROXY TCP4 192.0.2.300 192.0.2.1 1 443\r\n", "malformed version 1 header"),
    (v2((CLIENT[0], 4711), TO[0], transport=2), "not a stream"),
    (v2((CLIENT[0], 4711), TO[0], b"\1\0"), "malformed addresses or TLV"),
    (v2((CLIENT[0], 4711), TO[0], tlv(4, bytes(5000))), "header too long"),
], ids=["tls", "xmpp", "text", "udp", "tlv", "long"])
def test_bad_header_is_refused_with_a_remedy(net, fresh_box, start, reason):
    port = net.port()
    box = fresh_box([port])
    before = sockets(box)
    for _ in range(3):
        sock = net.connect(PROXY[0], port)
        sock.sendall(start)
        assert ended(sock)
        sock.close()
    assert len(complaints(box)) == 1
    assert f"Refused a connection from proxy [{PROXY[0]}] to port {port}: {reason}" in box.text()
    assert "send-proxy-v2" in box.text()
    assert leaks_nothing(box, before)


@pytest.mark.parametrize("start", [b"", b"PROXY TCP4 ", HEADERS["v2-4"][0][:-1]], ids=["nothing", "text", "binary"])
def test_header_that_does_not_come_meets_its_deadline(net, fresh_box, start):
    port = net.port()
    box = fresh_box([port], header_timeout=1)
    before = sockets(box)
    for _ in range(2):
        sock = net.connect(PROXY[0], port)
        sock.sendall(start)
        assert ended(sock)
        sock.close()
    assert len(complaints(box)) == 1
    assert "after 1 seconds without a complete PROXY header" in box.text()
    assert leaks_nothing(box, before)
    # The deadline is the header's. TLS has one of Prosody's own.
    sock = net.connect(PROXY[0], port)
    sock.sendall(HEADERS["v2-4"][0])
    with pytest.raises(TimeoutError):
        sock.settimeout(2.5)
        sock.recv(1)
    log_of_stream(box, net.tls(sock), CLIENT[0])


def test_proxies_that_leave_early_leave_nothing_behind(net, box, ports):
    seen, before = box.log_size(), sockets(box)
    for n, reset in itertools.product(range(0, 28, 3), (False, True)):
        sock = net.connect(PROXY[0], ports[0])
        sock.sendall(HEADERS["v2-4"][0][:n])
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert leaks_nothing(box, before)
    assert complaints(box, seen) == []


def test_many_at_once_are_all_served(net, box, ports):
    socks = [net.connect(PROXY[n % 2], ports[0]) for n in range(200)]
    for sock in socks:
        sock.sendall(HEADERS["v1-4"][0][:20])
    for sock in socks:
        sock.sendall(HEADERS["v1-4"][0][20:])
    for conn in [net.tls(sock) for sock in socks]:
        assert "mechanisms" in open_stream(conn, "one.example")
        conn.close()


def test_reload_of_the_module_keeps_sessions_and_closes_what_waits(net, fresh_box):
    port = net.port()
    box = fresh_box([port], modules=("c2s", "saslauth", "admin_socket", "admin_shell"))
    conn = net.tls(net.connect(PROXY[0], port), HEADERS["v2-4"][0])
    open_stream(conn, "one.example")
    waiting = net.connect(PROXY[0], port)
    waiting.sendall(b"PROXY ")
    shell(box, "module reload net_fdpass")
    assert ended(waiting)
    log_of_stream(box, net.tls(net.connect(PROXY[0], port), HEADERS["v2-4"][0]), CLIENT[0])
    conn.sendall(b"</stream:stream>")
    assert "</stream:stream>" in read_until(conn, b"</stream:stream>")
    shell(box, "module unload net_fdpass")
    with pytest.raises(ConnectionRefusedError):
        net.connect(PROXY[0], port)
    shell(box, "module load net_fdpass")
    log_of_stream(box, net.tls(net.connect(PROXY[0], port), HEADERS["v2-4"][0]), CLIENT[0])
    assert complaints(box) == []


def test_shutdown_closes_the_port_and_what_waits(net, fresh_box):
    port = net.port()
    box = fresh_box([port])
    waiting = net.connect(PROXY[0], port)
    waiting.sendall(b"PROXY ")
    box.process.send_signal(signal.SIGTERM)
    assert ended(waiting)
    box.process.wait(15)
    assert box.process.returncode == 0
    seen = box.log_size()
    with net.inside():
        box.start()
    net.wait_for_ports(box, seen)
    log_of_stream(box, net.tls(net.connect(PROXY[0], port), HEADERS["v2-4"][0]), CLIENT[0])


@pytest.mark.parametrize("line, complaint", [
    ("fdpass_trusted_proxies = {}", "put the addresses of your proxies into fdpass_trusted_proxies"),
    ('fdpass_trusted_proxies = { "proxy.example" }', "'proxy.example' is not an address"),
    ('fdpass_trusted_proxies = { "192.0.2.0/x" }', "'192.0.2.0/x' is not an address"),
    ("fdpass_header_timeout = 0", "fdpass_header_timeout must be a positive number"),
    ('fdpass_tcp_protocols = "xmpp-server"', "fdpass_tcp_protocols must be a table"),
    ("fdpass_tcp_protocols = { [5270] = true }", "entry 5270 ignored"),
])
def test_mistakes_in_the_options_are_explained(net, line, complaint):
    port = net.port()
    box = net.prosody(f"{options([port])}\n{line}")
    try:
        box.wait_for_log(complaint)
        sock = net.connect(PROXY[0], port)
        if "trusted" in line:
            assert ended(sock)
        else:
            log_of_stream(box, net.tls(sock, HEADERS["v2-4"][0]), CLIENT[0])
    finally:
        box.close()


def test_without_the_option_nothing_is_opened_and_nothing_logged(box, fresh):
    other = fresh()
    assert "fdpass_tcp" in box.text()
    assert "fdpass_tcp" not in other.text()


def test_unix_socket_can_be_left_out(net, fresh_box):
    port = net.port()
    box = net.prosody(options([port]) + "\nfdpass_socket = false", wait_for_listener="Activated service 'fdpass_tcp'")
    try:
        assert not box.socket.exists()
        log_of_stream(box, net.tls(net.connect(PROXY[0], port), HEADERS["v2-4"][0]), CLIENT[0])
        box.reload()
        assert complaints(box) == []
    finally:
        box.close()


def shim_routes(port, family, **options):
    address = f"[{SERVER[1]}]" if family else SERVER[0]
    return {name: {"alpn": name, "proxy": f"{address}:{port}", **options} for name in ("xmpp-client", "xmpp-server")}


FRONTS = {
    "haproxy-v1": lambda net, port, family: net.haproxy(target(port, family), "send-proxy"),
    "haproxy-v2": lambda net, port, family: net.haproxy(target(port, family), "send-proxy-v2"),
    "haproxy-v2-options": lambda net, port, family: net.haproxy(
        target(port, family), "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"),
    "nginx": lambda net, port, family: net.nginx(target(port, family)),
    "shim-v1": lambda net, port, family: net.shim(shim_routes(port, family, **{"proxy-protocol": "v1"})),
    "shim-v2": lambda net, port, family: net.shim(shim_routes(port, family, **{"proxy-protocol": "v2"})),
    "shim-v2-tlvs": lambda net, port, family: net.shim(
        shim_routes(port, family, **{"proxy-tlvs": "alpn authority unique-id"})),
}


def target(port, family):
    return f"[{SERVER[1]}]:{port}" if family else f"{SERVER[0]}:{port}"


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_behind_real_proxies_clients_have_their_own_address(net, box, ports, front, family):
    seen = box.log_size()
    port = FRONTS[front](net, ports[0], family)
    for client in CLIENT:
        conn = net.tls(net.connect(client, port))
        assert conn.alpn() == "xmpp-client"
        log_of_stream(box, conn, client)
    assert complaints(box, seen) == []


def test_shim_on_another_machine_passes_on_which_service_is_meant(net, box, ports):
    port = net.shim(shim_routes(ports[0], 0, **{"proxy-tlvs": "alpn"}))
    conn = net.tls(net.connect(CLIENT[1], port), alpn="xmpp-server")
    assert conn.alpn() == "xmpp-server"
    conn.sendall(STREAM.format("one.example", "jabber:server").encode())
    assert "xmlns='jabber:server'" in read_until(conn, b"jabber:server")


@pytest.mark.parametrize("check", ["check", "check check-send-proxy", "check check-send-proxy check-ssl verify none"])
def test_health_checks_of_haproxy_are_no_event(net, box, ports, check):
    """With a header (LOCAL), and without: a connection that says nothing."""
    seen = box.log_size()
    port = net.haproxy(target(ports[0], 0), f"send-proxy-v2 {check} inter 50ms")
    # Some of them are reset so soon that their header cannot be read any more.
    signs = f"Received a connection from [{SERVER[0]}]", f"Proxy [{SERVER[0]}] has closed a connection"
    box.wait_until(lambda: sum(map(box.text(seen).count, signs)) >= 3)
    log_of_stream(box, net.tls(net.connect(CLIENT[0], port)), CLIENT[0])
    assert complaints(box, seen) == []
