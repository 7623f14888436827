#!/usr/bin/python3
"""Measures the shim against HAProxy and against no proxy at all. See README.md beside this file.

Nothing is asserted: the table shows what was measured beside the goal.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rows import IDLE_COUNTS, IDLE_GOAL_BASE, IDLE_GOAL_EACH, IDLE_VARIANTS, ROWS, SHIM, HANDED, HAPROXY, HAPROXY_XMPP
from rows import HAPROXY_SPLICE
from world import HERE, LISTEN, LOAD, SHIM as SHIM_PROGRAM, World, favoured, raise_limit

WARM_UP = 0.2  # s
SETTLE = 0.03  # s, until nobody has anything left to do
STRACE_COUNT = 500
QUIET = 0.93  # of a CPU


def quantities(result, cpu, cpu_all):
    """What a table can show, from a client's result and from CPU times in ns."""
    done, sent = max(result["done"], 1), result["bytes"]
    return {
        "rate": result["per_s"],
        "rate_by_cpu": done / (cpu_all / 1e9),
        "mb_s": sent / result["wall_s"] / 1e6,
        "cpu_us": cpu / 1e3 / done,
        "cpu_s_gb": cpu / 1e9 / (sent / 1e9),
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "p999_us": result["p999_us"],
        "errors": result["errors"],
        "load_us": (cpu_all - cpu) / 1e3 / done,
        "busy": cpu_all / 1e9 / result["wall_s"],
        "done": done,
    }


def measure(options, row, variant, idle=0):
    """One run of one variant: fresh processes in a fresh namespace."""
    with World(options, row.congestion_control) as world:
        world.set_up(variant, row.script())
        proxy = world.proxy
        fds = proxy.fds() if proxy else 0
        if idle:
            opened = world.start_client(LISTEN, variant.alpn, row.script(), idle).hear()
            if opened["done"] != idle:
                raise RuntimeError(f"only {opened['done']} of {idle} idle connections")
        client = world.start_client(LISTEN, variant.alpn, row.script(), row.conns)
        if row.mode not in ("connect", "visit"):
            client.hear()
        client.say(f"seconds {WARM_UP}")
        client.hear()
        time.sleep(SETTLE)
        held = proxy.fds() - fds if proxy else 0

        before, before_all = proxy.schedstat() if proxy else (0, 0), world.cpu_ns()
        client.say(f"seconds {options.seconds}")
        result = client.hear()
        time.sleep(SETTLE)
        after, after_all = proxy.schedstat() if proxy else (0, 0), world.cpu_ns()
        if row.mode == "upload":  # the client counts what it receives
            result["bytes"] = result["done"] * (row.bytes or 16 << 20)
        return {**quantities(result, after[0] - before[0], after_all - before_all),
                "slices": (after[1] - before[1]) / max(result["done"], 1), "fds_held": held}


def run_row(options, row):
    """Rounds of all variants in turn: {variant: [quantities, ...]}."""
    runs = {variant.name: [] for variant in row.variants}
    for _ in range(options.rounds):
        for i, variant in enumerate(row.variants):
            runs[variant.name].append(measure(options, row, variant, row.idle[i] if row.idle else 0))
    return runs


def ratios(runs, ratio, quantity=None):
    """a/b of each round."""
    quantity = quantity or ratio.quantity
    pairs = zip(runs[ratio.a], runs[ratio.b])
    return [a[quantity] / b[quantity] for a, b in pairs if b[quantity]]


def median(values):
    return statistics.median(values) if values else float("nan")


def verdict(value, goal, better):
    if goal is None:
        return ""
    return "ok" if (value >= goal if better == "more" else value <= goal) else "-"


