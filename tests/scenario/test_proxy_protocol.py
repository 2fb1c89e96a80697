"""The PROXY protocol on the listener: from whom it is believed, and where the client's address is used."""
import socket
import struct

from harness import ScenarioCase, SmtpClient, compose, log_line, main

V4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n"
V6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 25\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(command, family, rest):
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(rest)) + rest


V2 = version_2(1, 0x11, socket.inet_aton("192.0.2.9") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 5000, 25))
V2_V6 = version_2(1, 0x21, socket.inet_pton(socket.AF_INET6, "2001:db8::9")
                  + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 5000, 25))


class ProxyProtocol(ScenarioCase):
    bivalve_only = True

    def daemon(self, settings=None, sink=None, **options):
        return self.bivalved(sink or self.sink(), settings={"ProxyProtocol": "on", **(settings or {})}, **options)

    def client(self, daemon, header, slowly=False):
        client = SmtpClient(daemon.address, greeting=False)
        self.addCleanup(client.close)
        (client.send_slowly if slowly else client.send)(header)
        return client

    def test_the_clients_address_is_the_one_in_the_header(self):
        sink = self.sink()
        daemon = self.daemon({"Header": "X-Filtered: for %i by %l"}, sink)
        for header, address, local in ((V4, "192.0.2.7", "198.51.100.1"), (V6, "2001:db8::7", "2001:db8::1"),
                                       (V2, "192.0.2.9", "198.51.100.1"), (V2_V6, "2001:db8::9", "2001:db8::1"),
                                       (V2[:14] + struct.pack("!H", 12 + 7) + V2[16:] + b"\x04\0\x04tlvs", "192.0.2.9",
                                        "198.51.100.1")):
            with self.subTest(header=header):
                client = self.client(daemon, header)
                self.assertReply(client.reply(), 220)
                client.ehlo()
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                client.quit()
                daemon.wait_log(log_line(f"accepted connection from: {address}"))
                self.assertIn(f"X-Filtered: for {address} by {local}\r\n".encode(), sink.messages[-1].content)
        self.assertEqual(daemon.stats()["errors"]["proxy_header"], 0)

    def test_local_and_unknown_mean_the_connection_itself(self):
        daemon = self.daemon()
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:: x 1 2\r\n", version_2(0, 0, b""), version_2(1, 0, b"abc")):
            client = self.client(daemon, header)
            self.assertReply(client.reply(), 220)
            client.quit()
        daemon.process.wait_lines(log_line("accepted connection from: 127.0.0.1"), 4)

    def test_in_pieces_and_with_commands_behind_it(self):
        sink = self.sink()
        daemon = self.daemon(sink=sink)
        for header in (V4, V2):
            client = self.client(daemon, header, slowly=True)
            self.assertReply(client.reply(), 220)
            client = self.client(daemon, header + b"EHLO client.example\r\nNOOP\r\n")
            self.assertEqual([r.code for r in client.replies(3)], [220, 250, 250])

    def test_loopback_goes_to_the_client_of_the_header(self):
        sink = self.sink(host="127.0.0.3")
        daemon = self.bivalved(str(sink.port.number), settings={"ProxyProtocol": "on"})
        client = self.client(daemon, b"PROXY TCP4 127.0.0.3 127.0.0.1 1000 25\r\n")
        self.assertReply(client.reply(), 220)
        self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)

    def refused(self, daemon, client, sink):
        self.assertEqual(client.wait_closed(), b"")
        self.assertEqual(sink.sessions, [], "nothing goes to the server before the header is there")

    def test_what_is_no_header_is_closed(self):
        sink = self.sink()
        daemon = self.daemon(sink=sink)
        wrong = (b"EHLO client.example\r\n", b"PROXY TCP4 192.0.2.7\r\n", b"\r\n\r\n\0\r\nQUIT\r\n\r\n\r\n\r\n", b"\n",
                 b"PROXY UNKNOWN " + b"x" * 200, version_2(1, 0x11, b"short"))
        for number, header in enumerate(wrong, 1):
            self.refused(daemon, self.client(daemon, header), sink)
            daemon.wait_stats("the count", lambda s, n=number: s["errors"]["proxy_header"] == n)
        daemon.wait_log("no PROXY header from 127.0.0.1")
        daemon.wait_log(r"malformed PROXY header from 127\.0\.0\.1: PROXY TCP4 192\.0\.2\.7\\r\\n")
        daemon.wait_log(r"malformed PROXY header from 127\.0\.0\.1: PROXY UNKNOWN x{106}$")

    def test_a_header_that_does_not_come_in_time(self):
        sink = self.sink()
        daemon = self.daemon({"TimeOut": 1}, sink)
        for part in (b"", V4[:20], V2[:14]):
            self.refused(daemon, self.client(daemon, part), sink)
        daemon.wait_stats("the count", lambda s: s["errors"]["proxy_header"] == 3)

    def test_a_health_check_that_only_connects_is_no_error(self):
        daemon = self.daemon()
        self.client(daemon, b"").close()
        daemon.wait_stats("the end", lambda s: s["connections"]["accepted"] == 1 and s["connections"]["active"] == 0)
        self.assertEqual(daemon.stats()["errors"]["proxy_header"], 0)

    def test_is_believed_only_from_where_the_setting_says(self):
        sink = self.sink()
        daemon = self.daemon({"ProxyProtocolFrom": ["192.0.2.0/24", "127.0.0.2/32"]}, sink)
        self.refused(daemon, self.client(daemon, V4), sink)
        daemon.wait_log("connection from 127.0.0.1, which ProxyProtocolFrom does not name")
        daemon.wait_stats("the count", lambda s: s["errors"]["proxy_header"] == 1)
        trusted = socket.create_connection(daemon.address, source_address=("127.0.0.2", 0))
        self.addCleanup(trusted.close)
        trusted.sendall(V4)
        self.assertTrue(trusted.recv(100).startswith(b"220 "))
        daemon.wait_log(log_line("accepted connection from: 192.0.2.7"))

    def test_without_the_setting_a_header_is_a_command(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            self.assertReply(client.command(V4), 502)
        daemon.wait_log(log_line("accepted connection from: 127.0.0.1"))

    def test_clients_are_counted_by_their_own_address(self):
        daemon = self.daemon({"MaxConnectionsPerClient": 1})
        one, two = self.client(daemon, V4), self.client(daemon, V2)
        self.assertReply(one.reply(), 220)
        self.assertReply(two.reply(), 220)
        self.assertReply(self.client(daemon, V4).reply(), 421, "4.7.0 Too many connections from your address")


if __name__ == "__main__":
    main()
