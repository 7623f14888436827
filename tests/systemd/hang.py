"""Stops one thread of a process, as one that hangs: SIGSTOP would stop all of them, ptrace(2) stops one."""

import ctypes
import os

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


class HungThread:
    """The thread stands still until this process ends or the thread is killed. Then call gone() until it is true:
    the kernel keeps the dead thread, and with it the whole process, until its tracer has taken note of its end."""

    def __init__(self, tid):
        self.tid = tid
        _ptrace(PTRACE_SEIZE, tid)
        _ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)

    def gone(self):
        try:
            return os.waitpid(self.tid, os.WNOHANG | WALL)[0] != 0
        except ChildProcessError:
            return True

    def release(self):
        """Whatever has become of it."""
        try:
            _ptrace(PTRACE_DETACH, self.tid)
        except OSError:
            pass
