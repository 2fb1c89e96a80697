"""Scanners: a real clamd for each test, a tap that counts its connections, and the null scanner."""
import array
import atexit
import hashlib
import os
import pwd
import select
import shutil
import socket
import tempfile
import threading
from pathlib import Path

from .messages import TEST_FILES, eicar
from .ports import free_port
from .process import TIMEOUT, Process, tool, wait_until


def build_database(directory):
    """Writes a small signature database that knows EICAR and ClamAV's test files (by the one program that all contain).

    EICAR is found as a file of its own (by its hash) and at the start of any decoded part, but not anywhere inside a
    file: as with the published signatures, it is found only if the message is taken apart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    hashes = [f"{hashlib.md5(eicar()).hexdigest()}:{len(eicar())}:Eicar-Test-Signature"]
    sample = TEST_FILES / "clam.exe"
    if sample.is_file():
        content = sample.read_bytes()
        hashes.append(f"{hashlib.md5(content).hexdigest()}:{len(content)}:ClamAV-Test-File")
    (directory / "bivalve.hdb").write_text("".join(line + "\n" for line in hashes))
    (directory / "bivalve.ndb").write_text(f"Eicar-Test-Signature:0:0:{eicar().hex()}\n")
    for path in directory.iterdir():
        path.chmod(0o644)
    return directory


def shared_database():
    """The database of this test run, built once: by the runner (BIVALVE_TEST_DATABASE), otherwise by this process."""
    if given := os.environ.get("BIVALVE_TEST_DATABASE"):
        return Path(given)
    directory = Path(tempfile.mkdtemp(prefix="bivalve-database."))
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(directory, ignore_errors=True))
    os.environ["BIVALVE_TEST_DATABASE"] = str(build_database(directory))
    directory.chmod(0o755)
    return directory


def find_clamd():
    for directory in [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/local/sbin"]:
        path = Path(directory) / "clamd"
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise AssertionError("clamd is not installed (Debian: clamav-daemon)")


def unconfined_clamd(directory):
    """The path of a clamd that may read files written by a test.

    Debian's AppArmor profile belongs to the path /usr/sbin/clamd and allows only the system's own directories. If
    AppArmor is active, it does not restrict a copy of the program.
    """
    clamd = find_clamd()
    try:
        active = Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"
    except OSError:
        active = False
    if not active:
        return clamd
    copy = directory / "clamd"
    if not copy.exists():
        shutil.copy2(clamd, copy)
    return copy


class Clamd:
    """A clamd with its own directory, sockets, log and temporary directory.

    local, tcp  which sockets it has; options override or extend its configuration (None removes one)
    """

    def __init__(self, directory, *, local=True, tcp=False, database=None, options=None, wait=True,
                 ready_seconds=None):
        self.ready_seconds = ready_seconds
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.socket_path = self.directory / "clamd.ctl" if local else None
        self.port = free_port() if tcp else None
        self.log_path = self.directory / "clamd.log"
        self.database = Path(database) if database else shared_database()
        self.options = {
            "Foreground": "yes", "LogFile": self.log_path, "LogFileUnlock": "yes", "LogClean": "yes",
            "DatabaseDirectory": self.database, "TemporaryDirectory": self.temporary, "SelfCheck": "0",
            "MaxThreads": "4", "StreamMaxLength": "100M", "MaxFileSize": "100M", "MaxScanSize": "200M",
            # One of ClamAV's test files has as many layers as the usual limit allows, and the mail adds two.
            "AlertExceedsMax": "yes", "MaxRecursion": "25", "CommandReadTimeout": "30", "ReadTimeout": "120",
        }
        if os.geteuid() == 0:
            self.options["User"] = "root"
        if local:
            self.options["LocalSocket"] = self.socket_path
            self.options["FixStaleSocket"] = "yes"
        if tcp:
            self.options["TCPSocket"] = self.port.number
            self.options["TCPAddr"] = self.port.host
        self.options.update(options or {})
        self.process = None
        self.start(wait)

    @property
    def address(self):
        """The value for ClamAddress: the local socket if there is one."""
        return str(self.socket_path or self.port)

    @property
    def tcp_address(self):
        return str(self.port)

    @property
    def log(self):
        return self.log_path.read_text(errors="backslashreplace") if self.log_path.exists() else ""

    def start(self, wait=True):
        configuration = self.directory / "clamd.conf"
        configuration.write_text("".join(f"{k} {v}\n" for k, v in self.options.items() if v is not None))
        self.process = Process("clamd", [unconfined_clamd(self.directory), "--config-file", configuration],
                               env={"TMPDIR": str(self.temporary)})
        if wait:
            wait_until("clamd to answer PING", self._ready, self.ready_seconds)

    def _ready(self):
        if not self.process.running():
            raise AssertionError("clamd has ended:\n" + self.process.output + "\n" + self.log)
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False

    def connect(self):
        if self.socket_path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(TIMEOUT)
            try:
                sock.connect(str(self.socket_path))
            except OSError:
                sock.close()
                raise
            return sock
        return socket.create_connection(self.port.pair, timeout=TIMEOUT)

    def command(self, text):
        """Sends one command on a new connection; returns the reply without its end."""
        with self.connect() as sock:
            sock.sendall(b"z" + text.encode("ascii") + b"\0")
            reply = b""
            while block := sock.recv(4096):
                reply += block
        return reply.rstrip(b"\0\n").decode("utf-8", "backslashreplace")

    def scan(self, content):
        """The scanner's reply about a file with this content."""
        with self.connect() as sock:
            sock.sendall(b"zINSTREAM\0" + len(content).to_bytes(4, "big") + content + bytes(4))
            reply = b""
            while block := sock.recv(4096):
                reply += block
        return reply.rstrip(b"\0\n").decode("utf-8", "backslashreplace")

    def connections(self):
        """How many connections clients have open to it now, on both sockets, counted by the kernel."""
        count = 0
        if self.socket_path:
            # Fields: number, references, protocol, flags, type, state, inode, path. A listening socket has the flag
            # SO_ACCEPTCON; the accepted ones carry the listener's path.
            for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
                fields = line.split(None, 7)
                if len(fields) == 8 and fields[7] == str(self.socket_path) and not int(fields[3], 16) & 0x10000:
                    count += 1
        if self.port:
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == self.port.number and fields[3] == "01":
                    count += 1
        return count

    def temporary_files(self):
        """The files in its temporary directory now."""
        return sorted(str(p.relative_to(self.temporary)) for p in self.temporary.rglob("*"))

    def kill(self):
        """Dies like a crashed scanner: at once, leaving its socket file."""
        self.process.kill()

    def close(self):
        if self.process.running():
            self.process.end()
        else:
            self.process.kill()
        if self.port:
            self.port.release()


