"""Started as root, as without a service manager: the port is bound, and then nothing of root is left."""

import os
import pwd
import subprocess

import pytest
from rig.shim import Shim
from rig.visitors import CLIENTS4, HOSTS
from rig.world import SANDBOX

ROOT_SETTINGS = {"user": "nobody", "group": "prosody"}
PORT = 444  # root's to bind


@pytest.fixture
def root_shim(world, tmp_path):
    """root_shim(text): not started yet."""
    made = []

    def make(text):
        made.append(Shim(world.folder / f"root{len(made)}-{tmp_path.name}", world.binary, world.server, text, user=None))
        return made[-1]

    yield make
    for shim in made:
        shim.kill()


def statuses(pid):
    """[{field: text}] of each thread of the process and of its children."""
    pids = [pid] + [int(child) for task in os.listdir(f"/proc/{pid}/task")
                    for child in open(f"/proc/{pid}/task/{task}/children").read().split()]
    for one in pids:
        for task in os.listdir(f"/proc/{one}/task"):
            with open(f"/proc/{one}/task/{task}/status") as f:
                yield dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@pytest.mark.parametrize("sandbox", sorted({SANDBOX, "off"}))
def test_after_the_start_no_right_of_roots_is_left(world, root_shim, sandbox):
    shim = root_shim(world.config(PORT, shim={**ROOT_SETTINGS, "sandbox": sandbox})).start()
    nobody = pwd.getpwnam("nobody")
    prosody = next(line.split(":")[2] for line in open("/etc/group") if line.startswith("prosody:"))
    seen = list(statuses(shim.process.pid))
    assert len(seen) > 1
    for status in seen:
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"].split() == [prosody]
        assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
    with world.login(port=PORT) as session:
        assert world.prosody.login_of(session.jid)["ip"] == CLIENTS4[0]
    with world.tls(HOSTS[0], port=PORT) as page:
        page.sendall(f"GET /root HTTP/1.1\r\nHost: {HOSTS[0]}\r\nConnection: close\r\n\r\n".encode())
        assert page.recv().startswith(b"HTTP/1.1 200")
    since = shim.mark()
    shim.reload(world.config(PORT, shim={**ROOT_SETTINGS, "sandbox": sandbox, "hello-timeout": "9s"}))
    shim.wait_event(since, event="reloaded")
    shim.stop()


def run(world, *args):
    """As root; it ends by itself."""
    with world.server.inside():
        return subprocess.run([world.binary, *args], check=False, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("user, why", [("no-such-user", "there is no user no-such-user"), ("root", "is root"), ("0", "is root")])
def test_it_does_not_start_without_somebody_to_become(world, port, user, why):
    done = run(world, "--listen", f"127.0.0.1:{port}", "--web", "127.0.0.1:9", "--user", user)
    assert done.returncode == 1
    assert why in done.stderr


def test_a_group_that_is_not_there_is_only_told(world, root_shim):
    shim = root_shim(world.config(PORT, shim={**ROOT_SETTINGS, "group": "no-such-group"})).start()
    assert shim.wait_event(event="group-missing")["group"] == "no-such-group"
    assert all(status["Groups"].split() == [] for status in statuses(shim.process.pid))
    shim.wait_event(event="receiver-away")
    shim.stop()
