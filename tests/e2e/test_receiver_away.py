"""Prosody is away: clients are held, and delivered, given up or let go."""

import concurrent.futures
import socket

import pytest
from rig.backend import read_all
from rig.tls import client_hello, context
from rig.wait import until
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4

MANY = 12
ALERT_INTERNAL_ERROR = (2, 80)  # fatal, and its number in RFC 8446


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(MANY) as made:
        yield made


def xmpp_hello(world, host=HOSTS[0]):
    return client_hello(context(world.authority.cert, ["xmpp-client"]), host)


def held(shim, since):
    return len(shim.events(since, event="routed", route="xmpp-client"))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_clients_that_arrive_while_prosody_is_away_log_in_when_it_is_back(world, shim, pool, end):
    getattr(world.prosody, end)()
    since = shim.mark()
    logins = [pool.submit(world.login, "alice", HOSTS[n % 2], source=(CLIENTS4 + CLIENTS6)[n % 6])
              for n in range(MANY)]
    until(lambda: held(shim, since) == MANY, "all clients to be held")
    world.prosody.start()
    sessions = [login.result(60) for login in logins]
    for session in sessions:
        assert world.prosody.login_of(session.jid)["ip"] == session.stream.sock.getsockname()[0]
        session.logout()


def test_clients_that_arrive_while_prosody_restarts_all_log_in(world, shim, pool):
    """A login that Prosody's own end cuts off may try again, as any client does;
    one that was not yet connected to Prosody must not notice anything."""
    def login(n):
        with world.login("alice", HOSTS[n % 2], timeout=60) as session:
            return session.jid

    for end in (world.prosody.kill, world.prosody.stop):
        end()
        first = [pool.submit(login, n) for n in range(MANY)]
        world.prosody.start()
        second = [pool.submit(login, n) for n in range(MANY)]
        assert len({job.result(60) for job in first + second}) == 2 * MANY


def test_the_web_is_served_while_prosody_is_away(world, shim):
    world.prosody.stop()
    assert world.clients.curl(f"https://{HOSTS[0]}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    world.prosody.start()


@pytest.mark.parametrize("socket_is", ["missing", "dead"])
def test_a_client_held_too_long_gets_a_tls_alert(world, new_shim, port, name, socket_is):
    path = world.prosody.folder / f"{name}.sock"
    if socket_is == "dead":
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left_over:
            left_over.bind(str(path))
        path.chmod(0o666)
    shim = new_shim(port, fdpass=None, routes={
        "xmpp-client": {"alpn": "xmpp-client", "fdpass": path, "hold": "1s"}})
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(xmpp_hello(world))
        answer = read_all(sock)
    assert answer[0] == 21  # an alert record
    assert tuple(answer[5:]) == ALERT_INTERNAL_ERROR
    shim.wait_event(event="closed", reason="hold-expired", peer=peer)


def test_a_held_client_that_gives_up_is_let_go_at_once(world, new_shim, port, name):
    shim = new_shim(port, fdpass=None, routes={
        "xmpp-client": {"alpn": "xmpp-client", "fdpass": world.prosody.folder / name, "hold": "600s"}})
    before = shim.sockets()
    with world.connect(port=port) as sock:
        peer = "%s:%d" % sock.getsockname()
        sock.sendall(xmpp_hello(world))
        shim.wait_event(event="routed", peer=peer)
        assert shim.sockets() >= before + 1
    shim.wait_event(event="closed", reason="client-gone", peer=peer)
    until(lambda: shim.sockets() == before, "the shim to have let go")


def test_no_more_clients_are_held_than_configured(world, new_shim, port, name):
    shim = new_shim(port, fdpass=None, shim={"max-held": "3", "workers": "1"}, routes={
        "xmpp-client": {"alpn": "xmpp-client", "fdpass": world.prosody.folder / name, "hold": "600s"}})
    sockets = []
    for _ in range(5):
        sockets.append(world.connect(port=port))
        sockets[-1].sendall(xmpp_hello(world))
    until(lambda: len(shim.events(event="closed", reason="held-full")) == 2, "two to be turned away")
    for sock in sockets:
        sock.close()
    until(lambda: len(shim.events(event="closed", reason="client-gone")) == 3, "three to be let go")


def test_a_receiver_that_starts_after_the_shim_is_found(world, new_shim, port):
    world.prosody.stop()
    new_shim(port)
    world.prosody.start()
    world.login("alice", port=port).logout()
