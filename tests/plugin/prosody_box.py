"""A private Prosody in a temporary directory, and a stand-in for the shim."""

import array
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, UNIQUE_ID = 1, 2, 5
USER, PASSWORD = "juliet", "secret"


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def message(ident, source=("192.0.2.7", 40001), dest=("198.51.100.1", 443), alpn=b"xmpp-client",
            authority=None):
    """One hand-off message of the protocol in doc/protocol.md."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    body = b"".join(socket.inet_pton(family, a[0]) for a in (source, dest))
    body += struct.pack("!HH", source[1], dest[1])
    if alpn is not None:
        body += tlv(ALPN, alpn)
    if authority is not None:
        body += tlv(AUTHORITY, authority)
    body += tlv(UNIQUE_ID, ident)
    return SIGNATURE + bytes([0x21, 0x21 if ":" in source[0] else 0x11]) + \
        struct.pack("!H", len(body)) + body


class Sender:
    """A control connection, as one worker of the shim has it."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # By the kernel: with a timeout of Python's, sending first waits until no more than a
        # quarter of the buffer is used, and two threads cannot use the socket
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
        self.sock.connect(str(path))

    def send(self, data, *fds):
        rights = array.array("i", fds)
        self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else [])

    def answers(self, count):
        """Reads until there are count answers; returns them as {id: verdict}."""
        got = []
        while len(got) < count:
            try:
                data = self.sock.recv(1024)
            except ConnectionResetError:
                continue  # it did not read all we sent; its answers come after this
            if not data:
                raise EOFError(f"{len(got)} of {count} answers")
            assert len(data) % 9 == 0
            got += [data[i:i + 9] for i in range(0, len(data), 9)]
        return {a[1:]: a[:1].decode() for a in got}

    def close(self):
        self.sock.close()


def tcp_pair():
    """Returns (client, accepted): the two ends of a loopback connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    client.settimeout(10)
    return client, accepted


class Prosody:
    """Runs as user prosody with two virtual hosts and self-signed certificates."""

    def __init__(self, options="", modules=("c2s", "s2s", "tls", "saslauth", "http"),
                 plugin_paths=None, with_library=True, wait_for="epoll backend",
                 wait_for_listener="mod_net_fdpass\tinfo\tWaiting", nofile=1024,
                 components="", extra_certs=(), disabled=(), with_module=True, wrap=()):
        """wrap: a command that gives up root and executes its arguments."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="prosody-box-"))
        self.socket = self.dir / "fdpass.sock"
        self.log = self.dir / "prosody.log"
        self.options, self.modules, self.wait_for = options, modules, wait_for
        self.wait_for_listener, self.nofile = wait_for_listener, nofile
        self.with_module, self.wrap = with_module, list(wrap)
        self.components, self.disabled = components, ("s2s_auth_certs", *disabled)
        if plugin_paths is None:
            plugins = self.dir / "plugins"
            shutil.copytree(REPO / "prosody-plugin/mod_net_fdpass", plugins / "mod_net_fdpass")
            if with_library:
                shutil.copy(REPO / "build/fdpass.so", plugins / "mod_net_fdpass")
            shutil.copytree(REPO / "tests/plugin/modules", plugins, dirs_exist_ok=True)
            plugin_paths = f'plugin_paths = {{ "{plugins}" }}'
        self.plugin_paths = plugin_paths
        (self.dir / "data").mkdir()
        (self.dir / "certs").mkdir()
        for host in ("one.example", "two.example", *extra_certs):
            self.make_cert(host)
        for host in ("one.example", "two.example", "three.example"):
            self.make_account(host)
        self.configure()
        self.process = None
        self.start()

    def make_cert(self, host):
        certs = self.dir / "certs"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext",
             f"subjectAltName=DNS:{host}", "-keyout", certs / f"{host}.key",
             "-out", certs / f"{host}.crt"], check=True, capture_output=True)

    def make_account(self, host, user=USER, password=PASSWORD):
        accounts = self.dir / "data" / host.replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}" }};\n')

    def configure(self, options=None):
        if options is not None:
            self.options = options
        modules = "; ".join(f'"{m}"' for m in self.modules + ("net_fdpass",) * self.with_module)
        (self.dir / "prosody.cfg.lua").write_text(f"""
{self.plugin_paths}
data_path = "{self.dir}/data"
pidfile = "{self.dir}/prosody.pid"
certificates = "{self.dir}/certs"
modules_enabled = {{ {modules} }}
modules_disabled = {{ {"; ".join(f'"{m}"' for m in self.disabled)} }}
c2s_ports = {{}}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
fdpass_socket = "{self.socket}"
log = {{ debug = "{self.log}" }}
admins = {{}}
{self.options}
VirtualHost "one.example"
VirtualHost "two.example"
{self.components}
""")
        self.give_to_prosody()

    def give_to_prosody(self):
        subprocess.run(["chown", "-R", "prosody:", self.dir], check=True)

    def start(self):
        seen = self.log_size()
        argv = [*self.wrap, "prlimit", f"--nofile={self.nofile}:{self.nofile}",
                "prosody", "-F", "--config", self.dir / "prosody.cfg.lua"]
        user = {} if self.wrap else {"user": "prosody", "group": "prosody", "extra_groups": []}
        self.process = subprocess.Popen(argv, **user, cwd="/", env={"PATH": os.environ["PATH"]}, umask=0o027,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for_log(self.wait_for, since=seen)
        self.wait_until(lambda: self.wait_for_listener in self.text(seen)
                        or "mod_net_fdpass\terror\t" in self.text(seen))
        # Before it handles signals, at the end of its start, they would kill it
        self.wait_until(self.catches_sighup)

    def catches_sighup(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        blocked = int(status.split("SigBlk:")[1].split()[0], 16)  # 13 uses a signalfd
        return (caught | blocked) & 1

    def version(self):
        """As (0, 12, 3)."""
        return tuple(map(int, re.search(r"Prosody version (\d+)\.(\d+)\.(\d+)", self.text()).groups()))

    def log_size(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def text(self, since=0):
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[since:].decode(errors="replace")

    def complaints(self):
        """Lines of the log that there should be none of."""
        return [line for line in self.text().splitlines() if "\terror\t" in line or "traceback" in line.lower()]

    @staticmethod
    def wait_until(condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    def wait_for_log(self, wanted, since=0):
        try:
            self.wait_until(lambda: wanted in self.text(since))
        except AssertionError:
            raise AssertionError(f"{wanted!r} not in log:\n{self.text(since)}") from None

    def descriptors(self):
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settle(self):
        """Waits until it has no connection open but those of its senders."""
        pid, seen = self.process.pid, []

        def quiet():
            seen.append(self.descriptors())
            return len(seen) > 10 and len(set(seen[-10:])) == 1
        self.wait_until(quiet)

    def reload(self):
        seen = self.log_size()
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_log("Reloading configuration", since=seen)
        return seen

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(15)

    def close(self):
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            # 0.12 is not safe from its own signal handlers: SIGTERM at the wrong moment is an error
            # in what it interrupts, and the shutdown ends with it
            self.stop(signal.SIGKILL)
            assert self.version() < (13,), self.text()[-3000:]
        if not os.environ.get("XMPP443_KEEP"):
            shutil.rmtree(self.dir)
