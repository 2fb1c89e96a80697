"""Quarantine, VirusAction, DebugFiles and KeepAlives: what happens beside a message, and that mail does not wait for it."""
import ctypes
import datetime
import hashlib
import json
import os
import re
import stat
import struct
import time

from harness import (CLOSE, ScenarioCase, compose, eicar_message, infected_attachment, main, run_program,
                     wait_until)

VIRUS = "Eicar-Test-Signature.UNOFFICIAL"
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_libc = ctypes.CDLL(None, use_errno=True)


def small_disk(directory, options):
    """In a child before exec: mounts a file system in memory on `directory`, which nobody else sees."""
    if (_libc.unshare(0x00020000) != 0 or _libc.mount(b"none", b"/", None, 0x44000, None) != 0
            or _libc.mount(b"none", os.fsencode(directory), b"tmpfs", 0, options) != 0):
        os._exit(124)


class _Case(ScenarioCase):
    bivalve_only = True

    def script(self, body):
        """A VirusAction that runs `body`; $OUT is a directory for its output."""
        out = self.directory / "out"
        out.mkdir(exist_ok=True)
        out.chmod(0o777)
        path = self.directory / "action.sh"
        path.write_text(f"#!/bin/sh\nOUT={out}\n{body}\n")
        path.chmod(0o755)
        return path, out

    def take_files(self, daemon, count):
        """Waits for the files in TempDirectory and removes them: {name: (mode, content)}.

        The records beside quarantined messages go to self.records: {name: record}."""
        # The log has the line when the record exists too.
        daemon.process.wait_lines("message kept as: ", count)
        files, self.records = {}, {}
        for name in daemon.temporary_files():
            path = daemon.temporary / name
            mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
            path.unlink()
            if name.endswith(".json"):
                self.assertEqual(mode, 0o600)
                self.records[name.removesuffix(".json")] = json.loads(content)
            else:
                files[name] = (mode, content)
        self.assertEqual(len(files), count)
        self.assertEqual(set(self.records), {name for name in files if name.startswith("virus.")})
        return files


