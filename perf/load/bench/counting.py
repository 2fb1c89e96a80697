"""Counts per message that do not depend on how fast the machine is: system calls, ring operations, instructions."""
import os
import re
import signal
import tempfile
import time
from pathlib import Path

from . import load
from .machine import Missing, find
from harness import Process, run_program, tool

INSTRUCTIONS = "instructions outside the kernel"
SESSION_INSTRUCTIONS = "instructions of a simulated session"
# The events that perf counts, and our names for them: the kernel's tracepoints, and the processor's own counter, which few
# virtual machines have.
EVENTS = {
    "raw_syscalls:sys_enter": "system calls",
    "syscalls:sys_enter_io_uring_enter": "enters of the ring",
    "io_uring:io_uring_submit_req": "ring operations",
    "io_uring:io_uring_complete": "ring completions",
    "io_uring:io_uring_queue_async_work": "hand-offs to io-wq",
    "io_uring:io_uring_poll_arm": "ring polls armed",
    "context-switches": "context switches",
    "instructions:u": INSTRUCTIONS,
}
_SECONDS = 60
# callgrind counts while one of these functions runs, and stops while one runs inside it that switches counting again: it
# counts the loop and the completions, and not the simulated kernel.
_TOGGLES = ("bivalve::core::Loop::Turn*", "*::OnComplete(bivalve::core::IoResult)", *(
    f"bivalve::sim::SimIo::{name}(*" for name in
    ("Wait", "DoSubmit", "DoCancel", "OpenSocket", "Shutdown", "ShutdownOutput", "Close", "Buffer", "ReturnBuffer")))


def traced(target, cell, messages):
    """Counts of tracepoints per message of a started target. If perf cannot count here: the reason as text."""
    if find("perf") is None:
        return "perf is not installed (Debian: linux-perf)"
    load.send(target.port, cell, max(cell.sessions, messages // 10), _SECONDS)
    with tempfile.NamedTemporaryFile("r", prefix="counts.") as output:
        before = [find("perf"), "stat", "-x", ";", "-o", output.name, "-p", str(target.pid)]
        for event in EVENTS:
            before += ["-e", event]
        try:
            load.send(target.port, cell, messages, _SECONDS, before=[*before, "--"])
        except load.LoadFailed as failure:
            return str(failure)
        found = {}
        for line in output.read().splitlines():
            fields = line.split(";")
            if len(fields) > 2 and fields[2] in EVENTS and fields[0].isdigit():
                found[EVENTS[fields[2]]] = int(fields[0]) / messages
    if found.get("ring operations") == 0:
        # A program that has no ring.
        for name in [name for name in found if "ring" in name or "io-wq" in name]:
            del found[name]
    return found or "perf counts no tracepoints here"


def system_calls(target, cell, messages):
    """System calls per message by name, from strace. It slows the target, which may change how much is batched."""
    if find("strace") is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory(prefix="counts.") as directory:
        output = Path(directory) / "calls"
        strace = Process("strace", [find("strace"), "-f", "-c", "-U", "calls,name", "-o", output, "-p", str(target.pid)])
        try:
            strace.wait_line("attached", timeout=10)
            time.sleep(0.2)
            load.send(target.port, cell, messages, _SECONDS)
            time.sleep(0.1)
        except (AssertionError, load.LoadFailed) as failure:
            strace.kill()
            return str(failure)
        strace.signal(signal.SIGINT)
        strace.wait()
        found = {}
        for line in output.read_text().splitlines():
            if (match := re.match(r"\s*(\d+)\s+(\w+)$", line)) and match.group(2) != "total":
                found[match.group(2)] = int(match.group(1)) / messages
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _per_message(counts, run):
    """What a longer run takes more than a shorter one, divided by the messages; run(count, output) runs under callgrind.

    If run() returns a text, returns that text.
    """
    totals = []
    with tempfile.TemporaryDirectory(prefix="counts.") as directory:
        for count in counts:
            output = Path(directory) / f"callgrind.{count}"
            if problem := run(count, output):
                return problem
            match = re.search(r"^(?:summary|totals): (\d+)", output.read_text() if output.exists() else "", re.M)
            if not match:
                return "callgrind has written no total"
            totals.append(int(match.group(1)))
    return (totals[1] - totals[0]) / (counts[1] - counts[0])


def instructions(make_target, cell, messages):
    """User instructions per message of a whole program under callgrind.

    make_target(words) makes the target with those words before its command line. Not for bivalved: Valgrind 3.19 runs
    one thread at a time and lets no other run while one waits in io_uring_enter.
    """
    if find("valgrind") is None:
        return "valgrind is not installed"

    def run(count, output):
        target = make_target([find("valgrind"), "--tool=callgrind", f"--callgrind-out-file={output}", "-q"])
        try:
            target.start()
            load.send(target.port, cell, count, _SECONDS)
            time.sleep(0.2)
            os.kill(target.pid, signal.SIGTERM)
            target.wait_end()
        except (AssertionError, OSError, Missing, load.LoadFailed) as failure:
            return f"it does not run under callgrind: {str(failure).strip().splitlines()[0]}"
        finally:
            target.stop()
        return None
    return _per_message((messages, 3 * messages), run)


def session_instructions(cell):
    """User instructions per message in Bivalve's session and scanner pool, over simulated IO (perf/appliance)."""
    if find("valgrind") is None:
        return "valgrind is not installed"
    program = tool("session_instructions")
    if program is None:
        return "session_instructions has not been built"

    def run(count, output):
        done = run_program([find("valgrind"), "--tool=callgrind", "-q", f"--callgrind-out-file={output}",
                            *(f"--toggle-collect={name}" for name in _TOGGLES),
                            program, count, cell.bytes, "kept" if cell.kept else "new"], timeout=_SECONDS)
        return None if done.returncode == 0 else done.stdout.decode(errors="replace").strip() or "it failed"
    messages = max(4, min(50, (8 << 20) // cell.bytes))
    return _per_message((messages, 3 * messages), run)


def worker_threads(target):
    """How many io-wq threads the target has now: io_uring uses them for operations that would have blocked."""
    names = [Path(f"/proc/{target.pid}/task/{t}/comm").read_text() for t in os.listdir(f"/proc/{target.pid}/task")]
    return sum(name.startswith("iou-wrk") for name in names)
