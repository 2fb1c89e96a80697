"""Tries the Debian package in a fresh Debian: installs it, starts it as its unit says, sends mail through it, removes and purges it.

Run by `tools/package --try`, as root. systemd does not run there, so this program does what the unit requires: the user, the
capabilities, the allowed system calls, the socket for READY=1. Mail goes to a server and a clamd like those of the scenario
tests. They stay outside, because clamd needs no right to the daemon's files.
"""
import contextlib
import ctypes
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "scenario"))

from harness import Clamd, Port, SmtpClient, SmtpSink, compose, eicar_message  # noqa: E402
from harness.process import Process, wait_until  # noqa: E402

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 38, 22, 24
_CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
MAIL_PORT, SERVER_PORT, STATS_PORT = 10025, 10026, 10027  # as in the package's configuration


def say(text):
    print(text, flush=True)


def run(*argv, **options):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}, **options)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def check(what, condition):
    if not condition:
        raise SystemExit(f"not so: {what}")
    say(f"  {what}")


def fresh_debian(root):
    """The suite of this machine, and the source of its own packages."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release["VERSION_CODENAME"].strip('"')
    mirrors = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {suite}",
                  "Component: main").split()
    run("debootstrap", "--variant=minbase", suite, root, mirrors[0])
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


class Unit:
    """The content of a unit file; for repeated settings, all values."""

    def __init__(self, path):
        self._values = {}
        for line in path.read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self._values.setdefault(name, []).append(value)

    def __getitem__(self, name):
        return " ".join(self._values.get(name, []))


def system_call_numbers(names):
    """The system calls of a SystemCallFilter=; systemd itself resolves the groups."""
    known = {}
    for line in Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text().splitlines():
        if match := re.match(r"#define __NR_(\w+) (\d+)", line):
            known[match[1]] = int(match[2])
    numbers, waiting, seen = set(), ["@default", *names], set()
    while waiting:
        name = waiting.pop()
        if not name.startswith("@"):
            if name in known:
                numbers.add(known[name])
        elif name not in seen:
            seen.add(name)
            lines = run("systemd-analyze", "--no-pager", "syscall-filter", name).splitlines()[1:]
            waiting += [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return sorted(numbers)


def confinement(unit, root, user):
    """A function for the child side of a fork: does what systemd does before it runs the command."""
    uid, gid, groups = user
    kept = {_CAPABILITIES[name] for name in unit["CapabilityBoundingSet"].split()}
    program = b""
    if platform.machine() == "x86_64" and shutil.which("systemd-analyze"):
        def instruction(code, jump_true, jump_false, value):
            return struct.pack("HBBI", code, jump_true, jump_false, value)
        program = instruction(0x20, 0, 0, 0)                          # load the system call's number
        for number in system_call_numbers(unit["SystemCallFilter"].split()):
            program += instruction(0x15, 0, 1, number) + instruction(0x06, 0, 0, 0x7FFF0000)
        program += instruction(0x06, 0, 0, 0x00050000 | 1)            # EPERM, as in the unit
    buffer = ctypes.create_string_buffer(program, len(program))
    descriptor = ctypes.create_string_buffer(struct.pack("HL", len(program) // 8, ctypes.addressof(buffer)))

    def apply():
        os.chroot(root)
        os.chdir("/")
        for capability in range(64):
            if capability not in kept:
                _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.umask(int(unit["UMask"], 8))
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            os._exit(126)
        if program and _libc.prctl(_PR_SET_SECCOMP, 2, descriptor, 0, 0) != 0:
            os._exit(126)
    apply.keep = (buffer, descriptor)
    # Two instructions for each call, besides the first and the last one.
    return apply, max(0, len(program) // 8 - 2) // 2


def own_namespaces():
    """The package's ports may be in use on this machine; and mounts disappear when this process ends."""
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        raise SystemExit("this needs namespaces of its own: " + os.strerror(ctypes.get_errno()))
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")


class Notifications:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.states = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o777)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            self.states += self._socket.recv(65536).decode().split("\n")


