"""Who may hand over connections, and senders that do not listen to the answers."""

import os
import signal
import socket

import pytest

from clients import hand_over, hello, ident, open_stream, tls
from prosody_box import Sender, message, tcp_pair

NOBODY = 65534


def connect_as_nobody(box):
    os.seteuid(NOBODY)
    try:
        return Sender(box.socket)
    finally:
        os.seteuid(0)


def test_stranger_is_refused_with_a_remedy(fresh):
    box = fresh('fdpass_socket_mode = "666"')
    box.dir.chmod(0o755)
    assert box.socket.stat().st_mode & 0o777 == 0o666
    box.settle()
    before = box.descriptors()
    for _ in range(200):
        stranger = connect_as_nobody(box)
        with pytest.raises(EOFError):
            stranger.answers(1)
        stranger.close()
    assert box.text().count("Refused a sender with uid 65534") == 1
    assert "add its user name to fdpass_users" in box.text()
    assert box.descriptors() == before


def test_strangers_connection_is_closed_unread(fresh):
    box = fresh('fdpass_socket_mode = "666"')
    box.dir.chmod(0o755)
    box.process.send_signal(signal.SIGSTOP)
    stranger = connect_as_nobody(box)
    client, accepted = tcp_pair()
    stranger.send(message(ident()), accepted.fileno())
    accepted.close()
    box.process.send_signal(signal.SIGCONT)
    with pytest.raises(EOFError):
        stranger.answers(1)
    assert client.recv(1) == b""
    assert "New connection" not in box.text()


def test_user_can_be_allowed(fresh):
    box = fresh('fdpass_socket_mode = "666"; fdpass_users = { "nobody" }')
    box.dir.chmod(0o755)
    assert hand_over(connect_as_nobody(box))[1] == "A"
    with pytest.raises(EOFError):
        Sender(box.socket).answers(1)


def test_user_can_be_allowed_by_number(fresh):
    box = fresh(f'fdpass_socket_mode = "666"; fdpass_users = {{ "no-such-user", "{NOBODY}" }}')
    box.dir.chmod(0o755)
    assert hand_over(connect_as_nobody(box))[1] == "A"


def test_socket_mode_is_660_by_default(prosody):
    assert prosody.socket.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("mode", ["rw-rw----", "1777", ""])
def test_socket_mode_that_is_none_is_explained(fresh, mode):
    box = fresh(f'fdpass_socket_mode = "{mode}"')
    box.wait_for_log("fdpass_socket_mode must be octal permission bits")
    box.wait_for_log("Waiting for connections")
    assert box.socket.stat().st_mode & 0o777 == 0o660
    assert hand_over(Sender(box.socket))[1] == "A"


def deaf_sender(box, count):
    """A sender that hands over until it cannot any more, and reads no answer.

    Returns it with {id: client}. Each client has said hello.
    """
    deaf, clients, greeting = Sender(box.socket), {}, hello("one.example")
    deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    for _ in range(count):
        client, accepted = tcp_pair()
        client.sendall(greeting)
        unique = ident()
        deaf.send(message(unique), accepted.fileno())
        accepted.close()
        clients[unique] = client
    return deaf, clients


def answered(client):
    """Whether Prosody has begun with TLS."""
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False


def test_sender_that_reads_no_answers_blocks_nobody_and_loses_none(fresh):
    box = fresh()
    sender = Sender(box.socket)
    assert hand_over(sender)[1] == "A"
    box.settle()
    before = box.descriptors()
    deaf, clients = deaf_sender(box, 600)
    for _ in range(20):
        client, verdict = hand_over(sender)
        assert verdict == "A"
        assert "mechanisms" in open_stream(tls(client, "one.example"), "one.example")
        client.close()
    assert deaf.answers(600) == {unique: "A" for unique in clients}
    box.wait_until(lambda: all(answered(client) for client in clients.values()))
    for client in clients.values():
        client.close()
    deaf.close()
    box.wait_until(lambda: box.descriptors() <= before)


def test_sender_that_leaves_its_answers_unread_leaves_nothing_behind(fresh):
    box = fresh()
    sender = Sender(box.socket)
    assert hand_over(sender)[1] == "A"
    box.settle()
    before = box.descriptors()
    deaf, clients = deaf_sender(box, 600)
    assert hand_over(sender)[1] == "A"
    deaf.close()
    for client in clients.values():
        client.close()
    box.wait_until(lambda: box.descriptors() <= before)
    assert hand_over(sender)[1] == "A"
    assert not box.complaints()


def test_no_byte_is_read_before_the_answer_is_out(fresh):
    """Otherwise, should Prosody die, the sender would send a connection again that has begun."""
    box = fresh()
    deaf, clients = deaf_sender(box, 600)
    hand_over(Sender(box.socket))
    box.wait_until(lambda: sum(answered(client) for client in clients.values()) > 100)
    box.settle()
    begun = {unique for unique, client in clients.items() if answered(client)}
    box.stop(signal.SIGKILL)
    answers = {}
    with pytest.raises(EOFError):
        while True:
            answers.update(deaf.answers(1))
    assert begun <= set(answers)
