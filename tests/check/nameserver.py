"""A private nsd that serves the zone "example.", signed, and zones below it."""

import shutil
import socket
import struct
import subprocess

from rig import wait
from rig.process import Process

SOA = "$ORIGIN {name}\n$TTL 300\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 300\n@ NS ns.example.\n"
CONFIG = """\
server:
  {addresses}
  username: ""
  zonesdir: "{folder}"
  database: ""
  zonelistfile: "{folder}/zone.list"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: ""
  xfrdir: "{folder}"
  server-count: 1
remote-control:
  control-enable: no
"""


class NameServer:
    """zones: {name: text}, names with a dot at the end; those in signed are signed, and the topmost one's key is `anchor`."""

    def __init__(self, folder, ns, addresses, zones, signed, broken=()):
        self.folder, self.ns, self.addresses = folder, ns, addresses
        folder.mkdir()
        self.anchor = folder / "anchor.ds"
        config = CONFIG.format(folder=folder, addresses="\n  ".join(f"ip-address: {a}" for a in addresses))
        delegations = {name: "" for name in zones}
        for name in sorted(zones, key=lambda n: -n.count(".")):  # a child's key has to be in its parent
            file = folder / f"{name}zone"
            file.write_text(SOA.format(name=name) + zones[name] + delegations[name])
            parent = name.partition(".")[2]
            if parent in zones:
                delegations[parent] += f"{name} NS ns.example.\n"
            if name in signed:
                ds = self._sign(name, file)
                if parent in zones:
                    delegations[parent] += ds
                else:
                    self.anchor.write_text(ds)
                file = folder / f"{name}zone.signed"
            if name in broken:  # changed after it was signed
                file.write_text(file.read_text().replace("192.0.2.1\n", "192.0.2.99\n"))
            config += f'zone:\n  name: "{name}"\n  zonefile: "{file}"\n'
        (folder / "nsd.conf").write_text(config)
        self.process = Process("nsd", [shutil.which("nsd") or "/usr/sbin/nsd", "-d", "-c", str(folder / "nsd.conf")],
                               folder / "nsd.log", ns)

    def _sign(self, name, file):
        """The zone's DS record."""
        run = {"cwd": self.folder, "check": True, "capture_output": True, "text": True, "timeout": 60}
        key = subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", "-k", name], **run).stdout.strip()
        subprocess.run(["ldns-signzone", "-n", file.name, key], **run)
        return (self.folder / f"{key}.ds").read_text()

    def start(self):
        self.process.start()

        def ready():
            assert self.process.alive(), f"nsd ended:\n{self.process.output()}"
            query = struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\x07example\0" + struct.pack(">2H", 6, 1)
            with self.ns.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.settimeout(0.5)
                probe.connect((self.addresses[0], 53))
                try:
                    probe.send(query)
                    return probe.recv(512)[3] & 15 == 0
                except OSError:
                    return False

        wait.until(ready, "nsd to answer")
        return self
