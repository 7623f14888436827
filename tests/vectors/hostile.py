#!/usr/bin/python3
"""Makes hellos that are odd but valid, and hellos that miss it by a byte, with what has to become of each.

usage: hostile.py --table     print the table of HOSTILE.md
       hostile.py --write DIR  write each hello into a file

No hello is stored: tests/e2e/test_hostile.py takes them from here. A family is
a number of hellos with one reason and one outcome. The route is that of
hostile.conf, where "chat" and "old" want the name chat.example.org, the first
one with ALPN xmpp-client and the second one without ALPN, and "wild" wants
names below wild.example.org, with ALPN xmpp-client.
"""

import pathlib
import sys
from typing import NamedTuple

from build import (MESSAGE_MAX, RECORD_MAX, TLS13, alpn, block, body, extension, hello, key_share, message,
                   padded, records, sni)

CHAT = "chat.example.org"
XMPP = ("xmpp-client",)
OTHERS = [i for i in range(256) if i != 22]


class Family(NamedTuple):
    title: str
    verdict: str
    sni: str | bytes | None
    alpn: tuple
    route: str
    reason: str  # the RFC's section, and the clause that decides
    flights: list


def ok(title, reason, *flights, sni=CHAT, alpn=XMPP, route="chat"):
    return Family(title, "ok", sni, alpn, route, reason, list(flights))


def bad(title, reason, *flights):
    return Family(title, "malformed", None, (), "web", reason, list(flights))


def other(title, reason, *flights):
    return Family(title, "not-tls", None, (), "web", reason, list(flights))


def more(title, reason, *flights):
    return Family(title, "need-more", None, (), "none yet", reason, list(flights))


NAMES = sni(CHAT) + alpn(*XMPP)
PLAIN = NAMES + TLS13
GOOD = message(body(PLAIN, session=bytes(range(0x80, 0xA0))))


def framed(*parts):
    """A hello with these extensions."""
    return hello(b"".join(parts))


def named(name):
    return framed(sni(name), alpn(*XMPP), TLS13)


def offering(*names):
    return framed(sni(CHAT), alpn(*names), TLS13)


# --- odd, but valid ---

def records_and_versions():
    yield ok("records of 1 to 64 bytes", "RFC 8446 5.1: a message may be spread over any number of records",
             *(records(GOOD, size) for size in range(1, 65)))
    yield ok("a first record of each length", "RFC 8446 5.1: where the message is cut is the sender's choice",
             *(records(GOOD, size, RECORD_MAX) for size in range(1, len(GOOD))))
    yield ok("record version 3.0 to 3.255", "RFC 8446 5.1: legacy_record_version has to be ignored",
             *(records(GOOD, version=bytes([3, minor])) for minor in range(256)))
    yield ok("each record with another version", "RFC 8446 5.1: legacy_record_version has to be ignored",
             records(GOOD[:50]) + records(GOOD[50:100], version=b"\3\4") + records(GOOD[100:], version=b"\3\0"))
    yield other("record version 0.x to 2.x and 4.x to 255.x", "RFC 8446 5.1: TLS is version 3 on the wire, from SSL 3.0 on",
                *(records(GOOD, version=bytes([major, 1])) for major in range(256) if major != 3))
    yield ok("legacy_version SSL 3.0, TLS 1.0 to 1.3, DTLS's, 0 and 65535",
             "RFC 8446 4.1.2, 4.2.1: the version is negotiated, by the one who answers",
             *(hello(PLAIN, version=version) for version in
               (b"\3\0", b"\3\1", b"\3\2", b"\3\3", b"\3\4", b"\xfe\xfd", b"\0\0", b"\xff\xff")))
    yield ok("a TLS 1.0 hello: no extension of TLS 1.2 or 1.3", "RFC 6066 3, RFC 7301 3.1: SNI and ALPN need no newer version",
             records(message(body(NAMES, version=b"\3\1")), version=b"\3\1"))
    yield ok("an SSL 3.0 hello: no extensions block", "RFC 5246 7.4.1.2: the block may be missing",
             records(message(body(None, version=b"\3\0")), version=b"\3\0"), sni=None, alpn=(), route="web")
    yield ok("an extensions block of no bytes", "RFC 5246 7.4.1.2: extensions<0..2^16-1>",
             hello(b""), sni=None, alpn=(), route="web")
    yield ok("bytes behind the hello: change_cipher_spec, early data, an alert, noise",
             "RFC 8446 D.4, 4.2.10: a client may go on at once; the message is complete without them",
             *(records(GOOD) + rest for rest in
               (bytes.fromhex("140303000101"), bytes.fromhex("1703030010") + bytes(16), bytes.fromhex("15030100020100"),
                b"\xff" * 300)))
    yield ok("a second message in the hello's record", "RFC 8446 5.1: several messages may share a record",
             records(GOOD + message(bytes(10), 20)))
    yield ok("the hello's record announces 1 byte more, and as much as can be",
             "RFC 8446 5.1: the record may hold another message; this one is complete",
             *(b"\x16\3\1" + block(2, bytes(size))[:2] + GOOD for size in (len(GOOD) + 1, RECORD_MAX)))
    yield ok("a message of 16,384 bytes", "RFC 8446 5.1: the most a record may hold", records(padded(MESSAGE_MAX)),
             sni="pad.example", alpn=("h2",), route="web")
    yield bad("a message of 16,385 bytes and more", "our limit, shim/hello.h; RFC 8446 4.1.2 would allow 131,396",
              *(records(padded(MESSAGE_MAX + over)) for over in (1, 2, 16384, 40000)))


