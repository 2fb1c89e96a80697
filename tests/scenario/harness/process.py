"""Programs that a test starts: in a process group of their own, ended with the test, read line by line."""
import ctypes
import os
import re
import resource
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

# For builds with sanitizers or machines under load: limits grow, and figures of speed and memory are not checked.
SLOW = os.environ.get("BIVALVE_SLOW", "") not in ("", "0")
# The only limit for everything that a test waits for. Nothing that works comes near it.
TIMEOUT = float(os.environ.get("BIVALVE_TIMEOUT", "30")) * (3 if SLOW else 1)

# A test and its programs hold thousands of connections; the usual soft limit is 1,024 descriptors.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

PROJECT = Path(__file__).resolve().parents[3]

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER = 1, 38, 22, 36


def binary_directory():
    """Where the programs under test are: BIVALVE_BIN, otherwise the release build."""
    return Path(os.environ.get("BIVALVE_BIN") or PROJECT / "build/release/bin").resolve()


def tool(name):
    """The path of one of the project's own programs, or None if it has not been built."""
    path = binary_directory() / name
    return path if path.is_file() and os.access(path, os.X_OK) else None


def wait_until(what, condition, timeout=None):
    """Calls `condition` until it returns something true, and returns that. `what` names it in a failure message."""
    deadline = time.monotonic() + (timeout or TIMEOUT)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout or TIMEOUT:.0f} s for {what}")
        time.sleep(0.01)


def forbid_io_uring(error_number):
    """Returns a function for the child side of a fork: io_uring_setup fails with `error_number` from then on.

    This is what a container's seccomp profile does. The call has the number 425 on every architecture that got it
    with Linux 5.1 or later, so the filter need not check the architecture.
    """
    def instruction(code, jump_true, jump_false, value):
        return struct.pack("HBBI", code, jump_true, jump_false, value)

    program = b"".join([
        instruction(0x20, 0, 0, 0),                              # load the system call's number
        instruction(0x15, 0, 1, 425),                            # io_uring_setup?
        instruction(0x06, 0, 0, 0x00050000 | error_number),      # yes: fail with error_number
        instruction(0x06, 0, 0, 0x7FFF0000),                     # no: allow
    ])
    buffer = ctypes.create_string_buffer(program, len(program))
    descriptor = ctypes.create_string_buffer(struct.pack("HL", len(program) // 8, ctypes.addressof(buffer)))

    def apply():
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            os._exit(126)
        if _libc.prctl(_PR_SET_SECCOMP, 2, descriptor, 0, 0) != 0:
            os._exit(126)
    apply.keep = (buffer, descriptor)  # the kernel reads them in the child, long after this function has returned
    return apply


def _child_setup(before_exec, parent):
    """Runs between fork and exec, so that the programs of a killed test are killed too."""
    def setup():
        if before_exec:
            before_exec()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after any change of the user, which resets it
        if os.getppid() != parent:
            os._exit(125)
    return setup


def run_program(argv, *, before_exec=None, timeout=None, stdin=b"", env=None):
    """Runs a program to its end. Returns a CompletedProcess whose stdout has both outputs as text."""
    return subprocess.run([str(a) for a in argv], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout or TIMEOUT, process_group=0, check=False,
                          env={**os.environ, **(env or {})},
                          preexec_fn=_child_setup(before_exec, os.getpid()))


def adopt_orphans():
    """From now on we inherit processes whose parent has ended, so that we can wait for the end of a successor."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def process_runs(pid):
    """Whether the process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_orphan(pid, timeout):
    """The exit status of a process that is our child, or becomes it when its parent ends (adopt_orphans)."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            if not Path(f"/proc/{pid}").exists():
                return 0  # already waited for
        time.sleep(0.005)
    raise TimeoutError


class Process:
    """A running program and its output: the lines of standard output and error together."""

    def __init__(self, name, argv, *, before_exec=None, env=None, directory=None):
        self.name = name
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        self._followers = []  # numbers of its successors, in order
        # PDEATHSIG depends on the thread that forks, so programs are started from a thread that outlives them.
        self.popen = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            process_group=0, cwd=directory, env={**os.environ, **(env or {})},
            preexec_fn=_child_setup(before_exec, os.getpid()))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self):
        return self._followers[-1] if self._followers else self.popen.pid

    def follow(self, pid):
        """From now on the program is process `pid`, which the previous process has started. See adopt_orphans."""
        self._followers.append(pid)

    @property
    def output(self):
        return "\n".join(self.lines)

    def _read(self):
        for raw in self.popen.stdout:
            with self._changed:
                self.lines.append(raw.decode("utf-8", "backslashreplace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def running(self):
        if self._followers:
            return process_runs(self._followers[-1])
        return self.popen.poll() is None

    def wait_line(self, pattern, *, start=0, timeout=None):
        """Waits for a line that contains `pattern`, from line number `start` on. Returns the match."""
        found = self.wait_lines(pattern, 1, start=start, timeout=timeout)
        return found[0]

    def wait_lines(self, pattern, count, *, start=0, timeout=None):
        """Waits for `count` lines that contain `pattern`. Returns their matches."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + (timeout or TIMEOUT)
        with self._changed:
            while True:
                found = [m for m in map(expression.search, self.lines[start:]) if m]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if self._ended or left <= 0 or not self._changed.wait(left):
                    why = "it has ended" if self._ended else "time is over"
                    raise AssertionError(f"{self.name}: no line like {pattern!r} ({len(found)} of {count}), {why}; "
                                         f"its last lines:\n" + "\n".join(self.lines[-30:]))

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def wait(self, timeout=None):
        """Waits for the end and for the last line. Returns the exit status, negative for a signal."""
        try:
            status = self.popen.wait(timeout or TIMEOUT)
            for pid in self._followers:
                status = status or wait_orphan(pid, timeout or TIMEOUT)
        except (subprocess.TimeoutExpired, TimeoutError):
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout or TIMEOUT:.0f} s; its last lines:\n"
                                 + "\n".join(self.lines[-30:])) from None
        self._reader.join(TIMEOUT)
        self.popen.stdout.close()
        return status

    def kill(self):
        """Kills it at once. For clean-ups, and for tests in which a peer dies."""
        for pid in self._followers:
            if process_runs(pid):
                os.kill(pid, signal.SIGKILL)
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        self.popen.stdout.close()

    def end(self):
        """Asks it to end, and returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def memory_bytes(self, field="VmRSS"):
        """One of the sizes in /proc/PID/status."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field} in the status of {self.name}")
