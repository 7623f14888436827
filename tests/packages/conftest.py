"""The Debian packages, built on Debian 12 and 13 each and taken through their whole life on a machine of that release.

Run as root, on Debian 12: /usr/bin/python3 -m pytest tests/packages
XMPP443_RELEASES=13 takes one of the releases only.
"""

import os
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "systemd"))

from host import Host  # noqa: E402

RELEASES = os.environ.get("XMPP443_RELEASES", "12 13").split()
FIRST, SECOND = "0.0.1", "0.0.2"
# In the root of Debian 13; on this machine they are there.
PACKAGES = ("build-essential debhelper lintian dpkg-dev fakeroot systemd systemd-dev gcc make pkg-config libc6-dev libinih-dev "
            "libseccomp-dev liblua5.4-dev libunbound-dev libssl-dev libexpat1-dev libjansson-dev libidn2-dev").split()
# What each release makes of the sources: the packages, and lintian's word on them. The archive goes to standard output.
BUILD = """
set -eu
make deb DEB_VERSION={version} </dev/null >&2
cd build/deb
{lint}
tar -c -- *.deb *.changes *.txt
"""
LINT = "lintian --allow-root --fail-on error *.changes >lintian.txt 2>&1 || echo failed >>lintian.txt"


def build(release, version, folder, lint):
    script = BUILD.format(version=version, lint=lint)
    copy = 'mkdir "$1/src" && tar -c --exclude=./build --exclude=./.git . | tar -x -C "$1/src" && cd "$1/src"\n' + script
    if release == "12":
        command = ["bash", "-c", copy, "bash", str(folder)]
    else:
        command = [str(TOP / "tests/debian-root"), release, *PACKAGES, "--", "bash", "-c", f"cd /src\n{copy}", "bash", "/work"]
    made = subprocess.run(command, cwd=TOP, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=900)
    assert made.returncode == 0, made.stderr[-8000:].decode(errors="replace")
    subprocess.run(["tar", "-x", "-C", folder], input=made.stdout, check=True, timeout=60)


@pytest.fixture(scope="session", params=RELEASES, ids=lambda release: f"debian{release}")
def packages(request, tmp_path_factory):
    """(release, {version: folder with what was built})"""
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    folders = {version: tmp_path_factory.mktemp(f"debian{request.param}-{version}") for version in (FIRST, SECOND)}
    for version, folder in folders.items():
        build(request.param, version, folder, LINT if version == FIRST else "touch no-lintian.txt")
    return request.param, folders


@pytest.fixture(scope="session")
def booted(packages):
    """A machine with Prosody and nginx, and nothing of ours."""
    with Host(packages[0], installed=False) as made:
        made.boot()
        yield made


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    host = getattr(item, "funcargs", {}).get("booted")
    if report.failed and host:
        for unit in ("xmpp443-shim", "prosody"):
            report.sections.append((f"{host.release}: {unit}", host.log(unit)))
