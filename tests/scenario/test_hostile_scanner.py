"""A scanner under the daemon's own user, which can change a message's memory like the daemon itself."""
import os
import re

from harness import main
from harness.fault_case import FaultCase


def change_mode(path):
    os.chmod(path, 0o600)


def cut_short(path):
    os.chmod(path, 0o600)
    os.truncate(path, 0)


def cut_short_and_grow(path):
    size = os.stat(path).st_size
    cut_short(path)
    os.truncate(path, size)
    os.chmod(path, 0o400)


def write(path):
    os.chmod(path, 0o600)
    with open(path, "r+b", buffering=0) as file:
        try:
            file.write(b"X" * 64)
        except PermissionError:  # the message is in memory
            pass


class SameUser(FaultCase):
    def tampered(self, tamper, settings=None):
        held = {"armed": True}

        def once(path):
            if held.pop("armed", None):
                tamper(path)

        scanner = self.scripted(lambda content, number: "OK", tamper=once)
        daemon = self.daemon(scanner, settings)
        body = b"Subject: as it was sent\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(body), 451)
            self.assertEqual(self.server.messages, [])
            self.assertReply(client.deliver(body), 250)
        self.assertEqual(len(self.server.messages), 1)
        self.assertIn(b"0123456789abcdef\r\n" * 20_000, self.server.messages[0].content)
        daemon.expect_messages(received=2, tempfailed=1, delivered=1)

    def test_is_warned_of_once(self):
        daemon = self.daemon(self.scripted(lambda content, number: "OK"), {"Workers": 2})
        daemon.wait_log("its limits are not known")
        daemon.wait_log("runs as this program's own user")
        self.assertEqual(len(re.findall("own user", daemon.log)), 1)
        scanner = daemon.stats()["scanners"][0]
        self.assertTrue(scanner["own_user"])
        self.assertFalse(scanner["limits"]["known"])

    def test_limits_that_are_known(self):
        daemon = self.daemon(self.clamd(options={"MaxFileSize": "7M"}))
        self.assertEqual(daemon.wait_stats("limits", lambda stats: stats["scanners"][0]["limits"]["known"])["scanners"][0]["limits"],
                         {"known": True, "file_bytes": 7 << 20, "scan_bytes": 200 << 20, "stream_bytes": 100 << 20,
                          "scan_seconds": 120, "queue": 100})

    def test_a_changed_mode(self):
        self.tampered(change_mode)

    def test_cut_short(self):
        self.tampered(cut_short)

    def test_cut_short_and_grown_again(self):
        self.tampered(cut_short_and_grow)

    def test_written_to(self):
        self.tampered(write)

    def test_cut_short_in_a_file(self):
        self.tampered(cut_short, {"BodyMemory": "1"})

    def test_written_to_in_a_file(self):
        self.tampered(write, {"BodyMemory": "1"})

    def test_is_not_let_through_either(self):
        self.tampered(cut_short_and_grow, {"ScanFailure": "pass"})


if __name__ == "__main__":
    main()
