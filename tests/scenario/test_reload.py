"""Reading the configuration again (SIGHUP): what takes effect when, what a wrong file does, and that mail is not affected."""
import os
import re
import signal
import threading

from harness import (PROJECT, ScenarioCase, SmtpClient, compose, free_port, infected_attachment, main, run_program,
                     wait_until)
from harness.bivalved import program

MESSAGE = compose(b"x\r\n")
DONE = "the configuration was read again"
FAILED = "the configuration is not taken"


class ReloadCase(ScenarioCase):
    bivalve_only = True

    def hup(self, daemon, pattern):
        """Sends SIGHUP and waits for a new line that matches; returns it."""
        start = len(daemon.process.lines)
        daemon.process.signal(signal.SIGHUP)
        return daemon.process.wait_line(pattern, start=start)

    def reload(self, daemon, settings):
        """Changes settings (None: the default again) and waits until the daemon uses them."""
        daemon.settings.update(settings)
        daemon.write_configuration()
        self.hup(daemon, DONE)

    def deliver(self, daemon, content=MESSAGE, code=250, text=None):
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(content), code, text)


class Faults(ReloadCase):
    """A wrong file changes nothing and says why."""

    def test_a_bad_file_changes_nothing(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"HostName": "one.example"})
        text = daemon.configuration.read_text()
        daemon.configuration.write_text(text + "HostName: two.example\nNoSuchThing: 1\nAction: explode\n")
        lines = text.count("\n")
        self.hup(daemon, FAILED)
        log = daemon.log
        path = re.escape(str(daemon.configuration))
        self.assertRegex(log, rf"{path}:{lines + 1}: HostName: stands already")
        self.assertRegex(log, rf"{path}:{lines + 2}: NoSuchThing: unknown setting")
        self.assertRegex(log, rf"{path}:{lines + 3}: Action: ")
        self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 220, "one.example")
        self.deliver(daemon)
        daemon.configuration.unlink()
        self.hup(daemon, FAILED)
        figures = daemon.stats()["reload"]
        self.assertEqual((figures["count"], figures["failed"]), (0, 2))
        self.assertIn("cannot read", figures["last_error"])
        self.assertGreater(figures["time"], 1_700_000_000)
        daemon.write_configuration()
        self.reload(daemon, {"HostName": "two.example"})
        figures = daemon.stats()["reload"]
        self.assertEqual((figures["count"], figures["failed"], figures["last_error"]), (1, 2, ""))
        self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 220, "two.example")

    def test_one_gate(self):
        """Errors that --check-config refuses are also refused by a reload, a hot restart and a start, in the same words."""
        daemon = self.bivalved(self.sink())
        text = daemon.configuration.read_text()
        number = text.count("\n") + 1
        before = len(text[:text.index("TempDirectory:")].splitlines()) + 1
        file = self.directory / "file"
        file.write_text("x")
        elsewhere = re.sub("TempDirectory: .*", "TempDirectory: {}", text)
        cases = [(elsewhere.format(self.directory / "absent"), f"{before}: TempDirectory: the directory '.*absent': No such file"),
                 (elsewhere.format(file), f"{before}: TempDirectory: '.*file' is no directory"),
                 (text + "User: no-such-user\n", f"{number}: User: there is no user 'no-such-user'"),
                 (text + f"PidFile: {self.directory}/absent/pid\n", f"{number}: PidFile: the directory '.*absent'"),
                 (text + f"OutAddress: {daemon.port}\n", f"{number}: OutAddress: .* is where this program itself listens")]
        for faulty, pattern in cases:
            with self.subTest(pattern):
                daemon.configuration.write_text(faulty)
                checked = run_program([program(), "--check-config", "-f", daemon.configuration])
                self.assertEqual(checked.returncode, 2, checked.stdout)
                sentence = re.search(rf"{re.escape(str(daemon.configuration))}:{pattern}.*", checked.stdout.decode()).group()
                self.hup(daemon, f"{FAILED}.*: {re.escape(sentence)}$")
                self.assertEqual(daemon.stats()["reload"]["last_error"], sentence)
                line = len(daemon.process.lines)
                daemon.process.signal(signal.SIGUSR2)
                daemon.process.wait_line(f"has not taken over, this one goes on: {re.escape(sentence)}; .*status 1$", start=line)
                started = run_program([program(), "-d", "0", "-f", daemon.configuration])
                self.assertEqual((started.returncode, started.stdout.decode().strip()), (1, f"bivalved: {sentence}"))
        daemon.configuration.write_text(text)
        self.hup(daemon, "nothing has changed")
        self.deliver(daemon)

    def test_the_settings_in_force_count(self):
        """Listen stays as it was, so a loop may exist in the running program even if there is none in the file."""
        daemon = self.bivalved(self.sink())
        before = dict(daemon.settings)
        own = str(daemon.port)
        other = free_port()
        self.addCleanup(other.release)
        daemon.settings.update({"Listen": str(other), "OutAddress": own})
        daemon.write_configuration()
        self.assertEqual(run_program([program(), "--check-config", "-f", daemon.configuration]).returncode, 0)
        self.hup(daemon, f"{FAILED}.*OutAddress: '{own}' is where this program itself listens")
        daemon.settings = before
        self.reload(daemon, {})
        self.deliver(daemon)

    def test_a_directory_that_may_not_be_written_to(self):
        """As User, which the running process has become."""
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        self.directory.chmod(0o755)
        daemon = self.bivalved(self.sink(), settings={"User": "nobody"}, start=False)
        daemon.temporary.chmod(0o777)
        daemon.start()
        closed = self.directory / "closed"
        closed.mkdir(mode=0o700)
        daemon.settings["TempDirectory"] = closed
        daemon.write_configuration()
        sentence = "TempDirectory: the directory '.*closed' (cannot be written to by user 'nobody': )?Permission denied"
        self.hup(daemon, f"{FAILED}.*{sentence}")
        started = run_program([program(), "-d", "0", "-f", daemon.configuration])
        self.assertEqual(started.returncode, 1)
        self.assertRegex(started.stdout.decode(), sentence)
        self.deliver(daemon)

    def test_what_cannot_change_is_named_and_stays(self):
        """TransparentProxy cannot be turned on, so OutAddress cannot go."""
        daemon = self.bivalved(self.sink())
        before = dict(daemon.settings)
        daemon.settings.update({"OutAddress": None, "TransparentProxy": "on"})
        daemon.write_configuration()
        self.hup(daemon, FAILED + ".*OutAddress")
        daemon.settings.update(before)
        daemon.settings["TransparentProxy"] = None
        daemon.write_configuration()
        self.hup(daemon, "nothing has changed")


