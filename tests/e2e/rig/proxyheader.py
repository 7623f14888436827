"""PROXY protocol headers: written for the shim to read, and read when the shim has written them."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0, 1
ALPN, AUTHORITY, UNIQUE_ID = 1, 2, 5


def v1(source, destination):
    """source, destination: (address, port)."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def v2(source=None, destination=None, tlvs=b"", command=PROXY, version=2, transport=1, family=None):
    """Without addresses their family is "unspecified"."""
    body = b""
    if source:
        packed = [ipaddress.ip_address(address).packed for address, _ in (source, destination)]
        body = b"".join(packed) + struct.pack("!HH", source[1], destination[1])
        family = family or (1 if len(packed[0]) == 4 else 2)
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, (family or 0) << 4 | (transport if source else 0),
                                   len(body + tlvs)) + body + tlvs


def parse_v2(data):
    """(source, destination, {kind: value}, what follows the header)"""
    magic, command, family, length = struct.unpack_from("!12sBBH", data)
    assert (magic, command) == (SIGNATURE, 0x21), data
    size = {0x11: 4, 0x21: 16}[family]
    body, rest = data[16:16 + length], data[16 + length:]
    addresses = [str(ipaddress.ip_address(body[n * size:(n + 1) * size])) for n in range(2)]
    source, destination = zip(addresses, struct.unpack_from("!HH", body, 2 * size))
    body = body[2 * size + 4:]
    tlvs = {}
    while body:
        kind, length = struct.unpack_from("!BH", body)
        assert kind not in tlvs and len(body) >= 3 + length, data
        tlvs[kind] = body[3:3 + length]
        body = body[3 + length:]
    return source, destination, tlvs, rest
