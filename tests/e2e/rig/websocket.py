"""A small WebSocket client, RFC 6455, and a server made by others."""

import asyncio
import base64
import hashlib
import os
import socket
import struct
import threading

import websockets

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """Text and binary messages over a stream that is already encrypted."""

    def __init__(self, stream, host, path, protocol=None):
        self.stream = stream
        self._data = b""
        key = base64.b64encode(os.urandom(16)).decode()
        more = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                       f"{more}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._take(1)
        accept = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest())
        assert head.startswith(b"HTTP/1.1 101 ") and accept in head, head

    def _take(self, size):
        while len(self._data) < size:
            piece = self.stream.recv()
            if not piece:
                raise EOFError("the WebSocket ended")
            self._data += piece
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _frame(self, opcode, payload):
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size) if size < 65536 else \
            b"\xff" + struct.pack("!Q", size)
        mask = os.urandom(4)
        whole = int.from_bytes((mask * (size // 4 + 1))[:size], "big") ^ int.from_bytes(payload, "big")
        self.stream.sendall(bytes([0x80 | opcode]) + length + mask + whole.to_bytes(size, "big"))

    def send(self, message):
        if isinstance(message, str):
            self._frame(TEXT, message.encode())
        else:
            self._frame(BINARY, message)

    def receive(self):
        """The next message; pings are answered on the way."""
        message, kind = b"", None
        while True:
            first, second = self._take(2)
            size = second & 0x7f
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            payload = self._take(size)
            opcode = first & 0x0f
            if opcode == PING:
                self._frame(PONG, payload)
            elif opcode == CLOSE:
                raise EOFError("the WebSocket was closed")
            elif opcode != PONG:
                kind = opcode or kind
                message += payload
                if first & 0x80:
                    return message.decode() if kind == TEXT else message

    def close(self):
        """Say goodbye and wait for the answer."""
        self._frame(CLOSE, b"\x03\xe8")
        try:
            while True:
                self.receive()
        except (EOFError, OSError):
            pass
        self.stream.close()


class WebSocketServer:
    """python3-websockets on `address`, in a thread. Echoes; say(text) sends to everybody."""

    def __init__(self, ns, address):
        with ns.inside():
            self._listener = socket.create_server(address)
        self._loop = asyncio.new_event_loop()
        self._clients = set()
        self._stopping = self._loop.create_future()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()

    async def _serve(self):
        async with websockets.serve(self._client, sock=self._listener, ping_interval=None, max_size=None):
            await self._stopping

    async def _client(self, client, _path=None):
        self._clients.add(client)
        try:
            async for message in client:
                await client.send(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)

    async def _send_to_all(self, text):
        for client in list(self._clients):
            await client.send(text)

    def say(self, text):
        asyncio.run_coroutine_threadsafe(self._send_to_all(text), self._loop).result(20)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._loop.call_soon_threadsafe(self._stopping.set_result, None)
        self._thread.join(20)
