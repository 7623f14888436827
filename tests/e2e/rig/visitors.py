"""The clients' side: connections, TLS and logins from addresses of one's choice."""

import os
import socket

from .tls import TlsStream, context
from .xmpp import XmppClient

HOSTS = ("one.example", "two.example")
SERVER4, SERVER6 = "192.0.2.1", "2001:db8::1"
SERVERS = (f"{SERVER4}/24", "198.51.100.1/24", f"{SERVER6}/64", "2001:db8:1::1/64")
CLIENTS4 = ("192.0.2.11", "192.0.2.12", "198.51.100.13")
CLIENTS6 = ("2001:db8::11", "2001:db8::12", "2001:db8:1::13")
CLIENTS = (*(f"{a}/24" for a in CLIENTS4), *(f"{a}/64" for a in CLIENTS6))
PASSWORD = "correct horse"


class Visitors:
    """A subclass has `client`, the namespace that connections come from, and `authority`, whom they trust."""

    client = authority = None

    def connect(self, source=CLIENTS4[0], port=443, timeout=30):
        """A TCP connection from one of the clients' addresses to the server's of that family."""
        six = ":" in source
        with self.client.inside():
            sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        try:
            sock.settimeout(timeout)
            sock.bind((source, 0))
            sock.connect((SERVER6 if six else SERVER4, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def tls(self, host=HOSTS[0], alpn=None, send_hello=None, **where):
        """where: as for connect()."""
        sock = self.connect(**where)
        try:
            return TlsStream(sock, context(self.authority.cert, alpn), host, send_hello)
        except BaseException:
            sock.close()
            raise

    def login(self, user="alice", host=HOSTS[0], **options):
        """An XMPP session through the shim, with a resource of its own; options as for tls()."""
        stream = self.tls(host, ["xmpp-client"], **options)
        try:
            return XmppClient(stream, user, host, PASSWORD, os.urandom(4).hex())
        except BaseException:
            stream.close()
            raise