def message_fields():
    yield ok("session ids of 0 to 32 bytes", "RFC 8446 4.1.2: legacy_session_id<0..32>",
             *(hello(PLAIN, session=bytes(size)) for size in range(33)))
    yield bad("session ids of 33 to 255 bytes", "RFC 8446 4.1.2: legacy_session_id<0..32>",
              *(hello(PLAIN, session=bytes(size)) for size in range(33, 256)))
    yield ok("1 to 7,900 cipher suites", "RFC 8446 4.1.2: cipher_suites<2..2^16-2>",
             *(hello(PLAIN, suites=b"\x13\1" * n) for n in (1, 2, 255, 256, 7900)))
    yield bad("no cipher suite", "RFC 8446 4.1.2: cipher_suites<2..2^16-2>", hello(PLAIN, suites=b""))
    yield bad("an odd number of cipher suite bytes", "RFC 8446 3.4: a list has whole elements only",
              *(hello(PLAIN, suites=bytes(n)) for n in (1, 3, 25, 255, 257)))
    yield ok("2 to 255 compression methods", "RFC 5246 7.4.1.2: compression_methods<1..2^8-1>",
             *(hello(PLAIN, compression=bytes(range(n))) for n in (2, 3, 255)))
    yield ok("compression without the null method", "RFC 8446 4.1.2: to be refused by the one who answers, with its alert",
             hello(PLAIN, compression=b"\1"))
    yield bad("no compression method", "RFC 8446 4.1.2: compression_methods<1..2^8-1>", hello(PLAIN, compression=b""))
    yield bad("another handshake message: types 0 and 2 to 255",
              "RFC 8446 4: client_hello is 1, and a client sends nothing before it",
              *(records(message(body(PLAIN), kind)) for kind in range(256) if kind != 1))


def second_hellos():
    cookie = extension(44, block(2, bytes(range(200))))
    point = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"  # the curve's own base point
                          "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
    secp256r1 = key_share((23, b"\4" + point))
    changed = NAMES + TLS13[:-len(key_share((29, bytes(32))))]
    yield ok("second hellos, after HelloRetryRequest: cookie, changed key share, both, empty key share",
             "RFC 8446 4.1.2: the same message with other extensions",
             framed(PLAIN, cookie), framed(changed, secp256r1), framed(changed, secp256r1, cookie),
             framed(cookie, changed, key_share()))
    yield other("change_cipher_spec before the hello",
                "RFC 8446 D.4: only before a second hello, which is not the connection's first message",
                bytes.fromhex("140303000101") + framed(changed, secp256r1, cookie))
    psk = extension(41, block(2, block(2, bytes(100)) + bytes(4)) + block(2, block(1, bytes(32))))
    modes = extension(45, block(1, b"\1"))
    yield ok("a resumption: pre_shared_key, last and with early data", "RFC 8446 4.2.11: it is the last extension",
             framed(PLAIN, modes, psk), framed(PLAIN, modes, extension(42, b""), psk))
    yield ok("pre_shared_key before other extensions", "RFC 8446 4.2.11: the server that answers has to check its place",
             framed(modes, psk, PLAIN))
    ech = extension(65037, b"\0" + bytes.fromhex("00010001") + b"\7" + block(2, bytes(32)) + block(2, bytes(208)))
    yield ok("an encrypted hello within", "draft-ietf-tls-esni 6.1: the outer hello is a whole one, and the outer name counts",
             framed(ech, PLAIN), framed(PLAIN, ech))


