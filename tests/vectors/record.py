#!/usr/bin/python3
"""Records and checks the ClientHello vectors.

usage: record.py --record   run the clients and write the files anew
       record.py --check    check what expected.tsv says, without our parser

Each file is the beginning of a connection and its name starts with the
verdict: ok, need-more, not-tls or malformed. expected.tsv has a line for each:
file, verdict, SNI, ALPN names parted by commas; "-" is none.

Those named ok-real-* were sent by real clients: openssl s_client, curl,
gnutls-cli and Python's ssl module. The others are put together here, byte by
byte. --check asks tshark for the SNI and the ALPN list of each good one, and
OpenSSL's server side whether it can read the hello.
"""

import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
MESSAGE_MAX = 16384
RECORD_MAX = 16384

# Where others judge otherwise.
KNOWN = {
    ("malformed-message-max-plus-1.bin", "ok"),  # the limit is ours
    ("malformed-empty-record.bin", "ok"),  # OpenSSL skips it; RFC 8446 section 5.1 forbids it
    ("not-tls-sslv2.bin", "tshark"),  # a hello, but not in a TLS record
}


# --- putting hellos together ---

def block(width, content):
    return len(content).to_bytes(width, "big") + content


def extension(kind, content):
    return struct.pack("!H", kind) + block(2, content)


def sni(name):
    return extension(0, block(2, b"\0" + block(2, name.encode())))


def alpn(*names):
    return extension(16, block(2, b"".join(block(1, name.encode()) for name in names)))


def key_share(*shares):
    return extension(51, block(2, b"".join(struct.pack("!H", group) + block(2, key) for group, key in shares)))


GROUPS = extension(10, block(2, bytes.fromhex("001d0017")))
POINT_FORMATS = extension(11, block(1, b"\0"))
SIGNATURES = extension(13, block(2, bytes.fromhex("0403080404010503080505010806060102010203")))
VERSIONS = extension(43, block(1, bytes.fromhex("03040303")))
X25519 = key_share((29, bytes(range(1, 33))))
TLS13 = GROUPS + POINT_FORMATS + SIGNATURES + VERSIONS + X25519
SUITES = bytes.fromhex("130113021303c02bc02fc02cc030cca9cca8009c009d002f0035")
RANDOM = bytes(range(32))


def body(extensions=TLS13, suites=SUITES, session=b"", compression=b"\0", version=b"\x03\x03"):
    """A ClientHello without its handshake header; extensions None leaves the block out."""
    return (version + RANDOM + block(1, session) + block(2, suites) + block(1, compression) +
            (b"" if extensions is None else block(2, extensions)))


def message(content, kind=1):
    return bytes([kind]) + block(3, content)


def records(content, *sizes, version=b"\x03\x01"):
    """The content in records of these sizes, the last of them for all the rest."""
    out = b""
    sizes = list(sizes) or [RECORD_MAX]
    while content:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        out += b"\x16" + version + block(2, content[:size])
        content = content[size:]
    return out


def hello(extensions=TLS13, *sizes, **rest):
    return records(message(body(extensions, **rest)), *sizes)


def padded(length):
    """A hello whose handshake message, header included, is that long."""
    bare = len(message(body(sni("pad.example") + alpn("h2") + TLS13 + extension(21, b""))))
    return message(body(sni("pad.example") + alpn("h2") + TLS13 + extension(21, bytes(length - bare))))


