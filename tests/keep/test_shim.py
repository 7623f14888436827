"""The shim dies, is restarted, is upgraded, and is told other settings: what goes on, and what does not."""

import concurrent.futures
import os
import random
import re
import signal
import socket
import time

import pytest
from kept import FULL, KeptShim, Talk, build_other, table
from rig.shim import config
from rig.wait import until
from rig.world import CLIENTS4, HOSTS, SERVER4
from storm import AGE, COUNT, HEAD, WEB, Storm, in_turn, mixed
from transfers import Transfers


@pytest.fixture(scope="session")
def other_build(tmp_path_factory):
    return build_other(tmp_path_factory.mktemp("other"))


@pytest.fixture
def new_shim(world):
    made = []

    def make(port, mode, **options):
        shim = {"keep-connections": mode, "max-pending-per-ip": "1000", **options.pop("shim", {})}
        # What is not TLS is for the transfers' server, the rest for nginx.
        text = config([f"0.0.0.0:{port}", f"[::]:{port}"], f"{WEB[0]}:{WEB[1]}", shim=shim,
                      fdpass=options.pop("fdpass", world.prosody.socket), web_options={"proxy-protocol": "v1"},
                      routes={"nginx": {"alpn": "http/1.1, h2", "proxy": "127.0.0.1:18443"}, **options.pop("routes", {})})
        binary = world.folder / f"shim-{port}-{len(made)}"
        binary.write_bytes((world.folder / "xmpp443-shim").read_bytes())
        binary.chmod(0o755)
        one = KeptShim(world.folder / f"kept-{port}-{len(made)}", binary, world.server, text)
        made.append(one)
        one.process.start()
        if mode != "off":
            one.wait_started(0)
        return one

    yield make
    for one in made:
        one.stop()


def test_with_crash_nothing_old_enough_is_lost_whatever_happens(world, new_shim, other_build):
    shim = new_shim(10801, "crash")
    builds = in_turn(other_build, world.binary)
    storm = Storm(world, 10801)
    counts = storm.run(mixed(kill=(shim.kill_worker, 100 if FULL else 5), restart=(shim.replace, 50 if FULL else 2),
                             upgrade=(lambda: shim.upgrade(next(builds)), 10 if FULL else 2)))
    table("keep-connections = crash: kill -9, restarts, upgrades", [HEAD, storm.row("crash", counts)])
    assert counts["wrong"] == counts["lost"] == 0
    assert [life.error for life in storm.lives] == [None] * len(storm.lives)
    assert counts["right"] > COUNT


def test_with_restart_nothing_at_all_is_lost_in_an_orderly_end(world, new_shim, other_build):
    shim = new_shim(10802, "restart")
    builds = in_turn(other_build, world.binary)
    storm = Storm(world, 10802)
    counts = storm.run(mixed(restart=(shim.replace, 50 if FULL else 3),
                             upgrade=(lambda: shim.upgrade(next(builds)), 10 if FULL else 2)))
    table("keep-connections = restart: restarts, upgrades", [HEAD, storm.row("restart", counts)])
    assert counts["wrong"] == counts["lost"] == counts["young"] == 0
    assert [life.error for life in storm.lives] == [None] * len(storm.lives)
    assert counts["right"] > COUNT


def stop_and_start(shim):
    when = time.monotonic()
    shim.process.signal(signal.SIGTERM)
    assert shim.process.child.wait(30) == 0
    since = shim.mark()
    shim.process.start()
    shim.wait_started(since)
    return when


@pytest.mark.parametrize("mode, fault", [("off", "restart"), ("off", "kill"), ("restart", "kill")])
def test_what_the_lesser_modes_lose_is_not_wrong(world, new_shim, mode, fault):
    shim = new_shim({"off": 10803, "restart": 10804}[mode] + 2 * (fault == "kill"), mode)
    port = int(re.search(r"0:(\d+)", shim.conf.read_text())[1])
    storm = Storm(world, port)

    def die():
        when = time.monotonic()
        shim.kill()
        since = shim.mark()
        shim.process.start()
        shim.wait_started(since)
        return when

    act = shim.kill_worker if mode == "restart" else die if fault == "kill" else lambda: stop_and_start(shim)
    if mode == "off":
        shim.wait_started(0)
    counts = storm.run([act] * (10 if FULL else 1))
    table(f"keep-connections = {mode}: {fault}", [HEAD, storm.row(mode, counts)])
    assert counts["wrong"] == 0
    assert counts["lost"] > 0, "then the promise is too small"
    talks = [life for life in storm.lives if isinstance(life, Talk)]
    assert [life.error for life in talks] == [None] * len(talks)


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(24) as made:
        yield made


@pytest.mark.parametrize("mode", ["restart", "crash"])
def test_who_waits_for_prosody_waits_through_the_shims_death_too(world, new_shim, pool, mode):
    port = 10810 if mode == "restart" else 10811
    shim = new_shim(port, mode, shim={"log-level": "debug"})
    world.prosody.stop()
    logins = [pool.submit(world.login, "alice", HOSTS[n % 2], source=CLIENTS4[n % 3], port=port, timeout=120)
              for n in range(20)]
    until(lambda: len(shim.events(event="routed", route="xmpp-client")) == 20, "all to be held")
    time.sleep(AGE)
    for act in [shim.replace, shim.replace] + [shim.kill_worker] * (2 if mode == "crash" else 0):
        act()
        time.sleep(AGE)
    before = len(world.prosody.logins())
    world.prosody.start()
    sessions = [login.result(120) for login in logins]
    assert len(set(session.jid for session in sessions)) == 20
    assert len(world.prosody.logins()) - before == 20
    for session in sessions:
        assert world.prosody.login_of(session.jid)["port"] == session.stream.sock.getsockname()[1]
        session.logout()