class ClamdTap:
    """Stands between the filter and a clamd's local socket, passes on bytes and descriptors, and counts connections.

    The kernel's tables show only the connections of the moment; only a program in between sees every connection.
    """

    def __init__(self, directory, clamd):
        self.path = Path(directory) / "tap.ctl"
        self._clamd = clamd
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        self._lock = threading.Lock()
        self._open = set()
        self.total = 0           # connections since the start
        self.peak = 0            # most at once
        self.descriptors = 0     # descriptors passed on
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return str(self.path)

    @property
    def current(self):
        with self._lock:
            return len(self._open)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        try:
            # The daemon asks for the version on a separate connection, which is not one of its sessions.
            if not client.recv(9, socket.MSG_PEEK).startswith(b"zVERSION"):
                with self._lock:
                    self.total += 1
                    self._open.add(client)
                    self.peak = max(self.peak, len(self._open))
            with self._clamd.connect() as server:
                while True:
                    readable, _, _ = select.select([client, server], [], [])
                    if client in readable and not self._hand_on(client, server):
                        return
                    if server in readable and not self._hand_on(server, client):
                        return
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _hand_on(self, source, target):
        descriptors = array.array("i")
        data, ancillary, _, _ = source.recvmsg(65536, socket.CMSG_SPACE(8 * descriptors.itemsize))
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[:len(content) - len(content) % descriptors.itemsize])
        try:
            if not data:
                return False
            if descriptors:
                with self._lock:
                    self.descriptors += len(descriptors)
                sent = target.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                target.sendall(data[sent:])
            else:
                target.sendall(data)
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def cut(self):
        """Closes every connection, like a clamd that gives up its sessions."""
        with self._lock:
            for client in self._open:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut()


class NullClamd:
    """The project's null scanner: answers at once or late, always the same. `user`: whom it runs as, if we may choose."""

    def __init__(self, directory, *, reply=None, delay_ms=None, canary=True, tcp=False, user=None):
        self.port = free_port() if tcp else None
        self._path = Path(directory) / "null.ctl"
        self.address = str(self.port) if tcp else str(self._path)
        argv = [tool("null_clamd"), "--listen", self.address]
        if delay_ms is not None:
            argv += ["--delay-ms", str(delay_ms)]
        if not canary:
            argv += ["--canary", "off"]
        if reply is not None:
            argv += ["--reply", reply]
        become = None
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)

            def become():
                os.setgroups([])
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
        self.process = Process("null_clamd", argv, before_exec=become)
        wait_until("the null scanner to listen", self._ready)

    def _ready(self):
        if not self.process.running():
            raise AssertionError("null_clamd has ended:\n" + self.process.output)
        try:
            if self.port:
                socket.create_connection(self.port.pair, timeout=TIMEOUT).close()
            else:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.connect(str(self._path))
            return True
        except OSError:
            return False

    def close(self):
        self.process.kill()
        if self.port:
            self.port.release()
