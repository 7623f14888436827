"""A client's own machine: one address, a resolver that is the test's, and nothing else to talk to."""

import contextlib
import os
import shutil
import subprocess

from . import netns
from .netns import NetNs
from .process import privileges

CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = {
    "HOME": "/home", "XDG_CONFIG_HOME": "/home/config", "XDG_DATA_HOME": "/home/data", "XDG_CACHE_HOME": "/home/cache",
    "XDG_RUNTIME_DIR": "/home/run", "SSL_CERT_FILE": CA_FILE, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color",
    "PATH": "/usr/bin:/bin"}
SYSTEM_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", CA_FILE)


class Machine:
    """One network namespace on a cable of its own to the server's; programs run in it as nobody, at home in /home.

    Whatever a program starts is in its process namespace and ends with it.
    """

    def __init__(self, folder, server, number, six, resolver, ca):
        folder.mkdir()
        self.folder = folder
        self.ns = NetNs()
        prefix = f"2001:db8:443:{number:x}::" if six else f"203.0.113.{4 * number}"
        router, self.address = (prefix + "1", prefix + "2") if six else \
            (f"203.0.113.{4 * number + 1}", f"203.0.113.{4 * number + 2}")
        length = 64 if six else 30
        netns.join(server, self.ns, [f"{router}/{length}"], [f"{self.address}/{length}"], f"machine{number}")
        self.ns.ip("-6" if six else "-4", "route", "add", "default", "via", router)
        self._files = {}
        for path, text in zip(SYSTEM_FILES, (f"nameserver {resolver}\n", "127.0.0.1 localhost\n",
                                             "passwd: files\ngroup: files\nhosts: files dns\n", ca.read_text())):
            self._files[path] = folder / os.path.basename(path)
            self._files[path].write_text(text)
        self.home = folder / "home"
        self.home.mkdir()

    def file(self, path, text):
        """A file in the home directory."""
        made = self.home / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        return made

    def holds(self, folder, text):
        """Whether a file somewhere in this folder of the home directory has the text in it."""
        for file in (self.home / folder).rglob("*"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # it may be gone by now
                if text.encode() in file.read_bytes():
                    return True
        return False

    def _command(self, argv):
        """The mounts end with the process; what is in /tmp is then gone too."""
        mounts = "".join(f"mount --bind {ours} {path} && " for path, ours in self._files.items())
        mounts += f"mount --bind {self.home} /home && mount -t tmpfs -o mode=1777 tmpfs /tmp && cd /home"
        return [*privileges(None), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                "sh", "-c", f'{mounts} && exec "$@"', "sh", *privileges("nobody", "nogroup"), *map(str, argv)]

    def start(self, *argv, **options):
        """options: of subprocess.Popen"""
        for made in ("config", "data", "cache", "run"):
            (self.home / made).mkdir(exist_ok=True)
        for path in (self.home, *self.home.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        (self.home / "run").chmod(0o700)
        options.setdefault("stdin", subprocess.DEVNULL)
        with self.ns.inside():
            return subprocess.Popen(self._command(argv), env=ENVIRONMENT, **options)

    def close(self):
        self.ns.close()
