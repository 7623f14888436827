"""A small XMPP client: direct TLS, SASL PLAIN, bind, messages."""

import base64
import xml.etree.ElementTree as ET

CLIENT = "{jabber:client}"
STREAM = "{http://etherx.jabber.org/streams}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"


class XmppError(Exception):
    pass


class XmppClient:
    """Logs in over a stream that is already encrypted; wait for messages with receive()."""

    def __init__(self, stream, user, host, password, resource):
        self.stream = stream
        self.host = host
        self._open()
        secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self._send(f"<auth xmlns='{SASL[1:-1]}' mechanism='PLAIN'>{secret}</auth>")
        if (answer := self._next()).tag != SASL + "success":
            raise XmppError(f"login refused: {ET.tostring(answer)}")
        self._open()
        self._send(f"<iq type='set' id='bind'><bind xmlns='{BIND[1:-1]}'>"
                   f"<resource>{resource}</resource></bind></iq>")
        self.jid = self._next().find(f"{BIND}bind/{BIND}jid").text
        self._send("<presence/>")

    def _open(self):
        """Open the stream (again) and skip to the end of the features."""
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._send(f"<?xml version='1.0'?><stream:stream to='{self.host}' version='1.0' "
                   f"xmlns='jabber:client' xmlns:stream='{STREAM[1:-1]}'>")
        if (features := self._next()).tag != STREAM + "features":
            raise XmppError(f"no features but {ET.tostring(features)}")

    def _send(self, text):
        self.stream.sendall(text.encode())

    def _next(self):
        """The next element below the stream's root."""
        while True:
            for what, element in self._parser.read_events():
                if what == "start":
                    self._depth += 1
                    continue
                self._depth -= 1
                if self._depth == 1:
                    return element
            data = self.stream.recv()
            if not data:
                raise XmppError("the connection ended")
            self._parser.feed(data)

    def send(self, to, body):
        self._send(f"<message to='{to}' type='chat'><body>{body}</body></message>")

    def receive(self):
        """The next message as (sender, body); other stanzas are passed over."""
        while True:
            stanza = self._next()
            if stanza.tag == CLIENT + "message" and stanza.find(CLIENT + "body") is not None:
                return stanza.get("from"), stanza.find(CLIENT + "body").text

    def logout(self):
        """Close the stream and wait until the server has closed the connection."""
        self._send("</stream:stream>")
        try:
            while self.stream.recv():
                pass
        except OSError:
            pass
        self.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stream.close()
