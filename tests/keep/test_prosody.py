"""Prosody dies, is restarted, or hangs, while clients arrive all the time: who logs in, and who does not."""

import random
import signal
import time
from collections import Counter

from arrivals import Arrivals
from kept import FULL, table
from rig.wait import until
from rig.visitors import CLIENTS4, CLIENTS6, HOSTS, PASSWORD, SERVER4, SERVER6

RATE = 200        # clients a second
SECONDS = 1.0     # of arriving, in each round
DEATHS = 200 if FULL else 8
HANG = 20 if FULL else 4


def arrivals(world, port):
    return Arrivals(world.client, world.authority.cert, CLIENTS4 + CLIENTS6, (SERVER4, SERVER6), port, HOSTS[0], "alice",
                    PASSWORD)


def start_shim(world, port):
    shim = world.shim(world.config(port, shim={"max-pending-per-ip": "100000", "log-rate": "off", "workers": "2"},
                                   routes={"clients": {"alpn": "xmpp-client", "fdpass": world.prosody.socket,
                                                       "hold": "120s"}}))
    return shim.start()


def acked(shim, since):
    return Counter(event["peer"] for event in shim.events(since, event="handed-off"))


class Tally:
    def __init__(self):
        self.deaths = self.arrived = self.logged_in = self.inside = self.lost = self.stuck = self.twice = 0
        self.waited = 0

    def add(self, results, handed):
        self.arrived += len(results)
        # The kernel may give a port to a second client once the first has gone.
        clients = Counter(one["peer"] for one in results)
        self.twice += sum(max(0, times - clients[peer]) for peer, times in handed.items())
        for one in results:
            adopted = handed[one["peer"]] >= clients[one["peer"]]
            self.logged_in += one["outcome"] == "in"
            self.stuck += one["outcome"] == "stuck"
            if one["outcome"] == "cut":
                self.inside += adopted
                self.lost += not adopted
            elif one["outcome"] == "in":
                self.waited = max(self.waited, one["took"])
                assert adopted, one
            if one["outcome"] != "in" and not adopted:
                print(one)

    def row(self, name):
        return [name, self.deaths, self.arrived, self.logged_in, self.inside, self.lost, self.stuck, self.twice,
                f"{self.waited:.1f} s"]


HEAD = ["", "times", "arrived", "logged in", "died inside, acked", "lost", "stuck", "adopted twice", "longest wait"]


def die(world, how):
    if how == "kill -9":
        world.prosody.kill()
    else:
        world.prosody.stop()
    if how != "restart":
        time.sleep(random.uniform(0, 1))
    world.prosody.start()


def test_whoever_prosody_had_not_adopted_logs_in_when_it_is_back(world):
    """Each round: clients arrive, and in the middle of it Prosody goes and comes back."""
    shim = start_shim(world, 10901)
    tallies = {how: Tally() for how in ("kill -9", "SIGTERM", "restart")}
    with arrivals(world, 10901) as clients:
        clients.salvo(10, RATE)
        assert [one["outcome"] for one in clients.wait()] == ["in"] * 10
        before = shim.sockets()
        for n in range(DEATHS):
            how = list(tallies)[n % len(tallies)]
            since = shim.mark()
            clients.salvo(int(RATE * SECONDS), RATE)
            time.sleep(random.uniform(0, SECONDS))
            die(world, how)
            results = clients.wait()
            tallies[how].deaths += 1
            tallies[how].add(results, acked(shim, since))
        # Nobody is left: not in the shim, not in Prosody.
        until(lambda: shim.sockets() == before, "the shim to have let everybody go", 60)
        until(lambda: shim.events(event="stopped") or world.prosody.process.sockets() < 30, "Prosody to have", 60)
    shim.stop()
    table("Prosody dies while 200 clients a second arrive", [HEAD] + [t.row(how) for how, t in tallies.items()])
    for how, tally in tallies.items():
        assert tally.lost == tally.stuck == tally.twice == 0, how
        assert tally.arrived == tally.logged_in + tally.inside
    assert sum(tally.logged_in for tally in tallies.values()) > DEATHS * RATE * SECONDS / 2


def test_a_prosody_that_hangs_loses_nobody(world):
    shim = start_shim(world, 10902)
    tally = Tally()
    with arrivals(world, 10902) as clients:
        clients.salvo(10, RATE)
        assert [one["outcome"] for one in clients.wait()] == ["in"] * 10
        before, since = shim.sockets(), shim.mark()
        world.prosody.process.signal(signal.SIGSTOP)
        try:
            clients.salvo(int(RATE * min(HANG, 5)), RATE)
            time.sleep(HANG)
        finally:
            world.prosody.process.signal(signal.SIGCONT)
        tally.deaths = 1
        tally.add(clients.wait(), acked(shim, since))
        until(lambda: shim.sockets() == before, "the shim to have let everybody go", 60)
    shim.stop()
    table(f"Prosody hangs for {HANG} s (SIGSTOP)", [HEAD, tally.row("SIGSTOP")])
    assert tally.logged_in == tally.arrived and tally.twice == 0
