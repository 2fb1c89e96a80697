"""bivalvectl, the operator's tool: check, sessions, reload, restart and its command line."""
import json
import os
import re
import shutil
import signal
import subprocess

from harness import PROJECT, TIMEOUT, SmtpClient, main, tool, wait_until
from harness.ctl import HOSTILE, CtlCase, ScriptedDaemon
from harness.process import adopt_orphans


class Check(CtlCase):
    """check: status 0 if it has nothing to report, 1 with warnings, 2 with errors."""

    CLAMD = "AlertExceedsMax yes\nMaxFileSize 100M\nMaxScanSize 400M\nStreamMaxLength 100M\nMaxScanTime 60000\nMaxThreads 2\n"
    BEFORE_QUEUE = PROJECT / "appliance/examples/postfix-before-queue"

    def check(self, settings="", clamd=CLAMD, main_cf="", master_cf=None, status=0):
        configuration = self.directory / "b.conf"
        configuration.write_text(f"Listen: 127.0.0.1:10025\nOutAddress: 127.0.0.1:10026\nTempDirectory: {self.directory}\n{settings}\n")
        (self.directory / "clamd.conf").write_text(clamd)
        (self.directory / "main.cf").write_text(main_cf)
        (self.directory / "master.cf").write_text(master_cf or (self.BEFORE_QUEUE / "master.cf").read_text())
        arguments = ["-f", configuration, "check", "--clamd-conf", self.directory / "clamd.conf",
                     "--postfix-main-cf", self.directory / "main.cf"]
        out, error = self.ctl(*arguments, status=status)
        self.assertEqual(error, b"")
        self.assertHarmless(out)
        document = json.loads(self.ctl(*arguments, "--json", status=status)[0])
        lines = out.decode().splitlines()
        self.assertEqual(len([p for p in document["problems"] if p["kind"] == "warning"]),
                         len([line for line in lines if line.startswith("warning: ")]))
        self.assertRegex(lines[-1], rf"^{document['errors']} errors?, {document['warnings']} warnings?$")
        return lines

    def test_the_example_fits(self):
        self.assertEqual(self.check()[-1], "0 errors, 0 warnings")

    def test_warnings(self):
        lines = self.check("KeepAlives: 0", self.CLAMD + "MaxFileSize 1M\n", "message_size_limit = 0\n", status=1)
        self.assertRegex(lines[0], r"^warning: .*/clamd\.conf: MaxFileSize: is 1M")
        self.assertRegex(lines[1], r"^warning: .*/main\.cf:1: message_size_limit: is without limit")

    def test_errors(self):
        lines = self.check("User: no-such-user\nPidFile: /no/such/place/pid", status=2)
        self.assertRegex(lines[0], r"^error: .*/b\.conf:4: User: there is no user 'no-such-user'$")
        self.assertRegex(lines[1], r"^error: .*/b\.conf:5: PidFile: ")
        lines = self.check("ScanFailure: a=b, down", status=2)
        self.assertEqual(len(lines), 2, "without a configuration there is nothing to compare")
        self.assertRegex(self.check("ClamConnections: 100\nWorkers: 1", status=1)[0], "^warning: .*MaxQueue")

    def test_hostile_files(self):
        for text in (HOSTILE, "message_size_limit = " + HOSTILE, "\0" * 1000, "a=$a\nb=${b}\n" * 1000):
            self.check(clamd=self.CLAMD + text, main_cf=text, master_cf=text)
            self.check("Header" + text.replace("\n", ""), status=2)

    def test_files_that_are_not_there(self):
        configuration = self.directory / "c.conf"
        configuration.write_text(f"OutAddress: 192.0.2.1\nClamAddress: 192.0.2.2:3310\nTempDirectory: {self.directory}\n")
        none = self.directory / "none"
        for option in ("--clamd-conf", "--postfix-main-cf"):
            out, _ = self.ctl("-f", configuration, "check", option, none, status=2)
            self.assertIn(f"{option}: cannot be read".encode(), out)
        self.assertIn(b"another machine", self.ctl("-f", configuration, "check", "--postfix-main-cf", "/dev/null")[0])
        self.ctl("-f", none, "check", status=2)


