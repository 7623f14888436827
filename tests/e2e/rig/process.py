"""One child process: in a namespace, as some user, with its output in a file."""

import os
import resource
import signal
import subprocess

from . import wait


def privileges(user, group=None, groups=(), caps=()):
    """A setpriv prefix that drops root, and dies with the process that started it."""
    argv = ["setpriv", "--pdeathsig", "KILL"]
    if user:
        argv += ["--reuid", user, "--regid", group or user]
        argv += ["--groups", ",".join(groups)] if groups else ["--clear-groups"]
    if caps:
        names = ",".join(f"+{cap}" for cap in caps)
        argv += ["--inh-caps", names, "--ambient-caps", names]
    return argv + ["--"]


def with_file(source, target):
    """A prefix for a mount namespace in which one system file has other content."""
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {source} {target} && exec "$@"', "sh"]


class Process:
    """Ended by its own pid only. Start it from the main thread: the kernel sends
    the parent-death signal when the *thread* that forked ends."""

    def __init__(self, name, argv, log, ns=None, prefix=None, env=None, nofile=None, passed=None):
        """passed: a socket that the child inherits."""
        self.name = name
        self.argv = (prefix or privileges(None)) + argv
        self.log = log
        self.ns = ns
        self.env = env
        self.nofile = nofile
        self.passed = [passed.fileno()] if passed else []
        self.child = None

    @property
    def pid(self):
        return self.child.pid

    def start(self):
        assert not self.alive(), f"{self.name} is running already"
        limits = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, self.nofile)) \
            if self.nofile else None
        with open(self.log, "ab") as out:
            def spawn():
                return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=subprocess.STDOUT, preexec_fn=limits, pass_fds=self.passed,
                                        env={**os.environ, **(self.env or {})})
            if self.ns:
                with self.ns.inside():
                    self.child = spawn()
            else:
                self.child = spawn()
        return self

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def output(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def signal(self, number):
        if self.alive():
            self.child.send_signal(number)

    def stop(self, seconds=20):
        """SIGTERM, wait, and SIGKILL if that was not enough; return the exit status."""
        if self.child is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise wait.Timeout(f"{self.name} did not end on SIGTERM") from None

    def kill(self):
        if self.child is None:
            return
        self.signal(signal.SIGKILL)
        self.child.wait(20)

    def fds(self):
        """What each open descriptor refers to."""
        links = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
            except FileNotFoundError:
                pass
        return links

    def sockets(self):
        return sum(link.startswith("socket:") for link in self.fds())

    def cpu_seconds(self):
        """What its threads have used so far."""
        return sum(int(open(f"/proc/{self.pid}/task/{task}/schedstat").read().split()[0]) / 1e9
                   for task in os.listdir(f"/proc/{self.pid}/task"))

    def memory(self):
        """Resident, in KiB."""
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
