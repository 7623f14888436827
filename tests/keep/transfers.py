"""Many transfers at a time through the shim, each byte of which is checked at both ends; and the handle on them.

Run as a script it is either all the clients or the web server behind the shim. A client says how many bytes it will
send and wants to have, sends them, ends its direction and reads on. The server sends what was asked for and, once it
has all of the client's, the SHA-256 of that. So each end knows of both directions. Some read slowly, some send nothing
or want nothing, some end their direction long before the other's end.

The clients print a line of JSON for each transfer that is over.
"""

import hashlib
import json
import random
import select
import socket
import subprocess
import sys
import threading
import time

LENGTH = 1048573  # a prime: no two offsets that differ by a round number look alike
BLOCK = random.Random(443).randbytes(LENGTH) * 2
TICK = 0.01
FAST, SLOW = 65536, 6144  # bytes in one tick


def stream(seed, at, size):
    """Bytes of the stream, size of them at most."""
    start = (seed + at) % LENGTH
    return BLOCK[start:start + min(size, LENGTH)]


class Transfers:
    """The handle. with Transfers(world, port, 100, 20_000_000) as t: ...; t.results are complete after the with."""

    def __init__(self, server, client, address, port, web, count, size, header=True):
        """server, client: namespaces. web: where the server listens. size: of the largest transfer."""
        self._spaces = {"server": server, "client": client}
        self._orders = {
            "server": {"address": web, "header": header},
            "client": {"address": address, "port": port, "count": count, "size": size},
        }
        self._children = {}
        self.results = []

    def _start(self, role):
        with self._spaces[role].inside():
            child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "/usr/bin/python3", __file__, role],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        child.stdin.write(json.dumps(self._orders[role]) + "\n")
        child.stdin.flush()
        self._children[role] = child
        return child

    def __enter__(self):
        assert self._start("server").stdout.readline() == "ready\n"
        child = self._start("client")
        assert child.stdout.readline() == "ready\n"
        # All the time: the clients would stand still if nobody read what they print.
        self._reader = threading.Thread(target=lambda: self.results.extend(map(json.loads, child.stdout)), daemon=True)
        self._reader.start()
        return self

    def finish(self, seconds=300):
        """No new transfers; those under way go on to their end."""
        child = self._children["client"]
        child.stdin.write("finish\n")
        child.stdin.flush()
        child.wait(seconds)
        self._reader.join(20)

    def __exit__(self, *exc):
        for child in self._children.values():
            child.kill()
            child.wait()


class _Client:
    def __init__(self, orders, rng):
        size = orders["size"]
        self.up = rng.choice((0, rng.randrange(1000), rng.randrange(size), rng.randrange(size)))
        self.down = rng.choice((0, rng.randrange(1000), rng.randrange(size), rng.randrange(size)))
        self.seed = rng.randrange(LENGTH)
        self.write_at, self.read_at = (rng.choice((FAST, FAST, SLOW)) for _ in range(2))
        self.linger = rng.choice((0, 0, 1, 5))  # seconds between the last byte and the end of the direction
        self.head = f"{self.up} {self.down} {self.seed} {self.write_at}\n".encode()
        self.sent = self.got = 0
        self.sent_hash, self.got_hash, self.want_hash = (hashlib.sha256() for _ in range(3))
        self.tail = b""
        self.ended = False
        self.sent_all = None
        self.born = time.monotonic()
        self.sock = socket.create_connection((orders["address"], orders["port"]), timeout=60)
        self.sock.setblocking(False)
        self.born = time.monotonic()

    def write(self):
        if self.head:
            self.head = self.head[self.sock.send(self.head):]
        elif self.sent < self.up:
            piece = stream(self.seed + 7, self.sent, min(self.write_at, self.up - self.sent))
            n = self.sock.send(piece)
            self.sent_hash.update(piece[:n])
            self.sent += n
        elif self.sent_all is None:
            self.sent_all = time.monotonic()
        elif not self.ended and time.monotonic() - self.sent_all >= self.linger:
            self.sock.shutdown(socket.SHUT_WR)
            self.ended = True

    def read(self):
        """True: it is over."""
        data = self.sock.recv(self.read_at)
        if not data:
            return True
        body = data[:max(0, self.down - self.got)]
        self.got_hash.update(body)
        self.want_hash.update(stream(self.seed, self.got, len(body)))
        self.got += len(body)
        self.tail += data[len(body):]
        return False

    def step(self):
        """None while it goes on; else how it ended."""
        try:
            try:
                self.write()
            except BlockingIOError:
                pass
            try:
                over = self.read()
            except BlockingIOError:
                return None
        except OSError as e:
            return "right" if self._is_right() and self.ended else f"lost: {e.strerror}"
        if self.got_hash.digest() != self.want_hash.digest():
            return "wrong"
        if not over:
            return None
        if self._is_right():
            return "right"
        if len(self.tail) >= 32:
            return "wrong"
        return f"lost: its end came after {self.got + len(self.tail)} of {self.down + 32} bytes"

    def _is_right(self):
        return self.got == self.down and self.sent == self.up and self.tail == self.sent_hash.digest()


