#!/usr/bin/python3
"""Measures the shim against other proxies and against no proxy at all. See README.md beside this file.

Nothing is asserted: the table shows what was measured beside the goal.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from idle import run_idle
from measure import run_row
from proxies import available as available_proxy
from rows import ROWS
from show import show_noise, show_row, show_summary
from tls import TLS_ROWS, run_tls
from trace import count_syscalls, profile
from world import LOAD, SHIM, favoured, raise_limit


def parse_arguments():
    names = [row.name for row in ROWS] + [row.name for row in TLS_ROWS] + ["idle"]
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
    p.add_argument("--shim", default=SHIM, help="another build of the shim")
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
        row = row.without([v for v in row.variants if not available_proxy(v.proxy)])
        if row.congestion_control not in available:
            print(f"\n{row.name}: this kernel has no {row.congestion_control}")
        elif options.profile:
            for variant in row.variants:
                if variant.proxy:
                    profile(options, row, variant, options.profile)
        else:
            show_row(row, run_row(options, row), log)
            sys.stdout.flush()
    for row in TLS_ROWS:
        if row.name in options.rows and not options.profile:
            run_tls(options, row, log)
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
    main()
