"""Where a measurement takes place: a network namespace of its own, and the processes in it."""

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import proxies
from proxies import LISTEN, XMPP

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
LOAD = TOP / "build/bench/load"
SHIM = TOP / "build/xmpp443-shim"

BACKEND = "127.0.0.1:8443"
HELLO = {"web": HERE / "hello-web.bin", "xmpp": HERE / "hello-xmpp.bin"}
CLONE_NEWNET = 0x40000000
WAIT = 60  # s, for an answer from a process


def unshare_net(congestion_control):
    """Moves this process, and what it starts from now on, into a new network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    net = Path("/proc/sys/net")
    (net / "ipv4/tcp_congestion_control").write_text(congestion_control)
    # Some ten thousand connections a second leave their ports in TIME_WAIT.
    (net / "ipv4/ip_local_port_range").write_text("10000 65535")
    (net / "ipv4/tcp_tw_reuse").write_text("1")


def missing(programs):
    """Those that are not installed."""
    return [p for p in programs if not shutil.which(p)]


def raise_limit():
    """The proxies inherit the limit; 9,000 relayed connections are 18,000 descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def favoured(nice):
    """A nice value counts only among the processes of one session, unless it is the session's, sched(7)."""
    autogroup = Path("/proc/self/autogroup")
    if not nice or not autogroup.exists():
        yield
        return
    before = autogroup.read_text().split()[-1]
    autogroup.write_text(str(nice))
    try:
        yield
    finally:
        time.sleep(0.2)  # two changes in quick succession are refused
        autogroup.write_text(before)


def wait_for_listener(address):
    """Until something listens on a TCP address of this namespace; without connecting, which would be served."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    for _ in range(200):
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(port) and fields[3] == "0A":
                return
        time.sleep(0.025)
    raise RuntimeError(f"nothing listens on {address}")


class Process:
    """One process under test or of the load, on one CPU."""

    def __init__(self, argv, cpu, user=None, policy=None, log=None):
        prefix = ["taskset", "-c", str(cpu)]
        # With either, a process that is woken does not take the CPU from the one that woke it.
        if policy == "batch":
            prefix += ["chrt", "-b", "0"]
        if policy == "fifo":
            prefix += ["chrt", "-f", "10"]
        if user:
            prefix += ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
        self.popen = subprocess.Popen(prefix + [str(a) for a in argv], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=log)
        self.pid = self.popen.pid
        self.buffer = b""

    def say(self, line):
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()

    def hear(self):
        """The next line of standard output, JSON."""
        fd = self.popen.stdout.fileno()
        until = time.monotonic() + WAIT
        while b"\n" not in self.buffer:
            if not select.select([fd], [], [], max(0, until - time.monotonic()))[0]:
                raise RuntimeError(f"no answer from {self.popen.args}")
            data = os.read(fd, 65536)
            if not data:
                raise RuntimeError(f"{self.popen.args} ended with {self.popen.wait(WAIT)}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def schedstat(self):
        """CPU time in ns and number of time slices of all threads. Exact while they sleep."""
        fields = [(task / "schedstat").read_text().split() for task in Path(f"/proc/{self.pid}/task").iterdir()]
        return sum(int(f[0]) for f in fields), sum(int(f[2]) for f in fields)

    def cpu_ns(self):
        return self.schedstat()[0]

    def private_bytes(self):
        """Memory that only this process uses."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self):
        self.popen.stdin.close()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()


class World:
    """A namespace with a backend and perhaps a proxy; ends all of it when left."""

    def __init__(self, options, congestion_control="reno", policy=None):
        self.options = options
        self.policy = policy or options.policy
        unshare_net(congestion_control)
        # Not below a home directory: the proxy runs as another user.
        self.dir = Path(tempfile.mkdtemp(prefix="xmpp443-bench-"))
        self.dir.chmod(0o755)
        self.proxy_dir = self.dir / "proxy"
        self.proxy_dir.mkdir()
        shutil.chown(self.proxy_dir, options.user)
        self.log = open(self.dir / "log", "wb")
        self.processes = []
        self.proxy = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for process in reversed(self.processes):
            process.stop()
        self.log.close()
        if kind is not None:
            print((self.dir / "log").read_text(errors="replace")[-2000:])
        shutil.rmtree(self.dir)

    def start(self, argv, cpu, user=None):
        process = Process(argv, cpu, user, self.policy, self.log)
        self.processes.append(process)
        return process

    def start_backend(self, listen, script, alpn="web"):
        argv = [LOAD, "backend", "--listen", listen, "--hello", HELLO[alpn], *script]
        if self.options.sendfile:
            argv.append("--sendfile")
        self.start(argv, self.options.load_cpu).hear()

    def start_receiver(self, path, script):
        argv = [LOAD, "receiver", "--path", path, "--hello", HELLO["xmpp"], *script]
        if self.options.sendfile:
            argv.append("--sendfile")
        self.start(argv, self.options.load_cpu).hear()

    def start_client(self, connect, alpn, script, conns):
        argv = [LOAD, "client", "--connect", connect, "--hello", HELLO[alpn], "--conns", conns, *script]
        return self.start(argv, self.options.load_cpu)

    def start_proxy(self, kind, backend, workers=1):
        """See proxies.py for kinds. backend: an address, unix: allowed. With several workers, on all CPUs."""
        argv = proxies.command(kind, self, backend, workers)
        cpus = self.options.proxy_cpu if workers == 1 else f"0-{os.cpu_count() - 1}"
        self.proxy = self.start(argv, cpus, self.options.user)
        wait_for_listener(LISTEN)
        return self.proxy

    def set_up(self, variant, script):
        """Starts what a variant consists of; returns the address for clients."""
        if variant.proxy is None:
            self.start_backend(LISTEN, script, variant.alpn)
            return
        backend = f"unix:{self.dir}/backend.sock" if variant.unix else BACKEND
        if variant.alpn == "web":
            self.start_backend(backend, script)
        elif variant.proxy == "shim":
            self.start_receiver(self.dir / "fdpass.sock", script)
        else:
            self.start_backend(XMPP, script, "xmpp")
        self.start_proxy(variant.proxy, backend, variant.workers)

    def cpu_ns(self):
        """CPU time of everything."""
        return sum(process.cpu_ns() for process in self.processes)
