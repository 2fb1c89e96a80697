"""bivalvectl, the operator's tool: running it, and a fake daemon that answers it."""
import http.server
import json
import subprocess
import threading

from .case import ScenarioCase
from .process import TIMEOUT, tool

# Characters that a terminal obeys, or that turn or hide text.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\n\u202egnp.exe\u200b\x7f"


class CtlCase(ScenarioCase):
    bivalve_only = True

    def ctl(self, *arguments, status=0):
        """Runs bivalvectl; returns standard output and error. Neither may contain anything that a terminal obeys."""
        executable = tool("bivalvectl")
        if executable is None:
            self.skipTest("bivalvectl is not built")
        done = subprocess.run([executable, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def json(self, *arguments):
        """The output of --json, which must be ASCII without control characters."""
        out, _ = self.ctl(*arguments, "--json")
        self.assertNotRegex(out, rb"[^\x20-\x7e\n]")
        return json.loads(out)

    def assertHarmless(self, output):
        text = output.decode()  # must be UTF-8
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]")


class ScriptedDaemon:
    """A statistics address whose answers a test defines: a document, or a function that makes one."""

    def __init__(self):
        self.documents = {}
        self.asked = []
        daemon = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                daemon.asked.append(self.path)
                answer = daemon.documents.get(self.path.partition("?")[0])
                answer = answer() if callable(answer) else answer
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        Handler.protocol_version = "HTTP/1.1"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
