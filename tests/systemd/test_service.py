"""The two units on a running machine: what they own, who they are, and that everybody gets through."""

import ctypes
import re
import socket

from host import SHIM, SOCKET
from machine import TOP
from rig.visitors import CLIENTS4, CLIENTS6, HOSTS
from rig.wait import until

UNIT = "/usr/local/lib/systemd/system/xmpp443-shim.service"
PRIVATE_NETWORK = "/usr/local/share/doc/xmpp443-shim/examples/private-network.conf"


def assert_served(host, name):
    """XMPP and the web, over IPv4 and IPv6; name is for paths that no other test asks for."""
    for source in (CLIENTS4[1], CLIENTS6[1]):
        with host.login("alice", HOSTS[1], source=source) as session:
            assert host.login_of(session.jid)["ip"] == source
        uri = f"/{name}-{source}"
        assert host.get(uri, HOSTS[1], source=source) == f"the web page of {HOSTS[1]}\n".encode()
        assert host.request_for(uri)["addr"] == source


def test_clients_get_through_with_their_own_addresses(host):
    for n, source in enumerate(CLIENTS4 + CLIENTS6):
        name = HOSTS[n % 2]
        with host.login("alice", name, source=source) as session:
            assert host.login_of(session.jid)["ip"] == source
        assert host.get(f"/from-{n}", name, source=source) == f"the web page of {name}\n".encode()
        assert host.request_for(f"/from-{n}")["addr"] == source


def test_the_first_connection_starts_the_service(host):
    host.systemctl("stop", SHIM)
    assert host.show(SHIM, "ActiveState")["ActiveState"] == "inactive"
    listeners = host.run("ss", "-Hltn", "sport = :443").stdout
    assert "0.0.0.0:443" in listeners and "[::]:443" in listeners
    assert host.get("/first") == f"the web page of {HOSTS[0]}\n".encode()
    host.wait_for(SHIM, ActiveState="active")


def test_it_is_never_root_and_has_no_capability(host):
    since = host.cursor()
    host.systemctl("restart", SHIM)
    uid = host.run("id", "-u", "xmpp443").stdout.strip()
    groups = {host.run("getent", "group", name).stdout.split(":")[2] for name in ("xmpp443", "prosody")}
    pids = host.run("cat", f"/sys/fs/cgroup/system.slice/{SHIM}.service/cgroup.procs").stdout.split()
    assert str(host.main_pid(SHIM)) in pids
    for pid in pids:
        status = host.status(pid)
        assert status["Uid"].split() == [uid] * 4
        assert set(status["Groups"].split()) == groups
        assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    seen = {entry["_UID"] for entry in host.journal(SHIM, since) if entry.get("_COMM") == SHIM}
    assert seen == {uid}, "it logged something as another user"


def test_systemds_filter_leaves_the_shims_own_sandbox_what_it_needs(host):
    landlock_abi = ctypes.CDLL(None).syscall(444, None, 0, 1)  # landlock_create_ruleset(2)
    since = host.cursor()
    host.systemctl("restart", SHIM)
    event = host.wait_event(since, event="sandbox")
    assert event["mode"] == "on"
    assert (event["landlock"] == "0") == (landlock_abi <= 0)


def test_systemd_finds_nothing_wrong_with_the_units(host):
    out = host.run("systemd-analyze", "verify", "--man=no", UNIT, UNIT.replace(".service", ".socket"))
    assert SHIM not in out.stdout + out.stderr


def exposure(host, *fragments):
    """What `systemd-analyze security` says about the unit with these drop-ins."""
    folder = "/tmp/exposure"
    host.run("rm", "-rf", folder)
    host.run("mkdir", "-p", f"{folder}/{SHIM}.service.d")
    host.run("cp", UNIT, UNIT.replace(".service", ".socket"), folder)
    for fragment in fragments:
        host.run("cp", fragment, f"{folder}/{SHIM}.service.d/")
    out = host.run("systemd-analyze", "security", "--offline=true", "--no-pager", f"{folder}/{SHIM}.service").stdout
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", out)[1])


def test_the_service_exposes_little(host):
    assert exposure(host) <= 1.0


