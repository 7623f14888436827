"""A Debian machine with a real systemd as process 1, for tests.

    with Machine("12") as m:                      # or "13"; the root is made if it is missing
        m.write("/etc/systemd/system/x.service", "[Service]\\nExecStart=sleep inf\\n")
        m.boot()                                  # until systemd has nothing more to start
        m.run("systemctl", "start", "x")          # a command in it; raises if it fails
        m.wait_for("x", ActiveState="active")     # poll a unit's properties
        m.main_pid("x"), m.signal("x", "STOP")
        since = m.cursor()
        m.wait_journal("x", since, lambda entry: "ready" in entry["MESSAGE"])
        m.reboot()                                # the file system stays as it is

A machine is its own mount, pid, network, uts, ipc and cgroup namespace over an overlay, so it costs about as much as
its processes do, the cached root stays clean, and nothing of it is left at the end, however that comes about. It has
what is in PACKAGES. Pids are the machine's own unless a name says `host`.

Files: `m.root` is the machine's file system as a path on the host, from before boot() on: write into it what the
machine is to find when it boots. The network namespace is `m.net`; join it to others with rig.netns.join().

host.py has a machine on which the shim, Prosody and nginx are set up, and clients beside it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))

from rig import netns  # noqa: E402
from rig.process import Process  # noqa: E402
from rig.wait import Timeout, until  # noqa: E402

CHECK_NEEDS = ("libunbound8", "libexpat1", "libjansson4", "libidn2-0")  # xmpp443-check
# lua-sec and what follows are what Prosody, the shim and the tests' own set-up ask for.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "prosody", "nginx-light", "lua-sec", "lua5.4", "libinih1", "iproute2",
            "procps", "openssl", *CHECK_NEEDS)
BOOT_SECONDS = 120


class Machine:
    """Use with `with`. Call from the main thread: the kernel ends a machine with the thread that started it."""

    def __init__(self, release):
        self.release = release
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="xmpp443-machine-"))
        self._process = self.net = self.host_pid = None
        self._boots = 0
        try:
            made = subprocess.run([TOP / "tests" / "debian-root", "--path", f"{release}-system", *PACKAGES],
                                  stdout=subprocess.PIPE, text=True, check=True)
            self._lower = made.stdout.strip()
            self.net = netns.NetNs()
            self._start()
        except BaseException:
            self.close()
            raise

    # Life and death.

    @property
    def root(self):
        """Its file system, seen from here."""
        return pathlib.Path(f"/proc/{self.host_pid}/root{self._at}")

    def _start(self):
        """Everything but systemd itself: the mounts are there, and process 1 waits."""
        self._boots += 1
        self._cgroup = f"{self.state.name}-{self._boots}"
        for name in ("pid", "go"):
            (self.state / name).unlink(missing_ok=True)
        self._process = Process(f"Debian {self.release}", [str(TOP / "tests/systemd/boot"), self._lower,
                                                           str(self.state), self._cgroup],
                                self.state / "console.log", self.net)
        self._process.start()

        def mounted():
            assert self._process.alive(), f"it did not start:\n{self._process.output()}"
            return (self.state / "pid").exists()

        until(mounted, "the machine's mounts", 60)
        self.host_pid = int((self.state / "pid").read_text())
        self._at = str(self.state / "root")
        policy = self.root / "usr/sbin/policy-rc.d"  # it is for the time when the root is made
        policy.unlink(missing_ok=True)

    def boot(self, failed=()):
        """Starts systemd and waits until it has started all it wants to. failed: units that are expected to fail."""
        (self.state / "go").touch()
        self._at = "/"

        def up():
            assert self._process.alive(), f"systemd ended:\n{self._process.output()}"
            return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

        try:
            until(up, "systemd to be up", BOOT_SECONDS)
        except Timeout as e:
            jobs = self.run("systemctl", "list-jobs", check=False).stdout
            raise Timeout(f"{e}:\n{jobs}\n{self._process.output()}") from None
        units = self.run("systemctl", "--failed", "--plain", "--no-legend").stdout.splitlines()
        unexpected = {line.split()[0] for line in units} - set(failed)
        assert not unexpected, f"failed: {unexpected}\n{self.run('journalctl', '--no-pager', '-p', 'warning').stdout}"
        return self

    def power_off(self):
        """At once, as by a power cut. What was written stays. Next comes boot() again."""
        self._process.kill()
        self._remove_cgroup()
        self._start()

    def reboot(self, failed=()):
        self.power_off()
        return self.boot(failed)

    def close(self):
        if self._process:
            self._process.kill()
            self._remove_cgroup()
        if self.net:
            self.net.close()
        if not os.environ.get("XMPP443_KEEP"):
            shutil.rmtree(self.state, ignore_errors=True)

    def _remove_cgroup(self):
        """Of a machine that is dead: the kernel leaves the empty groups."""
        script = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -exec rmdir {} +'

        def removed():
            return subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", self.state / "cgroup", self._cgroup],
                                  check=False, capture_output=True, timeout=60).returncode == 0
        if (self.state / "cgroup").exists():
            until(removed, "the machine's cgroup to be empty")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # Files and commands.

    def write(self, path, text, mode=0o644):
        """A file in the machine; its folders are made."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path):
        return (self.root / path.lstrip("/")).read_text(errors="replace")

    def argv(self, *command):
        """The command line that runs a command in the machine. Before boot() it is a chroot only."""
        if self._at != "/":
            return ["nsenter", "--target", str(self.host_pid), "--all", "--", "chroot", self._at, *map(str, command)]
        return ["nsenter", "--target", str(self.host_pid), "--all", "--root", "--wd", "--", *map(str, command)]

    def run(self, *command, check=True, timeout=120, **options):
        """-> subprocess.CompletedProcess with text. A failure shows what the command wrote."""
        done = subprocess.run(self.argv(*command), check=False, capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, timeout=timeout,
                              env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", **options.pop("env", {})}, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    # Units. A name without a suffix is a .service.

    def systemctl(self, *args, **options):
        return self.run("systemctl", *args, **options).stdout

    def show(self, unit, *names):
        """{property: text}, all of them if none is named."""
        args = [f"--property={','.join(names)}"] if names else []
        text = self.systemctl("show", unit, *args)
        return dict(line.partition("=")[::2] for line in text.splitlines())

    def wait_for(self, unit, seconds=60, **wanted):
        """Until the unit's properties are these, e.g. ActiveState="active". A callable is asked instead of compared."""
        seen = {}

        def reached():
            seen.update(self.show(unit, *wanted))
            return all(want(seen[key]) if callable(want) else seen[key] == str(want) for key, want in wanted.items())

        try:
            until(reached, f"{unit} to be as wanted", seconds)
        except Timeout as e:
            raise Timeout(f"{e}: {seen}\n{self.log(unit)}") from None
        return seen

    def main_pid(self, unit):
        return int(self.show(unit, "MainPID")["MainPID"])

    def signal(self, unit, name, pid=None):
        """To the main process, or to another process or thread of it."""
        self.run("kill", f"-{name}", pid or self.main_pid(unit))

    def status(self, pid):
        """{field: text} of /proc/PID/status in the machine."""
        return dict(line.split(":\t", 1) for line in self.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)

    def drop_in(self, unit, text):
        """Settings for a unit beside its own, until the next boot or until drop_in(unit, "")."""
        name = unit if "." in unit else f"{unit}.service"
        self.write(f"/run/systemd/system/{name}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def host_pid_of(self, pid):
        """The pid, outside, of one of the machine's processes."""
        ours = os.readlink(f"/proc/{self.host_pid}/ns/pid")
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(folder / "ns/pid") == ours and f"\t{pid}\n" in next(
                        line for line in open(folder / "status") if line.startswith("NSpid:")):
                    return int(folder.name)
            except OSError:
                pass  # it has gone meanwhile
        raise AssertionError(f"no process {pid} in the machine")

    # The journal.

    def cursor(self):
        """A place in the journal, for the since of others."""
        out = self.run("journalctl", "--no-pager", "-n", "0", "--show-cursor", "-q").stdout
        return out.strip().removeprefix("-- cursor: ")

    def journal(self, unit, since=None):
        """[{field: text}]: what the unit logged and what systemd says about it, oldest first."""
        after = [f"--after-cursor={since}"] if since else []
        out = self.run("journalctl", "--no-pager", "-o", "json", "-u", unit, *after).stdout
        return [json.loads(line) for line in out.splitlines()]

    def wait_journal(self, unit, since, wanted, seconds=60):
        """The first entry for which wanted(entry) is true, or in whose MESSAGE the text wanted is."""
        def matches(entry):
            return wanted(entry) if callable(wanted) else wanted in str(entry.get("MESSAGE"))

        try:
            return until(lambda: next(filter(matches, self.journal(unit, since)), None),
                         f"{wanted} in the journal of {unit}", seconds)
        except Timeout as e:
            raise Timeout(f"{e}\n{self.log(unit)}") from None

    def log(self, unit, lines=40):
        """For people: the end of a unit's journal."""
        return self.run("journalctl", "--no-pager", "-n", lines, "-u", unit, check=False).stdout
