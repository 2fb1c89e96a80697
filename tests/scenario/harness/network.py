"""Network namespaces: a client's machine, a gateway and a server's machine, with cables between them."""
import contextlib
import ctypes
import itertools
import os
import subprocess
import unittest

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def _run(argv, text=None):
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(argv)}: {done.stdout.strip()}")


class Namespaces:
    """client -- gateway -- server, IPv4 and IPv6; the two ends reach each other through the gateway.

    SkipTest, with the reason, where the kernel or the container forbids namespaces.
    """

    CLIENT = {4: "10.99.1.2", 6: "fd99:1::2"}
    SERVER = {4: "10.99.2.2", 6: "fd99:2::2"}
    GATEWAY_TO_CLIENT = {4: "10.99.1.1", 6: "fd99:1::1"}
    GATEWAY_TO_SERVER = {4: "10.99.2.1", 6: "fd99:2::1"}

    def __init__(self):
        prefix = f"bv{os.getpid()}-{next(_numbers)}-"
        self.names = {role: prefix + role for role in ("client", "gateway", "server")}
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._build()
        except OSError as error:
            self.close()
            raise unittest.SkipTest(f"network namespaces cannot be made here: {error}") from None

    def _build(self):
        for name in self.names.values():
            _run(["ip", "netns", "add", name])
        for end, net in (("client", 1), ("server", 2)):
            _run(["ip", "-n", self.names["gateway"], "link", "add", f"to-{end}", "type", "veth",
                  "peer", "name", "eth0", "netns", self.names[end]])
            for role, device, host in (("gateway", f"to-{end}", 1), (end, "eth0", 2)):
                for address in (f"10.99.{net}.{host}/24", f"fd99:{net}::{host}/64"):
                    options = ["nodad"] if ":" in address else []
                    _run(["ip", "-n", self.names[role], "address", "add", address, "dev", device, *options])
                _run(["ip", "-n", self.names[role], "link", "set", device, "up"])
            for family, gateway in (("-4", f"10.99.{net}.1"), ("-6", f"fd99:{net}::1")):
                _run(["ip", "-n", self.names[end], family, "route", "add", "default", "via", gateway])
        for name in self.names.values():
            _run(["ip", "-n", name, "link", "set", "lo", "up"])
        self.run("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])

    def run(self, role, argv):
        _run(["ip", "netns", "exec", self.names[role], *argv])

    def nft(self, rules):
        """Loads rules on the gateway. SkipTest where the kernel lacks what they need."""
        try:
            _run(["ip", "netns", "exec", self.names["gateway"], "nft", "-f", "-"], rules)
        except OSError as error:
            raise unittest.SkipTest(f"the kernel does not take these rules: {error}") from None

    @contextlib.contextmanager
    def inside(self, role):
        """What this thread opens and starts within is in that namespace."""
        target = os.open(f"/run/netns/{self.names[role]}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(target, _CLONE_NEWNET) != 0:
                raise unittest.SkipTest(f"setns: {os.strerror(ctypes.get_errno())}")
            yield
        finally:
            _libc.setns(self._own, _CLONE_NEWNET)
            os.close(target)

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        os.close(self._own)
