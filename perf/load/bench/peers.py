"""The programs of a comparison: the server, the scanners, and the targets between load and server."""
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from .machine import Missing, find
from harness import Bivalved, Clamd, NullClamd, Process, free_port, wait_until
from harness.process import run_program, tool

LIMIT_SECONDS = 20
_NOBODY = 65534  # user and group


def _log_to(path):
    """A function for the child side of a fork: the program's output goes to a file, so that no thread has to read it."""
    def redirect():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    return redirect


def _answers(address):
    try:
        socket.create_connection(address, timeout=LIMIT_SECONDS).close()
        return True
    except OSError:
        return False


class CpuClock:
    """The CPU time of a process in nanoseconds: user and system, of all its threads, those that ended included.

    This is the kernel's own sum for the process (clock_getcpuclockid(3)), so io_uring's kernel threads are in it.
    """

    def __init__(self, pid):
        self._clock = (~pid << 3) | 2

    def read(self):
        return time.clock_gettime_ns(self._clock)


def memory(pid):
    """The process's memory in bytes by kind: the fields of /proc/PID/status that count pages."""
    wanted = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous", "RssShmem": "shared",
              "RssFile": "of_files"}
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in wanted:
            found[wanted[name]] = int(value.split()[0]) * 1024
    return found


class Place:
    """A directory in memory for the logs, sockets and temporary files of one run."""

    def __init__(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="bivalve-load.", dir=base))
        self.path.chmod(0o755)
        self._number = 0
        # If the run is told to end, its programs and this directory end too.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda told, _: sys.exit(128 + told))

    def new(self, name):
        self._number += 1
        path = self.path / f"{name}{self._number}"
        path.mkdir()
        return path

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Sink:
    """The server behind every target: Postfix's smtp-sink, or with `own` Bivalve's smtp_sink.

    Postfix's program searches all its sessions for each event, so with thousands of them most time is spent there.
    """

    def __init__(self, place, *, own=False, sessions_max=20000):
        self.port = free_port()
        log = place.new("sink") / "log"
        if own:
            argv = [tool("smtp_sink"), "--listen", self.port]
        else:
            descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            argv = [find("smtp-sink"), "-m", str(min(sessions_max, descriptors - 50)), f"inet:{self.port}", "4096"]
        redirect = _log_to(log)

        def before_exec():
            redirect()
            # smtp-sink does not run as root. If it changed the user itself, it would outlive a killed run.
            if not own and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
        self.process = Process("smtp-sink", argv, before_exec=before_exec)
        wait_until("the server to listen", lambda: _answers(self.port.pair), LIMIT_SECONDS)
        self.cpu = CpuClock(self.process.pid)

    def close(self):
        self.process.kill()
        self.port.release()


class ScanAnswerer:
    """A null scanner for clamsmtpd, which asks for one file by its name on each connection."""

    _PROGRAM = Path(__file__).parent / "scan_answerer.py"

    def __init__(self, directory):
        self.address = str(directory / "scan.ctl")
        self.process = Process("scan_answerer", [sys.executable, self._PROGRAM, self.address])
        wait_until("the scan answerer to listen", lambda: Path(self.address).exists(), LIMIT_SECONDS)

    def close(self):
        self.process.kill()


def clamd_threads():
    """How many threads a real clamd gets: one CPU is left for everything else, so that the scanner is the bottleneck."""
    return max(1, (os.cpu_count() or 1) - 1)


