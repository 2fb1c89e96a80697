"""The hot restart (SIGUSR2): the next process takes over the sockets, and the old one lets its sessions end."""
import contextlib
import os
import re
import shutil
import signal
import socket
import stat
from pathlib import Path

from harness import ScenarioCase, SmtpClient, busy_port, compose, free_port, main, wait_until
from harness.bivalved import program
from harness.process import process_runs
from harness.restarts import RestartRun

MESSAGE = compose(b"x\r\n")
TAKEN = r"process (\d+) has taken over"
FAILED = "the new process has not taken over, this one goes on: (.*)$"


class RestartCase(ScenarioCase):
    bivalve_only = True

    def deliver(self, daemon, **envelope):
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(MESSAGE, **envelope), 250)

    def usr2(self, daemon, pattern):
        start = len(daemon.process.lines)
        daemon.process.signal(signal.SIGUSR2)
        return daemon.process.wait_line(pattern, start=start)

    def replaceable(self, sink, settings=None):
        """A daemon that is started through a link of the test, whose target can be changed to another program later."""
        link = self.directory / "bin" / "bivalved"
        link.parent.mkdir()
        link.symlink_to(program())
        return self.bivalved(sink, settings=settings, executable=link), link

    @staticmethod
    def replace(link, script):
        link.unlink()
        link.write_text("#!/bin/sh\n" + script)
        link.chmod(0o755)


