"""The daemon denies itself what it does not need. All other tests run with it, too: it is the default."""

import ctypes
import errno
import os
import pathlib
import re
import signal
import subprocess

import pytest
from rig.wait import until
from rig.world import BUILD

RIG = pathlib.Path(__file__).parent / "rig"
EPERM = str(errno.EPERM)

pytestmark = pytest.mark.skipif("san" in BUILD, reason="the sanitizers need more than the daemon does")


def preload(folder, source):
    """A prefix that loads C code into the daemon."""
    folder.mkdir()
    folder.chmod(0o755)
    library = folder / "preload.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-xc", "-o", library, "-"], check=True,
                   input=source, text=True)
    return ["env", f"LD_PRELOAD={library}"]


@pytest.fixture(scope="module")
def forbidden(world):
    return preload(world.folder / "forbidden", (RIG / "forbidden.c").read_text())


def threads(shim):
    return sorted(int(tid) for tid in os.listdir(f"/proc/{shim.process.pid}/task"))


def status(pid, tid, key):
    text = pathlib.Path(f"/proc/{pid}/task/{tid}/status").read_text()
    return re.search(rf"^{key}:\s*(\S+)", text, re.M)[1]


def attempts(shim):
    """What each thread was told, as [{attempt: errno}]."""
    def lines():
        return re.findall(r"^tried (.*)$", shim.process.output(), re.M)

    libc = ctypes.CDLL(None, use_errno=True)
    tids = threads(shim)
    for number, tid in enumerate(tids, 1):
        assert libc.tgkill(shim.process.pid, tid, signal.SIGUSR2) == 0
        until(lambda: len(lines()) >= number, "a thread's attempts")  # noqa: B023
    return [dict(pair.split("=") for pair in line.split()) for line in lines()]


def test_no_thread_can_do_what_is_forbidden(world, new_shim, port, forbidden):
    shim = new_shim(port, shim={"workers": "2"}, process={"wrap": forbidden})
    tried = attempts(shim)
    assert len(tried) == 3
    for one in tried:
        assert set(one.values()) == {EPERM}, one
    # Nothing of it has harmed anybody.
    world.login(port=port).logout()
    world.tls(port=port).close()


def test_workers_of_a_reload_are_confined_too(world, new_shim, port, forbidden):
    shim = new_shim(port, shim={"workers": "1"}, process={"wrap": forbidden})
    before = threads(shim)
    shim.reload(world.config(port, shim={"workers": "3", "hello-timeout": "7s"}))
    shim.wait_event(event="reloaded")
    assert len(threads(shim)) == len(before) + 2
    for one in attempts(shim):
        assert set(one.values()) == {EPERM}, one
    for tid in threads(shim):
        assert status(shim.process.pid, tid, "Seccomp") == "2"
        assert status(shim.process.pid, tid, "NoNewPrivs") == "1"


def test_without_it_the_attempts_succeed(new_shim, port, forbidden):
    """Else the test above would prove nothing. The last attempt replaces the daemon by true(1)."""
    shim = new_shim(port, shim={"sandbox": "off"}, process={"wrap": forbidden})
    assert status(shim.process.pid, shim.process.pid, "Seccomp") == "0"
    assert not shim.events(event="sandbox")
    libc = ctypes.CDLL(None)
    assert libc.tgkill(shim.process.pid, shim.process.pid, signal.SIGUSR2) == 0
    assert shim.process.child.wait(20) == 0
    shim.process.child = None


def test_it_does_not_run_unconfined_where_it_cannot_confine_itself(world, new_shim, port):
    no_seccomp = preload(world.folder / "no-seccomp", "int seccomp_load(void *c) { (void)c; return -22; }")
    shim = world.shim(world.config(port), wrap=no_seccomp)
    shim.process.start()
    assert shim.process.child.wait(20) == 2
    assert shim.events(event="sandbox-failed", error="Invalid argument; sandbox = off does without")


def test_in_the_trying_mode_everything_works_and_the_log_says_so(world, new_shim, port):
    shim = new_shim(port, shim={"sandbox": "log"})
    assert shim.events(event="sandbox", mode="log", landlock="0")
    world.login(port=port).logout()


def test_a_change_of_the_sandbox_is_said_to_need_a_restart(world, new_shim, port):
    shim = new_shim(port)
    assert shim.events(event="sandbox", mode="on")
    shim.reload(world.config(port, shim={"sandbox": "off"}))
    shim.wait_event(event="reload-partial", error="a change of sandbox needs a restart")
    shim.wait_event(event="reloaded")
    assert status(shim.process.pid, shim.process.pid, "Seccomp") == "2"


def test_a_file_that_has_gone_is_reported_and_the_old_settings_stay(world, new_shim, port):
    shim = new_shim(port)
    text = shim.conf.read_text()
    shim.conf.unlink()
    mark = shim.mark()
    shim.process.signal(signal.SIGHUP)
    found = shim.wait_event(since=mark, event="reload-failed")
    assert "No such file" in found["error"] and "the old settings stay" in found["error"]
    world.login(port=port).logout()
    mark = shim.mark()
    shim.reload(text)
    shim.wait_event(since=mark, event="reloaded")


def reader_of(shim):
    children = pathlib.Path(f"/proc/{shim.process.pid}/task/{shim.process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def test_the_reader_holds_nothing_and_ends_with_the_daemon(new_shim, port):
    shim = new_shim(port)
    pid = reader_of(shim)
    assert pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "xmpp443-reader"
    until(lambda: os.listdir(f"/proc/{pid}/fd") == ["0"], "the reader to have closed what it was born with")
    assert status(pid, pid, "Seccomp") == "2"
    os.kill(shim.process.pid, signal.SIGKILL)
    shim.process.child.wait(20)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the reader's end")
    shim.process.child = None


def test_a_reader_that_was_killed_fails_the_reload_and_nothing_else(world, new_shim, port):
    shim = new_shim(port)
    os.kill(reader_of(shim), signal.SIGKILL)
    mark = shim.mark()
    shim.process.signal(signal.SIGHUP)
    assert "the old settings stay" in shim.wait_event(since=mark, event="reload-failed")["error"]
    world.login(port=port).logout()
