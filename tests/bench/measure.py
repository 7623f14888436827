"""One row: runs of all its variants in turn, and the quantities that come of them."""

import time

from world import LISTEN, World

WARM_UP = 0.2  # s
SETTLE = 0.03  # s, until nobody has anything left to do


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
            # Short ones would not stay. A client that keeps its connections open gets the same from any server but "connect".
            script = ["--mode", "pingpong"] if row.mode == "visit" else row.script()
            opened = world.start_client(LISTEN, variant.alpn, script, idle).hear()
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
