"""One measurement: a newly started target under one cell's load; and rounds of them, in an order drawn from the seed."""
import random
import statistics
import time

from .counting import traced
from .load import LoadFailed, has_own_source, send, times
from .machine import Missing
from .peers import CpuClock, memory

# Cells that hold more than this share of the machine's memory are not measured: they would measure the swap.
MEMORY_SHARE = 8
# Messages on each kept session, at least.
KEPT_MESSAGES = 5
# Cells whose sessions hold more than this are not counted.
COUNTED_BYTES_MAX = 64 << 20
# No measurement may last longer, whatever the target.
RUN_SECONDS_MAX = 60

# The errors of a target that does not start, or does not survive its load.
FAILURES = (LoadFailed, Missing, OSError, AssertionError)


class Runner:
    """Measures targets on cells. `seconds` is how long one measurement should last."""

    def __init__(self, sink, *, seconds, seed, latency=True, minutes=None, say=print):
        self.sink = sink
        self._end = time.monotonic() + minutes * 60 if minutes else None
        self.seconds = seconds
        self.latency = latency and has_own_source()
        self.say = say
        self._random = random.Random(seed)
        self._messages = {}
        self._traced = set()

    def rounds(self, cells, targets_of, count):
        """Measures `count` rounds: in each round every cell once, and on it every target in shuffled order.

        targets_of(cell) is the list of targets. Returns {cell: {label: [one result a round]}}; cells that were not
        reached in the given minutes have fewer results.
        """
        results = {cell: {target.label: [] for target in targets_of(cell)} for cell in cells}
        for cell in cells:
            for target in targets_of(cell):
                self.calibrate(target, cell)
        for number in range(count):
            order = list(cells)
            self._random.shuffle(order)
            for cell in order:
                if self._end and time.monotonic() > self._end:
                    self.say(f"  the time is up in round {number + 1}")
                    return results
                targets = list(targets_of(cell))
                self._random.shuffle(targets)
                for target in targets:
                    result = self.measure(target, cell)
                    result["round"] = number
                    results[cell][target.label].append(result)
                    self.say(f"  round {number + 1}/{count}  {str(cell):16} {target.label:12} " + _short(result))
        return results

    def calibrate(self, target, cell):
        """Finds how many messages make a measurement of the wanted length. Its own runs do not count."""
        key = (target.label, cell)
        if key in self._messages:
            return
        # If connections are lost at the start and tried again after a second, the rest of the run has to be longer.
        seconds = self.seconds * (3 if cell.sessions > target.backlog else 1)
        messages = cell.sessions
        try:
            target.start()
            while True:
                taken = send(target.port, cell, messages, RUN_SECONDS_MAX).seconds
                if taken >= min(0.3, seconds / 3):
                    break
                messages = max(messages * 2, round(messages * min(0.4 / taken, 20)))
            rate = messages / taken
            # Kept sessions should be measured by their messages and not by their greetings; within ten seconds.
            least = min(KEPT_MESSAGES * cell.sessions, round(rate * 10)) if cell.kept else 3
            self._messages[key] = max(cell.sessions, least, round(rate * seconds))
        except FAILURES as failure:
            self.say(f"  {cell} {target.label}: {failure}")
            self._messages[key] = cell.sessions
        finally:
            target.stop()

    def measure(self, target, cell, messages=None):
        """One measurement. A failed target is a result too: {"error": …}."""
        messages = messages or self._messages[(target.label, cell)]
        limit = min(RUN_SECONDS_MAX, 10 * self.seconds + 10)
        complaints = len(target.complaints)
        result = {"messages": messages}
        try:
            target.start()
            # So that connections, pools and code paths are not used for the first time while the clock runs.
            send(target.port, cell, min(cell.sessions, max(1, messages // 4)), limit)
            time.sleep(0.05)
            clocks = {"sink": self.sink.cpu}
            if target.pid is not None:
                clocks["target"] = CpuClock(target.pid)
            if target.scanner is not None:
                clocks["scanner"] = CpuClock(target.scanner.process.pid)
            counts = target.counts()
            before = {name: clock.read() for name, clock in clocks.items()}
            sent = send(target.port, cell, messages, limit)
            time.sleep(0.02)  # until the last sessions have ended
            cpu = {name: clock.read() - before[name] for name, clock in clocks.items()}
            result |= {"seconds": sent.seconds, "messages_per_second": messages / sent.seconds,
                       "source_cpu_us_per_message": sent.source_cpu_ns / 1000 / messages,
                       **{f"{name}_cpu_us_per_message": used / 1000 / messages for name, used in cpu.items()}}
            result["counts_per_message"] = {name: (value - counts.get(name, 0)) / messages
                                            for name, value in target.counts().items()}
            if target.pid is not None:
                result["memory"] = memory(target.pid)
            # A connection that was dropped unnoticed waits for a greeting that never comes; its times say nothing.
            if self.latency and cell.sessions <= target.backlog:
                result |= self._times(target, cell, max(cell.sessions, messages // 3), limit)
            # Counts are the same in every round. They matter little if most of the time is spent on bytes.
            if (target.pid is not None and (target.label, cell) not in self._traced
                    and cell.bytes * cell.sessions <= COUNTED_BYTES_MAX):
                self._traced.add((target.label, cell))
                found = traced(target, cell, max(cell.sessions, messages // 4))
                if isinstance(found, dict):
                    result["counts_per_message"] |= found
        except FAILURES as failure:
            result["error"] = str(failure)
        finally:
            target.stop()
        if target.complaints[complaints:]:
            result["complaint"] = target.complaints[-1]
            self.say(f"  {cell} {target.label} did not end well: {target.complaints[-1]}")
        return result

    @staticmethod
    def _times(target, cell, messages, limit):
        try:
            return {"time_us": times(target.port, cell, messages, limit)}
        except LoadFailed as failure:
            return {"time_error": str(failure)}


def _short(result):
    if "error" in result:
        return f"failed: {result['error']}"
    text = f"{result['messages_per_second']:9.1f} messages/s"
    if "target_cpu_us_per_message" in result:
        text += f" {result['target_cpu_us_per_message']:10.1f} us CPU"
    return text


def values(results, name):
    """The figure of each round that has it; `name` may contain a dot: memory.peak."""
    found = []
    for result in results:
        value = result
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found.append(value)
    return found


def median(numbers):
    numbers = [n for n in numbers if n is not None]
    return statistics.median(numbers) if numbers else None


def summary(numbers):
    """Median and spread (least, most) of the rounds; None if no round has the figure."""
    numbers = [n for n in numbers if n is not None]
    if not numbers:
        return None
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers), "rounds": len(numbers)}


def ratio(results, others, name):
    """A figure of one target divided by another's: by round, then summarised, so that a slow round cancels out."""
    pairs = zip(values(results, name), values(others, name))
    return summary([a / b for a, b in pairs if a is not None and b])


def fits(cell, memory_bytes):
    """Whether the machine has enough memory for everything that the cell's sessions may hold at once."""
    return cell.bytes * cell.sessions <= memory_bytes // MEMORY_SHARE
