"""A Postfix for a test: with its own configuration, queue, log and ports, beside any that the machine runs."""
import os
import pwd
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from .process import wait_until

_DAEMONS = Path("/usr/lib/postfix/sbin")

_MAIN = """
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = {daemons}
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.test.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8 192.0.2.0/24
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{relay_port}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtputf8_enable = no
smtpd_authorized_xclient_hosts = 127.0.0.1
minimal_backoff_time = 5s
queue_run_delay = 5s
in_flow_delay = 0
"""

_MASTER = """
postlog   unix-dgram n  -       n       -       1       postlogd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
"""


class Postfix:
    """relay_port: where Postfix delivers everything. main and master are added to the configuration."""

    def __init__(self, directory, relay_port, main="", master=""):
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can start Postfix")
        if not (_DAEMONS / "master").exists() or not shutil.which("postfix", path="/usr/sbin"):
            raise unittest.SkipTest("Postfix is not installed")
        self.directory = Path(directory)
        self.configuration = self.directory / "conf"
        for name in ("conf", "queue", "data"):
            (self.directory / name).mkdir(parents=True)
        self.directory.chmod(0o755)
        owner = pwd.getpwnam("postfix")
        os.chown(self.directory / "data", owner.pw_uid, -1)
        (self.configuration / "main.cf").write_text(
            _MAIN.format(daemons=_DAEMONS, directory=self.directory, relay_port=relay_port) + main)
        (self.configuration / "master.cf").write_text(_MASTER + master)
        self._command("start")
        wait_until("Postfix to start", lambda: "daemon started" in self.log)

    def _command(self, word):
        done = subprocess.run(["/usr/sbin/postfix", "-c", str(self.configuration), word], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"postfix {word}: {done.stdout}\n{self.log[-2000:]}")

    @property
    def log(self):
        path = self.directory / "maillog"
        return path.read_text(errors="backslashreplace") if path.exists() else ""

    def queued(self):
        """How many messages are in the queue."""
        return sum(len(files) for name in ("incoming", "active", "deferred", "maildrop", "hold")
                   for _, _, files in os.walk(self.directory / "queue" / name))

    def wait_empty(self, timeout=None):
        wait_until("Postfix' queue to be empty", lambda: self.queued() == 0, timeout)

    def complaints(self):
        """Warnings and errors in the log."""
        return [line for line in self.log.splitlines() if re.search(r": (warning|error|fatal|panic): ", line)]

    def close(self):
        try:
            self._command("stop")
        except AssertionError:
            pass
