"""In this order, on one machine: install, set up, upgrade, remove, install again, purge."""

import concurrent.futures
import shutil
import threading
import time

from conftest import FIRST, SECOND
from host import SHIM, SOCKET
from rig.visitors import CLIENTS4, CLIENTS6, HOSTS
from rig.wait import until

NAMES = ("xmpp443-shim", "prosody-mod-net-fdpass", "xmpp443-check")
CONF = "/etc/xmpp443/shim.conf"


def apt(host, *args):
    return host.run("apt-get", "-y", "--no-install-recommends", *args, env={"DEBIAN_FRONTEND": "noninteractive"})


def install(host, folder):
    place = host.root / "root" / folder.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    files = [next(folder.glob(f"{name}_*.deb")) for name in NAMES]
    for file in files:
        shutil.copy(file, place)
    return apt(host, "install", *(f"/root/{folder.name}/{file.name}" for file in files))


def states(host):
    return {unit: (host.show(unit, "ActiveState")["ActiveState"],
                   host.run("systemctl", "is-enabled", unit, check=False).stdout.strip()) for unit in (SHIM, SOCKET)}


def leftovers(host):
    """Every file whose name tells that it is ours, but for the tests' own."""
    out = host.run("find", "/", "-xdev", "(", "-name", "*xmpp443*", "-o", "-name", "*fdpass*", ")",
                   "-not", "-path", "/root/*", "-not", "-path", "/var/tmp/*").stdout
    return out.split()


def assert_served(host, name):
    for source in (CLIENTS4[1], CLIENTS6[1]):
        with host.login("alice", HOSTS[1], source=source) as session:
            assert host.login_of(session.jid)["ip"] == source
        assert host.get(f"/{name}-{source}", HOSTS[1], source=source) == f"the web page of {HOSTS[1]}\n".encode()
        assert host.request_for(f"/{name}-{source}")["addr"] == source


def test_lintian_finds_no_error(packages):
    said = (packages[1][FIRST] / "lintian.txt").read_text()
    assert "E: " not in said and "failed" not in said, said


def test_after_the_installation_nothing_runs_and_all_is_there(packages, booted):
    install(booted, packages[1][FIRST])
    assert states(booted) == {SHIM: ("inactive", "disabled"), SOCKET: ("inactive", "disabled")}
    assert ":443" not in booted.run("ss", "-Hltn").stdout
    booted.run("id", "xmpp443")
    assert booted.run(SHIM, "--version").stdout == f"{SHIM} {FIRST}\n"
    assert "valid" in booted.run(SHIM, "--check").stdout
    assert CONF in booted.run("dpkg-query", "-W", "-f=${Conffiles}", "xmpp443-shim").stdout
    assert FIRST in booted.run("xmpp443-check", "--version").stdout
    for page in ("man8/xmpp443-shim.8.gz", "man5/xmpp443-shim.conf.5.gz", "man1/xmpp443-check.1.gz"):
        assert (booted.root / "usr/share/man" / page).exists()
    assert booted.run("lua5.4", "-e", 'print(type(require "fdpass".listen))').stdout == "function\n"
    unit = booted.run("systemctl", "cat", SHIM).stdout
    assert ("notify-reload" in unit) == (packages[0] != "12")


def test_it_works_with_the_two_steps_that_the_readme_names(booted):
    text = booted.read("/etc/prosody/prosody.cfg.lua")
    assert "net_fdpass" not in text
    (booted.root / "etc/prosody/prosody.cfg.lua").write_text(
        text.replace("modules_enabled = {\n", 'modules_enabled = {\n\t"net_fdpass";\n', 1))
    booted.systemctl("restart", "prosody")
    booted.systemctl("enable", "--now", SOCKET, SHIM)
    assert_served(booted, "installed")


def test_an_upgrade_replaces_the_process_and_turns_nobody_away(packages, booted):
    with open(booted.root / CONF.lstrip("/"), "a") as conf:
        conf.write("; mine\n")
    before, stop = booted.main_pid(SHIM), threading.Event()

    def visitor():
        """Connects again and again. The port is never closed; what the old process has accepted may end with it."""
        n = 0
        while not stop.is_set():
            try:
                booted.connect(timeout=60).close()
            except ConnectionResetError:
                pass
            n += 1
            time.sleep(0.002)
        return n

    with concurrent.futures.ThreadPoolExecutor(1) as pool, booted.login("bob") as session:
        visits = pool.submit(visitor)
        try:
            install(booted, packages[1][SECOND])
        finally:
            stop.set()
        assert visits.result(90) > 0
        session.send(session.jid, "still here")
        assert session.receive() == (session.jid, "still here")
    assert booted.run(SHIM, "--version").stdout == f"{SHIM} {SECOND}\n"
    assert booted.main_pid(SHIM) not in (0, before)
    assert states(booted) == {SHIM: ("active", "enabled"), SOCKET: ("active", "enabled")}
    assert booted.read(CONF).endswith("; mine\n")
    assert_served(booted, "upgraded")


def test_it_is_there_after_a_reboot(booted):
    booted.reboot()
    assert_served(booted, "rebooted")


def test_after_the_removal_nothing_runs_and_the_settings_are_kept(booted):
    apt(booted, "remove", *NAMES)
    until(lambda: ":443" not in booted.run("ss", "-Hltn").stdout, "the port to be closed")
    assert {booted.show(unit, "ActiveState")["ActiveState"] for unit in (SHIM, SOCKET)} == {"inactive"}
    assert booted.read(CONF).endswith("; mine\n")
    left = [path for path in leftovers(booted) if not path.startswith(("/etc/", "/var/lib/"))]
    assert left == [], left


def test_installed_again_it_has_its_settings_and_is_enabled_as_before(packages, booted):
    install(booted, packages[1][SECOND])
    assert booted.read(CONF).endswith("; mine\n")
    booted.systemctl("enable", "--now", SOCKET, SHIM)
    booted.systemctl("restart", "prosody")
    assert_served(booted, "again")


def test_a_purge_leaves_nothing(booted):
    apt(booted, "purge", *NAMES)
    booted.systemctl("daemon-reload")
    assert leftovers(booted) == []


def test_the_service_needs_no_prosody_on_the_machine(packages, booted):
    """Its group belongs to Prosody's package, which may come later, or never."""
    apt(booted, "purge", "prosody")
    booted.run("deluser", "--system", "prosody", check=False)
    booted.run("delgroup", "--system", "prosody", check=False)
    file = next(packages[1][SECOND].glob("xmpp443-shim_*.deb"))
    apt(booted, "install", f"/root/{packages[1][SECOND].name}/{file.name}")
    booted.systemctl("start", SOCKET, SHIM)
    assert booted.get("/no-prosody") == f"the web page of {HOSTS[0]}\n".encode()
    # And what Prosody's package does when it comes then.
    booted.run("adduser", "--disabled-password", "--quiet", "--system", "--home", "/var/lib/prosody", "--no-create-home",
               "--gecos", "Prosody XMPP Server", "--group", "prosody")
    assert "prosody" in booted.run("id", "-Gn", "prosody").stdout.split()
