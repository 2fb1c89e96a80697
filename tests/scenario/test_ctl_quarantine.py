"""bivalvectl quarantine: the real program, with real daemons and with files made to deceive it."""
import hashlib
import json
import os
import pwd
import re
import unittest

from harness import CLOSE, free_port, infected_attachment, main, wait_until
from harness.ctl import HOSTILE, CtlCase

VIRUS = "Eicar-Test-Signature.UNOFFICIAL"
NOBODY = pwd.getpwnam("nobody").pw_uid


class Quarantine(CtlCase):
    # Dots at the start of lines, 8 bit, a bare LF, a bare CR, and a dot behind one, as DATA carries it.
    CONTENT = infected_attachment() + b".\xe9\xff\r\n..two\r\n....\r\na\nb\n c\rd\r\n\r\n"

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
        # It stays in the quarantine; the six characters alone identify it too.
        self.release(daemon, "--delete", name.removeprefix("virus."))
        self.assertEqual(len(sink.received), 2)
        self.assertEqual(daemon.temporary_files(), [])
        self.assertEqual(self.ctl("-f", daemon.configuration, "quarantine", "list")[0].count(b"\n"), 1)

    def test_parameters_as_they_came(self):
        """The sender's requests for delivery reports are kept, and are passed on if the server offers them."""
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
        """A message and a record in a directory that no daemon uses."""
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
        """Whatever a record contains: a terminal gets no control character, and the server no command."""
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
        """Text that a server could read as more than one address is not sent, and the sentence names it."""
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
        for name in (".virus.HIDDEN.new", ".virus.HIDDEN.json.new"):
            (directory / name).write_bytes(b"half a message")
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
        """A user who can write to TempDirectory cannot send mail in the operator's name."""
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


if __name__ == "__main__":
    main()
