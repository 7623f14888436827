"""Private HAProxys: one that ends TLS behind a PROXY header, one that relays to a shim with one."""

import pathlib
import shutil
import socket
import textwrap

from . import wait
from .process import Process, privileges
from .webserver import USER, WebServer

TIMEOUTS = "timeout connect 10s\n    timeout client 60s\n    timeout server 60s\n"


def _argv(config):
    return ["/usr/sbin/haproxy", "-db", "-f", str(config)]


class Haproxy(WebServer):
    name = "haproxy"
    tcp4, tcp6 = "127.0.0.1:18743", "[::1]:18743"
    unix = True

    def argv(self):
        self.access = self.folder / "output.log"  # it logs to its standard output
        return _argv(self.config)

    def configure(self, cert, key):
        both = self.folder / "both.pem"
        both.write_text(pathlib.Path(cert).read_text() + pathlib.Path(key).read_text())
        binds = "".join(f"    bind {address} ssl crt {both} alpn h2,http/1.1 accept-proxy\n" for address in
                        (self.tcp4, self.tcp6, f"{self.unix.replace('unix:', 'unix@')} mode 666"))
        return textwrap.dedent(f"""\
            defaults
                mode http
                {TIMEOUTS}
            frontend web
                log stdout format raw local0
                log-format "addr=%ci port=%cp proto=%HV uri=%HPO status=%ST authority=%[fc_pp_authority] id=%[fc_pp_unique_id,hex]"
            """) + binds + f"    http-request return status 200 content-type text/plain file {self.folder}/www/page.txt\n"


class TcpProxy:
    """Listens on `listen` for both families and sends everything on to `target` with a PROXY header."""

    def __init__(self, folder, ns, port, target, send):
        """send: send-proxy or send-proxy-v2."""
        self.ns, self.port = ns, port
        folder.mkdir()
        config = folder / "haproxy.cfg"
        config.write_text(textwrap.dedent(f"""\
            defaults
                mode tcp
                {TIMEOUTS}
            listen front
                bind 0.0.0.0:{port}
                bind [::]:{port} v6only
                server shim {target} {send}
            """))
        for path in (folder, config):
            shutil.chown(path, *USER)
        folder.chmod(0o755)
        self.process = Process("haproxy", _argv(config), folder / "output.log", ns, privileges(*USER))

    def __enter__(self):
        self.process.start()

        def ready():
            assert self.process.alive(), f"haproxy ended:\n{self.process.output()}"
            with self.ns.inside(), socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait.until(ready, "haproxy to listen")
        return self

    def __exit__(self, *exc):
        self.process.kill()
