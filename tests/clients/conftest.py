"""The world of tests/e2e with a DNS server in it, and machines for clients.

Run as root: /usr/bin/python3 -m pytest tests/clients
"""

import itertools
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from programs import SERVER_NAME  # noqa: E402
from rig.dns import Dns  # noqa: E402
from rig.machine import Machine  # noqa: E402
from rig.world import HOSTS, SERVER4, SERVER6, World  # noqa: E402


# For clients that do not come through port 443. A client that can choose must not get there
# when something has gone wrong with port 443, so these ports are open on other addresses only.
OTHER4, OTHER6 = "198.51.100.1", "2001:db8:1::1"
OTHER_PORTS = f"""
    c2s_ports = {{ 5222 }}
    c2s_direct_tls_ports = {{ 5223 }}
    c2s_interfaces = {{ "{OTHER4}", "{OTHER6}" }}
    c2s_direct_tls_interfaces = {{ "{OTHER4}", "{OTHER6}" }}
    modules_enabled = {{ "roster", "saslauth", "disco", "ping", "net_fdpass", "e2e_announce", "tls" }}
"""


@pytest.fixture(scope="session")
def world():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with World(big_mib=1, prosody=OTHER_PORTS) as made:
        yield made


@pytest.fixture(scope="session")
def shim(world):
    """As in the README: the second host name is for XMPP only, and has a route for clients without ALPN."""
    old_clients = {"sni": HOSTS[1], "alpn": "none", "fdpass": world.prosody.socket}
    made = world.shim(world.config(routes={"old-clients": old_clients})).start()
    yield made
    made.stop()


def records(addresses, *direct_tls):
    """direct_tls: "PORT,PRIORITY" """
    yield f"host-record={SERVER_NAME},{','.join(addresses)}"
    for host in HOSTS:
        yield f"srv-host=_xmpp-client._tcp.{host},{SERVER_NAME},5222,10,1"
        yield from (f"srv-host=_xmpps-client._tcp.{host},{SERVER_NAME},{one},1" for one in direct_tls)


@pytest.fixture(scope="session")
def dns(world):
    """The records that the README advises."""
    made = Dns(world.folder / "dns", world.server, (SERVER4, SERVER6), records((SERVER4, SERVER6), "443,5"))
    yield made.start()
    made.kill()


@pytest.fixture(scope="session")
def dns_other(world):
    """The same, leading to where port 5222 is open."""
    made = Dns(world.folder / "dns-other", world.server, (OTHER4, OTHER6), records((OTHER4, OTHER6), "443,5"))
    yield made.start()
    made.kill()


@pytest.fixture(scope="session")
def dns_5223(world):
    """Port 5223 before 443."""
    addresses = ("192.0.2.2", "2001:db8::2")
    for address in addresses:
        world.server.add_address("veth0", f"{address}/{64 if ':' in address else 24}")
    made = Dns(world.folder / "dns-5223", world.server, addresses, records((OTHER4, OTHER6), "5223,1", "443,5"))
    yield made.start()
    made.kill()


@pytest.fixture
def start(world, shim, dns, _numbers=itertools.count(1)):  # pylint: disable=unused-argument
    """start(program, jid, six): on a machine of its own that has IPv6 only, or IPv4 only."""
    machines, programs = [], []

    def make(program, jid, six, resolver=dns):
        number = next(_numbers)
        machines.append(Machine(world.folder / f"machine{number}", world.server, number, six,
                                resolver.addresses[six], world.authority.cert))
        programs.append(program(machines[-1], jid))
        return programs[-1]

    yield make
    for one in programs:
        one.close()
        print(f"--- {one.jid}, {type(one).__name__} at {one.machine.address}, printed:\n{one.output()[-3000:]}")
    for one in machines:
        one.close()
