"""A raw SMTP client: sends the given bytes, and reads whole replies."""
import re
import socket
import struct

from .messages import stuffed
from .process import TIMEOUT


class Reply:
    """A whole reply: its code, the texts of its lines, and its bytes as received."""

    def __init__(self, raw_lines):
        self.raw = b"".join(raw_lines)
        self.code = int(raw_lines[-1][:3])
        self.lines = [line[4:].rstrip(b"\r\n").decode("utf-8", "backslashreplace") for line in raw_lines]

    @property
    def text(self):
        return "\n".join(self.lines)

    def __str__(self):
        return self.raw.decode("utf-8", "backslashreplace").rstrip("\r\n")

    __repr__ = __str__


class SmtpClient:
    """One connection. TIMEOUT limits every read; if the peer closes, the read fails with EOFError."""

    def __init__(self, address, *, greeting=True, timeout=None):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout or TIMEOUT)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout or TIMEOUT)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self.extensions = {}
        self.greeting = self.reply() if greeting else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with RST, like a client that crashes behind a firewall."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode("utf-8") if isinstance(data, str) else data)

    def send_slowly(self, data):
        """Sends each byte in a segment of its own, as far as TCP_NODELAY allows."""
        for i in range(len(data)):
            self.socket.send(data[i:i + 1])

    def _line(self):
        while (end := self._received.find(b"\n")) < 0:
            block = self.socket.recv(65536)
            if not block:
                raise EOFError(f"the connection was closed; unread: {bytes(self._received)!r}")
            self._received += block
        line = bytes(self._received[:end + 1])
        del self._received[:end + 1]
        return line

    def reply(self):
        """Reads one whole reply. AssertionError if the peer sends anything else."""
        lines = [self._line()]
        while True:
            line = lines[-1]
            assert re.match(rb"[2-5]\d\d([ -].*)?\r\n\Z", line, re.S), f"no reply line: {line!r}"
            assert line[:3] == lines[0][:3], f"two codes in one reply: {lines!r}"
            if line[3:4] != b"-":
                return Reply(lines)
            lines.append(self._line())

    def replies(self, count):
        return [self.reply() for _ in range(count)]

    def quiet(self, seconds):
        """True if nothing arrives within `seconds`."""
        if self._received:
            return False
        self.socket.settimeout(seconds)
        try:
            self._received += self.socket.recv(65536)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(TIMEOUT)

    def wait_closed(self):
        """Waits until the peer closes. Returns the bytes that arrived before."""
        try:
            while block := self.socket.recv(65536):
                self._received += block
        except ConnectionResetError:
            pass
        return bytes(self._received)

    def command(self, line):
        self.send(line if isinstance(line, bytes) else line.encode("utf-8") + b"\r\n")
        return self.reply()

    def pipeline(self, lines):
        """Sends all lines in one write, then reads as many replies."""
        self.send("".join(line + "\r\n" for line in lines))
        return self.replies(len(lines))

    def ehlo(self, name="client.example"):
        reply = self.command(f"EHLO {name}")
        self.extensions = {}
        for line in reply.lines[1:]:
            keyword, _, value = line.partition(" ")
            self.extensions[keyword.upper()] = value
        return reply

    def helo(self, name="client.example"):
        return self.command(f"HELO {name}")

    def mail(self, sender="ada@example.com", parameters=""):
        return self.command(f"MAIL FROM:<{sender}>{parameters}")

    def rcpt(self, recipient="bob@example.net"):
        return self.command(f"RCPT TO:<{recipient}>")

    def content(self, content, *, slowly=False):
        """Sends mail data (stuffed here) and the dot that ends it, without waiting for the reply."""
        wire = stuffed(content)
        wire += b".\r\n" if not wire or wire.endswith(b"\r\n") else b"\r\n.\r\n"
        (self.send_slowly if slowly else self.send)(wire)

    def data(self, content, *, slowly=False):
        """DATA, its 354, the content, and the reply to the end of data."""
        go_ahead = self.command("DATA")
        assert go_ahead.code == 354, f"DATA was answered {go_ahead}"
        self.content(content, slowly=slowly)
        return self.reply()

    def bdat(self, chunk, last=False):
        self.send(f"BDAT {len(chunk)}{' LAST' if last else ''}\r\n".encode() + chunk)
        return self.reply()

    def begin_data(self):
        """A transaction up to its content, if the server accepts it: MAIL, RCPT and DATA. Returns the reply to DATA."""
        self.mail()
        self.rcpt()
        return self.command("DATA")

    def deliver(self, content, sender="ada@example.com", recipients=("bob@example.net",), *, slowly=False):
        """One whole transaction after EHLO; its envelope must be accepted. Returns the last reply."""
        for reply in (self.mail(sender), *(self.rcpt(r) for r in recipients)):
            assert reply.code == 250, str(reply)
        return self.data(content, slowly=slowly)

    def quit(self):
        reply = self.command("QUIT")
        self.wait_closed()
        self.close()
        return reply
