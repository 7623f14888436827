"""A network of its own for Prosody, its proxies and clients, and the proxies that run there."""

import contextlib
import pathlib
import shutil
import socket
import ssl
import sys
import tempfile

from prosody_box import REPO, Prosody

sys.path.insert(0, str(REPO / "tests/e2e"))

from rig.haproxy import TcpProxy  # noqa: E402
from rig.netns import NetNs  # noqa: E402
from rig.process import Process  # noqa: E402
from rig.shim import Shim, config  # noqa: E402
from rig.tls import TlsStream  # noqa: E402
from rig.wait import until  # noqa: E402

SERVER = ("192.0.2.1", "2001:db8::1")
PROXY = ("192.0.2.2", "2001:db8::2")
STRANGER = ("192.0.2.9", "2001:db8:9::9")
CLIENT = ("198.51.100.77", "2001:db8:c::77")
TRUSTED = 'fdpass_trusted_proxies = { "192.0.2.0/29", "2001:db8::1", "2001:db8::2" }'


def any_certificate(alpn):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


class Network:
    """A namespace in which all addresses are those of the loopback device."""

    def __init__(self):
        self.ns = NetNs()
        self.inside = self.ns.inside
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="prosody-front-"))
        self.folder.chmod(0o755)
        for address in (*SERVER, *PROXY, *STRANGER, *CLIENT):
            self.ns.add_address("lo", f"{address}/{128 if ':' in address else 32}")
        self.binary = shutil.copy(REPO / "build/xmpp443-shim", self.folder)
        self._ports = iter(range(20000, 30000))
        self._running = []

    def port(self):
        return next(self._ports)

    def prosody(self, options, **others):
        """One in here, whose ports for proxies are open."""
        with self.inside():
            box = Prosody(options, **others)
        self.wait_for_ports(box)
        return box

    def wait_for_ports(self, box, since=0):
        box.wait_for_log("Activated service 'fdpass_tcp'", since=since)

    def connect(self, source, port, to=None):
        """From one of the addresses above to the server's of the same family."""
        to = to or SERVER[":" in source]
        with self.inside():
            sock = socket.create_connection((to, port), timeout=20, source_address=(source, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def tls(self, sock, header=b"", host="one.example", alpn="xmpp-client", cut=None):
        """TLS with a header ahead: in one piece, or cut(bytes) into several."""
        def send(to, hello):
            for piece in (cut or (lambda data: [data]))(header + hello):
                to.sendall(piece)
        return TlsStream(sock, any_certificate(alpn), host, send)

    def haproxy(self, target, send):
        """Returns its port."""
        port = self.port()
        self._running.append(TcpProxy(self.folder / f"haproxy{port}", self.ns, port, target, send).__enter__().process)
        return port

    def nginx(self, target):
        port = self.port()
        folder = self.folder / f"nginx{port}"
        folder.mkdir()
        (folder / "nginx.conf").write_text(f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
stream {{
    server {{
        listen 0.0.0.0:{port};
        listen [::]:{port} ipv6only=on;
        proxy_pass {target};
        proxy_protocol on;
    }}
}}
""")
        process = Process("nginx", ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"),
                                    "-e", str(folder / "error.log")], folder / "output.log", self.ns)
        self._run(process, port)
        return port

    def shim(self, routes, **options):
        """routes: {name: {key: value}}; returns its port."""
        port = self.port()
        folder = self.folder / f"shim{port}"
        text = config([f"0.0.0.0:{port}", f"[::]:{port}"], "127.0.0.1:9", routes=routes, **options)
        shim = Shim(folder, self.binary, self.ns, text)
        shim.start()
        self._running.append(shim.process)
        return port

    def _run(self, process, port):
        process.start()
        self._running.append(process)

        def ready():
            assert process.alive(), process.output()
            with contextlib.suppress(ConnectionRefusedError):
                self.connect(STRANGER[0], port).close()
                return True

        until(ready, f"{process.name} to listen")

    def close(self):
        for process in self._running:
            process.kill()
        self.ns.close()
        shutil.rmtree(self.folder)
