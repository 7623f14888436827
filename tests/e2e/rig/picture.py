"""Draws panels of the dashboard from a Prometheus' data, as Grafana would."""

import subprocess

SIZE = 1100, 1000
COLUMNS = 2


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{%s}}" % name, value)
    return form


def draw(path, prometheus, panels, start, end, step=2):
    """panels: [(title, unit, [(expression, legend)])], two in a row."""
    rows = (len(panels) + COLUMNS - 1) // COLUMNS
    script = [f"set terminal pngcairo size {SIZE[0]},{SIZE[1] * rows // 3} font 'DejaVu Sans,9'",
              f"set output '{path}'", f"set multiplot layout {rows},{COLUMNS}",
              "set xlabel 'seconds'", f"set xrange [0:{int(end - start)}]", "set yrange [0:*]", "set grid lc '#dddddd'",
              "set border 3", "set tics nomirror", "set key outside below horizontal samplen 2", "set format y '%.1s%c'"]
    for title, unit, targets in panels:
        lines = []
        for expression, form in targets:
            for labels, points in prometheus.query_range(expression, start, end, step):
                if any(value for _, value in points if value == value):  # a series of nothing but 0 or NaN says nothing
                    lines.append((legend(form, labels), [(t - start, value) for t, value in points if value == value]))
        script.append(f"set title '{title}' font ',11'")
        script.append(f"set ylabel '{unit}'")
        if not lines:
            lines = [("", [(0, 0)])]
        script.append("plot " + ", ".join(f"'-' with lines lw 2 title '{name}'" for name, _ in lines))
        for _, points in lines:
            script += [f"{t:.1f} {value:g}" for t, value in points] + ["e"]
    script.append("unset multiplot")
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True, timeout=120)
