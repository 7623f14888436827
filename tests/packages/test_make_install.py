"""make install and make uninstall, for other systems than Debian."""

import subprocess

import pytest
from conftest import TOP


def make(target, dest, *variables):
    done = subprocess.run(["make", "-s", "--no-print-directory", target, f"DESTDIR={dest}", *variables], cwd=TOP,
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize("version", ["252", "257"])
@pytest.mark.parametrize("prefix", ["/usr/local", "/opt/x"])
def test_all_of_it_goes_below_the_prefix(tmp_path, prefix, version):
    make("install", tmp_path, f"PREFIX={prefix}", f"SYSTEMD_VERSION={version}")
    files = tree(tmp_path)
    inside = {file.removeprefix(prefix.lstrip("/") + "/") for file in files if file.startswith(prefix.lstrip("/"))}
    assert {"sbin/xmpp443-shim", "share/man/man8/xmpp443-shim.8", "share/man/man5/xmpp443-shim.conf.5",
            "lib/systemd/system/xmpp443-shim.service", "lib/systemd/system/xmpp443-shim.socket",
            "lib/sysusers.d/xmpp443-shim.conf"} <= inside
    assert ("lib/systemd/system/xmpp443-shim.service.d/systemd-254.conf" in inside) == (version == "257")
    plugin = "usr/local/lib/prosody/modules/mod_net_fdpass/"
    assert {f"{plugin}mod_net_fdpass.lua", f"{plugin}fdpass.so", "etc/xmpp443/shim.conf"} <= files
    assert f"ExecStart={prefix}/sbin/xmpp443-shim\n" in (tmp_path / prefix.lstrip("/") /
                                                         "lib/systemd/system/xmpp443-shim.service").read_text()
    for file in files:
        assert b"@SBINDIR@" not in (tmp_path / file).read_bytes()


def test_uninstall_leaves_nothing_but_what_was_there(tmp_path):
    other = tmp_path / "usr/local/lib/prosody/modules/mod_other.lua"
    other.parent.mkdir(parents=True)
    other.write_text("-- not ours\n")
    make("install", tmp_path, "SYSTEMD_VERSION=257")
    make("install", tmp_path, "SYSTEMD_VERSION=257")
    make("uninstall", tmp_path)
    assert tree(tmp_path) == {"usr/local/lib/prosody/modules/mod_other.lua"}
    assert not list(tmp_path.rglob("*xmpp443*"))


def test_settings_that_were_changed_outlive_everything(tmp_path):
    make("install", tmp_path)
    conf = tmp_path / "etc/xmpp443/shim.conf"
    conf.write_text("; mine\n")
    make("install", tmp_path)
    make("uninstall", tmp_path)
    assert conf.read_text() == "; mine\n"
    assert tree(tmp_path) == {"etc/xmpp443/shim.conf"}
