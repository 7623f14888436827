"""The daemon as a command: what it prints, its exit codes, sockets from the service manager."""

import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
from rig import wait
from rig.world import SANDBOX

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = TOP / os.environ.get("XMPP443_BUILD", "build") / "xmpp443-shim"
VECTORS = TOP / "tests" / "vectors"
EXPECTED = [line.split("\t") for line in (VECTORS / "expected.tsv").read_text().splitlines()]
USAGE = 1
SYSTEM = 2


def run(*arguments, stdin=b""):
    return subprocess.run([BINARY, *arguments], input=stdin, timeout=20, capture_output=True)


@pytest.mark.parametrize("name, verdict, sni, alpn", EXPECTED, ids=[line[0] for line in EXPECTED])
def test_explain_tells_the_verdict_the_names_and_the_route(name, verdict, sni, alpn):
    result = run("--explain", VECTORS / name, "--fdpass", "/run/x.sock", "--web", "127.0.0.1:8443")
    assert result.returncode == 0, result.stderr
    told = dict(line.split(":", 1) for line in result.stdout.decode().partition("\n\n")[0].splitlines())
    assert told["verdict"] == f" {verdict}"
    if verdict == "ok":
        assert told["sni"].strip() == (sni if sni != "-" else "(none)")
        protocols = alpn.split(",") if alpn != "-" else ["(none)"]
        assert told["alpn"].split() == protocols
        route = next((p for p in ("xmpp-client", "xmpp-server") if p in protocols), "web")
        assert told["route"].split()[0] == route
    elif verdict == "need-more":
        assert "none yet" in told["route"]
    else:
        assert told["route"] == " web (relay to 127.0.0.1:8443)"


def test_explain_reads_standard_input_and_needs_no_settings():
    hello = (VECTORS / "ok-real-openssl-tls13.bin").read_bytes()
    result = run("--explain", "-", stdin=hello)
    assert result.returncode == 0
    assert b"verdict: ok" in result.stdout
    assert b"alpn: xmpp-client" in result.stdout


def test_explain_prints_no_byte_of_a_stranger_raw():
    hello = bytearray((VECTORS / "ok-real-openssl-tls13.bin").read_bytes())
    where = hello.index(b"chat.example.org")
    hello[where] = 0x1b
    result = run("--explain", "-", stdin=bytes(hello))
    assert b"\x1b" not in result.stdout
    assert b"\\x1bhat.example.org" in result.stdout


def test_explain_fails_for_a_file_that_is_not_there():
    result = run("--explain", "/no/such/file", "--web", "127.0.0.1:1")
    assert result.returncode == USAGE
    assert b"No such file" in result.stderr


def test_help_and_version_are_printed():
    assert b"--fdpass" in run("--help").stdout
    assert re.match(rb"xmpp443-shim \S+\n", run("--version").stdout)


@pytest.mark.parametrize("arguments, complaint", [
    (["--listen", "example.org:443"], "never looked up"),
    (["--listen", "unix:/x"], "IP address"),
    (["--web", "[::1]"], "not a numeric address"),
    (["--fdpass", "relative.sock"], "absolute path"),
    (["--fdpass", "/" + "x" * 108], "too long"),
    (["--proxy-protocol", "v3"], "v1, v2 or none"),
    (["--log-level", "loud"], "debug"),
    (["--web", "127.0.0.1:1"], "listen"),
    (["--listen", "127.0.0.1:10499"], "no web server"),
    (["--no-such-flag"], "--help"),
    (["-c", "/etc/x", "--listen", "127.0.0.1:10499"], "not from both"),
    (["-c", "/no/such/file"], "/no/such/file"),
    (["word"], "'word'"),
])
def test_a_mistake_on_the_command_line_is_explained(arguments, complaint):
    result = run(*arguments)
    assert result.returncode == USAGE
    assert complaint in result.stderr.decode()


def test_an_address_in_use_ends_it_with_a_log_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", f"127.0.0.1:{port}", "--web", "127.0.0.1:1", "--user", "nobody")
    assert result.returncode == SYSTEM
    assert f'event=listen-failed address=127.0.0.1:{port} error="Address already in use"' in result.stderr.decode()


def start_with_sockets(folder, listeners, arguments):
    """As a service manager does it: descriptors from 3 on, and LISTEN_PID is the daemon's own."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(f"\0{folder}")  # in the abstract name space, where no directory keeps the daemon's user out
    notify.settimeout(20)
    fds = [listener.fileno() for listener in listeners]
    moves = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(fds))
    command = f'export LISTEN_PID=$$ LISTEN_FDS={len(fds)}; exec "$@" {moves}'
    process = subprocess.Popen(["bash", "-c", command, "bash", BINARY, *arguments], pass_fds=fds,
                               stderr=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": f"@{folder}"})
    return process, notify


def test_sockets_from_the_service_manager_replace_those_of_the_settings(tmp_path):
    backend = socket.create_server(("127.0.0.1", 0))
    backend.settimeout(20)
    passed = [socket.create_server(("127.0.0.1", 0)),
              socket.create_server(("::1", 0), family=socket.AF_INET6)]
    web = f"127.0.0.1:{backend.getsockname()[1]}"
    process, notify = start_with_sockets(tmp_path, passed, ["--user", "nobody", "--web", web, "--proxy-protocol", "none", "--sandbox", SANDBOX])
    try:
        assert notify.recv(100) == b"READY=1"
        for listener in passed:
            with socket.create_connection(listener.getsockname()[:2], timeout=20) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with backend.accept()[0] as server:
                    server.settimeout(20)
                    assert server.recv(100) == b"GET / HTTP/1.0\r\n\r\n"
        process.send_signal(signal.SIGTERM)
        assert notify.recv(100) == b"STOPPING=1"
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_passed_descriptor_that_is_no_listener_is_refused(tmp_path):
    pair = socket.socketpair()
    process, _ = start_with_sockets(tmp_path, pair[:1], ["--user", "nobody", "--web", "127.0.0.1:1"])
    _, errors = process.communicate(timeout=20)
    assert process.returncode == SYSTEM
    assert b"event=stored-refused descriptor=3" in errors and b"nothing to listen on" in errors


def test_sighup_without_a_file_changes_nothing(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    process, notify = start_with_sockets(tmp_path, [listener], ["--user", "nobody", "--web", "127.0.0.1:1"])
    try:
        assert notify.recv(100) == b"READY=1"
        process.send_signal(signal.SIGHUP)
        assert notify.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notify.recv(100) == b"READY=1"
        process.terminate()
        assert b"event=reload-failed" in process.communicate(timeout=20)[1]
    finally:
        process.kill()
        process.communicate()


def test_closed_clients_are_counted_by_reason_at_the_end(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    process, notify = start_with_sockets(tmp_path, [listener], ["--user", "nobody", "--web", "127.0.0.1:1"])
    try:
        assert notify.recv(100) == b"READY=1"
        for _ in range(3):
            with socket.create_connection(listener.getsockname(), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                try:
                    assert client.recv(100) == b""
                except ConnectionResetError:
                    pass
        process.terminate()
        assert "event=stopped backend-refused=3" in process.communicate(timeout=20)[1].decode()
    finally:
        process.kill()
        process.communicate()
        wait.until(lambda: process.poll() is not None, "the shim's end")
