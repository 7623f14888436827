"""Sessions do not depend on the shim once handed over, and reloads touch nobody."""

import subprocess

import pytest
from rig.backend import read_all
from rig.nginx import TCP4
from rig.world import CLIENTS6, HOSTS, SANDBOX, SERVER4


def talk(one, other, text):
    one.send(other.jid, text)
    assert other.receive() == (one.jid, text)


def page(stream, path):
    """One request on a connection that is kept."""
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOSTS[0]}\r\n\r\n".encode())
    text = b""
    while not text.endswith(f"the web page of {HOSTS[0]}\n".encode()):
        piece = stream.recv()
        assert piece, text
        text += piece


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_established_sessions_go_on_without_the_shim(world, new_shim, port, end):
    shim = new_shim(port)
    with world.login("alice", port=port) as alice, \
            world.login("bob", source=CLIENTS6[0], port=port) as bob:
        talk(alice, bob, "before")
        getattr(shim, end)()
        assert not shim.process.alive()
        talk(alice, bob, "after")
        talk(bob, alice, "after")
        shim.start()
        talk(alice, bob, "and with the next one")
        with world.login("alice", port=port) as late:
            talk(late, bob, "hello")


def test_a_good_config_takes_effect_on_sighup_for_new_connections_only(world, new_shim, port, name):
    shim = new_shim(port, web=TCP4)
    with world.login("alice", port=port) as alice, world.login("bob", port=port) as bob, \
            world.tls(alpn=["http/1.1"], port=port) as kept:
        page(kept, "/")
        shim.reload(world.config(port, web=world.nginx.unix))
        shim.wait_ready(times=2)
        talk(alice, bob, "after the reload")
        page(kept, "/")
        world.clients.curl(f"https://{HOSTS[0]}:{port}/{name}", SERVER4)
        assert world.nginx.request_for(f"/{name}")["via"].startswith("unix:")
        with world.login("alice", port=port) as late:
            talk(late, bob, "hello")


def test_a_bad_config_is_reported_on_sighup_and_the_old_one_stays(world, new_shim, port, name):
    shim = new_shim(port)
    with world.login("alice", port=port) as alice, world.login("bob", port=port) as bob, \
            world.tls(alpn=["http/1.1"], port=port) as kept:
        page(kept, "/")
        since = shim.mark()
        shim.reload(world.config(port) + "\n[web]\nproxy = no such thing\n")
        shim.wait_event(since, event="reload-failed")
        talk(alice, bob, "after the reload")
        page(kept, "/")
        world.clients.curl(f"https://{HOSTS[0]}:{port}/{name}", SERVER4)
        with world.login("alice", port=port) as late:
            talk(late, bob, "hello")


def test_check_accepts_a_good_config_and_names_the_line_of_a_bad_one(world):
    path = world.folder / "check.conf"

    def check():
        return subprocess.run([world.binary, "--check", "-c", path], timeout=20, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    path.write_text(world.config())
    assert check().returncode == 0
    path.write_text(good := world.config() + "hello = world\n")
    result = check()
    assert result.returncode != 0
    assert str(path) in result.stdout
    assert str(good.count("\n")) in result.stdout


def test_flags_alone_are_enough_to_run(world, port):
    made = world.shim("")
    made.process.argv[-2:] = ["--listen", f"0.0.0.0:{port}", "--fdpass", str(world.prosody.socket),
                              "--web", TCP4, "--proxy-protocol", "v1", "--sandbox", SANDBOX]
    made.start()
    world.login("alice", port=port).logout()
    assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    made.stop()


def test_a_relay_ends_with_the_shim_and_the_client_notices(world, new_shim, port):
    shim = new_shim(port)
    with world.tls(alpn=["http/1.1"], port=port) as kept:
        page(kept, "/")
        shim.stop()
        try:
            assert read_all(kept) == b""
        except ConnectionResetError:
            pass
