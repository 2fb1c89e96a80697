#!/usr/bin/env python3
"""Answers SCAN and PING like clamd, one command on each connection, and scans nothing.

The argument is the path of its socket.
"""
import os
import selectors
import socket
import sys


def main(path):
    listener = socket.socket(socket.AF_UNIX)
    # Listens before it gets its final name, so a program that sees the path can connect.
    listener.bind(path + ".new")
    listener.listen(4096)
    listener.setblocking(False)
    os.rename(path + ".new", path)
    selector = selectors.EpollSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    continue
                selector.register(client, selectors.EVENT_READ)
                continue
            client = key.fileobj
            try:
                command = client.recv(8192)
                word, _, name = command.strip(b"\n\0").lstrip(b"nz").partition(b" ")
                client.sendall(b"PONG\n" if word == b"PING" else name + b": OK\n")
            except OSError:
                pass
            selector.unregister(client)
            client.close()


if __name__ == "__main__":
    main(sys.argv[1])
