"""The demonstration behind tools/quickstart: three messages through clamd and Bivalve, and their outcomes.

It uses the same harness as the scenario tests, so that it shows what they test.
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "scenario"))

from harness import (Bivalved, Clamd, Port, SmtpClient, SmtpSink, check_accounting,  # noqa: E402
                     compose, infected_attachment, without_header)
from harness.clamd import build_database  # noqa: E402
from harness.messages import TEST_FILES  # noqa: E402

SIGNATURES = Path("/var/lib/clamav")
# Loading the published signatures takes a while, above all on a small machine.
SCANNER_SECONDS = 300


class Stopped(Exception):
    """Ctrl-C, or another request to end."""


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}")


def installed_signatures():
    """The system's signature database, if one has been downloaded and may be read."""
    files = [p for p in SIGNATURES.glob("*.c[lv]d")] if SIGNATURES.is_dir() else []
    return SIGNATURES if files and all(os.access(p, os.R_OK) for p in files) else None


def port(number):
    """The usual port, or another one if it is in use."""
    return Port(wanted=number)


class Demonstration:
    def __init__(self, directory):
        self.directory = directory
        self.wrong = []
        self.clamd = self.sink = self.daemon = None

    def expect(self, what, condition):
        """One thing that must be true; printed in either case."""
        print(f"  {'ok   ' if condition else 'WRONG'} {what}")
        if not condition:
            self.wrong.append(what)

    def start(self):
        database = installed_signatures()
        if database:
            print(f"clamd loads the signatures in {database} (half a minute or more)")
        else:
            database = build_database(self.directory / "signatures")
            print("No signature database is installed: clamd gets one that knows EICAR and ClamAV's test files")
        self.clamd = Clamd(self.directory / "clamd", database=database, ready_seconds=SCANNER_SECONDS)
        self.sink = SmtpSink(extensions=["PIPELINING", "8BITMIME", "SIZE 104857600", "CHUNKING"],
                             name="mail.example", port=port(10026))
        self.daemon = Bivalved(self.directory / "bivalve", self.sink.address, self.clamd.address,
                               {"Workers": "auto", "ClamTimeOut": None, "TimeOut": None}, port=port(10025),
                               stats_port=port(10027))
        self.daemon.start()
        print(f"client --> Bivalve {self.daemon.port} --> mail server {self.sink.address}\n"
              f"                 |\n               clamd {self.clamd.address}")

    def send(self, client, title, content):
        """Sends one message. Returns the reply, and what has newly arrived at the server."""
        heading(title)
        had = len(self.sink.received)
        started = time.monotonic()
        reply = client.deliver(content)
        milliseconds = (time.monotonic() - started) * 1000
        print(f"  sent {len(content):,} bytes; after {milliseconds:.0f} ms the client got: {reply}")
        return reply, self.sink.received[had:]

    def clean(self, client, title, content):
        reply, arrived = self.send(client, title, content)
        self.expect("the reply is the mail server's", reply.code == 250 and "queued" in reply.text)
        self.expect("one message has arrived", len(arrived) == 1)
        if arrived:
            lines = arrived[0].content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").splitlines()
            added = [x for x in lines if x.startswith("X-Virus-")]
            print(f"       with the header line  {added[0] if added else '(none)'}")
            self.expect("byte for byte the same otherwise",
                        len(added) == 1 and without_header(arrived[0].content) == content)

    def infected(self, client, title, content):
        reply, arrived = self.send(client, title, content)
        self.expect("the reply says that it was discarded", str(reply) == "250 Virus Detected; Discarded Email")
        self.expect("nothing has arrived", not arrived)

    def show(self):
        with SmtpClient(self.daemon.address) as client:
            client.ehlo("quickstart.example")
            self.clean(client, "A clean message", compose(b"Hello!\r\n.a line with a dot\r\n", subject="Clean"))
            self.infected(client, "EICAR, the test virus, as an attachment", infected_attachment())
            line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"
            self.clean(client, "A message of 20 MB",
                       compose(line * (20 * 1024 * 1024 // len(line)), subject="Large"))
            client.quit()

        heading("What Bivalve has logged")
        self.daemon.wait_log(r"status=VIRUS:\S*(?i:eicar)\S*")
        self.daemon.process.wait_lines(r"status=CLEAN$", 2)
        for text in self.daemon.process.lines:
            if "accepted connection" in text or "status=" in text:
                print("  " + text)

        heading(f"What it has counted (http://{self.daemon.stats_port}/stats)")
        stats = self.daemon.wait_stats("the counters", lambda s: s["messages"]["received"] == 3
                                       and s["messages"]["in_progress"] == 0)
        check_accounting(stats)
        messages = stats["messages"]
        print("  messages  " + ", ".join(f"{name} {value:,}" for name, value in messages.items() if value))
        scanner = stats["scanners"][0]
        print(f"  scanner   {scanner['address']}: {scanner['scans']} scans, median {scanner['latency_us']['p50']} us")
        print("  viruses   " + ", ".join(f"{name} {count}" for name, count in stats["viruses"].items()))
        self.expect("three received, two delivered, one dropped",
                    (messages["received"], messages["delivered"], messages["dropped"]) == (3, 2, 1))
        self.expect("nothing is left in the temporary directories",
                    not self.daemon.temporary_files() and not self.clamd.temporary_files())

    def go_on(self):
        heading("Now try it by hand")
        host, number = self.daemon.address
        print(f"  telnet {host} {number}\n"
              f"  swaks --server {self.daemon.port} --to you@example.net --attach @{TEST_FILES / 'clam.zip'}\n"
              f"  curl http://{self.daemon.stats_port}/stats\n"
              f"  configuration: {self.daemon.configuration}\n\n"
              "What arrives and what is logged will show here. Ctrl-C ends everything.\n", flush=True)
        shown = len(self.daemon.process.lines)
        self.sink.received.clear()
        while self.daemon.process.running():
            lines = self.daemon.process.lines
            for text in lines[shown:]:
                if "accepted connection" in text or "status=" in text:
                    print("  " + text, flush=True)
            shown = len(lines)
            while self.sink.received:
                message = self.sink.received.pop(0)
                subject = next((x for x in message.content[:4000].decode("utf-8", "replace").splitlines()
                                if x.lower().startswith("subject:")), "(no subject)")
                print(f"  arrived: {len(message.content):,} bytes from <{message.sender}> for "
                      f"{', '.join(message.recipients)}; {subject}", flush=True)
            time.sleep(0.2)
        self.expect("Bivalve runs until it is stopped", False)

    def stop(self):
        """Ends everything, whatever its state. A daemon that does not end cleanly counts as an error."""
        if self.daemon and self.daemon.process:
            try:
                self.daemon.stop()
            except AssertionError as failure:
                self.wrong.append(str(failure))
            self.daemon.kill()
        for peer in (self.sink, self.clamd):
            if peer:
                peer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true")
    once = parser.parse_args().once

    def stop(*_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)

    directory = Path(tempfile.mkdtemp(prefix="bivalve-quickstart."))
    directory.chmod(0o755)
    demonstration = Demonstration(directory)
    try:
        demonstration.start()
        demonstration.show()
        if not once and not demonstration.wrong:
            demonstration.go_on()
    except Stopped:
        print("\nStopping.")
        if once:
            demonstration.wrong.append("it was stopped before its end")
    except (AssertionError, OSError, EOFError) as failure:
        demonstration.wrong.append(str(failure) or repr(failure))
        if demonstration.daemon and demonstration.daemon.process:
            print("\n".join(demonstration.daemon.process.lines[-20:]), file=sys.stderr)
    finally:
        try:
            demonstration.stop()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    if demonstration.wrong:
        print("\nThis did not come out right:")
        for what in demonstration.wrong:
            print(f"  {what}")
        return 1
    print("\nEverything came out right; nothing is left running." if once else "\nNothing is left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
