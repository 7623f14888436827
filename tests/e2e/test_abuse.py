"""Abuse, and a well-behaved client beside it whose every attempt succeeds.

Small numbers by default. XMPP443_FULL=1 takes those that the project promises something for: ten
thousand connections, a gigabyte. Memory, descriptors and latencies are printed, with either.
"""

import contextlib
import os
import socket
import time

import pytest
from rig.crowd import Crowd
from rig.tls import client_hello, context
from rig.wait import until
from rig.witness import Witness
from rig.world import BUILD, CLIENTS4, CLIENTS6, HOSTS

FULL = bool(os.environ.get("XMPP443_FULL"))
MANY = 10_000 if FULL else 1_000
SECONDS = 15 if FULL else 4  # of abuse; in 15 the silent ones meet the default deadline
SANITIZED = "san" in BUILD
HUGE_MIB = 1024 if FULL else 128
NEVER_READING = 200 if FULL else 30
MIB = 1024  # KiB

MANY4 = [f"203.0.113.{n}" for n in range(1, 255)]
MANY6 = [f"2001:db8:4000:{n:x}::1" for n in range(MANY)]  # each a /64 of its own
ONE = ["203.0.113.1"]


@pytest.fixture(scope="module")
def crowded(world):
    """Routes for addresses that only the clients' machine answers for."""
    for prefix, gateway in (("203.0.113.0/24", CLIENTS4[0]), ("2001:db8:4000::/48", CLIENTS6[0])):
        world.client.ip("route", "add", "local", prefix, "dev", "lo")
        world.server.ip("route", "add", prefix, "via", gateway)
    return world


