"""What clamsmtpd 1.10 and Bivalve do besides the dialogue: files, environments, server commands, log, exit status.

Both get the same configuration file and the same dialogue; test_dropin.py compares the words to client and server. Every
difference is in DIFFERENCES, with its reason. Each entry is tested, so that none stays longer than the difference exists.
"""
import os
import re
import stat
import time
import unittest

from harness import (Process, ScenarioCase, SmtpClient, compose, eicar_message, free_port, infected_attachment, main,
                     wait_until)
from harness.bivalved import program

CLAMSMTPD = "/usr/sbin/clamsmtpd"

DIFFERENCES = {
    "early 354": "clamsmtpd answers DATA with 354 before the server has taken MAIL and RCPT; then all content is lost work",
    "hidden pipelining": "clamsmtpd hides PIPELINING, SIZE and CHUNKING behind XFILTERED; Bivalve supports them",
    "file mode": "clamsmtpd's virus.XXXXXX is 0640, the contract says 0600",
    "record": "clamsmtpd keeps the message alone; Bivalve writes virus.XXXXXX.json beside it, with the envelope it came with",
    "remote helo": "clamsmtpd loses HELO= of an XFORWARD, though its manual promises REMOTE_HELO; Bivalve has it, decoded",
    "environment": "clamsmtpd's script inherits the daemon's environment and process group, Bivalve's has its nine variables "
                   "and a PATH",
    "xclient": "clamsmtpd sends XCLIENT before the client's second command, ADDR alone, and even to a server that got HELO and "
               "offered nothing; Bivalve before the greeting, with what the server lists",
    "empty message": "clamsmtpd does not see the end of data that comes first thing, and waits until TimeOut",
    "old options": "clamsmtpd 1.10 takes -c for a switch and refuses to start, and -X is gone; both work in Bivalve",
    "bare newline": "clamsmtpd passes a dot line with a bare LF on, where servers see different ends; Bivalve refuses it (550)",
}


