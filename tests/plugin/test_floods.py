"""Many connections at once, and too many."""

from clients import hand_over, ident, open_stream, tls
from prosody_box import Sender, message, tcp_pair


def test_many_at_once_are_all_adopted(prosody, sender):
    pairs = {ident(): tcp_pair() for _ in range(400)}
    answers = {}
    for n, (unique, (_, accepted)) in enumerate(pairs.items(), 1):
        sender.send(message(unique), accepted.fileno())
        if n % 100 == 0:
            answers.update(sender.answers(100))
    assert answers == {unique: "A" for unique in pairs}
    assert "mechanisms" in open_stream(tls(pairs[unique][0], "one.example"), "one.example")
    for client, accepted in pairs.values():
        client.close()
        accepted.close()


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
