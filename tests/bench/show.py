"""Tables, and ratios beside the goals."""

import statistics

from rows import HANDED

QUIET = 0.93  # of a CPU


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
    noisy = sum(r.get("busy", 1) < QUIET for r in runs)
    if options.layout == "one" and noisy:
        print(f"\nThe host was not quiet: in {noisy} of {len(runs)} runs this benchmark had less than {QUIET:.0%} of its CPU.")
