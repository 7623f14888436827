"""The hand-off socket: what others do there harms nobody, and impostors get nothing."""

import array
import contextlib
import os
import socket
import struct
import subprocess
import textwrap

import pytest
from rig.process import privileges
from rig.tls import client_hello, context
from rig.wait import settled, until
from rig.world import HOSTS

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 443)
ALPN = b"\x01" + struct.pack("!H", 11) + b"xmpp-client"
UNIQUE_ID = b"\x05" + struct.pack("!H", 8) + b"\xffgarbage"


def header(*tlvs, command=0x21, family=0x11):
    body = ADDRESSES + b"".join(tlvs)
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


GOOD = header(ALPN, UNIQUE_ID)
PACKETS = {
    "one byte": (b"x", 0),
    "noise": (bytes(range(256)) * 16, 0),
    "noise with a descriptor": (b"x" * 100, 1),
    "a header without a descriptor": (GOOD, 0),
    "a header with three descriptors": (GOOD, 3),
    "a header cut short": (GOOD[:-9], 1),
    "a header with more behind it": (GOOD + b"x", 1),
    "a header without an id": (header(ALPN), 1),
    "an id of the wrong length": (header(ALPN, b"\x05\0\x02no"), 1),
    "an unknown protocol": (header(b"\x01\0\x04none", UNIQUE_ID), 1),
    "a tlv that runs over the end": (header(b"\x01\xff\xffx", UNIQUE_ID), 1),
    "a datagram instead of a stream": (header(ALPN, UNIQUE_ID, family=0x12), 1),
    "a local command": (header(ALPN, UNIQUE_ID, command=0x20), 1),
    "a very large packet": (GOOD + b"\0" * 60000, 1),
}


def send(control, packet, descriptors):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    control.sendmsg([packet], rights)


@contextlib.contextmanager
def a_control_connection(world):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.settimeout(20)
        control.connect(str(world.prosody.socket))
        yield control


def prosodys_descriptors(world):
    return settled(lambda: len(world.prosody.process.fds()), "Prosody's descriptors")


@pytest.mark.parametrize("packet, descriptors", PACKETS.values(), ids=PACKETS.keys())
@pytest.mark.usefixtures("shim")
def test_garbage_on_the_hand_off_socket_does_no_harm(world, packet, descriptors):
    world.login("alice").logout()
    before = settled(lambda: prosodys_descriptors(world), "Prosody's descriptors")
    with a_control_connection(world) as control:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(3):
                pipes = [os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors)]
                try:
                    send(control, packet, pipes)
                finally:
                    for fd in pipes:
                        os.close(fd)
        world.login("alice").logout()
    until(lambda: prosodys_descriptors(world) == before, "Prosody to close what came with it")


@pytest.mark.usefixtures("shim")
def test_a_descriptor_that_is_no_connection_does_no_harm(world):
    world.login("alice").logout()
    before = settled(lambda: prosodys_descriptors(world), "Prosody's descriptors")
    with socket.socket() as listener, socket.socket(socket.AF_UNIX) as unbound:
        listener.listen()
        for number, fd in enumerate((os.open("/dev/null", os.O_RDWR), os.open("/", os.O_RDONLY),
                                     os.dup(listener.fileno()), os.dup(unbound.fileno()))):
            with a_control_connection(world) as control:
                send(control, header(ALPN, b"\x05\0\x08" + struct.pack("!Q", number)), [fd])
                os.close(fd)
                world.login("alice").logout()
    until(lambda: prosodys_descriptors(world) == before, "Prosody to close what came with it")


@pytest.mark.usefixtures("shim")
def test_a_user_who_is_not_listed_cannot_hand_anything_over(world):
    """In the group that may connect, but not in fdpass_users."""
    script = textwrap.dedent("""\
        import array, socket, sys
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(20)
        control.connect(sys.argv[1])
        left, right = socket.socketpair()
        try:
            control.sendmsg([bytes.fromhex(sys.argv[2])],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [right.fileno()]))])
            print("answer:", control.recv(4096).hex())
        except (BrokenPipeError, ConnectionResetError):
            print("answer:")
        """)
    result = subprocess.run(
        [*privileges("daemon", "daemon", ["prosody"]), "/usr/bin/python3", "-c", script,
         world.prosody.socket, GOOD.hex()], text=True, timeout=60, stdout=subprocess.PIPE)
    assert result.stdout == "answer:\n"
    world.login("alice").logout()


def test_an_impostor_that_listens_in_prosodys_place_gets_no_connection(world, new_shim, port, name):
    """The folder is prosody's but, by somebody's mistake, open to all."""
    folder = world.folder / name
    folder.mkdir()
    folder.chmod(0o777)
    os.chown(folder, world.prosody.folder.stat().st_uid, 0)
    script = textwrap.dedent("""\
        import os, socket, sys
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(sys.argv[1])
        os.chmod(sys.argv[1], 0o777)
        listener.listen()
        print("listening", flush=True)
        while True:
            control, _ = listener.accept()
            if data := control.recv(4096):
                print("stolen", data, flush=True)
        """)
    impostor = subprocess.Popen([*privileges("daemon"), "/usr/bin/python3", "-c", script, folder / "s"],
                                stdout=subprocess.PIPE, text=True)
    try:
        assert impostor.stdout.readline() == "listening\n"
        shim = new_shim(port, fdpass=None, routes={
            "xmpp-client": {"alpn": "xmpp-client", "fdpass": folder / "s", "hold": "2s"}})
        with world.connect(port=port) as sock:
            peer = "%s:%d" % sock.getsockname()
            sock.sendall(client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0]))
            shim.wait_event(event="closed", reason="hold-expired", peer=peer)
    finally:
        impostor.kill()
        assert impostor.communicate(timeout=20)[0] == ""
