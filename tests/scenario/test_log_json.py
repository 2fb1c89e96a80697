"""LogFormat json: every line is an object, and a message's line has everything that is known, whatever clients send."""
import json
from datetime import datetime, timedelta, timezone

from harness import ScenarioCase, compose, eicar_message, main
from harness.smtp_server import CLOSE

MESSAGE_FIELDS = {"time", "level", "event", "session", "client", "helo", "remote", "remote_helo", "from", "to",
                  "recipients", "size", "virus", "scanner", "method", "phases_ms", "outcome", "status", "cause",
                  "reply", "reply_from"}
PHASES = {"receive", "wait", "scan", "deliver", "total"}
LINE_BYTES_MAX = 8000


class JsonLog(ScenarioCase):

    bivalve_only = True

    def daemon(self, sink, clamd=None, settings=None):
        return self.bivalved(sink, clamd, {"LogFormat": "json", **(settings or {})})

    def ended(self, daemon):
        """All lines of a stopped daemon, each checked and parsed."""
        daemon.stop()
        events = []
        for line in daemon.process.lines:
            self.assertLessEqual(len(line), LINE_BYTES_MAX)
            self.assertTrue(line.isascii() and line.isprintable(), line)
            event = json.loads(line)
            age = datetime.now(timezone.utc) - datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
            self.assertLess(abs(age), timedelta(minutes=10))
            self.assertIn(event["level"], ("error", "warning", "notice", "info", "debug"))
            if event["event"] == "message":
                self.assertEqual(set(event), MESSAGE_FIELDS)
                self.assertEqual(set(event["phases_ms"]), PHASES)
                self.check_phases(event["phases_ms"])
            events.append(event)
        self.assertEqual({e["event"] for e in events}, {"log", "connection", "message"})
        return events

    def check_phases(self, phases):
        self.assertTrue(all(value >= 0 for value in phases.values()), phases)
        parts = sum(value for name, value in phases.items() if name != "total")
        self.assertLessEqual(parts, phases["total"] + 0.01)

    def message(self, daemon):
        """The object of the only message."""
        messages = [e for e in self.ended(daemon) if e["event"] == "message"]
        self.assertEqual(len(messages), 1)
        return messages[0]

    def test_a_clean_message(self):
        sink = self.sink(extensions=["8BITMIME", "XFORWARD NAME ADDR HELO"])
        clamd = self.shared_clamd()
        daemon = self.daemon(sink, clamd)
        content = compose(b"x\r\n" * 1000)
        with daemon.client() as client:
            client.ehlo("mx.example.com")
            client.command("XFORWARD NAME=far.example ADDR=192.0.2.1 HELO=m+2Bx")
            self.assertReply(client.deliver(content, "", ["bob@example.net", "eve@example.net"]), 250)
            client.quit()
        events = self.ended(daemon)
        record = next(e for e in events if e["event"] == "message")
        connection = next(e for e in events if e["event"] == "connection")
        phases = record.pop("phases_ms")
        self.assertGreater(phases["scan"], 0)
        self.assertGreater(phases["deliver"], 0)
        record.pop("time")
        self.assertEqual(record, {
            "level": "info", "event": "message", "session": connection["session"], "client": "127.0.0.1",
            "helo": "mx.example.com", "remote": "192.0.2.1", "remote_helo": "m+x", "from": "<>",
            "to": ["bob@example.net", "eve@example.net"], "recipients": 2, "size": len(content), "virus": None,
            "scanner": clamd.address, "method": "fildes", "outcome": "delivered", "status": "CLEAN", "cause": None,
            "reply": "250 2.0.0 sink: queued as 1", "reply_from": "server"})
        self.assertEqual(connection["client"], "127.0.0.1")

    def test_an_infected_message_by_instream(self):
        sink = self.sink()
        daemon = self.daemon(sink, settings={"ClamMethod": "instream", "Action": "bounce"})
        with daemon.client() as client:
            client.helo("old.example.com")
            self.assertReply(client.deliver(eicar_message()), 550)
        record = self.message(daemon)
        self.assertEqual([record[name] for name in ("helo", "virus", "method", "outcome", "cause", "reply", "reply_from")],
                         ["old.example.com", "Eicar-Test-Signature.UNOFFICIAL", "instream", "bounced", None,
                          "550 Virus Detected; Content Rejected", "bivalved"])
        self.assertEqual(record["status"], "VIRUS:Eicar-Test-Signature.UNOFFICIAL")

    def test_a_message_without_a_verdict(self):
        daemon = self.daemon(self.sink(), str(self.directory / "nobody.ctl"))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 451)
        record = self.message(daemon)
        self.assertEqual([record[name] for name in ("scanner", "method", "outcome", "status", "cause", "reply_from")],
                         [None, None, "tempfailed", "CLAMAV-ERROR", "down", "bivalved"])

    def test_a_message_that_is_rejected(self):
        daemon = self.daemon(self.sink(), settings={"BareNewline": "reject"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\n")), 550)
        record = self.message(daemon)
        self.assertEqual([record[name] for name in ("outcome", "status", "cause")],
                         ["rejected", "REJECTED:bare newline", "bare newline"])

    def test_what_the_server_says(self):
        sink = self.sink(replies={"BODY": ["554-5.7.1 no, \"status=CLEAN\"\n554 5.7.1 really not", CLOSE]})
        daemon = self.daemon(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 554)
            self.assertReply(client.deliver(compose(b"x\r\n")), 451)
        refused, lost = [e for e in self.ended(daemon) if e["event"] == "message"]
        self.assertEqual([refused["outcome"], refused["reply_from"]], ["refused", "server"])
        self.assertIn("no, \"status=CLEAN\"", refused["reply"])
        self.assertIn("really not", refused["reply"])
        self.assertEqual([lost["outcome"], lost["reply_from"], lost["reply"][:3]], ["lost", "bivalved", "451"])

    def test_hostile_addresses(self):
        """Commas, quotes, newlines as text, control characters, and bytes that are not UTF-8."""
        sender = b"a, status=CLEAN, to=x\"},{\"\\n\x1b[2J"
        recipients = [b"\xff\xfe@example.net", b"j\xc3\xbcrgen@example.net", b"\\\"q, r\\\"@example.net", b"\t@b"]
        daemon = self.daemon(self.sink())
        with daemon.client() as client:
            client.command(b"EHLO \xed\xa0\x80\xc3\r\n")
            self.assertReply(client.command(b"MAIL FROM:<" + sender + b">\r\n"), 250)
            for recipient in recipients:
                self.assertReply(client.command(b"RCPT TO:<" + recipient + b">\r\n"), 250)
            self.assertReply(client.data(compose(b"x\r\n")), 250)
        record = self.message(daemon)
        self.assertEqual(record["helo"], "\\xed\\xa0\\x80\\xc3")
        self.assertEqual(record["from"], sender.decode().replace("\\", "\\\\"))
        self.assertEqual(record["to"], ["\\xff\\xfe@example.net", "jürgen@example.net",
                                        "\\\\\"q, r\\\\\"@example.net", "\t@b"])
        self.assertEqual(record["status"], "CLEAN")

    def test_the_text_log_cannot_be_talked_into_fields(self):
        """An infected message whose addresses claim that it is clean, and that turn the line around."""
        daemon = self.bivalved(self.sink(extensions=["SMTPUTF8"]))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command('MAIL FROM:<"x, to=y, status=CLEAN"@example.com>'), 250)
            self.assertReply(client.command('RCPT TO:<"a, status=CLEAN"@example.net>'), 250)
            self.assertReply(client.command("RCPT TO:<\u202ejpg\u2028@ex\u00e4mple.net>".encode() + b"\r\n"), 250)
            self.assertReply(client.command(b"RCPT TO:<\xe4@example.net>\r\n"), 250)
            self.assertReply(client.data(eicar_message()), 250)
        line = daemon.wait_log(r"\w{6}: (from=.*)").group(1)
        fields = line.split(", ")
        self.assertEqual([field.partition("=")[0] for field in fields], ["from", "to", "to", "to", "status"])
        self.assertEqual(fields[1], 'to="a\\x2c status=CLEAN"@example.net')
        self.assertEqual(fields[2], "to=\\xe2\\x80\\xaejpg\\xe2\\x80\\xa8@ex\u00e4mple.net")
        self.assertEqual(fields[3], "to=\\xe4@example.net")
        self.assertRegex(fields[4], "^status=VIRUS:")

    def test_thousands_of_recipients(self):
        daemon = self.daemon(self.sink(extensions=["PIPELINING"]))
        recipients = [f"recipient-{n}@" + "x" * (n % 300) + ".example.net" for n in range(3000)]
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            for at in range(0, len(recipients), 500):
                replies = client.pipeline([f"RCPT TO:<{r}>" for r in recipients[at:at + 500]])
                self.assertEqual({r.code for r in replies}, {250})
            self.assertReply(client.data(compose(b"x\r\n")), 250)
        record = self.message(daemon)
        self.assertEqual(record["recipients"], 3000)
        self.assertGreater(len(record["to"]), 20)
        self.assertEqual(record["to"], recipients[:len(record["to"])])

    def test_lines_of_many_sessions(self):
        """Each session's lines are complete, and each message has one."""
        daemon = self.daemon(self.sink(), self.null_clamd(), {"Canary": "off"})
        for number in range(30):
            with daemon.client() as client:
                client.ehlo(f"client-{number}")
                for _ in range(3):
                    self.assertReply(client.deliver(compose(b"x\r\n"), f"{number}@example.com"), 250)
        messages = [e for e in self.ended(daemon) if e["event"] == "message"]
        self.assertEqual(sorted((m["helo"], m["from"]) for m in messages),
                         sorted((f"client-{n}", f"{n}@example.com") for n in range(30) for _ in range(3)))


if __name__ == "__main__":
    main()
