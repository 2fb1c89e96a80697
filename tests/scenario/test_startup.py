"""Start and stop: for every error one clear sentence and the right exit status, and a clean end."""
import errno
import json
import os
import signal
from pathlib import Path

from harness import Process, ScenarioCase, busy_port, compose, forbid_io_uring, free_port, main, run_program
from harness.bivalved import program


class WrongConfiguration(ScenarioCase):
    """Exit status 2 and a line that names file, line and setting."""

    bivalve_only = True

    def refuse(self, text, *patterns, arguments=()):
        path = self.directory / "wrong.conf"
        path.write_text(text)
        done = run_program([program(), "-d", "1", "-f", path, *arguments])
        output = done.stdout.decode()
        self.assertEqual(done.returncode, 2, output)
        for pattern in patterns:
            self.assertRegex(output, pattern)
        return output

    def test_unknown_setting(self):
        output = self.refuse("# a comment\nOutAddress: 127.0.0.1:25\nNoSuchThing: 1\n", r"wrong\.conf", r"\b3\b",
                             "NoSuchThing")
        self.assertEqual(len(output.strip().splitlines()), 1, "one sentence")

    def test_bad_values(self):
        for line in ("MaxConnections: 0", "MaxConnections: many", "TimeOut: -1", "Action: explode", "Workers: 100000",
                     "ClamMethod: pigeon", "ScanFailure: down=maybe", "ScanFailure: bored=pass", "BareNewline: x",
                     "MaxMessageSize: 10X", "Listen: 127.0.0.1:99999", "ClamAddress: 1.2.3.4.5:6:7", "Header"):
            with self.subTest(line=line):
                self.refuse(f"OutAddress: 127.0.0.1:25\n\n{line}\n", r"wrong\.conf", r"\b3\b", line.partition(":")[0])

    def test_no_out_address(self):
        self.refuse("Listen: 127.0.0.1:0\n", "OutAddress")

    def test_no_such_file(self):
        done = run_program([program(), "-d", "1", "-f", self.directory / "absent.conf"])
        self.assertIn(done.returncode, (1, 2))
        self.assertIn("absent.conf", done.stdout.decode())

    def test_command_line(self):
        path = self.directory / "fine.conf"
        path.write_text("OutAddress: 127.0.0.1:25\n")
        for arguments in (["-d", "5"], ["-d", "x"], ["-d"], ["-Z"], ["--no-such-option"]):
            with self.subTest(arguments=arguments):
                done = run_program([program(), "-f", path, *arguments])
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertTrue(done.stdout)

    def test_check_config(self):
        path = self.directory / "fine.conf"
        path.write_text("OutAddress: 127.0.0.1:25\nListen: 127.0.0.1:10025\nAction: bounce\n")
        self.assertEqual(run_program([program(), "--check-config", "-f", path]).returncode, 0)
        path.write_text("Wrong: 1\nOutAddress: 127.0.0.1:25\nAction: no\n")
        done = run_program([program(), "--check-config", "-f", path])
        self.assertEqual(done.returncode, 2)
        for word in (b"Wrong", b"Action"):
            self.assertIn(word, done.stdout, "every problem is printed")
        path.write_text("OutAddress: 127.0.0.1:10025\nUser: no-such-user\nPidFile: /no/such/place/pid\n")
        done = run_program([program(), "--check-config", "-f", path])
        self.assertEqual(done.returncode, 2)
        for line, name in ((1, "OutAddress"), (2, "User"), (3, "PidFile")):
            self.assertIn(f"fine.conf:{line}: {name}: ".encode(), done.stdout, "and what the machine has against it")

    def test_a_file_that_is_not_there(self):
        path = self.directory / "missing.conf"
        for arguments in (["--check-config"], ["-d", "0"]):
            done = run_program([program(), *arguments, "-f", path])
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout.decode(), f"bivalved: {path}: cannot read the file: No such file or directory\n")

    def test_names_in_any_case_and_spaces(self):
        path = self.directory / "odd.conf"
        path.write_text("  # comment\n\n  outADDRESS  :  127.0.0.1:25  \n\tACTION:\tBounce\n")
        done = run_program([program(), "--check-config", "-f", path])
        self.assertEqual(done.returncode, 0, done.stdout)


