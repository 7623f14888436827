"""xmpp443-check --local on a machine as it should be, and with units that are not."""

import json

import pytest

from host import SHIM, SOCKET


def check(host, *args):
    """({id: [verdicts]}, {id: [advice]}, report)"""
    host.write("/root/ca.pem", host.authority.cert.read_text())
    done = host.run("/usr/local/bin/xmpp443-check", "--local", "--json", "--ca-file", "/root/ca.pem", "--web-log", "/var/log/nginx/seen.log",
                    *args, "one.example", check=False)
    report = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode
    return report


def worst(report):
    return sorted({(one["id"], one["verdict"]) for one in report["checks"] if one["verdict"] in ("warning", "error")})


def units(report):
    return {one["summary"].split()[0]: one["verdict"] for one in report["checks"] if one["id"] == "unit"}


def test_a_machine_as_it_should_be(host):
    report = check(host)
    assert worst(report) == [], report
    assert units(report) == {"xmpp443-shim.socket": "ok", "xmpp443-shim.service": "ok", "prosody.service": "ok"}
    found = {one["id"]: one for one in report["checks"]}
    for check_id in ("shim", "way-in", "receiver", "module", "backend", "strangers", "prosody-sees", "web-log"):
        assert found[check_id]["verdict"] == "ok", found[check_id]
    # systemd owns the port, on all addresses.
    assert "127.44.3.1" in found["prosody-sees"]["summary"] and "127.44.3.1" in found["web-log"]["summary"]
    assert "xmpp443" in found["shim"]["summary"]


@pytest.mark.parametrize("unit", (SOCKET, f"{SHIM}.service"))
def test_a_unit_that_is_not_started_at_boot(host, unit):
    host.systemctl("disable", unit)
    try:
        report = check(host)
    finally:
        host.systemctl("enable", SOCKET, SHIM)
    assert ("unit", "warning") in worst(report) and units(report)[unit] == "warning"
    assert any(one["advice"] == f"Enable it: systemctl enable {unit}." for one in report["checks"])


def test_a_unit_that_has_changed(host):
    host.run("touch", "-d", "1 minute", f"/usr/local/lib/systemd/system/{SHIM}.service")
    try:
        report = check(host)
    finally:
        host.run("touch", f"/usr/local/lib/systemd/system/{SHIM}.service")
        host.systemctl("daemon-reload")
    assert units(report)[f"{SHIM}.service"] == "warning"


def test_everything_stopped(host):
    host.systemctl("stop", SOCKET, SHIM)
    report = check(host, "--timeout", "3")
    assert units(report)[SOCKET] == units(report)[f"{SHIM}.service"] == "error"
    assert {("shim", "error"), ("shim-xmpp", "error"), ("shim-web", "error"), ("unit", "error")} == set(worst(report))


def test_prosody_stopped(host):
    """Its socket goes with its directory."""
    host.systemctl("stop", "prosody")
    report = check(host, "--timeout", "3")
    assert units(report)["prosody.service"] == "error"
    assert {("socket", "error"), ("shim-xmpp", "error"), ("unit", "error")} == set(worst(report)), report
