"""What it prints, for people and for machines, and what it says to mistakes on the command line."""

import json
import pathlib
import re
import time

import jsonschema
import pytest

from domain_world import NO_RESOLVER
from rig.prosody import ROOT
from terminal import on_a_terminal

SCHEMA = json.loads((ROOT / "doc/xmpp443-check.schema.json").read_text())
ESCAPE = "\x1b["


@pytest.mark.parametrize("domain", ("one.example", "expired.example", "nosrv.example", "no-sasl.front.example", "down.front.example",
                                    "bogus.example", "direct.front.example", "tlsa.example"))
def test_json_is_as_documented(world, domain):
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    report = world.check(domain).report
    jsonschema.validate(report, SCHEMA, jsonschema.Draft7Validator)
    counted = {verdict: sum(c["verdict"] == verdict for c in report["checks"]) for verdict in report["counts"]}
    assert report["counts"] == counted
    assert all(c["advice"] for c in report["checks"] if c["verdict"] in ("warning", "error"))


def test_aligned_and_without_colour_in_a_pipe(world):
    code, out, err = world.run(*world.usual(), "expired.example")
    assert code == 2 and not err and ESCAPE not in out
    labels = [line for line in out.splitlines() if re.match(r"  (ok|note|warning|error) ", line)]
    assert len(labels) > 20
    assert all(re.match(r"  (ok|note|warning|error) +(?<=^.{11})\S", line) for line in labels), out
    assert all(line[28] == " " and line[29] != " " for line in labels), out
    assert max(map(len, out.splitlines())) <= 100


def test_coloured_on_a_terminal_and_as_wide_as_it_is(world):
    out = on_a_terminal(world, *world.usual(), "expired.example", columns=72)
    assert f"{ESCAPE}1;31merror" in out and f"{ESCAPE}32mok" in out
    plain = re.sub(r"\x1b\[[0-9;]*m|\r?[^\n]*\x1b\[K", "", out)
    assert max(map(len, plain.splitlines())) <= 72, plain


@pytest.mark.parametrize("env", ({"NO_COLOR": "1"}, {"TERM": "dumb"}))
def test_no_colour_if_it_is_not_wanted(world, env):
    assert f"{ESCAPE}3" not in on_a_terminal(world, *world.usual(), "one.example", env=env)


def test_no_color_has_to_say_something(world):
    assert f"{ESCAPE}32m" in on_a_terminal(world, *world.usual(), "one.example", env={"NO_COLOR": ""})


def test_progress_on_a_terminal_only(world):
    args = [*world.usual(), "--timeout", "2", "silent.front.example"]
    out = on_a_terminal(world, *args)
    assert re.search(r"connecting \d+/\d+ \.\.\.", out)
    assert "connecting" not in out[out.rindex(" UTC\n"):]
    assert world.run(*args)[2] == ""


def test_progress_while_dns_is_silent(world):
    args = [*world.usual(), "--resolver", NO_RESOLVER, "--timeout", "1", "one.example"]
    asked = re.findall(r"asking DNS 0/(\d+) ", on_a_terminal(world, *args))
    assert set(asked) == {"8"}, "there is no use in asking on"


def test_a_dead_address_does_not_hang_the_run(world):
    """Six connections that get no answer, at the same time."""
    start = time.monotonic()
    world.check("silent.front.example", timeout=3)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("args, words", (
    ([], "which domain"),
    (["one.example", "two.example"], "one domain at a time"),
    (["no_host.example"], "not a host name"),
    ([""], "domain ''"),
    (["a..b"], "domain 'a..b'"),
    (["x" * 300 + ".example"], "domain"),
    (["--connect", "one.example", "one.example"], "HOST:PORT"),
    (["--connect", "2001:db8::1:443", "one.example"], "HOST:PORT"),
    (["--connect", "one.example:0", "one.example"], "HOST:PORT"),
    (["--connect", ":443", "one.example"], "HOST:PORT"),
    (["--connect", f"{'x' * 300}:443", "one.example"], "HOST:PORT"),
    (["--timeout", "soon", "one.example"], "number of seconds"),
    (["--timeout", "0", "one.example"], "number of seconds"),
    (["--timeout", "1e9", "one.example"], "number of seconds"),
    (["--resolver", "ns.example", "one.example"], "the resolver has to be an address"),
    (["--resolver", "192.0.2.53:99999", "one.example"], "the resolver has to be an address"),
    (["--resolver", "[2001:db8::53", "one.example"], "the resolver has to be an address"),
    (["--trust-anchor", "/nonexistent", "one.example"], "trust anchor"),
    (["--ca-file", "/nonexistent", "one.example"], "no certificates can be read"),
    (["--nonsense", "one.example"], "--help"),
))
def test_mistakes_on_the_command_line(world, args, words):
    code, out, err = world.run(*args)
    assert code == 2 and words in err and not out, err


@pytest.mark.parametrize("resolver", ("192.0.2.53", "192.0.2.53:53", "[2001:db8::53]:53", "2001:db8::53"))
def test_forms_of_the_resolver(world, resolver):
    if ":" in resolver.removesuffix(":53"):
        said = world.check("one.example", "--resolver", resolver, timeout=2)  # nobody is there, but the form is right
        assert said.worst() == [("resolver", "error")]
    else:
        assert world.check("one.example", "--resolver", resolver).code == 0


def test_help_and_version(world):
    code, out, _ = world.run("--help")
    assert code == 0 and out.startswith("usage: xmpp443-check")
    assert world.run("--version")[1].startswith("xmpp443-check ")


def test_a_full_disk(world):
    with open("/dev/full", "w", encoding="ascii") as full, world.client.inside():
        import subprocess
        done = subprocess.run([world.binary, *map(str, world.usual()), "one.example"], stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=60)
    assert done.returncode == 2 and "standard output" in done.stderr


def test_strangers_bytes_do_not_reach_the_terminal(world):
    """A server that puts escape sequences into everything it says."""
    import socket
    import threading
    with world.server.inside():
        listener = socket.create_server(("192.0.2.1", 18999))

    def serve():
        for _ in range(12):
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 200 \x1b[31mOK\r\nServer: \x1b]0;evil\x07\x9b\xff\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    _, out, _ = world.run(*world.usual(), "--timeout", "5", "--connect", "192.0.2.1:18999", "one.example")
    listener.close()
    assert "plain HTTP" in out and all(c == "\n" or " " <= c < "\x7f" for c in out), out


def test_manual_and_help_name_the_same_options():
    page = (ROOT / "doc/man/xmpp443-check.1").read_text()
    source = pathlib.Path(ROOT / "check/options.c").read_text()
    for option in re.findall(r'^\t\{"([a-z-]+)",', source, re.M):
        assert f"Fl -{option}" in page, option
        assert f"--{option}" in source.partition("static const struct option")[2], option
