"""The shim as it runs without systemd, with its keeper; and what lives through it."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time

from rig.process import Process, privileges
from rig.shim import Shim
from rig.wait import until
from rig.websocket import WebSocket
from rig.world import HOSTS
from rig.xmpp import XmppError

TOP = pathlib.Path(__file__).resolve().parents[2]
FULL = bool(os.environ.get("XMPP443_FULL"))


class KeptShim(Shim):
    """Without NOTIFY_SOCKET, so that it makes a keeper. The process is the keeper, worker() its child."""

    def __init__(self, folder, binary, ns, text):
        super().__init__(folder, binary, ns, text)
        self.binary = pathlib.Path(binary)
        self.process = Process(f"shim in {folder.name}", ["env", "-u", "NOTIFY_SOCKET", str(binary), "-c", str(self.conf)],
                               folder / "shim.log", ns,
                               privileges("nobody", "nogroup", ["prosody"], ["net_bind_service"]))

    def wait_ready(self, times=1):
        self.wait_started(0)

    def start(self):
        self.process.start()
        self.wait_started(0)
        return self

    def wait_started(self, since):
        until(lambda: self.events(since, event="listening"), "the shim to listen", 60)

    def worker(self):
        """The pid of the process that serves."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    def kill_worker(self):
        """kill -9, and wait for the next one."""
        since, when = self.mark(), time.monotonic()
        os.kill(self.worker(), signal.SIGKILL)
        self.wait_started(since)
        return when

    def replace(self):
        """An orderly restart, with whatever the program's file is now."""
        since, when = self.mark(), time.monotonic()
        self.process.signal(signal.SIGUSR2)
        self.wait_started(since)
        return when

    def upgrade(self, binary):
        """The way packages are upgraded: another file in the old one's place."""
        fresh = self.binary.with_suffix(".new")
        shutil.copy(binary, fresh)
        fresh.rename(self.binary)
        return self.replace()


def build_other(folder, *flags):
    """The same program from the same source with other internals: every struct of a connection has another layout."""
    source = folder / "source"
    shutil.copytree(TOP / "shim", source)
    for name, struct in (("relay.h", "relay"), ("relayed.c", "relayed"), ("conn.c", "conn"), ("passed.c", "passed"),
                         ("record.h", "record"), ("env.h", "env_life"), ("pipes.h", "pipe")):
        text = (source / name).read_text()
        begin = f"\nstruct {struct} {{\n"
        assert text.count(begin) == 1, name
        (source / name).write_text(text.replace(begin, begin + "\tlong other_internals[5];\n"))
    binary = folder / "xmpp443-shim"
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", '-DXMPP443_VERSION="other"', *flags, "-o", binary,
                    *sorted(source.glob("*.c")), "-linih", "-lseccomp", "-pthread"], check=True, timeout=300)
    binary.chmod(0o755)
    return binary


class Life(threading.Thread):
    """Something that goes on until stop() and tells in .error if it could not."""

    def __init__(self):
        super().__init__(daemon=True)
        self._stop_it = threading.Event()
        self.count = 0
        self.error = None

    def run(self):
        try:
            while not self._stop_it.is_set():
                self.once()
                self.count += 1
        except (OSError, EOFError, AssertionError, XmppError) as e:
            self.error = f"{type(e).__name__}: {e}"

    def stop(self):
        self._stop_it.set()
        self.join(120)
        if self.is_alive():
            self.error = self.error or "stuck"
        return self


class Chat(Life):
    """A WebSocket through TLS, nginx and python3-websockets: everything that is said comes back."""

    def __init__(self, world, port):
        super().__init__()
        self._socket = WebSocket(world.tls(alpn=["http/1.1"], port=port, timeout=120), HOSTS[0], "/app/chat")
        self.start()

    def once(self):
        message = os.urandom(random.choice((1, 100, 5000, 100_000)))
        self._socket.send(message)
        assert self._socket.receive() == message, "another message came back"
        time.sleep(random.uniform(0, 0.2))


class Talk(Life):
    """Two XMPP sessions, one of which writes to the other. In and of the shim only at the log-in."""

    def __init__(self, world, port):
        super().__init__()
        self._from = world.login("alice", port=port)
        self._to = world.login("bob", port=port)
        self.start()

    def once(self):
        self._from.send(self._to.jid, f"message {self.count}")
        sender, body = self._to.receive()
        assert (sender, body) == (self._from.jid, f"message {self.count}"), f"{body} from {sender}"
        time.sleep(0.05)


def table(title, rows):
    """rows: [[first column, ...], ...]; the first row is the head."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([str(row[0]).ljust(widths[0])] + [str(cell).rjust(width) for cell, width in
                                                         zip(row[1:], widths[1:])]) for row in rows]
    print(f"\n{title}\n\n" + "\n".join("  " + line for line in lines) + "\n", flush=True)
