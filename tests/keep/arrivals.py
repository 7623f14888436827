"""Clients that arrive at a steady rate and log in over XMPP with real TLS, and how each of them fared.

Run as a script it reads its orders as a line of JSON, then waits for a line for each salvo: so many clients at such a
rate. It prints a line of JSON for each client when it is through: logged in, or cut off.
"""

import asyncio
import base64
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import time

PATIENCE = 150


class Arrivals:
    """The handle. with Arrivals(world, port) as a: a.salvo(200, 200); a.wait() -> [{peer, outcome, ...}]"""

    def __init__(self, client, authority, sources, servers, port, host, user, password):
        self._space = client
        self._orders = {"authority": str(authority), "sources": sources, "servers": servers, "port": port, "host": host,
                        "user": user, "password": password}

    def __enter__(self):
        with self._space.inside():
            self._child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "/usr/bin/python3", __file__],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell(json.dumps(self._orders))
        self._due = 0
        return self

    def _tell(self, line):
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def salvo(self, count, rate):
        """Returns at once."""
        self._tell(json.dumps([count, rate]))
        self._due += count

    def wait(self):
        """What became of all that have come since the last time."""
        results = [json.loads(self._child.stdout.readline()) for _ in range(self._due)]
        self._due = 0
        return results

    def __exit__(self, *exc):
        self._child.kill()
        self._child.wait()


class _Cut(Exception):
    pass


async def _until(reader, pattern, seen=b""):
    while not (match := re.search(pattern, seen)):
        data = await reader.read(65536)
        if not data:
            raise _Cut("the connection ended")
        seen += data
    return match


async def _log_in(orders, reader, writer):
    stream = (f"<?xml version='1.0'?><stream:stream to='{orders['host']}' version='1.0' xmlns='jabber:client' "
              "xmlns:stream='http://etherx.jabber.org/streams'>").encode()
    secret = base64.b64encode(f"\0{orders['user']}\0{orders['password']}".encode())
    writer.write(stream)
    await _until(reader, rb"</stream:features>")
    writer.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + secret + b"</auth>")
    await _until(reader, rb"<success")
    writer.write(stream)
    await _until(reader, rb"</stream:features>")
    writer.write(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" +
                 os.urandom(8).hex().encode() + b"</resource></bind></iq>")
    return (await _until(reader, rb"<jid>([^<]*)</jid>"))[1].decode()


async def _arrive(orders, context, source):
    born = time.monotonic()
    result = {"born": born, "jid": None, "peer": None}
    writer = None
    try:
        six = ":" in source
        reader, writer = await asyncio.wait_for(asyncio.open_connection(
            orders["servers"][six], orders["port"], local_addr=(source, 0)), PATIENCE)
        host, port = writer.get_extra_info("sockname")[:2]
        result["peer"] = f"[{host}]:{port}" if six else f"{host}:{port}"
        await asyncio.wait_for(writer.start_tls(context, server_hostname=orders["host"]), PATIENCE)
        result["jid"] = await asyncio.wait_for(_log_in(orders, reader, writer), PATIENCE)
        result["outcome"] = "in"
    except asyncio.TimeoutError:
        result["outcome"] = "stuck"
    except (OSError, _Cut, EOFError) as e:
        result["outcome"], result["error"] = "cut", f"{type(e).__name__}: {e}"
    result["took"] = time.monotonic() - born
    print(json.dumps(result), flush=True)
    if writer:
        writer.transport.abort()


async def _main():
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    orders = json.loads(await stdin.readline())
    context = ssl.create_default_context(cafile=orders["authority"])
    context.set_alpn_protocols(["xmpp-client"])
    sources = itertools.cycle(orders["sources"])
    tasks = set()
    while line := await stdin.readline():
        count, rate = json.loads(line)
        start = time.monotonic()
        for n in range(count):
            await asyncio.sleep(max(0, start + n / rate - time.monotonic()))
            task = asyncio.create_task(_arrive(orders, context, next(sources)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(_main())
