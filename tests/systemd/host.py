"""A machine as the README sets it up: Debian's Prosody and nginx, the shim on port 443; and clients beside it.

    with Host("13") as h:
        h.boot()                                    # everything enabled, as after `systemctl enable`
        with h.login("alice", source="192.0.2.12") as session: ...     # XMPP; see rig/visitors.py
        assert h.login_of(session.jid)["ip"] == "192.0.2.12"           # what Prosody believes
        h.get("/path"); h.request_for("/path")["addr"]                 # HTTPS, and what nginx logged
        h.events(since, event="handed-off")                            # the shim's log, from the journal

h.configure() changes the shim's configuration; reload or restart is up to the test. Users alice and bob, hosts
one.example and two.example. What Machine can do, a Host can too.
"""

import pathlib
import re
import shutil
import subprocess

from machine import TOP, Machine
from rig import netns
from rig.pki import Authority
from rig.prosody import logins_in
from rig.shim import LINE, PAIR
from rig.visitors import CLIENTS, HOSTS, PASSWORD, SERVERS, Visitors
from rig.wait import until

SHIM = "xmpp443-shim"
SOCKET = "xmpp443-shim.socket"
ANNOUNCE = TOP / "tests/e2e/rig/modules/mod_e2e_announce"
NGINX = """\
log_format seen 'addr=$remote_addr port=$remote_port uri=$uri status=$status';
access_log /var/log/nginx/seen.log seen;
set_real_ip_from 127.0.0.1;
set_real_ip_from unix:;
real_ip_header proxy_protocol;
"""
NGINX_SERVER = """\
server {{
    listen 127.0.0.1:8443 ssl http2 proxy_protocol;
    listen unix:/run/nginx-443.sock ssl http2 proxy_protocol;
    server_name {host};
    ssl_certificate /etc/ssl/{host}.crt;
    ssl_certificate_key /etc/ssl/{host}.key;
    location / {{ default_type text/plain; return 200 "the web page of {host}\\n"; }}
    location = /big.bin {{ root /var/www/html; }}
}}
"""


class Host(Machine, Visitors):
    def __init__(self, release, installed=True):
        """installed: `make install` and `systemctl enable`; otherwise only Prosody and nginx are there."""
        super().__init__(release)
        try:
            self.client = netns.NetNs()
            netns.join(self.net, self.client, SERVERS, CLIENTS)
            self.authority = Authority(self.state / "ca")
            for host in HOSTS:
                cert, key = self.authority.issue(host)
                for folder in ("etc/ssl", "etc/prosody/certs"):
                    shutil.copy(cert, self.root / folder / f"{host}.crt")
                    shutil.copy(key, self.root / folder / f"{host}.key")
            self._prosody(installed)
            self._nginx()
            if installed:
                self.install()
        except BaseException:
            self.close()
            raise

    def close(self):
        if getattr(self, "client", None):
            self.client.close()
        super().close()

    def _prosody(self, with_plugin):
        """Debian's own configuration with the README's one line and our hosts."""
        shutil.copytree(ANNOUNCE, self.root / "usr/local/lib/prosody/modules" / ANNOUNCE.name)
        text = self.read("/etc/prosody/prosody.cfg.lua")
        enabled = '\n\t"e2e_announce";' + ('\n\t"net_fdpass";' if with_plugin else "")
        text, n = re.subn(r"^modules_enabled = \{$", lambda m: m[0] + enabled, text, count=1, flags=re.M)
        assert n == 1, "Debian's prosody.cfg.lua looks different"
        text = text.replace('VirtualHost "localhost"', "\n".join(f'VirtualHost "{host}"' for host in HOSTS))
        (self.root / "etc/prosody/prosody.cfg.lua").write_text(text)
        for host in HOSTS:
            for user in ("alice", "bob"):
                self.write(f"/var/lib/prosody/{host.replace('.', '%2e')}/accounts/{user}.dat",
                           f'return {{ ["password"] = "{PASSWORD}" }};\n')
        self.run("chown", "-R", "prosody:", "/var/lib/prosody", "/etc/prosody/certs")

    def _nginx(self):
        (self.root / "etc/nginx/sites-enabled/default").unlink()
        self.write("/etc/nginx/conf.d/seen.conf", NGINX)
        for host in HOSTS:
            self.write(f"/etc/nginx/sites-enabled/{host}", NGINX_SERVER.format(host=host))

    def make(self, target, *variables):
        """-> its output. `make TARGET` on this machine's files."""
        done = subprocess.run(["make", "-s", "--no-print-directory", target, f"DESTDIR={self.root}", *variables], cwd=TOP,
                              check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def install(self):
        version = self.run("systemctl", "--version").stdout.split()[1]
        self.make("install", f"SYSTEMD_VERSION={version}")
        self.run("systemd-sysusers")
        self.run("systemctl", "enable", SOCKET, SHIM)

    # The shim.

    def configure(self, web=None, **shim):
        """The shipped configuration with these keys (log_level="debug") in its section [shim], and that web server."""
        lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in shim.items())
        text = (TOP / "shim/shim.conf").read_text()
        if web:
            text = text.replace("\nproxy = 127.0.0.1:8443\n", f"\nproxy = {web}\n")
        self.write("/etc/xmpp443/shim.conf", text.replace("[shim]\n", f"[shim]\n{lines}", 1))

    def events(self, since=None, **wanted):
        """[{key: value}]: the shim's log lines with these values; event=..., reason=..., peer=..."""
        found = []
        for entry in self.journal(SHIM, since):
            match = LINE.match(str(entry.get("MESSAGE")))
            if not match or entry.get("_COMM") != SHIM:
                continue
            pairs = {key: value.strip('"') for key, value in PAIR.findall(match[1])}
            if all(pairs.get(key.replace("_", "-")) == value for key, value in wanted.items()):
                found.append(pairs)
        return found

    def wait_event(self, since=None, seconds=60, **wanted):
        return until(lambda: self.events(since, **wanted), f"{wanted} in the shim's journal", seconds)[0]

    # What the servers saw.

    def logins(self):
        """[{jid, ip, port}] in order, as Prosody saw them."""
        path = self.root / "var/log/prosody/prosody.log"
        return logins_in(path.read_text(errors="replace")) if path.exists() else []

    def login_of(self, jid):
        return until(lambda: next((seen for seen in self.logins() if seen["jid"] == jid), None),
                     f"Prosody to log the session of {jid}")

    def get(self, uri="/", host=HOSTS[0], **where):
        """The body of an HTTPS page; where: as for connect()."""
        with self.tls(host, **where) as stream:
            stream.sendall(f"GET {uri} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := stream.recv():
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return body

    def requests(self):
        """[{addr, port, uri, status}] in order, as nginx saw them."""
        path = pathlib.Path(self.root / "var/log/nginx/seen.log")
        text = path.read_text(errors="replace") if path.exists() else ""
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]

    def request_for(self, uri):
        return until(lambda: next((seen for seen in self.requests() if seen["uri"] == uri), None),
                     f"nginx to log {uri}")
