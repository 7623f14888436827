"""Nothing is ever resolved: a dead DNS server is not even asked."""

import socket
import subprocess

from rig.process import with_file
from rig.world import CLIENTS4, HOSTS, SERVER4

# The resolver, configured for the shim only, is a socket that counts but never answers.
RESOLVER = "127.0.0.53"


def test_no_name_is_looked_up_for_any_connection(world, new_shim, port, name):
    conf = world.folder / f"{name}.resolv.conf"
    conf.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    with_dead_resolver = with_file(conf, "/etc/resolv.conf")
    with world.server.inside():
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with resolver:
        resolver.bind((RESOLVER, 53))
        resolver.setblocking(False)
        new_shim(port, process={"wrap": with_dead_resolver})
        for source in CLIENTS4:
            world.login("alice", source=source, port=port).logout()
            world.clients.curl(f"https://{HOSTS[0]}:{port}/{name}", SERVER4, source=source)
        assert not asked(resolver)

        # The trap does work: whoever looks up a name in that setting is noticed.
        with world.server.inside():
            subprocess.run([*with_dead_resolver, "getent", "hosts", "192.0.2.99"], timeout=30)
        assert asked(resolver)


def asked(resolver):
    try:
        resolver.recv(4096)
    except BlockingIOError:
        return False
    return True
