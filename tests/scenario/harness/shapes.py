"""Messages in which something may hide from a scanner: header forms, separators, encodings, magics and line ends,
combined by a seed. Each comes twice: with the EICAR string, and with a harmless string in its place."""
import base64
import binascii
import bz2
import email
import email.policy
import gzip
import io
import lzma
import quopri
import random
import re
import tarfile
import zipfile
from dataclasses import dataclass

from .messages import eicar


def harmless():
    """As long as the EICAR string, and not known to any scanner."""
    return b"Y" + eicar()[1:]


def _uuencoded(data):
    lines = [binascii.b2a_uu(data[i:i + 45]).rstrip(b"\n") for i in range(0, len(data), 45)]
    return b"\r\n".join([b"begin 644 e.com", *lines, b"`", b"end", b""])


def _tar(data):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo("e.com")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def _zip(data):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("e.com", data)
    return target.getvalue()


def _base64(data):
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


_MULTIPART = (b'Content-Type: multipart/mixed; boundary="BB"\r\n', (
    b"--BB\r\nContent-Type: text/plain\r\n\r\nhello\r\n--BB\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n%s--BB--\r\n"))


# The same, but the header section of a part, or of a message in it, is faulty.
_NESTED = {
    "part without a blank line": _MULTIPART[1].replace(b"base64\r\n\r\n", b"base64\r\n"),
    "part with a blank for it": _MULTIPART[1].replace(b"base64\r\n\r\n", b"base64\r\n \r\n"),
    "part with dots for it": _MULTIPART[1].replace(b"base64\r\n\r\n", b"base64\r\n..\r\n"),
    "part with a blank before its colons": _MULTIPART[1].replace(b"Content-Transfer-Encoding:", b"Content-Transfer-Encoding :"),
    "part in LF without a blank line": _MULTIPART[1].replace(b"base64\r\n\r\n", b"base64\r\n").replace(b"\r\n", b"\n"),
    "part with a fold of one blank": _MULTIPART[1].replace(b"Content-Transfer", b"X-A: b\r\n \r\nContent-Transfer"),
    "part whose type is folded behind a blank": _MULTIPART[1].replace(
        b"Content-Type: application", b"Content-Type:\r\n\t\r\n application"),
    "part that ends in a semicolon": _MULTIPART[1].replace(b"octet-stream\r\n", b"octet-stream;\r\n"),
    "part with an open quote": _MULTIPART[1].replace(b"octet-stream\r\n", b"octet-stream; name=\"x\r\n"),
    "part with two types": _MULTIPART[1].replace(b"octet-stream\r\n", b"octet-stream\r\nContent-Type: image/png\r\n"),
    "message behind an unknown field": (
        b"--BB\r\nContent-Type: message/rfc822\r\n\r\nX-Unknown: inside\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n%s--BB--\r\n"),
    "message in lower case": (
        b"--BB\r\nContent-Type: message/rfc822\r\n\r\ncontent-type: application/octet-stream\r\n"
        b"content-transfer-encoding: base64\r\n\r\n%s--BB--\r\n"),
    "message without a blank line": (
        b"--BB\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n%s--BB--\r\n"),
}


def _octets(encoding):
    return b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: %s\r\n" % encoding


# The form of the payload in a message with a header section: the MIME fields, and the body.
_BODIES = {
    "base64": lambda p: (_octets(b"base64"), _base64(p)),
    "gz in base64": lambda p: (_octets(b"base64"), _base64(gzip.compress(p, mtime=0))),
    "quoted-printable": lambda p: (_octets(b"quoted-printable"), quopri.encodestring(p).replace(b"\n", b"\r\n") + b"\r\n"),
    "multipart": lambda p: (_MULTIPART[0], _MULTIPART[1] % _base64(p)),
    "uuencode": lambda p: (b"Content-Type: text/plain\r\n", _uuencoded(p)),
    # MIME fields that libclamav reads in its own way.
    "a semicolon at the end": lambda p: (
        _octets(b"base64") + b"Content-Disposition: attachment; filename=x;\r\n", _base64(p)),
    "an empty parameter": lambda p: (
        b"Content-Type: application/octet-stream;\r\nContent-Transfer-Encoding: base64\r\n", _base64(p)),
    "an open quote": lambda p: (
        b"Content-Type: application/octet-stream; name=\"x\r\nContent-Transfer-Encoding: base64\r\n", _base64(p)),
    "two types": lambda p: (
        _MULTIPART[0] + b"Content-Type: application/octet-stream\r\n", _MULTIPART[1] % _base64(p)),
    "a pad in front": lambda p: (_octets(b"base64"), b"==" + _base64(p)),
    "signed": lambda p: (_MULTIPART[0].replace(b"mixed", b"signed"), _MULTIPART[1] % _base64(p)),
    "parallel": lambda p: (_MULTIPART[0].replace(b"mixed", b"parallel"), _MULTIPART[1] % _base64(p)),
    "message/global": lambda p: (
        b"Content-Type: message/global\r\n", b"Subject: inside\r\n" + _octets(b"base64") + b"\r\n" + _base64(p)),
}
for _name, _body in _NESTED.items():
    _BODIES[_name] = lambda p, body=_body: (_MULTIPART[0], body % _base64(p))
