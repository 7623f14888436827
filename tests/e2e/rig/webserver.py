"""What the private web servers have in common: addresses, a page for every path, an access log."""

import re
import shutil
import socket

from . import wait
from .process import Process, privileges

USER = ("nobody", "nogroup")


class WebServer:
    """One process, as nobody, that shows PAGE for any path and takes PROXY headers only.

    A subclass names its addresses `tcp4` and `tcp6`, says with `unix` whether it can
    listen on a Unix socket, and gives argv() and configure().
    """

    name = "?"
    unix = None
    PAGE = "the page of another server\n"

    def __init__(self, folder, ns, certificate):
        """certificate: the paths of the certificate and of its key."""
        self.folder = folder
        self.ns = ns
        self.access = folder / "access.log"
        for made in (folder, folder / "www"):
            made.mkdir()
        (folder / "www" / "page.txt").write_text(self.PAGE)
        if self.unix:
            self.unix = f"unix:{folder}/web.sock"
        self.config = folder / "server.conf"
        self.config.write_text(self.configure(*certificate))
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, *USER)
        folder.chmod(0o755)
        self.process = Process(self.name, self.argv(), folder / "output.log", ns, privileges(*USER))

    def argv(self):
        raise NotImplementedError

    def configure(self, cert, key):
        raise NotImplementedError

    def address(self, kind):
        """kind: tcp4, tcp6 or unix."""
        return getattr(self, kind)

    def start(self):
        self.process.start()
        host, port = self.tcp4.split(":")

        def ready():
            assert self.process.alive(), f"{self.name} ended:\n{self.process.output()}"
            with self.ns.inside(), socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        wait.until(ready, f"{self.name} to listen")
        return self

    def stop(self):
        return self.process.stop()

    def request_for(self, uri):
        """{addr, port, proto, uri}: the first log entry of this path."""
        def find():
            text = self.access.read_text(errors="replace") if self.access.exists() else ""
            seen = (dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines())
            return next((one for one in seen if one.get("uri") == uri), None)

        return wait.until(find, f"{self.name} to log {uri}")

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.process.kill()
