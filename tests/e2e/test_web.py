"""Everything else goes to the web server, with the client's address."""

from socket import SHUT_WR

import pytest
from rig.backend import Backend, read_all
from rig.nginx import BARE, TCP4, TCP6
from rig.world import CLIENTS4, CLIENTS6, HOSTS, SERVER4, SERVER6

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PLAIN = b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n"


def server_for(source):
    return f"[{SERVER6}]" if ":" in source else SERVER4


@pytest.mark.parametrize("version, proto", [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")])
@pytest.mark.parametrize("source", [CLIENTS4[1], CLIENTS6[1]])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.usefixtures("shim")
def test_nginx_logs_the_address_the_client_connects_from(world, name, host, source, version, proto):
    world.clients.curl(f"https://{host}/{name}", server_for(source), version, source=source)
    seen = world.nginx.request_for(f"/{name}")
    assert (seen["addr"], seen["proto"], seen["sni"]) == (source, proto, host)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
def test_every_kind_of_backend_learns_the_address_by_either_header(world, new_shim, port, name, kind, version):
    web = {"tcp4": TCP4, "tcp6": TCP6, "unix": world.nginx.unix}[kind]
    new_shim(port, web=web, web_options={"proxy-protocol": version})
    for source in (CLIENTS4[0], CLIENTS6[0]):
        page = f"/{name}-{'6' if ':' in source else '4'}"
        world.clients.curl(f"https://{HOSTS[0]}:{port}{page}", server_for(source), source=source)
        assert world.nginx.request_for(page)["addr"] == source


def test_a_backend_can_do_without_any_header(world, new_shim, port, name):
    new_shim(port, web=BARE, web_options={"proxy-protocol": "none"})
    world.clients.curl(f"https://{HOSTS[0]}:{port}/{name}", SERVER4)
    assert world.nginx.request_for(f"/{name}")["addr"] == "127.0.0.1"


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.parametrize("version", ["v1", "v2", "none"])
def test_the_backend_gets_the_configured_header_and_then_the_clients_bytes(world, new_shim, port, version, source):
    received = []

    def serve(sock):
        received.append(read_all(sock))
        sock.sendall(b"done")

    with Backend(world.server, ("127.0.0.1", 0), serve) as backend:
        new_shim(port, web=backend.address(), web_options={"proxy-protocol": version})
        with world.connect(source, port) as sock:
            source_port = sock.getsockname()[1]
            sock.sendall(PLAIN)
            sock.shutdown(SHUT_WR)
            assert read_all(sock) == b"done"
    family, server = ("TCP6", SERVER6) if ":" in source else ("TCP4", SERVER4)
    if version == "v1":
        header = f"PROXY {family} {source} {server} {source_port} {port}\r\n".encode()
        assert received == [header + PLAIN]
    elif version == "v2":
        assert received[0].startswith(V2_SIGNATURE)
        assert received[0].endswith(PLAIN)
    else:
        assert received == [PLAIN]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.usefixtures("shim")
def test_web_and_xmpp_share_a_host_name_and_a_port(world, host):
    with world.login("alice", host):
        assert world.clients.curl(f"https://{host}/", SERVER4) == f"the web page of {host}\n"


@pytest.mark.usefixtures("shim")
def test_a_client_without_alpn_gets_the_web_server(world):
    page = world.clients.curl(f"https://{HOSTS[0]}/", SERVER4, "--no-alpn")
    assert page == f"the web page of {HOSTS[0]}\n"


@pytest.mark.usefixtures("shim")
def test_a_client_without_sni_gets_the_web_server(world):
    status, output = world.clients.s_client(f"{SERVER4}:443", "-noservername", "-alpn", "h2")
    assert status == 0, output
    assert "ALPN protocol: h2" in output


@pytest.mark.usefixtures("shim")
def test_openssl_gets_xmpp_or_the_web_by_the_protocol_it_asks_for(world):
    for asked in ("xmpp-client", "http/1.1"):
        status, output = world.clients.s_client(f"{SERVER4}:443", "-servername", HOSTS[1], "-alpn", asked)
        assert status == 0, output
        assert f"ALPN protocol: {asked}" in output
        assert f"subject=CN={HOSTS[1]}" in output.replace("CN = ", "CN=")


@pytest.mark.usefixtures("shim")
def test_plain_http_gets_the_web_servers_own_answer(world):
    with world.connect() as sock:
        sock.sendall(PLAIN)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"The plain HTTP request was sent to HTTPS port" in answer
