"""The machine's description in a record, and what must be installed, built and allowed before a run."""
import hashlib
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from . import PROJECT
from harness.process import binary_directory, tool

# Programs, each with its Debian package.
NEEDED = [("smtp-source", "postfix"), ("smtp-sink", "postfix")]
PEERS = {"haproxy": ("haproxy", "haproxy"), "clamsmtpd": ("clamsmtpd", "clamsmtp"),
         "clamd": ("clamd", "clamav-daemon")}
PLOTS = ("gnuplot", "gnuplot-nox")
TRACER = ("perf", "linux-perf")
CHECK_COUNTERS = [TRACER, ("valgrind", "valgrind")]
COUNTERS = [*CHECK_COUNTERS, ("strace", "strace")]

_PROGRAMS = ("bivalved", "null_clamd", "smtp_source", "smtp_sink")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class Missing(Exception):
    """Something that the run needs is missing; the text says what."""


def find(program):
    """The path of an installed program, or None."""
    return shutil.which(program, path=_PATH)


def install(pairs, *, optional=False):
    """Installs the missing packages of those programs, by tools/setup. Required programs must be there afterwards."""
    missing = sorted({package for program, package in pairs if find(program) is None})
    if not missing:
        return
    setup = PROJECT / "tools/setup"
    if setup.exists():
        subprocess.run(["bash", "-c", '. tools/setup; install_packages "$@"', "setup",
                        *(["--optional"] if optional else []), *missing], cwd=PROJECT, check=False)
    if not optional:
        require(pairs)


def require(pairs):
    """Raises Missing when one of the programs is not installed."""
    missing = sorted({package for program, package in pairs if find(program) is None})
    if missing:
        raise Missing("These Debian packages are needed: " + " ".join(missing))


def build():
    """Builds the programs for a run, with the release preset."""
    built = subprocess.run(["bash", "-c", '. tools/setup; build "$@"', "setup", "release", *_PROGRAMS], cwd=PROJECT,
                           check=False)
    if built.returncode != 0:
        raise Missing("The release build failed; --no-build measures what was built before")


def check_built():
    for name in ("bivalved", "null_clamd"):
        if tool(name) is None:
            raise Missing(f"{name} has not been built in {os.path.relpath(binary_directory(), PROJECT)}")


def raise_descriptor_limit(wanted=131072):
    """Asks for as many descriptors as `wanted`; returns how many each program may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (wanted, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _output(*argv):
    try:
        run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=20, cwd=PROJECT)
        return run.stdout.decode("utf-8", "backslashreplace").strip() if run.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def _package_version(package):
    return _output("dpkg-query", "-W", "-f=${Version}", package)


def describe():
    """The machine, the kernel, the commit and the versions of all programs involved."""
    model = next((line.partition(":")[2].strip() for line in (_read("/proc/cpuinfo") or "").splitlines()
                  if line.startswith("model name")), platform.machine())
    commit = _output("git", "rev-parse", "HEAD")
    changed = _output("git", "status", "--porcelain")
    daemon = tool("bivalved")
    return {
        "cpu": model, "cpus": os.cpu_count(), "memory_bytes": memory_bytes(), "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME"),
        "virtual": _read("/sys/hypervisor/type") or ("yes" if "hypervisor" in (_read("/proc/cpuinfo") or "") else "no"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average_at_start": os.getloadavg()[0],
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "commit": commit, "changed_since_commit": bool(changed) if changed is not None else None,
        "bivalved_sha256": hashlib.sha256(daemon.read_bytes()).hexdigest() if daemon else None,
        "versions": {name: _package_version(name) for name in
                     ("postfix", "haproxy", "clamsmtp", "clamav-daemon", "liburing2", "g++")},
    }


def short_commit():
    return _output("git", "rev-parse", "--short=10", "HEAD") or "uncommitted"
