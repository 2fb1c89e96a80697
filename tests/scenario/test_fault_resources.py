"""Faults of the machine, by name: disk, memory, descriptors and the queues to the kernel. See test_faults."""
import ctypes
import os
import resource
import signal
import subprocess

from harness import compose, infected_attachment, main
from harness.fault_case import FaultCase, proven

_PR_CAPBSET_DROP = 24
_CAP_SYS_RESOURCE = 24


class Resources(FaultCase):
    """Disk, memory and descriptors."""

    def test_bodies_cannot_be_written(self):
        """Neither memory nor a file: 452, and the session continues."""
        gone = self._path_made("gone")
        # A canary's body would be kept and have room.
        daemon = self.daemon(settings={"BodyMemory": "1", "TempDirectory": gone, "Canary": "off"})
        gone.rmdir()
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail(), 250)
            self.assertReply(client.rcpt(), 250)
            self.assertReply(client.command("DATA"), 452)
            self.assertReply(client.command("NOOP"), 250)
        daemon.expect_messages(received=0)

    def test_disk_full(self):
        disk = self._path_made("disk")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        # Enough memory for the canaries and small mail, but not for large mail.
        daemon = self.daemon(settings={"BodyMemory": "2M", "TempDirectory": disk, "Workers": 1})
        daemon.temporary = disk
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x" * 60 + b"\r\n") + b"0123456789\r\n" * 1_000_000), 452)
            self.assertReply(client.deliver(compose(b"small\r\n")), 250)
        self.assertEqual(len(self.server.messages), 1)
        daemon.expect_messages(received=2, tempfailed=1, delivered=1)

    def test_memory_for_bodies_used_up(self):
        """Beyond BodyMemory messages are in files: slower, but otherwise the same."""
        daemon = self.daemon(settings={"BodyMemory": "1M", "Workers": 1})
        clients = [daemon.client() for _ in range(12)]
        content = compose(b"0123456789\r\n" * 30000)
        for client in clients:
            self.addCleanup(client.close)
            client.ehlo()
            client.begin_data()
            client.send(content[:200000])
        for client in clients:
            client.content(content[200000:])
        for client in clients:
            self.assertReply(client.reply(), 250)
        daemon.expect_messages(received=12, delivered=12)

    def test_descriptors_used_up(self):
        """452 for a message, 421 for a connection that cannot get a server; then everything continues by itself."""
        daemon = self.daemon(settings={"Workers": 1, "BodyMemory": "1"})
        before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"before\r\n")), 250)
            for reply in (client.mail(), client.rcpt()):
                self.assertReply(reply, 250)
            # Below every number that it could get. An accept that is already armed keeps the old limit.
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            self.assertReply(client.command("DATA"), 452)
            self.assertReply(client.command("NOOP"), 250)
            with daemon.client() as late:
                self.assertReply(late.greeting, 421)
                late.wait_closed()
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
            self.assertReply(client.command("RSET"), 250)
            self.assertReply(client.deliver(compose(b"after\r\n")), 250)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"last\r\n")), 250)
        stats = daemon.expect_messages(received=3, delivered=3)
        self.assertEqual(stats["errors"]["out_of_room"], 1)

    def test_descriptor_limit_carries_few_connections(self):
        """Connections beyond the limit are answered 421 at once."""
        def few():
            # Root may raise any limit; without this capability even root may not.
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_RESOURCE, 0, 0, 0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
        daemon = self.daemon(settings={"Workers": 1}, before_exec=few)
        carried = int(daemon.wait_log(r"the descriptor limit carries (\d+) connections").group(1))
        clients = [daemon.client() for _ in range(carried)]
        for client in clients:
            self.addCleanup(client.close)
            self.assertReply(client.greeting, 220)
        with daemon.client() as client:
            self.assertReply(client.greeting, 421)
        for client in clients:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            client.quit()
        stats = daemon.wait_stats("the ends", lambda s: s["connections"]["active"] == 0)
        self.assertEqual(stats["connections"]["refused_busy"], 1)
        self.assertEqual(stats["errors"]["accept"], 0)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)

    def test_ring_overflows(self):
        """A worker's queues hold 8 and 16, and 80 clients act at once: nothing is lost, and overflows are counted."""
        daemon = self.daemon(settings={"Workers": 1}, start=False)
        daemon.start(environment={"BIVALVE_RING_SLOTS": "8"})
        daemon.wait_stats("the scanner to prove itself", proven)
        clients = [daemon.client() for _ in range(80)]
        for client in clients:
            self.addCleanup(client.close)
            client.ehlo()
        for _ in range(2):
            daemon.process.signal(signal.SIGSTOP)
            for n, client in enumerate(clients):
                client.send(b"MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
            daemon.process.signal(signal.SIGCONT)
            for client in clients:
                self.assertEqual([r.code for r in client.replies(3)], [250, 250, 354])
            daemon.process.signal(signal.SIGSTOP)
            for n, client in enumerate(clients):
                client.content(infected_attachment() if n % 10 == 0 else compose(b"message %d\r\n" % n))
            daemon.process.signal(signal.SIGCONT)
            for client in clients:
                self.assertReply(client.reply(), 250)
        stats = daemon.expect_messages(received=160, delivered=144, dropped=16, scan_failed=0)
        self.assertEqual(len(self.server.messages), 144)
        self.note(f"{stats['ring']['flushes']} flushes, {stats['ring']['overflows']} overflows")
        self.assertGreater(stats["ring"]["flushes"], 0)
        self.assertGreater(stats["ring"]["overflows"], 0)


if __name__ == "__main__":
    main()
