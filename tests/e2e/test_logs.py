"""What the log tells of connections, how much of it, and what others can make of it."""

import re
import subprocess

import pytest
from rig.prosody import ROOT
from rig.tls import client_hello, context
from rig.wait import until
from rig.world import CLIENTS4, CLIENTS6, HOSTS

FAIL2BAN = ROOT / "doc/monitoring/fail2ban"
PEER = r"peer=(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):\d+"
CONNECTION_LINES = re.compile(
    rf"<[67]>event=(?:handed-off {PEER} route=[\w./-]+ waited-ms=\d+"
    rf"|routed {PEER} verdict=(?:ok|not-tls|malformed|too-long) route=[\w./-]+ bytes=\d+"
    rf'|closed reason=[a-z-]+ {PEER} route=[\w./-]+(?: error="[^"]*")?)')


def everything(world, shim, port):
    """A connection of each kind: handed over, relayed, a failure."""
    since = shim.mark()
    world.login(port=port).logout()
    with world.tls(port=port, alpn=["http/1.1"]) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
        while stream.recv():
            pass
    world.connect(CLIENTS6[0], port).close()
    shim.wait_event(since=since, event="closed", reason="client-gone")
    return since


@pytest.mark.parametrize("log, events", [
    ("failures", {"closed"}),
    ("handoffs", {"closed", "handed-off"}),
    ("decisions", {"closed", "handed-off", "routed"}),
])
def test_the_connections_that_are_logged_can_be_chosen(world, new_shim, port, log, events):
    shim = new_shim(port, shim={"log": log, "log-level": "info"})
    since = everything(world, shim, port)
    world.connect(CLIENTS4[1], port).close()  # the last one: what was to be logged before it, is
    until(lambda: len(shim.events(since, event="closed", reason="client-gone")) == 2, "the last failure")
    if log == "decisions":  # another worker may be later; how a relay ends is up to who closes first
        shim.wait_event(since=since, event="closed", route="web")
    found = shim.events(since)
    assert {one["event"] for one in found} == events
    ended = {one["route"] for one in found if one["event"] == "closed"}
    assert ("web" in ended) == (log == "decisions")


def test_a_reload_changes_what_is_logged(world, new_shim, port):
    shim = new_shim(port, shim={"log": "failures", "log-level": "info"})
    everything(world, shim, port)
    assert not shim.events(event="handed-off")
    shim.reload(world.config(port, shim={"log": "handoffs", "log-level": "info"}))
    shim.wait_event(event="reloaded")
    everything(world, shim, port)
    shim.wait_event(event="handed-off")


def test_each_line_about_a_connection_has_its_documented_fields(world, new_shim, port):
    shim = new_shim(port, shim={"log-level": "debug"})
    everything(world, shim, port)
    lines = [line for line in shim.process.output().splitlines()
             if re.match(r"<\d>event=(handed-off|routed|closed) ", line)]
    assert len(lines) >= 5
    for line in lines:
        assert CONNECTION_LINES.fullmatch(line), line


def test_bytes_of_strangers_never_reach_the_log(world, new_shim, port):
    """Whatever a client puts where: a name, a protocol, or instead of a hello."""
    shim = new_shim(port, shim={"log-level": "debug"})
    since = shim.mark()
    marks = ["zz9plural", "\x1b[31mred", "a\nevent=forged peer=192.0.2.66:1"]
    sent = 0
    for mark in marks:
        for hello in (client_hello(context(world.authority.cert, ["placeholder"]), HOSTS[0])
                      .replace(b"placeholder", mark.encode()[:11].ljust(11, b"x")),
                      client_hello(context(world.authority.cert, ["h2"]), "placeholder.one.example")
                      .replace(b"placeholder", mark.encode()[:11].ljust(11, b"x")),
                      mark.encode(), b"PROXY TCP4 " + mark.encode() + b"\r\n"):
            with world.connect(port=port) as sock:
                sock.sendall(hello)
                sent += 1
    until(lambda: len(shim.events(since, event="routed")) == sent, "all of them to be routed")
    text = shim.process.output()
    for forbidden in ("zz9plu", "\x1b", "[31m", "forged", "192.0.2.66", "PROXY TCP4"):
        assert forbidden not in text


def test_a_flood_is_cut_and_counted_and_hides_no_handoff(world, new_shim, port):
    shim = new_shim(port, shim={"log-rate": "2", "log-level": "info"})
    for _ in range(100):
        world.connect(CLIENTS4[0], port).close()
    world.login(port=port).logout()
    shim.wait_event(event="handed-off")
    logged = len(shim.events(event="closed"))
    assert 20 <= logged < 100
    # Said within a quarter of a minute, or at the end.
    found = shim.wait_event(event="log-lines-left-out", seconds=60)
    until(lambda: sum(int(one["lines"]) for one in shim.events(event="log-lines-left-out"))
          + len(shim.events(event="closed")) == 100, "every failure to be logged or counted", 60)
    assert int(found["lines"]) > 0


@pytest.fixture(scope="module")
def fail2ban(world):
    """Its directory, with our filter and jail put in as doc/operating.md says."""
    folder = world.folder / "fail2ban"
    subprocess.run(["cp", "-r", "/etc/fail2ban", folder], check=True)
    subprocess.run(["cp", "-r", f"{FAIL2BAN}/.", folder], check=True)
    return folder


def as_syslog(lines):
    """As journald and syslog write them: a prefix instead of the priority."""
    return "".join("Nov 25 18:27:%02d server xmpp443-shim[4711]: %s\n" % (n % 60, re.sub(r"^<\d>", "", line))
                   for n, line in enumerate(lines))


def test_fail2ban_finds_those_who_say_nothing_and_nobody_else(world, new_shim, port, fail2ban):
    shim = new_shim(port, shim={"hello-timeout": "1s", "max-pending-per-ip": "2", "log-level": "debug"})
    everything(world, shim, port)
    silent = [world.connect(source, port) for source in (CLIENTS4[0], CLIENTS6[0]) for _ in range(3)]
    until(lambda: len(shim.events(event="closed", reason="too-many-pending")) == 2
          and len(shim.events(event="closed", reason="hello-timeout")) == 4, "six failures")
    for sock in silent:
        sock.close()
    log = world.folder / "for-fail2ban.log"
    log.write_text(as_syslog(shim.process.output().splitlines()))
    result = subprocess.run(["fail2ban-regex", "--print-all-matched", "--verbose", log, fail2ban / "filter.d/xmpp443.conf"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    summary = re.search(r"Lines: (\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed", result.stdout)
    assert summary, result.stdout
    assert int(summary[3]) == 6, result.stdout
    matched = result.stdout.split("Matched line(s)")[1]
    assert len(re.findall(r"reason=(?:hello-timeout|too-many-pending)", matched)) == 6
    for source in (CLIENTS4[0], CLIENTS6[0]):
        assert len(re.findall(rf"^\|\s+{re.escape(source)}\s", result.stdout, re.M)) == 3, result.stdout


def test_the_jail_is_one_that_fail2ban_takes(fail2ban):
    result = subprocess.run(["fail2ban-client", "-c", fail2ban, "--dp"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "['add', 'xmpp443', 'systemd']" in result.stdout
    assert re.search(r"'xmpp443', 'maxretry', 60\b", result.stdout), result.stdout
