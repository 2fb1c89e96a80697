"""The statistics address: every path, its figures against the mail that was sent, and who else may hold it up."""
import json
import socket
import threading
import time

from harness import STALL, ScenarioCase, ScriptedClamd, compose, main, wait_until


class Case(ScenarioCase):
    bivalve_only = True

    def scripted(self, answer):
        path = self._path("scripted")
        path.mkdir()
        scanner = ScriptedClamd(path, answer)
        self.addCleanup(scanner.close)
        return scanner

    def json(self, daemon, path):
        status, body = daemon.http(path)
        self.assertEqual(status, 200)
        return json.loads(body)


class Sessions(Case):
    """GET /sessions: what is going on now."""

    def setUp(self):
        super().setUp()
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)
        self.scanner = self.scripted(self._answer)
        self.server = self.sink(replies={"BODY": [None, STALL]})
        self.daemon = self.bivalved(self.server, self.scanner, {"Workers": 1, "ClamConnections": 1})
        self.clients = {}

    def _answer(self, content, number):
        if b"held" in content:
            self.go_on.wait(60)
        return "OK"

    def connect(self, name):
        client = self.clients[name] = self.daemon.client()
        self.addCleanup(client.close)
        client.ehlo(f"{name}.example")
        return client

    def send(self, client, content, sender="ada@example.com"):
        for reply in (client.mail(sender), client.rcpt()):
            self.assertReply(reply, 250)
        self.assertReply(client.command("DATA"), 354)
        client.content(content)

    def listed(self, query=""):
        answer = self.json(self.daemon, "/sessions" + query)
        self.assertEqual(answer["shown"], len(answer["sessions"]))
        self.assertEqual(answer["silent_workers"], 0)
        ages = [one["age_seconds"] for one in answer["sessions"]]
        self.assertEqual(ages, sorted(ages, reverse=True))
        return answer

    def phases(self):
        return [one["phase"] for one in self.listed()["sessions"]]

    def test_shows_each_phase(self):
        self.connect("idle")
        receiving = self.connect("receiving")
        self.assertReply(receiving.deliver(compose(b"clean\r\n")), 250)
        for reply in (receiving.mail(""), receiving.rcpt()):
            self.assertReply(reply, 250)
        self.assertReply(receiving.command("DATA"), 354)
        receiving.send(b"Subject: not yet at its end\r\n\r\n" + b"0123456789\r\n" * 2000)
        self.send(self.connect("delivering"), compose(b"clean\r\n"), "eve@example.com")
        for n in range(4):
            self.send(self.connect(f"scanning{n}"), compose(b"held\r\n"))
        self.send(self.connect("waiting"), compose(b"held\r\n"))

        expected = ["command", "receive", "deliver", "scan", "scan", "scan", "scan", "wait"]
        wait_until("the phases", lambda: self.phases() == expected and self.listed()["sessions"][1]["bytes"] > 20000)
        answer = self.listed()
        self.assertEqual(answer["total"], 8)
        idle, receiving, delivering, scanning = answer["sessions"][:4]
        self.assertEqual([one["helo"] for one in answer["sessions"]], [name + ".example" for name in self.clients])
        self.assertEqual({one["client"] for one in answer["sessions"]}, {"127.0.0.1"})
        self.assertEqual([idle["from"], receiving["from"], delivering["from"], scanning["from"]],
                         ["", "<>", "eve@example.com", "ada@example.com"])
        self.assertEqual([idle["messages"], receiving["messages"], delivering["messages"]], [0, 1, 1])
        self.assertEqual([idle["bytes"], idle["scanner"], delivering["scanner"]], [0, "", ""])
        self.assertGreater(delivering["bytes"], 0)
        self.assertEqual(scanning["scanner"], self.scanner.address)
        for one in answer["sessions"]:
            self.assertLessEqual(0, one["phase_seconds"])
            self.assertLessEqual(one["phase_seconds"], one["age_seconds"])
            self.assertTrue(self.daemon.process.wait_line(rf"\b{one['id']}: accepted connection"))

        self.assertEqual(self.daemon.stats()["messages"]["waiting"], 1)
        self.go_on.set()
        for name, client in self.clients.items():
            if name.startswith("scanning") or name == "waiting":
                self.assertReply(client.reply(), 250)
        self.assertEqual(self.daemon.stats()["messages"]["waiting"], 0)
        self.server.drop_connections()

    def test_limit(self):
        for n in range(12):
            self.connect(f"c{n}")
        wait_until("the sessions", lambda: self.phases() == ["command"] * 12)
        answer = self.listed("?limit=5")
        self.assertEqual((answer["total"], answer["shown"]), (12, 5))
        self.assertEqual([one["helo"] for one in answer["sessions"]], [f"c{n}.example" for n in range(5)])
        for query, shown in (("?limit=0", 1), ("?limit=x", 12), ("?other&limit=3", 3), ("?limit=100000000000", 12)):
            self.assertEqual(self.listed(query)["shown"], shown, query)
        # One that ends in the middle leaves the order of the others.
        self.clients["c3"].quit()
        wait_until("its end", lambda: self.listed()["total"] == 11)
        self.assertEqual([one["helo"] for one in self.listed()["sessions"]],
                         [f"c{n}.example" for n in range(12) if n != 3])


class Http(Case):
    """The server itself."""

    def test_methods_and_paths(self):
        daemon = self.bivalved(self.sink())
        self.assertEqual(daemon.http("/stats?x=1")[0], 200)
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(daemon.http("/stats", method)[0], 405, method)
        with socket.create_connection(daemon.stats_port.pair, timeout=30) as sock:
            sock.sendall(b"POST /stats HTTP/1.1\r\nContent-Length: 9\r\n\r\nx=1&y=234")
            head = sock.makefile("rb").read()
        self.assertIn(b"\r\nAllow: GET\r\n", head)
        for path in ("/", "/other", "/stats/", "/STATS"):
            self.assertEqual(daemon.http(path)[0], 404, path)

    def test_silent_clients_give_way(self):
        """However many clients say nothing, one that asks is answered at once."""
        daemon = self.bivalved(self.sink())
        began = time.monotonic()
        for _ in range(200):
            sock = socket.create_connection(daemon.stats_port.pair, timeout=30)
            self.addCleanup(sock.close)
        for _ in range(20):
            self.assertEqual(daemon.http("/healthz")[0], 200)
        self.note(f"{time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
