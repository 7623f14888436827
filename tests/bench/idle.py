"""Memory of idle connections."""

import time
from pathlib import Path

from proxies import available
from rows import IDLE_COUNTS, IDLE_GOAL_BASE, IDLE_GOAL_EACH, IDLE_VARIANTS, SHIM
from show import show_line, spread
from world import LISTEN, World


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
        if not available(variant.proxy):
            print(f"  {variant.name:<20} is not installed")
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