# The payload as the whole message, without any field.
_WHOLE = {
    "file": lambda p: p, "uuencode": _uuencoded, "gz": lambda p: gzip.compress(p, mtime=0), "bz2": bz2.compress,
    "xz": lzma.compress, "tar": _tar, "zip": _zip, "tar.gz": lambda p: gzip.compress(_tar(p), mtime=0),
}
_SEPARATORS = {
    "blank line": b"\r\n", "nothing": b"", "a text": b"hello\r\n", "one blank": b" \r\n", "a tab": b"\t\r\n",
    "a colon": b":\r\n", "dots": b"..\r\n", "form feed": b"\f\r\n", "vertical tab": b"\v\r\n", "spaced field": b"X-Foo : y\r\n",
    "CR CR LF": b"\r\r\n", "CR": b"\r", "LF": b"\n", "8-bit field": b"X-\xe9: y\r\n", "From": b"From a@b Mon\r\n",
    ">From": b">From a@b\r\n", "nameless": b": x\r\n", "blank and text": b" \r\nhello\r\n", "NUL": b"\0\r\n",
}
# What comes before all other fields.
_FIRST = {
    "": b"", "mailbox": b"From a@b Mon Jan  1 00:00:00 2026\r\n", "folded": b" folded\r\n", "spaced": b"X-A : b\r\n",
    "unknown fields": b"".join(b"X-Padding-%03d: nothing that a scanner would know\r\n" % n for n in range(70)),
    "text": b"hello world\r\n", "blank": b" \r\n",
}
_LINE_ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r"}


@dataclass(frozen=True)
class Shape:
    name: str
    infected: bytes  # content, before dot-stuffing
    clean: bytes

    def content(self, payload_is_eicar):
        return self.infected if payload_is_eicar else self.clean


def _magic(rng):
    """A first field that contains a magic of libclamav: at one offset, or at every possible shift."""
    magic = rng.choice([b"ustar", b"EFI PART"])
    if rng.random() < 0.3:
        return b"".join(b"X-M%d: %s%s\r\n" % (n, b"q" * n, magic * 40) for n in range(len(magic)))
    target = 257 if magic == b"ustar" else 512
    # As if some number of bytes came before the message.
    front = rng.choice([0, 1, 64, 65, 100, 128, 193, 200, 256, rng.randrange(0, 257)])
    return b"X-P: " + b"q" * max(0, target - front - 5) + magic + b"\r\n"


def _compose(rng, payload, parts):
    first, fields, encoding, separator, ends = parts
    mime, body = _BODIES[encoding](payload)
    usual = b"From: Ada <ada@example.com>\r\nSubject: a shape\r\nMIME-Version: 1.0\r\n"
    if fields == "spaced colons":
        mime = mime.replace(b": ", b" : ")
    elif fields == "only MIME":
        usual = b""
    elif fields == "folded":
        mime = mime.replace(b": ", b":\r\n\t")
    elif fields == "upper case":
        mime = mime.replace(b"Content-Type", b"CONTENT-TYPE").replace(b"Content-Transfer-Encoding", b"content-transfer-encoding")
    head = first + usual + mime
    text = head + _SEPARATORS[separator] + body
    if ends == "LF in the header":
        return head.replace(b"\r\n", b"\n") + _SEPARATORS[separator] + body
    if ends == "LF in the body":
        return head + _SEPARATORS[separator] + body.replace(b"\r\n", b"\n")
    # The end of the message is always CRLF: mail data cannot end otherwise.
    return text.replace(b"\r\n", _LINE_ENDS[ends]).rstrip(b"\r\n") + b"\r\n"