class Observer:
    """Memory, descriptors and CPU time of the shim: before, at most, after."""

    def __init__(self, shim):
        self._shim = shim
        self.before = self.most = self.look()

    def look(self):
        process = self._shim.process
        return process.memory(), len(process.fds()), process.cpu_seconds()

    def watch(self, seconds):
        """Look on for so long, and go on with the test."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.most = tuple(map(max, self.most, self.look()))
            time.sleep(0.2)

    def settle(self):
        """Wait until the descriptors are as few as before."""
        until(lambda: self.look()[1] <= self.before[1] + 8, "the shim's descriptors to be as few as before", 60)

    def report(self, what, witness, crowd):
        after = self.look()
        memory, fds, cpu = zip(self.before, self.most, after)
        text = f"\n{what}: " + (f"{crowd}\n  " if crowd else "")
        text += "memory KiB {} / {} / {}, ".format(*memory) + "descriptors {} / {} / {} (before, most, after), ".format(*fds)
        return text + f"CPU {after[2] - self.before[2]:.2f} s\n  {witness.summary()}"


@pytest.fixture
def abused(crowded, new_shim, port, capsys):
    """abused(what, abuse): run the abuse beside the witness, print figures, check what must hold."""
    def run(what, abuse, most_kib, **options):
        shim = new_shim(port, **{**options, "shim": {"log-level": "warning", **options.get("shim", {})}})
        crowded.login("alice", port=port).logout()
        with contextlib.suppress(OSError), crowded.tls(port=port):
            pass
        observer = Observer(shim)
        with Witness(crowded, port, CLIENTS4[0], CLIENTS6[0]) as witness:
            crowd = abuse(observer)
            made = len(witness.logins), len(witness.fetches)
        observer.settle()
        with capsys.disabled():
            print(observer.report(what, witness, crowd))
        assert not witness.failures
        assert min(made) > 0
        if not SANITIZED:
            assert observer.most[0] - observer.before[0] < most_kib
            assert observer.look()[0] - observer.before[0] < most_kib
        assert shim.process.alive()

    return run


def crowd_for(world, mode, count, port, sources, connected=None, hello=b""):
    """An abuse() of that crowd: until `connected` of them are there, and SECONDS more."""
    def abuse(observer):
        with Crowd(world, mode, count, port, sources, hello) as crowd:
            until(lambda: observer.watch(0) or crowd.counts()["connected"] >= (connected or count), "the crowd to connect", 120)
            observer.watch(SECONDS)
            return crowd.counts()

    return abuse


@pytest.fixture
def hello(world):
    """For the web server."""
    return client_hello(context(world.authority.cert, ["h2"]), HOSTS[0])


@pytest.mark.parametrize("sources", [MANY4, MANY6], ids=["IPv4", "IPv6"])
def test_clients_that_say_nothing(crowded, abused, port, sources):
    abused(f"{MANY} clients that say nothing", crowd_for(crowded, "silent", MANY, port, sources), 16 * MIB)


@pytest.mark.parametrize("sources", [MANY4, MANY6], ids=["IPv4", "IPv6"])
def test_clients_that_dribble(crowded, abused, port, hello, sources):
    abused(f"{MANY} clients that send a byte a second", crowd_for(crowded, "dribble", MANY, port, sources, hello=hello), 16 * MIB)


@pytest.mark.parametrize("sources", [ONE, MANY4 + MANY6], ids=["from one address", "from many"])
def test_clients_that_come_and_go(crowded, abused, port, hello, request, sources):
    abused(f"a flood {request.node.callspec.id}",
           crowd_for(crowded, "flood", 200, port, sources, connected=MANY, hello=hello), 16 * MIB)


def test_more_silent_clients_than_there_is_room_for(crowded, abused, port):
    """The oldest goes for each that comes."""
    abused(f"{MANY} silent clients, room for {MANY // 4}",
           crowd_for(crowded, "silent", MANY, port, MANY4 + MANY6),
           16 * MIB, shim={"max-connections": str(MANY // 4), "hello-timeout": "600s"})


def test_silent_clients_when_descriptors_are_few(crowded, abused, port):
    """A thousand a second for less than 200 places: whoever is silent for some tenths of a second loses his."""
    abused("1000 silent clients, 512 descriptors", crowd_for(crowded, "silent", 1000, port, MANY6),
           16 * MIB, process={"nofile": (512, 512)}, shim={"hello-timeout": "600s"})


def test_clients_that_never_read_what_they_asked_for(world, crowded, abused, port):
    with open(world.nginx.root / "huge.bin", "wb") as f:
        f.truncate(HUGE_MIB * 1024 * 1024)

    def abuse(observer):
        with contextlib.ExitStack() as stack:
            for n in range(NEVER_READING):
                stream = stack.enter_context(world.tls(alpn=["http/1.1"], source=CLIENTS4[1], port=port))
                stream.sendall(f"GET /huge.bin HTTP/1.1\r\nHost: {HOSTS[0]}\r\n\r\n".encode())
            observer.watch(SECONDS)

    abused(f"{NEVER_READING} clients that do not read {HUGE_MIB} MiB each", abuse, 16 * MIB)


def test_a_backend_that_accepts_and_never_answers(world, crowded, abused, port):
    """Its route's clients are many; those of the others do not notice."""
    count = 4_000 if FULL else MANY // 2
    dead = client_hello(context(world.authority.cert, ["h2"]), "dead.example")
    with world.server.inside():
        listener = socket.create_server(("127.0.0.1", 0), backlog=count)
    crowd = crowd_for(crowded, "hello", count, port, MANY4 + MANY6, hello=dead)

    def abuse(observer):
        with listener:  # the kernel accepts for it, and resets all of them at the end
            return crowd(observer)

    abused(f"{count} clients of a backend that never answers", abuse, 16 * MIB,
           routes={"dead": {"sni": "dead.example", "proxy": "127.0.0.1:%d" % listener.getsockname()[1]}})


def test_a_backend_that_is_down(world, crowded, abused, port):
    down = client_hello(context(world.authority.cert, ["h2"]), "down.example")
    abused("200 clients that come again and again to a backend that is down",
           crowd_for(crowded, "hello", 200, port, MANY4 + MANY6, connected=MANY, hello=down),
           16 * MIB, routes={"down": {"sni": "down.example", "proxy": "127.0.0.1:1"}})


def test_an_xmpp_server_that_is_away(world, crowded, abused, port, name):
    """Its clients are held; as many as may be, and the others are sent away."""
    held = client_hello(context(world.authority.cert, ["xmpp-client"]), "away.example")
    abused(f"{MANY} clients of an XMPP server that is away",
           crowd_for(crowded, "hello", MANY, port, MANY4 + MANY6, hello=held), 16 * MIB,
           routes={"away": {"sni": "away.example", "fdpass": world.prosody.folder / name}})
