#!/usr/bin/env python3
"""SMTP smuggling: every mixture of line ends around a dot line, before a server that takes each for the
end of data. Nothing that the server sees as a message may be one that Bivalve did not scan as a message.

    tests/scenario/test_smuggling.py    prints the figures for Bivalve and, where it is installed, for clamsmtpd
"""
import itertools
import os
import threading
import unittest

from harness import ScenarioCase, SmtpClient, compose, main
from harness.lenient_server import LenientServer

CLAMSMTPD = "/usr/sbin/clamsmtpd"

ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b"\r\0\n", b"\r\n\0", b"\0", b"\0\n", b"\r\r", b"\n\n",
        b"\r\n\r", b"\n\r\n", b"\r\0", b"\0\r"]
DOTS = [b".", b"..", b".\0", b"\0."]


def corpus():
    """Every end before, dot and end after, except those that contain the proper end of data: for everybody that is the end,
    and the rest is commands."""
    for before, dot, after in itertools.product(ENDS, DOTS, ENDS):
        if b"\r\n.\r\n" not in before + dot + after:
            yield before + dot + after


def variants():
    """Each mixture, with the second message's commands ended by CRLF; the most common ones also by LF and CR."""
    for middle in corpus():
        yield middle, b"\r\n"
    for before, after in itertools.product(ENDS[:5], ENDS[:5]):
        if (before, after) != (b"\r\n", b"\r\n"):
            for end in (b"\n", b"\r"):
                yield before + b"." + after, end


def attack(number, middle, end):
    """The mail data of a harmless message with a second message inside."""
    second = end.join([b"MAIL FROM:<eve%d@example.com>" % number, b"RCPT TO:<victim@example.net>", b"DATA",
                       b"Subject: smuggled", b"", b"evil"])
    return compose(b"one") + middle + second + b"\r\n"


class Corpus(ScenarioCase):
    class_timeout = 600

    def run_corpus(self, executable=None, settings=None, extensions=("8BITMIME",), by_bdat=False):
        """Sends everything; returns (attacks, smuggled messages, innocent ones that were delivered)."""
        server = LenientServer(extensions)
        self.addCleanup(server.close)
        daemon = self.bivalved(server.address, settings={"TimeOut": 5, **(settings or {})}, executable=executable)
        attacks = list(enumerate(variants()))
        lock = threading.Lock()

        def work():
            client = None
            while True:
                with lock:
                    if not attacks:
                        break
                    number, (middle, end) = attacks.pop()
                for _ in range(3):
                    try:
                        if client is None:
                            client = SmtpClient(daemon.address, timeout=8)
                            client.ehlo()
                        client.mail(f"ada{number}@example.com")
                        client.rcpt()
                        data = attack(number, middle, end)
                        if by_bdat:
                            reply = client.bdat(data, last=True)
                        else:
                            client.command("DATA")
                            # An honest client stuffs dots at the start of lines that end in CRLF; this one does not.
                            client.send(data + b".\r\n")
                            reply = client.reply()
                        # A filter that saw two messages sends two replies, so the next attack gets a new session.
                        if daemon.is_bivalve is False or reply.code >= 400:
                            client.close()
                            client = None
                        break
                    except (OSError, EOFError, AssertionError):
                        if client is not None:
                            client.close()
                        client = None
            if client is not None:
                client.close()
        total = len(attacks)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if daemon.is_bivalve:
            daemon.wait_stats("the sessions to end", lambda s: s["connections"]["active"] == 0)
        with server.lock:
            messages = list(server.messages)
        # If one message became two, the line MAIL FROM:<eve…> reached the server as a command.
        smuggled = [m for m in messages if m[0] and m[0].startswith(b"MAIL FROM:<eve")]
        honest = [m for m in messages if m[0] and m[0].startswith(b"MAIL FROM:<ada")]
        if daemon.is_bivalve:
            stats = daemon.expect_messages()
            # The messages that the server took are those that were scanned and delivered, and no more.
            self.assertEqual(len(messages), stats["messages"]["delivered"])
            self.assertEqual(len(messages), len(honest))
            self.assertEqual(stats["messages"]["clean"], stats["messages"]["delivered"])
        return total, len(smuggled), len(honest)

    def check(self, what, **options):
        total, smuggled, passed = self.run_corpus(**options)
        self.note(f"{what}: {total} attacks, {smuggled} messages unscanned, {passed} passed as one message")
        self.assertEqual(smuggled, 0)

    def test_to_a_lenient_server_by_data(self):
        self.check("DATA", settings={"BareNewline": "guard"})

    def test_to_a_lenient_server_by_data_with_reject(self):
        self.check("DATA, reject", settings={"BareNewline": "reject"})

    def test_to_a_lenient_server_by_bdat(self):
        self.check("DATA, delivered by BDAT", extensions=("8BITMIME", "CHUNKING", "PIPELINING"))

    def test_bdat_to_a_lenient_server(self):
        """Counted bytes on both sides: their content does not matter."""
        self.check("BDAT", extensions=("8BITMIME", "CHUNKING", "BINARYMIME"), by_bdat=True)

    @unittest.skipUnless(os.access(CLAMSMTPD, os.X_OK), "clamsmtpd is not installed")
    def test_clamsmtpd_for_comparison(self):
        total, smuggled, _ = self.run_corpus(executable=CLAMSMTPD)
        self.note(f"clamsmtpd 1.10: {total} attacks, {smuggled} messages unscanned")
        self.assertGreater(smuggled, 0, "the corpus smuggles nothing: what is it worth?")


if __name__ == "__main__":
    main()
