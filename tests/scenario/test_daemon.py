"""The daemon as init, systemd, syslog and logcheck see it: User, background, pid file, notification, log lines."""
import ctypes
import errno
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import unittest
from pathlib import Path

from harness import (Process, ScenarioCase, SmtpClient, busy_port, compose, forbid_io_uring, infected_attachment, main,
                     run_program, wait_until)
from harness.bivalved import program

_libc = ctypes.CDLL(None, use_errno=True)
NOBODY = pwd.getpwnam("nobody")
LOGCHECK = Path("/etc/logcheck/ignore.d.server/clamsmtp")


def status_of(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


@unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
class User(ScenarioCase):
    bivalve_only = True

    def start(self, settings, executable=None):
        daemon = self.bivalved(self.sink(), settings=settings, start=False, executable=executable)
        os.chown(daemon.temporary, NOBODY.pw_uid, NOBODY.pw_gid)
        for path in (self.directory, self.class_directory, daemon.directory):
            path.chmod(0o755)
        daemon.start()
        return daemon

    def check_dropped(self, daemon, capabilities=0):
        """On every thread: all user and group numbers, only the user's groups, and only the wanted capabilities."""
        for thread in os.listdir(f"/proc/{daemon.process.pid}/task"):
            status = status_of(f"{daemon.process.pid}/task/{thread}")
            self.assertEqual(status["Uid"].split(), [str(NOBODY.pw_uid)] * 4)
            self.assertEqual(status["Gid"].split(), [str(NOBODY.pw_gid)] * 4)
            self.assertEqual(status["Groups"].split(), [str(NOBODY.pw_gid)])
            for name in ("CapPrm", "CapEff"):
                self.assertEqual(int(status[name], 16), capabilities, name)
            for name in ("CapInh", "CapAmb"):
                self.assertEqual(int(status[name], 16), 0, name)

    def deliver(self, daemon):
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            self.assertReply(client.deliver(infected_attachment()), 250, "Virus Detected; Discarded Email")

    def test_root_becomes_the_user(self):
        out = self.directory / "whoami"
        daemon = self.start({"User": "nobody", "Quarantine": "on", "PidFile": self.directory / "pid",
                             "VirusAction": f"id -un > {out}.x; mv {out}.x {out}"})
        self.directory.chmod(0o1777)
        self.check_dropped(daemon)
        self.deliver(daemon)
        wait_until("the action", out.exists)
        self.assertEqual(out.read_text(), "nobody\n")
        daemon.process.wait_line("message kept as")
        kept = list(daemon.temporary.iterdir())  # the message and its record
        self.assertEqual([p.stat().st_uid for p in kept], [NOBODY.pw_uid] * 2)
        for path in kept:
            path.unlink()
        self.assertEqual(int((self.directory / "pid").read_text()), daemon.process.pid)

    def test_by_number(self):
        self.check_dropped(self.start({"User": str(NOBODY.pw_uid)}))

    def test_a_privileged_port_is_opened_before(self):
        daemon = self.bivalved(self.sink(), settings={"User": "nobody", "Listen": "127.0.0.1:871"}, start=False)
        os.chown(daemon.temporary, NOBODY.pw_uid, NOBODY.pw_gid)
        daemon.start()
        self.check_dropped(daemon)
        with SmtpClient(("127.0.0.1", 871)) as client:
            self.assertReply(client.ehlo(), 250)

    def test_a_pid_file_that_cannot_be_removed_is_emptied(self):
        place = self.directory / "run"
        place.mkdir(mode=0o755)
        daemon = self.start({"User": "nobody", "PidFile": place / "pid"})
        self.assertEqual(int((place / "pid").read_text()), daemon.process.pid)
        daemon.stop()
        self.assertEqual((place / "pid").read_text(), "")

    def test_a_pid_file_that_others_could_change(self):
        """Root would signal any process that they name there. The message says what to do."""
        for path in (self.directory, self.class_directory):
            path.chmod(0o755)
        theirs, everybodys = self.directory / "theirs", self.directory / "everybodys"
        theirs.write_text("1\n")
        os.chown(theirs, 1, 1)
        everybodys.mkdir()
        everybodys.chmod(0o777)
        for path, pattern in ((theirs, "belongs to user 'daemon', who could name another process there; remove it"),
                              (everybodys / "pid", r"others may write to the directory '.*everybodys' \(mode 0777\).*chmod")):
            self.refused({"User": "nobody", "PidFile": path, "TempDirectory": "/tmp"},
                         rf"\.conf:\d+: PidFile: .*{pattern}")
        self.assertEqual(theirs.read_text(), "1\n")
        os.chown(theirs, NOBODY.pw_uid, 0)
        daemon = self.start({"User": "nobody", "PidFile": theirs})
        self.assertEqual(int(theirs.read_text()), daemon.process.pid)

    def refused(self, settings, pattern, before_exec=None):
        daemon = self.bivalved(self.sink(), settings={"MaxConnections": 100, **settings}, start=False)
        daemon.write_configuration()
        daemon.configuration.chmod(0o644)
        done = run_program([daemon.executable, "-d", "0", "-f", daemon.configuration], before_exec=before_exec)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout.decode(), pattern)
        self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_an_unknown_user(self):
        self.refused({"User": "no-such-user"}, r"\.conf:\d+: User: there is no user 'no-such-user'")

    def test_only_root_can(self):
        def become_daemon():
            os.setgroups([])
            os.setgid(1)
            os.setuid(1)
        self.refused({"User": "nobody"}, "User: 'nobody': only root can become another user", become_daemon)