class EverySetting(ReloadCase):
    """Each row of the table takes effect after SIGHUP, or is named in the log and does not."""

    def test_those_that_wait_for_the_next_start(self):
        daemon = self.bivalved(self.sink())
        fixed = {"Listen": "127.0.0.1:1", "TransparentProxy": "on", "User": "nobody", "Workers": 1,
                 "PidFile": self.directory / "pid", "StatsAddress": "127.0.0.1:2", "SocketMode": "0666"}
        before = dict(daemon.settings)
        daemon.settings.update(fixed)
        daemon.write_configuration()
        line = self.hup(daemon, "cannot change while the program runs, and stay as they were: (.*)$")
        self.assertEqual(set(line.group(1).split(", ")), set(fixed))
        daemon.wait_log(DONE)
        daemon.settings = before
        self.assertEqual(daemon.stats()["workers"], 2)
        self.assertFalse((self.directory / "pid").exists())
        self.deliver(daemon)

    def test_the_others(self):
        """One check for each setting in the sample file; a setting without one fails the test."""
        names = set(re.findall(r"^#?([A-Z][A-Za-z]+):", (PROJECT / "appliance/man/bivalved.conf").read_text(), re.M))
        checks = {name.removeprefix("check_"): getattr(self, name) for name in dir(self) if name.startswith("check_")}
        fixed = {"Listen", "TransparentProxy", "User", "Workers", "PidFile", "StatsAddress", "SocketMode"}
        # Tested where their effects are tested: test_restart.
        elsewhere = {"DrainTimeOut", "RestartTimeOut"}
        self.assertEqual(names - fixed - elsewhere, set(checks), "settings and checks")
        self.one, self.two = self.sink(), self.sink(extensions=("XCLIENT ADDR NAME", "8BITMIME"))
        self.daemon = self.bivalved(self.one)
        first = dict(self.daemon.settings)
        for name in sorted(checks):
            with self.subTest(setting=name):
                try:
                    checks[name](self.daemon)
                finally:
                    self.daemon.settings = dict(first)
                    self.reload(self.daemon, {})
        self.deliver(self.daemon)

    def check_OutAddress(self, daemon):
        old = daemon.client()
        self.reload(daemon, {"OutAddress": self.two.address.replace("127.0.0.1", "localhost")})
        count = len(self.two.messages)
        self.deliver(daemon)
        self.assertEqual(len(self.two.messages), count + 1)
        # The existing session continues with its server.
        old.ehlo()
        self.assertReply(old.deliver(MESSAGE), 250)
        self.assertEqual(len(self.two.messages), count + 1)

    def check_ClamAddress(self, daemon):
        names = [s["address"] for s in daemon.stats()["scanners"]]
        other = self.null_clamd()
        self.reload(daemon, {"ClamAddress": [other.address, names[0]]})
        stats = daemon.wait_stats("the new scanner to be up", lambda s: all(one["up"] for one in s["scanners"]))
        self.assertEqual([s["address"] for s in stats["scanners"]], [other.address, names[0]])
        scans = stats["scanners"][1]["scans"]
        self.reload(daemon, {"ClamAddress": names})
        self.deliver(daemon)
        stats = daemon.stats()["scanners"]
        self.assertEqual([s["address"] for s in stats], names)
        self.assertGreaterEqual(stats[0]["scans"], scans + 1)

    def check_Header(self, daemon):
        old = daemon.client()
        self.reload(daemon, {"Header": "X-New: yes"})
        self.deliver(daemon)
        self.assertIn(b"X-New: yes", self.one.messages[-1].content)
        old.ehlo()
        self.assertReply(old.deliver(MESSAGE), 250)
        self.assertNotIn(b"X-New: yes", self.one.messages[-1].content)

    def check_Action(self, daemon):
        old = daemon.client()
        self.reload(daemon, {"Action": "bounce"})
        self.deliver(daemon, infected_attachment(), 550)
        old.ehlo()
        self.assertReply(old.deliver(infected_attachment()), 250)

    def check_Quarantine(self, daemon):
        self.reload(daemon, {"Quarantine": "on"})
        self.deliver(daemon, infected_attachment())
        # The message is written first, its record after it.
        wait_until("the record", lambda: any(name.endswith(".json") for name in daemon.temporary_files()))
        for path in daemon.temporary.iterdir():
            path.unlink()

    def check_VirusAction(self, daemon):
        seen = self.directory / "seen"
        self.reload(daemon, {"VirusAction": f"echo >{seen}"})
        self.deliver(daemon, infected_attachment())
        wait_until("the command", seen.exists)

    def check_TempDirectory(self, daemon):
        other = self.directory / "other"
        other.mkdir()
        self.reload(daemon, {"TempDirectory": other, "Quarantine": "on"})
        self.deliver(daemon, infected_attachment())
        wait_until("the file", lambda: list(other.iterdir()))
        self.assertEqual(daemon.temporary_files(), [])

    def check_MaxConnections(self, daemon):
        with daemon.client():
            self.reload(daemon, {"MaxConnections": 1})
            self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 421)

    def check_TimeOut(self, daemon):
        self.reload(daemon, {"TimeOut": 1})
        with daemon.client() as client:
            self.assertReply(client.reply(), 421)

    def check_KeepAlives(self, daemon):
        self.reload(daemon, {"KeepAlives": 1})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.begin_data(), 354)
            self.one.wait_command(b"NOOP")
            client.content(MESSAGE)
            self.assertReply(client.reply(), 250)

    def check_XClient(self, daemon):
        self.reload(daemon, {"XClient": "on", "OutAddress": self.two.address})
        self.deliver(daemon)
        self.two.wait_command(b"XCLIENT")

    def check_XClientFailure(self, daemon):
        self.reload(daemon, {"XClient": "on"})
        with daemon.client() as client:
            self.assertReply(client.ehlo(), 421)
        self.reload(daemon, {"XClient": "on", "XClientFailure": "allow"})
        self.deliver(daemon)

    def check_BinaryMime(self, daemon):
        binary = self.sink(extensions=("CHUNKING", "BINARYMIME"))
        self.reload(daemon, {"OutAddress": binary.address})
        for setting, shown in (("off", False), ("on", True)):
            self.reload(daemon, {"OutAddress": binary.address, "BinaryMime": setting})
            with daemon.client() as client:
                client.ehlo()
                self.assertEqual("BINARYMIME" in client.extensions, shown)

    def check_ClamMethod(self, daemon):
        local = daemon.settings["ClamAddress"]
        self.reload(daemon, {"ClamMethod": "instream"})
        self.deliver(daemon)
        self.deliver(daemon, infected_attachment())
        self.assertEqual(daemon.settings["ClamAddress"], local)
        self.assertRegex(self.shared_clamd().log, r"instream\([^)]*\): .*FOUND")

    def check_ClamConnections(self, daemon):
        workers = daemon.stats()["workers"]
        for count in (4, 1):
            self.reload(daemon, {"ClamConnections": count})
            daemon.wait_stats(f"{count} connections", lambda s, n=count: s["scanners"][0]["connections"] == n * workers)

    def check_ClamTimeOut(self, daemon):
        slow = self.null_clamd(delay_ms=8000)
        self.reload(daemon, {"ClamTimeOut": 1, "ClamAddress": slow.address, "Canary": "off"})
        daemon.wait_stats("the scanner to be up", lambda s: s["scanners"][0]["up"])
        self.deliver(daemon, code=451)

    def check_ScanFailure(self, daemon):
        self.reload(daemon, {"ScanFailure": "reject", "ClamAddress": str(self.directory / "nobody")})
        self.deliver(daemon, code=554)

    def check_Canary(self, daemon):
        blind = self.null_clamd(canary=False)
        self.reload(daemon, {"Canary": "off", "ClamAddress": blind.address})
        daemon.wait_stats("the scanner to be up", lambda s: s["scanners"][0]["up"])
        self.reload(daemon, {"Canary": "on"})
        daemon.wait_stats("the scanner to be found blind", lambda s: s["scanners"][0]["canary"] == "missed")

    def check_MaxMessageSize(self, daemon):
        self.reload(daemon, {"MaxMessageSize": 1000})
        self.deliver(daemon, compose(b"x" * 70 + b"\r\n" + b"line\r\n" * 1000), code=552)

    def check_BodyMemory(self, daemon):
        """With one byte of memory a message can only grow in a file, and without a directory for files not at all."""
        gone = self.directory / "gone"
        gone.mkdir()
        self.reload(daemon, {"BodyMemory": 1, "TempDirectory": gone, "TimeOut": 2})
        gone.rmdir()
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            reply = client.command("DATA")
            if reply.code == 354:  # a body kept from another message has some room
                client.content(compose(b"line\r\n" * 500_000))
                reply = client.reply()
            self.assertReply(reply, 452)

    def check_BareNewline(self, daemon):
        self.reload(daemon, {"BareNewline": "reject"})
        self.deliver(daemon, b"Subject: x\r\n\r\nbare\nhere\r\n", code=550)

    def check_ProxyProtocol(self, daemon):
        old = daemon.client()
        self.reload(daemon, {"ProxyProtocol": "on"})
        with SmtpClient(daemon.address, greeting=False) as client:
            client.send(b"PROXY TCP4 192.0.2.77 192.0.2.1 1 25\r\n")
            self.assertReply(client.reply(), 220)
            daemon.wait_log("accepted connection from: 192.0.2.77")
        old.ehlo()

    def check_ProxyProtocolFrom(self, daemon):
        self.reload(daemon, {"ProxyProtocol": "on", "ProxyProtocolFrom": "192.0.2.0/24"})
        SmtpClient(daemon.address, greeting=False).wait_closed()

    def check_MaxConnectionsPerClient(self, daemon):
        with daemon.client():  # an earlier client: does not count
            self.reload(daemon, {"MaxConnectionsPerClient": 1})
            with daemon.client() as one:
                self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 421)
                self.reload(daemon, {"MaxConnectionsPerClient": None})
                daemon.client().close()
                one.ehlo()

    def check_HostName(self, daemon):
        self.reload(daemon, {"HostName": "new.example"})
        self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 220, "new.example")

    def check_DebugFiles(self, daemon):
        self.reload(daemon, {"DebugFiles": "on"})
        self.deliver(daemon)
        wait_until("the file", daemon.temporary_files)
        for path in daemon.temporary.iterdir():
            path.unlink()

    def check_LogFormat(self, daemon):
        self.reload(daemon, {"LogFormat": "json"})
        start = len(daemon.process.lines)
        self.deliver(daemon)
        daemon.process.wait_line('"status":"CLEAN"', start=start)

    def check_ShutdownTimeOut(self, daemon):
        """A separate daemon, with a message that never ends."""
        other = self.bivalved(self.one)
        self.reload(other, {"ShutdownTimeOut": 0})
        client = other.client()
        client.ehlo()
        client.begin_data()
        other.process.signal(signal.SIGTERM)
        other.wait_log("stopped with 1 connections open")


