"""A scanner under a test's control: speaks clamd's sessions over a local socket and gives the answers of the test."""
import array
import os
import re
import socket
import threading

_CANARY = b"X-Bivalve-Canary: "
# The lines that only the scanner sees, before the content; the last one may be cut.
_FRONT = re.compile(rb"\A(?:Received: by bivalve \(scan image[^\r\n]*\r\n)+")


class ScriptedClamd:
    """answer(content, number) returns the text of a result ("OK", "NAME FOUND", "TEXT ERROR"), bytes that are sent
    unchanged, None for no answer at all, or "CLOSE" to close the connection. The canary is found without calling it;
    with finds_canary None it is not answered. A scanner that takes no descriptors does not know FILDES. tamper(path) is
    called before a message's answer with a path of its memory, to do what our own user can do to it.
    """

    def __init__(self, directory, answer, *, finds_canary=True, takes_descriptors=True,
                 version="ClamAV 1.4.6/1/scripted", tamper=None):
        self.address = str(directory / "scripted.ctl")
        self.answer = answer
        self.tamper = tamper
        self.finds_canary = finds_canary
        self.takes_descriptors = takes_descriptors
        self.version = version
        self.scanned = []       # the content of every message, without the canaries and without the scan line
        self.canaries = 0
        self.uploads = 0        # how many of them came by INSTREAM
        self._lock = threading.Lock()
        self._open = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.address)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        buffer, descriptors, number, session = b"", [], 0, False
        try:
            while True:
                data, ancillary, _, _ = client.recvmsg(4096, 1024)
                if not data:
                    return
                for level, kind, content in ancillary:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        received = array.array("i")
                        received.frombytes(content[:len(content) - len(content) % received.itemsize])
                        descriptors += received
                buffer += data
                while b"\0" in buffer:
                    command, _, rest = buffer.partition(b"\0")
                    if command == b"zIDSESSION":
                        session, buffer = True, rest
                        continue
                    if command == b"zFILDES" and not rest:
                        break
                    if command == b"zINSTREAM":
                        image, rest = self._take_stream(rest)
                        if image is None:
                            break
                    number += 1
                    if command == b"zPING":
                        client.sendall(f"{number}: PONG\0".encode())
                    elif command == b"zFILDES":
                        rest = rest[1:]
                        if not self.takes_descriptors:
                            client.sendall(b"UNKNOWN COMMAND\0")
                            return
                        with os.fdopen(descriptors.pop(0), "rb") as file:
                            file.seek(0)
                            image = file.read()
                            if self.tamper is not None and not _FRONT.sub(b"", image).startswith(_CANARY):
                                self.tamper(f"/proc/self/fd/{file.fileno()}")
                            self._scan(client, f"{number}: fd[7]", number, image)
                    elif command == b"zINSTREAM":
                        self.uploads += 1
                        self._scan(client, f"{number}: stream", number, image)
                    elif command == b"zVERSION" and not session:
                        client.sendall(self.version.encode() + b"\0")
                        return
                    buffer = rest
        except OSError:
            pass
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            with self._lock:
                self._open.discard(client)
            client.close()

    @staticmethod
    def _take_stream(data):
        """The chunks at the front of data, joined, and the bytes behind them; (None, data) if some are missing."""
        image, rest = b"", data
        while len(rest) >= 4:
            size = int.from_bytes(rest[:4], "big")
            if size == 0:
                return image, rest[4:]
            if len(rest) < 4 + size:
                break
            image, rest = image + rest[4:4 + size], rest[4 + size:]
        return None, data

    def _scan(self, client, name, number, image):
        content = _FRONT.sub(b"", image)
        if content.startswith(_CANARY):
            self.canaries += 1
            answer = {True: "Canary FOUND", False: "OK", None: None}[self.finds_canary]
        else:
            self.scanned.append(content)
            answer = self.answer(content, number)
        if answer == "CLOSE":
            raise OSError("closed by the script")
        if answer is not None:
            client.sendall(answer if isinstance(answer, bytes) else f"{name}: {answer}\0".encode())

    def close(self):
        for sock in [self._listener, *self._open]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()
