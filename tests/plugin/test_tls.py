"""Certificates and the other TLS options."""

import socket
import ssl

import pytest
from rig.xmpp import XmppError

from clients import certificate, file_of, hand_over, login, open_stream, shell, tls
from prosody_box import Sender

ADMIN = ("c2s", "s2s", "tls", "saslauth", "http", "admin_socket", "admin_shell")
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def by_signal(box):
    box.reload()


def by_shell(box):
    shell(box, "config reload")


def renew_certificates(box, *hosts):
    for host in hosts:
        box.make_cert(host)
    box.give_to_prosody()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", ["one.example", "two.example"])
def test_each_version_has_each_hosts_certificate_and_the_protocol(prosody, sender, version, host):
    conn = tls(hand_over(sender)[0], host, version=VERSIONS[version])
    assert conn.version() == version
    assert certificate(conn) == file_of(prosody, host)
    assert conn.selected_alpn_protocol() == "xmpp-client"
    assert f"from='{host}'" in open_stream(conn, host)


@pytest.mark.parametrize("alpn", [["xmpp-client"], ["h2", "xmpp-client", "http/1.1"], ["xmpp-client", "stun.turn"]])
def test_protocol_is_chosen_from_the_clients_list(sender, alpn):
    conn = tls(hand_over(sender)[0], "one.example", *alpn)
    assert conn.selected_alpn_protocol() == "xmpp-client"


def test_list_without_our_protocol_does_not_end_the_handshake(sender):
    conn = tls(hand_over(sender, alpn=None)[0], "one.example", "h2")
    assert conn.selected_alpn_protocol() is None
    assert "mechanisms" in open_stream(conn, "one.example")


@pytest.mark.parametrize("reload", [by_signal, by_shell])
def test_reload_renews_certificates(fresh, reload):
    box = fresh(modules=ADMIN)
    sender = Sender(box.socket)
    old = tls(hand_over(sender)[0], "one.example")
    open_stream(old, "one.example")
    for name in (None, "one.example"):
        before = certificate(tls(hand_over(sender)[0], name))
        renew_certificates(box, "one.example", "two.example")
        reload(box)
        box.wait_until(lambda: certificate(tls(hand_over(sender)[0], name)) != before)
        conn = tls(hand_over(sender)[0], "two.example")
        assert certificate(conn) == file_of(box, "two.example")
        assert conn.selected_alpn_protocol() == "xmpp-client"
    old.sendall(b"</stream:stream>")
    assert old.recv(100) == b"</stream:stream>"  # it has seen nothing of the reloads


def test_reload_with_a_broken_certificate_keeps_the_service(fresh):
    box = fresh()
    sender = Sender(box.socket)
    good = file_of(box, "one.example")
    (box.dir / "certs/one.example.crt").write_text("no certificate")
    box.reload()
    conn = tls(hand_over(sender)[0], "two.example")
    assert certificate(conn) == file_of(box, "two.example")
    assert "mechanisms" in open_stream(conn, "two.example")
    (box.dir / "certs/one.example.crt").write_text(good)
    box.reload()
    box.wait_until(lambda: certificate(tls(hand_over(sender)[0], "one.example")) == good)


def test_hosts_can_be_activated_and_deactivated(fresh):
    box = fresh(modules=ADMIN)
    sender = Sender(box.socket)
    renew_certificates(box, "three.example")
    with pytest.raises(ssl.SSLError):
        tls(hand_over(sender)[0], "three.example")

    shell(box, "host activate three.example")
    conn = tls(hand_over(sender)[0], "three.example")
    assert certificate(conn) == file_of(box, "three.example")
    juliet = login(conn, host="three.example")
    other = login(tls(hand_over(sender)[0], "one.example"))

    shell(box, "host deactivate three.example")
    with pytest.raises(XmppError):
        juliet.receive()
    with pytest.raises(ssl.SSLError):
        tls(hand_over(sender)[0], "three.example")
    other.send(other.jid, "still here")
    assert other.receive() == (other.jid, "still here")
    conn = tls(hand_over(sender)[0], "one.example")
    assert certificate(conn) == file_of(box, "one.example")


def test_options_of_direct_tls_count_also_after_a_reload(fresh):
    box = fresh('c2s_direct_tls_ssl = { protocol = "tlsv1_2"; ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305" }')
    sender = Sender(box.socket)
    for host in ("one.example", None):
        conn = tls(hand_over(sender)[0], host)
        assert conn.cipher()[:2] == ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2")
    with pytest.raises(ssl.SSLError):
        tls(hand_over(sender)[0], "one.example", version=ssl.TLSVersion.TLSv1_3)
    # Those of servers and browsers are not touched
    assert tls(hand_over(sender, alpn=b"http/1.1")[0], "one.example", "http/1.1").version() == "TLSv1.3"

    box.configure('c2s_direct_tls_ssl = { protocol = "tlsv1_3" }')
    box.reload()
    box.wait_until(lambda: tls(hand_over(sender)[0], "one.example").version() == "TLSv1.3")
    with pytest.raises(ssl.SSLError):
        tls(hand_over(sender)[0], "one.example", version=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("version", VERSIONS)
def test_old_session_is_no_obstacle(prosody, sender, version):
    """Prosody resumes no sessions, on any of its ports: a client that tries gets a full handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["xmpp-client"])
    context.minimum_version = context.maximum_version = VERSIONS[version]
    first = context.wrap_socket(hand_over(sender)[0], server_hostname="one.example")
    open_stream(first, "one.example")
    second = context.wrap_socket(hand_over(sender)[0], server_hostname="one.example", session=first.session)
    assert not second.session_reused
    assert certificate(second) == file_of(prosody, "one.example")
    assert "mechanisms" in open_stream(second, "one.example")


def test_own_direct_tls_port_works_beside(fresh):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = fresh(f'c2s_direct_tls_ports = {{ {port} }}; interfaces = {{ "127.0.0.1" }}')
    conn = tls(hand_over(Sender(box.socket))[0], "two.example")
    assert certificate(conn) == file_of(box, "two.example")
    conn = tls(socket.create_connection(("127.0.0.1", port)), "one.example", None)
    assert "mechanisms" in open_stream(conn, "one.example")