def run_clients(orders):
    rng = random.Random()
    clients, finishing = [], False
    print("ready", flush=True)
    while clients or not finishing:
        start = time.monotonic()
        if not finishing and select.select([STDIN], [], [], 0)[0]:
            finishing = True
        for _ in range(2):
            if not finishing and len(clients) < orders["count"]:
                try:
                    clients.append(_Client(orders, rng))
                except ConnectionRefusedError:  # a shim that takes its listener with it
                    pass
        for client in list(clients):
            outcome = client.step()
            if outcome is not None:
                clients.remove(client)
                client.sock.close()
                print(json.dumps({"outcome": outcome, "born": client.born, "died": time.monotonic(),
                                  "up": client.up, "down": client.down}), flush=True)
        time.sleep(max(0, start + TICK - time.monotonic()))


class _Served:
    def __init__(self, sock, header):
        self.sock = sock
        sock.setblocking(False)
        self.lines = 2 if header else 1
        self.head = b""
        self.down = None
        self.got = self.sent = 0
        self.hash = hashlib.sha256()
        self.ended = False
        self.tail = None

    def read(self):
        data = self.sock.recv(FAST)
        if self.down is None:
            self.head += data
            if self.head.count(b"\n") < self.lines:
                if not data:
                    raise OSError("no request")
                return
            *lines, data = self.head.split(b"\n", self.lines)
            assert self.lines == 1 or lines[0].startswith(b"PROXY TCP"), lines
            _up, self.down, self.seed, self.rate = map(int, lines[-1].split())
            if not data:
                return
        self.hash.update(data)
        self.got += len(data)
        self.ended = not data

    def write(self):
        if self.down is None:
            return
        if self.sent < self.down:
            self.sent += self.sock.send(stream(self.seed, self.sent, min(self.rate, self.down - self.sent)))
        elif self.ended:
            if self.tail is None:
                self.tail = self.hash.digest()
            self.tail = self.tail[self.sock.send(self.tail):]

    def step(self):
        """True: it is over."""
        try:
            if not self.ended:
                try:
                    self.read()
                except BlockingIOError:
                    pass
            try:
                self.write()
            except BlockingIOError:
                pass
        except (OSError, ValueError):
            return True
        return self.tail == b""


def run_server(orders):
    listener = socket.create_server(tuple(orders["address"]), backlog=1024)
    listener.setblocking(False)
    print("ready", flush=True)
    served = []
    while True:
        start = time.monotonic()
        try:
            while True:
                served.append(_Served(listener.accept()[0], orders["header"]))
        except BlockingIOError:
            pass
        for one in list(served):
            if one.step():
                served.remove(one)
                one.sock.close()
        time.sleep(max(0, start + TICK - time.monotonic()))


if __name__ == "__main__":
    # Unbuffered: what comes behind the orders stays where select() sees it.
    STDIN = open(0, "rb", buffering=0)
    {"client": run_clients, "server": run_server}[sys.argv[1]](json.loads(STDIN.readline()))