def synthetic():
    """(name, bytes, SNI, ALPN names)"""
    grease = (extension(0x0A0A, b"") + sni("grease.example") + extension(0x1A1A, b"\0") +
              alpn("jj", "h2", "http/1.1") + TLS13 + extension(0xFAFA, b"xyz"))
    groups = extension(10, block(2, bytes.fromhex("11ec001d0017")))
    hybrid = key_share((0x11EC, bytes(i * 7 & 255 for i in range(1216))), (29, bytes(range(1, 33))))
    quantum = sni("pq.example.org") + alpn("xmpp-client") + groups + SIGNATURES + VERSIONS + hybrid
    plain = sni("chat.example.org") + alpn("xmpp-client") + TLS13
    good = message(body(plain))

    yield "ok-grease", hello(grease, suites=b"\x3a\x3a" + SUITES), "grease.example", ("jj", "h2", "http/1.1")
    yield "ok-post-quantum", hello(quantum), "pq.example.org", ("xmpp-client",)
    yield "ok-post-quantum-3-records", hello(quantum, 700, 600), "pq.example.org", ("xmpp-client",)
    yield "ok-no-extensions-block", hello(None), "-", ()
    yield "ok-empty-extensions-block", hello(b""), "-", ()
    yield "ok-2-records", records(good, 90), "chat.example.org", ("xmpp-client",)
    yield "ok-1-byte-records", records(good, 1), "chat.example.org", ("xmpp-client",)
    yield "ok-message-max", records(padded(MESSAGE_MAX)), "pad.example", ("h2",)
    yield "ok-many-protocols", hello(alpn(*(f"p{i}" for i in range(40)), "xmpp-server") + TLS13), "-", \
        (*(f"p{i}" for i in range(40)), "xmpp-server")

    yield "malformed-message-max-plus-1", records(padded(MESSAGE_MAX + 1)), "-", ()
    yield "malformed-duplicate-sni", hello(sni("a.example") + sni("b.example") + TLS13), "-", ()
    yield "malformed-duplicate-alpn", hello(alpn("h2") + alpn("xmpp-client") + TLS13), "-", ()
    yield "malformed-empty-alpn-name", hello(alpn("h2", "") + TLS13), "-", ()
    yield "malformed-empty-alpn-list", hello(alpn() + TLS13), "-", ()
    yield "malformed-empty-record", records(good[:40]) + b"\x16\x03\x01\0\0" + records(good[40:]), "-", ()
    yield "malformed-alert-in-between", records(good[:40]) + bytes.fromhex("15030100020100") + records(good[40:]), "-", ()
    yield "malformed-other-second-record", records(good[:40]) + b"\x17" + records(good[40:])[1:], "-", ()
    yield "malformed-server-hello", records(message(body(plain), 2)), "-", ()
    yield "malformed-no-compression", hello(plain, compression=b""), "-", ()

    yield "not-tls-http", b"GET / HTTP/1.1\r\nHost: chat.example.org\r\n\r\n", "-", ()
    yield "not-tls-xmpp", b"<?xml version='1.0'?><stream:stream to='chat.example.org'>", "-", ()
    yield "not-tls-sslv2", bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16), "-", ()
    yield "not-tls-dtls", b"\x16\xfe\xff" + bytes(8) + block(2, good), "-", ()
    yield "not-tls-alert", bytes.fromhex("15030100020228"), "-", ()
    yield "need-more-cut", records(good)[:-1], "-", ()
    yield "need-more-cut-at-record", records(good, 90)[:95], "-", ()


# --- recording real clients ---

def clients():
    """(name, command or function, SNI, ALPN names); {port} is filled in"""
    s_client = ["openssl", "s_client", "-connect", "127.0.0.1:{port}"]
    yield "openssl-tls13", [*s_client, "-tls1_3", "-servername", "chat.example.org", "-alpn", "xmpp-client"], \
        "chat.example.org", ("xmpp-client",)
    yield "openssl-tls12", [*s_client, "-tls1_2", "-servername", "chat.example.org", "-alpn", "h2,http/1.1"], \
        "chat.example.org", ("h2", "http/1.1")
    yield "openssl-bare", [*s_client, "-noservername"], "-", ()
    yield "openssl-tls12-no-sni-xmpp-server", [*s_client, "-tls1_2", "-noservername", "-alpn", "xmpp-server"], "-", ("xmpp-server",)
    yield "curl-h2", ["curl", "-sk", "--http2", "-m", "5", "--resolve", "web.example.org:{port}:127.0.0.1",
                      "https://web.example.org:{port}/"], "web.example.org", ("h2", "http/1.1")
    yield "gnutls", ["gnutls-cli", "--insecure", "-p", "{port}", "--sni-hostname=chat.example.org", "--alpn=xmpp-client",
                     "127.0.0.1"], "chat.example.org", ("xmpp-client",)
    yield "gnutls-no-alpn", ["gnutls-cli", "--insecure", "-p", "{port}", "--sni-hostname=old.example.org", "127.0.0.1"], \
        "old.example.org", ()
    yield "python", python_client, "py.example.org", ("xmpp-client", "h2")


