"""The statistics address: every path, its figures compared with the mail that was sent, and clients that could block it."""
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from harness import (PROJECT, STALL, FormatError, ScenarioCase, ScriptedClamd, check_accounting, compose, main,
                     parse_metrics, schema_problems, wait_until)


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


    def check_schema(self, name, value):
        schema = json.loads((PROJECT / "appliance/man" / name).read_text())
        self.assertEqual(schema_problems(schema, value), [])


class Manual(unittest.TestCase):
    """bivalved(8) explains each member of a scanner."""

    def test_has_each_member_of_a_scanner(self):
        schema = json.loads((PROJECT / "appliance/man/stats.schema.json").read_text())
        lines = (PROJECT / "appliance/man/bivalved.8").read_text().splitlines()
        scanner = schema["properties"]["scanners"]["items"]["properties"]
        described = [line.removeprefix(".It Ql ") for line in lines if line.startswith(".It Ql ")]
        for member in scanner:
            self.assertEqual(described.count(member), 1, member)
        for limit in scanner["limits"]["properties"]:
            self.assertTrue(any(line.startswith(f".Ql {limit}") for line in lines), limit)


class Figures(Case):
    """/stats and /metrics after mail of every kind."""

    def setUp(self):
        super().setUp()
        self.scanner = self.scripted(self._answer)
        self.absent = str(self.directory / "absent.ctl")
        self.server = self.sink(replies={"BODY": [None] * 4 + ["452 4.2.2 sink: mailbox full"]})
        self.daemon = self.bivalved(self.server, [self.scanner.address, self.absent])
        self.names = ["Odd \"name\" \\ \x1b[2J\u009b\u202e here", "Eicar-Test-Signature", "\u00fcber.Virus"]
        # As labels: characters that a terminal obeys are written as escapes (bivalved(8)).
        self.labels = ["Odd \"name\" \\\\ \\x1b[2J\\u{9b}\\u{202e} here", *self.names[1:]]

    def _answer(self, content, number):
        if b"infected" in content:
            name = self.names[int(content.split(b"infected ")[1][:1])].encode()
            return b"%d: fd[7]: %s FOUND\0" % (number, name)
        return "some trouble ERROR" if b"failing" in content else "OK"

    def send_mail(self):
        with self.daemon.client() as client:
            client.ehlo()
            for n in range(5):
                self.assertReply(client.deliver(compose(b"clean\r\n")), 250 if n < 4 else 452)
            for n in range(4):
                self.assertReply(client.deliver(compose(b"infected %d\r\n" % (n % 3))), 250)
            for _ in range(2):
                self.assertReply(client.deliver(compose(b"failing\r\n")), 451)
            client.command("XYZZY")
        return self.daemon.wait_stats("the end of it", lambda s: s["messages"]["in_progress"] == 0
                                      and s["connections"]["active"] == 0 and s["messages"]["received"] == 11)

    def metrics(self):
        status, body = self.daemon.http("/metrics")
        self.assertEqual(status, 200)
        return parse_metrics(body.decode())

    def both(self):
        """Both formats at a moment when nothing has changed from before to after."""
        moving = ("uptime_seconds", "process")
        for _ in range(100):
            before, families, after = self.daemon.stats(), self.metrics(), self.daemon.stats()
            if all(before[name] == after[name] for name in before if name not in moving):
                return after, families
        self.fail("the figures do not come to rest")

    def test_say_the_same_in_both_formats(self):
        self.send_mail()
        stats, families = self.both()
        self.check_schema("stats.schema.json", stats)
        detailed = self.json(self.daemon, "/stats?buckets=1")
        self.check_schema("stats.schema.json", detailed)
        for name, durations in detailed["phases_us"].items():
            self.assertEqual(sum(count for _, count in durations["buckets"]), durations["count"], name)
        self.assertEqual([stats["messages"][name] for name in ("clean", "infected", "scan_failed", "refused", "dropped")],
                         [5, 4, 2, 1, 4])
        compared = set()

        def same(path, name, expected, suffix="", /, **labels):
            self.assertEqual(families[name].value(suffix, **labels), expected, (path, name))
            compared.add(path)

        self.assertEqual(stats["workers"], len(stats["per_worker"]))
        for group, members in stats["per_worker"][0].items():
            for name in members:
                path = f"{group}/{name}"
                gauge = path in ("connections/active", "messages/in_progress", "messages/waiting")
                family, labels = f"bivalve_{group}_{name}" + ("" if gauge else "_total"), {}
                if group == "scan_failures":
                    family, labels = "bivalve_scan_failures_total", {"cause": name}
                self.assertEqual(families[family].type, "gauge" if gauge else "counter")
                for worker, counts in enumerate(stats["per_worker"]):
                    same(path, family, counts[group][name], worker=str(worker), **labels)
                self.assertEqual(families[family].total(**labels), stats[group][name], path)
        same("program", "bivalve_build_info", 1, program=stats["program"], version=stats["version"])
        compared.add("version")
        same("workers", "bivalve_workers", stats["workers"])
        same("started", "bivalve_start_time_seconds", stats["started"])
        same("reload/count", "bivalve_reloads_total", stats["reload"]["count"])
        same("reload/failed", "bivalve_reload_failures_total", stats["reload"]["failed"])
        same("reload/time", "bivalve_reload_time_seconds", stats["reload"]["time"])
        same("restart/generation", "bivalve_restart_generation", 1)
        same("restart/failed", "bivalve_restart_failures_total", 0)
        compared.update(("reload/last_error", "restart/last_error"))
        same("accounting_violations", "bivalve_accounting_violations_total", 0)
        same("errors/not_kept", "bivalve_errors_not_kept_total", stats["errors"]["not_kept"])
        for name, label in (*zip(self.names, self.labels), ("other", "other")):
            same(f"viruses/{name}", "bivalve_viruses_total", stats["viruses"].get(name, 0), name=label)
        for path in ("/stats", "/metrics"):
            self.assertNotRegex(self.daemon.http(path)[1].decode(), "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", "what a terminal would obey")
        self.assertEqual(families["bivalve_viruses_total"].total(), stats["messages"]["infected"])

        def same_durations(path, name, durations, **labels):
            same(path + "/count", name, durations["count"], "_count", **labels)
            same(path + "/sum", name, durations["sum"] / 1e6, "_sum", **labels)
            same(path + "/max", name.replace("_seconds", "_max_seconds"), durations["max"] / 1e6, **labels)
            compared.update(f"{path}/{figure}" for figure in ("mean", "p50", "p90", "p99"))  # computed from the buckets
        for phase, durations in stats["phases_us"].items():
            same_durations(f"phases_us/{phase}", "bivalve_phase_duration_seconds", durations, phase=phase)
        same_durations("server/latency_us", "bivalve_server_latency_seconds", stats["server"]["latency_us"])
        self.assertEqual(stats["phases_us"]["scan"]["count"], 11)
        for scanner in stats["scanners"]:
            label = {"scanner": scanner["address"]}
            for member, value in scanner.items():
                path = f"scanners/{member}"
                if member == "latency_us":
                    same_durations(path, "bivalve_scanner_latency_seconds", value, **label)
                elif member in ("circuit", "canary"):
                    family = families[f"bivalve_scanner_{member}"]
                    same(path, family.name, 1, state=value, **label)
                    self.assertEqual(family.total(**label), 1)
                elif member == "version":
                    same(path, "bivalve_scanner_info", 1, version=value, **label)
                elif member == "limits":
                    same(path + "/known", "bivalve_scanner_limits_known", value["known"], **label)
                    for limit in ("file", "scan", "stream"):
                        same(f"{path}/{limit}_bytes", "bivalve_scanner_limit_bytes", value[f"{limit}_bytes"], limit=limit, **label)
                    same(path + "/scan_seconds", "bivalve_scanner_limit_scan_seconds", value["scan_seconds"], **label)
                    same(path + "/queue", "bivalve_scanner_limit_queue", value["queue"], **label)
                elif member in ("up", "own_user", "connections", "in_flight", "given_up"):
                    same(path, f"bivalve_scanner_{member}", value, **label)
                elif member != "address":
                    same(path, f"bivalve_scanner_{member}_total", value, **label)
        self.assertEqual([one["up"] for one in stats["scanners"]], [True, False])

        # Everything in /stats has its metric, except what each format expresses in its own way.
        def paths(value, path=""):
            if isinstance(value, dict):
                return {p for name, member in value.items() for p in paths(member, f"{path}/{name}".strip("/"))}
            return {p for item in value for p in paths(item, path)} if isinstance(value, list) else {path}
        own = {p for p in paths(stats) if p.split("/")[0] in ("per_worker", "process", "viruses_recent")}
        self.assertEqual(paths(stats) - own - compared, {"pid", "uptime_seconds", "scanners/address"})
        self.assertEqual(own & {p for p in own if p.startswith("process/")},
                         {"process/" + name.removeprefix("process_").replace("_total", "")
                          for name in families if name.startswith("process_")})

    def test_recent_viruses_and_the_process(self):
        began = time.time()
        stats = self.send_mail()
        recent = stats["viruses_recent"]
        self.assertEqual([one["name"] for one in recent], [self.names[n] for n in (0, 2, 1, 0)])
        session = self.daemon.wait_log(r"\b([0-9a-f]{6,}): accepted connection").group(1)
        for one in recent:
            self.assertEqual((one["client"], one["session"]), ("127.0.0.1", session))
            self.assertLess(abs(one["time"] - began), 600)
        process = stats["process"]
        pid = stats["pid"]
        self.assertEqual(pid, self.daemon.process.pid)
        self.assertLess(abs(process["start_time_seconds"] - stats["started"]), 600)
        self.assertLess(abs(stats["started"] + stats["uptime_seconds"] - time.time()), 600)
        self.assertGreater(process["resident_memory_bytes"], 1 << 20)
        self.assertGreater(process["open_fds"], 10)
        self.assertGreater(process["max_fds"], process["open_fds"])
        self.assertGreater(process["cpu_seconds"], 0)

    def test_counters_never_go_back(self):
        before = self.metrics()
        for _ in range(3):
            with self.daemon.client() as client:
                client.ehlo()
                client.deliver(compose(b"clean\r\n"))
                client.deliver(compose(b"infected 1\r\n"))
            after = self.metrics()
            self.assertEqual(set(before), set(after))
            for name, family in before.items():
                if family.type == "gauge":
                    continue
                for key, value in family.samples.items():
                    self.assertGreaterEqual(after[name].samples[key], value, (name, key))
            before = after

    def test_scrapes_beside_mail(self):
        """Every document again and again while mail is sent: each adds up at its moment, and no mail is lost."""
        done = threading.Event()
        trouble = []

        def scrape():
            received = 0
            while not done.is_set() and not trouble:
                try:
                    stats = self.daemon.stats()
                    check_accounting(stats)
                    families = self.metrics()
                    check_accounting({"messages": {name: families[f"bivalve_messages_{name}" + suffix].total()
                                                   for name in stats["messages"] for suffix in ("", "_total")
                                                   if f"bivalve_messages_{name}" + suffix in families}})
                    self.json(self.daemon, "/sessions?limit=1000")
                    assert received <= stats["messages"]["received"], "messages went back"
                    received = stats["messages"]["received"]
                except Exception as failure:  # reported by the main thread
                    trouble.append(failure)
        scrapers = [threading.Thread(target=scrape) for _ in range(2)]
        for thread in scrapers:
            thread.start()
        self.server.replies.clear()
        clients = [self.daemon.client() for _ in range(8)]
        for client in clients:
            self.addCleanup(client.close)
            client.ehlo()
        for _ in range(25):
            for client in clients:
                self.assertReply(client.mail(), 250)
                self.assertReply(client.rcpt(), 250)
                self.assertReply(client.command("DATA"), 354)
                client.content(compose(b"clean\r\n"))
            for client in clients:
                self.assertReply(client.reply(), 250)
        done.set()
        for thread in scrapers:
            thread.join()
        self.assertEqual(trouble, [])
        self.daemon.expect_messages(received=200, delivered=200)

    def test_content_type(self):
        with socket.create_connection(self.daemon.stats_port.pair, timeout=30) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n", head)
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(body), head)

    def test_promtool(self):
        """Prometheus's own check."""
        if shutil.which("promtool") is None:
            raise unittest.SkipTest("promtool is not installed (Debian package prometheus)")
        self.send_mail()
        result = subprocess.run(["promtool", "check", "metrics"], input=self.daemon.http("/metrics")[1],
                                capture_output=True, check=False, timeout=60)
        self.assertEqual((result.returncode, result.stdout + result.stderr), (0, b""))


