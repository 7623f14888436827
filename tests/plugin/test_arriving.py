"""Prosody ends, in each way there is, while clients keep arriving: nobody is lost, nobody is adopted twice."""

import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

from clients import hello, ident, shell
from prosody_box import Sender, message, tcp_pair


class Arrivals(threading.Thread):
    """Clients that keep coming, and a sender that keeps to doc/protocol.md."""

    def __init__(self, box):
        super().__init__(daemon=True)
        self.box, self.sender, self.enough = box, None, threading.Event()
        self.greeting = hello("one.example")
        self.clients, self.unanswered = {}, {}
        self.adopted = {}  # id -> [the control connection it was adopted over]
        self.connections = 0
        self.problems = []

    def run(self):
        while not (self.enough.is_set() and not self.unanswered):
            if not self.sender and not self._connect():
                time.sleep(0.01)
            if not self.enough.is_set():
                self._arrive()
            if self.sender and self._readable():
                self._read()

    def _readable(self):
        poll = select.poll()  # select() does not know descriptors above 1,023
        poll.register(self.sender.sock, select.POLLIN)
        return poll.poll(3)

    def _connect(self):
        try:
            self.sender = Sender(self.box.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        self.connections += 1
        for unique in list(self.unanswered):
            self._send(unique)
        return True

    def _arrive(self):
        client, accepted = tcp_pair()
        client.sendall(self.greeting)
        unique = ident()
        self.clients[unique], self.unanswered[unique] = client, accepted
        self._send(unique)

    def _send(self, unique):
        try:
            if self.sender:
                self.sender.send(message(unique), self.unanswered[unique].fileno())
        except (BrokenPipeError, ConnectionResetError):
            pass  # what is still to be read comes first

    def _read(self):
        try:
            data = self.sender.sock.recv(1024)
        except ConnectionResetError:
            return
        if not data:
            self.sender.close()
            self.sender = None
            self.problems += [f"{unique.hex()} was begun without an answer" for unique in self.unanswered
                              if began(self.clients[unique])]
        for i in range(0, len(data), 9):
            verdict, unique = data[i:i + 1], data[i + 1:i + 9]
            if verdict == b"A":
                self.adopted.setdefault(unique, set()).add(self.connections)
                if unique in self.unanswered:
                    self.unanswered.pop(unique).close()
            elif verdict == b"R":
                self._send(unique)
            else:
                self.problems.append(f"{unique.hex()}: {verdict}")


def began(client):
    """Whether Prosody has answered the ClientHello."""
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) == b"\x16"
    except (BlockingIOError, ConnectionResetError):
        return False


def end_by(sig):
    def end(box):
        box.stop(sig)
        time.sleep(0.1)
        box.start()
    return end


def reload_module(box):
    shell(box, "module reload net_fdpass")


def reload_clients(box):
    shell(box, "module reload c2s")


def reload_config(box):
    subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "reload"], check=True, capture_output=True)


@pytest.mark.parametrize("end", [end_by(signal.SIGTERM), end_by(signal.SIGKILL), reload_module, reload_clients, reload_config],
                         ids=["SIGTERM", "kill -9", "module reload net_fdpass", "module reload c2s", "prosodyctl reload"])
def test_nobody_is_lost_or_adopted_twice_by(fresh, end):
    box = fresh(modules=("c2s", "s2s", "tls", "saslauth", "admin_socket", "admin_shell"), nofile=8192)
    arrivals = Arrivals(box)
    arrivals.start()
    for _ in range(8 if os.environ.get("XMPP443_FULL") == "1" else 3):
        time.sleep(0.3)
        end(box)
    time.sleep(0.3)
    arrivals.enough.set()
    arrivals.join(30)
    assert not arrivals.unanswered and not arrivals.is_alive()
    assert not arrivals.problems
    assert len(arrivals.clients) > 100
    assert all(len(over) == 1 for over in arrivals.adopted.values())
    last = [unique for unique, over in arrivals.adopted.items() if over == {arrivals.connections}]
    assert last
    box.wait_until(lambda: all(began(arrivals.clients[unique]) for unique in last))
    # Prosody 0.12 itself is not safe from its signal handlers, which can run between any two of its steps:
    # now and then SIGTERM leaves a "Top-level error" from server_epoll.lua or indexedbheap.lua behind.
    ours = [line for line in box.text().splitlines() if "mod_net_fdpass" in line]
    assert not [line for line in ours if "\terror\t" in line or "\twarn\t" in line or ".lua:" in line]
    for client in arrivals.clients.values():
        client.close()
