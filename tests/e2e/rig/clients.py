"""Clients that others wrote, run inside the clients' namespace."""

import os
import subprocess
import textwrap

from .process import privileges, with_file

SLIXMPP = textwrap.dedent("""\
    import asyncio, logging, sys, slixmpp
    jid, password, host, port, ca, to, body = sys.argv[1:]
    logging.basicConfig(level=logging.DEBUG)
    client = slixmpp.ClientXMPP(jid, password)
    client.ca_certs = ca
    client.default_port = int(port)
    sent = False

    def started(event):
        global sent
        client.send_presence()
        client.send_message(mto=to, mbody=body, mtype="chat")
        sent = True
        client.disconnect()

    client.add_event_handler("session_start", started)
    try:
        client.connect((host, int(port)), use_ssl=True, force_starttls=False, disable_starttls=True)
    except TypeError:  # slixmpp 1.9 and later
        client.enable_starttls = client.enable_plaintext = False
        client.connect(host, int(port))
    client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 20))
    sys.exit(not sent)
    """)


class Clients:
    def __init__(self, ns, ca, home, addresses):
        """addresses: (address, host) pairs, the hosts file that clients see."""
        self.ns = ns
        self.ca = str(ca)
        self.home = home
        home.mkdir()
        self._hosts = home / "hosts"
        self._hosts.write_text("".join(f"{address} {host}\n" for address, host in addresses))

    def start(self, *argv, stdin=subprocess.DEVNULL):
        with self.ns.inside():
            return subprocess.Popen(
                [*privileges(None), *with_file(self._hosts, "/etc/hosts"), *map(str, argv)], stdin=stdin, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace",
                env={**os.environ, "HOME": str(self.home), "SSL_CERT_FILE": self.ca})

    def run(self, *argv, stdin=None, seconds=40):
        """Run to the end; return (exit status, output)."""
        child = self.start(*argv, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
        try:
            output, _ = child.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            raise AssertionError(f"{argv[0]} hung; it said: {output}") from None
        return child.returncode, output

    def curl(self, url, server, *options, source=None):
        """server: the address that the URL's host name stands for."""
        host_port = url.split("/")[2]
        host, _, port = host_port.partition(":")
        argv = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert", self.ca,
                "--resolve", f"{host}:{port or 443}:{server}"]
        if source:
            argv += ["--interface", source]
        status, output = self.run(*argv, *options, url, seconds=90)
        assert status == 0, f"curl: status {status}: {output}"
        return output

    def _go_sendxmpp(self, jid, password, server):
        return ["go-sendxmpp", "--tls", "--username", jid, "--password", password, "--jserver", server]

    def send_with_go(self, jid, password, server, to, body):
        status, output = self.run(*self._go_sendxmpp(jid, password, server), to, stdin=body)
        assert status == 0, f"go-sendxmpp: status {status}: {output}"

    def listen_with_go(self, jid, password, server):
        """A process that prints each message it receives."""
        return self.start(*self._go_sendxmpp(jid, password, server), "--listen")

    def send_with_slixmpp(self, jid, password, port, to, body):
        """Given an address instead of a name it would send no SNI."""
        status, output = self.run("/usr/bin/python3", "-c", SLIXMPP, jid, password, jid.partition("@")[2],
                                  port, self.ca, to, body)
        assert status == 0, f"slixmpp: status {status}: {output}"

    def s_client(self, server, *options, stdin=""):
        return self.run("openssl", "s_client", "-connect", server, "-CAfile", self.ca,
                        "-verify_return_error", *options, stdin=stdin)