class WrongSurroundings(ScenarioCase):
    """Exit status 1 and one sentence that says what to do."""

    bivalve_only = True

    def does_not_start(self, settings, *patterns, before_exec=None, clamd="/nowhere/clamd.ctl"):
        # Few connections, so that a low limit of descriptors does not matter here.
        daemon = self.bivalved("127.0.0.1:9", clamd, {"MaxConnections": 100, **settings}, start=False)
        daemon.write_configuration()
        done = run_program([program(), "-d", "0", "-f", daemon.configuration], before_exec=before_exec)
        output = done.stdout.decode()
        self.assertEqual(done.returncode, 1, output)
        for pattern in patterns:
            self.assertRegex(output, pattern)
        self.assertEqual(len(output.strip().splitlines()), 1, f"one sentence, not: {output}")

    def test_busy_port(self):
        with busy_port() as listener:
            port = listener.getsockname()[1]
            self.does_not_start({"Listen": f"127.0.0.1:{port}"}, rf"127\.0\.0\.1:{port}", r"(?i)in use")

    def test_one_busy_port_of_two(self):
        free = free_port()
        self.addCleanup(free.release)
        with busy_port() as listener:
            port = listener.getsockname()[1]
            self.does_not_start({"Listen": [str(free), f"127.0.0.1:{port}"]}, str(port))

    def test_busy_stats_address_that_was_set(self):
        with busy_port() as listener:
            port = listener.getsockname()[1]
            self.does_not_start({"StatsAddress": f"127.0.0.1:{port}"}, rf"127\.0\.0\.1:{port}",
                                "StatsAddress|statistics")

    def test_io_uring_forbidden(self):
        """As in a container: the call fails with EPERM, or does not exist."""
        for number in (errno.EPERM, errno.ENOSYS):
            with self.subTest(error=errno.errorcode[number]):
                self.does_not_start({}, r"io_uring", before_exec=forbid_io_uring(number))

    def test_an_address_that_is_not_ours(self):
        self.does_not_start({"Listen": "192.0.2.1:10025"}, r"192\.0\.2\.1")


