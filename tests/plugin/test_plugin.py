"""mod_net_fdpass in a real Prosody, with hand-offs made by this process."""

import base64
import os
import signal
import socket
import ssl
import subprocess

import pytest

from prosody_box import REPO, Prosody, Sender, message, tcp_pair

STREAM = ("<?xml version='1.0'?><stream:stream to='{0}' version='1.0' xmlns='{1}' "
          "xmlns:stream='http://etherx.jabber.org/streams'>")


@pytest.fixture(scope="module")
def prosody():
    box = Prosody('http_default_host = "one.example"')
    yield box
    box.close()


@pytest.fixture
def fresh():
    """Makes a Prosody for one test."""
    boxes = []

    def make(*args, **kwargs):
        boxes.append(Prosody(*args, **kwargs))
        return boxes[-1]
    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def sender(prosody):
    sender = Sender(prosody.socket)
    yield sender
    sender.close()


def ident():
    return os.urandom(8)


def hand_over(sender, **fields):
    """Hands over one new connection; returns its client end and the verdict."""
    client, accepted = tcp_pair()
    unique = ident()
    sender.send(message(unique, **fields), accepted.fileno())
    verdict = sender.answers(1)[unique]
    accepted.close()
    return client, verdict


def tls(client, host, alpn="xmpp-client"):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context.wrap_socket(client, server_hostname=host)


def certificate(conn):
    return ssl.DER_cert_to_PEM_cert(conn.getpeercert(True))


def read_until(conn, wanted):
    data = b""
    while wanted not in data:
        piece = conn.recv(4096)
        assert piece, data
        data += piece
    return data.decode()


def open_stream(conn, host, xmlns="jabber:client"):
    conn.sendall(STREAM.format(host, xmlns).encode())
    return read_until(conn, b"</stream:features>")


def file_of(prosody, host):
    return (prosody.dir / f"certs/{host}.crt").read_text()


@pytest.mark.parametrize("host", ["one.example", "two.example"])
def test_client_gets_its_hosts_certificate_alpn_and_stream(prosody, sender, host):
    client, verdict = hand_over(sender, authority=host.encode())
    assert verdict == "A"
    conn = tls(client, host)
    assert conn.selected_alpn_protocol() == "xmpp-client"
    assert certificate(conn) == file_of(prosody, host)
    assert f"from='{host}'" in open_stream(conn, host)


def test_client_logs_in(prosody, sender):
    subprocess.run(["prosodyctl", "--config", prosody.dir / "prosody.cfg.lua", "register", "juliet",
                    "one.example", "secret"], check=True, capture_output=True)
    conn = tls(hand_over(sender)[0], "one.example")
    assert "PLAIN" in open_stream(conn, "one.example")
    plain = base64.b64encode(b"\0juliet\0secret").decode()
    conn.sendall(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
                 .encode())
    assert "<success" in read_until(conn, b">")
    assert "urn:ietf:params:xml:ns:xmpp-bind" in open_stream(conn, "one.example")


@pytest.mark.parametrize("address", ["192.0.2.77", "2001:db8::77"])
def test_log_has_the_real_address(prosody, sender, address):
    seen = prosody.log_size()
    dest = "2001:db8::1" if ":" in address else "198.51.100.1"
    conn = tls(hand_over(sender, source=(address, 40077), dest=(dest, 443))[0], "one.example")
    open_stream(conn, "one.example")
    conn.sendall(b"</stream:stream>")
    prosody.wait_for_log(f"c2s stream for {address} closed", since=seen)


def test_connection_without_alpn_is_a_clients(sender):
    conn = tls(hand_over(sender, alpn=None)[0], "one.example", alpn=None)
    assert conn.selected_alpn_protocol() is None
    assert "mechanisms" in open_stream(conn, "one.example")


def test_client_without_sni_gets_some_certificate(prosody, sender):
    conn = tls(hand_over(sender)[0], None)
    assert certificate(conn) in (file_of(prosody, "one.example"), file_of(prosody, "two.example"))


def test_server_gets_a_server_stream(sender):
    conn = tls(hand_over(sender, alpn=b"xmpp-server")[0], "one.example", "xmpp-server")
    assert conn.selected_alpn_protocol() == "xmpp-server"
    conn.sendall(STREAM.format("one.example", "jabber:server").encode())
    assert "xmlns='jabber:server'" in read_until(conn, b"jabber:server")


