"""A private nginx: HTTPS behind the PROXY protocol, on every kind of listener."""

import hashlib
import os
import re
import shutil
import socket
import textwrap

from . import wait
from .process import Process, privileges

TCP4 = "127.0.0.1:18443"
TCP6 = "[::1]:18443"
BARE = "127.0.0.1:18444"  # no PROXY header expected
APPLICATION = ("127.0.0.1", 18080)  # what /app/ leads to, for a test to serve
MIB = 1024 * 1024


class Nginx:
    """One process (no workers to be orphaned), as nobody."""

    def __init__(self, folder, ns, certificates, big_mib=100):
        """big_mib: the size of /big.bin."""
        self.folder = folder
        self.ns = ns
        self.unix = f"unix:{folder}/nginx.sock"
        self.access = folder / "access.log"
        self.root = folder / "www"
        for made in (folder, self.root, self.root / "upload", folder / "tmp"):
            made.mkdir()
        self.big_sha256 = self._big_file(big_mib)
        (folder / "nginx.conf").write_text(self._config(certificates))
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        folder.chmod(0o755)
        self.process = Process(
            "nginx", ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"),
                      "-e", str(folder / "error.log")],
            folder / "output.log", ns, privileges("nobody", "nogroup"))

    def _big_file(self, mib):
        piece = os.urandom(MIB)
        digest = hashlib.sha256()
        with open(self.root / "big.bin", "wb") as out:
            for n in range(mib):
                block = n.to_bytes(8, "big") + piece[8:]
                out.write(block)
                digest.update(block)
        return digest.hexdigest()

    def _config(self, certificates):
        servers = "".join(self._server(host, *pair) for host, pair in certificates.items())
        temps = "".join(f"    {kind}_temp_path {self.folder}/tmp/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return textwrap.dedent(f"""\
            daemon off;
            master_process off;
            pid {self.folder}/nginx.pid;
            error_log {self.folder}/error.log info;
            events {{ worker_connections 4096; }}
            http {{
                log_format seen 'addr=$remote_addr port=$remote_port proto=$server_protocol '
                                'sni=$ssl_server_name host=$host uri=$uri status=$status '
                                'via=$server_addr';
                access_log {self.access} seen;
                set_real_ip_from 127.0.0.1;
                set_real_ip_from ::1;
                set_real_ip_from unix:;
                real_ip_header proxy_protocol;
                ssl_protocols TLSv1.2 TLSv1.3;
                sendfile on;
                ssl_early_data on;
                client_max_body_size 200m;
            """) + temps + servers + "}\n"

    def _server(self, host, cert, key):
        return textwrap.dedent(f"""\
            server {{
                listen {TCP4} ssl http2 proxy_protocol;
                listen {TCP6} ssl http2 proxy_protocol;
                listen {self.unix} ssl http2 proxy_protocol;
                listen {BARE} ssl http2;
                server_name {host};
                ssl_certificate {cert};
                ssl_certificate_key {key};
                location / {{ default_type text/plain; return 200 "the web page of {host}\\n"; }}
                location = /big.bin {{ root {self.root}; }}
                location /upload/ {{ root {self.root}; dav_methods PUT; }}
                location /app/ {{
                    proxy_pass http://{":".join(map(str, APPLICATION))};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $http_connection;
                    proxy_buffering off;
                    proxy_read_timeout 1h;
                }}
            }}
            """)

    def start(self):
        self.process.start()

        def ready():
            assert self.process.alive(), f"nginx ended:\n{self.process.output()}{self.errors()}"
            with self.ns.inside(), socket.socket() as probe:
                host, port = BARE.split(":")
                return probe.connect_ex((host, int(port))) == 0

        wait.until(ready, "nginx to listen")
        return self

    def stop(self):
        return self.process.stop()

    def errors(self):
        path = self.folder / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def requests(self):
        """[{addr, port, proto, sni, host, uri, status, via}] in order."""
        if not self.access.exists():
            return []
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in self.access.read_text().splitlines()]

    def request_for(self, uri, host=None):
        """The first log entry of this path, and host if given."""
        return wait.until(lambda: next((seen for seen in self.requests() if seen["uri"] == uri
                                        and host in (None, seen["host"])), None),
                          f"nginx to log {uri}")

    def uploaded_sha256(self, name):
        digest = hashlib.sha256()
        with open(self.root / "upload" / name, "rb") as f:
            while block := f.read(MIB):
                digest.update(block)
        return digest.hexdigest()
