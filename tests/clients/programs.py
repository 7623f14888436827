"""The clients under test, each started as its user would start it, with nothing but a JID and a password.

A program is made with a machine, a JID and a password; it connects at once. say(to, body) has it send a
message; heard(body) is true once it has shown the user a message with that text.
"""

import contextlib
import fcntl
import json
import os
import pty
import sqlite3
import struct
import subprocess
import termios
import textwrap
import threading

from rig import wait
from rig.machine import CA_FILE
from rig.prosody import PASSWORD

SERVER_NAME = "server.example"  # what the records for each host name lead to


class Program:
    """One that is told what to do, and tells, on a terminal of its own."""

    rows, columns = 40, 160

    def __init__(self, machine, jid):
        self.machine, self.jid = machine, jid
        self.prepare()
        self._output = b""
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))
        try:
            self.child = machine.start(*self.command(), stdin=theirs, stdout=theirs, stderr=theirs,
                                       start_new_session=True)
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def prepare(self):
        """Puts settings into the machine's home directory."""

    def command(self):
        raise NotImplementedError

    def _read(self):
        try:
            while data := os.read(self._terminal, 65536):
                self._output += data
        except OSError:
            pass  # the other end is closed

    def type(self, text):
        os.write(self._terminal, text.encode())

    def output(self):
        return self._output.decode(errors="replace")

    def heard(self, body):
        return body in self.output()

    def close(self):
        if self._terminal < 0:
            return
        self.child.kill()
        self.child.wait(20)
        self._reader.join(20)
        os.close(self._terminal)
        self._terminal = -1


