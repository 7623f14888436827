"""TLS over a socket that stays in the caller's hands.

Unlike ssl.SSLSocket this lets a test decide how the ClientHello is cut up, and
shut down the writing side of TCP while it goes on reading.
"""

import socket
import ssl


def context(ca, alpn=None):
    made = ssl.create_default_context(cafile=str(ca))
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


class TlsStream:
    def __init__(self, sock, ctx, host, send_hello=None):
        """send_hello(sock, record) sends the first flight its own way."""
        self.sock = sock
        self._send_first = send_hello
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = ctx.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._drive(self._tls.do_handshake)

    def _flush(self):
        data = self._outgoing.read()
        if data and self._send_first:
            self._send_first(self.sock, data)
            self._send_first = None
        elif data:
            self.sock.sendall(data)

    def _drive(self, step, *args):
        while True:
            try:
                result = step(*args)
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self._drive(self._tls.write, view[:65536]):]

    def recv(self, size=65536):
        """b"" at the end, whether or not the peer said close_notify."""
        try:
            return self._drive(self._tls.read, size)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def shutdown_write(self):
        """Half-close below TLS, as an impatient client does."""
        self.sock.shutdown(socket.SHUT_WR)

    def certificate_names(self):
        return [name for kind, name in self._tls.getpeercert()["subjectAltName"]]

    def alpn(self):
        return self._tls.selected_alpn_protocol()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def client_hello(ctx, host):
    """The bytes of a ClientHello record, without a connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ctx.wrap_bio(incoming, outgoing, server_hostname=host).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def in_records(record, size):
    """The same handshake message, cut into records of at most `size` bytes."""
    head, body = record[:3], record[5:]
    pieces = (body[n:n + size] for n in range(0, len(body), size))
    return [head + len(piece).to_bytes(2, "big") + piece for piece in pieces]