class Hosts(ScenarioCase):
    """A web page in a browser on this machine cannot read the statistics (DNS rebinding)."""
    bivalve_only = True

    def ask(self, where, host, path="/sessions", version="1.1"):
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        with socket.socket(family) as sock:
            sock.settimeout(30)
            sock.connect(where)
            fields = "" if host is None else f"Host: {host}\r\n"
            sock.sendall(f"GET {path} HTTP/{version}\r\n{fields}\r\n".encode())
            head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nX-Content-Type-Options: nosniff", head)
        return int(head.split()[1]), body

    def test_a_loopback_address(self):
        daemon = self.bivalved(self.sink(), settings={"HostName": "mx.example.org"})
        where = daemon.stats_port.pair
        for host in ("127.0.0.1:10027", "[::1]", "localhost", "MX.example.org:80", None):
            self.assertEqual(self.ask(where, host)[0], 200, host)
        self.assertEqual(self.ask(where, None, version="1.0")[0], 200)
        for path in ("/sessions", "/stats", "/metrics", "/healthz", "/none"):
            status, body = self.ask(where, "evil.example:10027", path)
            self.assertEqual(status, 421)
            self.assertIn(b"must be an address, localhost or HostName (mx.example.org)", body)
        daemon.settings["HostName"] = "evil.example"
        daemon.write_configuration()
        daemon.process.signal(signal.SIGHUP)
        wait_until("the new name", lambda: self.ask(where, "evil.example")[0] == 200)
        self.assertEqual(self.ask(where, "mx.example.org")[0], 421)

    def test_where_others_are_meant(self):
        """An address in a network, and a local socket, which no browser reaches: every name is accepted."""
        daemon = self.bivalved(self.sink(), start=False)
        daemon.settings["StatsAddress"] = f"0.0.0.0:{daemon.stats_port.pair[1]}"
        daemon.start()
        self.assertEqual(self.ask(daemon.stats_port.pair, "gateway.example")[0], 200)
        path = str(self.directory / "stats.sock")
        daemon = self.bivalved(self.sink(), start=False)
        daemon.settings["StatsAddress"] = path
        daemon.start(wait=False)
        daemon.settings["StatsAddress"] = None  # the harness asks by TCP
        daemon.wait_log(r"with \d workers")
        self.assertEqual(self.ask(path, "gateway.example")[0], 200)


