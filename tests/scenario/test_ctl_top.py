"""bivalvectl top: the real program in a terminal of the test, with real and fake daemons."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

from harness import free_port, infected_attachment, main, tool, wait_until
from harness.ctl import HOSTILE, CtlCase, ScriptedDaemon


class Pty:
    """bivalvectl on a terminal of its own."""

    def __init__(self, arguments, columns=100, rows=30):
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.output = b""

        def own_the_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen([tool("bivalvectl"), *map(str, arguments)], stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, preexec_fn=own_the_terminal, env={**os.environ, "TERM": "xterm"})

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        """The output since the last call, limited in size; waits a little."""
        if select.select([self.master], [], [], 0.05)[0]:
            self.output += os.read(self.master, 65536)

    def screen(self):
        """The lines of the last complete screen."""
        frames = [frame for frame in self.output.split(b"\x1b[H")[1:] if b"\x1b[J" in frame]
        if not frames:
            return []
        # The terminal's own processing adds a second CR before the LF.
        last = frames[-1].partition(b"\x1b[J")[0].decode()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).replace("\r\r\n", "\n").split("\n")

    def wait_screen(self, what, condition):
        def look():
            self.read()
            return condition(self.screen())
        return wait_until(what, look)

    def wait_end(self):
        wait_until("bivalvectl to end", lambda: (self.read(), self.process.poll() is not None)[1])
        while select.select([self.master], [], [], 0)[0]:
            self.read()
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(CtlCase):
    LEAVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

    def setUp(self):
        super().setUp()
        if tool("bivalvectl") is None:
            self.skipTest("bivalvectl is not built")

    def scripted(self, **stats):
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        daemon.documents["/stats"] = {"program": "bivalved", "pid": 4711, "uptime_seconds": 5, **stats}
        return daemon

    def terminal(self, *arguments, **size):
        terminal = Pty(arguments, **size)
        self.addCleanup(terminal.close)
        return terminal

    def assertRestored(self, terminal):
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
        self.assertTrue(terminal.output.endswith(self.LEAVE), terminal.output[-200:])
        self.assertEqual(terminal.output.count(b"\x1b[?1049h"), terminal.output.count(b"\x1b[?1049l"))

    def test_a_daemon_at_work(self):
        daemon = self.bivalved(self.sink())
        terminal = self.terminal("-f", daemon.configuration, "top", "--interval", "0.1")
        with daemon.client() as client, daemon.client() as idle:
            idle.ehlo()
            client.ehlo("busy.example")
            for _ in range(3):
                client.deliver(infected_attachment())
            client.mail("eve@example.com")
            screen = terminal.wait_screen("the sessions", lambda lines: any("eve@example.com" in line for line in lines)
                                          and any(re.search(r"sessions 2 ", line) for line in lines) and lines)
            self.assertRegex(screen[0], rf"^bivalved \S+ +pid {daemon.process.pid} +up ")
            text = "\n".join(screen)
            self.assertRegex(text, r"\nup +closed +found ")
            self.assertRegex(text, r"\nscan +")
            self.assertRegex(text, r"\n\w{6} +127\.0\.0\.1 +command .*eve@example\.com  busy\.example")
            self.assertEqual(len(screen), 30)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_keys_and_sizes(self):
        daemon = self.scripted()
        daemon.documents["/sessions"] = {"total": 2, "sessions": [
            {"id": "1", "client": "b", "age_seconds": 2, "bytes": 1}, {"id": "2", "client": "a", "age_seconds": 1, "bytes": 2}]}
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "1000")
        terminal.wait_screen("the first screen", lambda lines: any("(by age)" in line for line in lines))
        for order in ("by time in phase", "by bytes", "by messages", "by client", "by age"):
            os.write(terminal.master, b"s")
            terminal.wait_screen(order, lambda lines: any(f"({order})" in line for line in lines))
        os.write(terminal.master, b"r")
        terminal.wait_screen("reversed", lambda lines: any("(by age, reversed)" in line for line in lines))
        os.write(terminal.master, b"v")
        terminal.wait_screen("by time", lambda lines: any("by time" in line for line in lines))
        asked = len(daemon.asked)
        os.write(terminal.master, b" ")
        wait_until("another look", lambda: (terminal.read(), len(daemon.asked) > asked)[1])
        for columns, rows in ((40, 10), (200, 50), (1, 1), (132, 24)):
            terminal.resize(columns, rows)
            screen = terminal.wait_screen(f"{rows} rows", lambda lines: len(lines) == rows and lines)
            self.assertLessEqual(max(map(len, screen)), columns)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_every_way_out(self):
        daemon = self.scripted()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT):
            with self.subTest(signal=number):
                terminal = self.terminal("-s", daemon.address, "top")
                terminal.wait_screen("the first screen", lambda lines: lines)
                terminal.process.send_signal(number)
                self.assertEqual(terminal.wait_end(), -number)
                self.assertRestored(terminal)
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "0.1", "--count", "3")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)
        terminal = self.terminal("-s", daemon.address, "top")
        terminal.wait_screen("the first screen", lambda lines: lines)
        os.write(terminal.master, b"\x03")
        self.assertEqual(terminal.wait_end(), -signal.SIGINT)
        self.assertRestored(terminal)

    def test_stopped_and_continued(self):
        daemon = self.scripted()
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "1000")
        terminal.wait_screen("the first screen", lambda lines: lines)
        # Nobody would continue an orphaned group that SIGTSTP stopped, so the kernel does not stop it; SIGSTOP always does.
        terminal.process.send_signal(signal.SIGSTOP)
        wait_until("the stop", lambda: "(stopped)" in open(f"/proc/{terminal.process.pid}/status").read())
        terminal.process.send_signal(signal.SIGCONT)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_hostile_names(self):
        """No text chosen by a client, a scanner or a forger of statistics moves the cursor."""
        daemon = self.scripted(
            version=HOSTILE, viruses={"A" * 60: 3}, scanners=[{"address": HOSTILE, "version": HOSTILE, "circuit": HOSTILE, "canary": HOSTILE}],
            phases_us={HOSTILE: {"count": 1}}, viruses_recent=[{"name": HOSTILE, "client": HOSTILE, "time": 1e10}])
        daemon.documents["/sessions"] = {"total": 1, "sessions": [{name: HOSTILE for name in (
            "id", "client", "helo", "phase", "from", "scanner")}]}
        terminal = self.terminal("-s", daemon.address, "top", columns=250)
        screen = terminal.wait_screen("the screen", lambda lines: lines)
        self.assertIn("\\x1b[2J", "".join(screen))
        self.assertHarmless("\n".join(screen).encode())
        known = rb"\x1b\[(\?1049h|\?25l|\?7l|2J|H|K|J|7m|0m|1;31m)"
        self.assertNotIn(b"\x1b", re.sub(known, b"", terminal.output))
        self.assertEqual(terminal.output.count(b"\x1b[2J"), 1)
        for arguments in (["top", "--count", "1"], ["stats"], ["sessions"]):
            out, _ = self.ctl("-s", daemon.address, *arguments)
            self.assertHarmless(out)
        self.assertIn(b"A" * 60 + b" ", self.ctl("-s", daemon.address, "stats")[0], "no name is cut in a pipe")
        stats = self.json("-s", daemon.address, "stats")
        self.assertEqual(stats["viruses_recent"][0]["name"], HOSTILE)
        sessions = self.json("-s", daemon.address, "sessions")
        self.assertEqual(sessions["sessions"][0]["client"], HOSTILE)

    def test_a_daemon_that_goes_and_comes_back(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        terminal = self.terminal("-f", daemon.configuration, "top", "--interval", "0.1")
        terminal.wait_screen("the first screen", lambda lines: lines)
        daemon.stop()
        terminal.wait_screen("the trouble", lambda lines: any("NO ANSWER: cannot connect" in line for line in lines))
        daemon.start()
        terminal.wait_screen("the new one", lambda lines: lines and f"pid {daemon.process.pid} " in lines[0])
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_lines_for_a_log(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            client.deliver(infected_attachment())
        out, _ = self.ctl("-f", daemon.configuration, "top", "--interval", "0.1", "--count", "3")
        lines = out.decode().splitlines()
        self.assertEqual(len(lines), 3)
        first, last = (dict(item.partition("=")[::2] for item in line.split()) for line in (lines[0], lines[-1]))
        self.assertEqual((first["pid"], first["messages_per_s"]), (str(daemon.process.pid), "-"))
        self.assertEqual((last["messages_per_s"], last["scanners_up"]), ("0.0", "1/1"))
        # The first screen has the latencies since the start, later ones those of the time in between.
        self.assertGreater(int(first["scan_p99_us"]), 0)
        self.assertEqual(last["scan_p99_us"], "-")
        for wrong in (["--interval", "0"], ["--interval", "x"], ["--count", "0"]):
            self.ctl("-s", "1", "top", *wrong, status=2)
        port = free_port()
        self.addCleanup(port.release)
        self.assertIn(b"cannot connect", self.ctl("-s", port, "top", status=1)[1])


if __name__ == "__main__":
    main()