def show_row(row, runs, log):
    """Prints what was measured, then ratios beside their goals; returns the latter."""
    bulk = row.mode in ("bulk", "upload")
    print(f"\n{row.name}: {row.title}")
    unit = f"{'MB/s':>9} {'CPU s/GB':>9}" if bulk else f"{'per s':>9} {'CPU us':>9}"
    print(f"  {'':<20} {unit} {'p50 us':>9} {'p99 us':>9} {'p99.9 us':>9} {'busy':>5} {'slices':>6} {'errors':>6}")
    for name, list_ in runs.items():
        mid = {q: median([r[q] for r in list_]) for q in list_[0]}
        main = f"{mid['mb_s']:9.0f} {mid['cpu_s_gb']:9.4f}" if bulk else f"{mid['rate']:9.0f} {mid['cpu_us']:9.2f}"
        print(f"  {name:<20} {main} {mid['p50_us']:9.0f} {mid['p99_us']:9.0f} {mid['p999_us']:9.0f} "
              f"{mid['busy']:5.2f} {mid['slices']:6.2f} {sum(r['errors'] for r in list_):6}")
    lines = []
    for ratio in row.ratios:
        values = ratios(runs, ratio)
        by_cpu, alone = [], []
        if ratio.quantity in ("rate", "mb_s"):
            by_cpu = ratios(runs, ratio, "rate_by_cpu")
            alone = [1 / x for x in ratios(runs, ratio, "cpu_us") if x]
        lines.append({"row": row.name, "text": ratio.text, "goal": ratio.goal, "better": ratio.better,
                      "median": median(values), "min": min(values), "max": max(values),
                      "by_cpu": median(by_cpu) if by_cpu else None, "alone": median(alone) if alone else None})
    if row.name.startswith("adopted"):
        handed = runs[HANDED.name]
        lines.append({"row": row.name, "text": "CPU us in the shim, for all of it", "goal": 0, "better": "less",
                      **spread([r["cpu_us"] * r["done"] for r in handed])})
        lines.append({"row": row.name, "text": "descriptors in the shim", "goal": 0, "better": "less",
                      **spread([r["fds_held"] for r in handed])})
    for line in lines:
        show_line(line)
    log["ratios"] += lines
    log["runs"][row.name] = runs


def spread(values):
    return {"median": median(values), "min": min(values), "max": max(values), "by_cpu": None, "alone": None}


def number(value):
    if value is None or value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"


def show_line(line):
    goal = "" if line["goal"] is None else (">= " if line["better"] == "more" else "<= ") + f"{line['goal']:g}"
    print(f"    {line['text']:<48} {goal:>10} {number(line['median']):>9}"
          f"  {number(line['min'])}..{number(line['max'])}"
          f"{'  by CPU ' + number(line['by_cpu']) if line['by_cpu'] else ''}"
          f"{'  alone ' + number(line['alone']) if line['alone'] else ''}"
          f"  {verdict(line['median'], line['goal'], line['better'])}")