class Sessions(CtlCase):
    def test_longest_first(self):
        # Two workers read their clocks at different moments.
        daemon = self.bivalved(self.sink(), settings={"Workers": 1})
        with daemon.client() as first, daemon.client() as second:
            first.ehlo("first.example")
            second.ehlo("second.example")
            second.mail("eve@example.com")
            document = json.loads(self.ctl("-f", daemon.configuration, "sessions", "--json")[0])
            self.assertEqual([s["helo"] for s in document["sessions"]], ["first.example", "second.example"])
            lines = self.ctl("-f", daemon.configuration, "sessions")[0].decode().splitlines()
            self.assertRegex(lines[0], "^SESSION +CLIENT +PHASE +AGE")
            self.assertRegex(lines[1], r"^\w{6} +127\.0\.0\.1 +command .* first\.example")
            self.assertRegex(lines[2], r"^\w{6} +127\.0\.0\.1 +command .* eve@example\.com +second\.example")
            lines = self.ctl("-f", daemon.configuration, "sessions", "--limit", "1")[0].decode().splitlines()
            self.assertEqual((len(lines), lines[-1]), (3, "1 of 2 sessions"))
        for wrong in ("0", "x", "1e9"):
            self.ctl("sessions", "--limit", wrong, status=2)

    def test_answers_that_are_none(self):
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        self.ctl("-s", daemon.address, "sessions", status=1)
        for document in (b"", b"[]", b"{", b"\xff", [1], None):
            daemon.documents["/sessions"] = daemon.documents["/stats"] = document
            for command in ("sessions", "stats", "top"):
                self.assertHarmless(self.ctl("-s", daemon.address, command, status=1)[1])
        daemon.documents["/sessions"] = {"sessions": [1, None, {"id": 1, "bytes": "x"}], "total": "many"}
        self.ctl("-s", daemon.address, "sessions")


