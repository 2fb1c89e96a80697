"""A separate program that keeps hostile clients on a server: they must not share a Python process with the measurement.

    python3 -m harness.hostile HOST:PORT STATS_HOST:PORT DRIBBLERS IDLE RESETS_PER_SECOND GARBAGE

Prints "ready" when all clients are connected, and then continues until it is killed.
"""
import asyncio
import os
import resource
import socket
import struct
import sys


async def connect(address):
    return await asyncio.open_connection(*address)


async def idle(address, greeted):
    reader, writer = await connect(address)
    await reader.readline()
    writer.write(b"EHLO idle.example\r\n")
    await reader.read(4096)
    greeted()
    await reader.read()


async def dribble(address, greeted):
    """Sends one byte of a message every second; begins again when it is thrown out."""
    first = True
    while True:
        try:
            reader, writer = await connect(address)
            await reader.readline()
            for line in (b"EHLO dribble.example", b"MAIL FROM:<eve@example.com>", b"RCPT TO:<bob@example.net>", b"DATA"):
                writer.write(line + b"\r\n")
                await reader.read(4096)
            if first:
                greeted()
                first = False
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(1)
        except OSError:
            await asyncio.sleep(0.1)


async def reset(address, each_second):
    """Connects and resets, at every stage of the beginning of a session."""
    loop = asyncio.get_running_loop()
    began, number = loop.time(), 0
    while True:
        try:
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            if number % 2:
                sock.send(b"EHLO reset.example\r\nMAIL FROM:<eve@example.com>\r\n")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        except OSError:
            pass
        number += 1
        # By the clock and not by pauses, so that the requested number is reached.
        await asyncio.sleep(max(0, began + number / each_second - loop.time()))


async def garbage(address):
    """Sends random bytes until it is thrown out."""
    while True:
        try:
            reader, writer = await connect(address)
            for _ in range(16):
                writer.write(os.urandom(4096))
                await writer.drain()
                await asyncio.sleep(0.1)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(0.5)


async def main():
    def address(text):
        host, _, port = text.rpartition(":")
        return host, int(port)
    mail, stats = address(sys.argv[1]), address(sys.argv[2])
    dribblers, idlers, resets, noisy = map(int, sys.argv[3:7])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    waiting = dribblers + idlers
    ready = asyncio.Event()

    def greeted():
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            ready.set()
    tasks = []
    for number in range(idlers):
        tasks.append(asyncio.create_task(idle(mail, greeted)))
        if number % 50 == 49:
            await asyncio.sleep(0.02)
    for number in range(dribblers):
        tasks.append(asyncio.create_task(dribble(mail, greeted)))
        await asyncio.sleep(0.01)
    await ready.wait()
    if resets:
        tasks.append(asyncio.create_task(reset(mail, resets)))
    for _ in range(noisy):
        tasks.append(asyncio.create_task(garbage(mail)))
        tasks.append(asyncio.create_task(garbage(stats)))
    print("ready", flush=True)
    await asyncio.gather(*tasks, return_exceptions=True)


asyncio.run(main())
