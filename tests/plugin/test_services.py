"""Each protocol gets the service that is meant for it."""

import socket

import pytest

from clients import STREAM, certificate, file_of, hand_over, ident, login, open_stream, read_until, tls
from prosody_box import Sender, message, tcp_pair


@pytest.mark.parametrize("host", ["one.example", "two.example"])
def test_client_gets_its_hosts_certificate_alpn_and_stream(prosody, sender, host):
    client, verdict = hand_over(sender, authority=host.encode())
    assert verdict == "A"
    conn = tls(client, host)
    assert conn.selected_alpn_protocol() == "xmpp-client"
    assert certificate(conn) == file_of(prosody, host)
    assert f"from='{host}'" in open_stream(conn, host)


def test_clients_log_in_and_exchange_messages(sender):
    one = login(tls(hand_over(sender)[0], "one.example"))
    other = login(tls(hand_over(sender)[0], "one.example"), resource="orchard")
    one.send(other.jid, "wherefore art thou")
    assert other.receive() == (one.jid, "wherefore art thou")


@pytest.mark.parametrize("address", ["192.0.2.77", "2001:db8::77"])
def test_log_has_the_real_address(prosody, sender, address):
    seen = prosody.log_size()
    dest = "2001:db8::1" if ":" in address else "198.51.100.1"
    conn = tls(hand_over(sender, source=(address, 40077), dest=(dest, 443))[0], "one.example")
    open_stream(conn, "one.example")
    conn.sendall(b"</stream:stream>")
    prosody.wait_for_log(f"c2s stream for {address} closed", since=seen)


def test_connection_without_alpn_is_a_clients(sender):
    conn = tls(hand_over(sender, alpn=None)[0], "one.example", None)
    assert conn.selected_alpn_protocol() is None
    assert "mechanisms" in open_stream(conn, "one.example")


def test_client_without_sni_gets_some_certificate(prosody, sender):
    conn = tls(hand_over(sender)[0], None)
    assert certificate(conn) in (file_of(prosody, "one.example"), file_of(prosody, "two.example"))


def test_server_gets_a_server_stream(sender):
    conn = tls(hand_over(sender, alpn=b"xmpp-server")[0], "one.example", "xmpp-server")
    assert conn.selected_alpn_protocol() == "xmpp-server"
    conn.sendall(STREAM.format("one.example", "jabber:server").encode())
    assert "xmlns='jabber:server'" in read_until(conn, b"jabber:server")


def test_browser_gets_http(sender):
    conn = tls(hand_over(sender, alpn=b"http/1.1")[0], "one.example", "http/1.1")
    conn.sendall(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
    assert read_until(conn, b"\r\n").startswith("HTTP/1.1 ")


def test_keepalive_is_set(sender):
    client, accepted = tcp_pair()
    unique = ident()
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    sender.send(message(unique), accepted.fileno())
    assert sender.answers(1) == {unique: "A"}
    tls(client, "one.example")
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_unknown_protocol_is_refused_and_logged_once_without_its_bytes(prosody, sender):
    seen = prosody.log_size()
    for _ in range(3):
        assert hand_over(sender, alpn=b"evil\nname")[1] == "N"
    assert prosody.text(seen).count("no service for it in fdpass_services") == 1
    assert "(9 bytes)" in prosody.text(seen)


def test_services_can_be_mapped_and_switched_off(fresh):
    box = fresh('fdpass_services = { ["http/1.1"] = false, ["my-xmpp"] = "c2s_direct_tls" }')
    sender = Sender(box.socket)
    assert hand_over(sender, alpn=b"http/1.1")[1] == "N"
    client, verdict = hand_over(sender, alpn=b"my-xmpp")
    assert verdict == "A"
    conn = tls(client, "one.example", "my-xmpp")
    assert conn.selected_alpn_protocol() == "my-xmpp"
    assert "mechanisms" in open_stream(conn, "one.example")
