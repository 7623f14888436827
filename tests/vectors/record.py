#!/usr/bin/python3
"""Records and checks the ClientHello vectors.

usage: record.py --record NAME...  record these clients' hellos anew (clients.py has the names; "all": every one)
       record.py --synthetic       write those that are put together (synthetic.py) anew
       record.py --check           check what expected.tsv says, without our parser

Each file is the beginning of a connection and its name starts with the
verdict: ok, need-more, not-tls or malformed. expected.tsv has a line for each:
file, verdict, SNI, ALPN names parted by commas; "-" is none.

Those named ok-real-* were sent by real clients from Debian packages, which
--record runs here or, through tests/debian13, on Debian 13. The tests need
only the files. --check asks tshark for the SNI and the ALPN list of each good
one, and OpenSSL's server side whether it can read the hello.
"""

import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile

from clients import CLIENTS
from synthetic import synthetic

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN_13 = HERE.parent / "debian13"
TABLE = HERE / "expected.tsv"
STARTS = 60  # seconds that a client may take to connect
SILENT = 1  # seconds without a byte: it waits for an answer

# Where others judge otherwise.
KNOWN = {
    ("malformed-message-max-plus-1.bin", "ok"),  # the limit is ours
    ("malformed-empty-record.bin", "ok"),  # OpenSSL skips it; RFC 8446 section 5.1 forbids it
    ("not-tls-sslv2.bin", "tshark"),  # a hello, but not in a TLS record
}


# --- the table and its files ---

def read_table():
    return {line.split("\t")[0]: line.split("\t") for line in TABLE.read_text("ascii").splitlines()}


def write(vectors):
    """Takes (name, bytes, SNI, ALPN names parted by commas) into the folder and the table, in place of what has that name."""
    table = read_table()
    for name, flight, server_name, protocols in vectors:
        verdict = re.match("ok|need-more|not-tls|malformed", name)[0]
        (HERE / f"{name}.bin").write_bytes(flight)
        table[f"{name}.bin"] = [f"{name}.bin", verdict, server_name, protocols]
        print(f"{name}: {len(flight)} bytes")
    real = [line for name, line in table.items() if name.startswith("ok-real-")]
    other = [line for name, line in table.items() if not name.startswith("ok-real-")]
    TABLE.write_text("".join("\t".join(line) + "\n" for line in sorted(real) + other), "ascii")


# --- recording real clients ---

def on_debian(client, command):
    """The command line that runs a bash command where the client lives."""
    if client.debian == 13:
        return [DEBIAN_13, *client.packages.split(), "--", "env", "HOME=/work", "bash", "-c", command]
    return ["bash", "-c", command]


def first_flight(listener):
    conn, _ = listener.accept()
    with conn:
        conn.settimeout(SILENT)
        flight = b""
        try:
            while chunk := conn.recv(65536):
                flight += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return flight


def record_client(client):
    """The first flight of a client."""
    # Installing takes longer than any client may take to connect.
    subprocess.run(on_debian(client, f"dpkg-query -W {client.packages}"), check=True, stdout=subprocess.DEVNULL)
    here = "/src/tests/vectors/clients" if client.debian == 13 else HERE / "clients"
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        listener.settimeout(STARTS)
        command = client.command.format(port=listener.getsockname()[1], here=here)
        process = subprocess.Popen(on_debian(client, command), cwd=folder, env={**os.environ, "HOME": folder},
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            return first_flight(listener)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            sys.exit(f"{client.name} did not connect:\n{process.communicate()[0].decode(errors='replace')}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def record(names):
    known = {client.name: client for client in CLIENTS}
    if unknown := set(names) - set(known) - {"all"}:
        sys.exit(f"record: no such client: {', '.join(sorted(unknown))}")
    for name in known if "all" in names else names:
        client = known[name]
        write([(f"ok-real-{name}", record_client(client), client.sni, client.alpn)])


def write_synthetic():
    write([(name, flight, server_name, ",".join(protocols) or "-") for name, flight, server_name, protocols in synthetic()])


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
    lines = list(read_table().values())
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
    match sys.argv[1:]:
        case ["--record", _, *_]:
            record(sys.argv[2:])
        case ["--synthetic"]:
            write_synthetic()
        case ["--check"]:
            sys.exit(check())
        case _:
            sys.exit(__doc__)