@pytest.mark.parametrize("mode", ["restart", "crash"])
def test_a_client_in_the_middle_of_its_hello_does_not_notice(world, new_shim, mode):
    port = 10812 if mode == "restart" else 10813
    shim = new_shim(port, mode)
    with world.tls(HOSTS[0], ["xmpp-client"], port=port, timeout=60,
                   send_hello=lambda sock, data: pieces(shim, mode, sock, data)) as stream:
        assert stream.alpn() == "xmpp-client"


def pieces(shim, mode, sock, data):
    sock.sendall(data[:50])
    time.sleep(AGE)
    shim.replace()
    time.sleep(AGE)
    sock.sendall(data[50:80])
    if mode == "crash":
        shim.kill_worker()
    sock.sendall(data[80:])


def test_what_another_version_stored_is_closed_and_said(world, new_shim, tmp_path):
    shim = new_shim(10814, "restart")
    later = build_other(tmp_path, "-DRECORD_VERSION=2")
    with Transfers(world.server, world.client, SERVER4, 10814, WEB, 5, 1000) as transfers, \
            world.connect(port=10814) as idle:
        idle.sendall(b"1 1 1 1000\n")
        until(lambda: transfers is not None and idle.recv(1), "an answer")
        since = shim.mark()
        shim.upgrade(later)
        shim.wait_event(since, event="stored-refused", error="another version wrote it")
        idle.settimeout(20)
        try:
            assert idle.recv(100) == b""
        except ConnectionResetError:
            pass
        with world.connect(port=10814) as fresh:
            fresh.sendall(b"0 1 1 1000\n")
            assert fresh.recv(100)
        transfers.finish()
    assert not shim.events(since, event="restored")


def test_reload_under_load_loses_nothing(world, new_shim):
    """Listeners, workers, routes and backends change with each one."""
    shim = new_shim(10820, "off")
    shim.wait_started(0)
    rng = random.Random()

    def other():
        extra = [f"{('0.0.0.0', '127.0.0.1')[port % 2]}:{port}" for port in rng.sample(range(10830, 10860), rng.randrange(4))]
        routes = {f"r{rng.randrange(100)}": {"sni": f"*.h{n}.example", "proxy": f"127.0.0.1:{rng.randrange(1000, 2000)}"}
                  for n in range(rng.randrange(5))}
        routes["nginx"] = {"alpn": "http/1.1, h2", "proxy": rng.choice(("127.0.0.1:18443", "[::1]:18443", world.nginx.unix))}
        return config(["0.0.0.0:10820", "[::]:10820"] + extra, f"{WEB[0]}:{WEB[1]}", fdpass=world.prosody.socket,
                      shim={"workers": rng.randrange(1, 9), "max-pending-per-ip": "1000"}, routes=routes,
                      web_options={"proxy-protocol": "v1"})

    def reload():
        since, when = shim.mark(), time.monotonic()
        shim.reload(other())
        shim.wait_event(since, event="reloaded")
        return when

    storm = Storm(world, 10820)
    counts = storm.run([reload] * (100 if FULL else 8))
    table("SIGHUP with other listeners, workers, routes, backends", [HEAD, storm.row("reload", counts)])
    assert counts["wrong"] == counts["lost"] == counts["young"] == 0
    assert [life.error for life in storm.lives] == [None] * len(storm.lives)


def test_a_client_held_while_workers_are_removed_is_delivered(world, new_shim, pool):
    shim = new_shim(10821, "off", shim={"workers": "8", "log-level": "debug"})
    shim.wait_started(0)
    world.prosody.stop()
    logins = [pool.submit(world.login, "bob", HOSTS[n % 2], source=CLIENTS4[n % 3], port=10821, timeout=120)
              for n in range(20)]
    until(lambda: len(shim.events(event="routed", route="xmpp-client")) == 20, "all to be held")
    since = shim.mark()
    shim.reload(shim.conf.read_text().replace("workers = 8", "workers = 1"))
    shim.wait_event(since, event="reloaded")
    world.prosody.start()
    assert len({login.result(120).jid for login in logins}) == 20


def test_a_keeper_whose_child_does_not_come_up_ends_with_its_exit_code(world):
    with world.server.inside():
        taken = socket.create_server(("0.0.0.0", 10822))
    with taken:
        text = config(["0.0.0.0:10822"], "127.0.0.1:1", shim={"keep-connections": "restart"})
        shim = KeptShim(world.folder / "kept-taken", world.binary, world.server, text)
        shim.process.start()
        assert shim.process.child.wait(20) == 2
        assert shim.events(event="listen-failed")


def test_a_keeper_that_is_told_to_end_ends_all(world, new_shim):
    shim = new_shim(10823, "restart")
    with world.connect(port=10823) as client:
        worker = shim.worker()
        shim.stop()
        client.settimeout(20)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_keeper_that_is_killed_leaves_nothing_behind(world, new_shim):
    """Whoever started it finds no child that holds the port, and can start again."""
    shim = new_shim(10824, "crash")
    with world.connect(port=10824) as client:
        worker = shim.worker()
        os.kill(shim.process.pid, signal.SIGKILL)
        shim.process.child.wait(20)
        client.settimeout(20)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    until(lambda: not os.path.exists(f"/proc/{worker}"), "the child's end")
    since = shim.mark()
    shim.start()
    shim.wait_started(since)
    world.connect(port=10824).close()
