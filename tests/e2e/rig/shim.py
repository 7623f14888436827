"""The daemon under test, run as its unit would run it: unprivileged, with READY=1."""

import os
import re
import signal
import socket

from . import wait
from .process import Process, privileges

LINE = re.compile(r"^(?:<\d>)?(event=.*)$")
PAIR = re.compile(r'([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)')


def config(listen, web, fdpass=None, shim=None, routes=None, web_options=None):
    """The text of a config file. routes: {name: {key: value}}, tried before the usual ones."""
    sections = [("shim", [("listen", one) for one in listen] + list((shim or {}).items()))]
    sections += [(f"route {name}", list(keys.items())) for name, keys in (routes or {}).items()]
    if fdpass:
        for alpn in ("xmpp-client", "xmpp-server"):
            sections.append((f"route {alpn}", [("alpn", alpn), ("fdpass", fdpass)]))
    sections.append(("web", [("proxy", web)] + list((web_options or {}).items())))
    return "\n".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys)
                     for name, keys in sections)


class Shim:
    def __init__(self, folder, binary, ns, text, nofile=None, wrap=(), passed=None, user="nobody"):
        """wrap: a command that ends by executing its arguments, put before everything else.
        passed: a listening socket for it to use, as the service manager would hand it over.
        user: None to start it as root."""
        folder.mkdir()
        self.conf = folder / "shim.conf"
        self.conf.write_text(text)
        self._notify_path = folder / "notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self._notify_path))
        self._notify_path.chmod(0o666)
        self._notify.settimeout(0)
        self._notified = []
        self._passed = passed
        if passed:
            wrap = [*wrap, "bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{passed.fileno()}', "bash"]
        prefix = list(wrap) + (privileges(user, "nogroup", ["prosody"], ["net_bind_service"]) if user else privileges(None))
        self.process = Process(f"shim in {folder.name}", [str(binary), "-c", str(self.conf)],
                               folder / "shim.log", ns, prefix,
                               {"NOTIFY_SOCKET": str(self._notify_path)}, nofile, passed)

    def start(self):
        self._notified = []
        self.process.start()
        self.wait_ready()
        return self

    def notified(self):
        """Every state assignment sent to the service manager since the start."""
        while True:
            try:
                self._notified += self._notify.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._notified

    def wait_ready(self, times=1):
        def ready():
            assert self.process.alive(), f"the shim ended:\n{self.process.output()}"
            return self.notified().count("READY=1") >= times

        wait.until(ready, "READY=1 from the shim")

    def reload(self, text):
        """Put text into the config file and send SIGHUP."""
        self.conf.write_text(text)
        self.process.signal(signal.SIGHUP)

    def stop(self):
        """End it and insist on a clean end: status 0, nothing from a sanitizer."""
        if self.process.child is None or self.process.child.returncode is not None:
            return
        status = self.process.stop()
        output = self.process.output()
        assert status == 0, f"status {status}:\n{output[-4000:]}"
        assert "Sanitizer" not in output and "runtime error" not in output, output[-8000:]

    def kill(self):
        self.process.kill()

    def sockets(self):
        return self.process.sockets()

    def mark(self):
        """A place in the log, for the since of events()."""
        return os.path.getsize(self.process.log)

    def events(self, since=0, **wanted):
        """The log lines that have these values; event=..., reason=..., peer=..."""
        with open(self.process.log, "rb") as f:
            f.seek(since)
            lines = f.read().decode(errors="replace").splitlines()
        found = []
        for line in lines:
            if match := LINE.match(line):
                pairs = {key: value.strip('"') for key, value in PAIR.findall(match[1])}
                if all(pairs.get(key.rstrip("_").replace("_", "-")) == value
                       for key, value in wanted.items()):
                    found.append(pairs)
        return found

    def wait_event(self, since=0, seconds=20, **wanted):
        try:
            return wait.until(lambda: self.events(since, **wanted), f"{wanted} in the shim's log",
                              seconds)[0]
        except wait.Timeout as e:
            raise wait.Timeout(f"{e}; its end:\n{self.process.output()[-3000:]}") from None
