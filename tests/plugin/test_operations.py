"""What the plugin tells an administrator: statistics, the shell, the log."""

import contextlib
import os
import re
import socket
import struct
import subprocess

import pytest

from clients import hand_over, ident, open_stream, shell, tls
from prosody_box import Sender, message, tcp_pair
from test_senders import deaf_sender

MODULES = ("c2s", "s2s", "tls", "saslauth", "http", "http_openmetrics", "admin_socket", "admin_shell")
OPTIONS = ('statistics = "internal"\nstatistics_interval = "manual"\nhttp_default_host = "one.example"\n'
           'fdpass_services = { ["unserved"] = "no_such_service" }\n')


@pytest.fixture
def box(fresh):
    return fresh(OPTIONS, modules=MODULES)


def fetch_metrics(sender):
    """What mod_http_openmetrics shows to a collector at 127.0.0.1."""
    conn = tls(hand_over(sender, alpn=b"http/1.1", source=("127.0.0.1", 40001), dest=("127.0.0.1", 443))[0],
               "one.example", "http/1.1")
    conn.sendall(b"GET /metrics HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := conn.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.decode()


def metrics(sender):
    """{name{labels}: value} of ours."""
    found = re.findall(r"^prosody_mod_net_fdpass__(\S+) (\S+)$", fetch_metrics(sender), re.M)
    return {name: float(value) for name, value in found if "_created" not in name}


def status(box):
    done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell", "fdpass", "status"],
                          capture_output=True, text=True)
    assert "OK:" in done.stdout, done.stdout + done.stderr
    return done.stdout


