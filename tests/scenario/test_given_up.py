"""Given-up scans: a scanner that has not answered some messages is used again as soon as it answers others."""
import threading
import time

from harness import compose, log_line, main
from harness.fault_case import FaultCase, proven

WELL_SECONDS = 5
PLACES = 16  # two workers, two connections each, four scans on each


class GivenUp(FaultCase):
    def setUp(self):
        super().setUp()
        self.answers = False
        self.scanner = self.scripted(lambda content, number: "OK" if self.answers else None)
        self.watched = self.daemon(self.scanner.address, {"Workers": 2, "ClamTimeOut": 3})
        self.watched.wait_stats("the scanner to prove itself", proven)

    def deliver(self, text):
        with self.watched.client() as client:
            client.ehlo()
            return client.deliver(compose(text)).code

    def fill(self):
        """Sends more messages than there are places; none of them is answered."""
        codes = []
        threads = [threading.Thread(target=lambda n=n: codes.append(self.deliver(b"given up %d\r\n" % n)))
                   for n in range(3 * PLACES)]
        for thread in threads:
            thread.start()
        self.watched.wait_stats("all places to be taken", lambda s: s["scanners"][0]["in_flight"] == PLACES)
        for thread in threads:
            thread.join()
        self.assertEqual(codes, [451] * len(threads))
        return len(threads)

    def assertWell(self):
        """From now on new scans are answered. Both workers must accept mail within the time."""
        self.answers = True
        began = time.monotonic()
        failed = 0
        for n in range(8):
            while (code := self.deliver(b"after %d\r\n" % n)) != 250:
                self.assertEqual(code, 451)
                self.assertLess(time.monotonic() - began, WELL_SECONDS)
                failed += 1
        self.assertLess(time.monotonic() - began, WELL_SECONDS)
        self.note(f"well after {time.monotonic() - began:.1f} s")
        return failed

    def test_all_places(self):
        lost = self.fill()
        lost += self.assertWell()
        stats = self.watched.expect_messages(received=lost + 8, delivered=8, tempfailed=lost, scan_failed=lost)
        self.assertEqual(stats["scan_failures"]["timeout"], lost)
        scanner = stats["scanners"][0]
        self.assertLess(scanner["in_flight"], PLACES)
        self.assertGreaterEqual(scanner["given_up"], PLACES, "clamd goes on with them")
        self.assertGreaterEqual(scanner["given_up_sessions"], 2, "one of each worker")
        self.assertEqual(scanner["errors"], 0)
        self.watched.wait_log(r"scanner \S+: \d scans that were given up .* held their places, so the session is closed")

    def test_a_long_silence_of_canaries_too(self):
        """New sessions cannot prove themselves either, and mail arrives all the time."""
        self.scanner.finds_canary = None
        lost = self.fill()
        end = time.monotonic() + 14
        while time.monotonic() < end:
            self.assertEqual(self.deliver(b"meanwhile\r\n"), 451)
            lost += 1
        self.scanner.finds_canary = True
        lost += self.assertWell()
        self.watched.expect_messages(received=lost + 8, delivered=8, tempfailed=lost, scan_failed=lost)


class NoDescriptors(FaultCase):
    """A scanner behind a local socket that does not know FILDES: another program, or clamd behind a relay."""

    def test_auto_sends_the_content(self):
        scanner = self.scripted(lambda content, number: "Worm FOUND" if b"bad" in content else "OK", takes_descriptors=False)
        daemon = self.daemon(scanner.address)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"good\r\n")), 250)
            self.assertReply(client.deliver(compose(b"bad\r\n")), 250, "Virus Detected; Discarded Email")
        stats = daemon.expect_messages(received=2, delivered=1, dropped=1, scan_failed=0)
        self.assertTrue(stats["scanners"][0]["up"])
        self.assertGreaterEqual(scanner.uploads, 3)

    def test_fildes_names_the_way_out(self):
        scanner = self.scripted(lambda content, number: "OK", takes_descriptors=False)
        daemon = self.daemon(scanner.address, {"ClamMethod": "fildes", "ClamTimeOut": 3})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
        daemon.wait_log(r"SCANNER UNUSABLE: \S+ it cannot scan .* it takes no open files \(UNKNOWN COMMAND\); with ClamMethod: auto")
        daemon.wait_log(log_line("from=ada@example.com, to=bob@example.net, status=CLAMAV-ERROR"))
        daemon.expect_messages(received=1, tempfailed=1, scan_failed=1)


if __name__ == "__main__":
    main()
