"""Messages with a virus in a part, changed at random places: fields, delimiters, line ends, encodings. Each comes with its
harmless twin. A change that spoils the message for every reader is left out; every other virus has to be found."""
import base64
import quopri
import random
import re

from .messages import eicar
from .shapes import Shape, harmless, reader_finds

_TYPES = [b"application/octet-stream", b"text/plain", b"text/html", b"image/png", b"audio/x-wav", b"video/mp4", b"font/woff",
          b"model/stl", b"application/x-msdownload", b"x-a/b", b"foo/bar", b"message/delivery-status", b"text/x-vcard"]
_CONTAINERS = [b"mixed", b"alternative", b"related", b"signed", b"report", b"digest", b"parallel", b"encrypted", b"form-data",
               b"appledouble", b"x-foo", b"byteranges", b"knowbot", b"mixed-replace"]
_MESSAGES = [b"rfc822", b"news", b"global", b"http", b"foo", b"delivery-status", b"partial", b"external-body", b"rfc822-headers"]
_BOUNDARIES = [b"BB", b"=_b", b"----=_Part_0_1.2", b"a" * 70, b"x-y", b"1", b"b:c", b"b,c", b"b+c"]

# Inserted anywhere.
_PIECES = [
    b";", b"; ", b'"', b"(", b")", b"(c)", b"\\", b" ", b"\t", b"\r\n ", b"\r\n\t", b"\r\n", b"\n", b"\r", b"\0", b"=", b":", b"/", b"-", b"--",
    b"*", b"*0", b"''", b",", b"\v", b"\f", b"\x80", b"=?utf-8?q?x?=", b"x" * 1000, b"y" * 997, b"; a=b", b";a=\"b\"", b"; name=x.com",
    b'; name="a;b"', b'; name="; boundary=CC"', b"; boundary=CC", b"boundary", b"; charset=x", b"X-A: b\r\n", b"X-A: b;\r\n", b"A\r\n",
    b"Content-Type: text/plain\r\n", b"Content-Type: multipart/mixed; boundary=CC\r\n", b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: 7bit\r\n", b"Content-Transfer-Encoding: x-y\r\n",
    b"Content-Disposition: attachment\r\n", b"Content-Disposition: inline;\r\n", b"Content-", b"begin 644 x\r\n", b"From a@b\r\n", b"Date: x\r\n",
    b"--CC\r\n", b"--CC--\r\n", b"--BB\r\n", b"--BB--\r\n", b"(x)--BB\r\n", b"-xBB\r\n", b"----BB\r\n", b"--BBB\r\n", b"--bb\r\n", b"--BB \r\n", b"--BB\t\r\n",
    b"==", b"=\r\n", b"AAAA\r\n", b"base64", b"quoted-printable",
]


def _encoded(rng, data):
    kind = rng.choice(["base64", "base64", "base64", "qp", "qp all", "7bit"])
    if kind == "base64":
        return b"base64", base64.encodebytes(data).replace(b"\n", b"\r\n")
    if kind == "qp":
        return b"quoted-printable", quopri.encodestring(data).replace(b"\n", b"\r\n") + b"\r\n"
    if kind == "qp all":
        return b"quoted-printable", b"=\r\n".join(b"=%02X" % c for c in data) + b"\r\n"
    return rng.choice([b"7bit", b"8bit", b"binary"]), data + b"\r\n"


def _leaf(rng, data):
    encoding, body = _encoded(rng, data)
    fields = [b"Content-Type: " + rng.choice(_TYPES) + rng.choice([b"", b"; name=e.com", b'; name="e.com"', b';\r\n\tname="e.com"']),
              b"Content-Transfer-Encoding: " + encoding]
    if rng.random() < 0.5:
        fields.append(b"Content-Disposition: attachment; filename=e.com")
    rng.shuffle(fields)
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def _container(rng, inside):
    boundary = rng.choice(_BOUNDARIES)
    quote = rng.choice([b"", b'"'])
    text = b"Content-Type: text/plain\r\n\r\nhello\r\n"
    parts = [inside, *[text] * rng.choice([0, 1, 1, 2])]
    rng.shuffle(parts)
    body = b"".join(b"--" + boundary + b"\r\n" + part for part in parts) + b"--" + boundary + b"--\r\n"
    return b"Content-Type: multipart/" + rng.choice(_CONTAINERS) + b"; boundary=" + quote + boundary + quote + b"\r\n\r\n" + body


def _message(rng, inside):
    return b"Content-Type: message/" + rng.choice([b"rfc822", b"rfc822", *_MESSAGES]) + b"\r\n\r\nFrom: b\r\nSubject: c\r\n" + inside


def _mail(rng, data):
    text = _leaf(rng, data)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        text = rng.choice([_container, _container, _message])(rng, text)
    return b"From: Ada <ada@example.com>\r\nMIME-Version: 1.0\r\n" + text


def _places(text):
    """A place where a change may matter: near fields, delimiters and line ends, or anywhere."""
    return [m.start() for m in re.finditer(rb"[;:=\"/-]|\r\n|[A-Z]", text)]


def _changed(rng, text):
    if len(text) < 80:
        return text
    kind = rng.choice(["insert", "insert", "insert", "letter", "letter", "delete", "line twice", "swap lines", "line away", "case", "LF", "cut"])
    at = rng.choice(_places(text)) + rng.choice([0, 0, 1, 2])
    lines = text.split(b"\r\n")
    number = rng.randrange(len(lines))
    if kind == "insert":
        return text[:at] + rng.choice(_PIECES) + text[at:]
    if kind == "letter":
        words = [m.start() for m in re.finditer(rb"(?<=[:=/] )\w|(?<=[:=/])\w|multipart|message|base64|quoted|[\"<>'](?=\r\n)", text)]
        at = rng.choice(words or [at]) + rng.randrange(0, 12)
        letter = bytes([rng.choice(b"abemstx64_-.,;\"'<>()")])
        return text[:at] + rng.choice([b"", letter, letter]) + text[at + rng.choice([0, 1]):]
    if kind == "delete":
        return text[:at] + text[at + rng.choice([1, 1, 2, 4]):]
    if kind == "line twice":
        lines.insert(rng.randrange(len(lines)), lines[number])
    elif kind == "swap lines":
        other = rng.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
    elif kind == "line away":
        del lines[number]
    elif kind == "case":
        lines[number] = rng.choice([bytes.upper, bytes.lower])(lines[number])
    elif kind == "LF":
        return b"\n".join(lines[:number]) + b"\r\n" + b"\r\n".join(lines[number:])
    else:
        return text[:max(at, 60)]
    return b"\r\n".join(lines)


def mutants(seed, count):
    """`count` messages in which a mail program finds the virus, all different."""
    rng = random.Random(seed)
    made = {}
    while len(made) < count:
        state = rng.random()
        infected, clean = (_mutated(random.Random(state), data) for data in (eicar(), harmless()))
        if infected not in made and reader_finds(infected):
            made[infected] = Shape(f"mutant {len(made)}", infected, clean)
    return list(made.values())


def _mutated(rng, data):
    text = _mail(rng, data)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        text = _changed(rng, text)
    return text.rstrip(b"\r\n") + b"\r\n"
