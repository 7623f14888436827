"""Processes of this machine that connect to the socket and do what they should not."""

import os
import signal

import pytest

from clients import hand_over, ident
from prosody_box import Sender, message


def test_bad_message_is_refused_and_the_rest_goes_on(sender):
    unique = ident()
    sender.send(message(unique))
    assert sender.answers(1) == {unique: "N"}
    assert hand_over(sender)[1] == "A"


def test_garbage_ends_only_its_own_sender(prosody, sender):
    other = Sender(prosody.socket)
    other.send(b"garbage")
    with pytest.raises(EOFError):
        other.answers(1)
    assert hand_over(sender)[1] == "A"


def test_answers_due_are_given_before_a_sender_is_cut_off(fresh):
    box = fresh()
    sender = Sender(box.socket)
    box.process.send_signal(signal.SIGSTOP)
    unique = ident()
    sender.send(message(unique))
    sender.send(b"garbage")
    box.process.send_signal(signal.SIGCONT)
    assert sender.answers(1) == {unique: "N"}
    with pytest.raises(EOFError):
        sender.answers(1)


def test_stranger_is_refused_with_a_remedy(fresh):
    box = fresh('fdpass_socket_mode = "666"')
    box.dir.chmod(0o755)
    assert box.socket.stat().st_mode & 0o777 == 0o666
    for _ in range(3):
        os.seteuid(65534)
        try:
            stranger = Sender(box.socket)
        finally:
            os.seteuid(0)
        with pytest.raises(EOFError):
            stranger.answers(1)
    assert box.text().count("Refused a sender with uid 65534") == 1
    assert "add its user name to fdpass_users" in box.text()


def test_user_can_be_allowed(fresh):
    box = fresh('fdpass_socket_mode = "666"; fdpass_users = { "nobody" }')
    box.dir.chmod(0o755)
    os.seteuid(65534)
    try:
        sender = Sender(box.socket)
    finally:
        os.seteuid(0)
    assert hand_over(sender)[1] == "A"
    with pytest.raises(EOFError):
        Sender(box.socket).answers(1)


def test_socket_mode_is_660_by_default(prosody):
    assert prosody.socket.stat().st_mode & 0o777 == 0o660
