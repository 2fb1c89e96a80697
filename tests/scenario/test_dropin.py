"""The drop-in claim: with one configuration, clamsmtpd 1.10 and its successor say the same to all peers."""
import os
import re
import unittest

from harness import ScenarioCase, compose, eicar_message, infected_attachment, main

CLAMSMTPD = "/usr/sbin/clamsmtpd"


@unittest.skipUnless(os.access(CLAMSMTPD, os.X_OK), "clamsmtpd is not installed")
class SameAsClamsmtpd(ScenarioCase):
    """Each test is one dialogue with both programs; `transcript` removes known differences."""

    bivalve_only = True

    def transcript(self, executable, dialogue, settings, sink_options):
        sink = self.sink(**sink_options)
        daemon = self.bivalved(sink, settings=settings, executable=executable)
        said = []
        with daemon.client() as client:
            said.append(client.greeting)
            dialogue(client, said.append)
            said.append(client.quit())
        sink.wait_sessions_closed()
        daemon.wait_log("accepted connection")
        daemon.stop()
        return {
            # Bivalve always offers PIPELINING, and SIZE with its own limit.
            "replies": [re.sub(rb"(?m)^250[- ](PIPELINING|SIZE \d+)\r\n", b"", reply.raw).replace(b"250-", b"250 ")
                        for reply in said],
            # Each program has its own way to tell the server to forget an infected message.
            "commands": [line for line in sink.commands if line != b"RSET"],
            "messages": [(m.sender, m.recipients, m.content.replace(b"using ClamSMTP", b"using Bivalve"))
                         for m in sink.messages],
            "log": [re.sub(r"^.*?: [0-9A-F]{6}: ", "", line) for line in daemon.process.lines
                    if "accepted connection from" in line or "status=" in line],
        }

    def compare(self, dialogue, settings=None, **sink_options):
        # Each gets a copy of the options, because a list of replies is used up.
        def copy():
            return {k: {a: list(b) if isinstance(b, list) else b for a, b in v.items()} if isinstance(v, dict) else v
                    for k, v in sink_options.items()}
        old = self.transcript(CLAMSMTPD, dialogue, settings, copy())
        new = self.transcript(None, dialogue, settings, copy())
        for part, expected in old.items():
            self.assertEqual(new[part], expected, part)

    def test_clean_message(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.mail())
            say(client.rcpt())
            say(client.rcpt("cy@example.net"))
            say(client.data(compose(b"Hello.\r\n.dot\r\n")))
        self.compare(dialogue)

    def test_clean_message_after_helo(self):
        def dialogue(client, say):
            say(client.helo())
            say(client.deliver(compose(b"Hello.\r\n")))
            say(client.deliver(compose(b"Again.\r\n"), "other@example.com"))
        self.compare(dialogue)

    def test_infected_messages(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.deliver(eicar_message()))
            say(client.deliver(compose(b"clean\r\n")))
            say(client.deliver(infected_attachment()))
        for action in ("drop", "bounce"):
            with self.subTest(action=action):
                self.compare(dialogue, {"Action": action})

    def test_null_sender(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.deliver(compose(b"bounce\r\n"), ""))
        self.compare(dialogue)

    def test_other_commands(self):
        def dialogue(client, say):
            say(client.ehlo())
            for line in ("NOOP", "VRFY bob", "EXPN list", "HELP", "RSET", "XYZZY 1 2 3", "mail from: <ada@example.com>",
                         "RCPT TO: <bob@example.net>", "rset"):
                say(client.command(line))
        self.compare(dialogue)

    def test_refusals_of_the_server(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.mail())
            say(client.mail())
            say(client.rcpt("no@example.net"))
            say(client.rcpt("yes@example.net"))
            say(client.data(compose(b"x\r\n")))
            say(client.deliver(compose(b"y\r\n")))
        self.compare(dialogue, replies={
            "MAIL": ["550-5.7.1 not\n550 5.7.1 you"], "RCPT": ["550 5.1.1 nobody"],
            "BODY": ["554-5.7.1 no\n554 5.7.1 no"]})

    def test_headers(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.deliver(compose(b"x\r\n")))
            say(client.deliver(b"Subject: short\r\n\r\n"))
            say(client.deliver(b"\r\nno header\r\n"))
        for header in ("", "X-Filtered: by %l for %i", r"X-Filtered: one\r\n\ttwo"):
            with self.subTest(header=header):
                self.compare(dialogue, {"Header": header})

    def test_xforward(self):
        def dialogue(client, say):
            say(client.ehlo())
            say(client.command("XFORWARD NAME=mx.example ADDR=192.0.2.1 HELO=mx"))
            say(client.deliver(compose(b"x\r\n")))
        self.compare(dialogue, extensions=["8BITMIME", "XFORWARD NAME ADDR HELO"])


if __name__ == "__main__":
    main()