class Reader(unittest.TestCase):
    """The tests' own reader of the format refuses everything outside it."""

    GOOD = ("# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 1\na_total{x=\"\\\\ \\\" \\n\"} 2.5e+07\n"
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n")

    def test_takes_what_is_right(self):
        families = parse_metrics(self.GOOD)
        self.assertEqual(families["a_total"].total(), 1 + 2.5e7)
        self.assertEqual(families["a_total"].label_values("x"), ["1", '\\ " \n'])
        self.assertEqual(families["h"].value("_count"), 2)

    def test_refuses_what_is_wrong(self):
        for old, new in (
                ("# TYPE a_total counter\n", ""), ("# HELP a_total Help.\n", ""), ("Help.\n# TYPE h ", "\n# TYPE h "),
                ("a_total{x=\"1\"} 1", "a_total 1"), ("\"1\"} 1", "\"1\"} -1"), ("\"1\"} 1", "\"1\"} x"), ("\"1\"} 1", "\"1\"}  1"),
                ("{x=\"1\"}", "{x=\"1}"), ("{x=\"1\"}", "{x=\"\\t\"}"), ("{x=\"1\"}", "{1=\"1\"}"), ("{x=\"1\"}", "{x=\"1\",}"),
                ("{x=\"1\"}", "{x=\"1\",x=\"2\"}"), ("a_total{x=\"1\"} 1\n", "a_total{x=\"1\"} 1\na_total{x=\"1\"} 1\n"),
                ("h_count 2\n", ""), ("h_sum 3\n", ""), ("h_count 2", "h_count 1"), ("\"0.1\"} 1", "\"0.1\"} 3"),
                ("h_bucket{le=\"+Inf\"} 2\n", ""), ("le=\"0.1\"", "le=\"0.1\",le=\"1\""), ("h_sum 3", "h_max 3"),
                ("counter", "counter\n# TYPE a_total counter"), ("a_total", "a"), ("h_count 2\n", "h_count 2"),
                ("h_count 2\n", "h_count 2\n\n"), ("h_count 2\n", "h_count 2\na_total{x=\"3\"} 1\n")):
            with self.subTest(new), self.assertRaises(FormatError):
                parse_metrics(self.GOOD.replace(old, new))


class Sessions(Case):
    """GET /sessions: the running sessions."""

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
        self.check_schema("sessions.schema.json", answer)
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
        # A session that ends in the middle does not change the order of the others.
        self.clients["c3"].quit()
        wait_until("its end", lambda: self.listed()["total"] == 11)
        self.assertEqual([one["helo"] for one in self.listed()["sessions"]],
                         [f"c{n}.example" for n in range(12) if n != 3])


class Http(Case):
    """The HTTP server itself."""

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
        """However many clients say nothing: one that asks is answered at once."""
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
