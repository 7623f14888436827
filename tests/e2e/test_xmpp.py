"""XMPP through the shim: who logs in, from where, and to which host."""

import pytest
from rig.prosody import PASSWORD
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

pytestmark = pytest.mark.usefixtures("shim")
EVERY_ADDRESS = CLIENTS4 + CLIENTS6


@pytest.mark.parametrize("source", EVERY_ADDRESS)
def test_prosody_sees_the_address_and_port_the_client_connects_from(world, source):
    with world.login(source=source) as alice:
        seen = world.prosody.login_of(alice.jid)
        assert (seen["ip"], seen["port"]) == (source, alice.stream.sock.getsockname()[1])


def test_the_shim_logs_the_hand_off_with_the_clients_address(world, shim):
    with world.login() as alice:
        peer = "%s:%d" % alice.stream.sock.getsockname()
        assert shim.wait_event(event="handed-off", peer=peer)["route"] == "xmpp-client"


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
def test_two_clients_exchange_messages(world, source):
    with world.login("alice", source=source) as alice, world.login("bob") as bob:
        alice.send(bob.jid, "good morning")
        assert bob.receive() == (alice.jid, "good morning")
        bob.send(alice.jid, "good evening")
        assert alice.receive() == (bob.jid, "good evening")


@pytest.mark.parametrize("host", HOSTS)
def test_each_virtual_host_shows_its_own_certificate_to_xmpp_clients(world, host):
    with world.tls(host, ["xmpp-client"]) as stream:
        assert stream.certificate_names() == [host]
        assert stream.alpn() == "xmpp-client"


@pytest.mark.parametrize("host", HOSTS)
def test_accounts_of_each_virtual_host_can_log_in(world, host):
    with world.login("alice", host) as alice, world.login("bob", host) as bob:
        alice.send(bob.jid, "hello")
        assert bob.receive() == (alice.jid, "hello")


def test_a_client_that_offers_more_protocols_is_an_xmpp_client_all_the_same(world):
    with world.tls(alpn=["http/1.1", "xmpp-client"]) as stream:
        assert stream.alpn() == "xmpp-client"


@pytest.mark.parametrize("host", HOSTS)
def test_another_xmpp_server_reaches_the_service_for_servers(world, host):
    with world.tls(host, ["xmpp-server"]) as stream:
        assert stream.certificate_names() == [host]
        assert stream.alpn() == "xmpp-server"
        stream.sendall(f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' to='{host}' "
                       "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>".encode())
        assert b"jabber:server" in stream.recv()


@pytest.mark.parametrize("server", [SERVER4, f"[{SERVER6}]"])
@pytest.mark.parametrize("host", HOSTS)
def test_go_sendxmpp_sends_a_message(world, server, host):
    with world.login("bob", host) as bob:
        world.clients.send_with_go(f"alice@{host}", PASSWORD, f"{server}:443", f"bob@{host}", "from go")
        sender, body = bob.receive()
    assert sender.startswith(f"alice@{host}/")
    assert body == "from go"


def test_slixmpp_which_sends_no_alpn_reaches_prosody_by_a_route_for_its_host(world, new_shim, port):
    new_shim(port, routes={"old-clients": {"sni": HOSTS[0], "alpn": "none",
                                           "fdpass": world.prosody.socket}})
    with world.login("bob") as bob:
        world.clients.send_with_slixmpp(f"alice@{HOSTS[0]}", PASSWORD, port, f"bob@{HOSTS[0]}",
                                        "from slixmpp")
        sender, body = bob.receive()
    assert sender.startswith(f"alice@{HOSTS[0]}/")
    assert body == "from slixmpp"


def test_the_route_for_old_clients_leaves_browsers_and_other_hosts_alone(world, new_shim, port):
    new_shim(port, routes={"old-clients": {"sni": HOSTS[0], "alpn": "none",
                                           "fdpass": world.prosody.socket}})
    assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    assert world.clients.curl(f"https://{HOSTS[1]}:{port}/", SERVER4, "--no-alpn") == \
        f"the web page of {HOSTS[1]}\n"