class GoSendxmpp(Program):
    """Receives in one process and sends with another."""

    def _base(self):
        return ["go-sendxmpp", "--tls", "--username", self.jid, "--password", PASSWORD]

    def command(self):
        return [*self._base(), "--listen"]

    def say(self, to, body):
        sender = self.machine.start(*self._base(), to, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
        output, _ = sender.communicate(body, timeout=60)
        assert sender.returncode == 0, output


class Profanity(Program):
    """Looks up no records for direct TLS, so it has to be told where to connect, as its manual says:
    /account set NAME server, port and tls legacy."""

    def prepare(self):
        self.machine.file("data/profanity/accounts", textwrap.dedent(f"""\
            [account]
            enabled=true
            jid={self.jid}
            password={PASSWORD}
            resource=profanity
            tls.policy=legacy
            server={SERVER_NAME}
            port=443
            """))
        self.machine.file("config/profanity/profrc", "[logging]\nchlog=true\n")

    def command(self):
        return ["profanity", "--account", "account"]

    def say(self, to, body):
        self.type(f"/msg {to} {body}\r")

    def heard(self, body):
        """It shows a message only in its contact's window, and writes it into that one's log."""
        return self.machine.holds("data/profanity/chatlogs", body)


class Poezio(Program):
    def prepare(self):
        self.machine.file("config/poezio/poezio.cfg", textwrap.dedent(f"""\
            [Poezio]
            jid = {self.jid}
            password = {PASSWORD}
            ca_cert_path = {CA_FILE}
            first_run = false
            use_log = true
            rooms =
            """))

    def command(self):
        return ["poezio"]

    def say(self, to, body):
        # Keys that come all at once would be taken for something pasted.
        for keys in ("/", f"message {to} {body}", "\r"):
            before = len(self.output())
            self.type(keys)
            wait.until(lambda: len(self.output()) > before, "poezio to take what is typed")
            wait.settled(lambda: len(self.output()), "poezio")

    def heard(self, body):
        """As with profanity."""
        return self.machine.holds("data/poezio/logs", body)


class Slixmpp(Program):
    """A library, so this is a small program that uses it. Takes lines of a JID and a text."""

    script = textwrap.dedent("""\
        import sys
        import slixmpp
        from slixmpp.xmlstream import XMLStream

        jid, password, client_ca = sys.argv[1:]
        client = slixmpp.ClientXMPP(jid, password)
        client.ca_certs = client_ca

        def read():
            client.send_message(*sys.stdin.readline().rstrip().split(" ", 1), mtype="chat")

        def started(event):
            client.send_presence()
            client.loop.add_reader(sys.stdin, read)

        client.add_event_handler("session_start", started)
        client.add_event_handler("message", lambda message: print(message["from"], message["body"], flush=True))
        if hasattr(client, "enable_direct_tls"):  # 1.9 and later, by themselves
            client.connect()
        else:
            client.dns_service = "xmpps-client"
            XMLStream.connect(client, client.boundjid.host, 443, use_ssl=True, force_starttls=False, disable_starttls=True)
        client.loop.run_forever()
        """)

    def command(self):
        return ["/usr/bin/python3", "-c", self.script, self.jid, PASSWORD, CA_FILE]

    def say(self, to, body):
        self.type(f"{to} {body}\n")


class Graphical(Program):
    """The terminal is that of a shell in the program's session, which has a display of its own."""

    def command(self):
        return ["dbus-run-session", "--", "xvfb-run", "--auto-servernum", "--server-args", "-screen 0 1024x768x24", "sh"]

    def __init__(self, machine, jid):
        super().__init__(machine, jid)
        self.type("stty -echo\n")
        self.run()

    def run(self):
        """Starts the program itself, by the shell."""
        raise NotImplementedError


class Gajim(Graphical):
    """Its account is put into its settings. It is told what to do by its own remote control."""

    def prepare(self):
        user, _, host = self.jid.partition("@")
        settings = {
            "app": {"use_keyring": False, "remote_control": True, "check_for_update": False},
            "workspaces": {"w": {"name": "w", "color": "", "avatar_sha": "", "chats": []}},
            "soundevents": {}, "status_presets": {}, "proxies": {}, "plugins": {}}
        account = {"account": {"name": user, "hostname": host, "password": PASSWORD, "resource": "gajim", "active": True},
                   "contact": {}, "group_chat": {}}
        with contextlib.closing(sqlite3.connect(self.machine.file("config/gajim/settings.sqlite", ""))) as db, db:
            db.execute("CREATE TABLE settings (name TEXT UNIQUE, settings TEXT)")
            db.executemany("INSERT INTO settings VALUES (?, ?)", [(name, json.dumps(to)) for name, to in settings.items()])
            db.execute("CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT)")
            db.execute("INSERT INTO account_settings VALUES ('account', ?)", [json.dumps(account)])
            db.execute("PRAGMA user_version = 5")

    def run(self):
        self.type("gajim --config-path /home/config/gajim &\n")

    def say(self, to, body):
        # The remote control comes up five seconds after the start.
        self.type(f"until gajim-remote send_chat_message {to} {body} account 2>&1 | grep -q True; do sleep 0.2; done\n")

    def heard(self, body):
        """In its history, whose form changes between versions; or in what has not been written into that yet."""
        return self.machine.holds("config/gajim", body)


class Dino(Graphical):
    """Its account is put into the database that it makes at its first start. It is told what to do by keys."""

    def run(self):
        self.database = self.machine.home / "data/dino/dino.db"
        ended = self.machine.home / "ended"
        self.type("dino-im & dino=$!\n")
        wait.until(lambda: self._rows("SELECT 1 FROM _meta WHERE name = 'version'"), "Dino's database", 60)
        self.type("kill $dino; wait $dino; touch ended\n")
        wait.until(ended.exists, "Dino to end", 60)
        with contextlib.closing(sqlite3.connect(self.database)) as db, db:
            db.execute("INSERT INTO account (bare_jid, resourcepart, password, enabled) VALUES (?, 'dino', ?, 1)",
                       (self.jid, PASSWORD))
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'account_settings'").fetchall():  # 0.5
                db.execute("INSERT INTO account_settings (account_id, key, value) VALUES (1, 'default-encryption', ?)",
                           ("DINO_ENTITIES_ENCRYPTION_NONE",))
        self.type("dino-im &\n")

    def _rows(self, query, *values):
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []  # not there yet

    def say(self, to, body):
        self.type(f"dino-im 'xmpp:{to}?message'\n")
        for _ in range(20):  # the chat's window may not be there yet
            self.type(f"xdotool key ctrl+a && xdotool type {body} && xdotool key Return\n")
            with contextlib.suppress(wait.Timeout):
                wait.until(lambda: self.heard(body), "Dino to send it", 3)
                return
        raise AssertionError("Dino did not send a message")

    def heard(self, body):
        return bool(self._rows("SELECT 1 FROM message WHERE body = ?", body))
