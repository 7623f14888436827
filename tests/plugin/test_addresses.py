"""Every part of Prosody has the address of the real client, however its connection came."""

import base64
import itertools
import re
import socket
import subprocess
import xml.etree.ElementTree as ET

import pytest

from clients import STREAM, hand_over, ident, read_until
from front import CLIENT, PROXY, SERVER, TRUSTED, Network, any_certificate
from prosody_box import Sender
from rig.proxyheader import ALPN, tlv, v1, v2
from rig.tls import TlsStream
from rig.xmpp import XmppClient
from test_operations import fetch_metrics

MODULES = ("c2s", "s2s", "dialback", "tls", "saslauth", "roster", "presence", "message", "smacks", "limits", "http",
           "http_openmetrics", "admin_socket", "admin_shell", "firewall", "show_ip")
SM = "urn:xmpp:sm:3"
ACCOUNT = 'return { ["password"] = "secret" };\n'

# What a header or a message says, and what Prosody has to make of it.
ADDRESSES = {"ipv4": (CLIENT[0], CLIENT[0]), "ipv6": (CLIENT[1], CLIENT[1]),
             "mapped": (f"::ffff:{CLIENT[0]}", CLIENT[0])}


@pytest.fixture(scope="module")
def net():
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tcp_port(net):
    return net.port()


@pytest.fixture(scope="module")
def http_port(net):
    """Prosody's own."""
    return net.port()


@pytest.fixture(scope="module")
def box(net, tcp_port, http_port):
    script, blocked = net.folder / "rules.pfw", net.folder / "blocked.txt"
    blocked.write_text("198.51.100.99\n2001:db8:c::99\n")
    script.write_text(f"""\
%LIST blocked: file:{blocked}

::preroute

KIND: message
LOG=[info] Message from address $(session.ip)

KIND: message
CHECK LIST: blocked contains $(session.ip)
BOUNCE=policy-violation
""")
    for file in (script, blocked):
        file.chmod(0o644)
    box = net.prosody(f"""
{TRUSTED}
fdpass_tcp_ports = {{ {tcp_port} }}
fdpass_users = {{ "root", "nobody" }}
authentication = "internal_plain"
statistics = "internal"
statistics_interval = "manual"
http_default_host = "one.example"
trusted_proxies = {{ "198.51.100.200", "fd77:d::/64" }}
http_ports = {{ {http_port} }}
http_interfaces = {{ "{SERVER[1]}" }}
limits = {{ c2s = {{ rate = "20kb/s" }}, s2sin = {{ rate = "40kb/s" }} }}
firewall_scripts = {{ "{script}" }}
""", modules=MODULES)
    box.dir.chmod(0o755)  # the shim, which runs as nobody, has to find the socket
    accounts = box.dir / "data/one%2eexample/accounts"
    accounts.mkdir(parents=True, exist_ok=True)
    for user in ("alice", "bob"):
        (accounts / f"{user}.dat").write_text(ACCOUNT)
    subprocess.run(["chown", "-R", "prosody:", box.dir / "data"], check=True)
    yield box
    box.close()


def destination(address):
    return (("2001:db8::1" if ":" in address else "192.0.2.1"), 443)


class HandedOver:
    """By a sender that knows the address."""

    def __init__(self, net, box, tcp_port):
        self.sender = Sender(box.socket)

    def connect(self, address, port, alpn):
        to = ("::ffff:192.0.2.1", 443) if "::ffff:" in address else destination(address)
        client, verdict = hand_over(self.sender, source=(address, port), dest=to, alpn=alpn.encode())
        assert verdict == "A"
        return TlsStream(client, any_certificate(alpn), "one.example")


class BehindShimAndProxy:
    """By a real shim, which has the address from a trusted proxy's header."""

    def __init__(self, net, box, tcp_port):
        self.net = net
        self.port = net.shim({name.replace("/", "-").replace(".", "-"): {"alpn": name, "fdpass": str(box.socket)}
                              for name in ("xmpp-client", "xmpp-server", "http/1.1")},
                             shim={"trusted-proxies": " ".join(PROXY)})

    def connect(self, address, port, alpn):
        header = v1 if port % 2 else v2
        mapped = "::ffff:192.0.2.1", 443
        return self.net.tls(self.net.connect(PROXY[0], self.port), alpn=alpn, header=header(
            (address, port), mapped if "::ffff:" in address else destination(address)))