def kernel_bytes():
    """What the kernel has in slabs, of the whole host: noisy, unless much is added."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["SUnreclaim"].split()[0]) * 1024


def measure_idle(options, variant):
    """Memory with more and more idle connections: {connections: (bytes of the process, kernel bytes)}."""
    with World(options) as world:
        script = ["--mode", "pingpong"]
        world.set_up(variant, script)
        time.sleep(0.2)
        sizes = {0: (world.proxy.private_bytes(), kernel_bytes())}
        opened, rates = 0, []
        for count in IDLE_COUNTS:
            result = world.start_client(LISTEN, "web", script, count - opened).hear()
            if result["errors"]:
                raise RuntimeError(f"{variant.name}: {result['errors']} idle connections failed")
            opened = count
            rates.append(result["per_s"])
            time.sleep(0.2)
            sizes[count] = (world.proxy.private_bytes(), kernel_bytes())
        return {"sizes": sizes, "open_per_s": rates}


def run_idle(options, log):
    print("\nidle: memory for each idle relayed connection, bytes of the process alone")
    print(f"  {'':<20} {'before':>11}" + "".join(f" {n:>8}" for n in IDLE_COUNTS) +
          f" {'kernel*':>8}   opened/s")
    for variant in IDLE_VARIANTS:
        if variant.proxy == "nginx" and not Path("/usr/lib/nginx/modules/ngx_stream_module.so").exists():
            print(f"  {variant.name:<20} needs libnginx-mod-stream")
            continue
        result = measure_idle(options, variant)
        sizes = result["sizes"]
        base, kernel = sizes[0]
        each = [(sizes[n][0] - base) / n for n in IDLE_COUNTS]
        most = IDLE_COUNTS[-1]
        print(f"  {variant.name:<20} {base:11}" + "".join(f" {e:8.0f}" for e in each) +
              f" {(sizes[most][1] - kernel) / most:8.0f}   " + " ".join(f"{r:.0f}" for r in result["open_per_s"]))
        log["runs"].setdefault("idle", {})[variant.name] = result
        if variant == SHIM:
            lines = [{"row": "idle", "text": f"bytes for each of {most}", "goal": IDLE_GOAL_EACH, "better": "less",
                      **spread([each[-1]])},
                     {"row": "idle", "text": "bytes before the first one", "goal": IDLE_GOAL_BASE, "better": "less",
                      **spread([base])}]
    print("  * slabs of the whole host: all four sockets of a relayed connection, and whatever else went on")
    for line in lines:
        show_line(line)
    log["ratios"] += lines


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


def show_summary(log):
    print(f"\n{'':<16} {'':<48} {'goal':>10} {'measured':>9}")
    for line in log["ratios"]:
        if line["goal"] is not None:
            goal = (">= " if line["better"] == "more" else "<= ") + f"{line['goal']:g}"
            print(f"{line['row']:<16} {line['text']:<48} {goal:>10} {number(line['median']):>9}  "
                  f"{verdict(line['median'], line['goal'], line['better'])}")


def show_noise(options, log):
    """With one CPU for everything somebody always has work to do; if it was not done, another process had the CPU."""
    runs = [r for rows in log["runs"].values() for list_ in rows.values() if isinstance(list_, list) for r in list_]
    noisy = sum(r["busy"] < QUIET for r in runs)
    if options.layout == "one" and noisy:
        print(f"\nThe host was not quiet: in {noisy} of {len(runs)} runs this benchmark had less than {QUIET:.0%} of its CPU.")


def parse_arguments():
    names = [row.name for row in ROWS] + ["idle"]
    p = argparse.ArgumentParser(description="Measures the shim. Needs root and HAProxy.")
    p.add_argument("--rows", help="only these, separated by commas: " + ", ".join(names + ["syscalls"]))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of each run (%(default)s)")
    p.add_argument("--json", metavar="FILE", help="write everything that was measured here")
    p.add_argument("--layout", choices=("one", "two"), default="one",
                   help="one CPU for everything (the default), or one for the proxy and one for the load")
    p.add_argument("--cpu", type=int, default=0, help="the first CPU (%(default)s)")
    p.add_argument("--nice", type=int, default=0, help="of the whole session, such as -10 on a busy host")
    p.add_argument("--policy", choices=("other", "batch", "fifo"), default="batch",
                   help="of the scheduler, for all processes (%(default)s); fifo keeps others off the CPU")
    p.add_argument("--user", default="nobody", help="whom the proxies run as (%(default)s)")
    p.add_argument("--sendfile", action="store_true", help="the backend answers by sendfile(2), uncopied")
    p.add_argument("--shim", default=SHIM_PROGRAM, help="another build of the shim")
    p.add_argument("--shim-log-level", default="notice", metavar="LEVEL", help="%(default)s; info logs each hand-off")
    p.add_argument("--profile", metavar="DIR", help="do not measure; write perf's data for each row and proxy here")
    options = p.parse_args()
    options.proxy_cpu = options.cpu
    options.load_cpu = options.cpu + (options.layout == "two")
    options.rows = options.rows.split(",") if options.rows else names
    unknown = set(options.rows) - set(names) - {"syscalls"}
    if unknown:
        p.error("no such row: " + ", ".join(sorted(unknown)))
    return p, options


def run(options, available, log):
    """All rows that were asked for."""
    for row in ROWS:
        if row.name not in options.rows:
            continue
        if row.congestion_control not in available:
            print(f"\n{row.name}: this kernel has no {row.congestion_control}")
        elif options.profile:
            for variant in row.variants:
                if variant.proxy:
                    profile(options, row, variant, options.profile)
        else:
            show_row(row, run_row(options, row), log)
            sys.stdout.flush()
    if "idle" in options.rows and not options.profile:
        run_idle(options, log)
    if "syscalls" in options.rows:
        count_syscalls(options, log)


def main():
    parser, options = parse_arguments()
    if os.geteuid() != 0:
        parser.error("needs root, for a network namespace")
    if not shutil.which("haproxy"):
        parser.error("needs HAProxy: apt-get install haproxy")
    for program in (LOAD, Path(options.shim)):
        if not program.exists():
            parser.error(f"{program} is missing: make bench builds it")
    raise_limit()
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    log = {"options": {k: str(v) for k, v in vars(options).items()}, "kernel": os.uname().release,
           "time": time.strftime("%Y-%m-%d %H:%M"), "ratios": [], "runs": {}}

    with favoured(options.nice):
        run(options, available, log)
    show_summary(log)
    show_noise(options, log)
    if options.json:
        Path(options.json).write_text(json.dumps(log, indent=1))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
