"""One server with many domains, each of which is right or wrong in its own way, and a name server that knows them all."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import fronts
from certificates import Certificates, tlsa_of
from nameserver import NameServer
from rig import netns
from rig.nginx import BARE, TCP4, Nginx
from rig.prosody import ROOT, Prosody
from rig.shim import Shim, config

BUILD = os.environ.get("XMPP443_BUILD", "build")
SHIM_OPTIONS = {"sandbox": "off"} if "san" in BUILD else {}
V4, V6 = "192.0.2.1", "2001:db8::1"
CLIENT4, CLIENT6 = "192.0.2.11", "2001:db8::11"
RESOLVER, NO_RESOLVER = "192.0.2.53", "192.0.2.54"
DEAD4, DEAD6 = "198.18.0.1", "2001:db8:dead::1"  # routed to the server, which silently drops what comes
IDN = "xn--bcher-kva.example"

# Each of these has a port 443 of its own, at NAME.front.example.
FRONTS = {name: f"192.0.2.{n}" for n, name in enumerate((
    "bare", "middlebox", "no-module", "down", "plain", "web-only", "web-down", "half-blind", "direct", "no-sasl", "late",
    "silent", "no-tls"), 21)}


def services(host="@", port=443, old=True):
    """Direct TLS for clients and servers at one host; old: the services without are said not to be offered."""
    lines = [f"_xmpps-client._tcp.@ SRV 5 1 {port} {host}", f"_xmpps-server._tcp.@ SRV 5 1 {port} {host}"]
    return lines + (["_xmpp-client._tcp.@ SRV 0 0 0 .", "_xmpp-server._tcp.@ SRV 0 0 0 ."] if old else [])


HERE = [f"@ A {V4}", f"@ AAAA {V6}"]
DOMAINS = {
    "one.example": HERE + services() + ['@ CAA 0 issue "letsencrypt.org"'],
    IDN: HERE + services(),
    "hosted.example": HERE + services("one.example."),
    "nosrv.example": HERE,
    "old.example": HERE + ["_xmpp-client._tcp.@ SRV 5 1 5222 direct.front.example."],
    "alias.example": HERE + services("cname.example."),
    "cname.example": ["@ CNAME one.example."],
    "refused.example": HERE + ["_xmpps-client._tcp.@ SRV 0 0 0 ."],
    "noaddress.example": HERE + services("empty.example."),
    "empty.example": ['@ TXT "no address"'],
    "noname.example": HERE + services("nowhere.example."),
    "port.example": HERE + services(port=444),
    "dead6.example": [f"@ A {V4}", f"@ AAAA {DEAD6}"] + services(),
    "noroute.example": [f"@ A {V4}", "@ AAAA 2001:db9::1"] + services(),
    "dead4.example": [f"@ A {DEAD4}", f"@ AAAA {V6}"] + services(),
    "only4.example": [f"@ A {V4}"] + services(),
    "only6.example": [f"@ AAAA {V6}"] + services(),
    "caa.example": HERE + services() + ['@ CAA 0 issue ";"'],
    "tlsa.example": HERE + services(),
    "badtlsa.example": HERE + services() + [f"_443._tcp.@ TLSA 3 1 1 {'00' * 32}"],
    "unknown.example": HERE + services(),
    "preferred.example": HERE + ["_xmpps-client._tcp.@ SRV 10 1 5223 direct.front.example.",
                                 "_xmpps-client._tcp.@ SRV 5 1 443 @", "_xmpps-client._tcp.@ SRV 5 9 443 one.example."],
    "chat2.example": HERE + services(old=False) + ["_xmpp-client._tcp.@ SRV 10 1 5222 @"],
    "chat.example": [f"@ A {FRONTS['no-module']}", "_xmpps-client._tcp.@ SRV 5 1 443 @", "_xmpp-client._tcp.@ SRV 10 1 5222 @"],
    **{f"{name}.example": HERE + services() for name in ("expired", "soon", "future", "wrong", "selfsigned", "incomplete")},
    **{f"{name}.front.example": [f"@ A {address}", "_xmpps-client._tcp.@ SRV 5 1 443 @"] for name, address in FRONTS.items()},
    "direct.front.example": [f"@ A {FRONTS['direct']}", "_xmpps-client._tcp.@ SRV 5 1 443 @", "_xmpp-client._tcp.@ SRV 5 1 5222 @",
                             "_xmpp-server._tcp.@ SRV 5 1 5269 @"],
    "no-tls.front.example": [f"@ A {FRONTS['no-tls']}", "_xmpps-client._tcp.@ SRV 5 1 443 one.example.",
                             "_xmpp-client._tcp.@ SRV 5 1 5222 @"],
}
MODULES = """\
    modules_enabled = { "roster", "saslauth", "disco", "ping", "s2s", "dialback", "admin_shell", "net_fdpass", "e2e_announce" }
    """
# Names for which Prosody and nginx have a certificate that is as it should be.
GOOD = ("one.example", IDN, "hosted.example", "nosrv.example", "old.example", "alias.example", "cname.example", "refused.example",
        "port.example", "dead6.example", "dead4.example", "noroute.example", "only4.example", "only6.example", "caa.example", "tlsa.example", "badtlsa.example",
        "preferred.example", "chat.example", "chat2.example", "bogus.example", "insecure.example")
UNSIGNED = [f"@ A {V4}", *services()]


def text_of(domains):
    """In a line "@" stands for the name."""
    return "".join(line.replace("@", f"{name}.") + "\n" for name, lines in domains.items() for line in lines)


class PortProsody(Prosody):
    """One with ports of its own instead of the hand-off socket."""

    def __init__(self, folder, ns, certificates, extra):
        disabled = 'modules_disabled = { "offline", "net_fdpass" }\n'
        super().__init__(folder, ns, certificates, extra=extra if "modules_disabled" in extra else disabled + extra)
        self.socket = self.log  # what start() waits for


class DomainWorld:
    def __init__(self):
        self.running = []
        self.spaces = []
        self.folder = None

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for one in reversed(self.running):
            one.process.kill()
        for space in self.spaces:
            space.close()
        if self.folder and not os.environ.get("XMPP443_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def up(self, one):
        self.running.append(one)
        return one.start()

    def _make(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="xmpp443-check-"))
        self.folder.chmod(0o755)
        self.shim_binary = shutil.copy(ROOT / BUILD / "xmpp443-shim", self.folder)
        self.binary = shutil.copy(ROOT / BUILD / "xmpp443-check", self.folder)
        self._network()
        self._certificates()
        self.prosody = self.up(Prosody(self.folder / "prosody", self.server, self.of, extra=MODULES))
        self.nginx = self.up(Nginx(self.folder / "nginx", self.server, self.of, big_mib=1))
        self.shim = self.new_shim("main", [f"{V4}:443", f"[{V6}]:443"], TCP4)
        self._fronts()
        self._names()

    def _network(self):
        self.server, self.client = netns.NetNs(), netns.NetNs()
        self.spaces = [self.server, self.client]
        netns.join(self.server, self.client, [f"{a}/24" for a in (V4, RESOLVER, NO_RESOLVER, *FRONTS.values())] + [f"{V6}/64"],
                   [f"{CLIENT4}/24", f"{CLIENT6}/64"])
        self.client.ip("route", "add", "198.18.0.0/24", "via", V4)
        self.client.ip("-6", "route", "add", "2001:db8:dead::/48", "via", V6)
        with self.server.inside():  # Prosody and others have port 443 without a shim here and there
            pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("53")

    def _certificates(self):
        self.certificates = Certificates(self.folder / "ca")
        make = self.certificates.make
        self.of = {host: make(host) for host in GOOD}
        self.of["expired.example"] = make("expired.example", days=-3)
        self.of["soon.example"] = make("soon.example", days=5)
        self.of["future.example"] = make("future.example", begin=2, days=90)
        self.of["wrong.example"] = make("wrong.example", names=["other.example"])
        self.of["selfsigned.example"] = make("selfsigned.example", self_signed=True)
        self.of["incomplete.example"] = make("incomplete.example", chain=False)
        self.pair = make("front", names=["*.front.example"])
        self.of.update({f"{name}.front.example": self.pair for name in FRONTS})

    def new_shim(self, name, listen, web, fdpass=None, **options):
        options["shim"] = {**SHIM_OPTIONS, **options.get("shim", {})}
        text = config(listen, web, fdpass=fdpass or self.prosody.socket, **options)
        return self.up(Shim(self.folder / f"shim-{name}", self.shim_binary, self.server, text))

    def _front_shim(self, name, web, **options):
        return self.new_shim(name, [f"{FRONTS[name]}:443"], web, **options)

    def _fronts(self):
        at = FRONTS
        folder = self.folder
        cert, key = self.pair
        both = fronts.both(folder, "front", self.pair)
        tls = f"ssl_certificate {cert}; ssl_certificate_key {key};"

        self._front_shim("bare", BARE)
        self._front_shim("no-module", TCP4, fdpass=folder / "prosody" / "nothing.sock")
        self._front_shim("web-down", "127.0.0.1:18499")

        self.up(fronts.nginx(folder / "plain", self.server, ("127.0.0.1", 18450),
                             'server { listen 127.0.0.1:18450 proxy_protocol; location / { return 200 "plain"; } }'))
        self._front_shim("plain", "127.0.0.1:18450")
        self.up(fronts.nginx(folder / "web-only", self.server, (at["web-only"], 443),
                             f'server {{ listen {at["web-only"]}:443 ssl http2; {tls} location / {{ return 200 "web"; }} }}'))
        # nginx overwrites its environment, which libfaketime would read again after ten seconds.
        self.up(fronts.nginx(folder / "late", self.server, ("127.0.0.1", 18451),
                             f'server {{ listen 127.0.0.1:18451 ssl proxy_protocol; {tls} location / {{ return 200 "late"; }} }}',
                             prefix=["env", "FAKETIME_CACHE_DURATION=86400", "faketime", "-f", "+1h"]))
        self._front_shim("late", "127.0.0.1:18451")
        self.up(fronts.haproxy(folder / "middlebox", self.server, (at["middlebox"], 443), f"""\
            listen middlebox
                mode http
                bind {at["middlebox"]}:443 ssl crt {both} alpn h2,http/1.1
                server web {BARE} ssl verify none
            """))
        # Looks for ALPN, but only into the first TLS record.
        self.up(fronts.haproxy(folder / "half-blind", self.server, (at["half-blind"], 443), f"""\
            frontend half-blind
                mode tcp
                bind {at["half-blind"]}:443
                tcp-request inspect-delay 5s
                tcp-request content accept if {{ req.ssl_hello_type 1 }}
                use_backend xmpp if {{ req.ssl_alpn xmpp-client }}
                default_backend web
            backend xmpp
                mode tcp
                server shim {V4}:443
            backend web
                mode tcp
                server web {BARE}
            """))
        self._other_prosodys()
        with self.server.inside():
            self.silent = socket.create_server((at["silent"], 443))  # the kernel accepts, nobody reads

    def _other_prosodys(self):
        direct = f"""\
            interfaces = {{ "{FRONTS['direct']}" }}
            modules_enabled = {{ "roster", "saslauth", "disco", "tls", "e2e_announce", "s2s", "dialback" }}
            c2s_ports = {{ 5222 }}
            s2s_ports = {{ 5269 }}
            c2s_direct_tls_ports = {{ 443, 5223 }}
            """
        self.up(PortProsody(self.folder / "prosody-direct", self.server,
                            {name: self.of[name] for name in ("direct.front.example", "old.example", "preferred.example")}, extra=direct))
        no_sasl = """\
            modules_disabled = { "offline", "saslauth" }
            """
        silent = self.up(Prosody(self.folder / "prosody-no-sasl", self.server, {"no-sasl.front.example": self.pair}, extra=no_sasl))
        self._front_shim("no-sasl", TCP4, fdpass=silent.socket)
        no_tls = f"""\
            interfaces = {{ "{FRONTS['no-tls']}" }}
            modules_disabled = {{ "offline", "net_fdpass", "tls" }}
            c2s_ports = {{ 5222 }}
            """
        self.up(PortProsody(self.folder / "prosody-no-tls", self.server, {"no-tls.front.example": self.pair}, extra=no_tls))

    def _names(self):
        domains = {**DOMAINS, "ns.example": [f"@ A {RESOLVER}"]}
        domains["tlsa.example"] = [*domains["tlsa.example"], f"_443._tcp.@ TLSA 3 1 1 {tlsa_of(self.of['tlsa.example'][0])}"]
        zones = {
            "example.": text_of(domains),
            "bogus.example.": text_of({"bogus.example": UNSIGNED}),
            "insecure.example.": text_of({"insecure.example": UNSIGNED}),
        }
        self.nameserver = self.up(NameServer(self.folder / "nsd", self.server, [RESOLVER], zones,
                                             signed=("example.", "bogus.example."), broken=("bogus.example.",)))

    def run(self, *args, ns=None, env=None, seconds=120, prefix=()):
        """(exit code, standard output, standard error)"""
        with (ns or self.client).inside():
            done = subprocess.run([*prefix, str(self.binary), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=seconds, env={**os.environ, **(env or {})}, check=False)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr[-6000:]
        return done.returncode, done.stdout, done.stderr

    def usual(self):
        return ["--resolver", RESOLVER, "--trust-anchor", self.nameserver.anchor, "--ca-file", self.certificates.ca_file]

    def check(self, domain, *args, timeout=20, **how):
        """What it says of a domain, as Said."""
        code, out, err = self.run("--json", *self.usual(), "--timeout", timeout, *args, domain, **how)
        assert out, err
        return Said(code, json.loads(out))


class Said:
    """A report: said["tcp"] are all checks of that id."""

    def __init__(self, code, report):
        self.code, self.report = code, report

    def __getitem__(self, check_id):
        return [one for one in self.report["checks"] if one["id"] == check_id]

    def worst(self):
        """[(id, verdict)] of what is worse than a note."""
        return [(one["id"], one["verdict"]) for one in self.report["checks"] if one["verdict"] in ("warning", "error")]

    def one(self, check_id, subject=""):
        """The only check of that id, below a heading with this text."""
        found = [one for one in self[check_id] if subject in one["subject"]]
        assert len(found) == 1, (check_id, found, self.report["checks"])
        return found[0]

    def __str__(self):
        return "\n".join(f"{c['subject']:40} {c['verdict']:8} {c['id']:18} {c['summary']} -> {c['advice']}" for c in self.report["checks"])
