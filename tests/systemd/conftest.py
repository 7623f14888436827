"""Tests under a real systemd, on Debian 12 and on Debian 13.

Run as root: /usr/bin/python3 -m pytest tests/systemd
XMPP443_RELEASES=13 takes one of them only; XMPP443_KEEP=1 keeps what the machines wrote, in /tmp/xmpp443-machine-*.
"""

import concurrent.futures
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from host import SHIM, SOCKET, Host  # noqa: E402

RELEASES = os.environ.get("XMPP443_RELEASES", "12 13").split()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show with a failure what the services have logged last."""
    report = (yield).get_result()
    host = getattr(item, "funcargs", {}).get("booted")
    if report.failed and host:
        for unit in (SHIM, "prosody", "nginx", "init.scope"):
            report.sections.append((f"{host.release}: {unit}", host.log(unit)))


@pytest.fixture(scope="session", params=RELEASES, ids=lambda release: f"debian{release}")
def booted(request):
    """One machine for each release serves all tests."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    with Host(request.param) as made:
        made.configure(log_level="debug")
        made.boot()
        yield made


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(12) as made:
        yield made


@pytest.fixture
def host(booted):
    """The machine with everything up and the usual configuration, whatever the last test did."""
    booted.configure(log_level="debug")
    booted.systemctl("reset-failed")
    booted.systemctl("start", "prosody", "nginx", SOCKET)
    booted.systemctl("restart", SHIM)
    return booted
