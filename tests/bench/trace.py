"""Where a proxy spends its time: system calls by strace, profiles by perf."""

import subprocess
import time
from pathlib import Path

from measure import WARM_UP
from rows import HANDED, HAPROXY, HAPROXY_SPLICE, HAPROXY_XMPP, ROWS, SHIM
from world import LISTEN, World

STRACE_COUNT = 500


def count_syscalls(options, log):
    """By strace: what a proxy calls for one connection."""
    print(f"\nsyscalls for one connection, of {STRACE_COUNT}, one and 64 at once")
    connect, visit = (next(row for row in ROWS if row.name == name) for name in ("connect", "handoff-64"))
    for variant in (SHIM, HAPROXY, HAPROXY_SPLICE, HANDED, HAPROXY_XMPP):
        for conns in (1, 64):
            counts = trace(options, visit if variant.alpn == "xmpp" else connect, variant, conns)
            name = f"{variant.name}, {variant.alpn}, {conns} at once"
            parts = ", ".join(f"{call} {n / STRACE_COUNT:.2f}" for call, n in counts.items() if n > STRACE_COUNT / 50)
            print(f"  {name:<32} {sum(counts.values()) / STRACE_COUNT:6.2f}  {parts}")
            log["runs"].setdefault("syscalls", {})[name] = counts


def trace(options, row, variant, conns):
    with World(options) as world:
        world.set_up(variant, row.script())
        client = world.start_client(LISTEN, variant.alpn, row.script(), conns)
        client.say("count 50")
        client.hear()
        out = world.dir / "strace"
        strace = subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-o", out, "-p", str(world.proxy.pid)],
                                  stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        client.say(f"count {STRACE_COUNT}")
        client.hear()
        time.sleep(0.2)
        strace.send_signal(2)
        strace.wait(10)
        counts = {}
        for line in out.read_text().splitlines():
            fields = line.split()
            if len(fields) == 2 and fields[0].isdigit() and fields[1] != "total":
                counts[fields[1]] = int(fields[0])
        return counts


def profile(options, row, variant, directory):
    """Where a proxy's CPU time goes, by perf; kernel symbols need kernel.kptr_restrict = 0."""
    with World(options, row.congestion_control) as world:
        world.set_up(variant, row.script())
        client = world.start_client(LISTEN, variant.alpn, row.script(), row.conns)
        if row.mode not in ("connect", "visit"):
            client.hear()
        client.say(f"seconds {WARM_UP}")
        client.hear()
        Path(directory).mkdir(parents=True, exist_ok=True)
        data = Path(directory) / f"{row.name}-{variant.name.replace(', ', '-').replace(' ', '-')}.data"
        perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "5000", "-g", "-o", data,
                                 "-p", str(world.proxy.pid)])
        time.sleep(0.5)
        client.say(f"seconds {max(options.seconds, 3)}")
        client.hear()
        perf.send_signal(2)
        perf.wait(30)
        print(data)
