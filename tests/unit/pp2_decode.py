#!/usr/bin/python3
"""Decodes the PROXY headers that `test_pp2 --print` writes, as a receiver would.

usage: pp2_decode.py PATH_OF_TEST_PP2
"""

import ipaddress
import struct
import subprocess
import sys

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TLVS = {1: b"xmpp-client", 2: b"a.example", 5: bytes(range(1, 9))}
V4 = ("192.0.2.1", "198.51.100.2", 4660, 443)
V6 = ("2001:db8::1", "2001:db8:102:304:506:708:90a:b0c", 65535, 443)


def decode(header):
    """(version, addresses or None, TLVs)"""
    if header.startswith(b"PROXY "):
        assert header.endswith(b"\r\n") and len(header) <= 107
        words = header[:-2].decode("ascii").split(" ")
        if words[1] == "UNKNOWN":
            return 1, None, {}
        src, dst = (ipaddress.ip_address(text) for text in words[2:4])
        assert src.version == dst.version == {"TCP4": 4, "TCP6": 6}[words[1]]
        return 1, (str(src), str(dst), int(words[4]), int(words[5])), {}
    magic, command, family, length = struct.unpack_from("!12sBBH", header)
    assert magic == SIGNATURE and command == 0x21
    rest = header[16:]
    assert len(rest) == length
    addresses = None
    size = {0x00: 0, 0x11: 4, 0x21: 16}[family]
    if size:
        src, dst = (ipaddress.ip_address(rest[i * size:(i + 1) * size]) for i in range(2))
        addresses = (str(src), str(dst), *struct.unpack_from("!HH", rest, 2 * size))
        rest = rest[2 * size + 4:]
    tlvs = {}
    while rest:
        kind, length = struct.unpack_from("!BH", rest)
        assert kind not in tlvs and len(rest) >= 3 + length
        tlvs[kind] = rest[3:3 + length]
        rest = rest[3 + length:]
    return 2, addresses, tlvs


def main():
    lines = subprocess.run([sys.argv[1], "--print"], check=True, capture_output=True, text=True).stdout.split()
    wanted = [(version, addresses, TLVS if with_tlvs and version == 2 else {})
              for addresses in (V4, V6, None, None) for version in (1, 2) for with_tlvs in (False, True)]
    assert len(lines) == len(wanted)
    for line, want in zip(lines, wanted):
        got = decode(bytes.fromhex(line))
        if got != want:
            sys.exit(f"pp2_decode: {line}: {got} instead of {want}")
    print(f"pp2_decode: {len(lines)} headers read as they were meant")


if __name__ == "__main__":
    main()
