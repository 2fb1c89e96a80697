"""The load: Postfix's smtp-source for throughput, and Bivalve's smtp_source for the time of each message."""
import json
import resource
import subprocess
import time
from dataclasses import dataclass

from .machine import find
from harness.process import run_program, tool


class LoadFailed(Exception):
    """The load generator did not finish; the text says why."""


@dataclass(frozen=True)
class Sent:
    seconds: float
    source_cpu_ns: int


def _children_ns():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)


def send(port, cell, messages, limit_seconds, before=()):
    """Sends this many messages with smtp-source. The time is that of the whole run, including its start.

    `before` are words to put before the command line, for a program that observes the run.
    """
    argv = [*before, find("smtp-source"), "-s", str(min(cell.sessions, messages)), "-m", str(messages), "-C", "5",
            *(["-d"] if cell.kept else []), "-l", str(cell.bytes), "-M", "client.example.com",
            "-f", "ada@example.com", "-t", "bob@example.net", f"inet:{port}"]
    cpu, start = _children_ns(), time.monotonic()
    try:
        run = run_program(argv, timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{messages} messages took more than {limit_seconds:.0f} s") from None
    seconds = time.monotonic() - start
    if run.returncode != 0:
        raise LoadFailed(f"smtp-source: {run.stdout.decode('utf-8', 'backslashreplace').strip()[-300:]}")
    return Sent(seconds, _children_ns() - cpu)


def has_own_source():
    return tool("smtp_source") is not None


def times(port, cell, messages, limit_seconds):
    """The time of a message, from MAIL to its final reply, under a load of this many sessions: percentiles in microseconds.

    None if smtp_source is not available.
    """
    if not has_own_source():
        return None
    argv = [tool("smtp_source"), "--sessions", str(min(cell.sessions, messages)), "--messages", str(messages),
            "--size", str(cell.bytes), *(["--keep"] if cell.kept else []), "--threads", "1", "--timeout", "60", "--json",
            str(port)]
    try:
        run = run_program(argv, timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"smtp_source: {messages} messages took more than {limit_seconds:.0f} s") from None
    text = run.stdout.decode("utf-8", "backslashreplace")
    if run.returncode != 0:
        raise LoadFailed(f"smtp_source: {text.strip()[-300:]}")
    report = json.loads(text[text.index("{"):])
    found = {name: report["latency_us"][name] for name in ("p50", "p90", "p99", "max")}
    return found | {f"connect_{name}": report["connect_us"][name] for name in ("p50", "p99")}
