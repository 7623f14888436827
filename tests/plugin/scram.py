"""SCRAM (RFC 5802) with channel binding, by a client that is OpenSSL's."""

import base64
import hashlib
import hmac
import os
import re
import selectors
import socket
import subprocess
import time

from clients import STREAM
from prosody_box import PASSWORD, USER

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


class OpensslClient:
    """`openssl s_client` behind a hand-over: connect() gives the socket to hand over, then use it as a connection.

    Python's ssl knows no exported keying material, of which tls-exporter (RFC 9266) is made.
    """

    def __init__(self, host, version):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._process = subprocess.Popen(
                ["openssl", "s_client", "-connect", "127.0.0.1:%d" % listener.getsockname()[1], "-servername", host,
                 "-alpn", "xmpp-client", f"-{version}", "-nocommands", "-keymatexport", "EXPORTER-Channel-Binding",
                 "-keymatexportlen", "32", "-msg"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.accepted, _ = listener.accept()
        self.accepted.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._data = b""

    def send(self, text):
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def read_until(self, pattern, seconds=20):
        """Everything up to the first match, which is taken out of what comes."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self._data)):
            assert self._selector.select(deadline - time.monotonic()), self._data
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, self._data
            self._data += data
        text, self._data = self._data[:match.end()], self._data[match.end():]
        return text.decode(errors="replace")

    def close(self):
        self._process.kill()
        self._process.wait()


def finished(trace):
    """verify_data of the first Finished message: tls-unique (RFC 5929)."""
    dump = re.search(r"Handshake \[length 0010\], Finished\s+((?:[0-9a-f]{2}\s+){16})", trace)[1]
    return bytes.fromhex(dump)[4:]


def login(client, host, mechanism, binding_type):
    """Logs in and returns the server's last word: "success" or "failure"."""
    trace = client.read_until(rb"Keying material: [0-9A-F]+")
    binding = {"tls-exporter": bytes.fromhex(trace.rpartition(" ")[2]), None: b""}.get(binding_type)
    if binding_type == "tls-unique":
        binding = finished(trace)
    client.send(STREAM.format(host, "jabber:client"))
    features = client.read_until(rb"</stream:features>")
    assert f">{mechanism}<" in features, features

    digest = "sha256" if "256" in mechanism else "sha1"
    header = f"p={binding_type},," if binding_type else "n,,"
    bare = f"n={USER},r={os.urandom(12).hex()}"
    client.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{encode(header + bare)}</auth>")
    reply = client.read_until(rb"<(challenge|failure)[^>]*>.*?</\1>")
    if "<failure" in reply:
        return reply
    challenge = base64.b64decode(re.search("<challenge[^>]*>([^<]*)", reply)[1]).decode()
    nonce, salt, rounds = (part[2:] for part in challenge.split(","))
    bound = base64.b64encode(header.encode() + binding).decode()
    unproved = f"c={bound},r={nonce}"

    salted = hashlib.pbkdf2_hmac(digest, PASSWORD.encode(), base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, key).digest(), f"{bare},{challenge},{unproved}".encode(), digest)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    client.send(f"<response xmlns='{SASL}'>{encode(f'{unproved},p={proof}')}</response>")
    return client.read_until(rb"<(success|failure)[^>]*>.*?</\1>")


def encode(text):
    return base64.b64encode(text.encode()).decode()
