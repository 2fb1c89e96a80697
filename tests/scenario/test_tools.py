"""Tools that postmasters use, against the daemon: swaks, and Postfix's smtp-source and smtp-sink."""
import json
import os
import re
import socket
import unittest

from harness import ScenarioCase, compose, eicar, free_port, main, run_program, tool, wait_until, without_header
from harness.bivalved import program

SWAKS, SOURCE, SINK = "/usr/bin/swaks", "/usr/sbin/smtp-source", "/usr/sbin/smtp-sink"


@unittest.skipUnless(os.access(SWAKS, os.X_OK), "swaks is not installed")
class Swaks(ScenarioCase):
    def swaks(self, daemon, *arguments):
        return run_program([SWAKS, "--server", str(daemon.port), "--from", "ada@example.com", "--to", "bob@example.net",
                            "--helo", "client.example", *arguments])

    def test_clean(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        path = self.directory / "message.eml"
        path.write_bytes(compose(b"Hello from swaks.\r\n.dot\r\n"))
        done = self.swaks(daemon, "--data", f"@{path}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(b"Hello from swaks.\r\n.dot\r\n", sink.messages[0].content)

    def test_pipelined(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd has no pipelining")
        done = self.swaks(daemon, "--pipeline", "--body", "pipelined")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(b"pipelined", sink.messages[0].content)

    def test_eicar_attached(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"Action": "bounce"})
        path = self.directory / "eicar.com"
        path.write_bytes(eicar())
        done = self.swaks(daemon, "--attach", f"@{path}")
        self.assertEqual(done.returncode, 26, done.stdout)  # swaks: DATA or the end of data was refused
        self.assertIn(b"550 Virus Detected; Content Rejected", done.stdout)
        self.assertEqual(sink.received, [])


@unittest.skipUnless(os.access(SOURCE, os.X_OK), "Postfix is not installed")
class Postfix(ScenarioCase):
    def start_sink(self, *arguments):
        port = free_port()
        self.addCleanup(port.release)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process("smtp-sink", [SINK, *user, *arguments, f"inet:{port}", "128"], directory=self.directory)

        def ready():
            try:
                socket.create_connection(port.pair, timeout=1).close()
                return True
            except OSError:
                return False
        wait_until("smtp-sink to listen", ready)
        return port

    def test_source_to_our_sink(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        done = run_program([SOURCE, "-s", "5", "-m", "50", "-r", "3", "-l", "20000", "-f", "ada@example.com", "-t",
                            "bob@example.net", f"inet:{daemon.port}"])
        self.assertEqual(done.returncode, 0, done.stdout)
        for message in sink.wait_messages(50):
            self.assertEqual(len(message.recipients), 3)
        daemon.expect_messages(received=50, delivered=50)

    def test_source_to_smtp_sink(self):
        """Postfix on both sides; its own dump is compared with the sent mail."""
        self.directory.chmod(0o777)
        port = self.start_sink("-D", "dump")
        daemon = self.bivalved(str(port))
        path = self.directory / "message.eml"
        content = compose(b"line\r\n.dot\r\n..\r\nlast\r\n")
        path.write_bytes(content.replace(b"\r\n", b"\n"))
        done = run_program([SOURCE, "-m", "1", "-F", path, "-f", "ada@example.com", "-t", "bob@example.net",
                            f"inet:{daemon.port}"])
        self.assertEqual(done.returncode, 0, done.stdout)
        dump = wait_until("the dump", lambda: next((p.read_bytes() for p in self.directory.glob("dump*")
                                                    if p.read_bytes().endswith(b"\n\n")), None))
        _, _, message = dump.partition(b"\nFrom: ")
        arrived = without_header((b"From: " + message).replace(b"\n", b"\r\n"))
        self.assertEqual(arrived.rstrip(b"\r\n"), content.rstrip(b"\r\n"))
        daemon.expect_messages(received=1, delivered=1)

    def test_smtp_sink_that_refuses(self):
        if program().name == "clamsmtpd":
            self.skipTest("clamsmtpd differs here")
        for arguments, code in ((["-f", "."], 500), (["-r", "."], 450), (["-f", "RCPT"], 500), (["-q", "."], 451)):
            with self.subTest(arguments=arguments):
                daemon = self.bivalved(str(self.start_sink(*arguments)))
                with daemon.client() as client:
                    client.ehlo()
                    client.mail()
                    reply = client.rcpt()
                    if reply.code == 250:
                        reply = client.data(compose(b"x\r\n"))
                    self.assertEqual(reply.code, code, str(reply))


class Ctl(ScenarioCase):
    """bivalvectl, the operator's tool."""
    bivalve_only = True

    def ctl(self, *arguments):
        executable = tool("bivalvectl")
        if executable is None:
            self.skipTest("bivalvectl is not built")
        return run_program([executable, *arguments])

    def test_stats_for_people_and_for_programs(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.deliver(compose(b"one\r\n"))
        done = self.ctl("-s", str(daemon.stats_port), "stats")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, rb"(?m)^messages\n  received +1\n")
        self.assertRegex(done.stdout, rb"(?m)^scanner .*\n  up +true\n")
        self.assertEqual(len(re.findall(rb"(?m)^  total +1  p50 ", done.stdout)), 1)
        done = self.ctl("-s", str(daemon.stats_port), "stats", "--json")
        self.assertEqual(json.loads(done.stdout)["messages"]["delivered"], 1)
        wait_until("readiness", lambda: self.ctl("-s", str(daemon.stats_port), "ready").returncode == 0)

    def test_nobody_there_and_wrong_words(self):
        port = free_port()
        self.addCleanup(port.release)
        done = self.ctl("-s", str(port), "stats")
        self.assertEqual((done.returncode, b"cannot connect to" in done.stdout), (1, True), done.stdout)
        self.assertEqual(self.ctl("stats", "now").returncode, 2)
        self.assertEqual(self.ctl().returncode, 2)


if __name__ == "__main__":
    main()