def extensions():
    yield ok("SNI and ALPN in each place among the others", "RFC 8446 4.2: extensions may come in any order",
             framed(TLS13, NAMES), framed(alpn(*XMPP), TLS13, sni(CHAT)), framed(alpn(*XMPP), sni(CHAT), TLS13),
             framed(sni(CHAT), TLS13, alpn(*XMPP)))
    unknown = [extension(kind, content) for kind, content in
               ((0x0A0A, b""), (0xFAFA, b"\0"), (0xFFFF, bytes(255)), (0x0001, b"\1"), (0x1000, b""), (0x0010 << 4, bytes(3)))]
    yield ok("unknown, GREASE and empty extensions around", "RFC 8446 4.1.2, RFC 8701 3.2: unknown ones have to be ignored",
             *(framed(e, sni(CHAT), e2, alpn(*XMPP), e3, TLS13, e4) for e, e2, e3, e4 in
               zip(unknown, unknown[1:], unknown[2:] + unknown[:1], unknown[3:] + unknown[:2])))
    yield ok("extensions whose type is a byte away from SNI's and ALPN's", "RFC 8446 4.2: the type is 16 bits",
             *(framed(NAMES, extension(kind, alpn("h2")[4:]), TLS13) for kind in (1, 15, 17, 0x0100, 0x1000, 0x1010, 0x8010)))
    yield ok("a thousand extensions of no bytes before SNI", "RFC 8446 4.2: their number is not limited",
             framed(*(extension(0x4000 + i, b"") for i in range(1000)), PLAIN))
    yield ok("an unknown extension of 15,000 bytes that holds a whole hello", "RFC 8446 4.2: extension_data is opaque",
             framed(extension(0x4000, named("evil.example").ljust(15000, b"\0")), PLAIN))
    yield ok("SNI and ALPN within padding, in front of the real ones", "RFC 7685 3: it is to hold zeros, and means nothing",
             framed(extension(21, sni("evil.example") + alpn("h2")), PLAIN))
    yield ok("another extension twice", "RFC 8446 4.2: not allowed, but for the receiver to refuse; SNI and ALPN are clear",
             framed(PLAIN, extension(23, b""), extension(23, b"")), framed(TLS13, PLAIN))
    yield bad("server_name twice", "RFC 8446 4.2: no type twice; which of them would count?",
              framed(sni(CHAT), sni(CHAT), alpn(*XMPP), TLS13), framed(sni(CHAT), TLS13, alpn(*XMPP), sni("web.example.org")))
    yield bad("ALPN twice", "RFC 8446 4.2: no type twice; which of them would count?",
              framed(NAMES, alpn(*XMPP)), framed(alpn("h2"), TLS13, NAMES))
    yield bad("server_name of no bytes", "RFC 6066 3: only a server sends it empty", framed(extension(0, b""), alpn(*XMPP), TLS13))
    yield bad("server_name with an empty list", "RFC 6066 3: server_name_list<1..2^16-1>",
              framed(extension(0, block(2, b"")), alpn(*XMPP), TLS13))
    yield bad("a host name of no bytes", "RFC 6066 3: HostName<1..2^16-1>", framed(sni(""), alpn(*XMPP), TLS13))
    yield bad("two host names", "RFC 6066 3: no more than one name of a type",
              framed(extension(0, block(2, 2 * (b"\0" + block(2, CHAT.encode())))), alpn(*XMPP), TLS13))
    yield bad("name types 1 to 255", "RFC 6066 3: host_name is the only type that was ever defined",
              *(framed(extension(0, block(2, bytes([kind]) + block(2, CHAT.encode()))), alpn(*XMPP), TLS13)
                for kind in range(1, 256)))
    yield bad("ALPN of no bytes, or with an empty list", "RFC 7301 3.1: protocol_name_list<2..2^16-1>",
              framed(sni(CHAT), extension(16, b""), TLS13), framed(sni(CHAT), alpn(), TLS13))
    yield bad("an empty protocol name: alone, first, in between, last", "RFC 7301 3.1: ProtocolName<1..2^8-1>, no empty strings",
              offering(""), offering("", *XMPP), offering(*XMPP, "", "h2"), offering(*XMPP, ""))