class Scanners:
    """The scanners of a run, started when the first target needs them. `kind` is null or clamd."""

    def __init__(self, kind, place, clamd_threads):
        self.kind = kind
        self._place = place
        self._threads = clamd_threads
        self._started = {}

    def for_bivalve(self):
        return self._clamd() if self.kind == "clamd" else self._null()

    def for_clamsmtpd(self):
        if self.kind == "clamd":
            return self._clamd()
        null = self._null()
        return self._once("answerer", lambda directory: null if _answers_scan(null.address) else ScanAnswerer(directory))

    def _null(self):
        # With its own user, like clamd.
        return self._once("null", lambda directory: NullClamd(directory, user="nobody"))

    def _clamd(self):
        # A clean file must be scanned again each time, or the measurement is one of clamd's cache.
        return self._once("clamd", lambda directory: Clamd(directory, options={
            "MaxThreads": str(self._threads), "DisableCache": "yes", "LogClean": "no", "MaxQueue": "200"}))

    def _once(self, name, make):
        if name not in self._started:
            self._started[name] = make(self._place.new(name))
        return self._started[name]

    def describe(self):
        return {"kind": self.kind, "clamd_threads": self._threads if self.kind == "clamd" else None,
                "clamsmtpd_asks": type(self._started["answerer"]).__name__ if "answerer" in self._started else None}

    def close(self):
        for scanner in set(self._started.values()):
            scanner.close()


def _answers_scan(address):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT_SECONDS)
        sock.connect(address)
        sock.sendall(b"nSCAN /dev/null\n")
        return sock.recv(200).endswith(b"OK\n")


class Target:
    """The program between load and server. start() it, measure, stop() it: nothing of one measurement stays for the next.

    workers is how many threads handle the mail; None if the program does not allow a choice.
    """

    name = ""
    pid = None
    scanner = None
    # How many connections may arrive at once without some being dropped and tried again after seconds.
    backlog = 4096

    def __init__(self, workers=None):
        self.workers = workers
        self.complaints = []

    @property
    def label(self):
        return self.name if self.workers in (None, 1) else f"{self.name}@{self.workers}"

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def wait_end(self):
        """Waits for the end of a program that was told to end; stop() must still be called."""
        wait_until(f"{self.name} to end", lambda: not self.process.running(), 10 * LIMIT_SECONDS)

    def counts(self):
        """Counters that the program publishes about its own engine; empty if there are none."""
        return {}


class Direct(Target):
    """No proxy at all."""

    name = "direct"

    def __init__(self, sink):
        super().__init__()
        self._sink = sink
        self.port = sink.port

    def start(self):
        pass

    def stop(self):
        pass


class _Own(Target):
    """A target that is one process started here."""

    def _run(self, argv, log):
        self.log_path = log
        self.process = Process(self.name, argv, before_exec=_log_to(log))
        self.pid = self.process.pid

        def ready():
            if not self.process.running():
                raise Missing(f"{self.name} has ended:\n" + log.read_text(errors="backslashreplace")[-2000:])
            return _answers(self.port.pair)
        wait_until(f"{self.name} to listen", ready, LIMIT_SECONDS)

    def stop(self):
        self.process.kill()
        self.port.release()
        shutil.rmtree(self.log_path.parent, ignore_errors=True)