class TakesOver(RestartCase):
    def test_old_sessions_go_on_and_new_ones_begin(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"HostName": "one.example"})
        old = daemon.client()
        old.ehlo()
        old.mail("old@example.com")
        first = daemon.process.pid
        self.assertEqual(daemon.stats()["restart"], {"generation": 1, "failed": 0, "last_error": ""})
        daemon.settings["HostName"] = "two.example"
        daemon.write_configuration()
        self.assertEqual(daemon.restart(), daemon.process.pid)
        self.assertNotEqual(daemon.process.pid, first)
        stats = daemon.stats()
        self.assertEqual(stats["pid"], daemon.process.pid)
        self.assertEqual(stats["restart"], {"generation": 2, "failed": 0, "last_error": ""})
        self.assertEqual(stats["messages"]["received"], 0)
        self.assertReply(SmtpClient(daemon.address, greeting=False).reply(), 220, "two.example")
        self.deliver(daemon, sender="new@example.com")
        # In the middle of its transaction: the old process serves it to its end, and then ends.
        self.assertTrue(process_runs(first))
        old.rcpt()
        self.assertReply(old.data(MESSAGE), 250)
        self.assertReply(old.quit(), 221)
        wait_until("the old process to end", lambda: not process_runs(first))
        self.assertEqual([m.sender for m in sink.messages], ["new@example.com", "old@example.com"])
        self.assertRegex(daemon.log, r"all in all: connections\.accepted=1 messages\.received=1 messages\.delivered=1 ")

    def test_files_and_descriptors_over_twenty_restarts(self):
        """The pid file is handed over, the same descriptors are open, and nothing else is left."""
        pid_file = self.directory / "pid"
        daemon = self.bivalved(self.sink(), settings={"PidFile": pid_file})

        def descriptors():
            daemon.wait_stats("a scanner", lambda s: s["scanners"][0]["connections"] == 4)
            directory = f"/proc/{daemon.process.pid}/fd"
            # A client of the statistics may have closed its descriptor since it was listed.
            names = []
            for fd in os.listdir(directory):
                with contextlib.suppress(FileNotFoundError):
                    names.append(os.readlink(f"{directory}/{fd}"))
            return sorted(re.sub(r"[0-9]+", "N", name) for name in names if not name.startswith("/memfd"))
        # The connection that asked for the statistics may still be listed, but not in all of five listings.
        before = min((descriptors() for _ in range(5)), key=len)
        for _ in range(20):
            pid = daemon.restart()
            self.assertEqual(pid_file.read_text(), f"{pid}\n")
            self.deliver(daemon)
        self.assertEqual(daemon.stats()["restart"]["generation"], 21)
        wait_until("the descriptors to be the same", lambda: descriptors() == before)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        self.assertLess(environment.count(b"BIVALVE_HANDOVER"), 2)
        daemon.stop()
        self.assertFalse(pid_file.exists())

    def test_more_and_fewer_workers(self):
        daemon = self.bivalved(self.sink(), settings={"Workers": 3})
        for workers in (1, 4, 2):
            daemon.settings["Workers"] = workers
            daemon.write_configuration()
            daemon.restart()
            self.assertEqual(daemon.stats()["workers"], workers)
            # Some worker accepts from each socket: the kernel distributes connections over all of them.
            for client in [daemon.client() for _ in range(20)]:
                client.ehlo()
                client.close()

    def test_other_addresses(self):
        """The old process empties a socket that is not wanted any more, and the socket is then gone."""
        gone, comes, stats = free_port(), free_port(), free_port()
        path = self.directory / "smtp.sock"
        daemon = self.bivalved(self.sink(), start=False)
        base = daemon.settings["Listen"]
        daemon.settings["Listen"] = [base, str(gone), str(path)]
        daemon.start()
        gone.release()
        SmtpClient(gone.pair).close()
        comes.release()
        stats.release()
        daemon.settings["Listen"] = [base, str(comes)]
        old_stats, daemon.stats_port = daemon.stats_port, stats
        daemon.settings["StatsAddress"] = str(stats)
        daemon.write_configuration()
        first = daemon.process.pid
        daemon.restart()
        wait_until("the old process to end", lambda: not process_runs(first))
        SmtpClient(comes.pair).close()
        self.assertEqual(daemon.stats()["pid"], daemon.process.pid)
        for pair in (gone.pair, old_stats.pair):
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(pair)
        self.assertFalse(path.exists())
        self.deliver(daemon)

    def test_a_local_statistics_address(self):
        """It is handed over, and is removed at a clean end or when another address replaces it."""
        one, two = self.directory / "one.sock", self.directory / "two.sock"
        daemon = self.bivalved(self.sink(), start=False)
        daemon.settings["StatsAddress"] = one
        daemon.start(wait=False)
        daemon.settings["StatsAddress"] = None  # the harness asks by TCP
        daemon.wait_log(r"with \d workers")
        first = daemon.restart()
        wait_until("only one process", lambda: daemon.process.pid == first and "all in all" in daemon.log)
        self.assertIn(b" 200 ", self.ask(one))
        text = daemon.configuration.read_text()
        daemon.configuration.write_text(text.replace(str(one), str(two)))
        daemon.restart()
        wait_until("the first to go", lambda: not one.exists())
        self.assertIn(b" 200 ", self.ask(two))
        daemon.stop()
        self.assertFalse(two.exists())

    def test_rights_to_local_sockets(self):
        """SocketMode for both kinds of socket, whatever the umask; a restart changes neither socket nor rights."""
        for mode, mask in ((None, 0), (None, 0o77), ("0666", 0o77), ("0600", 0)):
            with self.subTest(mode=mode, mask=oct(mask)):
                mail, stats = self.directory / "mail.sock", self.directory / "stats.sock"
                daemon = self.bivalved(self.sink(), settings={"SocketMode": mode}, start=False)
                daemon.settings.update({"Listen": [daemon.settings["Listen"], mail], "StatsAddress": stats})
                daemon.start(wait=False, before_exec=lambda mask=mask: os.umask(mask))
                daemon.settings["StatsAddress"] = None  # the harness asks by TCP
                daemon.wait_log(r"with \d workers")
                wanted = int(mode or "0660", 8)
                before = [path.stat() for path in (mail, stats)]
                self.assertEqual([stat.S_IMODE(info.st_mode) for info in before], [wanted] * 2)
                self.check_a_stranger(stats, wanted == 0o666)
                daemon.restart()
                self.assertIn(b" 200 ", self.ask(stats))
                self.assertEqual([(path.stat().st_ino, path.stat().st_mode) for path in (mail, stats)],
                                 [(info.st_ino, info.st_mode) for info in before])
                daemon.stop()

    def check_a_stranger(self, path, may):
        if os.geteuid() != 0:
            return
        for above in path.parents:
            if above != Path("/tmp") and above != Path("/"):
                above.chmod(0o755)
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            self.assertIn(b" 200 ", self.ask(path))
            self.assertTrue(may)
        except PermissionError:
            self.assertFalse(may)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    @staticmethod
    def ask(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            return client.recv(100)

    def test_a_drain_that_takes_too_long_is_ended(self):
        daemon = self.bivalved(self.sink(), settings={"DrainTimeOut": 1, "ShutdownTimeOut": 5})
        client = daemon.client()
        client.ehlo()
        first = daemon.process.pid
        daemon.restart()
        self.assertReply(client.reply(), 421)
        wait_until("the old process to end", lambda: not process_runs(first))


class StaysAsItWas(RestartCase):
    """Whatever is wrong with the new process: the old one continues, and the log and the statistics say why."""

    def fails(self, daemon, pattern):
        pid = daemon.process.pid
        self.assertRegex(self.usr2(daemon, FAILED).group(1), pattern)
        stats = daemon.stats()
        self.assertEqual((stats["pid"], stats["restart"]["generation"]), (pid, 1))
        self.assertRegex(stats["restart"]["last_error"], pattern)
        self.deliver(daemon)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.assertEqual(children, [])

    def test_programs_that_are_none(self):
        pid_file = self.directory / "pid"
        daemon, link = self.replaceable(self.sink(), {"RestartTimeOut": 1, "PidFile": pid_file})
        self.replace(link, "exit 7")
        self.fails(daemon, "status 7")
        self.replace(link, "kill -SEGV $$")
        self.fails(daemon, "signal 11")
        self.replace(link, "exec sleep 100")
        self.fails(daemon, r"not ready in time \(RestartTimeOut\).*signal 9")
        link.chmod(0o644)
        self.fails(daemon, "cannot start .*Permission denied")
        link.unlink()
        self.fails(daemon, "cannot start .*No such file or directory; the program was removed or has another name now")
        shutil.copy(program().resolve(), link)
        self.assertEqual(pid_file.read_text(), f"{daemon.process.pid}\n")
        daemon.restart()
        self.assertEqual(pid_file.read_text(), f"{daemon.process.pid}\n")

    def test_settings_that_are_wrong(self):
        daemon = self.bivalved(self.sink())
        text = daemon.configuration.read_text()
        daemon.configuration.write_text(text + "Action: explode\n")
        self.fails(daemon, rf"{text.count(chr(10)) + 1}: Action: .*status 2")
        daemon.configuration.write_text(text + "Listen: 192.0.2.1:25\n")
        self.fails(daemon, "cannot listen on 192.0.2.1:25.*status 1")
        daemon.configuration.write_text(text + f"PidFile: {self.directory}/absent/pid\n")
        self.fails(daemon, "PidFile: the directory '.*absent': No such file.*status 1")
        with busy_port() as busy:
            address = "%s:%d" % busy.getsockname()
            daemon.configuration.write_text(re.sub("StatsAddress: .*", f"StatsAddress: {address}", text))
            self.fails(daemon, "StatsAddress: cannot listen")
        daemon.configuration.unlink()
        self.fails(daemon, "cannot read")

    def test_one_at_a_time(self):
        daemon, link = self.replaceable(self.sink(), {"RestartTimeOut": 2})
        self.replace(link, "exec sleep 100")
        self.usr2(daemon, "is to take over")
        self.usr2(daemon, "a restart is under way already")
        daemon.wait_log(FAILED)

    def test_a_stop_ends_the_attempt(self):
        daemon, link = self.replaceable(self.sink())
        self.replace(link, "exec sleep 100")
        pid = int(self.usr2(daemon, r"process (\d+) is to take over").group(1))
        daemon.stop()
        self.assertFalse(process_runs(pid))


class UnderLoad(RestartCase):
    """A short round; tests/scenario/restarts is the long one."""

    def test_a_few_of_both(self):
        run = RestartRun(self.directory / "run", restarts=4, reloads=4)
        try:
            self.note(run.run())
        finally:
            run.close()


if __name__ == "__main__":
    main()
