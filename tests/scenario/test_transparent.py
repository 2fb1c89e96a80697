"""The transparent proxy, between machines made of network namespaces, with the packet filter's real rules."""
import os
import pwd
import shutil
import unittest
from pathlib import Path

from harness import PROJECT, Namespaces, Port, ScenarioCase, SmtpClient, SmtpSink, compose, infected_attachment, main, wait_until

REDIRECT = """
table inet bivalve {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "to-client" tcp dport 25 redirect to :10025
  }
}
"""
OUTPUT_TOO = """
table inet bivalve {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    tcp dport 25 redirect to :10025
  }
  chain output {
    type nat hook output priority -100;
    tcp dport 25 redirect to :10025
  }
}
"""
_CAP_NET_ADMIN, _CAP_NET_RAW = 1 << 12, 1 << 13


@unittest.skipUnless(os.geteuid() == 0, "only root can make network namespaces")
@unittest.skipUnless(shutil.which("nft") and shutil.which("ip"), "nftables or iproute2 is not installed")
class Transparent(ScenarioCase):
    bivalve_only = True

    def setUp(self):
        super().setUp()
        self.net = Namespaces()
        self.addCleanup(self.net.close)

    def server(self, family, port=25):
        """A mail server on the server machine."""
        with self.net.inside("server"):
            sink = SmtpSink(port=Port(self.net.SERVER[family], port))
        self.addCleanup(sink.close)
        return sink

    def gateway(self, settings=None, **options):
        with self.net.inside("gateway"):
            daemon = self.bivalved([], settings={
                "Listen": "10025", "OutAddress": None, "TransparentProxy": "on", **(settings or {})}, start=False)
            os.chown(daemon.temporary, pwd.getpwnam("nobody").pw_uid, -1)
            daemon.start(**options)
        # Stopping the daemon asks for its statistics.
        end = daemon.stop

        def stop_inside():
            with self.net.inside("gateway"):
                end()
        daemon.stop = stop_inside
        return daemon

    def expect_messages(self, daemon, **counts):
        with self.net.inside("gateway"):
            return daemon.expect_messages(**counts)

    def connect(self, address, role="client", **options):
        with self.net.inside(role):
            return SmtpClient(address, **options)

    def send_two(self, family):
        with self.connect((self.net.SERVER[family], 25)) as client:
            self.assertReply(client.greeting, 220, "smtp.passthru")
            client.ehlo()
            self.assertReply(client.deliver(compose(b"clean\r\n")), 250)
            self.assertReply(client.deliver(infected_attachment()), 250, "Virus Detected; Discarded Email")
            client.quit()

    def example(self, name):
        """Loads the rules of the examples, for this gateway's device."""
        text = (PROJECT / "appliance/examples" / name).read_text()
        self.assertIn('define inside = "eth1"', text)
        self.net.nft(text.replace('"eth1"', '"to-client"'))

    def tproxy_rules(self):
        self.example("nftables-tproxy.nft")
        for family in ("-4", "-6"):
            self.net.run("gateway", ["ip", family, "rule", "add", "fwmark", "1", "lookup", "100"])
            self.net.run("gateway", ["ip", family, "route", "add", "local", "default", "dev", "lo", "table", "100"])

    def test_redirect(self):
        """SO_ORIGINAL_DST, IPv4 and IPv6: the mail goes where the client wanted; the server sees the gateway's address."""
        self.example("nftables-redirect.nft")
        daemon = self.gateway()
        for family in (4, 6):
            with self.subTest(family=family):
                sink = self.server(family)
                self.send_two(family)
                self.assertEqual(len(sink.messages), 1)
                self.assertEqual(sink.sessions[0].peer[0], self.net.GATEWAY_TO_SERVER[family])
                daemon.wait_log(f"accepted connection from: {self.net.CLIENT[family]}$")
        self.expect_messages(daemon, received=4, delivered=2, dropped=2)

    def test_tproxy(self):
        """A transparent socket, IPv4 and IPv6: the server sees the client's own address."""
        self.tproxy_rules()
        daemon = self.gateway()
        for family in (4, 6):
            with self.subTest(family=family):
                sink = self.server(family)
                self.send_two(family)
                self.assertEqual(len(sink.messages), 1)
                self.assertEqual(sink.sessions[0].peer[0], self.net.CLIENT[family])
        self.expect_messages(daemon, received=4, delivered=2, dropped=2)

    def test_tproxy_after_becoming_a_user(self):
        """The two necessary capabilities are kept, on every thread, and no others."""
        self.tproxy_rules()
        daemon = self.gateway({"User": "nobody"})
        sink = self.server(4)
        self.send_two(4)
        self.assertEqual(sink.sessions[0].peer[0], self.net.CLIENT[4])
        for thread in os.listdir(f"/proc/{daemon.process.pid}/task"):
            status = Path(f"/proc/{daemon.process.pid}/task/{thread}/status").read_text()
            for name, value in (("CapPrm", _CAP_NET_ADMIN | _CAP_NET_RAW), ("CapEff", _CAP_NET_ADMIN | _CAP_NET_RAW),
                                ("CapInh", 0), ("CapAmb", 0)):
                self.assertIn(f"{name}:\t{value:016x}\n", status)
            self.assertIn(f"Uid:\t{pwd.getpwnam('nobody').pw_uid}\t", status)

    def test_redirect_without_root(self):
        """No capabilities are needed if rules redirect; the log says what will not work."""
        self.net.nft(REDIRECT)
        user = pwd.getpwnam("nobody")

        def become():
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        daemon = self.gateway(before_exec=become)
        daemon.wait_log("TPROXY rules need CAP_NET_ADMIN; only REDIRECT will work")
        sink = self.server(4)
        self.send_two(4)
        self.assertEqual(len(sink.messages), 1)

    def refuse(self, daemon, address, role="client"):
        with self.connect(address, role) as client:
            self.assertEqual(client.greeting.code, 421)
            self.assertRegex(client.greeting.text, r"^4\.3\.0 ")
        daemon.wait_log("refused: the connection to .* would come back to this program")

    def test_a_connection_to_the_proxy_itself_is_refused(self):
        self.net.nft(REDIRECT)
        for settings in ({}, {"Listen": ["10.99.1.1:10025", "[fd99:1::1]:10025"]}):
            daemon = self.gateway(settings)
            for family in (4, 6):
                with self.subTest(family=family, **settings):
                    self.refuse(daemon, (self.net.GATEWAY_TO_CLIENT[family], 10025))
            daemon.stop()

    def test_the_gateways_own_mail_server_is_no_loop(self):
        """The client's rule also matches port 25 of the gateway; a mail server that listens there gets its mail."""
        self.net.nft(REDIRECT)
        daemon = self.gateway()
        with self.net.inside("gateway"):
            sink = SmtpSink(port=Port(self.net.GATEWAY_TO_CLIENT[4], 25))
        self.addCleanup(sink.close)
        with self.connect((self.net.GATEWAY_TO_CLIENT[4], 25)) as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)
        self.expect_messages(daemon, delivered=1)

    def test_a_rule_that_sends_its_own_connections_back(self):
        """A gateway that redirects its own connections: refused at the first round, not when everything is used up."""
        self.net.nft(OUTPUT_TOO)
        daemon = self.gateway()
        self.server(4)
        with self.connect((self.net.SERVER[4], 25)) as client:
            self.assertEqual(client.greeting.code, 421)
        daemon.wait_log("refused: the connection to .* would come back to this program")
        with self.net.inside("gateway"):
            accepted = daemon.stats()["connections"]["accepted"]
        self.assertEqual(accepted, 2)
        wait_until("all to be over", lambda: self._active(daemon) == 0)

    def _active(self, daemon):
        with self.net.inside("gateway"):
            return daemon.stats()["connections"]["active"]

    def test_a_server_that_is_not_there(self):
        self.net.nft(REDIRECT)
        daemon = self.gateway()
        with self.connect((self.net.SERVER[4], 25)) as client:
            self.assertReply(client.greeting, 421)
        daemon.wait_log(r"cannot connect to mail server 10\.99\.2\.2:25: Connection refused")

    def test_the_port_of_the_listener_on_another_machine(self):
        """TPROXY of the very port on which the proxy listens: only its own addresses are a loop."""
        self.tproxy_rules()
        self.net.nft('add rule inet bivalve divert iifname "to-client" tcp dport 10025 ip daddr 10.99.2.2 '
                     'tproxy ip to :10025 meta mark set 1 accept\n')
        self.gateway()
        sink = self.server(4, 10025)
        with self.connect((self.net.SERVER[4], 10025)) as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(sink.sessions[0].peer[0], self.net.CLIENT[4])


class Loopback(ScenarioCase):
    """The loopback feature: a port alone as OutAddress means that port on the client's machine."""

    def test_ipv4_and_ipv6(self):
        for host in ("127.0.0.1", "127.0.0.3", "::1"):
            with self.subTest(host=host):
                sink = self.sink(host=host)
                family_any = "127.0.0.1" if "." in host else "::1"
                daemon = self.bivalved(str(sink.port.number), host=family_any)
                if not daemon.is_bivalve and ":" in host:
                    continue
                import socket
                client = SmtpClient.__new__(SmtpClient)
                # From the address on which the server listens.
                connection = socket.create_connection(daemon.address, source_address=(host, 0), timeout=30)
                client.socket, client._received, client.extensions = connection, bytearray(), {}
                with client:
                    self.assertReply(client.reply(), 220)
                    client.ehlo()
                    self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                self.assertEqual(len(sink.messages), 1)


if __name__ == "__main__":
    main()