class HAProxy(_Own):
    """HAProxy as a plain TCP relay: it reads nothing and scans nothing."""

    name = "haproxy"

    def __init__(self, place, sink, workers, before=()):
        super().__init__(workers)
        self._place, self._sink, self._before = place, sink, list(before)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # Two descriptors for each connection, and two for each pipe: HAProxy has one pipe for every four connections.
        self.connections_max = min(12000, (descriptors - 200) * 4 // 10)

    def start(self):
        directory = self._place.new("haproxy")
        self.port = free_port()
        configuration = directory / "haproxy.cfg"
        configuration.write_text(f"""global
    nbthread {self.workers}
    maxconn {self.connections_max}
defaults
    mode tcp
    option splice-auto
    maxconn {self.connections_max}
    timeout connect 10s
    timeout client 180s
    timeout server 180s
listen relay
    bind {self.port} backlog 4096
    server sink {self._sink.port}
""")
        self._run([*self._before, find("haproxy"), "-db", "-f", configuration], directory / "log")


class Clamsmtpd(_Own):
    """clamsmtpd 1.10, with as many connections as it allows. Its messages go through files, here in memory."""

    name = "clamsmtpd"
    CONNECTIONS_MAX = 1023  # it refuses more
    # With 1,000 sessions at once, so many are dropped and tried again that 1,000 messages take more than a minute.
    SESSIONS_MAX = 100
    backlog = 5

    def __init__(self, place, sink, scanners):
        super().__init__()
        self._place, self._sink, self._scanners = place, sink, scanners

    def start(self):
        self.scanner = self._scanners.for_clamsmtpd()
        directory = self._place.new("clamsmtpd")
        (directory / "temp").mkdir()
        self.port = free_port()
        configuration = directory / "clamsmtpd.conf"
        configuration.write_text(f"""Listen: {self.port}
OutAddress: {self._sink.port}
ClamAddress: {self.scanner.address}
TempDirectory: {directory / "temp"}
MaxConnections: {self.CONNECTIONS_MAX}
""")
        self._run([find("clamsmtpd"), "-d", "2", "-f", configuration], directory / "log")


def known_settings(settings, place, program):
    """The settings that this bivalved knows, so that older versions can be measured too."""
    directory = place.new("check")
    configuration = directory / "bivalved.conf"
    configuration.write_text("Listen: 127.0.0.1:1\nOutAddress: 127.0.0.1:1\n" +
                             "".join(f"{name}: {value}\n" for name, value in settings.items()))
    said = run_program([program, "--check-config", "-f", configuration], timeout=LIMIT_SECONDS).stdout.decode()
    unknown = {name.lower() for name in re.findall(r"(\w+): unknown setting", said)}
    return {name: value for name, value in settings.items() if name.lower() not in unknown}


class _QuietBivalved(Bivalved):
    """As in the scenario tests, but with the requested log level and the log in a file."""

    def __init__(self, *arguments, level, before, **options):
        super().__init__(*arguments, **options)
        self._level, self._before = level, before
        self.log_path = self.directory / "log"

    def start(self, **_):
        self.write_configuration()
        argv = [*self._before, self.executable, "-d", str(self._level), "-f", self.configuration]
        self.process = Process("bivalved", argv, before_exec=_log_to(self.log_path))
        try:
            wait_until("bivalved to accept connections", self._ready, LIMIT_SECONDS)
        except AssertionError as failure:
            raise Missing(f"{failure}\n" + self.log_path.read_text(errors="backslashreplace")[-2000:]) from None


class Bivalve(Target):
    name = "bivalve"

    def __init__(self, place, sink, scanners, workers, *, level=2, settings=None, before=(), program=None):
        """`program` is a bivalved other than the one that was built here: the target's name is then "other"."""
        super().__init__(workers)
        if program:
            self.name = "other"
        self._program = program or tool("bivalved")
        self._place, self._sink, self._scanners = place, sink, scanners
        self._level, self._before = level, list(before)
        # The null scanner finds nothing, so it cannot pass the canary test.
        wanted = {"Canary": "off", **(settings or {})} if scanners.kind == "null" else dict(settings or {})
        self.settings = known_settings(wanted, place, self._program)
        self.left_out = sorted(set(wanted) - set(self.settings))

    def start(self):
        self.scanner = self._scanners.for_bivalve()
        self.daemon = _QuietBivalved(
            self._place.new("bivalve"), str(self._sink.port), self.scanner.address,
            {"Workers": self.workers, "TimeOut": None, "ClamTimeOut": None, **self.settings}, level=self._level,
            before=self._before, executable=self._program)
        try:
            self.daemon.start()
        finally:
            self.process = self.daemon.process
        self.port = self.daemon.port
        self.pid = self.process.pid
        wait_until("a scanner to be up", self._scanner_up, LIMIT_SECONDS)

    def _scanner_up(self):
        return any(scanner["up"] for scanner in self.daemon.stats()["scanners"])

    def counts(self):
        stats = self.daemon.stats()
        return {f"{group}.{name}": value for group in ("ring", "engine") if isinstance(stats.get(group), dict)
                for name, value in stats[group].items() if isinstance(value, (int, float))}

    def stop(self):
        """A bad end of the daemon is part of the measurement: it is reported, and the run continues."""
        try:
            if self.pid is not None and self.process.running():
                self.daemon.stop()
        except (AssertionError, OSError) as failure:
            self.complaints.append(f"{failure}\n" + self.daemon.log_path.read_text(errors="backslashreplace")[-500:])
        self.daemon.kill()
        self.daemon.release()
        self.pid = None
        shutil.rmtree(self.daemon.directory, ignore_errors=True)
