"""Start, reload, unload and end."""

import signal
import socket

import pytest

from clients import hand_over, ident, login, shell, still_open, tls
from prosody_box import Sender, message, tcp_pair


def shut_down_under_load(box):
    """The answers to 200 connections of which some are, with luck, in the queue at SIGTERM."""
    sender = Sender(box.socket)
    pairs = {ident(): tcp_pair() for _ in range(200)}
    for unique, (_, accepted) in pairs.items():
        sender.send(message(unique), accepted.fileno())
    answers = list(sender.answers(1).items())
    box.process.send_signal(signal.SIGTERM)
    with pytest.raises(EOFError):
        while True:
            answers += sender.answers(1).items()
    box.process.wait(15)
    assert not box.socket.exists()
    # Prosody 0.12 handles a signal between two steps of whatever runs, also of sending an
    # answer, which then may leave twice. Two different ones would be a mistake.
    assert len(dict(answers)) == len(set(answers))
    verdicts = dict(answers)
    assert set(verdicts.values()) <= {"A", "R"}
    # Whoever was not adopted, with an answer or without, can be given to the next one.
    assert all(still_open(pairs[unique][0]) for unique in pairs if verdicts.get(unique) != "A")
    return verdicts.values()


def test_shutdown_gives_queued_connections_back_and_removes_the_socket(fresh):
    box = fresh()
    for _ in range(20):
        if "R" in shut_down_under_load(box):
            return
        box.start()
    pytest.fail("none of the connections was ever in the queue")


def test_kill_leaves_a_socket_that_the_next_start_replaces(fresh):
    box = fresh()
    box.stop(signal.SIGKILL)
    assert box.socket.exists()
    with pytest.raises(ConnectionRefusedError):
        Sender(box.socket)
    box.start()
    assert hand_over(Sender(box.socket))[1] == "A"


ADMIN = ("c2s", "s2s", "tls", "saslauth", "admin_socket", "admin_shell")


def is_served(client):
    client.send(client.jid, "still here")
    return client.receive() == (client.jid, "still here")


def test_sessions_stay_whatever_is_reloaded(fresh):
    box = fresh(modules=ADMIN)
    first = Sender(box.socket)
    client, accepted = tcp_pair()
    unique = ident()
    first.send(message(unique), accepted.fileno())
    assert first.answers(1) == {unique: "A"}
    session = login(tls(client, "one.example"))

    shell(box, "module reload net_fdpass")
    with pytest.raises(EOFError):
        first.answers(1)
    assert is_served(session)
    second = Sender(box.socket)
    second.send(message(unique), accepted.fileno())
    assert second.answers(1) == {unique: "A"}  # remembered
    accepted.close()
    assert is_served(session)

    for what in ("module reload c2s", "module reload s2s", "config reload"):
        shell(box, what)
        assert is_served(login(tls(hand_over(second)[0], "one.example"), resource=what.replace(" ", "-")))
    assert is_served(session)
    assert not box.complaints()


def test_module_is_unloaded_and_loaded_while_sessions_stay(fresh):
    box = fresh(modules=ADMIN)
    session = login(tls(hand_over(Sender(box.socket))[0], "one.example"))
    before = box.descriptors()
    for _ in range(3):
        shell(box, "module unload net_fdpass")
        assert not box.socket.exists()
        assert is_served(session)
        shell(box, "module load net_fdpass")
        assert hand_over(Sender(box.socket))[1] == "A"
    assert is_served(session)
    box.wait_until(lambda: box.descriptors() <= before)
    assert not box.complaints()


def test_module_is_loaded_for_the_first_time_while_prosody_runs(fresh):
    box = fresh(modules=ADMIN, with_module=False, wait_for_listener="epoll backend")
    assert not box.socket.exists()
    shell(box, "module load net_fdpass")
    assert is_served(login(tls(hand_over(Sender(box.socket))[0], "two.example"), host="two.example"))


def test_services_may_be_loaded_later(fresh):
    box = fresh(modules=("tls", "saslauth", "admin_socket", "admin_shell"), disabled=("c2s", "s2s"))
    sender = Sender(box.socket)
    assert hand_over(sender)[1] == "N"
    shell(box, "module load c2s")
    assert is_served(login(tls(hand_over(sender)[0], "one.example")))
    shell(box, "module unload c2s")
    assert hand_over(sender)[1] == "N"


@pytest.mark.parametrize("obstacle, remedy", [
    ("file", "there is a file that is not a socket"),
    ("owner", "another process is listening there"),
    ("directory", "create the directory"),
    ("permission", "writable for Prosody's user, or set fdpass_socket"),
])
def test_obstacle_is_explained_and_a_reload_tries_again(fresh, obstacle, remedy, tmp_path):
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o777)
    path = tmp_path / "run/fdpass.sock"
    live = None
    if obstacle != "directory":
        path.parent.mkdir()
        path.parent.chmod(0o777)
    if obstacle == "file":
        path.write_text("precious")
    if obstacle == "permission":
        path.parent.chmod(0o755)
    if obstacle == "owner":
        live = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        live.bind(str(path))
        live.listen()
        path.chmod(0o666)
    box = fresh(f'fdpass_socket = "{path}"')
    box.wait_for_log(remedy)
    assert box.text().count("mod_net_fdpass\terror") == 1
    assert path.read_text() == "precious" if obstacle == "file" else path.exists() == (obstacle == "owner")
    if obstacle == "directory":
        path.parent.mkdir()
        path.parent.chmod(0o777)
    elif obstacle == "permission":
        path.parent.chmod(0o777)
    else:
        path.unlink()
    seen = box.reload()
    box.wait_for_log("Waiting for connections", since=seen)
    assert hand_over(Sender(path))[1] == "A"
    if live:
        live.close()


def test_path_that_is_too_long_is_explained(fresh):
    box = fresh(f'fdpass_socket = "/tmp/{"x" * 120}/fdpass.sock"')
    box.wait_for_log("set fdpass_socket to a path of at most 107 bytes")


def test_second_prosody_does_not_take_the_socket_of_the_first(fresh):
    first = fresh()
    first.dir.chmod(0o777)
    second = fresh(f'fdpass_socket = "{first.socket}"')
    second.wait_for_log("another process is listening there; stop it, or set fdpass_socket to another path")
    assert hand_over(Sender(first.socket))[1] == "A"
    second.stop()
    assert first.socket.exists()
    assert hand_over(Sender(first.socket))[1] == "A"


def test_other_backends_get_one_clear_line(fresh):
    box = fresh('network_backend = "select"', wait_for="select backend")
    box.wait_for_log('needs network_backend = "epoll"')
    assert box.text().count("mod_net_fdpass\terror") == 1
    assert box.process.poll() is None
    box.stop(signal.SIGKILL)  # with this backend Prosody 13 does not mind SIGTERM
