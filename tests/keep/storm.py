"""A storm: transfers, WebSockets and XMPP sessions through the shim, and faults in the middle of it."""

import random
import time

from kept import FULL, Chat, Talk
from rig.nginx import APPLICATION
from rig.visitors import SERVER4
from rig.websocket import WebSocketServer
from transfers import Transfers

COUNT, SIZE = (100, 20_000_000) if FULL else (20, 1_000_000)
WEB = ("127.0.0.1", 18090)  # where the transfers' server listens
AGE = 1.6  # keep-after, what it may take longer, and what a client's clock is ahead of the shim's
HEAD = ["", "faults", "transfers", "GB", "wrong", "lost", "young lost", "WS messages", "WS lost", "stanzas", "XMPP lost"]


def rest():
    time.sleep(random.uniform(1.5, 3))


def judge(results, faults):
    """{right, wrong, young, lost}: young are those that were lost, but were not old enough when the shim died."""
    counts = {"right": 0, "wrong": 0, "young": 0, "lost": 0}
    for one in results:
        outcome = one["outcome"].partition(":")[0]
        if outcome == "lost" and any(-0.5 <= fault - one["born"] <= AGE and fault <= one["died"] for fault in faults):
            outcome = "young"
        counts[outcome] += 1
        if outcome in ("lost", "wrong"):
            print(one, [round(fault - one["born"], 2) for fault in faults if fault > one["born"]])
    return counts


class Storm:
    """Transfers, WebSockets and XMPP sessions, and faults in the middle of it."""

    def __init__(self, world, port, chats=4):
        """world: from .client, a namespace, its visitors log in and browse; .server, or .net, is the server's."""
        self._server = world.server if hasattr(world, "server") else world.net
        self._world, self._port, self._chats = world, port, chats
        self.lives, self.faults = [], []

    def run(self, acts):
        with WebSocketServer(self._server, APPLICATION), \
                Transfers(self._server, self._world.client, SERVER4, self._port, WEB, COUNT, SIZE) as transfers:
            self.lives = [Chat(self._world, self._port) for _ in range(self._chats)] + \
                [Talk(self._world, self._port) for _ in range(2)]
            time.sleep(AGE)
            for act in acts:
                self.faults.append(act())
                rest()
            transfers.finish()
            for life in self.lives:
                life.stop()
        counts = judge(transfers.results, self.faults)
        counts["bytes"] = sum(one["up"] + one["down"] for one in transfers.results)
        return counts

    def row(self, name, counts):
        chats = [life for life in self.lives if isinstance(life, Chat)]
        talks = [life for life in self.lives if isinstance(life, Talk)]
        return [name, len(self.faults), counts["right"], f"{counts['bytes'] / 1e9:.2f}", counts["wrong"], counts["lost"],
                counts["young"], sum(life.count for life in chats), sum(life.error is not None for life in chats),
                sum(life.count for life in talks), sum(life.error is not None for life in talks)]


def mixed(**acts):
    """{act: how often} in any order."""
    chosen = [act for act, times in acts.values() for _ in range(times)]
    random.shuffle(chosen)
    return chosen


def in_turn(*values):
    while True:
        yield from values
