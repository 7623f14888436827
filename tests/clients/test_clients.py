"""Clients from Debian log in through port 443 by what the DNS says, and talk to each other.

TABLE is the one in the README: who sends ALPN, and who looks for direct TLS in the DNS.
"""

import pathlib
import re

import pytest
from programs import Dino, Gajim, GoSendxmpp, Poezio, Profanity, Slixmpp
from rig import wait
from rig.world import HOSTS

DEBIAN = int(re.search(r'VERSION_ID="?(\d+)', pathlib.Path("/etc/os-release").read_text())[1])
SHARED, XMPP_ONLY = HOSTS
LOGIN_SECONDS = 90  # programs with windows take their time on a busy machine

# program, sends ALPN, looks up _xmpps-client
TABLE = [
    (GoSendxmpp, True, True),
    (Gajim, True, True),
    (Dino, DEBIAN == 12, True),  # 13 builds it without
    (Slixmpp, False, True),
    (Profanity, False, False),
    *([(Poezio, False, True)] if DEBIAN > 12 else []),
]


def sessions(world, program):
    return [seen for seen in world.prosody.logins() if seen["ip"] == program.machine.address]


def login(world, program):
    """The session that Prosody has for the address of a program's machine."""
    def find():
        assert program.child.poll() is None, f"{type(program).__name__} ended"
        return sessions(world, program)

    return wait.until(find, f"{type(program).__name__} to log in", LOGIN_SECONDS)[0]


def events(shim, program):
    """What the shim has logged of this program's connections."""
    return [event for event in shim.events() if program.machine.address in event.get("peer", "")]


@pytest.mark.parametrize("kind, alpn, srv", [pytest.param(*row, id=row[0].__name__) for row in TABLE])
def test_two_of_a_kind_talk_to_each_other_over_ipv4_and_ipv6(world, shim, dns, start, kind, alpn, srv):
    host = SHARED if alpn else XMPP_ONLY
    alice, bob = start(kind, f"alice@{host}", six=False), start(kind, f"bob@{host}", six=True)
    for one in (alice, bob):
        jid = login(world, one)["jid"]
        assert jid.startswith(f"{one.jid}/")
        wait.until(lambda: world.prosody.is_available(jid), f"{jid} to be available", LOGIN_SECONDS)
    assert alice.machine.address != bob.machine.address

    for speaker, listener in ((alice, bob), (bob, alice)):
        body = f"from-{kind.__name__.lower()}-at-{speaker.machine.address.replace(':', '-')}"
        speaker.say(listener.jid, body)
        wait.until(lambda: listener.heard(body), f"{listener.jid} to show {body!r}", 60)

    for one in (alice, bob):
        seen = login(world, one)
        peer = f"[{seen['ip']}]:{seen['port']}" if ":" in seen["ip"] else f"{seen['ip']}:{seen['port']}"
        assert shim.wait_event(event="handed-off", peer=peer)["route"] == ("xmpp-client" if alpn else "old-clients")
        assert (("SRV", f"_xmpps-client._tcp.{host}") in dns.asked(one.machine.address)) == srv


def test_one_that_sends_no_alpn_comes_to_the_web_server_where_there_is_no_route_for_it(world, shim, start):
    alice = start(Slixmpp, f"alice@{SHARED}", six=False)
    wait.until(lambda: "400 Bad Request" in alice.output(), "slixmpp to meet nginx", LOGIN_SECONDS)
    assert {event["route"] for event in events(shim, alice)} == {"web"}
    assert not sessions(world, alice)


@pytest.mark.skipif(DEBIAN == 12, reason="it sends ALPN there")
def test_dino_goes_on_to_port_5222_when_it_meets_the_web_server(world, shim, start, dns_other):
    alice = start(Dino, f"alice@{SHARED}", False, dns_other)
    login(world, alice)
    assert {event["route"] for event in events(shim, alice)} == {"web"}


@pytest.mark.parametrize("kind", [Slixmpp, *([Poezio, Dino] if DEBIAN > 12 else [])])
def test_one_that_sends_no_alpn_does_not_meet_the_web_server_if_port_5223_comes_first(world, shim, start, dns_5223, kind):
    for six in (False, True):
        alice = start(kind, f"alice@{SHARED}", six, dns_5223)
        login(world, alice)
        assert not events(shim, alice)
        alice.close()  # else the two take the session from each other, and look for another port


@pytest.mark.skipif(DEBIAN > 12, reason="it knows direct TLS there")
def test_poezio_of_debian_12_uses_port_5222(world, shim, start, dns_other):
    alice = start(Poezio, f"alice@{SHARED}", False, dns_other)
    login(world, alice)
    assert not events(shim, alice)
    assert ("SRV", f"_xmpps-client._tcp.{SHARED}") not in dns_other.asked(alice.machine.address)