class FakeLog:
    """A /dev/log in the daemon's own mount namespace."""

    def __init__(self, directory):
        self.path = directory / "log"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.path.chmod(0o666)
        self.socket.settimeout(0.2)
        self.lines = []
        self._stop = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while not self._stop:
            try:
                self.lines.append(self.socket.recv(65536).decode("utf-8", "backslashreplace"))
            except TimeoutError:
                pass

    def close(self):
        self._stop = True
        self._thread.join()
        self.socket.close()
        self.path.unlink(missing_ok=True)

    def in_place(self):
        """For the child side of a fork: /dev/log becomes this socket. Other namespaces do not see it."""
        source = os.fsencode(self.path)

        def setup():
            if _libc.unshare(0x00020000) != 0 or _libc.mount(b"none", b"/", None, 0x44000, None) != 0:
                os._exit(124)
            if _libc.mount(b"none", b"/dev", b"tmpfs", 0, b"size=64k") != 0:
                os._exit(124)
            for name, minor in (("null", 3), ("urandom", 9)):
                os.mknod("/dev/" + name, 0o20666, os.makedev(1, minor))
                os.chmod("/dev/" + name, 0o666)
            os.symlink(source, "/dev/log")
        return setup


@unittest.skipUnless(os.geteuid() == 0, "only root can make a mount namespace")
class Syslog(ScenarioCase):
    """In the background the log goes to /dev/log, facility mail, under the program's name."""

    bivalve_only = True

    def start_in_background(self, name):
        """A daemon without a terminal, its pid file, and its log."""
        log = FakeLog(self.directory)
        self.addCleanup(log.close)
        link = self.directory / name
        link.symlink_to(program())
        sink = self.sink()
        pid_file = self.directory / "pid"
        daemon = self.bivalved(sink, settings={"PidFile": pid_file}, start=False, executable=link)
        daemon.is_bivalve = True
        daemon.write_configuration()
        done = run_program([link, "-f", daemon.configuration], before_exec=log.in_place())
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        pid = int(pid_file.read_text())
        self.assertEqual(os.getsid(pid), pid)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        return daemon, pid_file, log

    def end(self, daemon, pid_file):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        wait_until("the end", lambda: not pid_file.exists())
        daemon.release()

    def run_in_background(self, name):
        daemon, pid_file, log = self.start_in_background(name)
        with daemon.client() as client:
            client.ehlo()
            client.deliver(compose(b"x\r\n"), recipients=["bob@example.net", "cy@example.net"])
            client.deliver(infected_attachment(), "")
        wait_until("the lines", lambda: sum("status=" in line for line in log.lines) == 2)
        self.end(daemon, pid_file)
        return log.lines

    def test_syslog_that_goes_and_comes_back(self):
        """Mail is not affected; the log continues, and says how many lines are missing."""
        daemon, pid_file, log = self.start_in_background("bivalved")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            wait_until("its line", lambda: any("status=CLEAN" in line for line in log.lines))
            log.close()
            for _ in range(20):
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            again = FakeLog(self.directory)
            self.addCleanup(again.close)

            def written():
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                return any("log lines were lost" in line for line in again.lines) and any(
                    "status=CLEAN" in line for line in again.lines)
            wait_until("the log to go on", written)
        self.end(daemon, pid_file)

    def test_lines_of_bivalved(self):
        lines = self.run_in_background("bivalved")
        # LOG_MAIL is 2 << 3; the lines of the contract have severity info, 6.
        self.assertTrue([x for x in lines if re.match(
            r"<22>\w{3} [ \d]\d \d\d:\d\d:\d\d bivalved\[\d+\]: [0-9A-F]{6}: accepted connection from: 127\.0\.0\.1$", x)], lines)
        self.assertTrue([x for x in lines if re.match(
            r"<22>.* bivalved\[\d+\]: \w+: from=ada@example.com, to=bob@example.net, to=cy@example.net, status=CLEAN$", x)], lines)
        self.assertTrue(all(16 <= int(re.match(r"<(\d+)>", x).group(1)) <= 23 for x in lines))

    @unittest.skipUnless(LOGCHECK.exists(), "Debian's patterns for logcheck are not installed (package clamsmtp)")
    def test_debians_patterns_for_logcheck(self):
        """Written into a file by syslogd (with the host's name), the lines of sessions and messages match."""
        patterns = LOGCHECK.read_text().splitlines()
        lines = self.run_in_background("clamsmtpd")
        written = [re.sub(r"^<\d+>(.{15}) ", r"\1 host ", line) for line in lines]
        path = self.directory / "syslog"
        mine = [line for line in written if re.search(r"clamsmtpd.*: [0-9A-F]{6}: (accepted|from)", line)]
        self.assertEqual(len(mine), 3, written)
        path.write_text("\n".join(mine) + "\n")
        self.assertEqual(len(patterns), 2)
        # As logcheck does: with egrep.
        left = subprocess.run(["grep", "-E", "-v", "-f", LOGCHECK, path], stdout=subprocess.PIPE, check=False).stdout
        self.assertEqual(left, b"")


