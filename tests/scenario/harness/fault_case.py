"""Shared by the fault scenarios."""
from .case import ScenarioCase
from .scripted_clamd import ScriptedClamd


def proven(stats):
    return all(one["canary"] == "found" for one in stats["scanners"])


class FaultCase(ScenarioCase):
    bivalve_only = True

    def daemon(self, clamd=None, settings=None, sink=None, **options):
        self.server = sink or self.sink()
        daemon = self.bivalved(self.server, clamd, settings, **options)
        return daemon

    def hold(self, client, content):
        """Sends a message and does not wait for the reply."""
        for reply in (client.mail(), client.rcpt()):
            self.assertReply(reply, 250)
        self.assertReply(client.command("DATA"), 354)
        client.content(content)

    def scripted(self, answer, **options):
        scanner = ScriptedClamd(self._path_made("scripted"), answer, **options)
        self.addCleanup(scanner.close)
        return scanner

    def _path_made(self, name):
        path = self._path(name)
        path.mkdir()
        return path
