"""Certificates and the other TLS options."""

import subprocess

from clients import certificate, file_of, hand_over, tls
from prosody_box import Sender


def test_config_reload_renews_certificates(fresh):
    box = fresh()
    sender = Sender(box.socket)
    for name in (None, "one.example"):
        before = certificate(tls(hand_over(sender)[0], name))
        for host in ("one.example", "two.example"):
            box.make_cert(host)
        subprocess.run(["chown", "-R", "prosody:", box.dir / "certs"], check=True)
        box.reload()
        box.wait_until(lambda: certificate(tls(hand_over(sender)[0], name)) != before)
        conn = tls(hand_over(sender)[0], "two.example")
        assert certificate(conn) == file_of(box, "two.example")
        assert conn.selected_alpn_protocol() == "xmpp-client"
