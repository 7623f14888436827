"""Start, reload, unload and end."""

import signal
import socket

import pytest

from clients import hand_over, ident, open_stream, shell, still_open, tls
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


def test_module_reload_and_unload(fresh):
    box = fresh(modules=("c2s", "s2s", "tls", "saslauth", "admin_socket", "admin_shell"))
    first = Sender(box.socket)
    client, accepted = tcp_pair()
    unique = ident()
    first.send(message(unique), accepted.fileno())
    assert first.answers(1) == {unique: "A"}
    conn = tls(client, "one.example")
    open_stream(conn, "one.example")

    shell(box, "module reload net_fdpass")
    with pytest.raises(EOFError):
        first.answers(1)
    second = Sender(box.socket)
    second.send(message(unique), accepted.fileno())
    assert second.answers(1) == {unique: "A"}  # remembered
    assert hand_over(second)[1] == "A"

    shell(box, "module reload c2s")
    client, verdict = hand_over(second)
    assert verdict == "A"
    assert "mechanisms" in open_stream(tls(client, "one.example"), "one.example")

    shell(box, "module unload net_fdpass")
    assert not box.socket.exists()
    shell(box, "module load net_fdpass")
    assert hand_over(Sender(box.socket))[1] == "A"
    assert "Error" not in box.text() and "traceback" not in box.text().lower()


@pytest.mark.parametrize("obstacle, remedy", [
    ("file", "there is a file that is not a socket"),
    ("owner", "another process is listening there"),
    ("directory", "create the directory"),
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
    if obstacle == "owner":
        live = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        live.bind(str(path))
        live.listen()
        path.chmod(0o666)
    box = fresh(f'fdpass_socket = "{path}"')
    box.wait_for_log(remedy)
    if obstacle == "directory":
        path.parent.mkdir()
        path.parent.chmod(0o777)
    else:
        path.unlink()
    seen = box.reload()
    box.wait_for_log("Waiting for connections", since=seen)
    assert hand_over(Sender(path))[1] == "A"
    if live:
        live.close()


def test_other_backends_get_one_clear_line(fresh):
    box = fresh('network_backend = "select"', wait_for="select backend")
    box.wait_for_log('needs network_backend = "epoll"')
    assert box.text().count("mod_net_fdpass\terror") == 1
    assert box.process.poll() is None
    box.stop(signal.SIGKILL)  # with this backend Prosody 13 does not mind SIGTERM
