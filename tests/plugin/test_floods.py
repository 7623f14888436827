"""Many connections at once, and too many. XMPP443_FULL=1 has the largest flood too."""

import os
import resource
import statistics
import threading
import time

import pytest

from clients import hand_over, hello, ident, login, open_stream, tls
from prosody_box import Sender, message, tcp_pair

FULL = os.environ.get("XMPP443_FULL") == "1"


class Flood:
    """Connections that are handed over by a thread as fast as Prosody takes them, and answers by another."""

    def __init__(self, box, count, greeting=b""):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.box, self.answers, self.clients, self.kept = box, {}, {}, {}
        for _ in range(count):
            client, accepted = tcp_pair()
            client.sendall(greeting)
            unique = ident()
            self.clients[unique], self.kept[unique] = client, accepted

    def run(self, meanwhile=lambda: time.sleep(0.01)):
        """Returns the seconds until the last answer."""
        sender = Sender(self.box.socket)
        sending = threading.Thread(target=self._send, args=(sender,))
        receiving = threading.Thread(target=self._receive, args=(sender, len(self.kept)))
        start = time.monotonic()
        for thread in (sending, receiving):
            thread.start()
        while receiving.is_alive():
            meanwhile()
        took = time.monotonic() - start
        sending.join()
        sender.close()
        for unique in self.answered("A"):
            if unique in self.kept:
                self.kept.pop(unique).close()
        return took

    def _send(self, sender):
        for unique, accepted in self.kept.items():
            sender.send(message(unique), accepted.fileno())

    def _receive(self, sender, count):
        self.answers = {}
        while len(self.answers) < count:
            self.answers.update(sender.answers(1))

    def answered(self, verdict):
        return [unique for unique, given in list(self.answers.items()) if given == verdict]

    def close(self):
        for sock in (*self.clients.values(), *self.kept.values()):
            sock.close()


def round_trip(client):
    """Seconds that a session waits for an answer."""
    start = time.monotonic()
    client.ask("<iq type='get' id='ping' to='one.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    return time.monotonic() - start


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.skipif(not FULL, reason="XMPP443_FULL=1"))])
def test_flood_is_adopted_while_other_sessions_are_served(fresh, capsys, count):
    box = fresh(nofile=20000)
    client = login(tls(hand_over(Sender(box.socket))[0], "one.example"))
    idle = [round_trip(client) for _ in range(50)]
    busy = []
    flood = Flood(box, count, hello("one.example"))
    took = flood.run(meanwhile=lambda: busy.append(round_trip(client)))
    assert flood.answers == {unique: "A" for unique in flood.clients}
    with capsys.disabled():
        print(f"\n{count} hand-offs adopted in {took:.2f} s, each with its ClientHello answered; another session's round trip "
              f"meanwhile: median {1000 * statistics.median(busy):.1f} ms, longest {1000 * max(busy):.1f} ms "
              f"({len(busy)} measured; before: {1000 * statistics.median(idle):.1f} ms, {1000 * max(idle):.1f} ms)")
    for conn in list(flood.clients.values())[::97]:
        assert conn.recv(3, 0)[0] == 0x16  # its server hello
    flood.close()
    box.wait_until(lambda: box.descriptors() < 60, 30)
    assert "mechanisms" in open_stream(tls(hand_over(Sender(box.socket))[0], "one.example"), "one.example")


def test_out_of_descriptors_with_the_usual_limit_recovers(fresh):
    """Prosody's limit is 1,024 if nobody raises it. What does not fit waits in the sender and loses nothing."""
    box = fresh(nofile=1024)
    client = login(tls(hand_over(Sender(box.socket))[0], "one.example"))
    flood = Flood(box, 1100)
    before = []

    def some_leave_when_it_is_full():
        time.sleep(0.01)
        if flood.answered("R") and not before:
            round_trip(client)  # who is there already is served
            before.extend(flood.answered("A"))
            for unique in before:
                flood.clients.pop(unique).close()
    flood.run(some_leave_when_it_is_full)
    assert 700 < len(before) < 1024  # and up to 256 are in the queue
    box.wait_for_log("LimitNOFILE=")
    assert box.text().count("LimitNOFILE=") == 1

    waiting = flood.answered("R")
    assert waiting and len(waiting) + len(flood.answered("A")) == 1100
    flood.run()
    assert flood.answers == {unique: "A" for unique in waiting}
    for conn in list(flood.clients.values())[::7]:
        assert tls(conn, "one.example").selected_alpn_protocol() == "xmpp-client"
    round_trip(client)


def test_out_of_descriptors_is_answered_later_and_recovers(fresh):
    box = fresh(nofile=64)
    sender = Sender(box.socket)
    pairs = {ident(): tcp_pair() for _ in range(80)}
    for unique, (_, accepted) in pairs.items():
        sender.send(message(unique), accepted.fileno())
    answers = {}
    while "R" not in answers.values():
        answers.update(sender.answers(1))
    box.wait_for_log("raise the limit")
    for client, accepted in pairs.values():
        client.close()
        accepted.close()
    while len(answers) < len(pairs):
        answers.update(sender.answers(1))
    assert set(answers.values()) == {"A", "R"}
    box.wait_until(lambda: hand_over(sender)[1] == "A")


def test_pending_limit_delays_but_loses_nothing(fresh):
    box = fresh("fdpass_max_pending = 4")
    sender = Sender(box.socket)
    pairs = {ident(): tcp_pair() for _ in range(100)}
    for unique, (_, accepted) in pairs.items():
        sender.send(message(unique), accepted.fileno())
    assert sender.answers(100) == {unique: "A" for unique in pairs}


def test_pending_limit_that_is_none_is_explained(fresh):
    box = fresh("fdpass_max_pending = 0")
    box.wait_for_log("fdpass_max_pending must be a positive number; using 256")
    box.wait_for_log("Waiting for connections")
    assert hand_over(Sender(box.socket))[1] == "A"


def test_ids_of_a_flood_are_remembered(fresh):
    """The last 16,384 at least; here all of a flood, sent again over another connection."""
    box = fresh(nofile=4096)
    flood = Flood(box, 500)
    again = {unique: os.dup(accepted.fileno()) for unique, accepted in flood.kept.items()}
    flood.run()
    seen = box.log_size()
    other = Sender(box.socket)
    for unique, fd in again.items():
        other.send(message(unique), fd)
        os.close(fd)
    assert other.answers(len(again)) == {unique: "A" for unique in again}
    assert "New connection" not in box.text(seen)
    assert "mechanisms" in open_stream(tls(flood.clients[unique], "one.example"), "one.example")
    flood.close()


def test_repeated_connection_is_adopted_once(prosody, sender):
    client, accepted = tcp_pair()
    unique = ident()
    seen = prosody.log_size()
    sender.send(message(unique), accepted.fileno())
    assert sender.answers(1) == {unique: "A"}
    other = Sender(prosody.socket)
    other.send(message(unique), accepted.fileno())
    assert other.answers(1) == {unique: "A"}
    accepted.close()
    assert "mechanisms" in open_stream(tls(client, "one.example"), "one.example")
    assert prosody.text(seen).count("on server FD") == 1
    other.close()