def protocols():
    many = tuple(f"{i:03}" for i in range(254))
    yield ok("255 protocols, ours last", "RFC 7301 3.1: the number of names is not limited", offering(*many, *XMPP), alpn=many + XMPP)
    yield ok("255 protocols, ours first", "RFC 7301 3.1: the number of names is not limited", offering(*XMPP, *many), alpn=XMPP + many)
    yield ok("255 protocols, not ours", "RFC 7301 3.2: the server selects from what is offered", offering(*many, "h2"),
             alpn=many + ("h2",), route="web")
    short = ("a",) * 8000
    yield ok("8,000 protocols of one byte, ours last", "RFC 7301 3.1: names may repeat", offering(*short, *XMPP), alpn=short + XMPP)
    long = "x" * 255
    yield ok("names of 255 bytes around ours", "RFC 7301 3.1: ProtocolName<1..2^8-1>", offering(long, *XMPP, long),
             alpn=(long, *XMPP, long))
    yield ok("a name of 255 bytes that begins with ours", "RFC 7301 3.2: a protocol is its whole name",
             offering(XMPP[0].ljust(255, "x")), alpn=(XMPP[0].ljust(255, "x"),), route="web")
    for what, name in (("the name cut by a byte", b"xmpp-clien"), ("a byte more", b"xmpp-clients"), ("upper case", b"XMPP-CLIENT"),
                       ("a NUL behind", b"xmpp-client\0"), ("a NUL in front", b"\0xmpp-client"), ("a blank behind", b"xmpp-client ")):
        yield ok(f"ALPN: {what}", "RFC 7301 3.1: a name is an opaque byte string",
                 offering(name), alpn=(name,), route="web")
    yield ok("ALPN: our name within another", "RFC 7301 3.1: each name has its length",
             offering(b"\x0bxmpp-client"), alpn=(b"\x0bxmpp-client",), route="web")
    yield ok("ALPN: GREASE and ours", "RFC 8701 3.2: GREASE names are ignored", offering(b"\x0a\x0a", *XMPP), alpn=(b"\x0a\x0a", *XMPP))
    yield ok("no ALPN, SNI alone", "RFC 7301 3.1: a client need not send it; `alpn = none` is for those", framed(sni(CHAT), TLS13),
             alpn=(), route="old")
    yield ok("ALPN without SNI", "RFC 6066 3: a client need not send it, and a rule with names wants one", framed(alpn(*XMPP), TLS13),
             sni=None, route="web")


