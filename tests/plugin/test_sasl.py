"""Logins by SCRAM, also with a channel binding: it proves that no one is in between, and no one is.

The bindings are made from the TLS connection itself, so they would fail if anything ended TLS on the way.
"""

import pytest

import scram
from clients import ident
from prosody_box import Prosody, Sender, message

HASHES = ("SCRAM-SHA-1", "SCRAM-SHA-256")


@pytest.fixture(scope="module")
def prosody():
    box = Prosody('authentication = "internal_plain"')
    yield box
    box.close()


@pytest.fixture
def openssl(sender):
    """A client whose connection has been handed over."""
    clients = []

    def connect(version):
        client, unique = scram.OpensslClient("one.example", version), ident()
        clients.append(client)
        sender.send(message(unique), client.accepted.fileno())
        assert sender.answers(1) == {unique: "A"}
        client.accepted.close()
        return client
    yield connect
    for client in clients:
        client.close()


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("mechanism", HASHES)
def test_login_without_channel_binding(openssl, mechanism, version):
    assert "<success" in scram.login(openssl(version), "one.example", mechanism, None)


@pytest.mark.parametrize("mechanism", HASHES)
def test_login_bound_by_tls_unique_in_tls_1_2(openssl, mechanism):
    assert "<success" in scram.login(openssl("tls1_2"), "one.example", f"{mechanism}-PLUS", "tls-unique")


@pytest.mark.parametrize("mechanism", HASHES)
def test_login_bound_by_tls_exporter_in_tls_1_3(prosody, openssl, mechanism):
    if prosody.version() < (13,):
        pytest.skip("Prosody 0.12 knows no tls-exporter")
    assert "<success" in scram.login(openssl("tls1_3"), "one.example", f"{mechanism}-PLUS", "tls-exporter")


def test_binding_to_another_connection_is_refused(openssl, monkeypatch):
    monkeypatch.setattr(scram, "finished", lambda trace: bytes(12))
    assert "<failure" in scram.login(openssl("tls1_2"), "one.example", "SCRAM-SHA-1-PLUS", "tls-unique")


def test_wrong_password_is_refused(openssl, monkeypatch):
    monkeypatch.setattr(scram, "PASSWORD", "wrong")
    assert "<failure" in scram.login(openssl("tls1_3"), "one.example", "SCRAM-SHA-1", None)
