"""Everything together: one server namespace, one client namespace, a cable between."""

import os
import pathlib
import shutil
import socket
import tempfile

from . import netns
from .clients import Clients
from .nginx import TCP4, Nginx
from .pki import Authority
from .prosody import ROOT, Prosody
from .shim import Shim, config
from .visitors import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6, SERVERS, Visitors

BUILD = os.environ.get("XMPP443_BUILD", "build")
SANDBOX = "off" if "san" in BUILD else "on"  # leak detection makes processes, traces and reads /proc


class World(Visitors):
    """Use with `with`: all that it made is gone afterwards, or kept if XMPP443_KEEP is set."""

    def __init__(self, clients4=CLIENTS4, clients6=CLIENTS6, big_mib=100, prosody=""):
        """prosody: lines for its configuration."""
        self._client_addresses = [f"{a}/24" for a in clients4] + [f"{a}/64" for a in clients6]
        self._big_mib = big_mib
        self._prosody_lines = prosody
        self.folder = None
        self._shims = []
        self._spaces = []
        self.prosody = self.nginx = None

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="xmpp443-"))
        self.folder.chmod(0o755)
        self.binary = shutil.copy(ROOT / BUILD / "xmpp443-shim", self.folder)
        self.server, self.client = netns.NetNs(), netns.NetNs()
        self._spaces = [self.server, self.client]
        netns.join(self.server, self.client, SERVERS, self._client_addresses)
        self.authority = Authority(self.folder / "ca")
        certificates = {host: self.authority.issue(host) for host in HOSTS}
        self.clients = Clients(self.client, self.authority.cert, self.folder / "home",
                               [(address, host) for host in HOSTS for address in (SERVER4, SERVER6)])
        self.prosody = Prosody(self.folder / "prosody", self.server, certificates, extra=self._prosody_lines)
        self.nginx = Nginx(self.folder / "nginx", self.server, certificates, self._big_mib)
        self.prosody.start()
        self.nginx.start()

    def __exit__(self, *exc):
        for shim in self._shims:
            shim.kill()
        for server in (self.prosody, self.nginx):
            if server:
                server.process.kill()
        for space in self._spaces:
            space.close()
        if self.folder and not os.environ.get("XMPP443_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def config(self, port=443, web=None, **options):
        """The usual config on both families, changed by the options of shim.config()."""
        options.setdefault("fdpass", self.prosody.socket)
        shim = {"log-level": "debug", **options.pop("shim", {})}
        shim.setdefault("sandbox", SANDBOX)
        return config([f"0.0.0.0:{port}", f"[::]:{port}"], web or TCP4, shim=shim, **options)

    def shim(self, text, **options):
        """Not started yet."""
        made = Shim(self.folder / f"shim{len(self._shims)}", self.binary, self.server, text, **options)
        self._shims.append(made)
        return made

    def dual_stack_listener(self, port):
        """One for both families, as a socket unit with BindIPv6Only=both makes it."""
        with self.server.inside():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