@unittest.skipUnless(os.access(CLAMSMTPD, os.X_OK), "clamsmtpd is not installed")
class BesideTheDialogue(ScenarioCase):
    bivalve_only = True

    def both(self, scenario, settings=None, **sink_options):
        """Runs scenario(daemon, sink, out) with each program; returns the results for (clamsmtpd, Bivalve)."""
        results = []
        for executable in (CLAMSMTPD, None):
            sink = self.sink(**{k: {a: list(b) for a, b in v.items()} if isinstance(v, dict) else v
                                for k, v in sink_options.items()})
            out = self._path("out")
            out.mkdir()
            given = {name: str(value).replace("OUT", str(out)) for name, value in (settings or {}).items()}
            daemon = self.bivalved(sink, settings=given, executable=executable)
            results.append(scenario(daemon, sink, out))
            for path in daemon.temporary.iterdir():
                path.unlink(missing_ok=True)
        return results

    @staticmethod
    def environments(out, count):
        wait_until(f"{count} runs", lambda: len(list(out.glob("*.env"))) == count)
        runs = []
        for path in sorted(out.glob("*.env"), key=lambda p: p.stat().st_mtime_ns):
            runs.append(dict(item.partition("=")[::2] for item in path.read_text().split("\0") if item))
        return runs

    NAMES = ("CLIENT", "RECIPIENTS", "REMOTE", "SENDER", "SERVER", "VIRUS")
    ACTION = "env -0 > OUT/$$.part; mv OUT/$$.part OUT/$$.env"

    def test_environment_and_file(self):
        content = infected_attachment() + b".dot\r\n..two\r\n"

        def scenario(daemon, _, out):
            with daemon.client() as client:
                client.ehlo()
                client.command("XFORWARD NAME=mx.example ADDR=192.0.2.1 HELO=m+2Bx")
                client.deliver(content, "eve@example.com", ["bob@example.net", "cy@example.net"])
                self.environments(out, 1)
                client.deliver(content, "")
                runs = self.environments(out, 2)
            def kept():  # the record beside a message exists only with Bivalve ("record")
                return [p for p in daemon.temporary.iterdir() if ".json" not in p.name]
            wait_until("the files", lambda: len(kept()) == 2 and all(p.stat().st_size == len(content) for p in kept()))
            files = {str(p): (stat.S_IMODE(p.stat().st_mode), p.read_bytes()) for p in kept()}
            for record in daemon.temporary.glob("*.json"):
                record.unlink()
            for run in runs:
                self.assertEqual(run["TMPDIR"], str(daemon.temporary))
                self.assertRegex(run["EMAIL"], r"/virus\.\w{6}$")
                self.assertIn(run["EMAIL"], files)
            return runs, files
        (old_runs, old_files), (new_runs, new_files) = self.both(
            scenario, {"Quarantine": "on", "VirusAction": self.ACTION}, extensions=["XFORWARD NAME ADDR HELO"])
        for old, new in zip(old_runs, new_runs):
            self.assertEqual({n: old.get(n) for n in self.NAMES if n != "SENDER"},
                             {n: new.get(n) for n in self.NAMES if n != "SENDER"})
        # The null sender has a test of its own.
        self.assertEqual(old_runs[0]["SENDER"], new_runs[0]["SENDER"])
        self.assertEqual([c for _, c in old_files.values()], [content] * 2)
        self.assertEqual([c for _, c in new_files.values()], [content] * 2)
        # "file mode", "remote helo", "environment"
        self.assertEqual({m for m, _ in old_files.values()}, {0o640})
        self.assertEqual({m for m, _ in new_files.values()}, {0o600})
        self.assertNotIn("REMOTE_HELO", old_runs[0])
        self.assertEqual(new_runs[0]["REMOTE_HELO"], "m+x")
        self.assertIn("HOME", old_runs[0])
        self.assertNotIn("HOME", new_runs[0])

    def test_addresses_as_the_script_gets_them(self):
        addresses = ['"; touch x; "@a', "$(x)@a", "`x`@a", "a\\b@a", "<>@a", "%41@a", '"a b"@c', "ü@a", "a\x01b@a"]

        def scenario(daemon, _, out):
            runs = []
            for number, address in enumerate(addresses, 1):
                with daemon.client() as client:
                    client.ehlo()
                    client.command(f"MAIL FROM:<{address}>")
                    client.command(f"RCPT TO:<{address}>")
                    client.data(eicar_message())
                runs.append(self.environments(out, number)[-1])
            return [(run["SENDER"], run["RECIPIENTS"]) for run in runs]
        old, new = self.both(scenario, {"VirusAction": self.ACTION})
        for address, was, now in zip(addresses, old, new):
            with self.subTest(address=address):
                if address == "<>@a":
                    continue  # Not a path (RFC 5321 section 4.1.2): each program cuts it differently.
                self.assertEqual(now, was)

    def test_xclient(self):
        def scenario(daemon, sink, _):
            with daemon.client() as client:
                client.ehlo("m.example")
                client.deliver(compose(b"x\r\n"))
            sink.wait_sessions_closed()
            return sink.commands
        old, new = self.both(scenario, {"XClient": "on"}, extensions=["8BITMIME", "XCLIENT NAME ADDR"])
        # "xclient"
        self.assertEqual(old[:3], [b"EHLO m.example", b"XCLIENT ADDR=127.0.0.1", b"MAIL FROM:<ada@example.com>"])
        self.assertEqual(new[:4], [b"EHLO smtp.passthru", b"XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1", b"EHLO m.example",
                                   b"MAIL FROM:<ada@example.com>"])

    def test_keep_alives(self):
        """NOOPs while the client is slow; the client does not see the replies."""
        def scenario(daemon, sink, _):
            with daemon.client() as client:
                client.ehlo()
                client.begin_data()
                client.send(compose(b""))
                end = time.monotonic() + 2.5
                while time.monotonic() < end:
                    client.send(b"line\r\n")
                    time.sleep(0.1)
                client.send(b".\r\n")
                return str(client.reply()), sink.commands.count(b"NOOP") in (1, 2, 3), str(client.quit())
        old, new = self.both(scenario, {"KeepAlives": 1})
        self.assertEqual(new, old)

    def test_the_loopback_feature(self):
        def scenario(daemon, sink, _):
            with daemon.client() as client:
                client.ehlo()
                client.deliver(compose(b"x\r\n"))
            return len(sink.messages)
        for executable in (CLAMSMTPD, None):
            sink = self.sink()
            daemon = self.bivalved(str(sink.port.number), executable=executable)
            self.assertEqual(scenario(daemon, sink, None), 1)

    def test_early_354(self):
        """In DIFFERENCES: "early 354" and "hidden pipelining"."""
        def scenario(daemon, sink, _):
            with daemon.client() as client:
                extensions = client.ehlo().lines
                code = client.command("DATA").code
                if code == 354:
                    client.send(b"x\r\n.\r\n")
                    client.reply()
                return code, "PIPELINING" in extensions
        old, new = self.both(scenario, extensions=["PIPELINING"])
        self.assertEqual((old, new), ((354, False), (503, True)))

    def test_bare_newline(self):
        """In DIFFERENCES."""
        def scenario(daemon, *_):
            with daemon.client() as client:
                client.ehlo()
                client.begin_data()
                client.send(compose(b"a\n.\nMAIL FROM:<x@y>\r\n") + b".\r\n")
                return client.reply().code
        old, new = self.both(scenario)
        self.assertEqual((old, new), (250, 550))

    def test_empty_message(self):
        """In DIFFERENCES."""
        def scenario(daemon, *_):
            with daemon.client() as client:
                client.ehlo()
                client.begin_data()
                client.send(b".\r\n")
                return client.quiet(1)
        old, new = self.both(scenario)
        self.assertEqual((old, new), (True, False))

    def test_dots_at_the_start_of_lines(self):
        """Dots at the start of lines arrive as they were sent."""
        text = compose(b".\r\n..\r\n.x\r\n\r\n.\r\n")

        def scenario(daemon, sink, _):
            with daemon.client() as client:
                client.ehlo()
                client.deliver(text)
            return sink.messages[0].content.replace(b"ClamSMTP", b"Bivalve")
        old, new = self.both(scenario)
        self.assertEqual(new, old)

    def test_a_wrong_configuration(self):
        """Exit status 2, and the name of the setting."""
        path = self.directory / "wrong.conf"
        path.write_text("OutAddress: 25\nNoSuchThing: 1\n")
        status = []
        for executable in (CLAMSMTPD, program()):
            process = Process("wrong", [executable, "-d", "1", "-f", path])
            self.addCleanup(process.kill)
            status.append(process.wait())
            self.assertIn("NoSuchThing", process.output)
        self.assertEqual(status, [2, 2])

    def test_the_old_options(self):
        """-b -D -h -l -m -q -t and a positional OutAddress: the same daemon; -c too, where it works ("old options")."""
        results = []
        for executable in (CLAMSMTPD, program()):
            sink = self.sink()
            port = free_port()
            self.addCleanup(port.release)
            directory = self._path("temp")
            directory.mkdir()
            empty = self.directory / "empty.conf"
            clamd = self.shared_clamd().address
            empty.write_text(f"ClamAddress: {clamd}\n" if executable == CLAMSMTPD else "StatsAddress:\n")
            more = [] if executable == CLAMSMTPD else ["-c", clamd]
            process = Process("old", [executable, "-d", "4", "-f", empty, "-b", *more, "-D", directory, "-h", "X-Old: yes", "-l", str(port), "-m", "10", "-q", "-t", "60", sink.address])
            self.addCleanup(process.kill)
            def ready(p=process):
                return any(re.search("accepting connections|with 2 workers|with \\d+ workers", x) for x in p.lines)
            wait_until("the start", ready)
            with SmtpClient(port.pair) as client:
                client.ehlo()
                said = [str(client.deliver(infected_attachment())), str(client.deliver(compose(b"x\r\n")))]
            wait_until("the file", lambda d=directory: [p for p in d.iterdir() if p.name.startswith("virus.")])
            results.append((said, sink.messages[0].content))
        self.assertEqual(results[1], results[0])

    def test_the_list_is_whole(self):
        """Every entry of DIFFERENCES is named by a test, and has a reason."""
        with open(__file__, encoding="utf-8") as source:
            tests = source.read().partition("class BesideTheDialogue")[2]
        for name, reason in DIFFERENCES.items():
            self.assertTrue(f'"{name}"' in tests or f"def test_{name.replace(' ', '_')}" in tests, name)
            self.assertGreater(len(reason), 20)


if __name__ == "__main__":
    main()