class BehindProxy:
    """Over TCP, from a trusted proxy."""

    def __init__(self, net, box, tcp_port):
        self.net, self.port = net, tcp_port

    def connect(self, address, port, alpn):
        mapped = "::ffff:192.0.2.1", 443
        header = v2((address, port), mapped if "::ffff:" in address else destination(address), tlv(ALPN, alpn.encode()))
        return self.net.tls(self.net.connect(PROXY[1], self.port), alpn=alpn, header=header)


@pytest.fixture(scope="module", params=[HandedOver, BehindShimAndProxy, BehindProxy])
def way(request, net, box, tcp_port):
    return request.param(net, box, tcp_port)


@pytest.fixture
def connect(way, _ports=itertools.count(40001)):
    """connect(address, alpn)"""
    def make(address, alpn="xmpp-client"):
        return way.connect(address, next(_ports), alpn)
    return make


def login(stream, user="alice"):
    return XmppClient(stream, user, "one.example", "secret", ident().hex()[:8])


def ask(box, line):
    """One line in Prosody's shell; returns what it prints."""
    done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell", line],
                          capture_output=True, text=True)
    assert re.search(r"^(\| )?(OK|Result): ?", done.stdout, re.M), done.stdout + done.stderr
    return done.stdout


def cells(text, wanted):
    """The cells of the table row that contains this one."""
    for line in text.splitlines():
        row = [cell.strip() for cell in line.split("|")]
        if wanted in row:
            return row
    raise AssertionError(f"no {wanted!r} in:\n{text}")


@pytest.mark.parametrize("given, seen", ADDRESSES.values(), ids=ADDRESSES)
def test_session_and_c2s_show(box, connect, given, seen):
    with login(connect(given)) as alice:
        assert seen in cells(ask(box, 'c2s:show(nil, "jid ip")'), alice.jid)
        row = cells(ask(box, 'c2s:show(nil, "jid ipv")'), alice.jid)
        assert ("IPv6" if ":" in seen else "IPv4") in row
        assert f'"{seen}"' in ask(box, f'>("%q"):format(prosody.full_sessions["{alice.jid}"].ip)')
        assert f'"{seen}"' in ask(box, f'>("%q"):format(prosody.full_sessions["{alice.jid}"].conn:ip())')


@pytest.mark.parametrize("given, seen", ADDRESSES.values(), ids=ADDRESSES)
def test_s2s_show(box, connect, given, seen):
    remote = f"{ident().hex()[:8]}.example"
    conn = connect(given, "xmpp-server")
    stream = STREAM.format("one.example", "jabber:server").replace("to=", f"from='{remote}' to=")
    conn.sendall(stream.replace("xmlns:stream", "xmlns:db='jabber:server:dialback' xmlns:stream").encode())
    assert "dialback" in read_until(conn, b"</stream:features>")
    text = ask(box, 's2s:show(nil, "remote dir ip")')
    row = cells(text, remote)
    assert seen in row and "<--" in row
    conn.close()


@pytest.mark.parametrize("given, seen", ADDRESSES.values(), ids=ADDRESSES)
def test_limits_are_those_of_any_client(box, connect, given, seen):
    with login(connect(given)) as alice:
        assert float(re.search(r"Result: ([0-9.]+)", ask(box, f'>1 / prosody.full_sessions["{alice.jid}"].conn._limit'))[1]) \
            == pytest.approx(20000)


@pytest.mark.parametrize("given, seen", ADDRESSES.values(), ids=ADDRESSES)
def test_firewall_rules_see_the_address(box, connect, given, seen):
    since = box.log_size()
    with login(connect(given)) as alice, login(connect(given), "bob") as bob:
        alice.send(bob.jid, "hello")
        assert bob.receive() == (alice.jid, "hello")
        box.wait_for_log(f"Message from address {seen}", since=since)


@pytest.mark.parametrize("address", ["198.51.100.99", "2001:db8:c::99", "::ffff:198.51.100.99"])
def test_firewall_rules_can_block_the_address(connect, address):
    with login(connect(address)) as alice, login(connect(CLIENT[0]), "bob") as bob:
        alice._send(f"<message to='{bob.jid}' type='chat' id='m1'><body>hello</body></message>")
        while (answer := alice._next()).tag != "{jabber:client}message":
            pass
        assert (answer.get("type"), answer.get("id")) == ("error", "m1")
        assert b"policy-violation" in ET.tostring(answer)


