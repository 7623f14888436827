"""One HTTP request to an address in a namespace, or to a Unix socket."""

import collections
import socket

Answer = collections.namedtuple("Answer", "status fields body")


def connect(ns, address, timeout=20):
    """address: (ip, port), or the path of a Unix socket."""
    with ns.inside():
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def read_answer(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        chunks, body = body, b""
        while chunks:
            size, _, chunks = chunks.partition(b"\r\n")
            body, chunks = body + chunks[:int(size, 16)], chunks[int(size, 16) + 2:]
    return Answer(int(status.split()[1]) if data else None, fields, body)


def fetch(ns, address, path="/metrics", method="GET", **fields):
    with connect(ns, address) as sock:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close",
                 *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return read_answer(sock)
