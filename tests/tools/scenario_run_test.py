#!/usr/bin/env python3
"""How tests/scenario/run treats tests that fail, pass, or fail first and then pass."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCENARIO = Path(__file__).resolve().parents[1] / "scenario"

# Each test does what the letters of its outcomes say, one letter for each try: p passes, f fails, s skips, x ends the
# process, g fails gravely, 2 fails in two subtests.
PRELUDE = """
import os
import unittest
from pathlib import Path


class Case(unittest.TestCase):
    def act(self, outcomes):
        tries = Path(__file__).with_name(self._testMethodName)
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        outcome = outcomes[count]
        if outcome == "s":
            self.skipTest("not now")
        if outcome == "x":
            os._exit(3)
        if outcome == "g":
            self.fail("check failed: something")
        for part in range(2 if outcome == "2" else 0):
            with self.subTest(part=part):
                self.fail("this time")
        self.assertIn(outcome, "p2", "this time")


class Faked(Case):
"""


class SecondTries(unittest.TestCase):
    def run_of(self, *tests):
        """Runs tests with these outcomes, test_0 and so on; returns the status and the lines of the log."""
        directory = Path(tempfile.mkdtemp(prefix="bivalve-run."))
        self.addCleanup(shutil.rmtree, directory)
        shutil.copy(SCENARIO / "run", directory)
        (directory / "harness").symlink_to(SCENARIO / "harness")
        (directory / "bivalved").touch()
        methods = [f"    def test_{n}(self):\n        self.act({outcomes!r})\n" for n, outcomes in enumerate(tests)]
        (directory / "test_faked.py").write_text(PRELUDE + "\n".join(methods))
        environment = {**os.environ, "BIVALVE_BIN": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("BIVALVE_PROGRAM", None)
        done = subprocess.run([sys.executable, directory / "run", "-j1"], env=environment, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.tries = [len((directory / f"test_{n}").read_text()) for n in range(len(tests))]
        return done.returncode, done.stdout.splitlines()

    def expect(self, tests, status, counts, *, tries, unsteady=(), failed=()):
        code, lines = self.run_of(*tests)
        log = "\n".join(lines)
        self.assertEqual(code, status, log)
        self.assertEqual(lines[-1], counts, log)
        self.assertEqual(self.tries, tries, log)
        for word, numbers in (("unsteady", unsteady), ("failed", failed)):
            # Named at the end, where people read it.
            named = [line for line in lines[-4 - len(unsteady) - len(failed):] if line.startswith(f"{word}: ")]
            self.assertEqual(named, [f"{word}: test_faked.Faked.test_{n}" for n in numbers], log)
        return lines

    def test_nothing_fails(self):
        self.expect(["p", "p", "s"], 0, "2 passed, 0 failed, 1 skipped", tries=[1, 1, 1])

    def test_one_that_passes_when_tried_again(self):
        self.expect(["p", "fp"], 0, "2 passed, 0 failed, 0 skipped", tries=[1, 2], unsteady=[1])

    def test_two_that_pass_when_tried_again_have_failed(self):
        lines = self.expect(["fp", "p", "fp"], 1, "1 passed, 2 failed, 0 skipped", tries=[2, 1, 2], unsteady=[0, 2],
                            failed=[0, 2])
        self.assertIn("2 tests needed a second try; 1 may", lines)

    def test_one_that_fails_again(self):
        self.expect(["p", "ff"], 1, "1 passed, 1 failed, 0 skipped", tries=[1, 2], failed=[1])

    def test_beside_one_that_fails_again_nothing_is_forgiven(self):
        self.expect(["fp", "ff"], 1, "0 passed, 2 failed, 0 skipped", tries=[2, 2], unsteady=[0], failed=[0, 1])

    def test_one_that_is_skipped_when_tried_again_has_not_passed(self):
        self.expect(["p", "fs"], 1, "1 passed, 1 failed, 0 skipped", tries=[1, 2], failed=[1])

    def test_one_whose_process_ends(self):
        self.expect(["xp"], 0, "1 passed, 0 failed, 0 skipped", tries=[2], unsteady=[0])
        self.expect(["fx"], 1, "0 passed, 1 failed, 0 skipped", tries=[2], failed=[0])

    def test_two_subtests_are_one_test(self):
        self.expect(["2p"], 0, "1 passed, 0 failed, 0 skipped", tries=[2], unsteady=[0])

    def test_no_second_try_for_what_is_grave(self):
        self.expect(["gp", "fp"], 1, "0 passed, 2 failed, 0 skipped", tries=[1, 1], failed=[0, 1])

    def test_no_second_try_for_many(self):
        self.expect(["fp"] * 6, 1, "0 passed, 6 failed, 0 skipped", tries=[1] * 6, failed=range(6))


if __name__ == "__main__":
    unittest.main(verbosity=2)
