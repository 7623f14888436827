"""TLS sessions are resumed across the shim, which knows nothing of them."""

import pytest
from rig.world import HOSTS, SERVER4, SERVER6

pytestmark = pytest.mark.usefixtures("shim")
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOSTS[0]}\r\nConnection: close\r\n\r\n"


def connect(world, server, *options):
    status, output = world.clients.s_client(f"{server}:443", "-servername", HOSTS[0], "-ign_eof", *options, stdin=REQUEST)
    assert status == 0, output
    assert f"the web page of {HOSTS[0]}" in output, output
    return output


@pytest.mark.parametrize("first, second", [(SERVER4, SERVER4), (SERVER4, f"[{SERVER6}]"), (f"[{SERVER6}]", SERVER4)])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_is_resumed_on_the_next_connection(world, name, version, first, second):
    session = world.folder / f"{name}.session"
    flag = f"-tls{version.replace('.', '_')}"
    assert f"New, TLSv{version}" in connect(world, first, flag, "-sess_out", session)
    assert f"Reused, TLSv{version}" in connect(world, second, flag, "-sess_in", session)


def test_early_data_reaches_the_web_server(world, name):
    session, early = world.folder / f"{name}.session", world.folder / f"{name}.early"
    early.write_text(REQUEST)
    connect(world, SERVER4, "-tls1_3", "-sess_out", session)
    status, output = world.clients.s_client(f"{SERVER4}:443", "-servername", HOSTS[0], "-ign_eof", "-tls1_3",
                                            "-sess_in", session, "-early_data", early)
    assert status == 0, output
    assert "Early data was accepted" in output
    assert f"the web page of {HOSTS[0]}" in output