class Running(ScenarioCase):
    """Version, signals, statistics."""

    bivalve_only = True

    def test_version(self):
        done = run_program([program(), "-v"])
        self.assertEqual(done.returncode, 0)
        lines = done.stdout.decode().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"\d+\.\d+")
        self.assertIn(".conf", lines[1])

    def test_ends_on_term_and_int(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.bivalved(self.sink())
            with daemon.client() as client:
                client.ehlo()
                daemon.process.signal(number)
                self.assertEqual(daemon.process.wait(), 0)

    def test_a_running_transaction_may_finish(self):
        """TERM in the middle of a message: the message is delivered, no new client is accepted, then the process ends."""
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ShutdownTimeOut": 20})
        with daemon.client() as client:
            client.ehlo()
            client.begin_data()
            client.send(b"Subject: half\r\n\r\nbegun\r\n")
            clamd.process.signal(signal.SIGSTOP)
            daemon.process.signal(signal.SIGTERM)
            clamd.process.signal(signal.SIGCONT)
            client.send(b"finished\r\n.\r\n")
            self.assertReply(client.reply(), 250)
        self.assertEqual(daemon.process.wait(), 0)
        self.assertIn(b"begun\r\nfinished\r\n", sink.messages[0].content)

    def test_who_is_told_of_the_end(self):
        """A client without a transaction is told at once, one with a transaction after it, and the server by QUIT."""
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"Workers": 1, "ShutdownTimeOut": 60})
        with daemon.client() as idle, daemon.client() as busy:
            idle.ehlo()
            busy.ehlo()
            busy.mail()
            daemon.process.signal(signal.SIGTERM)
            self.assertReply(idle.reply(), 421, "4.3.2 Service is shutting down")
            self.assertEqual(idle.wait_closed(), b"")
            self.assertReply(busy.rcpt(), 250)
            self.assertReply(busy.data(compose(b"the last one\r\n")), 250)
            self.assertReply(busy.reply(), 421, "4.3.2 Service is shutting down")
            self.assertEqual(busy.wait_closed(), b"")
        self.assertEqual(daemon.process.wait(), 0)
        sink.wait_sessions_closed()
        self.assertEqual([session.verbs()[-1] for session in sink.sessions], ["QUIT", "QUIT"])

    def test_stuck_sessions_do_not_hold_up_the_end(self):
        daemon = self.bivalved(self.sink(), settings={"ShutdownTimeOut": 1})
        with daemon.client() as client:
            client.ehlo()
            client.begin_data()
            daemon.process.signal(signal.SIGTERM)
            self.assertEqual(daemon.process.wait(), 0)

    def test_workers_push_nobody_aside(self):
        """SCHED_BATCH for the workers, and only for them (perf/README.md)."""
        daemon = self.bivalved(self.sink(), settings={"Workers": 2})
        tasks = Path(f"/proc/{daemon.process.pid}/task")
        policies = {(task / "comm").read_text().strip(): os.sched_getscheduler(int(task.name)) for task in tasks.iterdir()}
        workers = {name for name, policy in policies.items() if policy == os.SCHED_BATCH}
        self.assertEqual(workers, {"worker-0", "worker-1"}, policies)

    def test_pid_file(self):
        path = self.directory / "bivalved.pid"
        daemon = self.bivalved(self.sink(), settings={"PidFile": path})
        self.assertEqual(int(path.read_text()), daemon.process.pid)
        daemon.stop()
        self.assertFalse(path.exists())

    def test_statistics_over_http(self):
        daemon = self.bivalved(self.sink())
        self.assertEqual(daemon.http("/healthz")[0], 200)
        self.assertEqual(daemon.http("/no/such/path")[0], 404)
        self.assertEqual(daemon.http("/stats", method="POST")[0], 405)
        stats = daemon.stats()
        self.assertEqual(stats["program"], "bivalved")
        self.assertEqual(stats["pid"], daemon.process.pid)
        self.assertEqual(stats["workers"], 2)
        self.assertEqual(len(stats["per_worker"]), 2)

    def test_statistics_have_all_their_fields(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            client.deliver(compose(b"x\r\n"))
        daemon.expect_messages(received=1, delivered=1)
        stats = daemon.stats()
        fields = json.loads("""
            {"connections": ["accepted", "active", "refused_busy"],
             "messages": ["received", "in_progress", "delivered", "refused", "dropped", "bounced", "tempfailed",
                          "rejected", "lost", "aborted", "clean", "infected", "scan_failed", "passed", "bytes"],
             "scan_failures": ["down", "timeout", "error", "size", "limits"],
             "server": ["connects", "connect_errors", "latency_us"],
             "phases_us": ["receive", "scan", "deliver", "total"]}""")
        for part, names in fields.items():
            self.assertLessEqual(set(names), set(stats[part]), part)
        for histogram in (*stats["phases_us"].values(), stats["scanners"][0]["latency_us"],
                          stats["server"]["latency_us"]):
            self.assertLessEqual({"count", "mean", "p50", "p90", "p99", "max"}, set(histogram))
        self.assertEqual(stats["phases_us"]["total"]["count"], 1)
        self.assertGreater(stats["phases_us"]["total"]["max"], 0)
        self.assertGreater(stats["messages"]["bytes"], 0)

    def test_statistics_can_be_off(self):
        daemon = self.bivalved(self.sink(), settings={"StatsAddress": ""})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        with self.assertRaises(OSError):
            daemon.http("/stats")

    def test_a_hostile_http_client_holds_up_nothing(self):
        import socket
        daemon = self.bivalved(self.sink())
        with socket.create_connection(daemon.stats_port.pair) as slow, \
                socket.create_connection(daemon.stats_port.pair) as rude:
            slow.sendall(b"GET /st")
            rude.sendall(b"\0" * 100000)
            with daemon.client() as client:
                client.ehlo()
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            self.assertEqual(daemon.http("/healthz")[0], 200)

    def test_restarts_at_once_on_the_same_port(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            daemon.stop()
        daemon.start()
        with daemon.client() as client:
            self.assertReply(client.greeting, 220)

    def test_a_second_daemon_on_the_port_is_refused(self):
        """SO_REUSEPORT shares a port among workers, but not among two daemons by mistake."""
        daemon = self.bivalved(self.sink())
        other = self.bivalved(self.sink(), start=False)
        other.settings["Listen"] = str(daemon.port)
        other.write_configuration()
        process = Process("second", [program(), "-d", "1", "-f", other.configuration])
        self.addCleanup(process.kill)
        self.assertEqual(process.wait(), 1)
        self.assertIn(str(daemon.port), process.output)


if __name__ == "__main__":
    main()
