"""Two Prosodys on two machines: one calls the other on port 443, as the DNS says."""

import contextlib
import pathlib
import shutil
import socket
import tempfile
import threading

import pytest
from rig import netns, wait
from rig.dns import Dns
from rig.pki import Authority
from rig.process import with_file
from rig.prosody import PASSWORD, Prosody
from rig.shim import Shim, config
from rig.tls import TlsStream, context
from rig.xmpp import XmppClient

from prosody_box import REPO, Sender, message

NEAR, FAR = "near.example", "far.example"
NEAR4, FAR4, DNS4 = "192.0.2.1", "192.0.2.2", "192.0.2.53"
NEAR6, FAR6 = "2001:db8::1", "2001:db8::2"
ALPNS = {b"\x0bxmpp-server": b"xmpp-server", b"\x0bxmpp-client": b"xmpp-client"}


class StandIn(threading.Thread):
    """What the shim does, as far as it is needed here, in a thread."""

    def __init__(self, ns, path):
        super().__init__(daemon=True)
        self._path, self._ids = path, 0
        with ns.inside():
            self._listener = socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True)

    def run(self):
        sender = Sender(self._path)
        with contextlib.suppress(OSError):
            while True:
                accepted, peer = self._listener.accept()
                accepted.settimeout(10)
                hello = accepted.recv(4096, socket.MSG_PEEK)
                accepted.setblocking(False)
                alpn = next(name for mark, name in ALPNS.items() if mark in hello)
                source, dest = ((name[0].removeprefix("::ffff:"), name[1]) for name in (peer, accepted.getsockname()))
                self._ids += 1
                sender.send(message(self._ids.to_bytes(8, "big"), source, dest, alpn), accepted.fileno())
                sender.answers(1)
                accepted.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Servers:
    """near.example with mod_net_fdpass behind port 443 only, and far.example, each in a namespace of its own."""

    def __init__(self, how, secure, six):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="xmpp443-s2s-"))
        self.folder.chmod(0o755)
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._make(how, secure, six)
        except BaseException:
            self.close()
            raise

    def _make(self, how, secure, six):
        near_ns, self.far_ns = netns.NetNs(), netns.NetNs()
        self._stack.callback(near_ns.close)
        self._stack.callback(self.far_ns.close)
        netns.join(near_ns, self.far_ns, [f"{NEAR4}/24", f"{DNS4}/24", f"{NEAR6}/64"], [f"{FAR4}/24", f"{FAR6}/64"])
        self.authority = Authority(self.folder / "ca")
        unknown = Authority(self.folder / "unknown-ca")
        certificates = {NEAR: self.authority.issue(NEAR), FAR: (self.authority if secure else unknown).issue(FAR)}
        self.near_address, self.far_address = (NEAR6, FAR6) if six else (NEAR4, FAR4)
        dns = Dns(self.folder / "dns", near_ns, [DNS4], [
            f"host-record={NEAR},{self.near_address}", f"host-record={FAR},{self.far_address}",
            f"srv-host=_xmpps-server._tcp.{NEAR},{NEAR},443", f"srv-host=_xmpp-server._tcp.{FAR},{FAR},5269"])
        dns.start()
        self._stack.callback(dns.kill)

        common = f"""
            modules_enabled = {{ "roster", "saslauth", "tls", "dialback", "s2s", "c2s", "net_fdpass", "e2e_announce" }}
            ssl = {{ cafile = "{self.authority.cert}" }}
            s2s_secure_auth = {str(secure).lower()}
            """
        self.near = self._prosody("near", near_ns, {NEAR: certificates[NEAR]}, common)
        self.far = self._prosody("far", self.far_ns, {FAR: certificates[FAR]}, common + """
            s2s_ports = { 5269 }
            c2s_direct_tls_ports = { 5223 }
            """)
        if how == "shim":
            binary = shutil.copy(REPO / "build/xmpp443-shim", self.folder)
            front = Shim(self.folder / "shim", binary, near_ns,
                         config(["0.0.0.0:443", "[::]:443"], "127.0.0.1:8443", fdpass=self.near.socket))
            self._stack.callback(front.kill)
        else:
            front = StandIn(near_ns, self.near.socket)
            self._stack.callback(front.close)
        front.start()

    def _prosody(self, name, ns, certificates, extra):
        made = Prosody(self.folder / name, ns, certificates, extra=extra)
        resolv = self.folder / f"{name}.resolv"
        resolv.write_text(f"nameserver {DNS4}\n")
        made.process.argv = with_file(resolv, "/etc/resolv.conf") + made.process.argv
        self._stack.callback(made.kill)
        return made.start()

    def login(self, user, host, address, port):
        with self.far_ns.inside():
            sock = socket.create_connection((address, port), 30)
        trust = context(self.authority.cert, ["xmpp-client"])
        trust.check_hostname, trust.verify_mode = False, 0
        client = XmppClient(TlsStream(sock, trust, host), user, host, PASSWORD, "here")
        self._stack.callback(client.stream.close)
        return client

    def close(self):
        self._stack.close()


@pytest.fixture
def servers():
    made = []

    def make(*args):
        made.append(Servers(*args))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("secure", [True, False], ids=["external", "dialback"])
@pytest.mark.parametrize("how", ["direct", "shim"])
def test_servers_authenticate_and_exchange_messages(servers, how, secure, six):
    world = servers(how, secure, six)
    alice = world.login("alice", FAR, world.far_address, 5223)
    bob = world.login("bob", NEAR, world.near_address, 443)
    alice.send(bob.jid, "from far")
    assert bob.receive() == (alice.jid, "from far")
    bob.send(alice.jid, "from near")
    assert alice.receive() == (bob.jid, "from near")

    near, far = world.near.text(), world.far.text()
    assert f"Incoming s2s connection {FAR}->{NEAR} complete" in near
    assert f"Outgoing s2s connection {FAR}->{NEAR} complete" in far
    assert ("Accepting SASL EXTERNAL identity from " + FAR in near) == secure
    assert (f"asking {FAR} if key" in near) == (not secure)
    assert ("verified dialback key... it is valid" in far) == (not secure)
    wait.until(lambda: world.far_address in world.near.text(), "the far server's address in the log")
    assert "\terror\t" not in near, near
