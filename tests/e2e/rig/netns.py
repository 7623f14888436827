"""Network namespaces without names.

A namespace lives as long as a process or a descriptor refers to it. These are
held by one descriptor of this process, so that nothing is left in /run/netns
and all is gone, links included, however this process ends.
"""

import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def _current():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class NetNs:
    """`with ns.inside():` moves the calling thread into the namespace and back.

    Sockets and processes made inside stay inside.
    """

    def __init__(self):
        home = _current()
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self.fd = _current()
            _check(_libc.setns(home, CLONE_NEWNET))
        finally:
            os.close(home)
        self.ip("link", "set", "lo", "up")

    @contextlib.contextmanager
    def inside(self):
        home = _current()
        try:
            _check(_libc.setns(self.fd, CLONE_NEWNET))
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)

    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def ip(self, *args):
        with self.inside():
            subprocess.run(["ip", *args], check=True, timeout=20)

    def add_address(self, device, address):
        # nodad: an IPv6 address is usable at once.
        extra = ["nodad"] if ":" in address else []
        self.ip("addr", "add", address, "dev", device, *extra)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def join(left, right, left_addresses, right_addresses, left_device="veth0"):
    """Join two namespaces by a veth pair; addresses carry their prefix length."""
    with left.inside():
        subprocess.run(["ip", "link", "add", left_device, "type", "veth",
                        "peer", "name", "veth0", "netns", right.path()], check=True, timeout=20)
    for ns, device, addresses in ((left, left_device, left_addresses), (right, "veth0", right_addresses)):
        for address in addresses:
            ns.add_address(device, address)
        ns.ip("link", "set", device, "up")
