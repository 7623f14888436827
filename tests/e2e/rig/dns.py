"""A private DNS server, dnsmasq, that knows the records of the test and asks nobody else."""

import re

from . import wait
from .process import Process, privileges


class Dns:
    def __init__(self, folder, ns, addresses, options):
        """addresses: where it listens in ns, IPv4 and IPv6; options: lines for its configuration."""
        folder.mkdir()
        self.addresses = addresses
        self.log = folder / "dnsmasq.log"
        conf = folder / "dnsmasq.conf"
        conf.write_text("\n".join([
            "keep-in-foreground", "user=nobody", "group=nogroup", "pid-file=", "log-facility=-", "log-queries",
            "no-resolv", "no-hosts", "no-poll", "local=/example/", "bind-interfaces",
            *(f"listen-address={address}" for address in addresses), *options, ""]))
        self.process = Process("dnsmasq", ["/usr/sbin/dnsmasq", "-C", str(conf)], self.log, ns, privileges(None))

    def start(self):
        self.process.start()

        def ready():
            assert self.process.alive(), f"dnsmasq ended:\n{self.process.output()}"
            return "started, version" in self.process.output()

        wait.until(ready, "dnsmasq to be up")
        return self

    def kill(self):
        self.process.kill()

    def asked(self, client):
        """{(type, name)} that this address has asked for so far."""
        return {(kind, name) for kind, name, source in
                re.findall(r"query\[(\S+)\] (\S+) from (\S+)", self.process.output()) if source == client}
