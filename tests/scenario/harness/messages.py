"""Messages to send: clean ones of any size, EICAR, and ClamAV's own test files as attachments."""
import base64
import textwrap
from pathlib import Path

CRLF = b"\r\n"
TEST_FILES = Path("/usr/share/clamav-testfiles")


def eicar():
    """The EICAR test string, put together here so that no scanner takes this file for a virus."""
    parts = ["X5O!P%@AP", "[4\\PZX54(P^)", "7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE", "!$H+H*"]
    return "".join(parts).encode("ascii")


def compose(body, headers=(), subject="A scenario"):
    """A message: the usual headers, `headers` (lines without line end), a blank line, and `body` unchanged."""
    lines = ["From: Ada <ada@example.com>", "To: Bob <bob@example.net>", f"Subject: {subject}",
             "Date: Thu, 01 Jan 2026 00:00:00 +0000", "MIME-Version: 1.0", *headers]
    return "\r\n".join(lines).encode("utf-8") + CRLF + CRLF + body


def text_message(size):
    """A clean message of exactly this many bytes; all lines differ."""
    head = compose(b"")
    if size <= len(head):
        return b"x" * size
    body = bytearray()
    number = 0
    while len(body) < size - len(head):
        body += b"line %d of the message, with some text to fill it up\r\n" % number
        number += 1
    del body[size - len(head):]
    if len(body) >= 2:
        body[-2:] = b"\r\n"
        if body[-3:-2] == b"\r":
            body[-3] = ord("x")
    return head + bytes(body)


def base64_lines(content):
    return "\r\n".join(textwrap.wrap(base64.b64encode(content).decode("ascii"), 76)).encode("ascii")


def with_attachment(name, content, headers=()):
    """A multipart message with a line of text and one base64 attachment."""
    boundary = "=_boundary_of_the_scenario"
    body = CRLF.join([
        f"--{boundary}".encode(), b"Content-Type: text/plain; charset=us-ascii", b"", b"See the attachment.", b"",
        f"--{boundary}".encode(), f'Content-Type: application/octet-stream; name="{name}"'.encode(),
        b"Content-Transfer-Encoding: base64", f'Content-Disposition: attachment; filename="{name}"'.encode(), b"",
        base64_lines(content), f"--{boundary}--".encode(), b""])
    return compose(body, [*headers, f'Content-Type: multipart/mixed; boundary="{boundary}"'])


def eicar_message():
    """The EICAR string as the text of a plain message."""
    return compose(eicar() + CRLF, ["Content-Type: text/plain"])


def infected_attachment():
    return with_attachment("eicar.com", eicar())


def test_file_names():
    """The files of Debian's clamav-testfiles."""
    return sorted(p.name for p in TEST_FILES.iterdir() if p.is_file()) if TEST_FILES.is_dir() else []


def read_test_file(name):
    return (TEST_FILES / name).read_bytes()


def stuffed(content):
    """`content` as mail data on the wire, without the final dot (RFC 5321 section 4.5.2)."""
    wire = content.replace(b"\r\n.", b"\r\n..")
    return b"." + wire if wire.startswith(b".") else wire


def unstuffed(wire):
    """The content of received mail data, from which the final dot line was already removed."""
    content = wire.replace(b"\r\n.", b"\r\n")
    return content[1:] if content.startswith(b".") else content


def without_header(content, name=b"X-Virus-Scanned"):
    """`content` without the one header line `name` that a filter has inserted; AssertionError unless it is there once.

    Looks only in the header section, so that the same words in a body are not removed.
    """
    end = content.find(b"\r\n\r\n")
    head, rest = (content, b"") if end < 0 else (content[:end + 2], content[end + 2:])
    lines = head.splitlines(keepends=True)
    mine = [i for i, line in enumerate(lines) if line.lower().startswith(name.lower() + b":")]
    assert len(mine) == 1, f"{name.decode()} stands {len(mine)} times in the header section: {head[-300:]!r}"
    del lines[mine[0]]
    return b"".join(lines) + rest
