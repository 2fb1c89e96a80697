#!/usr/bin/env python3
"""Normal mail beside hostile clients: dribblers, idle connections, resets and garbage on both ports, at once.

    BIVALVE_BIN=build/release/bin tests/scenario/test_hostile_load.py

runs all of it: 64 dribbling clients, 2,000 idle ones, at least 300 that connect and reset during each measurement, garbage
on both ports. Normal mail beside them takes at most 1.3 times as long as without them, measured in one run.
A measurement is 3,000 messages, two or three seconds: half a second would say more about the machine than about the filter.
The server is smtp_sink, whose time does not depend on idle sessions: Postfix's smtp-sink takes 2.4 times as much CPU time
for a message if it has 2,000 of them.
In the suite (tests/scenario/run) it is a small round without a figure.
"""
import os
import statistics
import sys
import time

from harness import SLOW, ScenarioCase, free_port, main, run_program, tool

SOURCE = "/usr/sbin/smtp-source"
WHOLE = os.environ.get("BIVALVE_HOSTILE") == "whole"


class HostileLoad(ScenarioCase):
    alone = True
    bivalve_only = True
    class_timeout = 600

    DRIBBLERS, IDLE, RESETS, GARBAGE = (64, 2000, 300, 4) if WHOLE else (8, 100, 40, 2)
    MESSAGES = 3000 if WHOLE else 100
    ROUNDS = 5 if WHOLE else 1

    def mail(self, daemon):
        """Sends normal mail and returns how many seconds it took."""
        began = time.monotonic()
        source = run_program([SOURCE, "-s", "4", "-m", str(self.MESSAGES), "-l", "10000", "-f", "ada@example.com", "-t",
                              "bob@example.net", f"inet:{daemon.port}"])
        self.assertEqual(source.returncode, 0, source.stdout)
        return time.monotonic() - began

    def test_normal_mail_beside_hostile_clients(self):
        if not os.access(SOURCE, os.X_OK):
            self.skipTest("postfix is not installed")
        port = free_port()
        self.addCleanup(port.release)
        self.process("smtp_sink", [tool("smtp_sink"), "--listen", str(port)]).wait_line("^listening on ")
        daemon = self.bivalved(str(port), settings={"TimeOut": 60, "MaxConnections": 4000})
        self.mail(daemon)  # a warm-up
        quiet, beside, resets, deliveries = [], [], [], self.MESSAGES
        for _ in range(self.ROUNDS):
            quiet.append(self.mail(daemon))
            deliveries += self.MESSAGES
            seconds = max(quiet[-1], 0.3)
            hostile = self.process("hostile", [
                sys.executable, "-m", "harness.hostile", "%s:%d" % daemon.address, "%s:%d" % daemon.stats_port.pair,
                self.DRIBBLERS, self.IDLE, max(1, round(1.5 * self.RESETS / seconds)), self.GARBAGE],
                directory=os.path.dirname(os.path.abspath(__file__)))
            hostile.wait_line("^ready")
            daemon.wait_stats("all of them", lambda s: s["connections"]["active"] >= self.DRIBBLERS + self.IDLE)
            accepted = daemon.stats()["connections"]["accepted"]
            beside.append(self.mail(daemon))
            resets.append(daemon.stats()["connections"]["accepted"] - accepted - self.MESSAGES)
            deliveries += self.MESSAGES
            hostile.kill()
            daemon.wait_stats("the end of them", lambda s: s["connections"]["active"] == 0)
        stats = daemon.expect_messages(received=deliveries, delivered=deliveries)
        self.assertGreater(stats["messages"]["aborted"], 0, "the dribblers were there")
        ratio = statistics.median(b / q for b, q in zip(beside, quiet))
        self.note(f"{self.DRIBBLERS} dribbling, {self.IDLE} idle, {min(resets)} resets and more, garbage on both ports: "
                  f"{ratio:.2f} times as long ({statistics.median(quiet):.2f} s alone, "
                  f"{statistics.median(beside):.2f} s beside them)")
        if WHOLE:
            print(self.notes[-1], file=sys.stderr)
        if WHOLE and not SLOW:
            self.assertGreaterEqual(min(resets), self.RESETS)
            self.assertLessEqual(ratio, 1.3)


if __name__ == "__main__":
    os.environ["BIVALVE_HOSTILE"] = "whole"
    if "HostileLoad" in globals() and not WHOLE:
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
