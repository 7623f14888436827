"""Routes with `proxy =`: a name or a protocol of its own goes to a server of its own."""

import hashlib
import imaplib
import ssl
import subprocess

import pytest
from rig.backend import Backend
from rig.haproxy import Haproxy
from rig.tls import TlsStream, context
from rig.wait import until
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4

OTHER, MAIL = "shop.example", "mail.example"


@pytest.fixture(scope="module")
def shop(world):
    """A second web server."""
    with Haproxy(world.folder / "shop", world.server, world.authority.issue(OTHER)) as server:
        yield server


def tls_server(certificate, alpn, serve):
    """A Backend's serve() that ends TLS first."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(*certificate)
    made.set_alpn_protocols(alpn)

    def wrapped(sock):
        with made.wrap_socket(sock, server_side=True) as stream:
            serve(stream)

    return wrapped


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.parametrize("kind, version", [("tcp4", "v1"), ("tcp6", "v2"), ("unix", "v2")])
def test_a_host_name_may_have_a_web_server_of_its_own(world, shop, new_shim, port, name, kind, version, source):
    new_shim(port, routes={"shop": {"sni": f"{OTHER} *.{OTHER}", "proxy": shop.address(kind), "proxy-protocol": version}})
    path = f"/{name}"
    with world.tls(OTHER, ["http/1.1"], source=source, port=port) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n".encode())
        assert shop.PAGE.encode() in b"".join(iter(stream.recv, b""))
    assert shop.request_for(path)["addr"] == source
    assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
    world.login("alice", source=source, port=port).logout()


def test_a_wildcard_takes_every_name_below_and_not_the_name_itself(world, shop, new_shim, port):
    shim = new_shim(port, routes={"shop": {"sni": f"*.{OTHER}", "proxy": shop.tcp4}})
    ctx = context(world.authority.cert, ["http/1.1"])
    ctx.check_hostname = False
    for host, route in ((f"a.{OTHER}", "shop"), (f"b.A.{OTHER.upper()}", "shop"), (OTHER, "web"), (f"not{OTHER}", "web")):
        since = shim.mark()
        with world.connect(port=port) as sock:
            TlsStream(sock, ctx, host)
            shim.wait_event(since, event="routed", peer="%s:%d" % sock.getsockname(), route=route)


class Imap(imaplib.IMAP4_SSL):
    """imaplib's client over a connection that exists."""

    def __init__(self, stream):
        self._stream = stream
        super().__init__(MAIL, ssl_context=ssl.create_default_context())

    def _create_socket(self, timeout):
        return self._stream


def imap_server(sock):
    def say(text):
        sock.sendall(f"{text}\r\n".encode())

    say("* OK [CAPABILITY IMAP4rev1] ready")
    for line in sock.makefile():
        tag, command, *_ = line.split()
        if command == "CAPABILITY":
            say("* CAPABILITY IMAP4rev1")
        elif command == "LOGOUT":
            say("* BYE")
        say(f"{tag} OK done")


@pytest.mark.parametrize("conditions", [{"alpn": "imap"}, {"sni": MAIL}, {"alpn": "imap pop3", "sni": MAIL}])
def test_mail_may_have_a_server_of_its_own(world, new_shim, port, conditions):
    serve = tls_server(world.authority.issue(MAIL), ["imap"], imap_server)
    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        new_shim(port, routes={"mail": {**conditions, "proxy": backend.address(), "proxy-protocol": "none"}})
        ctx = context(world.authority.cert, ["imap"])
        with world.connect(port=port) as sock, ctx.wrap_socket(sock, server_hostname=MAIL) as stream:
            assert stream.selected_alpn_protocol() == "imap"
            client = Imap(stream)
            assert client.noop()[0] == "OK"
            assert client.logout()[0] == "BYE"
        assert backend.accepted == 1
        assert world.clients.curl(f"https://{HOSTS[0]}:{port}/", SERVER4) == f"the web page of {HOSTS[0]}\n"
        world.login("alice", port=port).logout()


def test_a_route_wants_all_its_conditions_and_the_first_that_matches_is_taken(world, new_shim, port):
    def on(letter):
        return Backend(world.server, ("127.0.0.1", 0), lambda sock: sock.sendall(letter))

    with on(b"a") as a, on(b"b") as b, on(b"c") as c, on(b"w") as web:
        backends = {b"a": a, b"b": b, b"c": c, b"w": web}
        bare = {"proxy-protocol": "none"}
        new_shim(port, web=web.address(), web_options=bare, routes={
            "a": {"alpn": "imap", "sni": MAIL, "proxy": a.address(), **bare},
            "b": {"alpn": "imap", "proxy": b.address(), **bare},
            "c": {"sni": MAIL, "proxy": c.address(), **bare}})
        for host, alpn, expected in ((MAIL, ["imap"], b"a"), (HOSTS[0], ["h2", "imap"], b"b"), (MAIL, ["h2"], b"c"),
                                     (MAIL, None, b"c"), (HOSTS[0], ["h2"], b"w"), (HOSTS[0], None, b"w")):
            with world.connect(port=port) as sock:
                ctx = context(world.authority.cert, alpn)
                with pytest.raises((ssl.SSLError, ConnectionResetError)):  # that letter is no TLS
                    TlsStream(sock, ctx, host)
            until(lambda: backends[expected].accepted, f"{expected} for {host} {alpn}")
            assert sum(one.accepted for one in backends.values()) == 1
            backends[expected].accepted = 0


def challenge_certificate(world, host, digest):
    """As RFC 8737 wants it: self-signed, with the digest in a critical extension."""
    cert, key = (world.folder / f"challenge.{end}" for end in ("crt", "key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=challenge",
                    "-addext", f"subjectAltName=DNS:{host}",
                    "-addext", f"1.3.6.1.5.5.7.1.31=critical,DER:0420{digest.hex()}"],
                   check=True, timeout=30, capture_output=True)
    return cert, key


@pytest.mark.parametrize("as_route", [False, True], ids=["to the web server", "to a server of its own"])
def test_a_tls_alpn_01_challenge_is_answered(world, new_shim, port, as_route):
    digest = hashlib.sha256(b"token.thumbprint").digest()
    certificate = challenge_certificate(world, HOSTS[1], digest)
    serve = tls_server(certificate, ["acme-tls/1"], lambda stream: stream.recv(1))
    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        target = {"proxy": backend.address(), "proxy-protocol": "none"}
        if as_route:
            new_shim(port, routes={"acme": {"alpn": "acme-tls/1", **target}})
        else:
            new_shim(port, web=backend.address(), web_options={"proxy-protocol": "none"})
        ctx = ssl.create_default_context()
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE  # so does the authority: the extension is what counts
        ctx.set_alpn_protocols(["acme-tls/1"])
        with world.connect(port=port) as sock, ctx.wrap_socket(sock, server_hostname=HOSTS[1]) as stream:
            assert stream.selected_alpn_protocol() == "acme-tls/1"
            presented = stream.getpeercert(binary_form=True)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text"], input=presented,
                          capture_output=True, timeout=20, check=True).stdout.decode()
    assert f"DNS:{HOSTS[1]}" in text
    assert bytes.fromhex("06082b0601050507011f0101ff") + b"\x04\x22\x04\x20" + digest in presented
