"""The results as plots: messages/s and CPU time per message by size, a panel for each number and kind of sessions."""
import subprocess

from .machine import find

_COLOURS = {"direct": "#7f7f7f", "haproxy": "#1f77b4", "clamsmtpd": "#d62728", "bivalve": "#2ca02c"}
_MARKS = {"direct": 4, "haproxy": 6, "clamsmtpd": 8, "bivalve": 7}
# The plots that can be drawn: name, figure, label of the axis.
_FIGURES = {"throughput": ("messages_per_second", "messages per second"),
            "cpu": ("target_cpu_us_per_message", "CPU time of the target per message, µs")}


def draw(cells, directory, prefix, names=tuple(_FIGURES)):
    """Writes PREFIX-NAME.svg for each of the names. Returns the errors, as sentences."""
    gnuplot = find("gnuplot")
    if gnuplot is None:
        return ["no plots: gnuplot is not installed (Debian: gnuplot-nox)"]
    problems = []
    for name in names:
        script = _script(cells, *_FIGURES[name], directory / f"{prefix}-{name}.svg")
        run = subprocess.run([gnuplot], input=script.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             check=False)
        if run.returncode != 0:
            problems.append(f"gnuplot: {run.stdout.decode(errors='replace').strip()}")
    return problems


def _script(cells, figure, axis, path):
    kinds = sorted({(not entry["kept"], entry["sessions"]) for entry in cells})
    columns = max(sum(1 for new, _ in kinds if new == row) for row in (True, False))
    rows = len({new for new, _ in kinds})
    sizes = sorted({entry["size_bytes"] for entry in cells})
    lows, highs = [], []
    panels = []
    for new, sessions in kinds:
        plots, data = [], []
        here = [e for e in cells if e["sessions"] == sessions and e["kept"] is not new]
        for label in dict.fromkeys(name for entry in here for name in entry["targets"]):
            points = [(e["size_bytes"], e["targets"][label]["figures"][figure]) for e in here
                      if label in e["targets"] and figure in e["targets"][label]["figures"]]
            if not points:
                continue
            lows += [found["min"] for _, found in points]
            highs += [found["max"] for _, found in points]
            block = f"$data{len(panels)}_{len(plots)}"
            data.append(f"{block} << EOD\n" + "".join(
                f"{size} {found['median']} {found['min']} {found['max']}\n" for size, found in points) + "EOD\n")
            base = label.partition("@")[0]
            colour, mark = _COLOURS.get(base, "#9467bd"), _MARKS.get(base, 2)
            style = f'lc rgb "{colour}" pt {mark} lw 1.6 dt {2 if "@" in label else 1}'
            plots.append(f"{block} using 1:2:3:4 with yerrorbars {style} ps 0 notitle")
            plots.append(f'{block} using 1:2 with linespoints {style} title "{label}"')
        title = f"{sessions} session{'s' if sessions > 1 else ''}, {'a new one for each message' if new else 'kept'}"
        panels.append((new, title, data, plots))
    marks = ", ".join(f'"{_short(size)}" {size}' for size in sizes)
    width, height = 110 + 330 * columns, 110 + 300 * rows
    background = 'background rgb "white"'
    lines = [f'set terminal svg size {width},{height} noenhanced {background} font "sans,11"',
             f'set output "{path}"', "set encoding utf8"]
    for _, _, data, _ in panels:
        lines += data
    lines += [f"set multiplot layout {rows},{columns} rowsfirst", "set logscale xy", "set grid lc rgb '#dddddd'",
              f"set xtics ({marks})", "set format y '%g'", 'set xlabel "message"', f'set ylabel "{axis}"',
              "set key top right samplen 1.5 spacing 0.9 opaque", "set pointsize 1"]
    if lows:
        lines.append(f"set yrange [{min(lows) / 1.5}:{max(highs) * 4}]")
    lines.append(f"set xrange [{sizes[0] / 1.8}:{sizes[-1] * 1.8}]")
    row = None
    in_row = 0
    for new, title, _, plots in panels:
        if row is not None and new != row:
            lines += ["set multiplot next"] * ((columns - in_row % columns) % columns)
            in_row = 0
        row = new
        in_row += 1
        lines.append(f'set title "{title}"')
        lines.append("plot " + ", ".join(plots) if plots else "set multiplot next")
    return "\n".join([*lines, "unset multiplot", ""])


def _short(size):
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB" if size >= 1 << 10 else f"{size} B"
