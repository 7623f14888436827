"""Connections that live long and are mostly silent: WebSockets and server-sent events.

XMPP443_FULL=1 makes the silences last minutes rather than seconds.
"""

import os
import threading
import time

import pytest
from rig.backend import Backend
from rig.nginx import APPLICATION
from rig.websocket import WebSocket, WebSocketServer
from rig.world import CLIENTS4, CLIENTS6, HOSTS

IDLE = 150 if os.environ.get("XMPP443_FULL") else 3  # s; longer than the minute after which many time-outs strike


@pytest.fixture
def chatter(world):
    """A WebSocket server behind nginx."""
    with WebSocketServer(world.server, APPLICATION) as server:
        yield server


def websocket(world, **where):
    return WebSocket(world.tls(alpn=["http/1.1"], **where), HOSTS[0], "/app/chat")


@pytest.mark.parametrize("source", [CLIENTS4[0], CLIENTS6[0]])
@pytest.mark.usefixtures("shim", "chatter")
def test_a_websocket_carries_messages_of_every_size(world, source):
    chat = websocket(world, source=source)
    for size in (0, 1, 125, 126, 65535, 65536, 1_000_000):
        chat.send(message := os.urandom(size))
        assert chat.receive() == message
    chat.close()


@pytest.mark.usefixtures("shim")
def test_both_sides_of_a_websocket_may_talk_at_once(world, chatter):
    chat = websocket(world)
    chat.send("hello")
    assert chat.receive() == "hello"
    news = [f"news {n}" for n in range(200)]
    speaker = threading.Thread(target=lambda: [chatter.say(text) for text in news])
    speaker.start()
    for n in range(200):
        chat.send(f"message {n}")
    heard = [chat.receive() for _ in range(400)]
    speaker.join()
    assert [text for text in heard if text in news] == news
    assert [text for text in heard if text not in news] == [f"message {n}" for n in range(200)]
    chat.close()


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_websocket_works_on_after_a_long_silence(world, new_shim, port, chatter, kind):
    """The hello's deadline and the backend's have passed long ago."""
    new_shim(port, shim={"hello-timeout": "500ms", "connect-timeout": "500ms"},
             web=world.nginx.unix if kind == "unix" else None)
    chat = websocket(world, port=port)
    chat.send("hello")
    assert chat.receive() == "hello"
    time.sleep(IDLE)
    chatter.say("anybody there?")
    assert chat.receive() == "anybody there?"
    time.sleep(IDLE)
    chat.send("still here")
    assert chat.receive() == "still here"
    chat.close()


@pytest.mark.usefixtures("chatter")
def test_a_websocket_outlives_a_reload(world, new_shim, port):
    shim = new_shim(port)
    chat = websocket(world, port=port)
    shim.reload(world.config(port, web="127.0.0.1:1"))
    shim.wait_ready(times=2)
    chat.send("hello")
    assert chat.receive() == "hello"
    chat.close()


@pytest.mark.parametrize("version", ["http/1.1", "none"])
@pytest.mark.usefixtures("shim")
def test_each_server_sent_event_arrives_before_the_next_is_sent(world, version):
    go_on = threading.Semaphore(0)

    def serve(sock):
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for n in range(20):
            go_on.acquire(timeout=20)
            sock.sendall(f"data: {n}\n\n".encode())

    with Backend(world.server, APPLICATION, serve), \
            world.tls(alpn=[version] if version != "none" else None) as stream:
        stream.sendall(f"GET /app/events HTTP/1.1\r\nHost: {HOSTS[0]}\r\n\r\n".encode())
        for n in range(20):
            go_on.release()
            text = b""
            while f"data: {n}\n\n".encode() not in text:
                piece = stream.recv()
                assert piece, text
                text += piece
            assert f"data: {n + 1}\n".encode() not in text
