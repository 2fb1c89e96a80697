"""The targets: what Bivalve should reach, measured in one run and judged."""
import os
import statistics

from . import load, machine, report
from .cell import parse_cell
from .feeder import feed, message_of, scan_front
from .idle import idle_connections, sessions_possible
from .measure import Runner, median, ratio, values
from .peers import Bivalve, Clamsmtpd, CpuClock, Direct, HAProxy, Scanners, clamd_threads

_KEPT, _NEW = parse_cell("10k:20:kept"), parse_cell("10k:20:new")
_SMALL, _LARGE = parse_cell("1k:1:kept"), parse_cell("25m:1:kept")
_IDLE = 10000
_SATURATED = 0.9  # clamd must use this share of its threads, or something else is the bottleneck
_FEEDER_SESSIONS = 4  # with four outstanding scans each, as on each of Bivalve's connections

_CPU, _RATE = "target_cpu_us_per_message", "messages_per_second"


class _Verdicts:
    def __init__(self):
        self.rows = []

    def add(self, work, figure, wanted, met, detail=""):
        """met None: it could not be measured."""
        self.rows.append({"work": work, "figure": figure, "wanted": wanted, "met": met, "detail": detail})

    def most(self, work, found, limit, unit="", detail=""):
        self._compare(work, found, limit, "<=", unit, detail)

    def least(self, work, found, limit, unit="", detail=""):
        self._compare(work, found, limit, ">=", unit, detail)

    def _compare(self, work, found, limit, sign, unit, detail):
        if isinstance(found, dict):
            detail = f"{report.number(found['min'])}..{report.number(found['max'])} {detail}".strip()
            found = found["median"]
        met = None if found is None else (found <= limit if sign == "<=" else found >= limit)
        self.add(work, None if found is None else f"{report.number(found)}{unit}", f"{sign} {limit:g}{unit}", met, detail)

    def text(self):
        words = {True: "met", False: "NOT MET", None: "not measured"}
        lines = [f"{'':12}  {'measured':>12}  {'wanted':>10}  work"]
        for row in self.rows:
            lines.append(f"{words[row['met']]:12}  {row['figure'] or '-':>12}  {row['wanted']:>10}  {row['work']}"
                         + (f" ({row['detail']})" if row["detail"] else ""))
        return "\n".join(lines)


def _saturated(arguments, place, sink, say):
    """Scans a second of a clamd that is fed directly, and messages a second through Bivalve, in turns.

    Bivalve has as many connections as the feeder has sessions, and then the default of two.
    """
    scanners = Scanners("clamd", place, clamd_threads())
    try:
        runner = Runner(sink, seconds=arguments.seconds * 2, seed=arguments.seed, latency=False, say=say)
        target, default = (Bivalve(place, sink, scanners, arguments.workers, level=arguments.log, settings=settings)
                           for settings in ({"ClamConnections": _FEEDER_SESSIONS}, None))
        clamd = scanners.for_bivalve()
        content = scan_front() + message_of(_KEPT, load.send)
        clock = CpuClock(clamd.process.pid)
        rounds = []
        for number in range(arguments.rounds):
            if number == 0:
                for each in (target, default):
                    runner.calibrate(each, _KEPT)
                feed(clamd.address, content, 0.3, sessions=_FEEDER_SESSIONS)
            before = clock.read()
            fed = feed(clamd.address, content, arguments.seconds * 2, sessions=_FEEDER_SESSIONS)
            busy = (clock.read() - before) / 1e9 / fed.seconds
            if fed.not_clean:
                raise OSError(f"{fed.not_clean} of {fed.scans} direct scans were not clean")
            through = runner.measure(target, _KEPT)
            by_default = runner.measure(default, _KEPT)
            rounds.append({
                "scans_per_second": fed.scans / fed.seconds, "clamd_busy_fed": busy,
                "messages_per_second": through.get(_RATE),
                "messages_per_second_by_default": by_default.get(_RATE),
                "clamd_busy_filter": through.get("scanner_cpu_us_per_message", 0) * through.get(_RATE, 0) / 1e6,
                "error": through.get("error") or by_default.get("error")})
            say(f"  round {number + 1}/{arguments.rounds}  clamd fed {rounds[-1]['scans_per_second']:.0f} scans/s, "
                f"{busy:.2f} CPUs; through bivalve {through.get(_RATE) or 0:.0f} messages/s, "
                f"{rounds[-1]['clamd_busy_filter']:.2f} CPUs")
        return rounds
    finally:
        scanners.close()