class Signals(CtlCase):
    """reload and restart: the right signal to the right process, and the result in the statistics."""

    def scripted(self, stats):
        """A process called bivalved that dies of any signal, and statistics: stats(its pid, whether it is dead)."""
        program = self.directory / "bivalved"
        shutil.copy("/bin/sleep", program)
        process = subprocess.Popen([program, "1000"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until("its name", lambda: open(f"/proc/{process.pid}/comm").read() == "bivalved\n")
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        daemon.documents["/stats"] = lambda: stats(process.pid, process.poll() is not None)
        return process, daemon

    def test_reload(self):
        process, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {"count": 7 + dead, "failed": 1}})
        self.assertIn(b"read again", self.ctl("-s", daemon.address, "reload")[0])
        self.assertEqual(process.returncode, -signal.SIGHUP)

    def test_a_reload_that_fails(self):
        reason = "b.conf:3: Action: 'x' is not one of " + HOSTILE
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {
            "count": 7, "failed": 1 + dead, "last_error": reason}})
        _, error = self.ctl("-s", daemon.address, "reload", status=1)
        self.assertHarmless(error)
        self.assertIn(b"the reload has failed: b.conf:3: Action: 'x' is not one of ", error)

    def test_restart(self):
        process, daemon = self.scripted(lambda pid, dead: {"pid": pid + dead, "restart": {"generation": 1 + dead}})
        self.assertEqual(self.ctl("-s", daemon.address, "restart")[0].decode(),
                         f"process {process.pid + 1} has taken over from {process.pid}\n")
        self.assertEqual(process.returncode, -signal.SIGUSR2)

    def test_a_restart_that_fails(self):
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "restart": {
            "failed": 1 + dead, "last_error": "no luck"}})
        self.assertIn(b"the restart has failed: no luck", self.ctl("-s", daemon.address, "restart", status=1)[1])

    def test_the_real_daemon(self):
        """A reload and a restart that work, and failing ones, twice for the same reason, with the daemon's own words."""
        daemon = self.bivalved(self.sink())
        where = ["-f", daemon.configuration]
        daemon.settings["HostName"] = "new.example"
        daemon.write_configuration()
        self.assertEqual(self.ctl(*where, "reload")[0], b"the configuration was read again\n")
        with SmtpClient(daemon.address, greeting=False) as client:
            self.assertReply(client.reply(), 220, "new.example")
        adopt_orphans()
        first = daemon.process.pid
        words = self.ctl(*where, "restart")[0].decode()
        second = int(re.match(rf"process (\d+) has taken over from {first}\n", words).group(1))
        daemon.process.follow(second)
        self.assertEqual(daemon.stats()["pid"], second)
        # bivalvectl looks for the address in an unharmed copy.
        good = self.directory / "good.conf"
        shutil.copy(daemon.configuration, good)
        daemon.settings["Action"] = "explode"
        daemon.write_configuration()
        for command in ("reload", "reload", "restart", "restart"):
            _, error = self.ctl("-f", good, command, status=1)
            self.assertIn(f"the {command} has failed: ".encode(), error)
            self.assertIn(b"Action: 'explode' is not one of", error)
        self.assertEqual(daemon.stats()["pid"], second)
        daemon.settings["Action"] = "drop"
        daemon.write_configuration()
        self.ctl(*where, "reload")

    def test_nothing_comes_of_it(self):
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {"count": 1}})
        self.assertIn(b"nothing has come of the reload yet",
                      self.ctl("-s", daemon.address, "reload", "--wait", "0.2", status=1)[1])
        self.ctl("-s", daemon.address, "reload", "--wait", "0", status=2)

    def test_processes_that_get_no_signal(self):
        other = subprocess.Popen(["/bin/sleep", "1000"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        for pid in (other.pid, 0, 1, -1, 2 ** 40, "x", None):
            daemon.documents["/stats"] = {"pid": pid, "reload": {"count": 1}, "restart": {}}
            for command in ("reload", "restart"):
                self.assertIn(b"no bivalved of that number", self.ctl("-s", daemon.address, command, status=1)[1])
        daemon.documents["/stats"] = {"pid": other.pid}
        self.assertIn(b"too old", self.ctl("-s", daemon.address, "reload", status=1)[1])
        self.assertIsNone(other.poll())


class CommandLine(CtlCase):
    def test_help(self):
        out, _ = self.ctl("--help")
        commands = re.findall(r"(?m)^  (\w+(?: \w+)?)  ", out.decode())
        self.assertIn("quarantine release", commands)
        for command in commands:
            self.assertIn(f" {command}", self.ctl(*command.split(), "--help")[0].decode())

    def test_what_is_not_understood(self):
        for words in ([], ["nonsense"], ["quarantine"], ["quarantine", "nonsense"], ["stats", "now"], ["stats", "--limit", "1"],
                      ["stats", "--json=1"], ["-s"], ["-s", "nowhere", "stats"], ["-f", "/nonexistent", "stats"],
                      ["quarantine", "show"], ["-s", "1", HOSTILE], ["quarantine", "show", "a", "b"]):
            with self.subTest(words=words):
                out, error = self.ctl(*words, status=2)
                self.assertEqual(out, b"")
                self.assertHarmless(error)
                self.assertTrue(error.startswith(b"bivalvectl: "), error)

    def test_the_address_of_the_configuration(self):
        daemon = self.bivalved(self.sink())
        self.assertEqual(json.loads(self.ctl("-f", daemon.configuration, "stats", "--json")[0])["pid"], daemon.process.pid)
        self.assertIn(b"\nmessages\n", self.ctl("stats", "-s", daemon.stats_port)[0])

    def complete(self, program, *words):
        """bash's proposals for the last of `words`, by the completion in its installed form."""
        script = (f"source {PROJECT}/appliance/completion/{program}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                  f"_{program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        if tool("bivalvectl") is None:
            self.skipTest("bivalvectl is not built")
        path = f"{tool('bivalvectl').parent}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", program, *words], capture_output=True, check=False,
                              timeout=TIMEOUT, cwd=self.directory, env={**os.environ, "PATH": path})
        self.assertEqual(done.stderr, b"")
        return set(done.stdout.decode().split())

    def test_completion(self):
        (self.directory / "a.conf").touch()
        self.assertEqual(self.complete("bivalvectl", "st"), {"stats"})
        self.assertLessEqual({"stats", "quarantine", "--help", "-s"}, self.complete("bivalvectl", ""))
        self.assertEqual(self.complete("bivalvectl", "quarantine", ""), {"list", "show", "release", "delete"})
        self.assertEqual(self.complete("bivalvectl", "-s", "1", "quarantine", "release", "--"),
                         {"--to", "--delete", "--directory", "--help"})
        self.assertEqual(self.complete("bivalvectl", "-f", ""), {"a.conf"})
        self.assertEqual(self.complete("bivalvectl", "-s", ""), set())
        self.assertEqual(self.complete("bivalved", "--"), {"--check-config"})
        self.assertEqual(self.complete("bivalved", "-f", "a"), {"a.conf"})


if __name__ == "__main__":
    main()
