"""xmpp443-check against real servers, good and bad ones.

Run as root: /usr/bin/python3 -m pytest tests/check
XMPP443_BUILD=build/san takes the programs from there; XMPP443_KEEP=1 keeps the servers' files.
"""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from domain_world import DomainWorld  # noqa: E402


@pytest.fixture(scope="session")
def world():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with DomainWorld() as made:
        yield made