def check(arguments, place, sink, say=print):
    """Measures all targets. Returns the rows of the verdicts, the text and the measurements."""
    workers = arguments.workers
    scanners = Scanners("null", place, clamd_threads())
    try:
        bivalve, two = (Bivalve(place, sink, scanners, n, level=arguments.log) for n in (workers, 2 * workers))
        haproxy, direct = HAProxy(place, sink, workers), Direct(sink)
        clamsmtpd = Clamsmtpd(place, sink, scanners)
        peers = {_KEPT: [haproxy, clamsmtpd, bivalve, two], _NEW: [haproxy, bivalve],
                 _SMALL: [direct, haproxy, clamsmtpd, bivalve], _LARGE: [haproxy, bivalve]}
        missing = {name for name in ("haproxy", "clamsmtpd") if machine.find(machine.PEERS[name][0]) is None}
        peers = {cell: [t for t in targets if t.name not in missing] for cell, targets in peers.items()}
        runner = Runner(sink, seconds=arguments.seconds, seed=arguments.seed, latency=not arguments.no_latency, say=say)
        results = runner.rounds(list(peers), peers.__getitem__, arguments.rounds)
        idle = _idle(bivalve, say)
    finally:
        scanners.close()
    verdicts = _Verdicts()

    def compared(cell, other, figure, label=None):
        of, against = results[cell].get(label or bivalve.label), results[cell].get(other)
        return ratio(of, against, figure) if of and against else None

    verdicts.most("CPU per message, 10 kB, 20 sessions kept, against HAProxy", compared(_KEPT, "haproxy", _CPU), 1.0)
    verdicts.most("CPU per message, 10 kB, 20 sessions kept, against clamsmtpd", compared(_KEPT, "clamsmtpd", _CPU), 1 / 8)
    verdicts.most("CPU per message, 10 kB, a new session each, against HAProxy", compared(_NEW, "haproxy", _CPU), 1.0)
    verdicts.least("messages/s, one session, 1 kB, against no proxy", compared(_SMALL, "direct", _RATE), 0.5)
    verdicts.least("messages/s, one session, 1 kB, against clamsmtpd", compared(_SMALL, "clamsmtpd", _RATE), 50)
    verdicts.most("CPU per byte, 25 MB, against HAProxy", compared(_LARGE, "haproxy", _CPU), 1.3)
    saturated = []
    if machine.find("clamd"):
        saturated = _saturated(arguments, place, sink, say)
        ratios = [r["messages_per_second"] / r["scans_per_second"] for r in saturated if r["messages_per_second"]]
        found = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)} if ratios else None
        fed_busy = median([r["clamd_busy_fed"] for r in saturated])
        by_default = [r["messages_per_second_by_default"] / r["scans_per_second"] for r in saturated
                      if r["messages_per_second_by_default"]]
        detail = (f"with ClamConnections {_FEEDER_SESSIONS}, as many as the feeder has; "
                  f"{report.number(median(by_default))} with the default; "
                  f"clamd has {clamd_threads()} scanning threads of {os.cpu_count()} CPUs and uses {fed_busy:.2f} CPUs "
                  "when fed")
        if fed_busy < _SATURATED * clamd_threads():
            verdicts.add("messages/s with clamd saturated, 10 kB", None, ">= 0.97", None,
                         f"{detail}: it is not saturated; {report.number(median(ratios))} would be the ratio")
        else:
            verdicts.least("messages/s with clamd saturated, 10 kB, against feeding it directly", found, 0.97, detail=detail)
    else:
        verdicts.add("messages/s with clamd saturated, 10 kB", None, ">= 0.97", None, "clamd is not installed")
    _added_time(verdicts, results[_SMALL], bivalve, haproxy)
    if "error" in idle:
        verdicts.add(f"memory of an idle connection, {idle['connections']} of them", None, "<= 6 kB", None, idle["error"])
    else:
        verdicts.most(f"memory of an idle connection, all of the process, {idle['connections']} of them",
                      idle["whole_process_bytes_each"] / 1000, 6, " kB",
                      f"{idle['bytes_each'] / 1000:.2f} kB without what the process has before"
                      + ("" if idle["connections"] == _IDLE else "; the descriptor limit allows no more connections"))
    verdicts.most(f"CPU per message with {two.workers} workers, against {workers}",
                  compared(_KEPT, bivalve.label, _CPU, two.label), 1.05)
    return {"verdicts": verdicts.rows, "text": verdicts.text(), "cells": report.figures(results), "saturated": saturated,
            "idle": idle}


def _added_time(verdicts, rounds_of, bivalve, haproxy):
    """How much more Bivalve adds to the time of a message than HAProxy; the time without any proxy cancels out."""
    work = "time per message (p50, one session, 1 kB) beyond HAProxy's"
    differences = {}
    for name in ("time_us.p50", "mean"):
        both = []
        for target in (bivalve, haproxy):
            rounds = rounds_of.get(target.label, [])
            both.append(values(rounds, name) if name != "mean" else
                        [1e6 / rate if rate else None for rate in values(rounds, _RATE)])
        differences[name] = [a - b for a, b in zip(*both) if a is not None and b is not None]
    exact = differences["time_us.p50"]
    found = exact or differences["mean"]
    spread = {"median": median(found), "min": min(found), "max": max(found)} if found else None
    verdicts.most(work, spread, 150, " us", "" if exact else "the mean, as smtp-source shows it: smtp_source is not built")


def _idle(target, say):
    descriptors = machine.raise_descriptor_limit()
    count = min(_IDLE, sessions_possible(descriptors))
    result = {"connections": count}
    try:
        target.start()
        try:
            load.send(target.port, _KEPT, 200, 30)
            result = idle_connections(target, count)
        finally:
            target.stop()
    except (OSError, load.LoadFailed) as failure:
        result["error"] = str(failure)
    say(f"  {count} idle connections: " + (result.get("error") or f"{result['bytes_each']:.0f} bytes each, "
                                           f"{result['whole_process_bytes_each']:.0f} with all of the process"))
    return result
