"""The two units on a running machine: what they own, who they are, and that everybody gets through."""

from host import SHIM, SOCKET
from rig.visitors import CLIENTS4, CLIENTS6, HOSTS


def test_clients_get_through_with_their_own_addresses(host):
    for n, source in enumerate(CLIENTS4 + CLIENTS6):
        name = HOSTS[n % 2]
        with host.login("alice", name, source=source) as session:
            assert host.login_of(session.jid)["ip"] == source
        assert host.get(f"/from-{n}", name, source=source) == f"the web page of {name}\n".encode()
        assert host.request_for(f"/from-{n}")["addr"] == source


def test_after_a_reboot_everybody_gets_through_again(host):
    host.reboot()
    assert {host.show(unit, "ActiveState")["ActiveState"] for unit in (SHIM, SOCKET, "prosody", "nginx")} == {"active"}
    with host.login("bob") as session:
        assert host.login_of(session.jid)["ip"] == CLIENTS4[0]
    host.get("/after-reboot")
