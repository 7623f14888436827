"""What a client does on a connection that was handed over."""

import os
import ssl
import subprocess
from http.client import HTTPResponse

from rig.xmpp import CLIENT, XmppClient

from prosody_box import PASSWORD, USER, message, tcp_pair

STREAM = ("<?xml version='1.0'?><stream:stream to='{0}' version='1.0' xmlns='{1}' "
          "xmlns:stream='http://etherx.jabber.org/streams'>")


def ident():
    return os.urandom(8)


def hand_over(sender, **fields):
    """Hands over one new connection; returns its client end and the verdict."""
    client, accepted = tcp_pair()
    unique = ident()
    sender.send(message(unique, **fields), accepted.fileno())
    verdict = sender.answers(1)[unique]
    accepted.close()
    return client, verdict


def tls(client, host, *alpn, version=None):
    """Does the handshake. alpn: the protocols to offer, xmpp-client unless given; None for no list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn != (None,):
        context.set_alpn_protocols(alpn or ["xmpp-client"])
    return context.wrap_socket(client, server_hostname=host)


def certificate(conn):
    return ssl.DER_cert_to_PEM_cert(conn.getpeercert(True))


def read_until(conn, wanted):
    data = b""
    while wanted not in data:
        piece = conn.recv(4096)
        assert piece, data
        data += piece
    return data.decode()


def open_stream(conn, host, xmlns="jabber:client"):
    conn.sendall(STREAM.format(host, xmlns).encode())
    return read_until(conn, b"</stream:features>")


def file_of(prosody, host):
    return (prosody.dir / f"certs/{host}.crt").read_text()


def shell(box, command):
    done = subprocess.run(["prosodyctl", "--config", box.dir / "prosody.cfg.lua", "shell",
                           *command.split()], capture_output=True, text=True)
    assert "OK" in done.stdout or "Result: true" in done.stdout, done.stdout + done.stderr


def still_open(client):
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def hello(host, alpn="xmpp-client"):
    """The bytes of a ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols([alpn])
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


class Client(XmppClient):
    def ask(self, iq):
        """Sends an iq and returns the answer."""
        self._send(iq)
        while (stanza := self._next()).tag != CLIENT + "iq":
            pass
        return stanza


def login(conn, host="one.example", resource="balcony"):
    """An XMPP session, by SASL PLAIN, on an encrypted connection."""
    return Client(conn, USER, host, PASSWORD, resource)


def http(conn, host, method, path, body="", headers=()):
    """One request, the only one of its connection; returns (status, body)."""
    fields = {"Host": host, "Connection": "close", "Content-Length": len(body), **dict(headers)}
    conn.sendall(f"{method} {path} HTTP/1.1\r\n".encode() +
                 "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n" + body.encode())
    response = HTTPResponse(conn, method=method)
    response.begin()
    return response.status, response.read().decode()
