"""A private Prosody whose only door is mod_net_fdpass."""

import pathlib
import re
import shutil
import textwrap

from . import wait
from .process import Process, privileges
from .visitors import PASSWORD

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = pathlib.Path(__file__).resolve().parent
ANNOUNCED = "e2e: "


def logins_in(log):
    pattern = re.compile(re.escape(ANNOUNCED) + r"jid=(\S+) ip=(\S+) port=(\d+)")
    return [{"jid": m[1], "ip": m[2], "port": int(m[3])} for m in pattern.finditer(log)]


class Prosody:
    """folder is made here, owned by prosody, mode 0750: the shim checks that."""

    def __init__(self, folder, ns, certificates, users=("alice", "bob"), build="build", extra=""):
        self.folder = folder
        self.socket = folder / "fdpass.sock"
        self.log = folder / "prosody.log"
        self.hosts = list(certificates)
        for made in (folder, folder / "data", folder / "modules"):
            made.mkdir()
        self._install(build)
        self._accounts(users)
        self._certificates(certificates)
        (folder / "prosody.cfg.lua").write_text(self._config(extra))
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "prosody", "prosody")
        folder.chmod(0o750)
        self.process = Process(
            "prosody", ["/usr/bin/prosody", "-F", "--config", str(folder / "prosody.cfg.lua")],
            folder / "output.log", ns, privileges("prosody"))

    def _install(self, build):
        """Lay plugin and library out as `make install` does: side by side, in a tree that
        the prosody user can read even where the sources are not for its eyes."""
        modules = self.folder / "modules"
        shutil.copytree(ROOT / "prosody-plugin", modules, dirs_exist_ok=True)
        shutil.copy(ROOT / build / "fdpass.so", modules / "mod_net_fdpass")
        shutil.copytree(HERE / "modules", modules, dirs_exist_ok=True)

    def _accounts(self, users):
        for host in self.hosts:
            store = self.folder / "data" / host.replace(".", "%2e") / "accounts"
            store.mkdir(parents=True)
            for user in users:
                (store / f"{user}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}" }};\n')

    def _certificates(self, certificates):
        """As `prosodyctl cert import` lays them out."""
        store = self.folder / "certs"
        store.mkdir()
        for host, (cert, key) in certificates.items():
            shutil.copy(cert, store / f"{host}.crt")
            shutil.copy(key, store / f"{host}.key")

    def _config(self, extra):
        text = textwrap.dedent(f"""\
            pidfile = "{self.folder}/prosody.pid"
            data_path = "{self.folder}/data"
            certificates = "certs"
            plugin_paths = {{ "{self.folder}/modules" }}
            log = {{ debug = "{self.log}" }}
            network_backend = "epoll"
            authentication = "internal_plain"
            modules_enabled = {{ "roster", "saslauth", "disco", "ping", "net_fdpass", "e2e_announce" }}
            modules_disabled = {{ "offline" }}
            c2s_ports = {{}}
            s2s_ports = {{}}
            fdpass_socket = "{self.socket}"
            fdpass_users = {{ "root", "nobody" }}
            """)
        return text + textwrap.dedent(extra) + "".join(f'VirtualHost "{host}"\n' for host in self.hosts)

    def start(self):
        skip = len(self.text())
        self.process.start()

        def ready():
            assert self.process.alive(), f"Prosody ended:\n{self.process.output()}{self.text()}"
            return self.socket.exists() and "e2e: server-started" in self.text()[skip:]

        wait.until(ready, "Prosody to be up")
        return self

    def stop(self):
        return self.process.stop()

    def kill(self):
        self.process.kill()

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def logins(self):
        """[{jid, ip, port}] in order: what Prosody itself believes of each session."""
        return logins_in(self.text())

    def login_of(self, jid):
        """The first login of a full JID, or of any resource of a bare one."""
        return wait.until(lambda: next((seen for seen in self.logins()
                                        if jid in (seen["jid"], seen["jid"].partition("/")[0])), None),
                          f"Prosody to log the session of {jid}")

    def is_available(self, jid):
        """Whether this full JID has sent presence, so that messages for its bare JID reach it."""
        return f"{ANNOUNCED}available={jid}\n" in self.text()
