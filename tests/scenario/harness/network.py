"""Network namespaces: separate machines for a test, with cables between them."""
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


class _Machines:
    """A namespace for each role. SkipTest, with the reason, if the kernel or the container forbids namespaces."""

    def __init__(self, roles):
        prefix = f"bv{os.getpid()}-{next(_numbers)}-"
        self.names = {role: prefix + role for role in roles}
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for name in self.names.values():
                _run(["ip", "netns", "add", name])
            self._build()
            for name in self.names.values():
                _run(["ip", "-n", name, "link", "set", "lo", "up"])
        except OSError as error:
            self.close()
            raise unittest.SkipTest(f"network namespaces cannot be made here: {error}") from None

    def _build(self):
        """Connects the namespaces."""
        raise NotImplementedError

    def run(self, role, argv):
        _run(["ip", "netns", "exec", self.names[role], *argv])

    @contextlib.contextmanager
    def inside(self, role):
        """Sockets that this thread opens inside, and programs that it starts, are in that namespace."""
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


class Namespaces(_Machines):
    """client -- gateway -- server, IPv4 and IPv6; the two ends reach each other through the gateway."""

    CLIENT = {4: "10.99.1.2", 6: "fd99:1::2"}
    SERVER = {4: "10.99.2.2", 6: "fd99:2::2"}
    GATEWAY_TO_CLIENT = {4: "10.99.1.1", 6: "fd99:1::1"}
    GATEWAY_TO_SERVER = {4: "10.99.2.1", 6: "fd99:2::1"}

    def __init__(self):
        super().__init__(("client", "gateway", "server"))

    def _build(self):
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
        self.run("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])

    def nft(self, rules):
        """Loads rules on the gateway. SkipTest if the kernel lacks something that they need."""
        try:
            _run(["ip", "netns", "exec", self.names["gateway"], "nft", "-f", "-"], rules)
        except OSError as error:
            raise unittest.SkipTest(f"the kernel does not take these rules: {error}") from None


class Switched(_Machines):
    """Machines on one switch, IPv4. `addresses`: each role and its address (all in one /24)."""

    def __init__(self, addresses):
        self.addresses = addresses
        super().__init__(("switch", *addresses))

    def _build(self):
        switch = self.names["switch"]
        _run(["ip", "-n", switch, "link", "add", "lan", "type", "bridge"])
        _run(["ip", "-n", switch, "link", "set", "lan", "up"])
        for role, address in self.addresses.items():
            machine = self.names[role]
            _run(["ip", "-n", switch, "link", "add", role, "type", "veth", "peer", "name", "eth0", "netns", machine])
            _run(["ip", "-n", switch, "link", "set", role, "master", "lan", "up"])
            _run(["ip", "-n", machine, "address", "add", f"{address}/24", "dev", "eth0"])
            _run(["ip", "-n", machine, "link", "set", "eth0", "up"])
