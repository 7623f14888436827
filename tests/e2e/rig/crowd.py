"""Many badly behaved clients in one process, and the handle on that process.

Run as a script it reads its orders as JSON, keeps `count` connections going in one way or another
(MODES) until it is killed, and prints every half second what has happened so far.
"""

import errno
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

SERVER4, SERVER6 = "192.0.2.1", "2001:db8::1"  # as in world.py, which a script cannot import
MODES = {
    "silent": "connects and says nothing; comes again about a second after it is closed",
    "dribble": "sends a byte a second; comes again about a second after it is closed",
    "hello": "sends its hello and waits; comes again about a second after it is closed",
    "flood": "connects and leaves at once, by FIN, by RST or after a hello; comes again at once",
}
CONNECTING_MAX = 256
REST = 1.0
IP_FREEBIND, IP_BIND_ADDRESS_NO_PORT = 15, 24


class Crowd:
    """The handle. sources: addresses to come from, in turn; any that routes lead to."""

    def __init__(self, world, mode, count, port, sources, hello=b""):
        self._world = world
        self._orders = json.dumps({"mode": mode, "count": count, "port": port, "sources": sources,
                                   "servers": [SERVER4, SERVER6], "hello": hello.hex()})
        self._child = None

    def __enter__(self):
        with self._world.client.inside():
            self._child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "/usr/bin/python3", __file__],
                                           stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        self._child.stdin.write(self._orders.encode())
        self._child.stdin.close()
        os.set_blocking(self._child.stdout.fileno(), False)
        self._last, self._rest = {"open": 0, "connected": 0, "ended": 0, "failed": 0}, b""
        return self

    def counts(self):
        """{open, connected, ended, failed}, of half a second ago at most."""
        assert self._child.poll() is None, "the crowd has died"
        lines = (self._rest + (self._child.stdout.read() or b"")).split(b"\n")
        self._rest = lines.pop()
        if lines:
            self._last = json.loads(lines[-1])
        return self._last

    def __exit__(self, *exc):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()


class _Client:
    def __init__(self):
        self.connected = False
        self.sent = 0
        self.sock = None


class _Run:
    def __init__(self, orders):
        self.mode = orders["mode"]
        self.port = orders["port"]
        self.sources = orders["sources"]
        self.servers = orders["servers"]
        self.hello = bytes.fromhex(orders["hello"])
        self.epoll = select.epoll()
        self.clients = {}
        self.connecting = 0
        self.waiting = [_Client() for _ in range(orders["count"])]
        self.resting = []  # a heap of (until when, something to tell equals apart, client)
        self.made = 0
        self.counts = {"connected": 0, "ended": 0, "failed": 0}

    def open(self, client):
        source = self.sources[self.made % len(self.sources)]
        six = ":" in source
        sock = client.sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        self.made += 1
        client.connected, client.sent = False, 0
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # IPv6 wants it for addresses that only a route makes ours
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
            err = sock.connect_ex((self.servers[1 if six else 0], self.port))
        except OSError as e:
            err = e.errno
        if err not in (0, errno.EINPROGRESS):
            sock.close()
            self.counts["failed"] += 1
            self.waiting.append(client)
            return
        self.connecting += 1
        self.clients[sock.fileno()] = client
        self.epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)

    def close(self, client, reset=False):
        if reset:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connecting -= not client.connected
        del self.clients[client.sock.fileno()]
        self.epoll.unregister(client.sock.fileno())
        client.sock.close()
        if self.mode == "flood":
            self.waiting.append(client)
        else:
            # Not all of them in the same moment, although they may have been closed in one.
            heapq.heappush(self.resting, (time.monotonic() + random.uniform(0.5, 1.5) * REST, id(client), client))

    def on_connected(self, client):
        if client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self.counts["failed"] += 1
            self.close(client)
            return
        client.connected = True
        self.connecting -= 1
        self.counts["connected"] += 1
        how = self.made % 3 if self.mode == "flood" else None
        try:
            if self.mode == "hello" or how == 2:
                client.sock.send(self.hello)
        except OSError:
            pass
        if how is None:
            self.epoll.modify(client.sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        else:
            self.close(client, reset=how > 0)

    def on_event(self, client):
        if not client.connected:
            self.on_connected(client)
            return
        try:
            if client.sock.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.counts["ended"] += 1
        self.close(client)

    def dribble(self):
        for client in list(self.clients.values()):
            if client.connected:
                try:
                    client.sent += client.sock.send(self.hello[client.sent:client.sent + 1])
                except OSError:
                    pass

    def forever(self):
        told = dribbled = time.monotonic()
        while True:
            while self.resting and self.resting[0][0] <= time.monotonic():
                self.waiting.append(heapq.heappop(self.resting)[2])
            while self.waiting and self.connecting < CONNECTING_MAX:
                before = self.counts["failed"]
                self.open(self.waiting.pop())
                if self.counts["failed"] > before:
                    break  # out of ports, or the like: not in a tight circle
            for fd, _ in self.epoll.poll(0.02, 1024):
                if fd in self.clients:
                    self.on_event(self.clients[fd])
            now = time.monotonic()
            if self.mode == "dribble" and now - dribbled >= 1:
                dribbled = now
                self.dribble()
            if now - told >= 0.5:
                told = now
                print(json.dumps({"open": len(self.clients) - self.connecting, **self.counts}), flush=True)


if __name__ == "__main__":
    _Run(json.load(sys.stdin)).forever()
