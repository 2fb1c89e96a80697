"""A mail server that is as lenient as possible: anything that any server takes for the end of mail data ends it here."""
import re
import socketserver
import threading

# A dot alone between any two sequences that some server takes for line ends: CRLF, LF, CR, also with CRs and NULs.
_EDGE = rb"(?:[\r\n\0]+)"
END = re.compile(rb"(?:^|(?<=[\r\n\0]))\.(?=[\r\n\0])" + _EDGE)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.buffer = b""
        self.request.sendall(b"220 lenient.example ESMTP\r\n")
        transaction, chunks = [None, []], b""
        while True:
            line = self._line()
            if line is None:
                return
            verb = line[:4].upper()
            if verb == b"EHLO":
                lines = [b"lenient.example", *[e.encode() for e in self.server.extensions]]
                self._say(b"\r\n".join(b"250" + (b" " if i + 1 == len(lines) else b"-") + x for i, x in enumerate(lines)))
            elif verb == b"MAIL":
                transaction = [line, []]
                self._say(b"250 ok")
            elif verb == b"RCPT":
                if transaction[0] is not None:
                    transaction[1].append(line)
                self._say(b"250 ok" if transaction[1] else b"503 MAIL first")
            elif verb == b"RSET":
                transaction = [None, []]
                self._say(b"250 ok")
            elif verb == b"DATA":
                if not transaction[1]:
                    self._say(b"503 no recipients")
                    continue
                self._say(b"354 go")
                content = self._mail_data()
                if content is None:
                    return
                self._take(transaction, content)
                transaction = [None, []]
            elif verb == b"BDAT":
                words = line.split()
                content = self._exactly(int(words[1]))
                if content is None:
                    return
                chunks += content
                if len(words) == 2:
                    self._say(b"250 more")
                    continue
                self._take(transaction, chunks)
                transaction, chunks = [None, []], b""
            elif verb == b"QUIT":
                self._say(b"221 bye")
                return
            else:
                self._say(b"250 whatever" if line else b"500 what")

    def _say(self, reply):
        try:
            self.request.sendall(reply + b"\r\n")
        except OSError:
            pass

    def _take(self, transaction, content):
        with self.server.lock:
            self.server.messages.append((transaction[0], content))
        self._say(b"250 taken")

    def _fill(self):
        try:
            block = self.request.recv(65536)
        except OSError:
            return False
        self.buffer += block
        return bool(block)

    def _line(self):
        """Reads up to the first CRLF, LF or CR: commands are read leniently as well."""
        while True:
            match = re.search(rb"\r\n|\n|\r(?=.)", self.buffer, re.S)
            if match:
                line, self.buffer = self.buffer[:match.start()], self.buffer[match.end():]
                return line.lstrip(b"\0")
            if not self._fill():
                return None

    def _mail_data(self):
        while True:
            match = END.search(self.buffer)
            # The bytes after the dot may still be on their way: one more byte decides, and so does a pause.
            if match:
                content, self.buffer = self.buffer[:match.start()], self.buffer[match.end():]
                return content
            if not self._fill():
                return None

    def _exactly(self, size):
        while len(self.buffer) < size:
            if not self._fill():
                return None
        content, self.buffer = self.buffer[:size], self.buffer[size:]
        return content


class LenientServer(socketserver.ThreadingTCPServer):
    """Listens on its own port until close(). messages: (MAIL line, content) of everything that it took as a message."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, extensions=("8BITMIME",)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.extensions = extensions
        self.lock = threading.Lock()
        self.messages = []
        self.address = "127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()
