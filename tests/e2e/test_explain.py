"""--explain: recordings of real clients, the structure of their hellos, and the reasons of the rules."""

import os
import pathlib
import re
import ssl
import subprocess

import pytest
from rig.process import Process
from rig.tls import client_hello, in_records
from rig.visitors import CLIENTS4, CLIENTS6, SERVER4, SERVER6
from rig.wait import until

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = TOP / os.environ.get("XMPP443_BUILD", "build") / "xmpp443-shim"
VECTORS = TOP / "tests" / "vectors"
RULES = """\
[route alias]
alpn = xmpp-client
sni = other.example, *.example.net
fdpass = /run/other.sock
[route xmpp-client]
alpn = xmpp-client, xmpp
fdpass = /run/prosody/fdpass.sock
[route old-clients]
sni = one.example
alpn = none
fdpass = /run/prosody/fdpass.sock
[route http2]
alpn = h2
proxy = 127.0.0.1:9
[web]
proxy = 127.0.0.1:8443
"""


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "shim.conf"
    file.write_text(RULES)
    return file


def explain(settings, file, stdin=b"", status=0):
    done = subprocess.run([BINARY, "-c", settings, "--explain", file], input=stdin, timeout=60, capture_output=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout.decode() if status == 0 else done.stderr.decode()


def explain_or_nothing(settings, file):
    """Of a recording that is still being written."""
    done = subprocess.run([BINARY, "-c", settings, "--explain", file], timeout=60, capture_output=True, check=False)
    return done.stdout.decode()


def paragraphs(text):
    return text.split("\n\n")


@pytest.fixture
def recording(world, tmp_path):
    """recording(*options) -> file: from now on it gets what passes the clients' interface, at once."""
    made = []

    def start(*options):
        file = tmp_path / "packets"
        process = Process("dumpcap", ["dumpcap", "-i", "veth0", "-f", "tcp port 443", "-w", str(file), *options], tmp_path / "output",
                          world.client)
        made.append(process.start())
        until(lambda: "File:" in process.output(), "dumpcap to begin")
        return file

    yield start
    for process in made:
        process.kill()


@pytest.mark.parametrize("options", ((), ("-P",)), ids=("pcapng", "pcap"))
def test_a_recording_of_real_clients(world, shim, settings, recording, options):
    file = recording(*options)
    with world.tls("one.example", ["xmpp-client"], source=CLIENTS4[1]):
        pass
    with world.tls("two.example", ["h2", "http/1.1"], source=CLIENTS6[0]):
        pass

    def in_records_and_segments(sock, record):
        for piece in in_records(record, 100):
            sock.sendall(piece)

    with world.tls("one.example", source=CLIENTS4[0], send_hello=in_records_and_segments):
        pass
    until(lambda: file.stat().st_size > 100 and explain_or_nothing(settings, file).count("verdict: ok") == 3, "dumpcap to write all of it")
    clients = re.split(r"^client: ", explain(settings, file), flags=re.M)[1:]
    assert len(clients) == 3
    assert clients[0].startswith(f"{CLIENTS4[1]}:") and f" to {SERVER4}:443," in clients[0]
    assert "\nsni: one.example\nalpn: xmpp-client\nroute: xmpp-client " in clients[0]
    assert clients[1].startswith(f"[{CLIENTS6[0]}]:") and f" to [{SERVER6}]:443," in clients[1]
    assert "\nsni: two.example\nalpn: h2 http/1.1\nroute: http2 (relay to 127.0.0.1:9)\n" in clients[1]
    assert "\nverdict: ok\nsni: one.example\nalpn: (none)\nroute: old-clients " in clients[2]
    assert "  record 3, version 0x0301, 100 bytes" in clients[2]


def test_reasons(settings):
    text = explain(settings, VECTORS / "ok-real-openssl-tls13.bin")
    assert paragraphs(text)[2] == """\
  alias: does not match
      sni = other.example, *.example.net: no, it is another name
      alpn = xmpp-client: yes, xmpp-client is offered
  xmpp-client: matches
      alpn = xmpp-client, xmpp: yes, xmpp-client is offered
"""


def hello(host, alpn=None):
    ctx = ssl.create_default_context()
    ctx.check_hostname = host is not None
    if alpn:
        ctx.set_alpn_protocols(alpn)
    return client_hello(ctx, host)


def test_reasons_without_a_list(settings):
    text = paragraphs(explain(settings, "-", hello("one.example")))[2]
    assert "alpn = xmpp-client: no, there is no list" in text
    assert "      sni = one.example: yes\n      alpn = none: yes, there is no list\n" in text
    assert "http2" not in text


def test_reasons_without_a_name(settings):
    text = paragraphs(explain(settings, "-", hello(None, ["h2"])))[2]
    assert "sni = other.example, *.example.net: no, there is no server name" in text
    assert "alpn = xmpp-client, xmpp: no, the client does not offer it" in text
    assert "alpn = none: no, there is a list" in text
    assert "  http2: matches\n      alpn = h2: yes, h2 is offered\n" in text


def test_when_no_rule_matches(tmp_path):
    file = tmp_path / "shim.conf"
    file.write_text("[route a]\nalpn = xmpp-server\nfdpass = /run/x.sock\n[web]\nproxy = 127.0.0.1:8443\n")
    text = explain(file, "-", hello("one.example", ["h2"]))
    assert text.endswith("  a: does not match\n      alpn = xmpp-server: no, the client does not offer it\n  web: takes what no rule matches\n")


def test_the_structure_of_every_vector(settings):
    """Each line has its place, in order; the last says how it ends, as the verdict does."""
    ends = {"ok": "the message is complete", "need-more": "the recording ends in", "malformed": "with this byte it is no proper ClientHello",
            "not-tls": "this byte begins no TLS handshake"}
    for line in (VECTORS / "expected.tsv").read_text().splitlines():
        name, verdict = line.split("\t")[:2]
        lines = paragraphs(explain(settings, VECTORS / name))[1].rstrip().splitlines()
        if len((VECTORS / name).read_bytes()) == 0:
            continue
        assert lines[0] == "  byte" and ends[verdict] in lines[-1], (name, lines)
        records = [int(one.split()[0]) for one in lines[1:] if " record " in one]
        assert records == sorted(records), name


def test_the_bytes_of_a_field_in_two_records(settings):
    text = explain(settings, VECTORS / "ok-2-records.bin")
    assert "\n    85          chat.example.org\n" in text and "  record 2, version" in text


def test_no_byte_of_a_stranger_is_printed_raw(settings):
    data = bytearray(hello("one.example", ["xmpp-client"]))
    where = data.index(b"xmpp-client")
    data[where:where + 3] = b"\x1b[\xff"
    text = explain(settings, "-", bytes(data))
    assert "\\x1b[\\xffp-client" in paragraphs(text)[0] and "\\x1b[\\xffp-client" in paragraphs(text)[1]
    assert all(c == "\n" or " " <= c < "\x7f" for c in text)


@pytest.mark.parametrize("data, words", (
    (b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(8) + b"\xff\xff\0\0\x01\0\0\0", "not supported"),  # an empty recording
    (b"\xd4\xc3\xb2\xa1\2\0", "Invalid argument"),
    (b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(8) + b"\xff\xff\0\0\x65\0\0\0" + bytes(8) + b"\1\0\0\0\1\0\0\0E", "No message"),
))
def test_recordings_with_nothing_in_them(settings, data, words):
    assert words in explain(settings, "-", data, status=1)


def test_the_examples_in_the_manual(tmp_path):
    """What the page shows is what comes out."""
    page = (TOP / "doc/man/xmpp443-shim.8").read_text()
    example = re.search(r"^\$ xmpp443-shim --explain tests/vectors/(\S+)\n(.*?)^\.Ed", page, re.M | re.S)
    shown = example[2].replace("\\&", "").replace("\\e", "\\")
    assert explain(TOP / "shim/shim.conf", VECTORS / example[1]) == shown