class Background(ScenarioCase):
    bivalve_only = True

    def test_a_busy_port_is_reported_to_the_shell(self):
        with busy_port() as listener:
            port = listener.getsockname()[1]
            daemon = self.bivalved("127.0.0.1:9", "/nowhere", {"Listen": f"127.0.0.1:{port}", "PidFile": self.directory / "p"},
                                   start=False)
            daemon.write_configuration()
            done = run_program([program(), "-f", daemon.configuration])
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout.decode(), rf"127\.0\.0\.1:{port}.*in use")
        self.assertFalse((self.directory / "p").exists())

    def test_a_failure_behind_the_fork_is_reported_too(self):
        daemon = self.bivalved("127.0.0.1:9", "/nowhere", start=False)
        daemon.write_configuration()
        done = run_program([program(), "-f", daemon.configuration], before_exec=forbid_io_uring(errno.EPERM))
        self.assertEqual(done.returncode, 1)
        self.assertIn("io_uring", done.stdout.decode())

    def test_levels(self):
        """-d 0 logs errors only, -d 3 the lines of the contract, -d 4 everything."""
        counts = []
        for level in range(5):
            daemon = self.bivalved(self.sink(), start=False, settings={"MaxConnections": 50})
            daemon.write_configuration()
            process = Process("bivalved", [program(), "-d", str(level), "-f", daemon.configuration])
            self.addCleanup(process.kill)
            wait_until("the start", lambda d=daemon: self._healthy(d))
            with daemon.client() as client:
                client.ehlo()
                client.deliver(compose(b"x\r\n"))
            self.assertEqual(process.end(), 0)
            counts.append((len(process.lines), sum("status=" in x for x in process.lines)))
            daemon.release()
        self.assertEqual(counts[0][0], 0)
        self.assertEqual([c[1] for c in counts], [0, 0, 0, 1, 1])
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[4][0], counts[3][0])

    @staticmethod
    def _healthy(daemon):
        try:
            return daemon.http("/healthz")[0] == 200
        except OSError:
            return False


class ServiceManager(ScenarioCase):
    """Type=notify: the process stays, says READY=1 when it accepts mail and STOPPING=1 when it has to end."""

    bivalve_only = True

    def notified(self, name, shown):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            manager.settimeout(20)
            daemon = self.bivalved(self.sink(), start=False)
            daemon.write_configuration()
            process = Process("bivalved", [program(), "-f", daemon.configuration], env={"NOTIFY_SOCKET": shown})
            self.addCleanup(process.kill)
            self.assertRegex(manager.recv(4096), b"^READY=1\nSTATUS=.")
            self.assertTrue(process.running(), "no fork")
            with daemon.client() as client:
                client.ehlo()
                process.signal(signal.SIGTERM)
                self.assertEqual(manager.recv(4096), b"STOPPING=1")
            self.assertEqual(process.wait(), 0)
            daemon.release()

    def test_a_path(self):
        path = str(self.directory / "notify")
        self.notified(path, path)

    def test_an_abstract_name(self):
        self.notified(f"\0bivalve-test-{os.getpid()}", f"@bivalve-test-{os.getpid()}")


if __name__ == "__main__":
    main()
