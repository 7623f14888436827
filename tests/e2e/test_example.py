"""examples/whoami.lua: a program that is not Prosody takes connections over."""

import concurrent.futures
import shutil
import subprocess

import pytest
from rig import wait
from rig.process import Process, privileges
from rig.prosody import ROOT
from rig.world import CLIENTS4, CLIENTS6, HOSTS


@pytest.fixture
def whoami(world):
    """Not started yet."""
    folder = world.folder / "whoami"
    if not folder.exists():
        folder.mkdir()
        shutil.chown(folder, "nobody", "nogroup")
        shutil.copy(ROOT / "examples" / "whoami.lua", folder)
        shutil.copy(ROOT / "build" / "fdpass.so", folder)
    ca = world.authority.folder
    made = Process("whoami", ["lua5.4", "whoami.lua", str(folder / "sock"), str(ca / f"{HOSTS[0]}.crt"), str(ca / f"{HOSTS[0]}.key")],
                   folder / "output.log", world.server, ["env", "-C", str(folder), "LUA_CPATH=./?.so;;", *privileges("nobody", "nogroup")])
    made.socket = folder / "sock"
    made.socket.unlink(missing_ok=True)  # what a killed one leaves behind is not to be waited for
    yield made
    made.kill()


@pytest.fixture
def its_shim(new_shim, port, whoami):
    return new_shim(port, routes={"whoami": {"alpn": "whoami", "fdpass": whoami.socket}})


def answer(world, **where):
    """What whoami says, and the address it was asked from."""
    with world.tls(HOSTS[0], ["whoami"], **where) as stream:
        assert stream.alpn() == "whoami"
        said = b""
        while data := stream.recv():
            said += data
        address, port = stream.sock.getsockname()[:2]
        return said.decode(), f"You are {address}, port {port}\n"


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
def test_the_example_tells_clients_their_address(world, its_shim, whoami, port, source):
    whoami.start()
    for _ in range(3):
        said, wanted = answer(world, source=source, port=port)
        assert said == wanted
    assert whoami.alive(), whoami.output()


def test_the_example_goes_on_when_the_shim_is_restarted(world, its_shim, whoami, port):
    whoami.start()
    for _ in range(2):
        said, wanted = answer(world, port=port)
        assert said == wanted
        its_shim.stop()
        its_shim.start()


def test_a_connection_waits_for_the_example_to_start(world, its_shim, whoami, port):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        early = pool.submit(answer, world, port=port)
        its_shim.wait_event(event="routed", route="whoami")
        whoami.start()
        said, wanted = early.result(30)
    assert said == wanted


STRANGER = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.settimeout(20)
    s.connect(sys.argv[1])
    print(s.recv(1))
"""


def test_the_example_turns_strangers_away(whoami):
    whoami.start()
    wait.until(whoami.socket.exists, "the example to listen")
    whoami.socket.chmod(0o666)
    stranger = subprocess.run([*privileges("games"), "/usr/bin/python3", "-c", STRANGER, whoami.socket],
                              capture_output=True, text=True, timeout=30)
    assert stranger.stdout == "b''\n", stranger.stderr
    assert whoami.alive(), whoami.output()