def names():
    same = "RFC 6066 3: DNS names are compared without regard to case"
    for name in (CHAT.upper(), "ChAt.ExAmPlE.oRg"):
        yield ok(f"SNI {name}", same, named(name), sni=name)
    dot = "RFC 6066 3: sent without the trailing dot; with it, the same name"
    yield ok("SNI with a trailing dot", dot, named(CHAT + "."), sni=CHAT + ".")
    yield ok("SNI with a trailing dot, upper case", dot, named(CHAT.upper() + "."), sni=CHAT.upper() + ".")
    yield ok("SNI in upper case with no ALPN", same, framed(sni(CHAT.upper()), TLS13), sni=CHAT.upper(), alpn=(), route="old")
    for name in (CHAT + "..", "." + CHAT, "chat..example.org", ".", ".."):
        yield ok(f"SNI `{name}`", "RFC 1035 2.3.1: a label has one byte at least; one dot is ignored", named(name), sni=name, route="web")
    for name in (CHAT + "\0", "\0" + CHAT, "chat\0.example.org", CHAT + "\0.web.example.org", "web.example.org\0." + CHAT, "\0"):
        yield ok("SNI `" + name.replace("\0", "\\0") + "`", "RFC 1035 2.3.1: no NUL in a name, so no rule can mean it", named(name),
                 sni=name, route="web")
    for what, name in (("UTF-8", "chät.example.org"), ("UTF-8 that looks the same", "сhat.example.org"),
                       ("fullwidth letters", "ｃhat.example.org"), ("an ideographic full stop", "chat。example.org"),
                       ("a soft hyphen", "chat\u00ad.example.org"), ("a byte order mark", "\ufeffchat.example.org"),
                       ("bytes that are no UTF-8", b"chat\xff.example.org"),
                       ("the name with all high bits set", bytes(c | 0x80 for c in CHAT.encode()))):
        yield ok(f"SNI: {what}", "RFC 6066 3: A-labels in ASCII; other bytes match no rule", named(name), sni=name, route="web")
    for name in ("*.wild.example.org", "chat.example.org:443", "user@chat.example.org", "chat.example.org/", " " + CHAT, CHAT + "\n",
                 "*", "%63hat.example.org", "chat\\.example.org"):
        yield ok("SNI `" + name.replace("\n", "\\n") + "`", "RFC 1123 2.1: letters, digits and hyphens only", named(name), sni=name,
                 route="web")
    for name in ("192.0.2.1", "192.0.2.1.", "::1", "[2001:db8::1]", "2001:db8::1", "0x7f000001", "fe80::1%eth0"):
        yield ok(f"SNI `{name}`", "RFC 6066 3: address literals are not permitted; no rule has one, the bytes are readable",
                 named(name), sni=name, route="web")
    for name in ("chat.example.or", "hat.example.org", "chat.example.org.example", "xchat.example.org", "chat-example.org", "chat", "a"):
        yield ok(f"SNI `{name}`", "RFC 6066 3: another name", named(name), sni=name, route="web")

    below = "xmpp443-shim.conf(5): `*.` is one label or more"
    for name in ("a.wild.example.org", "A.WILD.EXAMPLE.ORG.", "a.b.wild.example.org", "xn--cht-qla.wild.example.org", "1.wild.example.org"):
        yield ok(f"SNI `{name}`", below, named(name), sni=name, route="wild")
    yield ok("SNI `_a.wild.example.org`", "RFC 2181 11: no host name, but in use; route.h lets the underscore pass",
             named("_a.wild.example.org"), sni="_a.wild.example.org", route="wild")
    for name in ("wild.example.org", ".wild.example.org", "awild.example.org", "a..wild.example.org", "a\0.wild.example.org",
                 "ä.wild.example.org"):
        yield ok("SNI `" + name.replace("\0", "\\0") + "`", below, named(name), sni=name, route="web")
    label = "RFC 1035 2.3.4: labels of 63 bytes or less"
    for size, route in ((63, "wild"), (64, "web")):
        yield ok(f"SNI with a label of {size} bytes", label, named("a" * size + ".wild.example.org"),
                 sni="a" * size + ".wild.example.org", route=route)
    limit = "RFC 1035 2.3.4: 255 bytes on the wire, which is 253 in text"
    for name, route in ((below_wild(253), "wild"), (below_wild(253) + ".", "wild"), (below_wild(254), "web"),
                        (below_wild(254) + ".", "web"), (below_wild(255), "web")):
        yield ok(f"SNI of {len(name)} bytes" + (", the last one a dot" if name.endswith(".") else ""), limit, named(name), sni=name,
                 route=route)
    yield ok("SNI of 256, 257, 300 and 10,000 bytes", "RFC 6066 3: HostName<1..2^16-1>; no DNS name is that long, so it is not kept",
             *(named(below_wild(size)) for size in (256, 257, 300, 10000)), sni=None, route="web")
    for what, before, behind in (("a byte in front of", "", CHAT), ("another first byte in", "", CHAT[1:]), ("a byte behind", CHAT, "")):
        for byte in range(256):
            sent = before.encode() + bytes([byte]) + behind.encode()
            yield ok(f"SNI: {what} the name", "RFC 6066 3: another name, or none", named(sent), sni=sent,
                     route="chat" if sent.decode("latin-1").lower().removesuffix(".") == CHAT else "web")


# --- near misses ---

NEAR = message(body(sni(CHAT) + alpn(*XMPP, "h2") + TLS13, session=bytes(range(0x80, 0xA0))))
SESSION = 4 + 2 + 32