def test_with_unix_sockets_only_it_runs_without_a_network(host):
    """The shipped drop-in, as its own comment says to use it."""
    assert exposure(host, PRIVATE_NETWORK) <= 0.3
    folder = f"/etc/systemd/system/{SHIM}.service.d"
    host.run("mkdir", "-p", folder)
    host.run("cp", PRIVATE_NETWORK, folder)
    try:
        host.configure(web="unix:/run/nginx-443.sock", log_level="debug")
        host.systemctl("daemon-reload")
        host.systemctl("restart", SHIM)
        pid = host.main_pid(SHIM)
        inside = host.run("nsenter", "--target", pid, "--net", "ip", "-brief", "address").stdout
        assert inside.split()[0] == "lo" and len(inside.splitlines()) == 1
        assert_served(host, "private")
    finally:
        host.run("rm", "-rf", folder)
        host.systemctl("daemon-reload")


def end_of(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_connects_to_no_other_machine_unless_told(host):
    remote = CLIENTS4[0]
    host.configure(web=f"{remote}:10443", connect_timeout="500ms", log_level="debug")
    host.systemctl("restart", SHIM)
    with host.client.inside():
        server = socket.create_server((remote, 10443))
    with server:
        server.settimeout(20)
        since = host.cursor()
        with host.connect() as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert end_of(client)
        assert host.wait_event(since, event="closed")["reason"].startswith("backend-")

        host.drop_in(SHIM, f"[Service]\nIPAddressAllow={remote}\n")
        try:
            host.systemctl("restart", SHIM)
            with host.connect() as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                backend, _ = server.accept()
                with backend:
                    backend.settimeout(20)
                    assert backend.recv(4) == b"\r\n\r\n"  # a PROXY header of version 2
        finally:
            host.drop_in(SHIM, "")


def test_the_journal_has_the_documented_fields(host):
    since = host.cursor()
    host.systemctl("restart", SHIM)
    assert_served(host, "journal")
    host.systemctl("stop", "prosody")
    host.wait_event(since, event="receiver-away")
    host.systemctl("start", "prosody")
    host.systemctl("restart", SHIM)
    handed = host.wait_event(since, event="handed-off")
    assert re.fullmatch(r"\d+", handed["waited-ms"]) and handed["route"] == "xmpp-client"

    def lines():
        return [entry for entry in host.journal(SHIM, since) if entry.get("_COMM") == SHIM]

    priorities = {event["event"]: entry["PRIORITY"] for event, entry in zip(host.events(since), lines())}
    assert priorities["handed-off"] == "6" and priorities["receiver-away"] == "4"
    assert {entry["SYSLOG_IDENTIFIER"] for entry in lines()} == {SHIM}
    assert all(entry["MESSAGE"].startswith("event=") for entry in lines())
    manual = (TOP / "doc/man/xmpp443-shim.8").read_text()
    for event in priorities:
        assert re.search(rf"^\.(It|Op)?.*\b{event}\b", manual, re.M), f"{event} is not in the manual"


def test_after_a_reboot_everybody_gets_through_again(host):
    host.reboot()
    states = {unit: host.show(unit, "ActiveState")["ActiveState"] for unit in (SHIM, SOCKET, "prosody", "nginx")}
    assert set(states.values()) == {"active"}, states
    assert_served(host, "reboot")


def test_either_may_be_up_first(host):
    """Real boots, with the order forced."""
    for first, second in ((SHIM, "prosody"), ("prosody", SHIM)):
        order = f"/etc/systemd/system/{second}.service.d/order.conf"
        host.write(order, f"[Unit]\nAfter={first}.service\n")
        try:
            host.reboot()
            started = [host.show(unit, "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"]
                       for unit in (first, second)]
            assert int(started[0]) <= int(started[1])
            assert_served(host, f"{first}-first")
        finally:
            (host.root / order.lstrip("/")).unlink()


def test_clients_wait_for_a_prosody_that_is_restarted(host, pool):
    since = host.cursor()
    host.systemctl("stop", "prosody")
    jobs = [pool.submit(host.login, "alice", HOSTS[n % 2], source=source)
            for n, source in enumerate(CLIENTS4 + CLIENTS6)]
    until(lambda: len(host.events(since, event="routed", route="xmpp-client")) == len(jobs), "all clients to wait")
    host.systemctl("start", "prosody")
    for job in jobs:
        with job.result(60) as session:
            assert host.login_of(session.jid)["ip"] == session.stream.sock.getsockname()[0]
