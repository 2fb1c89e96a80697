"""Between two Postfix services, in both arrangements of appliance/examples: 200 messages, every tenth infected."""
import re
import threading

from harness import PROJECT, Postfix, ScenarioCase, SmtpClient, compose, free_port, infected_attachment, main, wait_until

MESSAGES, SESSIONS = 200, 10
EXAMPLES = PROJECT / "appliance/examples"


def is_infected(number):
    # Two in each session: after ten refusals Postfix answers slowly.
    return (number + number // SESSIONS) % 10 == 7


class _Arrangement(ScenarioCase):
    bivalve_only = True
    class_timeout = 400
    example = None

    def setUp(self):
        super().setUp()
        if self.example is None:
            self.skipTest("for subclasses")
        self.final = self.sink(extensions=["PIPELINING", "8BITMIME"])
        self.front, self.back = free_port(), free_port()
        for port in (self.front, self.back):
            self.addCleanup(port.release)
        self.out = self.directory / "out"
        self.out.mkdir()
        settings = {"Quarantine": "on", "VirusAction": f"env -0 > {self.out}/$$.part; mv {self.out}/$$.part {self.out}/$$.env",
                    **self.example_settings()}
        self.daemon = self.bivalved(f"127.0.0.1:{self.back.number}", settings=settings)
        self.postfix = Postfix(self.directory / "postfix", self.final.port.number, self.adapted("main.cf"),
                               self.adapted("master.cf"))
        self.addCleanup(self.postfix.close)

    def example_settings(self):
        """The example's settings of bivalved.conf, besides its addresses."""
        lines = (EXAMPLES / self.example / "bivalved.conf").read_text().splitlines()
        settings = dict(re.split(r":\s*", line, maxsplit=1) for line in lines if line and not line.startswith("#"))
        for name, value in (("Listen", "127.0.0.1:10025"), ("OutAddress", "127.0.0.1:10026")):
            self.assertEqual(settings.pop(name), value)
        settings.pop("ClamAddress")
        return settings

    def adapted(self, name):
        """The example unchanged, with this test's ports in place of its own."""
        path = EXAMPLES / self.example / name
        text = path.read_text() if path.exists() else ""
        text = text.replace("[127.0.0.1]:10025", f"[127.0.0.1]:{self.daemon.port.number}")
        text = text.replace("127.0.0.1:10025", f"127.0.0.1:{self.daemon.port.number}")
        text = text.replace("127.0.0.1:10026", f"127.0.0.1:{self.back.number}")
        return re.sub(r"(?m)^smtp +inet", f"127.0.0.1:{self.front.number} inet", text)

    def send_all(self):
        """Each session says by XCLIENT that it comes from another address. Returns the replies by number."""
        replies, failures = {}, []

        def session(first):
            try:
                with SmtpClient(self.front.pair) as client:
                    client.ehlo()
                    reply = client.command(f"XCLIENT NAME=host{first}.example ADDR=192.0.2.{100 + first} HELO=helo{first}")
                    assert reply.code == 220, str(reply)
                    client.ehlo(f"helo{first}.example")
                    for number in range(first, MESSAGES, SESSIONS):
                        content = infected_attachment() if is_infected(number) else compose(b"clean\r\n.dot\r\n" * (number * 20))
                        replies[number] = client.deliver(content, f"s{number}@example.com", [f"r{number}@example.net"])
                    client.quit()
            except Exception as failure:  # the main thread reports it
                failures.append(failure)
        threads = [threading.Thread(target=session, args=(n,)) for n in range(SESSIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self.assertEqual(len(replies), MESSAGES)
        return replies

    def check_rest(self, action_counter):
        clean = [n for n in range(MESSAGES) if not is_infected(n)]
        infected = [n for n in range(MESSAGES) if is_infected(n)]
        self.final.wait_messages(len(clean), timeout=90)
        self.postfix.wait_empty()
        self.assertEqual(sorted(m.sender for m in self.final.received), sorted(f"s{n}@example.com" for n in clean))
        self.assertEqual(sorted(m.recipients for m in self.final.received), sorted([f"r{n}@example.net"] for n in clean))
        for message in self.final.received:
            self.assertEqual(message.content.count(b"\r\nX-Virus-Scanned: "), 1)
        stats = self.daemon.expect_messages(received=MESSAGES, delivered=len(clean), infected=len(infected),
                                            clean=len(clean), **{action_counter: len(infected)})
        self.assertEqual(stats["errors"]["protocol"], 0)

        # XFORWARD: the script knows the original client of each infected message, and the second Postfix that of every message,
        # because their envelopes get that far.
        wait_until("the scripts", lambda: len(list(self.out.glob("*.env"))) == len(infected))
        runs = {}
        for path in self.out.glob("*.env"):
            run = dict(item.partition("=")[::2] for item in path.read_text().split("\0") if item)
            runs[int(re.match(r"s(\d+)@", run["SENDER"]).group(1))] = run
        self.assertEqual(sorted(runs), infected)
        for number, run in runs.items():
            first = number % SESSIONS
            self.assertEqual((run["REMOTE"], run["REMOTE_HELO"], run["RECIPIENTS"], run["CLIENT"]),
                             (f"192.0.2.{100 + first}", f"helo{first}.example", f"r{number}@example.net", "127.0.0.1"))
        origins = re.findall(r"orig_client=(host\d+\.example)\[(192\.0\.2\.\d+)\]", self.postfix.log)
        self.assertEqual(sorted(origins), sorted((f"host{n % SESSIONS}.example", f"192.0.2.{100 + n % SESSIONS}")
                                                 for n in range(MESSAGES)))
        self.daemon.process.wait_lines("message kept as: ", len(infected))
        kept = list(self.daemon.temporary.iterdir())
        self.assertEqual(len(kept), 2 * len(infected))  # each with its record
        for path in kept:
            path.unlink()
        self.assertEqual(self.postfix.complaints(), [])


class AfterQueue(_Arrangement):
    """content_filter: Postfix takes everything, and infected messages do not get past the filter."""

    example = "postfix-after-queue"

    def adapted(self, name):
        text = super().adapted(name)
        return text + f"\n127.0.0.1:{self.front.number} inet n - n - - smtpd\n" if name == "master.cf" else text

    def test_200_messages(self):
        replies = self.send_all()
        self.assertEqual({reply.code for reply in replies.values()}, {250})
        self.check_rest("dropped")


class BeforeQueue(_Arrangement):
    """smtpd_proxy_filter: the client gets the filter's replies."""

    example = "postfix-before-queue"

    def test_200_messages(self):
        replies = self.send_all()
        for number, reply in replies.items():
            self.assertEqual(reply.code, 550 if is_infected(number) else 250, str(reply))
        self.assertIn("Virus Detected; Content Rejected", str(next(replies[n] for n in replies if is_infected(n))))
        self.check_rest("bounced")


if __name__ == "__main__":
    main()
