"""Prosody in namespaces of its own, without any network, and the shim outside: they share a directory."""

import concurrent.futures
import pathlib
import shutil
import subprocess

import pytest

from clients import open_stream
from front import CLIENT, Network
from prosody_box import Prosody

ALPNS = ("xmpp-client", "xmpp-server")
UID_INSIDE = 4321
BIND = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
DROP = ["setpriv", "--reuid=prosody", "--regid=prosody", "--clear-groups", "--"]


def own_network_and_mounts(shared, inside):
    """Ids are the host's. Only Prosody sees the directory where it looks for it."""
    return ["unshare", "--net", "--mount", "sh", "-c", BIND, "sh", shared, inside, *DROP]


def own_ids_too(shared, inside):
    """As in a rootless container: what is prosody outside is UID_INSIDE inside, and nobody else has a number."""
    return [*DROP, "unshare", "--user", f"--map-user={UID_INSIDE}", f"--map-group={UID_INSIDE}", "--keep-caps",
            "--net", "--mount", "sh", "-c", BIND, "sh", shared, inside, "setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]


@pytest.fixture(scope="module")
def net():
    made = Network()
    yield made
    made.close()


@pytest.fixture
def contained(net):
    """contained(namespaces, options) -> box, the socket's path outside"""
    boxes = []

    def make(namespaces, options=""):
        shared, inside = net.folder / f"shared{len(boxes)}", net.folder / f"inside{len(boxes)}"
        for folder in (shared, inside):
            folder.mkdir()
            shutil.chown(folder, "prosody", "prosody")
            folder.chmod(0o750)
        boxes.append((Prosody(f'fdpass_socket = "{inside}/fdpass.sock"\n{options}', modules=("c2s", "saslauth"),
                              wrap=namespaces(shared, inside)), shared, inside))
        return boxes[-1][0], shared / "fdpass.sock"
    yield make
    for box, shared, inside in boxes:
        box.close()
        shutil.rmtree(shared)
        inside.rmdir()


def namespace(process, kind):
    return pathlib.Path(f"/proc/{process}/ns/{kind}").readlink()


def log_of_stream(net, box, client, port):
    seen = box.log_size()
    conn = net.tls(net.connect(client, port))
    assert "mechanisms" in open_stream(conn, "one.example")
    conn.sendall(b"</stream:stream>")
    box.wait_for_log(f"c2s stream for {client} closed", since=seen)
    conn.close()


def shim(net, path):
    return net.shim({alpn: {"alpn": alpn, "fdpass": str(path)} for alpn in ALPNS})


@pytest.mark.parametrize("namespaces, options", [
    (own_network_and_mounts, 'fdpass_users = { "nobody" }'),
    (own_ids_too, 'fdpass_users = { "65534" }'),
])
def test_prosody_without_network_sees_the_clients_address(net, contained, namespaces, options):
    box, path = contained(namespaces, options)
    pid = box.process.pid
    for kind in ("net", "mnt"):
        assert namespace(pid, kind) != namespace("self", kind)
    links = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link", "show", "up"],
                           check=True, capture_output=True, text=True)
    assert links.stdout == ""  # not even loopback
    assert not (path.parent.parent / path.parent.name.replace("shared", "inside") / "fdpass.sock").exists()

    port = shim(net, path)
    for client in CLIENT:
        log_of_stream(net, box, client, port)

    # It restarts, and a client that comes meanwhile has only to wait.
    box.stop()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(net.tls, net.connect(CLIENT[1], port))
        box.start()
        assert namespace(box.process.pid, "net") != namespace("self", "net")
        assert "mechanisms" in open_stream(waiting.result(), "one.example")


def test_senders_id_outside_is_not_one_that_is_known_inside(net, contained):
    """Without the option the shim is a stranger: its user has no number in there."""
    box, path = contained(own_ids_too)
    port = shim(net, path)
    waiting = net.connect(CLIENT[0], port)
    waiting.sendall(b"\x16\x03\x01")
    box.wait_for_log("Refused a sender with uid 65534")
    waiting.close()
