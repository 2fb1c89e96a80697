"""A recording SMTP server: keeps every command line and message byte for byte, and answers as a test tells it."""
import asyncio
import re
import socket
import struct
import threading

from .messages import unstuffed
from .process import TIMEOUT
from .ports import free_port


class _Action:
    """Something other than a reply that a script can request."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


CLOSE = _Action("CLOSE")  # close the connection
RESET = _Action("RESET")  # close it with RST
STALL = _Action("STALL")  # say nothing more; the connection stays open until the peer or the test closes it

# Thousands of sessions may begin at once; the kernel drops those that do not fit, and their clients wait in vain.
_BACKLOG = 4096

_ACCEPTED = {"EHLO", "HELO", "MAIL", "RCPT", "RSET", "NOOP", "QUIT", "DATA", "BODY", "BDAT", "CONNECT", "XFORWARD"}


class Message:
    """One message that has arrived completely."""

    def __init__(self, session, mail_line, rcpt_lines, how, wire, content):
        self.session = session
        self.mail_line = mail_line        # the command line as received
        self.rcpt_lines = rcpt_lines      # the accepted ones
        self.how = how                    # "DATA" or "BDAT"
        self.wire = wire                  # the mail data as received; for DATA stuffed, without the final dot line
        self.content = content            # as the sender meant it
        self.reply = None                 # the answer

    @property
    def sender(self):
        return re.search(rb"<(.*?)>", self.mail_line).group(1).decode("utf-8", "backslashreplace")

    @property
    def recipients(self):
        return [re.search(rb"<(.*?)>", line).group(1).decode("utf-8", "backslashreplace") for line in self.rcpt_lines]


class Session:
    """One connection and its dialogue."""

    def __init__(self, number):
        self.number = number
        self.commands = []                # every command line, without CRLF, as bytes
        self.open = True
        self.peer = None                  # host and port that the connection came from
        self.mail_line = None
        self.rcpt_lines = []
        self.chunks = bytearray()

    def verbs(self):
        return [line.split(b" ")[0].split(b":")[0].upper().decode("latin-1") for line in self.commands]


class _PeerGone(Exception):
    pass


class SmtpSink:
    """The server behind the filter.

    extensions  the EHLO keywords, with their parameters
    replies     by step (CONNECT, a verb, or BODY for the end of data of either kind): a str (lines separated by \\n,
                sent with CRLF), bytes (sent unchanged), an action above, a tuple of those in order, a list (one for
                each time, then the default), or a function of (session, line) that returns one of these or None for
                the default
    close_after_body_bytes  closes when this much mail data of one message has arrived
    early       bytes that are sent at that point; with early_only it does not close, and continues reading
    """

    def __init__(self, *, extensions=("8BITMIME", "SIZE 104857600"), replies=None, host="127.0.0.1", port=None,
                 name="sink.example", close_after_body_bytes=None, early=None, early_only=False, reading=True):
        self.extensions = list(extensions)
        self.replies = dict(replies or {})
        self.name = name
        self.close_after_body_bytes = close_after_body_bytes
        self.early_reply = early
        self.early_only = early_only
        self.reading = reading            # False: mail data is left in the socket, like in a server that hangs
        self.sessions = []
        self.received = []                # every completely received message, whatever was answered
        self.early = []                   # commands that came before the previous reply, without PIPELINING
        self.port = port or free_port(host)
        self._connections = set()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server = None
        self._thread = None
        self.start()

    # The test's side, on any thread.

    @property
    def address(self):
        return str(self.port)

    @property
    def messages(self):
        """The messages that were accepted (answered 2xx)."""
        with self._changed:
            return [m for m in self.received if m.reply and m.reply.startswith(b"2")]

    @property
    def commands(self):
        """All command lines of all connections."""
        with self._changed:
            return [line for s in self.sessions for line in s.commands]

    def wait(self, what, condition, timeout=None):
        with self._changed:
            if not self._changed.wait_for(condition, timeout or TIMEOUT):
                raise AssertionError(f"the mail server waited in vain for {what}; {len(self.received)} messages, "
                                     f"commands {[s.commands for s in self.sessions[-3:]]}")

    def wait_messages(self, count, timeout=None):
        self.wait(f"{count} messages", lambda: len(self.messages) >= count, timeout)
        return self.messages

    def wait_sessions_closed(self, timeout=None):
        self.wait("the connections to close", lambda: not any(s.open for s in self.sessions), timeout)

    def wait_command(self, pattern, timeout=None):
        expression = re.compile(pattern)
        self.wait(f"a command like {pattern!r}", lambda: any(map(expression.match, self.commands)), timeout)

    def start(self):
        """Listens. Called by the constructor, and after stop() to listen on the same port again."""
        family = socket.AF_INET6 if ":" in self.port.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(self.port.pair)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()

    def stop(self):
        """Stops listening and closes every connection."""
        if self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._thread = None

    def drop_connections(self):
        """Closes every connection at once and continues listening."""
        self._loop.call_soon_threadsafe(lambda: [w.transport.abort() for w in list(self._connections)])

    def close(self):
        self.stop()
        self._loop.close()
        self.port.release()

    # The server's side, on its own thread.

    def _run(self, listener):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=listener, limit=1 << 20, backlog=_BACKLOG))
        self._loop.run_forever()
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        with self._changed:
            for session in self.sessions:
                session.open = False
            self._changed.notify_all()

    def _pipelining(self):
        return any(x.upper() == "PIPELINING" for x in self.extensions)

    def _note(self, change):
        with self._changed:
            change()
            self._changed.notify_all()

    async def _serve(self, reader, writer):
        session = Session(len(self.sessions))
        session.peer = writer.get_extra_info("peername")[:2]
        self._note(lambda: self.sessions.append(session))
        self._connections.add(writer)
        peer = _Peer(reader, writer)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._answer(session, peer, "CONNECT", b"")
            while True:
                line = await peer.line()
                self._note(lambda: session.commands.append(line))
                if peer.buffer and not self._pipelining() and not line.upper().startswith(b"BDAT"):
                    self._note(lambda: self.early.append(bytes(peer.buffer[:80])))
                verb = re.split(rb"[ :]", line, 1)[0].upper().decode("latin-1")
                await self._command(session, peer, verb, line)
                if verb == "QUIT":
                    break
        except (_PeerGone, ConnectionError, asyncio.CancelledError):
            pass  # the session is over; stop() cancels it
        finally:
            self._connections.discard(writer)
            writer.close()

            def closed():
                session.open = False
            self._note(closed)

    async def _command(self, session, peer, verb, line):
        if verb == "DATA":
            if (await self._answer(session, peer, "DATA", line)).startswith(b"3"):
                wire = await self._mail_data(session, peer)
                await self._message(session, peer, "DATA", wire, unstuffed(wire), line)
            return
        if verb == "BDAT":
            await self._bdat(session, peer, line)
            return
        reply = await self._answer(session, peer, verb, line)
        if not reply.startswith(b"2"):
            return
        if verb == "MAIL":
            session.mail_line, session.rcpt_lines = line, []
        elif verb == "RCPT":
            session.rcpt_lines = session.rcpt_lines + [line]
        elif verb in ("RSET", "EHLO", "HELO"):
            session.mail_line, session.rcpt_lines, session.chunks = None, [], bytearray()

    async def _mail_data(self, session, peer):
        """Reads the bytes before the line with the dot. An empty message is only that line."""
        data = peer.buffer
        searched = 0
        while True:
            if data.startswith(b".\r\n"):
                del data[:3]
                return b""
            end = data.find(b"\r\n.\r\n", searched)
            if end >= 0:
                wire = bytes(data[:end + 2])
                del data[:end + 5]
                return wire
            searched = max(0, len(data) - 4)
            if self.close_after_body_bytes is not None and len(data) >= self.close_after_body_bytes:
                await self._interrupt(session, peer)
            if not self.reading:
                await self._do(session, peer, STALL)
            await peer.fill()

    async def _bdat(self, session, peer, line):
        match = re.fullmatch(rb"BDAT (\d+)( LAST)?", line, re.I)
        if not match:
            await peer.send(b"501 5.5.4 sink: bad BDAT\r\n")
            return
        size = int(match.group(1))
        if self.close_after_body_bytes is not None and size >= self.close_after_body_bytes:
            session.chunks += await peer.exactly(self.close_after_body_bytes)
            size -= self.close_after_body_bytes
            await self._interrupt(session, peer)
        session.chunks += await peer.exactly(size)
        if not session.rcpt_lines:
            session.chunks = bytearray()
            await peer.send(b"503 5.5.1 sink: BDAT without recipients\r\n")
            return
        if match.group(2):
            content = bytes(session.chunks)
            await self._message(session, peer, "BDAT", content, content, line)
        else:
            await self._answer(session, peer, "BDAT", line)

    async def _interrupt(self, session, peer):
        if self.early_reply is not None:
            await peer.send(self.early_reply)
        if not self.early_only:
            await self._do(session, peer, CLOSE)
        self.close_after_body_bytes = None

    async def _message(self, session, peer, how, wire, content, line):
        message = Message(session, session.mail_line or b"<>", session.rcpt_lines, how, wire, content)
        session.mail_line, session.rcpt_lines, session.chunks = None, [], bytearray()

        def keep(reply):
            # The message is recorded before the reply is sent: a client that has its 250 finds it here.
            def change():
                message.reply = reply
                self.received.append(message)
            self._note(change)
        await self._answer(session, peer, "BODY", line, before_sending=keep)

    async def _answer(self, session, peer, step, line, before_sending=None):
        scripted = self.replies.get(step)
        if callable(scripted):
            scripted = scripted(session, line)
        elif isinstance(scripted, list):
            scripted = scripted.pop(0) if scripted else None
        if scripted is None:
            scripted = self._default(session, step, line)
        sent = b""
        for part in scripted if isinstance(scripted, tuple) else (scripted,):
            if isinstance(part, _Action):
                if before_sending and not sent:
                    before_sending(b"")
                await self._do(session, peer, part)
            data = part if isinstance(part, bytes) else "".join(x + "\r\n" for x in part.split("\n")).encode()
            if before_sending and not sent:
                before_sending(data)
            sent += data
            await peer.send(data)
        return sent

    def _default(self, session, step, line):
        if step == "CONNECT":
            return f"220 {self.name} ESMTP sink"
        if step == "EHLO":
            lines = [self.name, *self.extensions]
            return "\n".join(f"250{'-' if i + 1 < len(lines) else ' '}{x}" for i, x in enumerate(lines))
        if step == "HELO":
            return f"250 {self.name}"
        if step == "DATA":
            return "354 sink: go ahead" if session.rcpt_lines else "503 5.5.1 sink: no recipients"
        if step == "RCPT" and session.mail_line is None:
            return "503 5.5.1 sink: no MAIL before RCPT"
        if step == "BODY":
            return f"250 2.0.0 sink: queued as {len(self.received) + 1}"
        if step == "QUIT":
            return "221 2.0.0 sink: bye"
        if step == "XCLIENT":
            return f"220 {self.name} ESMTP sink"
        if step == "XFORWARD" and not any(x.upper().startswith("XFORWARD") for x in self.extensions):
            return "502 5.5.1 sink: no such command"
        if step in _ACCEPTED:
            return f"250 2.0.0 sink: {step} ok"
        return "502 5.5.1 sink: no such command"

    async def _do(self, session, peer, action):
        if action is RESET:
            peer.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.writer.transport.abort()
        elif action is STALL:
            while await peer.reader.read(1 if self.reading else -1):
                pass
        raise _PeerGone


class _Peer:
    """The reading side of one connection, with a buffer for mail data of any size."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.buffer = bytearray()

    async def fill(self):
        block = await self.reader.read(1 << 18)
        if not block:
            raise _PeerGone
        self.buffer += block

    async def line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            await self.fill()
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        return line

    async def exactly(self, size):
        while len(self.buffer) < size:
            await self.fill()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()
