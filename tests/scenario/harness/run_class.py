"""Runs one class of tests and writes each result as a line of JSON to the given descriptor. Started by `run`."""
import importlib
import json
import os
import sys
import time
import unittest


class Reporter(unittest.TestResult):
    takes_logs = True

    def __init__(self, output):
        super().__init__()
        self._output = output
        self._started = time.monotonic()
        self._current = None

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()
        self._current = test
        self._report(test, "start")

    def _report(self, test, outcome, text=""):
        if outcome == "failed" and hasattr(self._current, "daemon_log"):
            text = text.rstrip() + "\n" + self._current.daemon_log()
        event = {"test": test.id(), "outcome": outcome, "text": text,
                 "seconds": round(time.monotonic() - self._started, 2), "notes": getattr(test, "notes", [])}
        self._output.write(json.dumps(event) + "\n")
        self._output.flush()

    def addSuccess(self, test):
        super().addSuccess(test)
        self._report(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._report(test, "failed", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._report(test, "failed", self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            chosen = self.failures if issubclass(err[0], test.failureException) else self.errors
            self._report(test, "failed", chosen[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._report(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._report(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._report(test, "failed", "this was expected to fail, and did not")


def main(descriptor, module, name, only):
    case = getattr(importlib.import_module(module), name)
    names = [n for n in unittest.defaultTestLoader.getTestCaseNames(case) if not only or n in only]
    with os.fdopen(int(descriptor), "w") as output:
        unittest.TestSuite(case(n) for n in names).run(Reporter(output))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
