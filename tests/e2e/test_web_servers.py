"""The web servers that people run learn the true address from the PROXY header.

nginx is in test_web.py. Caddy is not here: its listener wrapper for the PROXY protocol came with 2.7,
and Debian 12 and 13 have 2.6.2. Apache httpd cannot listen on a Unix socket.
"""

import pytest
from rig.apache import Apache
from rig.haproxy import Haproxy
from rig.lighttpd import Lighttpd
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

KINDS = [(made, kind) for made in (Apache, Lighttpd, Haproxy) for kind in ("tcp4", "tcp6", "unix")
         if kind != "unix" or made.unix]


@pytest.fixture(scope="module")
def servers(world):
    """Each kind of server, started when it is asked for first."""
    running = {}

    def server(made):
        if made not in running:
            running[made] = made(world.folder / made.name, world.server, world.authority.issue(HOSTS[0])).start()
        return running[made]

    yield server
    for one in running.values():
        one.process.kill()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("made, kind", KINDS, ids=[f"{made.name}-{kind}" for made, kind in KINDS])
def test_each_server_logs_the_address_the_client_connects_from(world, servers, new_shim, port, name, made, kind, version):
    server = servers(made)
    new_shim(port, web=server.address(kind), web_options={"proxy-protocol": version})
    for source, where in ((CLIENTS4[0], SERVER4), (CLIENTS6[0], f"[{SERVER6}]")):
        for proto in ("1.1", "2"):
            path = f"/{name}-{'6' if ':' in source else '4'}-{proto}"
            page = world.clients.curl(f"https://{HOSTS[0]}:{port}{path}", where, f"--http{proto}", source=source)
            assert page == server.PAGE
            seen = server.request_for(path)
            assert (seen["addr"], seen["proto"].rstrip("0").rstrip(".")) == (source, f"HTTP/{proto}")
