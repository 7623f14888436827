"""What else can stand on port 443: HAProxys and nginxs of a few lines, each at an address of its own."""

import pathlib
import shutil
import socket
import textwrap

from rig import wait
from rig.process import Process, privileges

USER = ("nobody", "nogroup")


class Front:
    """One process in `ns`, up when it accepts connections at (address, port)."""

    def __init__(self, name, argv, folder, ns, up, prefix=()):
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, *USER)
        folder.chmod(0o755)
        self.folder, self.ns, self.up = folder, ns, up
        self.process = Process(name, list(prefix) + argv, folder / "output.log", ns, privileges(*USER))

    def start(self):
        self.process.start()

        def ready():
            assert self.process.alive(), f"{self.process.name} ended:\n{self.process.output()}"
            with self.ns.inside(), socket.socket(socket.AF_INET6 if ":" in self.up[0] else socket.AF_INET) as probe:
                return probe.connect_ex(self.up) == 0

        wait.until(ready, f"{self.process.name} to listen")
        return self


def haproxy(folder, ns, up, body):
    folder.mkdir()
    config = folder / "haproxy.cfg"
    config.write_text("defaults\n    timeout connect 10s\n    timeout client 60s\n    timeout server 60s\n" + textwrap.dedent(body))
    return Front("haproxy", ["/usr/sbin/haproxy", "-db", "-f", str(config)], folder, ns, up)


def both(folder, name, certificate):
    """Certificate and key in one file, as HAProxy wants them."""
    file = folder / f"{name}.pem"
    file.write_text("".join(pathlib.Path(one).read_text() for one in certificate))
    return file


def nginx(folder, ns, up, servers, prefix=(), http=""):
    for made in (folder, folder / "tmp"):
        made.mkdir()
    temps = "".join(f"{kind}_temp_path {folder}/tmp/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
access_log {folder}/access.log;
{temps}{http}{textwrap.dedent(servers)}
}}
""")
    return Front("nginx", ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e",
                           str(folder / "error.log")], folder, ns, up, prefix=prefix)
