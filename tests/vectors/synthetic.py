"""The vectors that no client sends: put together byte by byte."""

from build import (MESSAGE_MAX, SIGNATURES, SUITES, TLS13, VERSIONS, alpn, block, body, extension, hello, key_share,
                   message, padded, records, sni)


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
