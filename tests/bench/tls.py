"""Real TLS: nginx as the web server, wrk and h2load as clients."""

import re
import subprocess
import time
from dataclasses import dataclass

import proxies
from measure import SETTLE, WARM_UP
from rows import DIRECT, HAPROXY, HAPROXY_UNIX, SHIM, SHIM_UNIX
from show import median, show_line, spread
from world import BACKEND, LISTEN, World, missing, wait_for_listener

VARIANTS = (SHIM, HAPROXY, SHIM_UNIX, HAPROXY_UNIX, DIRECT)
UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class TlsRow:
    name: str
    title: str
    tool: tuple  # its command line but for duration and address
    page: str


TLS_ROWS = (
    TlsRow("tls-new", "HTTPS, a new connection for each 1 KiB, 64 at once (wrk)",
           ("wrk", "-t1", "-c64", "--latency", "-H", "Connection: close"), "1k"),
    TlsRow("tls-h1", "HTTPS, 1 KiB on 64 connections, HTTP/1.1 (wrk)", ("wrk", "-t1", "-c64", "--latency"), "1k"),
    TlsRow("tls-64k", "HTTPS, 64 KiB on 64 connections, HTTP/1.1 (wrk)", ("wrk", "-t1", "-c64", "--latency"), "64k"),
    TlsRow("tls-h2", "HTTPS, 1 KiB, 16 connections of 8 streams each, HTTP/2 (h2load)", ("h2load", "-c16", "-m8"), "1k"),
)


def start_nginx(world, direct):
    """The web server, behind a proxy or in its place. Returns its process."""
    for name, size in (("1k", 1 << 10), ("64k", 1 << 16)):
        (world.proxy_dir / name).write_bytes(bytes(size))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=bench.example", "-keyout", world.proxy_dir / "key.pem", "-out", world.proxy_dir / "cert.pem"],
                   check=True, stderr=subprocess.DEVNULL)
    (world.proxy_dir / "key.pem").chmod(0o644)  # nginx runs as another user
    listen = [f"{LISTEN} ssl http2"] if direct else [
        f"{BACKEND} ssl http2 proxy_protocol", f"unix:{world.proxy_dir}/backend.sock ssl http2 proxy_protocol"]
    conf = proxies.fill("nginx-web.conf", world.proxy_dir, DIR=world.proxy_dir,
                        LISTEN="\n\t\t".join(f"listen {where} backlog=4096;"
                                             for where in listen))
    nginx = world.start(["nginx", "-e", world.proxy_dir / "web.log", "-c", conf], world.options.load_cpu, world.options.user)
    wait_for_listener(LISTEN if direct else BACKEND)
    return nginx


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * UNITS[unit]


def run_tool(world, row, seconds):
    """What one run of a client says: (requests, requests per second, p50, p99), the latter two in us or None."""
    duration = f"-d{max(1, round(seconds))}" if row.tool[0] == "wrk" else f"-D{max(1, round(seconds))}"
    client = world.start([*row.tool, duration, f"https://{LISTEN}/{row.page}"], world.options.load_cpu)
    text = client.popen.communicate(timeout=60)[0].decode()
    if row.tool[0] == "wrk":
        failed = re.search(r"Socket errors:.*|Non-2xx.*", text)
        done, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec:\s+([\d.]+)", text)
        p50, p99 = (microseconds(re.search(rf" {q}%\s+(\S+)", text)[1]) for q in (50, 99))
    else:
        failed = re.search(r"[1-9]\d* (failed|errored|timeout)", text)
        done, rate = re.search(r"(\d+) succeeded", text), re.search(r"([\d.]+) req/s", text)
        p50 = p99 = None
    if failed or not done or not rate:
        raise RuntimeError(f"{row.name}: {failed[0] if failed else text}")
    return int(done[1]), float(rate[1]), p50, p99


def measure(options, row, variant):
    # wrk does not sleep while it waits: with fifo nobody else would run.
    with World(options, policy="batch") as world:
        nginx = start_nginx(world, variant.proxy is None)
        if variant.proxy:
            world.start_proxy(variant.proxy, f"unix:{world.proxy_dir}/backend.sock" if variant.unix else BACKEND)
        run_tool(world, row, WARM_UP)
        time.sleep(SETTLE)
        proxy = world.proxy
        before, before_web = proxy.cpu_ns() if proxy else 0, nginx.cpu_ns()
        done, rate, p50, p99 = run_tool(world, row, options.seconds)
        time.sleep(SETTLE)
        cpu, web = (proxy.cpu_ns() if proxy else 0) - before, nginx.cpu_ns() - before_web
        return {"rate": rate, "cpu_us": cpu / 1e3 / max(done, 1), "web_us": web / 1e3 / max(done, 1), "p50_us": p50,
                "p99_us": p99, "done": done, "errors": 0}


def number(value):
    return f"{value:9.0f}" if value is not None else f"{'-':>9}"


def run_tls(options, row, log):
    """Rounds of all variants in turn, and their table."""
    if absent := missing(("openssl", "nginx", row.tool[0])):
        print(f"\n{row.name}: {', '.join(absent)} not installed")
        return
    runs = {variant.name: [] for variant in VARIANTS}
    for _ in range(options.rounds):
        for variant in VARIANTS:
            runs[variant.name].append(measure(options, row, variant))
    print(f"\n{row.name}: {row.title}")
    print(f"  {'':<20} {'per s':>9} {'CPU us':>9} {'nginx us':>9} {'p50 us':>9} {'p99 us':>9}")
    for name, list_ in runs.items():
        mid = {q: median([r[q] for r in list_]) if list_[0][q] is not None else None for q in list_[0]}
        print(f"  {name:<20} {mid['rate']:9.0f} {mid['cpu_us']:9.2f} {mid['web_us']:9.2f} {number(mid['p50_us'])} {number(mid['p99_us'])}")
    for a, b, quantity, text in (("shim", "haproxy", "cpu_us", "CPU, against HAProxy"),
                                 ("shim", "haproxy", "rate", "requests/s, against HAProxy"),
                                 ("shim", "direct", "rate", "requests/s, against direct"),
                                 ("shim, unix", "haproxy, unix", "cpu_us", "Unix backend: CPU, against HAProxy with one"),
                                 ("shim, unix", "haproxy", "cpu_us", "Unix backend: CPU, against HAProxy on TCP")):
        values = [x[quantity] / y[quantity] for x, y in zip(runs[a], runs[b])]
        line = {"row": row.name, "text": text, "goal": None, "better": "less", **spread(values)}
        show_line(line)
        log["ratios"].append(line)
    log["runs"][row.name] = runs
