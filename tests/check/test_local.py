"""--local, on the server's side: one row for each thing that can be wrong there."""

import contextlib
import os
import pathlib
import shutil
import socket

import pytest

import fronts
from domain_world import SHIM_OPTIONS, V4
from rig import netns
from rig.nginx import BARE, TCP4
from rig.process import privileges
from rig.shim import Shim, config


@pytest.fixture(scope="module")
def local(world):
    """local(settings, *args) -> Said. The logs and Prosody's configuration are named unless logs or shell is False."""
    def run(settings, *args, logs=True, shell=True, ns=None, **how):
        args = ["--local", "-c", settings, "--ca-file", world.certificates.ca_file, *args]
        if shell:
            args += ["--prosody-config", world.prosody.folder / "prosody.cfg.lua"]
        if logs:
            args += ["--web-log", "/nonexistent", "--web-log", world.nginx.access]
        return world.check("one.example", *args, timeout=how.pop("timeout", 20), ns=ns or world.server, **how)

    return run


@pytest.fixture
def settings(world, tmp_path):
    """settings(web, ...): a file for a shim that does not run; connections go through the usual one."""
    def write(web=TCP4, fdpass=None, **options):
        file = tmp_path / "shim.conf"
        file.write_text(config([f"{V4}:443"], web, fdpass=fdpass or world.prosody.socket, **options))
        return file

    return write


def assert_only(said, *wanted):
    assert sorted(set(said.worst())) == sorted(wanted), str(said)
    assert all(one["advice"] for one in said.report["checks"] if one["verdict"] in ("warning", "error"))


def test_healthy(world, local):
    said = local(world.shim.conf)
    assert_only(said)
    assert said.code == 0 and said.report["mode"] == "local"
    for check_id in ("settings", "shim", "socket", "way-in", "receiver", "module", "backend", "header", "strangers", "shim-xmpp", "shim-web",
                     "prosody-sees", "web-log"):
        assert said.one(check_id)["verdict"] == "ok", str(said)
    assert said.one("shim-files")["data"]["limit"] >= said.one("shim-files")["data"]["in_use"] > 0
    assert V4 in said.one("prosody-sees")["summary"] and V4 in said.one("web-log")["summary"]


@pytest.fixture(scope="module")
def alone(world):
    """A namespace with nothing but a shim on every address, for what depends on its process. alone(nofile) starts it anew."""
    space, made = netns.NetNs(), []

    def start(nofile=None):
        for one in made:
            one.kill()
        text = config(["0.0.0.0:443", "[::]:443"], world.nginx.unix, fdpass=world.prosody.socket, shim=SHIM_OPTIONS)
        made.append(Shim(world.folder / f"shim-alone{len(made)}", world.shim_binary, space, text, nofile=nofile).start())
        return made[-1].conf, space

    yield start
    for one in made:
        one.kill()
    space.close()


def test_behind_a_wildcard_the_probe_has_an_address_of_its_own(local, alone):
    conf, space = alone()
    said = local(conf, ns=space)
    assert_only(said)
    assert "127.44.3.1" in said.one("prosody-sees")["summary"]
    assert "127.44.3.1" in said.one("web-log")["summary"]


def test_a_web_server_on_a_unix_socket_for_everybody(local, alone):
    conf, space = alone()
    assert local(conf, ns=space).one("strangers")["verdict"] == "note"


def test_too_few_files(local, alone):
    conf, space = alone(nofile=(300, 300))
    said = local(conf, ns=space)
    assert_only(said, ("shim-files", "warning"))
    assert "LimitNOFILE" in said.one("shim-files")["advice"]


def test_no_shim(world, local):
    space = netns.NetNs()
    try:
        said = local(world.shim.conf, ns=space, timeout=3)
        assert {("shim", "error"), ("backend", "error"), ("shim-xmpp", "error"), ("shim-web", "error")} == set(said.worst()), str(said)
        assert "systemctl start" in said.one("shim")["advice"]
    finally:
        space.close()


def test_a_web_server_that_expects_no_header(world, local):
    said = local(world.folder / "shim-bare" / "shim.conf")
    assert_only(said, ("backend", "error"), ("shim-web", "error"))
    assert "proxy_protocol" in said.one("backend")["advice"]


def test_a_web_server_that_expects_a_header_which_is_not_sent(local, settings):
    said = local(settings(TCP4, web_options={"proxy-protocol": "none"}))
    assert_only(said, ("backend", "error"))
    assert "proxy-protocol = v2" in said.one("backend")["advice"]


def test_no_header_on_purpose(local, settings):
    said = local(settings(BARE, web_options={"proxy-protocol": "none"}))
    assert_only(said)
    assert said.one("header")["verdict"] == "note" and said.one("backend")["verdict"] == "ok"


def test_version_1(local, settings):
    assert_only(local(settings(TCP4, web_options={"proxy-protocol": "v1"})))


def test_a_web_server_that_is_away(world, local):
    said = local(world.folder / "shim-web-down" / "shim.conf")
    assert_only(said, ("backend", "error"), ("shim-web", "error"))
    assert "Start the web server" in said.one("backend")["advice"]


def test_a_web_server_without_tls(world, local):
    said = local(world.folder / "shim-plain" / "shim.conf")
    assert_only(said, ("backend", "error"), ("shim-web", "error"))
    assert "speak TLS" in said.one("backend")["advice"]


def test_a_web_server_that_believes_strangers(world, local, settings):
    cert, key = world.pair
    open_to_all = world.up(fronts.nginx(
        world.folder / "stranger", world.server, ("127.0.0.1", 18452),
        f'server {{ listen 18452 ssl proxy_protocol; ssl_certificate {cert}; ssl_certificate_key {key}; '
        'location / { return 200 "open"; } }'))
    try:
        said = local(settings("127.0.0.1:18452"))
        assert_only(said, ("strangers", "error"))
        assert "can claim any address" in said.one("strangers")["summary"] and "loopback" in said.one("strangers")["advice"]
    finally:
        open_to_all.process.kill()


