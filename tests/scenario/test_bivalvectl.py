"""bivalvectl, the operator's tool: the real program, with real daemons and with files and answers made up to deceive it."""
import fcntl
import hashlib
import http.server
import json
import os
import pty
import pwd
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import unittest

from harness import (CLOSE, PROJECT, TIMEOUT, ScenarioCase, SmtpClient, free_port, infected_attachment, main, tool,
                     wait_until)
from harness.process import adopt_orphans

VIRUS = "Eicar-Test-Signature.UNOFFICIAL"
NOBODY = pwd.getpwnam("nobody").pw_uid
# What a terminal would obey, and characters that turn or hide text.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\n\u202egnp.exe\u200b\x7f"


class _Case(ScenarioCase):
    bivalve_only = True

    def ctl(self, *arguments, status=0):
        """Runs bivalvectl; returns standard output and standard error. Neither may hold anything a terminal obeys."""
        executable = tool("bivalvectl")
        if executable is None:
            self.skipTest("bivalvectl is not built")
        done = subprocess.run([executable, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def json(self, *arguments):
        """What --json prints, which must be ASCII without control characters."""
        out, _ = self.ctl(*arguments, "--json")
        self.assertNotRegex(out, rb"[^\x20-\x7e\n]")
        return json.loads(out)

    def assertHarmless(self, output):
        text = output.decode()  # must be UTF-8
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]")


class Quarantine(_Case):
    # Dots at the start of lines, 8 bit, a bare LF and a bare CR, and a dot behind one, as DATA carries it.
    CONTENT = infected_attachment() + b".\xe9\xff\r\n..two\r\n....\r\na\nb\n. c\rd\r\n\r\n"

    def quarantined(self, content=CONTENT, sink=None, bdat=False, sender="eve@example.com",
                    recipients=("bob@example.net", "cy@example.net"), **settings):
        """A daemon that has quarantined one message; returns it and the message's ID."""
        sink = sink or self.sink(extensions=["8BITMIME", "SMTPUTF8", "SIZE 1000000", "CHUNKING"])
        daemon = self.bivalved(sink, settings={"Quarantine": "on", **settings})
        self.addCleanup(lambda: [path.unlink() for path in daemon.temporary.iterdir()])
        with daemon.client() as client:
            client.ehlo()
            if bdat:
                client.mail(sender)
                for recipient in recipients:
                    client.rcpt(recipient)
                self.assertReply(client.bdat(content, last=True), 250)
            else:
                self.assertReply(client.deliver(content, sender, list(recipients)), 250, "Virus Detected; Discarded Email")
        kept = daemon.wait_log(r"message kept as: .*/(virus\.\w{6})$")
        return daemon, sink, kept.group(1)

    def release(self, daemon, *arguments, status=0):
        return self.ctl("-f", daemon.configuration, "quarantine", "release", *arguments, status=status)

    def test_there_and_back(self):
        daemon, sink, name = self.quarantined()
        listed = json.loads(self.ctl("-f", daemon.configuration, "quarantine", "list", "--json")[0])
        self.assertEqual([(e["id"], e["problem"], e["record"]["virus"]) for e in listed], [(name, "", VIRUS)])
        shown = self.ctl("-f", daemon.configuration, "quarantine", "show", name)[0].decode()
        for pattern in (r"^virus +Eicar", r"^from +eve@", r"^to +bob@", r"^to +cy@", r"^client +127\.0\.0\.1$", r"^sha256 +\w{64}$"):
            self.assertRegex(shown, "(?m)" + pattern)
        self.assertEqual(self.ctl("-f", daemon.configuration, "quarantine", "show", "--message", name)[0], self.CONTENT)

        out, _ = self.release(daemon, name)
        self.assertIn(b"queued as", out)
        message, = sink.received
        self.assertEqual(message.content, self.CONTENT)
        self.assertEqual((message.how, message.sender, message.recipients),
                         ("DATA", "eve@example.com", ["bob@example.net", "cy@example.net"]))
        self.assertEqual(message.mail_line, b"MAIL FROM:<eve@example.com> SIZE=%d BODY=8BITMIME" % len(self.CONTENT))
        # It stays; the six characters alone name it too.
        self.release(daemon, "--delete", name.removeprefix("virus."))
        self.assertEqual(len(sink.received), 2)
        self.assertEqual(daemon.temporary_files(), [])
        self.assertEqual(self.ctl("-f", daemon.configuration, "quarantine", "list")[0].count(b"\n"), 1)

    def test_parameters_as_they_came(self):
        """What the sender wanted to be told of the delivery is kept, and goes along where the server offers it."""
        sink = self.sink(extensions=["8BITMIME", "SIZE 1000000", "DSN"])
        daemon = self.bivalved(sink, settings={"Quarantine": "on"})
        self.addCleanup(lambda: [path.unlink() for path in daemon.temporary.iterdir()])
        with daemon.client() as client:
            client.ehlo()
            client.mail("eve@example.com", " RET=HDRS SIZE=99999 ENVID=QQ314159 BODY=8BITMIME")
            client.rcpt("bob@example.net")
            client.command("RCPT TO:<cy@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.org")
            client.command("DATA")
            client.content(self.CONTENT)
            self.assertReply(client.reply(), 250)
        name = daemon.wait_log(r"message kept as: .*/(virus\.\w{6})$").group(1)
        wait_until("the record", (daemon.temporary / f"{name}.json").exists)
        record = self.json("-f", daemon.configuration, "quarantine", "show", name)["record"]
        self.assertEqual(record["mail_parameters"], "RET=HDRS SIZE=99999 ENVID=QQ314159 BODY=8BITMIME")
        self.assertEqual(record["recipient_parameters"], ["", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.org"])
        self.release(daemon, name)
        plain = self.sink(extensions=["8BITMIME"])
        self.release(daemon, "--to", plain.address, name)
        rcpt = [b"RCPT TO:<bob@example.net>", b"RCPT TO:<cy@example.net>"]
        with_dsn, without = sink.received[0], plain.received[0]
        self.assertEqual(with_dsn.mail_line, b"MAIL FROM:<eve@example.com> SIZE=%d BODY=8BITMIME RET=HDRS ENVID=QQ314159" % len(self.CONTENT))
        self.assertEqual(with_dsn.rcpt_lines, [rcpt[0], rcpt[1] + b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.org"])
        self.assertEqual((without.mail_line, without.rcpt_lines), (b"MAIL FROM:<eve@example.com> BODY=8BITMIME", rcpt))
        shown = self.ctl("-f", daemon.configuration, "quarantine", "show", name)[0].decode()
        self.assertRegex(shown, r"(?m)^to +cy@example\.net NOTIFY=SUCCESS,DELAY ")
        path = daemon.temporary / f"{name}.json"
        path.write_text(path.read_text().replace("QQ314159", "QQ\\r\\nDATA"))
        self.assertIn(b"the parameter 'ENVID=QQ\\x0d\\x0aDATA' in the record is none", self.release(daemon, name, status=1)[1])

    def test_what_only_chunks_can_carry(self):
        """A dot line that servers read differently, and no line end at the end: by BDAT, or not at all."""
        for content in (infected_attachment() + b"x\n.\r\nMAIL FROM:<>\r\n", infected_attachment() + b"no end"):
            with self.subTest(content=content[-20:]):
                daemon, sink, name = self.quarantined(content, bdat=True)
                self.release(daemon, name)
                message, = sink.received
                self.assertEqual((message.how, message.content), ("BDAT", content))
                plain = self.sink(extensions=["8BITMIME"])
                _, error = self.release(daemon, "--to", plain.address, name, status=1)
                self.assertIn(b"no CHUNKING", error)
                self.assertEqual(plain.received, [])

    def test_addresses_as_they_came(self):
        odd = ['"a b\\"c"@example.net', "j\u00f6rg@example.net", "x" * 3000 + "@example.net"]
        daemon, sink, name = self.quarantined(sender="", recipients=odd)
        self.release(daemon, name)
        message, = sink.received
        self.assertEqual(message.sender, "")
        self.assertEqual([re.search(b"<(.*)>", line).group(1).decode() for line in message.rcpt_lines], odd)
        self.assertTrue(message.mail_line.endswith(b" SMTPUTF8"))

    def test_recipients_that_are_refused(self):
        sink = self.sink()
        daemon, _, name = self.quarantined(sink=sink)
        other = self.sink(replies={"RCPT": ["550 5.1.1 no bob\x1b[2J here", "250 ok"]})
        out, error = self.release(daemon, "--delete", "--to", other.address, name, status=1)
        self.assertHarmless(error)
        self.assertRegex(error.decode(), r"bob@example\.net is refused: 550 5\.1\.1 no bob\\x1b\[2J here")
        self.assertIn(b"queued as", out)
        self.assertEqual(other.received[0].recipients, ["cy@example.net"])
        self.assertIn(name, daemon.temporary_files(), "not everybody has it: it is not deleted")

    def test_a_server_that_does_not_take_it(self):
        daemon, _, name = self.quarantined()
        for replies, words in (({"MAIL": "451 4.3.0 later"}, b"the sender is refused: 451"),
                               ({"RCPT": "550 no"}, b"every recipient is refused"),
                               ({"DATA": "554 no"}, b"DATA is refused: 554"),
                               ({"BODY": "554-5.7.1 no\n554 never"}, b"the message is refused: 554-5.7.1 no / 554 never"),
                               ({"BODY": CLOSE}, b"closed the connection"), ({"CONNECT": "554 go away"}, b"the server says 554")):
            with self.subTest(replies=replies):
                sink = self.sink(replies=replies)
                _, error = self.release(daemon, "--delete", "--to", sink.address, name, status=1)
                self.assertIn(words, error)
                self.assertIn(name, daemon.temporary_files())
        port = free_port()
        self.addCleanup(port.release)
        self.assertIn(b"cannot connect", self.release(daemon, "--to", str(port), name, status=1)[1])

    def test_the_second_server_when_the_first_is_gone(self):
        port = free_port()
        self.addCleanup(port.release)
        daemon, sink, name = self.quarantined()
        text = daemon.configuration.read_text().replace(f"OutAddress: {sink.address}", f"OutAddress: {port}\nOutAddress: {sink.address}")
        other = self.directory / "two.conf"
        other.write_text(text)
        self.ctl("-f", other, "quarantine", "release", name)
        self.assertEqual(len(sink.received), 1)

    def test_a_message_that_is_not_the_one_of_its_record(self):
        daemon, sink, name = self.quarantined()
        path = daemon.temporary / name
        path.write_bytes(self.CONTENT[:-1] + b"X")
        self.assertIn(b"the hash is another", self.release(daemon, name, status=1)[1])
        self.assertEqual(sink.received, [])

    def made_up(self, name="virus.AAAAAA", content=b"x\r\n", mode=0o600, **members):
        """A message and a record in a directory that no daemon knows."""
        directory = self.directory / "made-up"
        directory.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
        record = {"id": name, "time": "2026-11-22T10:00:00Z", "session": "100000", "virus": "V", "from": "a@b",
                  "recipients": ["c@d"], "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **members}
        path = directory / f"{name}.json"
        path.write_text(json.dumps(record))
        path.chmod(mode)
        return directory

    def test_hostile_records(self):
        """Whatever stands in a record: a terminal gets no control character, and the server no command."""
        directory = self.made_up(virus=HOSTILE, helo=HOSTILE, client=HOSTILE, session=HOSTILE, **{"from": HOSTILE},
                                 scanner={"address": HOSTILE, "version": HOSTILE})
        self.made_up("virus.BBBBBB", recipients=["x@y>\r\nDATA\r\n"])
        self.made_up("virus.CCCCCC", recipients=[])
        self.made_up("virus.DDDDDD", id="virus.AAAAAA")
        sink = self.sink()
        where = ["--directory", directory]
        for command in (["list"], ["show", "virus.AAAAAA"]):
            out, _ = self.ctl("quarantine", *command, *where)
            self.assertHarmless(out)
            self.assertIn(b"\\x1b[2J", out)
        self.assertEqual(self.json("quarantine", "show", "AAAAAA", *where)["record"]["virus"], HOSTILE)
        self.assertIn(HOSTILE, [entry["record"] and entry["record"]["virus"] for entry in self.json("quarantine", "list", *where) if "record" in entry])
        for name, words in (("AAAAAA", b"a control character"), ("BBBBBB", b"a '>'"), ("CCCCCC", b"no recipients"),
                            ("DDDDDD", b"another message's")):
            _, error = self.ctl("quarantine", "release", *where, "--to", sink.address, name, status=1)
            self.assertIn(words, error)
        self.assertEqual(sink.sessions, [])

    def test_addresses_that_are_none(self):
        """What a server could read as something else than one address goes nowhere, and the sentence says which it was."""
        sink = self.sink()
        wrong = {"a b@example.com": "a blank", "a>b@example.com": "a '>'", "a<b@example.com": "a '<'", "a@b.c\r\nQUIT": "a line end",
                 "a\n@example.com": "a line end", "a\x07@example.com": "a control character", "a\u009b@example.com": "a control character",
                 'a\\>b@example.com': "a backslash outside of quotes", '"a@example.com': "a quote without its end", "a@example.com SIZE=1": "a blank"}
        for address, what in wrong.items():
            with self.subTest(address=address):
                for members, who in (({"from": address}, "the sender"), ({"recipients": ["c@d", address]}, "the recipient")):
                    directory = self.made_up(**members)
                    out, error = self.ctl("quarantine", "release", "--directory", directory, "--to", sink.address, "AAAAAA", status=1)
                    self.assertHarmless(out + error)
                    self.assertIn(f"virus.AAAAAA is not released: {who} '".encode(), error)
                    self.assertIn(f"' in the record is no address: it has {what}\n".encode(), error)
        directory = self.made_up(recipients=[""])
        self.assertIn(b"a recipient in the record is empty", self.ctl(
            "quarantine", "release", "--directory", directory, "--to", sink.address, "AAAAAA", status=1)[1])
        self.assertEqual(sink.sessions, [])
        directory = self.made_up(**{"from": '"a b\\""@example.com', "recipients": ["Postmaster"]})
        self.ctl("quarantine", "release", "--directory", directory, "--to", sink.address, "AAAAAA")
        self.assertEqual((sink.received[0].sender, sink.received[0].recipients), ('"a b\\""@example.com', ["Postmaster"]))

    def test_files_that_are_not_what_they_seem(self):
        secret = self.directory / "secret"
        secret.write_bytes(b"s3cret")
        directory = self.made_up()
        where = ["--directory", directory]
        (directory / "virus.LINKED").symlink_to(secret)
        (directory / "virus.LINK0J.json").symlink_to(secret)
        os.link(secret, directory / "virus.HARD00")
        os.mkfifo(directory / "virus.FIFO00")
        (directory / "virus.DIR000").mkdir()
        (directory / "virus.ALONE0").write_bytes(b"y")
        (directory / "virus.EMPTY0.json.new").write_bytes(b"")
        (directory / "virus.toolong").write_bytes(b"")
        (directory / "other").write_bytes(b"")
        listed = {e["id"]: e for e in json.loads(self.ctl("quarantine", "list", "--json", *where)[0])}
        self.assertEqual({name: e["problem"] for name, e in listed.items()}, {
            "virus.AAAAAA": "", "virus.LINKED": "virus.LINKED is a symbolic link", "virus.LINK0J": "the message is gone",
            "virus.HARD00": "virus.HARD00 is not a file of its own", "virus.FIFO00": "virus.FIFO00 is not a file of its own",
            "virus.DIR000": "virus.DIR000 is not a file of its own", "virus.ALONE0": "there is no record",
            "virus.EMPTY0": "the message is gone"})
        for name, entry in listed.items():
            self.assertEqual(self.json("quarantine", "show", name, *where), entry, "the same as in the list")
        self.assertRegex(self.ctl("quarantine", "show", "LINKED", *where)[0], rb"(?m)^note +virus\.LINKED is a symbolic link$")
        self.assertIn(b"there is no virus.NOBODY", self.ctl("quarantine", "show", "NOBODY", *where, status=1)[1])
        self.assertIn(b"symbolic link", self.ctl("quarantine", "release", *where, "--to", "1", "LINKED", status=1)[1])
        for name in ("LINKED", "HARD00", "FIFO00", "DIR000", "LINK0J"):
            self.assertNotIn(b"s3cret", b"".join(self.ctl("quarantine", "show", "--message", *where, name, status=1)))
        self.assertIn(b"there is no record", self.ctl("quarantine", "release", *where, "--to", "1", "ALONE0", status=1)[1])
        for name in ("../secret", "virus.../../x", "virus.AAAAA", "virus.AAAAA/", "virus.AAAAAA.json", "", HOSTILE):
            for command in (["show"], ["show", "--message"], ["delete"], ["release", "--to", "1"]):
                out, error = self.ctl("quarantine", *command, *where, "--", name, status=2)
                self.assertHarmless(out + error)
        self.ctl("quarantine", "delete", *where, "LINKED", "LINK0J", "HARD00", "EMPTY0")
        self.assertEqual(secret.read_bytes(), b"s3cret")
        self.assertEqual(self.ctl("quarantine", "delete", *where, "LINKED", status=1)[0], b"0 deleted\n")

    @unittest.skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_files_of_somebody_else(self):
        """Who can write into TempDirectory has no mail sent in the operator's name."""
        directory = self.made_up()
        self.made_up("virus.BBBBBB")
        self.made_up("virus.CCCCCC", mode=0o662)
        for name in ("virus.AAAAAA", "virus.AAAAAA.json", "virus.BBBBBB.json"):
            os.chown(directory / name, NOBODY, -1)
        where = ["--directory", directory]
        for name, words in (("AAAAAA", b"neither root nor User nor you"), ("BBBBBB", b"could be somebody else's"),
                            ("CCCCCC", b"could be somebody else's")):
            self.assertIn(words, self.ctl("quarantine", "release", *where, "--to", "1", name, status=1)[1])
        sink = self.sink()
        configuration = self.directory / "nobody.conf"
        configuration.write_text(f"OutAddress: {sink.address}\nUser: nobody\nTempDirectory: {directory}\n")
        self.ctl("-f", configuration, "quarantine", "release", "AAAAAA")
        self.assertEqual(sink.received[0].content, b"x\r\n")

    def test_deleting_by_age(self):
        directory = self.made_up(time="2020-01-01T00:00:00Z")
        self.made_up("virus.NEWNEW", time="2199-01-01T00:00:00Z")
        (directory / "virus.ALONE0").write_bytes(b"y")
        os.utime(directory / "virus.ALONE0", (0, 0))
        where = ["--directory", directory]
        self.assertEqual(self.ctl("quarantine", "delete", "--older-than", "30", *where)[0], b"2 deleted\n")
        self.assertEqual(sorted(os.listdir(directory)), ["virus.NEWNEW", "virus.NEWNEW.json"])
        for wrong in (["--older-than", "-1"], ["--older-than", "x"], [], ["--older-than", "1", "NEWNEW"]):
            self.ctl("quarantine", "delete", *where, *wrong, status=2)
        self.assertEqual(len(os.listdir(directory)), 2)

    def test_a_directory_that_is_not_there(self):
        self.assertIn(b"No such file", self.ctl("quarantine", "list", "--directory", self.directory / "none", status=2)[1])


class Check(_Case):
    """check: status 0 when there is nothing to say, 1 with warnings, 2 with errors."""

    CLAMD = "AlertExceedsMax yes\nMaxFileSize 100M\nMaxScanSize 400M\nStreamMaxLength 100M\nMaxScanTime 60000\nMaxThreads 2\n"
    BEFORE_QUEUE = PROJECT / "appliance/examples/postfix-before-queue"

    def check(self, settings="", clamd=CLAMD, main_cf="", master_cf=None, status=0):
        configuration = self.directory / "b.conf"
        configuration.write_text(f"Listen: 127.0.0.1:10025\nOutAddress: 127.0.0.1:10026\nTempDirectory: {self.directory}\n{settings}\n")
        (self.directory / "clamd.conf").write_text(clamd)
        (self.directory / "main.cf").write_text(main_cf)
        (self.directory / "master.cf").write_text(master_cf or (self.BEFORE_QUEUE / "master.cf").read_text())
        arguments = ["-f", configuration, "check", "--clamd-conf", self.directory / "clamd.conf",
                     "--postfix-main-cf", self.directory / "main.cf"]
        out, error = self.ctl(*arguments, status=status)
        self.assertEqual(error, b"")
        self.assertHarmless(out)
        document = json.loads(self.ctl(*arguments, "--json", status=status)[0])
        lines = out.decode().splitlines()
        self.assertEqual(len([p for p in document["problems"] if p["kind"] == "warning"]),
                         len([line for line in lines if line.startswith("warning: ")]))
        self.assertRegex(lines[-1], rf"^{document['errors']} errors?, {document['warnings']} warnings?$")
        return lines

    def test_the_example_fits(self):
        self.assertEqual(self.check()[-1], "0 errors, 0 warnings")

    def test_warnings(self):
        lines = self.check("KeepAlives: 0", self.CLAMD + "MaxFileSize 1M\n", "message_size_limit = 0\n", status=1)
        self.assertRegex(lines[0], r"^warning: .*/clamd\.conf: MaxFileSize: is 1M")
        self.assertRegex(lines[1], r"^warning: .*/main\.cf:1: message_size_limit: is without limit")

    def test_errors(self):
        lines = self.check("User: no-such-user\nPidFile: /no/such/place/pid", status=2)
        self.assertRegex(lines[0], r"^error: .*/b\.conf:4: User: there is no user 'no-such-user'$")
        self.assertRegex(lines[1], r"^error: .*/b\.conf:5: PidFile: ")
        lines = self.check("ScanFailure: a=b, down", status=2)
        self.assertEqual(len(lines), 2, "without a configuration there is nothing to compare")
        self.assertRegex(self.check("ClamConnections: 100\nWorkers: 1", status=1)[0], "^warning: .*MaxQueue")

    def test_hostile_files(self):
        for text in (HOSTILE, "message_size_limit = " + HOSTILE, "\0" * 1000, "a=$a\nb=${b}\n" * 1000):
            self.check(clamd=self.CLAMD + text, main_cf=text, master_cf=text)
            self.check("Header" + text.replace("\n", ""), status=2)

    def test_files_that_are_not_there(self):
        configuration = self.directory / "c.conf"
        configuration.write_text(f"OutAddress: 192.0.2.1\nClamAddress: 192.0.2.2:3310\nTempDirectory: {self.directory}\n")
        none = self.directory / "none"
        for option in ("--clamd-conf", "--postfix-main-cf"):
            out, _ = self.ctl("-f", configuration, "check", option, none, status=2)
            self.assertIn(f"{option}: cannot be read".encode(), out)
        self.assertIn(b"another machine", self.ctl("-f", configuration, "check", "--postfix-main-cf", "/dev/null")[0])
        self.ctl("-f", none, "check", status=2)


class ScriptedDaemon:
    """A statistics address that answers what a test has it answer: a document, or a function that makes one."""

    def __init__(self):
        self.documents = {}
        self.asked = []
        daemon = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                daemon.asked.append(self.path)
                answer = daemon.documents.get(self.path.partition("?")[0])
                answer = answer() if callable(answer) else answer
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        Handler.protocol_version = "HTTP/1.1"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Pty:
    """bivalvectl on a terminal of its own."""

    def __init__(self, arguments, columns=100, rows=30):
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.output = b""

        def own_the_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen([tool("bivalvectl"), *map(str, arguments)], stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, preexec_fn=own_the_terminal, env={**os.environ, "TERM": "xterm"})

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        """What has been written since, at most some of it; waits a little."""
        if select.select([self.master], [], [], 0.05)[0]:
            self.output += os.read(self.master, 65536)

    def screen(self):
        """The lines of the last screen that was drawn whole."""
        frames = [frame for frame in self.output.split(b"\x1b[H")[1:] if b"\x1b[J" in frame]
        if not frames:
            return []
        # The terminal's own processing puts a second CR before the LF.
        last = frames[-1].partition(b"\x1b[J")[0].decode()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).replace("\r\r\n", "\n").split("\n")

    def wait_screen(self, what, condition):
        def look():
            self.read()
            return condition(self.screen())
        return wait_until(what, look)

    def wait_end(self):
        wait_until("bivalvectl to end", lambda: (self.read(), self.process.poll() is not None)[1])
        while select.select([self.master], [], [], 0)[0]:
            self.read()
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(_Case):
    LEAVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

    def setUp(self):
        super().setUp()
        if tool("bivalvectl") is None:
            self.skipTest("bivalvectl is not built")

    def scripted(self, **stats):
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        daemon.documents["/stats"] = {"program": "bivalved", "pid": 4711, "uptime_seconds": 5, **stats}
        return daemon

    def terminal(self, *arguments, **size):
        terminal = Pty(arguments, **size)
        self.addCleanup(terminal.close)
        return terminal

    def assertRestored(self, terminal):
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
        self.assertTrue(terminal.output.endswith(self.LEAVE), terminal.output[-200:])
        self.assertEqual(terminal.output.count(b"\x1b[?1049h"), terminal.output.count(b"\x1b[?1049l"))

    def test_a_daemon_at_work(self):
        daemon = self.bivalved(self.sink())
        terminal = self.terminal("-f", daemon.configuration, "top", "--interval", "0.1")
        with daemon.client() as client, daemon.client() as idle:
            idle.ehlo()
            client.ehlo("busy.example")
            for _ in range(3):
                client.deliver(infected_attachment())
            client.mail("eve@example.com")
            screen = terminal.wait_screen("the sessions", lambda lines: any("eve@example.com" in line for line in lines)
                                          and any(re.search(r"sessions 2 ", line) for line in lines) and lines)
            self.assertRegex(screen[0], rf"^bivalved \S+ +pid {daemon.process.pid} +up ")
            text = "\n".join(screen)
            self.assertRegex(text, r"\nup +closed +found ")
            self.assertRegex(text, r"\nscan +")
            self.assertRegex(text, r"\n\w{6} +127\.0\.0\.1 +command .*eve@example\.com  busy\.example")
            self.assertEqual(len(screen), 30)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_keys_and_sizes(self):
        daemon = self.scripted()
        daemon.documents["/sessions"] = {"total": 2, "sessions": [
            {"id": "1", "client": "b", "age_seconds": 2, "bytes": 1}, {"id": "2", "client": "a", "age_seconds": 1, "bytes": 2}]}
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "1000")
        terminal.wait_screen("the first screen", lambda lines: any("(by age)" in line for line in lines))
        for order in ("by time in phase", "by bytes", "by messages", "by client", "by age"):
            os.write(terminal.master, b"s")
            terminal.wait_screen(order, lambda lines: any(f"({order})" in line for line in lines))
        os.write(terminal.master, b"r")
        terminal.wait_screen("reversed", lambda lines: any("(by age, reversed)" in line for line in lines))
        os.write(terminal.master, b"v")
        terminal.wait_screen("by time", lambda lines: any("by time" in line for line in lines))
        asked = len(daemon.asked)
        os.write(terminal.master, b" ")
        wait_until("another look", lambda: (terminal.read(), len(daemon.asked) > asked)[1])
        for columns, rows in ((40, 10), (200, 50), (1, 1), (132, 24)):
            terminal.resize(columns, rows)
            screen = terminal.wait_screen(f"{rows} rows", lambda lines: len(lines) == rows and lines)
            self.assertLessEqual(max(map(len, screen)), columns)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_every_way_out(self):
        daemon = self.scripted()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT):
            with self.subTest(signal=number):
                terminal = self.terminal("-s", daemon.address, "top")
                terminal.wait_screen("the first screen", lambda lines: lines)
                terminal.process.send_signal(number)
                self.assertEqual(terminal.wait_end(), -number)
                self.assertRestored(terminal)
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "0.1", "--count", "3")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)
        terminal = self.terminal("-s", daemon.address, "top")
        terminal.wait_screen("the first screen", lambda lines: lines)
        os.write(terminal.master, b"\x03")
        self.assertEqual(terminal.wait_end(), -signal.SIGINT)
        self.assertRestored(terminal)

    def test_stopped_and_continued(self):
        daemon = self.scripted()
        terminal = self.terminal("-s", daemon.address, "top", "--interval", "1000")
        terminal.wait_screen("the first screen", lambda lines: lines)
        # Nobody would continue an orphaned group that SIGTSTP stopped, so the kernel does not stop it; SIGSTOP always does.
        terminal.process.send_signal(signal.SIGSTOP)
        wait_until("the stop", lambda: "(stopped)" in open(f"/proc/{terminal.process.pid}/status").read())
        terminal.process.send_signal(signal.SIGCONT)
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_hostile_names(self):
        """Nothing that a client, a scanner or a forger of statistics has chosen moves the cursor."""
        daemon = self.scripted(
            version=HOSTILE, viruses={"A" * 60: 3}, scanners=[{"address": HOSTILE, "version": HOSTILE, "circuit": HOSTILE, "canary": HOSTILE}],
            phases_us={HOSTILE: {"count": 1}}, viruses_recent=[{"name": HOSTILE, "client": HOSTILE, "time": 1e10}])
        daemon.documents["/sessions"] = {"total": 1, "sessions": [{name: HOSTILE for name in (
            "id", "client", "helo", "phase", "from", "scanner")}]}
        terminal = self.terminal("-s", daemon.address, "top", columns=250)
        screen = terminal.wait_screen("the screen", lambda lines: lines)
        self.assertIn("\\x1b[2J", "".join(screen))
        self.assertHarmless("\n".join(screen).encode())
        known = rb"\x1b\[(\?1049h|\?25l|\?7l|2J|H|K|J|7m|0m|1;31m)"
        self.assertNotIn(b"\x1b", re.sub(known, b"", terminal.output))
        self.assertEqual(terminal.output.count(b"\x1b[2J"), 1)
        for arguments in (["top", "--count", "1"], ["stats"], ["sessions"]):
            out, _ = self.ctl("-s", daemon.address, *arguments)
            self.assertHarmless(out)
        self.assertIn(b"A" * 60 + b" ", self.ctl("-s", daemon.address, "stats")[0], "no name is cut in a pipe")
        stats = self.json("-s", daemon.address, "stats")
        self.assertEqual(stats["viruses_recent"][0]["name"], HOSTILE)
        sessions = self.json("-s", daemon.address, "sessions")
        self.assertEqual(sessions["sessions"][0]["client"], HOSTILE)

    def test_a_daemon_that_goes_and_comes_back(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        terminal = self.terminal("-f", daemon.configuration, "top", "--interval", "0.1")
        terminal.wait_screen("the first screen", lambda lines: lines)
        daemon.stop()
        terminal.wait_screen("the trouble", lambda lines: any("NO ANSWER: cannot connect" in line for line in lines))
        daemon.start()
        terminal.wait_screen("the new one", lambda lines: lines and f"pid {daemon.process.pid} " in lines[0])
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.wait_end(), 0)
        self.assertRestored(terminal)

    def test_lines_for_a_log(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            client.deliver(infected_attachment())
        out, _ = self.ctl("-f", daemon.configuration, "top", "--interval", "0.1", "--count", "3")
        lines = out.decode().splitlines()
        self.assertEqual(len(lines), 3)
        first, last = (dict(item.partition("=")[::2] for item in line.split()) for line in (lines[0], lines[-1]))
        self.assertEqual((first["pid"], first["messages_per_s"]), (str(daemon.process.pid), "-"))
        self.assertEqual((last["messages_per_s"], last["scanners_up"]), ("0.0", "1/1"))
        # The first look has the latencies since the start, the others those of the time between.
        self.assertGreater(int(first["scan_p99_us"]), 0)
        self.assertEqual(last["scan_p99_us"], "-")
        for wrong in (["--interval", "0"], ["--interval", "x"], ["--count", "0"]):
            self.ctl("-s", "1", "top", *wrong, status=2)
        port = free_port()
        self.addCleanup(port.release)
        self.assertIn(b"cannot connect", self.ctl("-s", port, "top", status=1)[1])


class Sessions(_Case):
    def test_longest_first(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as first, daemon.client() as second:
            first.ehlo("first.example")
            second.ehlo("second.example")
            second.mail("eve@example.com")
            document = json.loads(self.ctl("-f", daemon.configuration, "sessions", "--json")[0])
            self.assertEqual([s["helo"] for s in document["sessions"]], ["first.example", "second.example"])
            lines = self.ctl("-f", daemon.configuration, "sessions")[0].decode().splitlines()
            self.assertRegex(lines[0], "^SESSION +CLIENT +PHASE +AGE")
            self.assertRegex(lines[1], r"^\w{6} +127\.0\.0\.1 +command .* first\.example")
            self.assertRegex(lines[2], r"^\w{6} +127\.0\.0\.1 +command .* eve@example\.com +second\.example")
            lines = self.ctl("-f", daemon.configuration, "sessions", "--limit", "1")[0].decode().splitlines()
            self.assertEqual((len(lines), lines[-1]), (3, "1 of 2 sessions"))
        for wrong in ("0", "x", "1e9"):
            self.ctl("sessions", "--limit", wrong, status=2)

    def test_answers_that_are_none(self):
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        self.ctl("-s", daemon.address, "sessions", status=1)
        for document in (b"", b"[]", b"{", b"\xff", [1], None):
            daemon.documents["/sessions"] = daemon.documents["/stats"] = document
            for command in ("sessions", "stats", "top"):
                self.assertHarmless(self.ctl("-s", daemon.address, command, status=1)[1])
        daemon.documents["/sessions"] = {"sessions": [1, None, {"id": 1, "bytes": "x"}], "total": "many"}
        self.ctl("-s", daemon.address, "sessions")


class Signals(_Case):
    """reload and restart: the right signal to the right process, and what the statistics then say of it."""

    def scripted(self, stats):
        """A process called bivalved that dies of any signal, and statistics: stats(its pid, whether it is dead)."""
        program = self.directory / "bivalved"
        shutil.copy("/bin/sleep", program)
        process = subprocess.Popen([program, "1000"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until("its name", lambda: open(f"/proc/{process.pid}/comm").read() == "bivalved\n")
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        daemon.documents["/stats"] = lambda: stats(process.pid, process.poll() is not None)
        return process, daemon

    def test_reload(self):
        process, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {"count": 7 + dead, "failed": 1}})
        self.assertIn(b"read again", self.ctl("-s", daemon.address, "reload")[0])
        self.assertEqual(process.returncode, -signal.SIGHUP)

    def test_a_reload_that_fails(self):
        reason = "b.conf:3: Action: 'x' is not one of " + HOSTILE
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {
            "count": 7, "failed": 1 + dead, "last_error": reason}})
        _, error = self.ctl("-s", daemon.address, "reload", status=1)
        self.assertHarmless(error)
        self.assertIn(b"the reload has failed: b.conf:3: Action: 'x' is not one of ", error)

    def test_restart(self):
        process, daemon = self.scripted(lambda pid, dead: {"pid": pid + dead, "restart": {"generation": 1 + dead}})
        self.assertEqual(self.ctl("-s", daemon.address, "restart")[0].decode(),
                         f"process {process.pid + 1} has taken over from {process.pid}\n")
        self.assertEqual(process.returncode, -signal.SIGUSR2)

    def test_a_restart_that_fails(self):
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "restart": {
            "failed": 1 + dead, "last_error": "no luck"}})
        self.assertIn(b"the restart has failed: no luck", self.ctl("-s", daemon.address, "restart", status=1)[1])

    def test_the_real_daemon(self):
        """A reload and a restart that work, and each that fails, twice for the same reason, with the daemon's own words."""
        daemon = self.bivalved(self.sink())
        where = ["-f", daemon.configuration]
        daemon.settings["HostName"] = "new.example"
        daemon.write_configuration()
        self.assertEqual(self.ctl(*where, "reload")[0], b"the configuration was read again\n")
        with SmtpClient(daemon.address, greeting=False) as client:
            self.assertReply(client.reply(), 220, "new.example")
        adopt_orphans()
        first = daemon.process.pid
        words = self.ctl(*where, "restart")[0].decode()
        second = int(re.match(rf"process (\d+) has taken over from {first}\n", words).group(1))
        daemon.process.follow(second)
        self.assertEqual(daemon.stats()["pid"], second)
        # bivalvectl looks for the address in a good copy.
        good = self.directory / "good.conf"
        shutil.copy(daemon.configuration, good)
        daemon.settings["Action"] = "explode"
        daemon.write_configuration()
        for command in ("reload", "reload", "restart", "restart"):
            _, error = self.ctl("-f", good, command, status=1)
            self.assertIn(f"the {command} has failed: ".encode(), error)
            self.assertIn(b"Action: 'explode' is not one of", error)
        self.assertEqual(daemon.stats()["pid"], second)
        daemon.settings["Action"] = "drop"
        daemon.write_configuration()
        self.ctl(*where, "reload")

    def test_nothing_comes_of_it(self):
        _, daemon = self.scripted(lambda pid, dead: {"pid": pid, "reload": {"count": 1}})
        self.assertIn(b"nothing has come of the reload yet",
                      self.ctl("-s", daemon.address, "reload", "--wait", "0.2", status=1)[1])
        self.ctl("-s", daemon.address, "reload", "--wait", "0", status=2)

    def test_processes_that_get_no_signal(self):
        other = subprocess.Popen(["/bin/sleep", "1000"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        daemon = ScriptedDaemon()
        self.addCleanup(daemon.close)
        for pid in (other.pid, 0, 1, -1, 2 ** 40, "x", None):
            daemon.documents["/stats"] = {"pid": pid, "reload": {"count": 1}, "restart": {}}
            for command in ("reload", "restart"):
                self.assertIn(b"no bivalved of that number", self.ctl("-s", daemon.address, command, status=1)[1])
        daemon.documents["/stats"] = {"pid": other.pid}
        self.assertIn(b"too old", self.ctl("-s", daemon.address, "reload", status=1)[1])
        self.assertIsNone(other.poll())


class CommandLine(_Case):
    def test_help(self):
        out, _ = self.ctl("--help")
        commands = re.findall(r"(?m)^  (\w+(?: \w+)?)  ", out.decode())
        self.assertIn("quarantine release", commands)
        for command in commands:
            self.assertIn(f" {command}", self.ctl(*command.split(), "--help")[0].decode())

    def test_what_is_not_understood(self):
        for words in ([], ["nonsense"], ["quarantine"], ["quarantine", "nonsense"], ["stats", "now"], ["stats", "--limit", "1"],
                      ["stats", "--json=1"], ["-s"], ["-s", "nowhere", "stats"], ["-f", "/nonexistent", "stats"],
                      ["quarantine", "show"], ["-s", "1", HOSTILE], ["quarantine", "show", "a", "b"]):
            with self.subTest(words=words):
                out, error = self.ctl(*words, status=2)
                self.assertEqual(out, b"")
                self.assertHarmless(error)
                self.assertTrue(error.startswith(b"bivalvectl: "), error)

    def test_the_address_of_the_configuration(self):
        daemon = self.bivalved(self.sink())
        self.assertEqual(json.loads(self.ctl("-f", daemon.configuration, "stats", "--json")[0])["pid"], daemon.process.pid)
        self.assertIn(b"\nmessages\n", self.ctl("stats", "-s", daemon.stats_port)[0])

    def complete(self, program, *words):
        """What bash offers for the last of `words`, by the completion as it is installed."""
        script = (f"source {PROJECT}/appliance/completion/{program}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                  f"_{program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        if tool("bivalvectl") is None:
            self.skipTest("bivalvectl is not built")
        path = f"{tool('bivalvectl').parent}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", program, *words], capture_output=True, check=False,
                              timeout=TIMEOUT, cwd=self.directory, env={**os.environ, "PATH": path})
        self.assertEqual(done.stderr, b"")
        return set(done.stdout.decode().split())

    def test_completion(self):
        (self.directory / "a.conf").touch()
        self.assertEqual(self.complete("bivalvectl", "st"), {"stats"})
        self.assertLessEqual({"stats", "quarantine", "--help", "-s"}, self.complete("bivalvectl", ""))
        self.assertEqual(self.complete("bivalvectl", "quarantine", ""), {"list", "show", "release", "delete"})
        self.assertEqual(self.complete("bivalvectl", "-s", "1", "quarantine", "release", "--"),
                         {"--to", "--delete", "--directory", "--help"})
        self.assertEqual(self.complete("bivalvectl", "-f", ""), {"a.conf"})
        self.assertEqual(self.complete("bivalvectl", "-s", ""), set())
        self.assertEqual(self.complete("bivalved", "--"), {"--check-config"})
        self.assertEqual(self.complete("bivalved", "-f", "a"), {"a.conf"})


if __name__ == "__main__":
    main()
