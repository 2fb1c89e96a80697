"""A scanner under a test's control: speaks clamd's sessions over a local socket and answers as it is told."""
import array
import os
import re
import socket
import threading

_CANARY = b"X-Bivalve-Canary: "
# What only the scanner sees, in front of the content; its last line may be cut.
_FRONT = re.compile(rb"\A(?:Received: by bivalve \(scan image[^\r\n]*\r\n)+")


class ScriptedClamd:
    """answer(content, number) returns the text of a result ("OK", "NAME FOUND", "TEXT ERROR"), bytes that are sent as they
    are, None for no answer at all, or "CLOSE" to close the connection. The canary is found without asking.
    tamper(path) is called before that, with a path of the message's memory: what our own user can do to it.
    """

    def __init__(self, directory, answer, *, finds_canary=True, version="ClamAV 1.4.6/1/scripted", tamper=None):
        self.address = str(directory / "scripted.ctl")
        self.answer = answer
        self.tamper = tamper
        self.finds_canary = finds_canary
        self.version = version
        self.scanned = []       # the content of every message, without the canaries and without the scan line
        self.canaries = 0
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
                    number += 1
                    if command == b"zPING":
                        client.sendall(f"{number}: PONG\0".encode())
                    elif command == b"zFILDES":
                        rest = rest[1:]
                        self._scan(client, number, descriptors.pop(0))
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

    def _scan(self, client, number, descriptor):
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            image = file.read()
            content = _FRONT.sub(b"", image)
            if self.tamper is not None and not content.startswith(_CANARY):
                self.tamper(f"/proc/self/fd/{file.fileno()}")
        if content.startswith(_CANARY):
            self.canaries += 1
            answer = "Canary FOUND" if self.finds_canary else "OK"
        else:
            self.scanned.append(content)
            answer = self.answer(content, number)
        if answer == "CLOSE":
            raise OSError("closed by the script")
        if answer is not None:
            client.sendall(answer if isinstance(answer, bytes) else f"{number}: fd[7]: {answer}\0".encode())

    def close(self):
        for sock in [self._listener, *self._open]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()