def lengths():
    """(what, offset in NEAR, width) of the lengths that have to fit, then of those within extensions that are only passed over."""
    def number(at, width):
        return int.from_bytes(NEAR[at:at + width], "big")

    at = SESSION
    fit, within = [("message", 1, 3)], []
    for what, width in (("session id", 1), ("cipher suites", 2), ("compression", 1)):
        fit.append((what, at, width))
        at += width + number(at, width)
    fit.append(("extensions", at, 2))
    at += 2
    while at < len(NEAR):
        kind, size = number(at, 2), number(at + 2, 2)
        fit.append((f"extension {kind}", at + 2, 2))
        if kind == 0:
            fit += [("server name list", at + 4, 2), ("host name", at + 7, 2)]
        elif kind == 16:
            fit += [("protocol list", at + 4, 2), ("first protocol", at + 6, 1), ("second protocol", at + 7 + number(at + 6, 1), 1)]
        else:
            within.append((f"list in extension {kind}", at + 4, 1 if kind in (11, 43) else 2))
            if kind == 51:
                within.append(("key in extension 51", at + 8, 2))
        at += 4 + size
    assert at == len(NEAR)
    return fit, within


def changed(at, width, by):
    return NEAR[:at] + (int.from_bytes(NEAR[at:at + width], "big") + by).to_bytes(width, "big") + NEAR[at + width:]


def near_misses():
    fit, within = lengths()
    near = XMPP + ("h2",)
    for what, at, width in fit:
        for by in (-1, 1):
            yield bad(f"length of {what} {by:+}", "RFC 8446 6.2, decode_error: the length does not fit what is around it",
                      records(changed(at, width, by)))
    for what, at, width in within:
        yield ok(f"length of {what} -1, +1", "RFC 8446 4.2: for the receiver to read and refuse; SNI and ALPN are clear",
                 *(records(changed(at, width, by)) for by in (-1, 1)), alpn=near)
    one = records(NEAR)
    yield bad("length of record -1", "RFC 8446 5.1: the byte behind it begins no handshake record",
              one[:3] + block(2, NEAR[1:])[:2] + NEAR)
    yield bad("a record of 0 bytes: first, in between", "RFC 8446 5.1: no handshake fragments of length zero",
              b"\x16\3\1\0\0" + one, *(records(NEAR[:n]) + b"\x16\3\1\0\0" + records(NEAR[n:]) for n in (1, 4, 40, len(NEAR) - 1)))
    yield bad("a record of 16,385 and 65,535 bytes", "RFC 8446 5.1: the length must not exceed 2^14",
              *(b"\x16\3\1" + size + NEAR + bytes(17000) for size in (b"\x40\1", b"\xff\xff")))
    yield bad("a second record of each type but handshake", "RFC 8446 5.1: nothing may stand between the records of a message",
              *(records(NEAR[:60]) + bytes([kind]) + records(NEAR[60:])[1:] for kind in OTHERS))
    yield bad("a second record of major version 2 and 4", "RFC 8446 5.1, B.1: TLS is version 3 on the wire",
              *(records(NEAR[:60]) + records(NEAR[60:], version=bytes([major, 3])) for major in (2, 4)))
    yield more("the hello cut at each byte", "RFC 8446 5.1: the rest may come", *(one[:n] for n in range(len(one))))
    yield more("the hello in 1-byte records, cut at each byte", "RFC 8446 5.1: the rest may come",
               *(records(NEAR, 1)[:n] for n in range(1, 6 * len(NEAR), 7)))
    yield Family("16,384 bytes in 1-byte records", "need-more", None, (), "web",
                 "our limit: 64 KiB are looked at, and with them there is no verdict", [records(padded(MESSAGE_MAX), 1)])

    content = NEAR[4:]
    start = content.index(TLS13) - len(sni(CHAT) + alpn(*XMPP, "h2"))  # of the extensions
    block_at = start - 2
    short = [message(content[:n]) for n in range(len(content)) if n != block_at]
    yield bad("the body cut at each byte, with lengths of message and record that fit", "RFC 8446 4.1.2: the message ends within a field",
              *map(records, short))
    yield ok("the body cut before the extensions block", "RFC 5246 7.4.1.2: the block may be missing", records(message(content[:block_at])),
             sni=None, alpn=(), route="web")
    inner, ends, at = content[start:], {0}, 0
    while at < len(inner):
        at += 4 + int.from_bytes(inner[at + 2:at + 4], "big")
        ends.add(at)
    cut = {n: records(message(content[:block_at] + block(2, inner[:n]))) for n in range(len(inner))}
    yield bad("the extensions cut at each byte, with lengths around that fit", "RFC 8446 4.2: the block ends within an extension",
              *(flight for n, flight in cut.items() if n not in ends))
    kept = len(sni(CHAT)), len(sni(CHAT) + alpn(*XMPP, "h2"))
    yield ok("the extensions cut after SNI", "RFC 8446 4.2: whole extensions", cut[kept[0]], alpn=(), route="old")
    yield ok("the extensions cut after ALPN and after each later one", "RFC 8446 4.2: whole extensions",
             *(cut[n] for n in sorted(ends) if kept[1] <= n < len(inner)), alpn=near)
    yield bad("1 to 4 bytes behind the extensions block", "RFC 8446 4.1.2: nothing follows it",
              *(records(message(content + bytes(n))) for n in range(1, 5)))
    yield bad("1 to 3 bytes behind the last extension", "RFC 8446 4.2: an extension has 4 bytes at least",
              *(hello(PLAIN + bytes(n)) for n in range(1, 4)))


