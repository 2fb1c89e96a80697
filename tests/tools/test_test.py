#!/usr/bin/env python3
"""How tools/test treats unit tests that fail, pass, or fail first and then pass."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"

SETUP = """
BUILD_PACKAGES=() SCANNER_PACKAGES=() CHECK_PACKAGES=() PEER_PACKAGES=()
build() { :; }
"""

# Does what the letters of its outcomes say, one letter for each try: p passes, f fails, a aborts, s skips, t takes too long.
PROGRAM = """#!/bin/bash
tries=$1.tries
echo >>"$tries"
case $(sed -n "$(wc -l <"$tries")p" <<<"${2//?/&
}") in
  p) exit 0 ;;
  s) exit 77 ;;
  a) kill -ABRT $$ ;;
  t) sleep 30 ;;
  *) exit 1 ;;
esac
"""


class SecondTries(unittest.TestCase):
    def run_of(self, outcomes):
        """Runs tests with these outcomes, fake/test_0 and so on, among stages that pass."""
        directory = Path(tempfile.mkdtemp(prefix="bivalve-test."))
        self.addCleanup(shutil.rmtree, directory)
        stubs = {"tools/setup": SETUP, "tools/tidy": "#!/bin/sh\n", "tests/scenario/run": "#!/bin/sh\necho 1 passed, 0 failed, 0 skipped\n",
                 "perf/load/counts": "#!/bin/sh\nexit 77\n", "program": PROGRAM}
        lines = []
        for n, one in enumerate(outcomes):
            lines += [f'add_test(fake/test_{n} "{directory}/program" "{directory}/test_{n}" {one})',
                      f"set_tests_properties(fake/test_{n} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT {1 if 't' in one else 60})"]
        stubs["build/ci/CTestTestfile.cmake"] = "\n".join(lines) + "\n"
        for name, text in stubs.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        shutil.copy(TOOLS / "test", directory / "tools")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CTEST_", "CMAKE_"))}
        done = subprocess.run(["bash", directory / "tools/test", "--quick", "--no-install"], env=environment, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100)
        return done.returncode, done.stdout.splitlines()

    def expect(self, outcomes, status, counts, *, unsteady=(), complaint=None):
        got, log = self.run_of(outcomes)
        text = "\n".join(log)
        [stage] = [line for line in log if line.startswith("unit tests")]
        words = stage.split()
        self.assertEqual([int(words[words.index(word) - 1]) for word in ("passed", "failed", "skipped")], list(counts), text)
        self.assertEqual([line for line in log if line.startswith("unsteady: ")],
                         [f"unsteady: fake/test_{n}" for n in unsteady], text)
        self.assertEqual([line for line in log if "needed a second try" in line], [complaint] if complaint else [], text)
        self.assertEqual(got, status, text)

    def test_all_pass(self):
        self.expect(["p", "p"], 0, (2, 0, 0))

    def test_one_that_was_skipped(self):
        self.expect(["p", "s"], 0, (1, 0, 1))

    def test_one_that_fails_twice(self):
        self.expect(["p", "ff"], 1, (1, 1, 0))

    def test_one_second_try_is_forgiven_and_named(self):
        for outcomes in ("fp", "ap", "tp"):
            with self.subTest(outcomes=outcomes):
                self.expect(["p", outcomes], 0, (2, 0, 0), unsteady=[1])

    def test_two_second_tries_are_not_forgiven(self):
        self.expect(["fp", "p", "fp"], 1, (1, 2, 0), unsteady=[0, 2], complaint="2 tests needed a second try; 1 may")

    def test_one_beside_one_that_fails_twice(self):
        self.expect(["fp", "ff", "p"], 1, (1, 2, 0), unsteady=[0], complaint="2 tests needed a second try; 1 may")


if __name__ == "__main__":
    unittest.main()
