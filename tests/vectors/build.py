"""Puts ClientHellos together, byte by byte, from the inside out. RFC 8446 section 4.1.2."""

import struct

MESSAGE_MAX = 16384  # of ours: shim/hello.h
RECORD_MAX = 16384


def block(width, content):
    return len(content).to_bytes(width, "big") + content


def extension(kind, content):
    return struct.pack("!H", kind) + block(2, content)


def sni(name):
    return extension(0, block(2, b"\0" + block(2, name.encode() if isinstance(name, str) else name)))


def alpn(*names):
    return extension(16, block(2, b"".join(block(1, name.encode() if isinstance(name, str) else name) for name in names)))


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
    """A hello message with SNI pad.example and ALPN h2 that is that long, header included."""
    bare = len(message(body(sni("pad.example") + alpn("h2") + TLS13 + extension(21, b""))))
    return message(body(sni("pad.example") + alpn("h2") + TLS13 + extension(21, bytes(length - bare))))
