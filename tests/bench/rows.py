"""What is measured: the rows of the table, and the goals."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Variant:
    """A way from the client to the server. proxy: None (direct), or a kind of proxies.py."""

    name: str
    proxy: str = None
    alpn: str = "web"
    unix: bool = False  # the backend listens on a Unix socket
    workers: int = 1


@dataclass(frozen=True)
class Ratio:
    """a over b in a quantity; the goal is a least or a largest value, by better."""

    text: str
    a: str
    b: str
    quantity: str
    goal: float = None
    better: str = "less"


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    variants: tuple
    conns: int = 64
    mode: str = "pingpong"
    bytes: int = 0
    ratios: tuple = ()
    congestion_control: str = "reno"
    extra: bool = False  # has no goal in the list; still run by default
    idle: tuple = field(default=())  # idle connections beside, one for each variant

    def script(self):
        """Options of load."""
        return ["--mode", self.mode] + (["--bytes", str(self.bytes)] if self.bytes else [])

    def without(self, absent):
        """The row without variants that are not installed."""
        names = [v.name for v in absent]
        return replace(self, variants=tuple(v for v in self.variants if v not in absent),
                       ratios=tuple(r for r in self.ratios if r.a not in names and r.b not in names))


SHIM = Variant("shim", "shim")
SHIM_UNIX = Variant("shim, unix", "shim", unix=True)
HAPROXY = Variant("haproxy", "haproxy")
HAPROXY_UNIX = Variant("haproxy, unix", "haproxy", unix=True)
HAPROXY_SPLICE = Variant("haproxy splice", "haproxy-splice")
NGINX = Variant("nginx", "nginx")
SSLH = Variant("sslh", "sslh")
SNIPROXY = Variant("sniproxy", "sniproxy")
PEERS = (SHIM, HAPROXY, NGINX, SSLH, SNIPROXY)
DIRECT = Variant("direct")
HANDED = Variant("handed off", "shim", alpn="xmpp")
HAPROXY_XMPP = Variant("haproxy", "haproxy", alpn="xmpp")
DIRECT_XMPP = Variant("direct", alpn="xmpp")


def peer_ratios(quantity):
    """The shim against each of the peers."""
    what = {"cpu_us": "CPU, against ", "cpu_s_gb": "CPU per GB, against "}[quantity]
    return tuple(Ratio(what + peer.name, "shim", peer.name, quantity) for peer in PEERS[1:])


ROWS = (
    Row("connect", "new web connections, 64 at once: hello, 1 KiB, closed by the server",
        (SHIM, HAPROXY, SHIM_UNIX, HAPROXY_UNIX), mode="connect", ratios=(
            Ratio("connections/s, against HAProxy", "shim", "haproxy", "rate", 1.40, "more"),
            Ratio("CPU per connection, against HAProxy", "shim", "haproxy", "cpu_us", 0.66),
            Ratio("Unix backend: CPU, against HAProxy with one", "shim, unix", "haproxy, unix", "cpu_us", 0.62),
            Ratio("Unix backend: CPU, against HAProxy on TCP", "shim, unix", "haproxy", "cpu_us", 0.48))),
    Row("handoff-64", "new XMPP connections, 64 at once: hello, 1 KiB, closed by the client",
        (HANDED, HAPROXY_XMPP, DIRECT_XMPP), mode="visit", ratios=(
            Ratio("CPU per hand-off, against HAProxy relaying", "handed off", "haproxy", "cpu_us", 0.085),
            Ratio("connections/s, against direct", "handed off", "direct", "rate", 0.90, "more"))),
    Row("handoff-1", "new XMPP connections, one at a time",
        (HANDED, HAPROXY_XMPP), conns=1, mode="visit", ratios=(
            Ratio("CPU per hand-off, against HAProxy relaying", "handed off", "haproxy", "cpu_us", 0.14),)),
    Row("adopted", "200 B/1 KiB on 64 connections that were handed off",
        (HANDED, DIRECT_XMPP), ratios=(
            Ratio("requests/s, against direct", "handed off", "direct", "rate", 1.00, "more"),
            Ratio("p99, against direct", "handed off", "direct", "p99_us", 1.00))),
    Row("adopted-bulk", "bulk down on 16 connections that were handed off",
        (HANDED, DIRECT_XMPP), conns=16, mode="bulk", ratios=(
            Ratio("MB/s, against direct", "handed off", "direct", "mb_s", 1.00, "more"),)),
    Row("bulk-16", "bulk down, 16 connections, 16 MiB each time",
        (SHIM, HAPROXY, HAPROXY_SPLICE), conns=16, mode="bulk", ratios=(
            Ratio("MB/s, against HAProxy auto", "shim", "haproxy", "mb_s", 4.5, "more"),
            Ratio("MB/s, against HAProxy splice", "shim", "haproxy splice", "mb_s", 1.05, "more"),
            Ratio("CPU per GB, against HAProxy auto", "shim", "haproxy", "cpu_s_gb", 0.085),
            Ratio("CPU per GB, against HAProxy splice", "shim", "haproxy splice", "cpu_s_gb", 1.0))),
    Row("bulk-256", "bulk down, 256 connections, 4 MiB each time",
        (SHIM, HAPROXY, HAPROXY_SPLICE), conns=256, mode="bulk", bytes=4 << 20, ratios=(
            Ratio("MB/s, against HAProxy auto", "shim", "haproxy", "mb_s", 6, "more"),
            Ratio("MB/s, against HAProxy splice", "shim", "haproxy splice", "mb_s", 1.05, "more"),
            Ratio("CPU per GB, against HAProxy auto", "shim", "haproxy", "cpu_s_gb", 0.085),
            Ratio("CPU per GB, against HAProxy splice", "shim", "haproxy splice", "cpu_s_gb", 1.0))),
    Row("upload-16", "bulk up, 16 connections, 16 MiB each time",
        (SHIM, HAPROXY, HAPROXY_SPLICE), conns=16, mode="upload", extra=True, ratios=(
            Ratio("MB/s, against HAProxy auto", "shim", "haproxy", "mb_s"),
            Ratio("MB/s, against HAProxy splice", "shim", "haproxy splice", "mb_s"))),
    Row("pingpong", "200 B/1 KiB on 64 connections",
        (SHIM, HAPROXY, HAPROXY_SPLICE), ratios=(
            Ratio("requests/s, against HAProxy", "shim", "haproxy", "rate", 1.22, "more"),
            Ratio("CPU per request, against HAProxy", "shim", "haproxy", "cpu_us", 0.75),
            Ratio("p99, against HAProxy", "shim", "haproxy", "p99_us", 0.72))),
    Row("pingpong-unix", "200 B/1 KiB on 64 connections, Unix backend",
        (SHIM_UNIX, HAPROXY_UNIX), extra=True, ratios=(
            Ratio("requests/s, against HAProxy with one", "shim, unix", "haproxy, unix", "rate"),
            Ratio("CPU per request, against HAProxy with one", "shim, unix", "haproxy, unix", "cpu_us"))),
    Row("resp64k", "200 B/64 KiB on 64 connections",
        (SHIM, HAPROXY, HAPROXY_SPLICE), mode="resp64k", ratios=(
            Ratio("requests/s, against HAProxy auto", "shim", "haproxy", "rate", 2.0, "more"),
            Ratio("requests/s, against HAProxy splice", "shim", "haproxy splice", "rate", 1.2, "more"))),
    Row("active-1000", "200 B/1 KiB on 1,000 connections",
        (SHIM, HAPROXY), conns=1000, ratios=(
            Ratio("CPU per request, against HAProxy", "shim", "haproxy", "cpu_us", 0.55),)),
    Row("idle-cost", "200 B/1 KiB on 64 connections, beside 9,000 idle ones or none",
        (SHIM, Variant("shim, 9,000 idle", "shim")), idle=(0, 9000), ratios=(
            Ratio("CPU per request, against none idle", "shim, 9,000 idle", "shim", "cpu_us", 1.03),)),
    Row("connect-idle", "new connections, 64 at once, closed by the client, beside 9,000 idle ones or none",
        (SHIM, Variant("shim, 9,000 idle", "shim")), mode="visit", extra=True, idle=(0, 9000), ratios=(
            Ratio("connections/s, against none idle", "shim, 9,000 idle", "shim", "rate", better="more"),
            Ratio("CPU per connection, against none idle", "shim, 9,000 idle", "shim", "cpu_us"))),
    Row("workers", "new web connections, 256 at once, the shim on all CPUs",
        (Variant("shim, 1 worker", "shim"), Variant("shim, 2 workers", "shim", workers=2)), conns=256, mode="connect",
        extra=True, ratios=(
            Ratio("connections/s, two against one", "shim, 2 workers", "shim, 1 worker", "rate", better="more"),
            Ratio("CPU per connection, two against one", "shim, 2 workers", "shim, 1 worker", "cpu_us"))),
    Row("peers-connect", "connect, with other proxies", PEERS, mode="connect", extra=True, ratios=peer_ratios("cpu_us")),
    Row("peers-pingpong", "pingpong, with other proxies", PEERS, extra=True, ratios=peer_ratios("cpu_us")),
    Row("peers-bulk", "bulk down, 16 connections, with other proxies", PEERS, conns=16, mode="bulk", extra=True,
        ratios=peer_ratios("cpu_s_gb")),
    Row("bulk-16-bbr", "bulk down, 16 connections, where the host's default is bbr",
        (SHIM, HAPROXY, HAPROXY_SPLICE), conns=16, mode="bulk", congestion_control="bbr", extra=True, ratios=(
            Ratio("MB/s, against HAProxy auto", "shim", "haproxy", "mb_s"),
            Ratio("MB/s, against HAProxy splice", "shim", "haproxy splice", "mb_s"))),
)

# Idle connections: memory of the process, in bytes for each and before the first one.
IDLE_COUNTS = (1000, 5000, 9000)
IDLE_VARIANTS = (SHIM, HAPROXY, NGINX)
IDLE_GOAL_EACH = 128
IDLE_GOAL_BASE = 1_000_000