class Quarantined(_Case):
    """Quarantine: the message as sent, in a file of its own."""

    CONTENT = infected_attachment() + b".a line that begins with a dot\r\n..two\r\nno end of line"

    def keep_one(self, settings, deliver=lambda client, content: client.deliver(content)):
        sink = self.sink(extensions=["8BITMIME", "CHUNKING"])
        daemon = self.bivalved(sink, settings={"Quarantine": "on", **settings})
        with daemon.client() as client:
            client.ehlo()
            reply = deliver(client, self.CONTENT)
            self.assertReply(client.deliver(compose(b"clean\r\n")), 250)
        return self.take_files(daemon, 1), reply, sink

    def check(self, files, content):
        (name, (mode, kept)), = files.items()
        self.assertRegex(name, r"^virus\.[0-9A-Za-z]{6}$")
        self.assertEqual(mode, 0o600)
        self.assertEqual(kept, content)

    def test_dropped(self):
        files, reply, sink = self.keep_one({})
        self.assertReply(reply, 250, "Virus Detected; Discarded Email")
        # The line end before the last dot is part of the message.
        self.check(files, self.CONTENT + b"\r\n")
        self.assertEqual(len(sink.received), 1)

    def test_bounced(self):
        files, reply, _ = self.keep_one({"Action": "bounce"})
        self.assertReply(reply, 550, "Virus Detected; Content Rejected")
        self.check(files, self.CONTENT + b"\r\n")

    def test_passed_on(self):
        files, reply, sink = self.keep_one({"Action": "pass"})
        self.assertReply(reply, 250)
        self.check(files, self.CONTENT + b"\r\n")
        self.assertEqual(len(sink.received), 2)

    def test_received_in_chunks(self):
        def deliver(client, content):
            client.mail()
            client.rcpt()
            client.bdat(content[:100])
            return client.bdat(content[100:], last=True)
        files, reply, _ = self.keep_one({}, deliver)
        self.assertReply(reply, 250, "Virus Detected; Discarded Email")
        self.check(files, self.CONTENT)

    def test_from_a_body_in_a_file(self):
        """BodyMemory is too small for anything: bodies are unlinked files, and the same is quarantined."""
        files, _, _ = self.keep_one({"BodyMemory": "1K"})
        self.check(files, self.CONTENT + b"\r\n")

    def test_large_messages_stay_apart(self):
        """The body's memory is not used again while it is copied: every file has its own message."""
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"Quarantine": "on"})
        contents = [infected_attachment() + (b"%04d" % n) * 100000 + b"\r\n" for n in range(12)]
        with daemon.client() as client:
            client.ehlo()
            for content in contents:
                self.assertReply(client.deliver(content), 250)
        files = self.take_files(daemon, 12)
        self.assertEqual(sorted(content for _, content in files.values()), sorted(contents))

    def test_a_name_stands_for_a_whole_file(self):
        """3 MB: the name appears once, and nothing is written to the file after that."""
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"})
        created, modified = 0x100, 0x2
        watch = _libc.inotify_init1(0)
        self.addCleanup(os.close, watch)
        self.assertGreater(_libc.inotify_add_watch(watch, os.fsencode(daemon.temporary), created | modified), 0)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(infected_attachment() + b"x" * 3_000_000 + b"\r\n"), 250)
        name, = self.take_files(daemon, 1)
        seen = []
        while f"{name}.json" not in [one for one, _ in seen]:
            events = os.read(watch, 65536)
            while events:
                _, mask, _, size = struct.unpack_from("iIII", events)
                # Writes before the file has a name count as "#" and a number.
                if not (one := events[16:16 + size].rstrip(b"\0").decode()).startswith("#"):
                    seen.append((one, mask))
                events = events[16 + size:]
        self.assertEqual(seen, [(name, created), (f"{name}.json", created)])

    def test_what_a_crash_has_left_is_removed_at_the_start(self):
        """If files must have a name while they are written. Files of others are not touched."""
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"}, start=False)
        for name in (".virus.AAAAAA.new", ".virus.AAAAAA.json.new", ".bivalved.AAAAAA.new", ".other.AAAAAA.new"):
            (daemon.temporary / name).write_text("half a message")
        daemon.start()
        daemon.wait_log(f"removed 3 unfinished files from {daemon.temporary}")
        self.assertEqual(daemon.temporary_files(), [".other.AAAAAA.new"])
        (daemon.temporary / ".other.AAAAAA.new").unlink()

    def test_a_full_disk_changes_no_reply(self):
        """Quarantine on a file system of 64 KiB: an error in the log, the usual reply, and no part of a file."""
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"}, start=False)
        daemon.start(before_exec=lambda: small_disk(daemon.temporary, b"size=64k"))
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(infected_attachment() + b"x" * 300000 + b"\r\n")
            self.assertReply(reply, 250, "Virus Detected; Discarded Email")
            daemon.wait_log(r"message is not kept: cannot write .*/virus\.\w{6}: No space left on device")
            inside = f"/proc/{daemon.process.pid}/root{daemon.temporary}"
            self.assertEqual(os.listdir(inside), [])
            self.assertEqual(daemon.stats()["errors"]["not_kept"], 1)
            # A message that fits is kept again.
            self.assertReply(client.deliver(infected_attachment()), 250)
            daemon.wait_log("message kept as: ")
            self.assertEqual(len(os.listdir(inside)), 2)
        daemon.expect_messages(received=2, dropped=2, infected=2)

    def test_no_room_for_the_record(self):
        """A file system with room for the message alone: the message is kept, and no part of a record."""
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"}, start=False)
        daemon.start(before_exec=lambda: small_disk(daemon.temporary, b"nr_blocks=1"))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(infected_attachment()), 250, "Virus Detected; Discarded Email")
            daemon.wait_log(r"kept without its record: cannot write .*/virus\.\w{6}\.json: No space left")
            daemon.wait_log("message kept as: ")
            kept, = os.listdir(f"/proc/{daemon.process.pid}/root{daemon.temporary}")
            self.assertRegex(kept, r"^virus\.\w{6}$")

    def test_the_record(self):
        sink = self.sink(extensions=["XFORWARD NAME ADDR HELO", "SMTPUTF8", "8BITMIME"])
        daemon = self.bivalved(sink, settings={"Quarantine": "on"})
        recipients = ["bob@example.net", "\"a b\\\\\"@example.net", "j\u00f6rg@example.net"]
        before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        with daemon.client() as client:
            client.ehlo("mx.example.net")
            client.command("XFORWARD ADDR=192.0.2.1 HELO=m.example")
            self.assertReply(client.deliver(self.CONTENT, "eve@example.com", recipients), 250)
        after = datetime.datetime.now(datetime.timezone.utc)
        (name, (_, kept)), = self.take_files(daemon, 1).items()
        record = self.records[name]
        session, = daemon.wait_log(r"(\w{6}): message kept as").groups()
        found_at = datetime.datetime.fromisoformat(record.pop("time").replace("Z", "+00:00"))
        self.assertTrue(before <= found_at <= after, found_at)
        version = record["scanner"].pop("version")
        self.assertRegex(version, r"^ClamAV \d+\.\d+")
        self.assertEqual(record, {
            "id": name, "session": session, "virus": VIRUS, "from": "eve@example.com", "recipients": recipients,
            "recipients_left_out": 0, "client": "127.0.0.1", "helo": "mx.example.net", "remote": "192.0.2.1",
            "remote_helo": "m.example", "scanner": {"address": self.shared_clamd().address}, "size": len(kept),
            "sha256": hashlib.sha256(kept).hexdigest()})

    def test_a_record_of_bytes_that_are_no_text(self):
        """An envelope in ISO 8859-1 is kept byte for byte; a name that cannot be shown is replaced."""
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"})
        with daemon.client() as client:
            client.command(b"EHLO m\xfcx\x1b[2J\r\n")
            for line in (b"MAIL FROM:<j\xf6rg@a.example>\r\n", b"RCPT TO:<\xff\xc3\xb6@b.example>\r\n"):
                self.assertReply(client.command(line), 250)
            self.assertReply(client.data(infected_attachment()), 250)
        self.take_files(daemon, 1)
        record, = self.records.values()
        self.assertEqual(record["envelope_encoding"], "iso-8859-1")
        self.assertEqual(record["from"].encode("iso-8859-1"), b"j\xf6rg@a.example")
        self.assertEqual([r.encode("iso-8859-1") for r in record["recipients"]], [b"\xff\xc3\xb6@b.example"])
        self.assertEqual(record["helo"], "m\ufffdx\x1b[2J")

    def test_a_directory_that_is_gone(self):
        daemon = self.bivalved(self.sink(), settings={"Quarantine": "on"})
        daemon.temporary.rmdir()
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
        daemon.wait_log("message is not kept: cannot make a file in .*: No such file or directory")
        daemon.temporary.mkdir()

    def test_off_by_default(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            client.deliver(eicar_message())
        daemon.expect_messages(dropped=1)
        self.assertEqual(daemon.temporary_files(), [])


class DebugFiles(_Case):
    def test_every_scanned_message_is_kept(self):
        daemon = self.bivalved(self.sink(), settings={"DebugFiles": "on"})
        contents = [compose(b"clean\r\n.x\r\n"), eicar_message()]
        with daemon.client() as client:
            client.ehlo()
            for content in contents:
                client.deliver(content)
        files = self.take_files(daemon, 2)
        self.assertEqual(sorted(c for _, c in files.values()), sorted(contents))
        for name, (mode, _) in files.items():
            self.assertRegex(name, r"^bivalved\.\w{6}$")
            self.assertEqual(mode, 0o600)

    def test_the_old_options(self):
        """-q and -X are Quarantine and DebugFiles: an infected message is one file, virus.XXXXXX."""
        daemon = self.bivalved(self.sink(), start=False)
        daemon.write_configuration()
        done = run_program([daemon.executable, "--check-config", "-q", "-X", "-f", daemon.configuration])
        self.assertEqual(done.returncode, 0)
        self.assertIn(b'"Quarantine: on"', done.stdout)
        self.assertIn(b'"DebugFiles: on"', done.stdout)


class Actions(_Case):
    """VirusAction: its environment, and what it inherits."""

    DUMP = 'env -0 > $OUT/$$.env; ls -l /proc/self/fd > $OUT/$$.fd; cat /proc/self/status > $OUT/$$.status\n' \
           'cat /proc/$$/stat > $OUT/$$.stat; mv $OUT/$$.env $OUT/$$.done'

    def environments(self, out, count):
        wait_until(f"{count} runs of the script", lambda: len(list(out.glob("*.done"))) >= count)
        result = []
        for path in sorted(out.glob("*.done"), key=lambda p: p.stat().st_mtime_ns):
            pairs = (item.partition(b"=")[::2] for item in path.read_bytes().split(b"\0") if item)
            result.append({k.decode(): v.decode("utf-8", "backslashreplace") for k, v in pairs})
            # The shell and env add these.
            for own in ("PWD", "_", "OLDPWD", "SHLVL", "OUT"):
                result[-1].pop(own, None)
        return result

    def test_the_environment(self):
        script, out = self.script(self.DUMP)
        sink = self.sink(extensions=["XFORWARD NAME ADDR HELO"])
        daemon = self.bivalved(sink, settings={"VirusAction": script, "Quarantine": "on"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command("XFORWARD NAME=mx.example ADDR=192.0.2.1 HELO=m+2Bx.example"), 250)
            client.deliver(infected_attachment(), "eve@example.com", ["bob@example.net", "cy@example.net"])
            client.deliver(infected_attachment(), "")
        # Both run at the same time, so either may be the first to end.
        first, second = sorted(self.environments(out, 2), key=lambda one: one["SENDER"], reverse=True)
        files = self.take_files(daemon, 2)
        self.assertEqual({first["EMAIL"], second["EMAIL"]}, {str(daemon.temporary / name) for name in files})
        common = {"CLIENT": "127.0.0.1", "SERVER": "127.0.0.1", "TMPDIR": str(daemon.temporary), "VIRUS": VIRUS,
                  "PATH": SAFE_PATH}
        self.assertEqual(first, {**common, "EMAIL": first["EMAIL"], "SENDER": "eve@example.com",
                                 "RECIPIENTS": "bob@example.net\ncy@example.net", "REMOTE": "192.0.2.1",
                                 "REMOTE_HELO": "m+x.example"})
        # XFORWARD ends with its transaction, as in Postfix.
        self.assertEqual(second, {**common, "EMAIL": second["EMAIL"], "SENDER": "", "RECIPIENTS": "bob@example.net"})

    def test_an_xforward_that_the_server_refused_or_left_open(self):
        script, out = self.script(self.DUMP)
        sink = self.sink(extensions=["XFORWARD NAME ADDR HELO"],
                         replies={"XFORWARD": ["501 5.5.4 not you", "250 ok", "250 ok"]})
        daemon = self.bivalved(sink, settings={"VirusAction": script})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command("XFORWARD ADDR=192.0.2.1 HELO=liar"), 501)
            client.deliver(eicar_message())
            client.command("XFORWARD ADDR=[UNAVAILABLE] HELO=[TEMPUNAVAIL]")
            client.deliver(eicar_message())
            client.command("XFORWARD ADDR=IPv6:2001:db8::1 HELO=a+0Ab")
            client.deliver(eicar_message())
        runs = self.environments(out, 3)  # they run at the same time, and end in any order
        self.assertEqual(sorted(r.get("REMOTE", "") for r in runs), ["", "", "2001:db8::1"])
        self.assertEqual([r.get("REMOTE_HELO") for r in runs], [None] * 3)

    def test_nothing_is_inherited(self):
        script, out = self.script(self.DUMP)
        daemon = self.bivalved(self.sink(), settings={"VirusAction": script})
        with daemon.client() as client:
            client.ehlo()
            client.deliver(eicar_message())
        self.environments(out, 1)
        links = re.findall(r" (\d+) -> (.*)", next(out.glob("*.fd")).read_text())
        self.assertEqual({link for number, link in links if int(number) != 1 and "/proc/" not in link}, {"/dev/null"})
        status = next(out.glob("*.status")).read_text()
        # glibc itself ignores its two internal signals, 32 and 33, in what it spawns.
        self.assertRegex(status, r"SigBlk:\t0{16}\n")
        self.assertRegex(status, r"SigIgn:\t0{7}[01][08]0{7}\n")
        pid, group = re.match(r"(\d+) \(.*\) \S+ \d+ (\d+)", next(out.glob("*.stat")).read_text()).groups()
        self.assertNotEqual(int(group), os.getpgid(daemon.process.pid))
        self.assertNotEqual(pid, "1")

    def test_hostile_addresses_stay_data(self):
        """Everything that a peer can put into a variable is printed, and nothing else happens."""
        trap = self.directory / "trap"
        body = 'printf "%s\\n" "$SENDER" > $OUT/sender; printf %s "$RECIPIENTS" > $OUT/recipients\n' + self.DUMP
        script, out = self.script(body)
        sink = self.sink(extensions=["XFORWARD NAME ADDR HELO"])
        daemon = self.bivalved(sink, settings={"VirusAction": script, "Quarantine": "off"})
        bad = [f'"; touch {trap}; "@a', f"$(touch {trap})@a", f"`touch {trap}`@a", f"'; touch {trap} #@a",
               f"|touch {trap}@a", f"() {{ :; }}; touch {trap}@a", "%s%n%x@a", "-rf@a", "a\x01\x1b[31m@a", "PATH=/x@a",
               "\\n\\0@a", "ü\N{SNOWMAN}@a", "x" * 8000 + "@a"]
        xtext = lambda text: "".join(f"+{b:02X}" for b in text.encode())  # noqa: E731
        with daemon.client() as client:
            client.ehlo()
            for address in bad:
                with self.subTest(address=address[:40]):
                    for each in ("x.done", "sender", "recipients"):
                        (out / each).unlink(missing_ok=True)
                    for old in out.glob("*.done"):
                        old.unlink()
                    hostile = xtext(address[:200])
                    self.assertReply(client.command(f"XFORWARD ADDR={hostile} HELO={hostile}"), 250)
                    # A path in quotes may contain blanks; it is sent without xtext if it has none.
                    path = address if " " not in address else '"' + address.replace('"', '\\"') + '"@a'
                    for line in (f"MAIL FROM:<{path}>", f"RCPT TO:<{path}>", "RCPT TO:<bob@example.net>"):
                        self.assertReply(client.command(line), 250)
                    self.assertReply(client.data(eicar_message()), 250, "Virus Detected; Discarded Email")
                    run, = self.environments(out, 1)
                    shown = path.encode().decode("utf-8", "backslashreplace")
                    self.assertEqual(run["SENDER"], shown)
                    self.assertEqual(run["RECIPIENTS"], shown + "\nbob@example.net")
                    self.assertEqual(run["PATH"], SAFE_PATH)
                    self.assertEqual((out / "sender").read_text(errors="backslashreplace"), shown + "\n")
                    self.assertLessEqual(set(run), {"PATH", "CLIENT", "RECIPIENTS", "REMOTE", "REMOTE_HELO", "SENDER",
                                                    "SERVER", "TMPDIR", "VIRUS"})
            self.assertFalse(trap.exists())
            # A NUL and a bare CR never reach a path, and a line feed ends the line.
            for line in (b"MAIL FROM:<a\0b@a>\r\n", b"MAIL FROM:<a\rb@a>\r\n"):
                self.assertReply(client.command(line), 500)
        self.assertFalse(trap.exists())

    def test_very_many_recipients(self):
        """More than Linux allows in one variable: as many whole lines as fit, and the command still runs."""
        script, out = self.script(self.DUMP)
        daemon = self.bivalved(self.sink(), settings={"VirusAction": script})
        recipients = [f"{n:04d}{'r' * 200}@example.net" for n in range(800)]
        with daemon.client() as client:
            client.ehlo()
            client.deliver(eicar_message(), recipients=recipients)
        run, = self.environments(out, 1)
        lines = run["RECIPIENTS"].split("\n")
        self.assertGreater(len(lines), 400)
        self.assertEqual(lines, recipients[:len(lines)])

    def test_the_mail_does_not_wait(self):
        """Scripts that hang: mail is delivered, at most eight run at once, the others follow in order; no zombies."""
        gate = self.directory / "gate"
        script, out = self.script(f"touch $OUT/$$.run; while [ ! -e {gate} ]; do sleep 0.05; done; touch $OUT/$$.done")
        daemon = self.bivalved(self.sink(), settings={"VirusAction": script})
        count = 20
        began = time.monotonic()
        with daemon.client() as client:
            client.ehlo()
            for _ in range(count):
                self.assertReply(client.deliver(eicar_message()), 250)
        self.assertLess(time.monotonic() - began, 20)
        wait_until("eight runs", lambda: len(list(out.glob("*.run"))) == 8)
        time.sleep(0.2)
        self.assertEqual(len(list(out.glob("*.run"))), 8)
        gate.touch()
        wait_until("all runs", lambda: len(list(out.glob("*.done"))) == count)
        children = f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children"
        wait_until("the children to be collected", lambda: not open(children).read().split())

    def test_left_alone_at_the_end(self):
        """The daemon ends while a script runs: the script continues to its own end."""
        gate = self.directory / "gate"
        script, out = self.script(f"touch $OUT/run; while [ ! -e {gate} ]; do sleep 0.05; done; touch $OUT/done")
        daemon = self.bivalved(self.sink(), settings={"VirusAction": script})
        with daemon.client() as client:
            client.ehlo()
            client.deliver(eicar_message())
        wait_until("the script to run", (out / "run").exists)
        daemon.stop()
        self.assertFalse((out / "done").exists())
        gate.touch()
        wait_until("the script to end", (out / "done").exists)

    def test_a_command_with_arguments_that_fails(self):
        """Interpreted by the shell; its exit status and output are ignored."""
        out = self.directory / "line"
        daemon = self.bivalved(self.sink(), settings={
            "VirusAction": f"echo noise; echo noise >&2; echo \"$VIRUS\" | tr a-z A-Z > {out}.part && mv {out}.part {out}; exit 3"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(eicar_message()), 250)
            wait_until("the command", out.exists)
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(out.read_text(), VIRUS.upper() + "\n")
        self.assertNotIn("noise", daemon.log)


class KeptAlive(_Case):
    """KeepAlives: NOOP to the server while its client takes its time."""

    def noops(self, sink):
        return sum(line == b"NOOP" for line in sink.commands)

    def slowly(self, client, seconds):
        self.assertReply(client.mail(), 250)
        self.assertReply(client.rcpt(), 250)
        self.assertReply(client.command("DATA"), 354)
        client.send(compose(b""))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.send(b"a line\r\n")
            time.sleep(0.1)
        client.send(b".\r\n")

    def test_while_a_message_is_received(self):
        for extensions in (["8BITMIME"], ["PIPELINING", "CHUNKING"]):
            with self.subTest(extensions=extensions):
                sink = self.sink(extensions=extensions, replies={"NOOP": lambda *_: "250-still\n250 here"})
                daemon = self.bivalved(sink, settings={"KeepAlives": 1})
                with daemon.client() as client:
                    client.ehlo()
                    self.slowly(client, 2.6)
                    self.assertReply(client.reply(), 250, "2.0.0 sink: queued as 1")
                    self.assertReply(client.quit(), 221)
                self.assertIn(self.noops(sink), (2, 3))

    def test_while_it_is_scanned(self):
        import signal
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"KeepAlives": 1})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"first\r\n")), 250)
            self.assertEqual(self.noops(sink), 0)
            clamd.process.signal(signal.SIGSTOP)
            client.begin_data()
            client.content(eicar_message())
            sink.wait("two NOOPs", lambda: sum(c == b"NOOP" for s in sink.sessions for c in s.commands) >= 2)
            clamd.process.signal(signal.SIGCONT)
            self.assertReply(client.reply(), 250, "Virus Detected; Discarded Email")
            count = self.noops(sink)
            time.sleep(1.5)
            self.assertEqual(self.noops(sink), count, "none between messages")
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)

    def test_between_chunks(self):
        sink = self.sink(extensions=["CHUNKING"])
        daemon = self.bivalved(sink, settings={"KeepAlives": 1})
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            client.send(b"BDAT 10\r\n12345")
            sink.wait_command(b"NOOP")
            client.send(b"678\r\n")
            self.assertReply(client.reply(), 250)
            self.assertReply(client.bdat(b"x\r\n", last=True), 250, "2.0.0 sink: queued as 1")

    def test_a_server_that_fails_then_is_lost(self):
        for answer in (CLOSE, "421 4.3.2 sink: going down", b"what?\r\n"):
            with self.subTest(answer=str(answer)):
                sink = self.sink(replies={"NOOP": [answer]})
                daemon = self.bivalved(sink, settings={"KeepAlives": 1})
                with daemon.client() as client:
                    client.ehlo()
                    self.slowly(client, 1.5)
                    self.assertReply(client.reply(), 451, "4.3.0 Local Error")
                    self.assertReply(client.reply(), 421)
                daemon.expect_messages(received=1, lost=1, delivered=0)
                self.assertEqual(sink.received, [])

    def test_none_by_default(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.slowly(client, 1.5)
            self.assertReply(client.reply(), 250)
        self.assertEqual(self.noops(sink), 0)


if __name__ == "__main__":
    main()
