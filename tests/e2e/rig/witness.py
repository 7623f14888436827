"""A well-behaved client that goes on logging in and fetching, and remembers how that went."""

import threading
import time

from .world import HOSTS


class Witness:
    """Use with `with`; afterwards, or between, logins and fetches hold the seconds each took, failures the rest."""

    def __init__(self, world, port, source4, source6):
        self._world, self._port, self._sources = world, port, (source4, source6)
        self.logins, self.fetches, self.failures = [], [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=pair, daemon=True)
                         for pair in ((self._log_in, self.logins), (self._fetch, self.fetches))]

    def _repeat(self, attempt, took):
        number = 0
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                attempt(self._sources[number % 2])
                took.append(time.monotonic() - start)
            except Exception as e:  # whatever it was, the client has not been served
                self.failures.append(f"{attempt.__name__} after {time.monotonic() - start:.2f} s: {e!r}")
            number += 1
            self._stop.wait(0.05)

    def _log_in(self, source):
        with self._world.login("alice", source=source, port=self._port, timeout=60):
            pass

    def _fetch(self, source):
        with self._world.tls(alpn=["http/1.1"], source=source, port=self._port, timeout=60) as stream:
            stream.sendall(f"GET / HTTP/1.1\r\nHost: {HOSTS[0]}\r\nConnection: close\r\n\r\n".encode())
            page = b"".join(iter(stream.recv, b""))
            assert page.endswith(f"the web page of {HOSTS[0]}\n".encode()), page

    def summary(self):
        return ", ".join(f"{len(took)} {name} (median {1000 * sorted(took)[len(took) // 2]:.0f}, "
                         f"slowest {1000 * max(took):.0f} ms)" if took else f"no {name}"
                         for name, took in (("logins", self.logins), ("fetches", self.fetches)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
