"""One world per run. The shim on port 443 serves most tests; some start their own.

Run as root: /usr/bin/python3 -m pytest tests/e2e
XMPP443_BUILD=build/san takes the shim from there; XMPP443_KEEP=1 keeps the servers' files.
"""

import itertools
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from rig.world import World  # noqa: E402


def pytest_collection_modifyitems(items):
    """Tests marked `last` look back at what the others have left behind."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_configure(config):
    config.addinivalue_line("markers", "last: runs after all others")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show with a failure what the servers have logged last."""
    report = (yield).get_result()
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and world:
        for log in sorted(world.folder.glob("*/*.log")):
            report.sections.append((log.relative_to(world.folder).as_posix(), tail(log)))


def tail(path, lines=15):
    """The last lines that say more than "debug"."""
    text = path.read_text(errors="replace").splitlines()
    return "\n".join([line for line in text if "\tdebug\t" not in line][-lines:])


@pytest.fixture(scope="session")
def world():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def shim(world):
    """The usual one, on port 443, in front of nginx over TCP with PROXY v2."""
    made = world.shim(world.config()).start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def servers_are_up(world):
    """A test that failed with a server down must not take the others with it."""
    for server in (world.prosody, world.nginx):
        if not server.process.alive():
            server.start()


@pytest.fixture
def new_shim(world):
    """new_shim(port, ...): another shim with a config of its own, on a port of its own."""
    made = []

    def make(port, text=None, process=None, **options):
        one = world.shim(text or world.config(port, **options), **(process or {}))
        made.append(one)
        return one.start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def port(_ports=itertools.count(10443)):
    """A port nobody else in the server's namespace listens on."""
    return next(_ports)


@pytest.fixture
def name(_numbers=itertools.count(1)):
    """A name that no other test uses, for resources, files and requests."""
    return f"n{next(_numbers)}"