def python_client(port):
    context = ssl.create_default_context()
    context.set_alpn_protocols(["xmpp-client", "h2"])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            context.wrap_socket(sock, server_hostname="py.example.org")
    except OSError:
        pass


def record_client(command):
    """The first flight of a client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        port = listener.getsockname()[1]
        process = None
        if callable(command):
            import threading
            threading.Thread(target=command, args=(port,), daemon=True).start()
        else:
            process = subprocess.Popen([word.format(port=port) for word in command], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(0.5)
            flight = b""
            try:
                while chunk := conn.recv(65536):
                    flight += chunk
            except TimeoutError:
                pass
        if process:
            process.kill()
            process.wait()
    return flight


def record():
    lines = []
    for old in HERE.glob("*.bin"):
        old.unlink()
    for name, command, server_name, protocols in clients():
        if not callable(command) and not shutil.which(command[0]):
            sys.exit(f"record: {command[0]} is missing")
        lines.append((f"ok-real-{name}", record_client(command), server_name, protocols))
    lines += synthetic()
    with open(HERE / "expected.tsv", "w", encoding="ascii") as table:
        for name, flight, server_name, protocols in lines:
            (HERE / f"{name}.bin").write_bytes(flight)
            verdict = re.match("ok|need-more|not-tls|malformed", name)[0]
            print(f"{name}.bin", verdict, server_name, ",".join(protocols) or "-", sep="\t", file=table)
    print(f"record: {len(lines)} vectors")


# --- checking ---

def pcap(flight):
    """The flight as one TCP segment to port 443."""
    tcp = struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + flight
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1])) + tcp
    return (struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101) + struct.pack("!IIII", 0, 0, len(ip), len(ip)) + ip)


def tshark(flight):
    """(SNI, ALPN names) as tshark reads them, or None if it sees no ClientHello"""
    fields = ["tls.handshake.type", "tls.handshake.extensions_server_name", "tls.handshake.extensions_alpn_str"]
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        file.write(pcap(flight))
        file.flush()
        out = subprocess.run(["tshark", "-r", file.name, "-d", "tcp.port==443,tls", "-T", "fields", "-E", "aggregator=,",
                              *(word for field in fields for word in ("-e", field))],
                             check=True, capture_output=True, text=True).stdout
    kind, server_name, protocols = (out.rstrip("\n") + "\t\t").split("\t")[:3]
    return (server_name or "-", protocols or "-") if kind.split(",")[0] == "1" else None


def openssl(flight):
    """What OpenSSL's server side makes of the flight: ok, need-more or refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL:@SECLEVEL=0")
    seen = []
    context.sni_callback = lambda *_: seen.append(True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(flight)
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        return "ok" if seen else "need-more"
    except ssl.SSLError as error:
        # Without a certificate the handshake fails in any case: after the hello was read, or in it.
        return "ok" if seen else f"refused ({error.reason})"
    return "ok"


def check():
    failures = 0
    lines = [line.split("\t") for line in (HERE / "expected.tsv").read_text("ascii").splitlines()]
    assert {line[0] for line in lines} == {path.name for path in HERE.glob("*.bin")}, "expected.tsv and the files differ"
    for name, verdict, server_name, protocols in lines:
        flight = (HERE / name).read_bytes()
        says = openssl(flight)
        problems = []
        if not name.startswith(verdict + "-"):
            problems.append("its name says another verdict")
        if says.split()[0] != {"not-tls": "refused", "malformed": "refused"}.get(verdict, verdict) and (name, says) not in KNOWN:
            problems.append(f"OpenSSL: {says}")
        if verdict == "ok" and tshark(flight) != (server_name, protocols):
            problems.append(f"tshark: {tshark(flight)}")
        if verdict == "not-tls" and tshark(flight) is not None and (name, "tshark") not in KNOWN:
            problems.append("tshark sees a ClientHello")
        for problem in problems:
            print(f"{name}: {verdict}: {problem}", file=sys.stderr)
        failures += len(problems)
    print(f"check: {len(lines)} vectors, {failures} problems")
    return 1 if failures else 0

if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record()
    elif sys.argv[1:] == ["--check"]:
        sys.exit(check())
    else:
        sys.exit(__doc__)