def try_service(root, unit):
    say("the service:")
    accounts = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    account = next(a for a in accounts if a[0] == unit["User"])
    groups = [int(g.split(":")[2]) for g in (root / "etc/group").read_text().splitlines()
              if unit["User"] in g.split(":")[3].split(",")]
    user = int(account[2]), int(account[3]), groups
    check(f"runs as {account[0]}, which is not root", user[0] != 0)
    apply, calls = confinement(unit, root, user)
    environment = {"NOTIFY_SOCKET": "/run/notify"}
    for command in (unit["ExecStartPre"], unit["ExecStart"]):
        check(f"{command.split()[0]} is there", (root / command.split()[0].lstrip("/")).exists())
    manager = Notifications(root / "run/notify")
    clamd_socket = root / "run/clamav/clamd.ctl"
    clamd_socket.parent.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        scanner_directory = tempfile.mkdtemp(prefix="clamd.")
        stack.callback(shutil.rmtree, scanner_directory, ignore_errors=True)
        clamd = Clamd(scanner_directory, options={"LocalSocket": clamd_socket}, wait=False)
        stack.callback(clamd.close)
        clamd.socket_path = clamd_socket
        wait_until("clamd to answer PING", clamd._ready)  # pylint: disable=W0212
        sink = SmtpSink(port=Port("127.0.0.1", SERVER_PORT))
        stack.callback(sink.close)
        before = subprocess.run(shlex.split(unit["ExecStartPre"]), preexec_fn=apply, check=False)
        check(f"{unit['ExecStartPre']} finds nothing wrong", before.returncode == 0)
        daemon = Process("bivalved", shlex.split(unit["ExecStart"]), before_exec=apply, env=environment)
        stack.callback(daemon.kill)
        wait_until("READY=1", lambda: "READY=1" in manager.states or not daemon.running())
        check(f"starts by '{unit['ExecStart']}' and says READY=1", "READY=1" in manager.states and daemon.running())
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        check("has no capabilities but those of the unit, and no new privileges",
              int(re.search(r"CapBnd:\s*(\w+)", status)[1], 16) & ~(1 << 10) == 0 and "NoNewPrivs:\t1" in status)
        if calls:
            check(f"may make {calls} system calls, the unit's", "Seccomp:\t2" in status)
        control = ["chroot", root, "bivalvectl"]
        wait_until("the scanner's canary", lambda: subprocess.run(
            [*map(str, control), "ready"], stdout=subprocess.DEVNULL, check=False).returncode == 0)
        with SmtpClient(("127.0.0.1", MAIL_PORT)) as client:
            client.ehlo()
            clean = client.deliver(compose(b"a message through the package\r\n"))
            infected = client.deliver(eicar_message())
            client.quit()
        check(f"a clean message is delivered: {clean}", clean.code == 250 and len(sink.messages) == 1)
        check(f"one with EICAR is not: {infected}", "Virus Detected" in infected.text and len(sink.received) == 1)
        check("bivalvectl shows both", re.search(r"\b1\b", run(*control, "stats")) is not None)
        daemon.signal(signal.SIGTERM)
        check("ends with status 0 on SIGTERM", daemon.wait() == 0)


def traces(root):
    """All paths that contain the package's name."""
    found = [p.relative_to(root) for p in root.rglob("*") if "bivalve" in p.name]
    return sorted(str(p) for p in found if p.parts[0] != "tmp")


def main():
    package = Path(sys.argv[1]).resolve()
    if os.geteuid() != 0:
        raise SystemExit("installing into another root directory needs root")
    top = Path(tempfile.mkdtemp(prefix="bivalve-trial."))
    root = top / "root"
    try:
        say("a fresh Debian …")
        fresh_debian(root)
        (root / "tmp").mkdir(exist_ok=True)
        shutil.copy(package, root / "tmp/bivalve.deb")
        for name in ("sources.list", "sources.list.d", "apt.conf.d"):
            source = Path("/etc/apt") / name
            if source.is_dir():
                shutil.copytree(source, root / "etc/apt" / name, dirs_exist_ok=True)
            elif source.is_file():
                shutil.copy(source, root / "etc/apt" / name)
        run("chroot", root, "apt-get", "update")
        run("chroot", root, "apt-get", "install", "-y", "--no-install-recommends", "/tmp/bivalve.deb")
        say("installed:")
        version = run("chroot", root, "bivalved", "-v").splitlines()[0]
        check(version, version.startswith("bivalved (version "))
        state = (root / "var/lib/bivalve").stat()
        check("/var/lib/bivalve is its user's alone", state.st_mode & 0o777 == 0o700 and state.st_uid != 0)
        check("nothing of the package is changed", run("chroot", root, "dpkg", "--verify", "bivalve") == "")
        own_namespaces()
        # clamd gets read-only descriptors, which are opened through /proc.
        run("mount", "-t", "proc", "proc", root / "proc")
        try:
            try_service(root, Unit(root / "lib/systemd/system/bivalved.service"))
        finally:
            run("umount", root / "proc")
        with (root / "etc/bivalved.conf").open("a") as configuration:
            configuration.write("HostName: mx.example.org\n")
        run("chroot", root, "dpkg", "--install", "/tmp/bivalve.deb")
        check("installed over itself: the administrator's configuration stays",
              "mx.example.org" in (root / "etc/bivalved.conf").read_text())
        say("removed:")
        run("chroot", root, "dpkg", "--remove", "bivalve")
        check("the configuration stays, the programs do not",
              (root / "etc/bivalved.conf").exists() and not (root / "usr/sbin/bivalved").exists())
        run("chroot", root, "dpkg", "--purge", "bivalve")
        left = traces(root)
        check("purged: nothing is left" if not left else f"purged: left are {left}", not left)
        check("its user is gone", "bivalve" not in (root / "etc/passwd").read_text())
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
