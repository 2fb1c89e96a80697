"""The daemon under test: started with the test's configuration, watched, and stopped in good order."""
import http.client
import json
import os
import re
import signal
import socket
import unittest
from pathlib import Path

from .ports import free_port
from .process import TIMEOUT, Process, adopt_orphans, binary_directory, wait_until
from .smtp_client import SmtpClient

# clamsmtpd 1.10 can replace the daemon (BIVALVE_PROGRAM=/usr/sbin/clamsmtpd); then the features that both have are
# tested on it. It knows only these settings.
_CLAMSMTPD_SETTINGS = {
    "action", "clamaddress", "header", "keepalives", "listen", "maxconnections", "outaddress", "pidfile", "quarantine",
    "tempdirectory", "timeout", "transparentproxy", "user", "virusaction", "xclient"}

_SANITIZER_REPORT = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:")

_OUTCOMES = ("delivered", "refused", "dropped", "bounced", "tempfailed", "rejected", "lost")


def check_accounting(stats):
    """Every complete message has exactly one outcome (bivalved(8), STATISTICS)."""
    messages = stats["messages"]
    total = messages["in_progress"] + sum(messages[name] for name in _OUTCOMES)
    assert messages["received"] == total, f"received is not the sum of its outcomes, {total}: {messages}"
    assert stats.get("accounting_violations", 0) == 0, "the daemon itself has found a violation of its accounts"


def log_line(text):
    """A pattern for exactly this log line after its session number."""
    return rf"(?:^|[\s:])([0-9A-Fa-f]{{6,}}): {re.escape(text)}$"


def program():
    """The daemon to test."""
    return Path(os.environ.get("BIVALVE_PROGRAM") or binary_directory() / "bivalved")


class Bivalved:
    """One daemon, its configuration and its log. start() runs it.

    settings is a dict: a list repeats the setting, None leaves out a default. Listen, OutAddress and ClamAddress are
    given separately because every test has them.
    """

    def __init__(self, directory, out_address, clam_address, settings=None, *, host="127.0.0.1", port=None,
                 stats_port=None, executable=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.temporary = self.directory / "temp"
        self.temporary.mkdir(exist_ok=True)
        self.port = port or free_port(host)
        self.stats_port = stats_port or free_port()
        self.executable = Path(executable or program())
        self.is_bivalve = self.executable.name != "clamsmtpd"
        self.settings = {
            "Listen": str(self.port), "OutAddress": out_address, "ClamAddress": clam_address,
            "TempDirectory": self.temporary, "StatsAddress": str(self.stats_port), "Workers": 2, "ClamTimeOut": 20,
            "TimeOut": 60, **(settings or {})}
        self.configuration = self.directory / "bivalved.conf"
        self.process = None
        self._stopped = False

    def write_configuration(self):
        lines = []
        for name, value in self.settings.items():
            if not self.is_bivalve and name.lower() not in _CLAMSMTPD_SETTINGS:
                continue
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one is not None:
                    lines.append(f"{name}: {one}\n")
        self.configuration.write_text("".join(lines))

    def start(self, *, before_exec=None, wait=True, environment=None):
        """Writes the configuration and starts the program. Unless told otherwise, waits until it accepts mail."""
        if not self.executable.exists():
            raise AssertionError(f"{self.executable} has not been built")
        self.write_configuration()
        self.process = Process("bivalved", [self.executable, "-d", "4", "-f", self.configuration],
                               before_exec=before_exec, env=environment)
        self._stopped = False
        if wait:
            wait_until("bivalved to accept connections", self._ready)

    def _ready(self):
        if not self.process.running():
            raise AssertionError(f"bivalved has ended with {self.process.wait()}:\n" + self.process.output)
        if not self.is_bivalve:
            # It only speaks SMTP, and an attempt to connect would count as a session in the tests.
            return any("accepting connections" in line for line in self.process.lines)
        if self._stats_on():
            # Connecting to Listen would count as a session. When /healthz answers, the listeners exist.
            try:
                return self.http("/healthz")[0] == 200
            except OSError:
                return False
        try:
            socket.create_connection(self.port.pair, timeout=TIMEOUT).close()
            return True
        except OSError:
            return False

    def _stats_on(self):
        return bool(self.settings.get("StatsAddress"))

    @property
    def address(self):
        return self.port.pair

    @property
    def log(self):
        return self.process.output

    def wait_log(self, pattern, *, timeout=None):
        """Waits for a log line that contains `pattern`; returns the match."""
        return self.process.wait_line(pattern, timeout=timeout)

    def client(self, **options):
        return SmtpClient(self.address, **options)

    def http(self, path, method="GET"):
        """Status and body of one request to StatsAddress."""
        connection = http.client.HTTPConnection(*self.stats_port.pair, timeout=TIMEOUT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stats(self):
        if not self.is_bivalve:
            raise unittest.SkipTest("clamsmtpd has no statistics")
        status, body = self.http("/stats")
        assert status == 200, f"GET /stats answered {status}"
        return json.loads(body)

    def wait_stats(self, what, condition, timeout=None):
        """Waits until `condition` holds for the statistics; returns them. Counters may change just after a reply."""
        last = {}

        def look():
            nonlocal last
            last = self.stats()
            check_accounting(last)
            return condition(last)
        try:
            wait_until(what, look, timeout)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; the statistics say {json.dumps(last.get('messages'))}, "
                                 f"failures {json.dumps(last.get('scan_failures'))}, "
                                 f"connections {json.dumps(last.get('connections'))}") from None
        return last

    def expect_messages(self, **counts):
        """Waits until the named message counters have exactly these values, and all messages are accounted for."""
        if not self.is_bivalve:
            return None
        stats = self.wait_stats(f"messages {counts}", lambda s: s["messages"]["in_progress"] == 0 and all(
            s["messages"][name] == value for name, value in counts.items()))
        check_accounting(stats)
        return stats

    def restart(self):
        """Sends SIGUSR2 and waits until the next process has taken over. The old process may still have sessions."""
        adopt_orphans()
        start = len(self.process.lines)
        self.process.signal(signal.SIGUSR2)
        pid = int(self.process.wait_line(r"process (\d+) has taken over", start=start).group(1))
        self.process.follow(pid)
        return pid

    def temporary_files(self):
        return sorted(p.name for p in self.temporary.iterdir())

    def stop(self):
        """Sends SIGTERM and checks, as in every scenario: a clean end, nothing left over, all messages accounted for."""
        if self._stopped:
            return
        self._stopped = True
        if self.is_bivalve and self._stats_on() and self.process.running():
            check_accounting(self.stats())
        self.process.signal(signal.SIGTERM)
        status = self.process.wait()
        self.check_sanitizers()
        assert status == 0, f"bivalved ended with {status}; its last lines:\n" + "\n".join(self.process.lines[-30:])
        left = self.temporary_files()
        assert not left, f"left in TempDirectory: {left}"

    def check_sanitizers(self):
        for number, line in enumerate(self.process.lines):
            if _SANITIZER_REPORT.search(line):
                raise AssertionError("a sanitizer has found something:\n"
                                     + "\n".join(self.process.lines[max(0, number - 2):number + 60]))

    def kill(self):
        """Kills it without any of these checks."""
        self._stopped = True
        if self.process:
            self.process.kill()

    def release(self):
        self.port.release()
        self.stats_port.release()