def shapes(seed, count):
    """`count` shapes, all different. The first ones are every separator and every whole file; the rest is random."""
    rng = random.Random(seed)
    made = {}

    def add(name, infected, clean):
        made.setdefault(infected, Shape(name, infected, clean))

    for name, make in _WHOLE.items():
        add(f"all of it: {name}", make(eicar()), make(harmless()))
    for encoding in _BODIES:
        for separator in _SEPARATORS:
            parts = (b"", "usual", encoding, separator, "CRLF")
            add(f"{encoding}, {separator}", _compose(rng, eicar(), parts), _compose(rng, harmless(), parts))
        for first_end in (True, False):
            head, body = _BODIES[encoding](eicar())
            clean_body = _BODIES[encoding](harmless())[1]
            dotted = [(b"From: a\n" + head + b"\n" + one).replace(b"\r\n", b"\n") for one in (body, clean_body)]
            if first_end:
                # In the body only, because the header section tells how the rest is encoded.
                dotted = [text[:text.index(b"\n\n")] + re.sub(rb"\n(?=[^\n])", b"\n.", text[text.index(b"\n\n"):]) for text in dotted]
            else:
                dotted = [re.sub(rb"\n(?=[^\n])", b"\n.", text) for text in dotted]
            add(f"{encoding}, dots behind LF", *[text + b"\r\n" for text in dotted])
    while len(made) < count:
        first_name = rng.choice([*_FIRST, "magic", "magic"])
        first = _magic(rng) if first_name == "magic" else _FIRST[first_name]
        fields = rng.choice(["usual", "usual", "spaced colons", "only MIME", "folded", "upper case"])
        encoding = rng.choice(list(_BODIES))
        separator = rng.choice([*_SEPARATORS, "blank line", "blank line", "blank line"])
        ends = rng.choice(["CRLF", "CRLF", "CRLF", "LF", "CR", "LF in the header", "LF in the body"])
        if encoding == "message/global" and ends == "CR":
            continue  # its own header section may lack room for the field that libclamav looks for: no verdict
        parts = (first, fields, encoding, separator, ends)
        name = f"{first_name or 'usual'} first, {fields}, {encoding}, {separator}, {ends}"
        add(name, _compose(rng, eicar(), parts), _compose(rng, harmless(), parts))
    return list(made.values())[:count]


# --- An independent reader: what a mail program finds in the text that a server has stored.

def _is_field(line):
    name, colon, _ = line.partition(b":")
    return bool(colon) and bool(name.rstrip(b" \t")) and all(33 <= c <= 126 for c in name.rstrip(b" \t"))


def _mended(lines):
    """Postfix's cleanup: inserts a blank line before the first line that is not a field."""
    for number, line in enumerate(lines):
        if line == b"":
            break
        folded = line[:1] in (b" ", b"\t") and number > 0
        if not folded and not _is_field(line):
            return [*lines[:number], b"", *lines[number:]]
    return lines


def stored_texts(content):
    """The text of a message as servers store it."""
    lines = [line[:-1] if line.endswith(b"\r") else line for line in content.split(b"\n")]
    for one in (lines, _mended(lines)):
        yield b"\n".join([b"Received: from client by mx.example.net", *one])


def _uudecoded(text):
    data, inside = b"", False
    for line in text.replace(b"\r", b"\n").split(b"\n"):
        if inside and line.startswith(b"end"):
            return data
        if inside:
            try:
                data += binascii.a2b_uu(line)
            except binascii.Error:
                return data
        inside = inside or line.startswith(b"begin ")
    return data


# Python has two readers, which differ.
_POLICIES = (email.policy.compat32, email.policy.default)


def reader_finds(content):
    """Whether a mail program shows the EICAR string as a file or at the start of a file."""
    for text in stored_texts(content):
        for part in (part for policy in _POLICIES for part in email.message_from_bytes(text, policy=policy).walk()):
            try:
                data = part.get_payload(decode=True)
            except (AttributeError, ValueError, KeyError, IndexError):  # errors inside the library
                continue
            if not data:
                continue
            if data[:2] == b"\x1f\x8b":
                try:
                    data = gzip.decompress(data)
                except (OSError, EOFError):
                    continue
            if data.startswith(eicar()) or _uudecoded(data).startswith(eicar()):
                return True
    return False
