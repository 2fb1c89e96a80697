"""The base of every scenario test: directories, peers and the daemon, cleaned up in the right order."""
import os
import shutil
import signal
import sys
import tempfile
import unittest
from pathlib import Path

from .bivalved import Bivalved, program
from .clamd import Clamd, ClamdTap, NullClamd
from .process import Process, tool
from .smtp_server import SmtpSink


def heed_signals():
    """Programs that tests start would also ignore the signals that our parent ignores (nohup, a shell's background)."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


class ScenarioCase(unittest.TestCase):
    """A class of tests that share one clamd, which starts when the first test needs it."""

    # Set in classes whose figures a busy machine would spoil: the runner runs them alone.
    alone = False
    # Seconds that the runner gives to the whole class.
    class_timeout = 300
    # Set for features that only Bivalve has: skipped if clamsmtpd replaces the daemon.
    bivalve_only = False

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.bivalve_only and program().name == "clamsmtpd":
            raise unittest.SkipTest("clamsmtpd does not have this")
        heed_signals()
        cls.class_directory = Path(tempfile.mkdtemp(prefix="b."))
        cls.class_directory.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.class_directory, ignore_errors=True)
        cls._clamd = None
        cls._tests_started = 0

    @classmethod
    def shared_clamd(cls):
        """A clamd with both kinds of socket, for tests that do not change it."""
        if cls._clamd is None:
            cls._clamd = Clamd(cls.class_directory / "clamd", tcp=True)
            cls.addClassCleanup(cls._clamd.close)
        return cls._clamd

    def setUp(self):
        super().setUp()
        type(self)._tests_started += 1
        self.directory = self.class_directory / f"t{self._tests_started}"
        self.directory.mkdir()
        self._number = 0
        self._daemons = []
        self.notes = []

    def run(self, result=None):
        failures = len(result.failures) + len(result.errors) if result else 0
        outcome = super().run(result)
        # The runner's own result stores the log lines with the failure.
        if result and len(result.failures) + len(result.errors) > failures and not hasattr(result, "takes_logs"):
            print(self.daemon_log(), file=sys.stderr)
        return outcome

    def daemon_log(self):
        """The last log lines of the daemon that was started last, for the report of a failure."""
        started = [d for d in getattr(self, "_daemons", []) if d.process]
        if not started:
            return ""
        return "--- the end of the daemon's log\n" + "\n".join(started[-1].process.lines[-40:])

    def note(self, text):
        """A figure that the runner shows beside the test's name."""
        self.notes.append(text)

    def _path(self, name):
        self._number += 1
        return self.directory / f"{name}{self._number}"

    def clamd(self, **options):
        """A clamd for this test alone."""
        clamd = Clamd(self._path("clamd"), **options)
        self.addCleanup(clamd.close)
        return clamd

    def null_clamd(self, **options):
        if tool("null_clamd") is None:
            self.skipTest("the null scanner has not been built")
        directory = self._path("null")
        directory.mkdir()
        scanner = NullClamd(directory, **options)
        self.addCleanup(scanner.close)
        return scanner

    def tap(self, clamd):
        directory = self._path("tap")
        directory.mkdir()
        tap = ClamdTap(directory, clamd)
        self.addCleanup(tap.close)
        return tap

    def sink(self, **options):
        """A recording mail server. Every test checks that nothing is pipelined to one that does not offer it."""
        sink = SmtpSink(**options)

        def close():
            sink.close()
            self.assertEqual(sink.early, [], "sent before the reply to the command before it")
        self.addCleanup(close)
        return sink

    def process(self, name, argv, **options):
        process = Process(name, argv, **options)
        self.addCleanup(process.kill)
        return process

    def bivalved(self, sink, clamd=None, settings=None, *, host="127.0.0.1", executable=None, start=True,
                 **options):
        """A daemon between `sink` (or an address) and `clamd` (or an address; the shared one by default).

        When the test ends it is stopped before its peers, and this is part of the test: see Bivalved.stop.
        """
        out_address = sink if isinstance(sink, (str, list)) else sink.address
        clamd = clamd if clamd is not None else self.shared_clamd()
        clam_address = clamd if isinstance(clamd, (str, list)) else clamd.address
        daemon = Bivalved(self._path("bivalved"), out_address, clam_address, settings, host=host,
                          executable=executable)
        self._daemons.append(daemon)
        self.addCleanup(self._end_daemon, daemon)
        if start:
            daemon.start(**options)
        return daemon

    def _end_daemon(self, daemon):
        try:
            if daemon.process is not None:
                daemon.stop()
        finally:
            if daemon.process is not None:
                daemon.kill()
                daemon.release()

    def assertReply(self, reply, code, text=None):
        """Checks that the reply has this code and, if given, exactly this text (lines separated by \\n)."""
        self.assertEqual(reply.code, code, str(reply))
        if text is not None:
            self.assertEqual(reply.text, text)


def main():
    """For a test file that is run alone."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    unittest.main(verbosity=2)
