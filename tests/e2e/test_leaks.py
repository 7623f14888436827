"""Looks back: what is left in the processes that have served all the tests."""

import pytest
from rig.wait import settled, until
from rig.world import HOSTS, SERVER4

pytestmark = pytest.mark.last


def test_the_shim_has_no_more_sockets_open_than_a_fresh_one(world, shim, new_shim, port):
    fresh = new_shim(port)
    for where in (443, port):  # each has its channels to Prosody now, and its pipes
        for _ in range(20):
            world.login("alice", port=where).logout()
        world.clients.curl(f"https://{HOSTS[0]}:{where}/big.bin", SERVER4, "--output", "/dev/null")
    expected = settled(fresh.sockets, "the fresh shim's sockets")
    until(lambda: shim.sockets() <= expected, f"the shim to have at most {expected} sockets open")
    others = [link for link in shim.process.fds() if not link.startswith(("socket:", "pipe:"))]
    assert len(others) == len([link for link in fresh.process.fds() if not link.startswith(("socket:", "pipe:"))])


def test_prosody_has_no_more_descriptors_open_than_a_fresh_one(world, shim):
    def descriptors():
        world.login("alice").logout()
        return settled(lambda: len(world.prosody.process.fds()), "Prosody's descriptors")

    used = descriptors()
    world.prosody.stop()
    world.prosody.start()
    until(lambda: descriptors() >= used, f"a fresh Prosody to have {used} descriptors open too")
