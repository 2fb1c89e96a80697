"""The results as a table for people and as JSON for the record."""
import datetime
import json

from .measure import ratio, summary, values

FORMAT = 1
FIGURES = {
    "messages_per_second": "messages/s", "target_cpu_us_per_message": "CPU us", "time_us.p50": "p50 us",
    "time_us.p99": "p99 us", "memory.peak": "peak memory",
    "sink_cpu_us_per_message": "CPU of the server", "scanner_cpu_us_per_message": "CPU of the scanner",
}
AGAINST = ("haproxy", "clamsmtpd", "direct", "other")
# A figure from fewer rounds shows that something works, and not how much it takes.
RECORD_ROUNDS = 3


def figures(results):
    """Medians, spreads and ratios of {cell: {label: rounds}}, rounded as in the record, so the table agrees."""
    cells = []
    for cell, targets in results.items():
        entry = {"cell": str(cell), "size_bytes": cell.bytes, "sessions": cell.sessions,
                 "kept": cell.kept, "targets": {}}
        for label, rounds in targets.items():
            found = {name: summary(values(rounds, name)) for name in FIGURES}
            for name in sorted({n for r in rounds for n in r.get("counts_per_message", {})}):
                found[f"count.{name}"] = summary([r.get("counts_per_message", {}).get(name) for r in rounds])
            ratios = {}
            for other in AGAINST:
                # Compared with a target of as many threads, if there is one.
                peer = next((p for p in (f"{other}@{label.partition('@')[2]}", other) if p in targets and p != label), None)
                if peer:
                    of_both = {name: ratio(rounds, targets[peer], name) for name in
                               ("messages_per_second", "target_cpu_us_per_message", "time_us.p50")}
                    ratios[other] = {name: value for name, value in of_both.items() if value}
            entry["targets"][label] = {"figures": {n: v for n, v in found.items() if v}, "ratios": ratios,
                                       "errors": [r["error"] for r in rounds if "error" in r],
                                       "time_errors": [r["time_error"] for r in rounds if "time_error" in r],
                                       "rounds": rounds}
        cells.append(_rounded(entry))
    return cells


def complete(cells):
    """The cells for which every target has enough rounds for a record, and the names of the others."""
    short = [entry for entry in cells
             if any(len(target["rounds"]) < RECORD_ROUNDS for target in entry["targets"].values())]
    return [entry for entry in cells if entry not in short], [entry["cell"] for entry in short]


def record(program, machine_at_start, cells, options, **more):
    return {"format": FORMAT, "generated": f"by perf/load/{program}, not to be edited",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine_at_start, "options": options, "cells": cells, **more}


def write_record(path, content):
    """A line for each entry of a list (for instance for each cell), and one for everything else."""
    blocks = []
    for name, value in content.items():
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join("  " + json.dumps(_rounded(entry)) for entry in value) + "\n ]"
        else:
            text = json.dumps(_rounded(value))
        blocks.append(f" {json.dumps(name)}: {text}")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _rounded(value):
    """Drops meaningless digits: no measurement is exact to more than six."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def read_record(path):
    """Reads a record that write_record has written. ValueError says what is wrong with another file."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no record of perf/load/compare: it has no \"format\" {FORMAT}")
    if not content.get("cells"):
        raise ValueError(f"{path} has no cells to draw")
    return content


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n")


def number(value, digits=3):
    """Three significant digits, and no more than a reader needs."""
    if value is None:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def table(cells):
    """One block for each cell; for each figure the median and, in brackets, the least and the most of the rounds.

    A figure with too few rounds for a record says how many: n=1.
    """
    lines = []
    for entry in cells:
        lines += ["", f"{entry['cell']}  ({entry['size_bytes']:,} bytes, {entry['sessions']} session"
                  f"{'s' if entry['sessions'] > 1 else ''}, {'kept' if entry['kept'] else 'a new one for each message'})"]
        ratios_shown = [(short, figure, other) for short, figure, others in (
            ("rate", "messages_per_second", ("direct", "haproxy", "clamsmtpd", "other")),
            ("CPU", "target_cpu_us_per_message", ("haproxy", "clamsmtpd", "other")))
            for other in others
            if other != "other" or any(label.partition("@")[0] == other for label in entry["targets"])]
        rows = [["", "messages/s", "CPU us/message", "p50 us", "p99 us", "peak MB",
                 *(f"{short}/{other}" for short, _, other in ratios_shown)]]
        for label, target in entry["targets"].items():
            found, ratios = target["figures"], target["ratios"]
            peak = found.get("memory.peak")
            rows.append([
                label, _spread(found.get("messages_per_second")), _spread(found.get("target_cpu_us_per_message")),
                _median(found.get("time_us.p50")), _median(found.get("time_us.p99")),
                number(peak["median"] / 1e6) if peak else "-",
                *(_median(ratios.get(other, {}).get(figure)) for _, figure, other in ratios_shown)])
            for what, errors in (("failed", target["errors"]), ("no times", target["time_errors"])):
                for error in sorted(set(errors)):
                    rows.append([label, f"{what} in {errors.count(error)} rounds: {error}"])
        lines += _aligned(rows)
        for label, target in entry["targets"].items():
            counts = {n.removeprefix("count."): v["median"] for n, v in target["figures"].items() if n.startswith("count.")}
            if counts:
                lines.append(f"  {label}: per message " + ", ".join(f"{n} {number(v)}" for n, v in counts.items()))
    return "\n".join(lines)


def _median(found):
    return number(found["median"]) if found else "-"


def _spread(found):
    if not found:
        return "-"
    text = number(found["median"])
    if found["rounds"] > 1:
        text += f" [{number(found['min'])}..{number(found['max'])}]"
    return text if found["rounds"] >= RECORD_ROUNDS else f"{text} n={found['rounds']}"


def _aligned(rows):
    widths = [max(len(row[i]) for row in rows if len(row) == len(rows[0])) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))]
        lines.append(("  " + "  ".join(cells)).rstrip() if len(row) == len(rows[0]) else f"  {row[0]}  {row[1]}")
    return lines