def test_a_web_server_that_logs_the_shims_address(world, local):
    said = local(world.folder / "shim-late" / "shim.conf", "--web-log", world.folder / "late" / "access.log", logs=False)
    assert_only(said, ("web-log", "error"))
    assert "real_ip_header" in said.one("web-log")["advice"]


def test_a_route_to_another_backend(world, local, settings):
    said = local(settings(routes={"files": {"sni": "files.example", "proxy": BARE}}))
    assert_only(said, ("backend", "error"))
    assert said.one("backend", "files")["verdict"] == "error" and said.one("backend", "web ")["verdict"] == "ok"


# Prosody's side


def test_no_socket(world, local):
    said = local(world.folder / "shim-no-module" / "shim.conf", timeout=4)
    assert_only(said, ("socket", "error"), ("shim-xmpp", "error"))
    assert "net_fdpass" in said.one("socket")["advice"]


@contextlib.contextmanager
def handoff_folder(world, mode=0o777):
    folder = world.folder / "handoff"
    folder.mkdir()
    shutil.chown(folder, "prosody", "prosody")
    folder.chmod(mode)
    try:
        yield folder / "fdpass.sock"
    finally:
        shutil.rmtree(folder)


def test_a_socket_that_was_left_behind(world, local, settings):
    with handoff_folder(world) as path, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
        path.chmod(0o660)
        shutil.chown(path, "prosody", "prosody")
        said = local(settings(fdpass=path))
    assert_only(said, ("receiver", "error"))
    assert "Start Prosody" in said.one("receiver")["advice"]


def test_a_socket_of_another_kind(world, local, settings):
    with handoff_folder(world) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        path.chmod(0o660)
        shutil.chown(path, "prosody", "prosody")
        said = local(settings(fdpass=path))
    assert_only(said, ("receiver", "error"))
    assert "fdpass_socket" in said.one("receiver")["advice"]


def test_a_file_instead_of_a_socket(world, local, settings):
    with handoff_folder(world) as path:
        path.write_text("")
        assert_only(local(settings(fdpass=path)), ("socket", "error"))


def test_a_stranger_at_the_socket(world, local, settings):
    with handoff_folder(world) as path, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        os.seteuid(65534)
        try:
            stranger.bind(str(path))
            stranger.listen()  # whose it is, is settled here
        finally:
            os.seteuid(0)
        path.chmod(0o666)
        said = local(settings(fdpass=path))
    assert_only(said, ("receiver", "error"), ("socket", "warning"))
    assert "ss -xlp" in said.one("receiver")["advice"]
    assert "fdpass_socket_mode" in said.one("socket")["advice"]


def test_a_socket_that_the_shim_may_not_use(world, local):
    path = pathlib.Path(world.prosody.socket)
    path.chmod(0o600)
    try:
        said = local(world.shim.conf)
    finally:
        path.chmod(0o660)
    assert_only(said, ("way-in", "error"))
    assert "SupplementaryGroups" in said.one("way-in")["advice"]


def test_prosody_without_the_module(world, local, settings):
    """Asked through its shell."""
    from domain_world import PortProsody
    other = world.up(PortProsody(world.folder / "prosody-bare", world.server, {"one.example": world.of["one.example"]},
                                 'modules_enabled = { "admin_shell", "e2e_announce" }\nc2s_ports = {}\n'))
    try:
        said = local(settings(), "--prosody-config", other.folder / "prosody.cfg.lua", shell=False)
        assert_only(said, ("module", "error"), ("prosody-sees", "error"))
        assert "modules_enabled" in said.one("module")["advice"]
    finally:
        other.process.kill()


# What cannot be looked at


def test_without_prosodyctl(world, local):
    said = local(world.shim.conf, env={"PATH": "/nonexistent"})
    assert_only(said)
    assert said.one("module")["verdict"] == said.one("prosody-sees")["verdict"] == "note"
    assert "is not there" in said.one("module")["summary"]


def test_a_shell_that_hangs(world, local, tmp_path):
    fake = tmp_path / "prosodyctl"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    said = local(world.shim.conf, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=2)
    assert "does not answer" in said.one("module")["summary"] and said.code == 0


def test_as_somebody_without_rights(world, local):
    said = local(world.shim.conf, prefix=privileges("daemon"))
    assert not [one for one in said.report["checks"] if one["verdict"] == "error"], str(said)
    assert said.one("socket")["verdict"] == "note" and "as root" in said.one("socket")["advice"]


def test_without_logs(world, local):
    said = local(world.shim.conf, "--web-log", "/nonexistent", logs=False)
    assert_only(said)
    assert "--web-log" in said.one("web-log")["advice"]


def test_a_request_that_is_in_no_log(world, local, tmp_path):
    (tmp_path / "access.log").write_text("nothing\n")
    said = local(world.shim.conf, "--web-log", tmp_path / "access.log", logs=False)
    assert "in none of the logs" in said.one("web-log")["summary"]


@pytest.mark.parametrize("text, words", (
    (None, "No such file"),
    ("[shim]\nlisten = one.example:443\n", "line 2"),
    ("[shim]\nnonsense = 1\n", "line 2"),
))
def test_settings_that_are_wrong(local, tmp_path, text, words):
    file = tmp_path / "shim.conf"
    if text is not None:
        file.write_text(text)
    said = local(file)
    assert_only(said, ("settings", "error"))
    assert words in said.one("settings")["summary"] and said.code == 2