def table_row(text, first):
    """The cells of the first row that begins with that one."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.lstrip("| ").split("|")]
        if cells[0] == first:
            return cells
    raise AssertionError(f"no row {first!r} in:\n{text}")


def make_one_of_each(box, sender):
    """3 adopted clients, 1 of them sent twice, and one refusal of each kind."""
    for _ in range(2):
        assert hand_over(sender)[1] == "A"
    client, accepted = tcp_pair()
    unique = ident()
    for _ in range(2):
        sender.send(message(unique), accepted.fileno())
        assert sender.answers(1) == {unique: "A"}
    assert hand_over(sender, alpn=b"unknown")[1] == "N"
    assert hand_over(sender, alpn=b"unserved")[1] == "N"
    unique = ident()
    sender.send(message(unique))
    assert sender.answers(1) == {unique: "N"}
    return client


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_statistics_show_what_became_of_connections(box):
    sender = Sender(box.socket)
    before = metrics(sender)
    assert before["adopted_total{service=\"https\"}"] == 1
    make_one_of_each(box, sender)
    client, accepted = tcp_pair()
    reset(client)
    unique = ident()
    sender.send(message(unique), accepted.fileno())
    assert sender.answers(1) == {unique: "A"}
    second = Sender(box.socket)
    after = metrics(second)
    assert after["adopted_total{service=\"c2s_direct_tls\"}"] == 3
    assert after["adopted_total{service=\"https\"}"] == 2
    assert after["repeated_total"] == 1
    assert after["retried_total"] == 0
    assert after["gone_total"] == 1
    assert {name: value for name, value in after.items() if name.startswith("refused")} == {
        'refused_total{reason="protocol"}': 1, 'refused_total{reason="service"}': 1, 'refused_total{reason="message"}': 1}
    assert after["senders"] == 2
    assert after["pending"] == 0
    assert after["queue_time_seconds_count"] == 5
    assert after['queue_time_seconds_bucket{le="+Inf"}'] == 5
    assert 0 <= after["queue_time_seconds_sum"] < 100
    second.close()
    sender.close()


def test_statistics_count_what_has_to_be_sent_again(fresh):
    box = fresh(OPTIONS, modules=MODULES, nofile=64)
    sender = Sender(box.socket)
    pairs = {ident(): tcp_pair() for _ in range(80)}
    for unique, (_, accepted) in pairs.items():
        sender.send(message(unique), accepted.fileno())
    answers = {}
    while "R" not in answers.values():
        answers.update(sender.answers(1))
    for client, accepted in pairs.values():
        client.close()
        accepted.close()
    while len(answers) < len(pairs):
        answers.update(sender.answers(1))
    verdicts = list(answers.values())
    box.wait_until(lambda: hand_over(sender)[1] == "A")
    # Of the others some had no client any more when they were looked at.
    seen = metrics(sender)
    assert seen["retried_total"] >= verdicts.count("R") > 0
    assert seen['adopted_total{service="c2s_direct_tls"}'] + seen["gone_total"] > verdicts.count("A") > 0


def test_statistics_count_a_stranger(fresh):
    box = fresh(OPTIONS + 'fdpass_socket_mode = "666"', modules=MODULES)
    box.dir.chmod(0o755)
    os.seteuid(65534)
    try:
        stranger = Sender(box.socket)
    finally:
        os.seteuid(0)
    with pytest.raises(EOFError):
        stranger.answers(1)
    assert metrics(Sender(box.socket))['refused_total{reason="user"}'] == 1


def test_everything_works_without_statistics(fresh):
    box = fresh(modules=MODULES)
    sender = Sender(box.socket)
    make_one_of_each(box, sender)
    assert table_row(status(box), "c2s_direct_tls")[1:4] == ["active", "3", "0"]
    assert "traceback" not in box.text().lower()


def test_shell_shows_senders_services_and_counts(box):
    sender = Sender(box.socket)
    make_one_of_each(box, sender)
    text = status(box)
    row = table_row(text, str(os.getpid()))
    assert row[1] == "0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row[2])
    assert row[3:] == ["6", "ready"]
    assert table_row(text, "c2s_direct_tls")[1:] == ["active", "3", "0", "xmpp-client"]
    assert table_row(text, "s2s_direct_tls")[1:] == ["active", "0", "0", "xmpp-server"]
    assert table_row(text, "https")[1:] == ["active", "0", "0", "http/1.1"]
    assert table_row(text, "no_such_service")[1:] == ["not active", "0", "0", "unserved"]
    for line in ("Sent again later: 0", "Sent twice: 1", "Refused (message): 1", "Refused (protocol): 1", "Refused (service): 1"):
        assert line in text
    assert "1 control connections, 0 connections waiting" in text
    sender.close()
    box.wait_until(lambda: "0 control connections" in status(box))


def test_shell_shows_a_sender_that_takes_no_answers(box):
    deaf, clients = deaf_sender(box, 600)
    box.wait_until(lambda: table_row(status(box), str(os.getpid()))[4] == "takes no answers", seconds=30)
    assert deaf.answers(600) == {unique: "A" for unique in clients}
    box.wait_until(lambda: table_row(status(box), str(os.getpid()))[3:] == ["600", "ready"], seconds=30)


def test_counts_and_command_outlive_a_reload(box):
    sender = Sender(box.socket)
    make_one_of_each(box, sender)
    shell(box, "module reload net_fdpass")
    sender = Sender(box.socket)
    assert hand_over(sender)[1] == "A"
    assert table_row(status(box), "c2s_direct_tls")[2] == "4"
    assert metrics(sender)['adopted_total{service="c2s_direct_tls"}'] == 4
    shell(box, "module unload net_fdpass")
    done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell", "fdpass", "status"],
                          capture_output=True, text=True)
    assert "OK:" not in done.stdout
    shell(box, "module load net_fdpass")
    assert "Control connections" in status(box)


def test_busy_server_logs_no_line_of_ours_for_a_connection(box):
    sender = Sender(box.socket)
    box.wait_for_log("Receiving connections from process")
    seen = box.log_size()
    for _ in range(50):
        client, verdict = hand_over(sender)
        assert verdict == "A"
        open_stream(tls(client, "one.example"), "one.example")
    lines = [line for line in box.text(seen).splitlines() if "\tmod_net_fdpass\t" in line or " mod_net_fdpass\t" in line]
    assert len(lines) == 50
    assert all("mod_net_fdpass\tdebug\t" in line for line in lines)


def test_ports_for_proxies_are_counted_and_listed(fresh):
    from front import PROXY, SERVER, STRANGER, TRUSTED, Network
    from rig.proxyheader import v1
    net = Network()
    port = net.port()
    box = net.prosody(f'{OPTIONS}{TRUSTED}\nfdpass_tcp_ports = {{ {port} }}\nfdpass_header_timeout = 1', modules=MODULES)
    try:
        conn = net.tls(net.connect(PROXY[0], port), v1(("198.51.100.77", 1), (SERVER[0], 443)))
        open_stream(conn, "one.example")
        for source, start in ((STRANGER[0], b""), (PROXY[0], b"\x16\x03\x01"), (PROXY[0], b"PROXY")):
            sock = net.connect(source, port)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(start)
                assert sock.recv(1) == b""
        seen = metrics(Sender(box.socket))
        assert seen['adopted_total{service="c2s_direct_tls"}'] == 1
        for reason in ("proxy", "header", "header-timeout"):
            assert seen[f'refused_total{{reason="{reason}"}}'] == 1
        done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell", "port", "list"],
                              capture_output=True, text=True)
        assert re.search(rf"fdpass_tcp: .*\b{port}\b", done.stdout), done.stdout
    finally:
        box.close()
        net.close()
