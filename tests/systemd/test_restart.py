"""The service ends in every way there is, and comes back: nobody is turned away meanwhile."""

import os

import pytest
from hang import HungThread
from host import SHIM
from rig.visitors import CLIENTS4, CLIENTS6, HOSTS
from rig.wait import until
from test_service import assert_served


def restarts(host):
    return int(host.show(SHIM, "NRestarts")["NRestarts"])


def visit(host, n):
    """One login and one page from one of the clients."""
    source = (CLIENTS4 + CLIENTS6)[n % 6]
    with host.login("bob", HOSTS[n % 2], source=source, timeout=60) as session:
        assert host.login_of(session.jid)["ip"] == source
    return host.get("/visit", HOSTS[n % 2], source=source, timeout=60)


def test_who_connects_during_a_restart_is_served_after_it(host, pool):
    host.drop_in(SHIM, "[Service]\nExecStartPre=/bin/sleep 2\n")
    try:
        with host.login("alice") as session:
            host.systemctl("restart", "--no-block", SHIM)
            host.wait_for(SHIM, SubState="start-pre")
            visits = [pool.submit(visit, host, n) for n in range(12)]
            for job in visits:
                assert b"the web page of" in job.result(90)
            # The session from before has not noticed anything.
            session.send(session.jid, "still here")
            assert session.receive() == (session.jid, "still here")
    finally:
        host.drop_in(SHIM, "")


@pytest.mark.parametrize("name", ["KILL", "SEGV"])
def test_it_comes_back_after_a_crash(host, pool, name):
    before, count = host.main_pid(SHIM), restarts(host)
    with host.login("alice") as session:
        host.signal(SHIM, name)
        visits = [pool.submit(visit, host, n) for n in range(6)]
        for job in visits:
            assert b"the web page of" in job.result(90)
        session.send(session.jid, "still here")
        assert session.receive() == (session.jid, "still here")
    assert host.main_pid(SHIM) != before and restarts(host) == count + 1


@pytest.fixture
def watched(host):
    """The host with a short watchdog."""
    host.drop_in(SHIM, "[Service]\nWatchdogSec=4\n")
    host.systemctl("restart", SHIM)
    yield host
    host.drop_in(SHIM, "")


def last_sign(host):
    return int(host.show(SHIM, "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])


def test_the_watchdog_gets_signs_of_life(watched):
    before, seen = watched.main_pid(SHIM), last_sign(watched)
    for _ in range(3):
        last = seen
        seen = until(lambda: (now := last_sign(watched)) > last and now, "the next sign of life")
    assert watched.main_pid(SHIM) == before


def test_the_watchdog_replaces_a_process_that_stands_still(watched):
    since, count = watched.cursor(), restarts(watched)
    watched.signal(SHIM, "STOP")
    watched.wait_journal(SHIM, since, "Watchdog timeout")
    watched.wait_for(SHIM, ActiveState="active", NRestarts=count + 1)
    assert_served(watched, "stopped")


def test_the_watchdog_notices_if_a_single_worker_hangs(watched):
    since, count, pid = watched.cursor(), restarts(watched), watched.main_pid(SHIM)
    outside = watched.host_pid_of(pid)
    workers = sorted(set(map(int, os.listdir(f"/proc/{outside}/task"))) - {outside})
    assert len(workers) == len(os.sched_getaffinity(0))
    hung = HungThread(workers[-1])
    try:
        watched.wait_journal(SHIM, since, "Watchdog timeout")
        until(hung.gone, "the hung thread to be killed")
    finally:
        hung.release()
    watched.wait_for(SHIM, ActiveState="active", NRestarts=count + 1)
    assert_served(watched, "hung")


def test_a_reload_takes_the_new_settings_and_touches_nobody(host):
    pid, since = host.main_pid(SHIM), host.cursor()
    with host.login("alice") as session, host.tls() as page:
        host.configure(log_level="info")
        host.systemctl("reload", SHIM)
        if host.release != "12":  # older ones do not wait for it
            assert host.events(since, event="reloaded")
        host.wait_event(since, event="reloaded")
        session.send(session.jid, "still here")
        assert session.receive() == (session.jid, "still here")
        page.sendall(f"GET /kept HTTP/1.1\r\nHost: {HOSTS[0]}\r\nConnection: close\r\n\r\n".encode())
        assert page.recv().startswith(b"HTTP/1.1 200")
    since = host.cursor()
    assert_served(host, "reloaded")
    assert not host.events(since, event="routed"), "that is of level debug"
    assert host.main_pid(SHIM) == pid


def test_a_reload_of_a_bad_file_says_what_is_wrong_and_changes_nothing(host):
    pid, since = host.main_pid(SHIM), host.cursor()
    host.write("/etc/xmpp443/shim.conf", "[shim]\nworkers = many\n")
    reloaded = host.run("systemctl", "reload", SHIM, check=False)
    assert reloaded.returncode != 0
    assert "shim.conf:2:" in host.wait_journal(SHIM, since, "'many'")["MESSAGE"]
    host.wait_for(SHIM, ActiveState="active", SubState="running")
    assert host.main_pid(SHIM) == pid
    assert_served(host, "bad-reload")
    host.configure()
    since = host.cursor()
    host.systemctl("reload", SHIM)
    host.wait_event(since, event="reloaded")


def test_it_waits_with_the_port_open_until_a_bad_file_is_mended(host, pool):
    host.write("/etc/xmpp443/shim.conf", "[web]\nproxy = localhost:8443\n")
    since = host.cursor()
    host.run("systemctl", "restart", SHIM, check=False)
    job = pool.submit(visit, host, 0)
    # More often than systemd's usual limit, after which it would have closed the port.
    until(lambda: restarts(host) >= 6, "some attempts")
    assert "shim.conf:2:" in host.wait_journal(SHIM, since, "localhost")["MESSAGE"]
    assert not job.done()
    host.configure()
    assert b"the web page of" in job.result(90)
