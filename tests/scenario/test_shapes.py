"""Nothing hides from the scanner: if a mail reader finds the virus in a message, or clamd in the plain file, the message is
not delivered as clean, whatever it looks like. Its harmless twin arrives byte for byte."""
import os
import re

from harness import ScenarioCase, eicar, main
from harness.messages import stuffed
from harness.shapes import reader_finds, shapes

COUNT = int(os.environ.get("BIVALVE_SHAPES", "700"))
_BARE_DOT = re.compile(rb"(?:(?<!\r)\n|\r)\.")
# Some server does not see the line before the final dot end at the same place.
_AMBIGUOUS_END = re.compile(rb"[\0\r](?:\r\n)?\Z")
SEED = int(os.environ.get("BIVALVE_SEED", "20"))


class _Shapes:
    """Every shape with one way in and one way out. Subclasses choose them."""

    bivalve_only = True
    class_timeout = 900
    chunking = False  # the server's
    bdat = False      # the client's
    settings = {}

    def deliver(self, client, content):
        client.mail()
        client.rcpt()
        # By DATA, dots are added behind CRLF only; others stay as they are, like from a client that wants its lines to be
        # read in two ways.
        return client.bdat(content, last=True) if self.bdat else client.data(content)

    def test_what_a_reader_finds_is_not_delivered_as_clean(self):
        sink = self.sink(extensions=["8BITMIME", "PIPELINING", *(["CHUNKING"] if self.chunking else [])])
        clamd = self.shared_clamd()
        daemon = self.bivalved(sink, clamd, {"Header": "", "Action": "bounce", **self.settings})
        found = delivered = rejected = 0
        wrong = []
        with daemon.client() as client:
            client.ehlo()
            for number, shape in enumerate(shapes(SEED, COUNT)):
                for is_eicar in (True, False):
                    content = shape.content(is_eicar)
                    before = len(sink.received)
                    reply = self.deliver(client, content)
                    taken = len(sink.received) > before
                    visible = is_eicar and self.is_visible(clamd, content)
                    fault = None
                    if taken != (reply.code == 250):
                        fault = "reply and fate do not agree"
                    elif b"5.5.2" in reply.raw:
                        rejected += 1
                        if not self.may_be_ambiguous(content):
                            fault = "nothing in it is ambiguous"
                    elif visible:
                        found += 1
                        if taken:
                            fault = "a reader finds EICAR in it"
                    elif not is_eicar:
                        delivered += 1
                        if not taken:
                            fault = "the harmless twin was not delivered"
                        elif sink.received[-1].content != self.as_sent(content):
                            fault = f"it arrived as {sink.received[-1].content!r}"
                    if fault:
                        wrong.append(f"shape {number} of seed {SEED} ({shape.name}, {'EICAR' if is_eicar else 'harmless'}): "
                                     f"{fault}; {reply}: {content[:250]!r}")
        if wrong:
            self.fail(f"{len(wrong)} are wrong; the first ones:\n" + "\n".join(wrong[:8]))
        self.note(f"{COUNT} shapes: {found} infected ones stopped, {delivered} clean ones delivered, {rejected} ambiguous")
        self.assertGreater(found, COUNT // 2)
        self.assertGreater(delivered, COUNT // 2)

    def is_visible(self, clamd, content):
        return reader_finds(self.as_sent(content)) or "FOUND" in clamd.scan(content)

    def may_be_ambiguous(self, content):
        if self.bdat:
            return False
        return bool(_AMBIGUOUS_END.search(content) or (not self.chunking and _BARE_DOT.search(content)))

    def as_sent(self, content):
        """What a server stores that the client reaches directly: it also removes one dot from a line behind a bare LF."""
        if self.bdat:
            return content
        return re.sub(rb"(?<!\r)\n\.(?![\r\n\0])", b"\n", content) + (b"" if content.endswith(b"\r\n") else b"\r\n")


class ByDataToDATA(_Shapes, ScenarioCase):
    """The client's DATA, the server's DATA."""


class ByDataToBdat(_Shapes, ScenarioCase):
    """The client's DATA, the server's BDAT."""
    chunking = True


class ByBdatToBdat(_Shapes, ScenarioCase):
    """BDAT on both sides."""
    chunking = True
    bdat = True


class ByDataWithInstream(_Shapes, ScenarioCase):
    """By INSTREAM to clamd."""
    settings = {"ClamMethod": "instream"}


class Quick(ScenarioCase):
    """Tests of the reader itself."""

    def test_the_reader_reads(self):
        some = shapes(SEED, COUNT)
        self.assertGreater(sum(reader_finds(s.infected) for s in some), len(some) // 3)
        self.assertFalse(any(reader_finds(s.clean) for s in some))
        self.assertNotIn(eicar(), stuffed(some[20].infected))


if __name__ == "__main__":
    main()