class UnderLoad(ReloadCase):
    """Reloads while mail is sent: no session ends, and no message is lost or doubled."""

    def test_twenty_readings(self):
        sink = self.sink()
        one, two = self.null_clamd(), self.null_clamd()
        daemon = self.bivalved(sink, one)
        stop = threading.Event()
        sent, faults = [], []

        def send(number):
            client = daemon.client()
            client.ehlo()
            count = 0
            while not stop.is_set():
                name = f"{number}.{count}@example.com"
                reply = client.deliver(MESSAGE, sender=name)
                (sent if reply.code == 250 else faults).append(name if reply.code == 250 else str(reply))
                count += 1
            client.quit()
        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            addresses = [[one.address], [one.address, two.address], [two.address]][turn % 3]
            self.reload(daemon, {"ClamAddress": addresses, "ClamConnections": 1 + turn % 3,
                                 "Header": f"X-Turn: {turn}"})
            before = len(sent) + len(faults)
            wait_until("mail between the readings", lambda: len(sent) + len(faults) > before + 1)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        self.assertGreaterEqual(len(sent), 40)
        self.assertEqual(sorted(m.sender for m in sink.messages), sorted(sent))
        self.assertEqual(daemon.stats()["reload"]["count"], 20)


if __name__ == "__main__":
    main()
