"""What is lost when the shim or Prosody dies, is restarted or upgraded, under load.

Run as root: /usr/bin/python3 -m pytest tests/keep
XMPP443_FULL=1 makes it the size of which doc/reliability.md tells; it takes about an hour. -s shows the tables.
"""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from rig.world import World  # noqa: E402


@pytest.fixture(scope="session")
def world():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with World(big_mib=1) as made:
        yield made


@pytest.fixture(autouse=True)
def servers_are_up(world):
    for server in (world.prosody, world.nginx):
        if not server.process.alive():
            server.start()