def connections(box, family):
    sender = Sender(box.socket)
    text = fetch_metrics(sender)
    sender.close()
    found = re.findall(r'^prosody_mod_c2s__connections\{(.*)\} (\S+)$', text, re.M)
    return sum(float(value) for labels, value in found if f'ip_family="{family}"' in labels and 'type="c2s"' in labels)


@pytest.mark.parametrize("given, seen", ADDRESSES.values(), ids=ADDRESSES)
def test_statistics_have_the_right_family(box, connect, given, seen):
    family, other = ("ipv6", "ipv4") if ":" in seen else ("ipv4", "ipv6")
    box.wait_until(lambda: connections(box, family) == connections(box, other) == 0)
    with login(connect(given)):
        assert connections(box, family) == 1
        assert connections(box, other) == 0


def ask_http(conn):
    """Prosody's whole answer to a request that names another address."""
    conn.sendall(b"GET /ip HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
    answer = b""
    while piece := conn.recv(4096):
        answer += piece
    conn.close()
    return answer.decode()


# Of the addresses that begin with a digit see the test after the next.
@pytest.mark.parametrize("given, seen", [ADDRESSES["ipv4"], ADDRESSES["mapped"], ("fd77::77", "fd77::77")])
def test_http_requests_have_the_address(connect, given, seen):
    assert ask_http(connect(given, "http/1.1")).endswith(f"\r\n\r\n{seen}")


@pytest.mark.parametrize("proxy", ["198.51.100.200", "fd77:d::7", "::ffff:198.51.100.200"])
def test_http_requests_from_a_web_proxy_have_the_address_it_names(connect, proxy):
    """trusted_proxies is Prosody's own option, for HTTP."""
    assert ask_http(connect(proxy, "http/1.1")).endswith("\r\n\r\n203.0.113.5")


def test_http_requests_over_ipv6_get_the_answer_of_prosodys_own_port(net, connect, http_port):
    """Prosody 13.0.1 takes the digits before the first colon for the whole address, and gives up."""
    own = ask_http(net.connect(CLIENT[1], http_port))
    ours = ask_http(connect(CLIENT[1], "http/1.1"))
    assert own.split()[1] == ours.split()[1]
    assert own.split()[1] == "500" or ours.endswith(f"\r\n\r\n{CLIENT[1]}")


def element(client, name):
    while not (got := client._next()).tag.endswith("}" + name):
        pass
    return got


def resume(stream, previous):
    """Authenticates on a new connection and goes on with the session of the old one."""
    def features():
        stream.sendall(STREAM.format("one.example", "jabber:client").encode())
        read_until(stream, b"</stream:features>")
    features()
    secret = base64.b64encode(b"\0alice\0secret").decode()
    stream.sendall(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>".encode())
    read_until(stream, b"<success")
    features()
    stream.sendall(f"<resume xmlns='{SM}' h='0' previd='{previous}'/>".encode())
    return read_until(stream, b"<resumed")


@pytest.mark.parametrize("other_way", [HandedOver, BehindShimAndProxy, BehindProxy])
def test_resumed_session_has_the_new_address(net, box, tcp_port, connect, other_way):
    """The client has gone to another network, and comes back by another shim or proxy."""
    other = other_way(net, box, tcp_port)
    alice = login(connect(CLIENT[0]))
    alice._send(f"<enable xmlns='{SM}' resume='true'/>")
    previous = element(alice, "enabled").get("id")
    assert CLIENT[0] in cells(ask(box, 'c2s:show(nil, "jid ip")'), alice.jid)
    alice.stream.sock.shutdown(socket.SHUT_RDWR)
    alice.stream.close()

    again = other.connect(CLIENT[1], 40000, "xmpp-client")
    resume(again, previous)
    assert CLIENT[1] in cells(ask(box, 'c2s:show(nil, "jid ip")'), alice.jid)
    with login(connect(CLIENT[0]), "bob") as bob:
        bob.send(alice.jid, "still there?")
        assert "still there?" in read_until(again, b"still there?")
    again.close()


def test_shell_lists_our_services_beside_prosodys_own(box, tcp_port):
    text = ask(box, "port:list()")
    assert re.search(rf"fdpass_tcp: .*{tcp_port}", text)
    assert re.search(r"fdpass_c2s_direct_tls: .*443", text)
