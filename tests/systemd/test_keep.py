"""What systemd keeps for the shim: connections through kill -9, restarts, upgrades and watchdog kills.

XMPP443_FULL=1 makes it the size of which doc/reliability.md tells.
"""

import os
import pathlib
import shutil
import sys
import time

import pytest
from host import SHIM

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "keep"))

from kept import FULL, build_other, table  # noqa: E402
from storm import HEAD, WEB, Storm, in_turn, mixed  # noqa: E402

PROGRAM = "usr/local/sbin/xmpp443-shim"


class Unit:
    """What can happen to the service. Each gives the time of it, and waits until there is a new process that serves."""

    def __init__(self, host):
        self._host = host

    def _replaced(self, act, *args):
        before, when = self._host.main_pid(SHIM), time.monotonic()
        act(*args)
        self._host.wait_for(SHIM, ActiveState="active", MainPID=lambda pid: pid not in ("0", str(before)))
        return when

    def kill(self):
        return self._replaced(self._host.signal, SHIM, "KILL")

    def restart(self):
        return self._replaced(self._host.systemctl, "restart", SHIM)

    def upgrade(self, binary):
        fresh = self._host.root / (PROGRAM + ".new")
        shutil.copy(binary, fresh)
        os.rename(fresh, self._host.root / PROGRAM)
        return self.restart()

    def hang(self):
        """Until the watchdog has had enough. The time is that from which on it did not store anything any more."""
        since = self._host.cursor()
        when = self._replaced(self._host.signal, SHIM, "STOP")
        self._host.wait_journal(SHIM, since, "Watchdog timeout")
        return when


def set_up(host, mode):
    host.configure()
    text = host.read("/etc/xmpp443/shim.conf").replace("keep-connections = restart", f"keep-connections = {mode}")
    assert f"keep-connections = {mode}" in text
    text = text.replace("[shim]\n", "[shim]\nmax-pending-per-ip = 1000\n", 1)
    text = text.replace("proxy = 127.0.0.1:8443\nproxy-protocol = v2", f"proxy = {WEB[0]}:{WEB[1]}\nproxy-protocol = v1")
    assert f"proxy = {WEB[0]}:{WEB[1]}" in text
    host.write("/etc/xmpp443/shim.conf", text)
    host.drop_in(SHIM, "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=100ms\nStartLimitIntervalSec=0\n"
                       "[Unit]\nStartLimitIntervalSec=0\n")
    host.systemctl("restart", SHIM)


@pytest.fixture
def unit(host, tmp_path):
    first = shutil.copy(host.root / PROGRAM, tmp_path / "first")
    made = Unit(host)
    made.builds = in_turn(build_other(tmp_path), first)
    yield made
    host.drop_in(SHIM, "")
    shutil.copy(first, host.root / (PROGRAM + ".new"))
    os.rename(host.root / (PROGRAM + ".new"), host.root / PROGRAM)


def stored(host):
    """How many descriptors systemd holds for the service."""
    return int(host.show(SHIM, "NFileDescriptorStore")["NFileDescriptorStore"])


def test_with_crash_nothing_old_enough_is_lost_whatever_happens(host, unit):
    set_up(host, "crash")
    storm = Storm(host, 443, chats=0)
    counts = storm.run(mixed(kill=(unit.kill, 100 if FULL else 3), restart=(unit.restart, 50 if FULL else 2),
                             upgrade=(lambda: unit.upgrade(next(unit.builds)), 10 if FULL else 1),
                             watchdog=(unit.hang, 5 if FULL else 1)))
    table(f"Debian {host.release}, keep-connections = crash: kill -9, restarts, upgrades, watchdog",
          [HEAD, storm.row("crash", counts)])
    assert counts["wrong"] == counts["lost"] == 0
    assert [life.error for life in storm.lives] == [None] * len(storm.lives)
    assert counts["right"] > 20
    # Nothing is left behind in the store.
    for _ in range(100):
        if stored(host) == 0:
            break
        time.sleep(0.1)
    assert stored(host) == 0


def test_with_restart_nothing_at_all_is_lost_in_an_orderly_end(host, unit):
    set_up(host, "restart")
    storm = Storm(host, 443, chats=0)
    counts = storm.run(mixed(restart=(unit.restart, 50 if FULL else 2),
                             upgrade=(lambda: unit.upgrade(next(unit.builds)), 10 if FULL else 1)))
    table(f"Debian {host.release}, keep-connections = restart: restarts, upgrades", [HEAD, storm.row("restart", counts)])
    assert counts["wrong"] == counts["lost"] == counts["young"] == 0
    assert [life.error for life in storm.lives] == [None] * len(storm.lives)
    assert stored(host) == 0


def test_after_a_stop_nothing_is_kept(host, unit):
    """Who stops the service wants its connections to end."""
    set_up(host, "crash")
    with host.connect(port=443) as client:
        client.sendall(b"not TLS")
        time.sleep(1)
        host.systemctl("stop", SHIM)
        client.settimeout(20)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    host.systemctl("start", SHIM)