# --- other protocols ---

def strangers():
    yield other("each first byte but 22", "RFC 8446 5.1: a handshake record begins with 22",
                *(bytes([n]) + records(GOOD)[1:] for n in OTHERS))
    yield other("a hello in the form of SSL 2, for SSL 2.0 to TLS 1.2", "RFC 8446 D.5: must not be sent; it has no room for SNI and ALPN",
                *(b"\x80" + block(1, b"\1" + version + bytes.fromhex("000600000010") + b"\0\0\x2f\0\0\x35" + bytes(16))
                  for version in (b"\0\2", b"\3\0", b"\3\1", b"\3\2", b"\3\3")))
    dtls = b"\1" + block(3, body(PLAIN))[:3] + bytes(5) + block(3, body(PLAIN))
    yield other("DTLS 1.0 to 1.3", "RFC 6347 4.1: over UDP, with a record header of its own",
                *(b"\x16" + version + bytes(8) + block(2, dtls) for version in (b"\xfe\xff", b"\xfe\xfd", b"\xfe\xfc")))
    yield other("a hello without its record", "RFC 8446 5.1: a handshake record begins with 22", GOOD)
    yield other("HTTP, XMPP, SSH, a PROXY header", "RFC 8446 5.1: a handshake record begins with 22",
                b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"<?xml version='1.0'?>", b"SSH-2.0-x\r\n",
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n", b"\r\n\r\n\0\r\nQUIT\n" + bytes(4))


def below_wild(size):
    """A host name of that many bytes below wild.example.org."""
    rest = size - len("wild.example.org")
    return "a." * (rest // 2 - 1) + ("a." if rest % 2 == 0 else "aa.") + "wild.example.org"


def families():
    """Those of one title follow each other; the table has a line for each route."""
    for part in (records_and_versions, message_fields, second_hellos, extensions, protocols, names, near_misses, strangers):
        yield from part()


# --- the table ---

def shown(text, most=40):
    if text is None:
        return "none"
    if isinstance(text, str):
        text = text.encode()
    text = "".join(chr(c) if 0x20 < c < 0x7f and c not in b"|`\\" else f"\\x{c:02x}" for c in text)
    return f"`{text}`" if len(text) <= most else f"`{text[:12]}...{text[-12:]}`"


def table():
    yield "# Hostile hellos"
    yield ""
    yield "Written by `hostile.py --table`; `tests/e2e/test_hostile.py` lets the shim read each of them and checks that this is up to date."
    yield "`hostile.conf` has the routes. A receiver gets what is ok and routed to it untouched, and does its own checks."
    yield ""
    yield "| hello | count | verdict | SNI | ALPN | route | decided by |"
    yield "|---|---:|---|---|---|---|---|"
    rows = {}
    for f in families():
        rows.setdefault((f.title, f.route), []).append(f)
    for (title, route), group in rows.items():
        f = group[0]
        name = shown(f.sni) if len({one.sni for one in group}) == 1 else "as sent"
        protocols = f"{len(f.alpn)} names" if len(f.alpn) > 4 else ", ".join(map(shown, f.alpn)) or "none"
        if f.verdict != "ok":
            name = protocols = ""
        count = sum(len(one.flights) for one in group)
        yield f"| {title} | {count} | {f.verdict} | {name} | {protocols} | {route} | {f.reason} |"
    yield ""
    yield f"{sum(len(f.flights) for f in families())} hellos."


def main(arguments):
    match arguments:
        case ["--table"]:
            print("\n".join(table()))
        case ["--write", folder]:
            for n, f in enumerate(families()):
                for m, flight in enumerate(f.flights):
                    (pathlib.Path(folder) / f"{f.verdict}-{n:04}-{m:04}.bin").write_bytes(flight)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
