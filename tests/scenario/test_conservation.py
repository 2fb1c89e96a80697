"""A short round of the conservation run; tests/scenario/conservation is the long one."""
import os
import random

from harness import ScenarioCase, main
from harness.conservation import short_round


class Conservation(ScenarioCase):
    """Nothing is lost, doubled or let through, whatever dies. Prints the seed; BIVALVE_SEED sets it."""

    bivalve_only = True
    class_timeout = 400

    def round(self, ending):
        seed = int(os.environ.get("BIVALVE_SEED") or random.SystemRandom().randrange(1 << 30))
        self.note(short_round(self._path("run"), seed, ending))

    def test_while_everything_dies(self):
        self.round("calm")

    def test_sigterm_under_load(self):
        self.round("term")

    def test_kill_under_load(self):
        self.round("kill")


if __name__ == "__main__":
    main()