def test_browser_gets_http(sender):
    conn = tls(hand_over(sender, alpn=b"http/1.1")[0], "one.example", "http/1.1")
    conn.sendall(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
    assert read_until(conn, b"\r\n").startswith("HTTP/1.1 ")


def test_keepalive_is_set(sender):
    client, accepted = tcp_pair()
    unique = ident()
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    sender.send(message(unique), accepted.fileno())
    assert sender.answers(1) == {unique: "A"}
    tls(client, "one.example")
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_unknown_protocol_is_refused_and_logged_once_without_its_bytes(prosody, sender):
    seen = prosody.log_size()
    for _ in range(3):
        assert hand_over(sender, alpn=b"evil\nname")[1] == "N"
    assert prosody.text(seen).count("no service for it in fdpass_services") == 1
    assert "(9 bytes)" in prosody.text(seen)


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


def test_own_direct_tls_port_works_beside(fresh):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = fresh(f'c2s_direct_tls_ports = {{ {port} }}; interfaces = {{ "127.0.0.1" }}')
    conn = tls(hand_over(Sender(box.socket))[0], "two.example")
    assert certificate(conn) == file_of(box, "two.example")
    conn = tls(socket.create_connection(("127.0.0.1", port)), "one.example", alpn=None)
    assert "mechanisms" in open_stream(conn, "one.example")


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


def still_open(client):
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_kill_leaves_a_socket_that_the_next_start_replaces(fresh):
    box = fresh()
    box.stop(signal.SIGKILL)
    assert box.socket.exists()
    with pytest.raises(ConnectionRefusedError):
        Sender(box.socket)
    box.start()
    assert hand_over(Sender(box.socket))[1] == "A"


def test_config_reload_renews_certificates(fresh):
    box = fresh()
    sender = Sender(box.socket)
    for name in (None, "one.example"):
        before = certificate(tls(hand_over(sender)[0], name))
        for host in ("one.example", "two.example"):
            box.make_cert(host)
        subprocess.run(["chown", "-R", "prosody:", box.dir / "certs"], check=True)
        box.reload()
        box.wait_until(lambda: certificate(tls(hand_over(sender)[0], name)) != before)
        conn = tls(hand_over(sender)[0], "two.example")
        assert certificate(conn) == file_of(box, "two.example")
        assert conn.selected_alpn_protocol() == "xmpp-client"


def shell(box, command):
    done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell",
                           *command.split()], capture_output=True, text=True)
    assert "OK" in done.stdout, done.stdout + done.stderr


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


def test_services_can_be_mapped_and_switched_off(fresh):
    box = fresh('fdpass_services = { ["http/1.1"] = false, ["my-xmpp"] = "c2s_direct_tls" }')
    sender = Sender(box.socket)
    assert hand_over(sender, alpn=b"http/1.1")[1] == "N"
    client, verdict = hand_over(sender, alpn=b"my-xmpp")
    assert verdict == "A"
    conn = tls(client, "one.example", "my-xmpp")
    assert conn.selected_alpn_protocol() == "my-xmpp"
    assert "mechanisms" in open_stream(conn, "one.example")


def test_pending_limit_delays_but_loses_nothing(fresh):
    box = fresh("fdpass_max_pending = 4")
    sender = Sender(box.socket)
    pairs = {ident(): tcp_pair() for _ in range(100)}
    for unique, (_, accepted) in pairs.items():
        sender.send(message(unique), accepted.fileno())
    assert sender.answers(100) == {unique: "A" for unique in pairs}


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


def test_rock_installs_and_loads(fresh, tmp_path):
    for parent in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        parent.chmod(0o755)
    source, tree = tmp_path / "source", tmp_path / "tree"
    source.mkdir()
    for part in ("lua-module", "prosody-plugin", "xmpp443-scm-1.rockspec"):
        subprocess.run(["cp", "-r", REPO / part, source], check=True)
    subprocess.run(["luarocks", "--lua-version=5.4", f"--tree={tree}", "make",
                    "xmpp443-scm-1.rockspec"], cwd=source, check=True, capture_output=True)
    box = fresh(plugin_paths=f'installer_plugin_path = "{tree}"')
    assert hand_over(Sender(box.socket))[1] == "A"


def test_other_backends_get_one_clear_line(fresh):
    box = fresh('network_backend = "select"', wait_for="select backend")
    box.wait_for_log('needs network_backend = "epoll"')
    assert box.text().count("mod_net_fdpass\terror") == 1
    assert box.process.poll() is None
    box.stop(signal.SIGKILL)  # with this backend Prosody 13 does not mind SIGTERM


def test_missing_c_module_gets_one_clear_line(fresh):
    box = fresh(with_library=False)
    box.wait_for_log("put fdpass.so beside mod_net_fdpass.lua")
    assert box.process.poll() is None
