"""Messages with a virus, changed at random places: if a mail program still finds the virus, they are not delivered as clean."""
import os

from harness import ScenarioCase, main
from harness.mutants import mutants

COUNT = int(os.environ.get("BIVALVE_MUTANTS", "1000"))
SEED = int(os.environ.get("BIVALVE_SEED", "20"))


class Mutants(ScenarioCase):
    bivalve_only = True
    class_timeout = 900

    def test_what_a_reader_finds_is_not_delivered_as_clean(self):
        sink = self.sink(extensions=["8BITMIME", "PIPELINING", "CHUNKING"])
        daemon = self.bivalved(sink, self.shared_clamd(), {"Header": "", "Action": "bounce"})
        wrong = []
        with daemon.client() as client:
            client.ehlo()
            for mutant in mutants(SEED, COUNT):
                for is_eicar in (True, False):
                    content = mutant.content(is_eicar)
                    before = len(sink.received)
                    client.mail()
                    client.rcpt()
                    reply = client.bdat(content, last=True)
                    taken = len(sink.received) > before
                    fault = None
                    if taken != (reply.code == 250):
                        fault = "reply and fate do not agree"
                    elif is_eicar and taken:
                        fault = "a reader finds EICAR in it"
                    elif not is_eicar and (not taken or sink.received[-1].content != content):
                        fault = "the harmless twin was not delivered as it is"
                    if fault:
                        wrong.append(f"{mutant.name} of seed {SEED}: {fault}; {reply}: {content!r}")
        if wrong:
            self.fail(f"{len(wrong)} of {COUNT} are wrong; the first ones:\n" + "\n".join(wrong[:5]))
        self.note(f"{COUNT} mutants stopped, their twins delivered")


if __name__ == "__main__":
    main()
