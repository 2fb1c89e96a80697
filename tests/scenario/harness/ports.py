"""TCP ports for the programs under test."""
import socket


class Port:
    """A port that nobody else gets while this object lives.

    The socket stays bound but does not listen, with SO_REUSEADDR and SO_REUSEPORT set. A server that sets either of
    them may bind and listen on the port, while the kernel gives the number to nobody who asks for any free port. Until
    a server listens, connections to it are refused.
    """

    def __init__(self, host="127.0.0.1", wanted=0):
        """`wanted` is used if it is free."""
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            # Only a socket without SO_REUSEPORT can detect that somebody listens there.
            if wanted:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, wanted))
            self._socket.bind((host, wanted))
        except OSError:
            self._socket.bind((host, 0))
        self.number = self._socket.getsockname()[1]

    @property
    def pair(self):
        """The address for Python's sockets."""
        return (self.host, self.number)

    def __str__(self):
        """The address for a setting: 127.0.0.1:2525 or [::1]:2525."""
        return f"[{self.host}]:{self.number}" if ":" in self.host else f"{self.host}:{self.number}"

    def release(self):
        self._socket.close()


def free_port(host="127.0.0.1"):
    return Port(host)


def busy_port(host="127.0.0.1"):
    """A listening socket: a port that another program already uses. Close it when done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind((host, 0))
    listener.listen(16)
    return listener
