#!/usr/bin/env python3
"""The Debian package made of the built programs: what is in it, where, who owns it, and what lintian says.

    tests/tools/package_test.py BUILD-DIRECTORY

Status 77 if a Debian package cannot be made. `tools/package --try` tests that it works in a fresh Debian.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = {"usr/sbin/bivalved", "usr/bin/bivalvectl", "usr/libexec/bivalve/smtp_source",
            "usr/libexec/bivalve/smtp_sink", "usr/libexec/bivalve/null_clamd"}


def output(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Path(tempfile.mkdtemp(prefix="bivalve-package."))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        # The modes in the package are fixed, and do not depend on who builds it.
        lines = output(PROJECT / "tools/package", "--tree", sys.argv[1], "--into", cls.directory / "deb", umask=0o077)
        cls.package = Path(lines.splitlines()[-1])
        cls.root = cls.directory / "root"
        output("dpkg-deb", "--extract", cls.package, cls.root)
        output("dpkg-deb", "--control", cls.package, cls.directory / "control")
        cls.listing = {}  # path without its leading ./ -> mode and owner
        for line in output("dpkg-deb", "--contents", cls.package).splitlines():
            mode, owner, _, _, _, path = line.split(None, 5)
            cls.listing[path.split(" -> ")[0][2:].rstrip("/")] = (mode, owner)

    def test_has_every_program_man_page_unit_and_example(self):
        wanted = set(PROGRAMS) | {"etc/bivalved.conf", "usr/libexec/bivalve/clamsmtpd",
                                  "usr/share/doc/bivalve/copyright", "usr/share/doc/bivalve/changelog.Debian.gz"}
        for page in (PROJECT / "appliance/man").glob("*.[0-9]"):
            wanted.add(f"usr/share/man/man{page.name[-1]}/{page.name}.gz")
        for schema in (PROJECT / "appliance/man").glob("*.schema.json"):
            wanted.add(f"usr/share/doc/bivalve/{schema.name}")
        for unit in (PROJECT / "appliance/systemd").glob("bivalved.*"):
            wanted.add(f"lib/systemd/system/{unit.name}")
        for example in (PROJECT / "appliance/examples").rglob("*"):
            wanted.add(f"usr/share/doc/bivalve/examples/{example.relative_to(PROJECT / 'appliance/examples')}")
        self.assertEqual(wanted - set(self.listing), set())

    def test_belongs_to_root_and_nobody_else_may_write(self):
        for path, (mode, owner) in self.listing.items():
            self.assertEqual(owner, "root/root", path)
            program = path in PROGRAMS
            expected = ("l" if mode[0] == "l" else "drwxr-xr-x" if mode[0] == "d" else
                        "-rwxr-xr-x" if program else "-rw-r--r--")
            self.assertTrue(mode.startswith(expected), f"{path}: {mode}")

    def test_programs_run_and_are_stripped(self):
        for program in PROGRAMS:
            symbols = output("nm", self.root / program, stderr=subprocess.DEVNULL)
            self.assertEqual(symbols, "", program)
        self.assertRegex(output(self.root / "usr/sbin/bivalved", "-v"), r"^bivalved \(version [0-9.]+\)")
        link = self.root / "usr/libexec/bivalve/clamsmtpd"
        self.assertEqual(link.resolve(), (self.root / "usr/sbin/bivalved").resolve())
        self.assertRegex(output(link, "-v"), r"^clamsmtpd ")

    def test_its_configuration_has_no_problems(self):
        # The directory is made when the package is installed.
        state = self.root / "var/lib/bivalve"
        state.mkdir(parents=True, exist_ok=True)
        here = self.root / "here.conf"
        here.write_text((self.root / "etc/bivalved.conf").read_text().replace("/var/lib/bivalve", str(state)))
        self.addCleanup(here.unlink)
        check = subprocess.run([self.root / "usr/sbin/bivalved", "--check-config", "-f", here],
                               check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((check.returncode, check.stdout), (0, ""))

    def test_its_units_name_its_programs(self):
        for unit in (self.root / "lib/systemd/system").iterdir():
            for program in re.findall(r"^Exec\w+=[-+!@:]*(/\S+)", unit.read_text(), re.M):
                # The system's own programs (such as kill) are not in the package.
                if "bivalve" in program:
                    self.assertIn(program[1:], self.listing, unit.name)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_systemd_understands_its_service_and_finds_it_fenced_in(self):
        unit = self.directory / "bivalved.service"
        text = (self.root / "lib/systemd/system/bivalved.service").read_text()
        # The programs are not installed at their paths here.
        unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M).replace("/usr/", f"{self.root}/usr/"))
        for arguments in (["verify"], ["security", "--offline=yes", "--threshold=20"]):
            done = subprocess.run(["systemd-analyze", "--no-pager", *arguments, unit], check=False, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
            if arguments == ["verify"]:
                # Warnings (a misspelled setting) also end with 0. Neighbouring units are not ours.
                self.assertNotIn("bivalved.service", done.stdout)

    def test_depends_on_the_libraries_that_its_programs_need(self):
        control = (self.directory / "control/control").read_text()
        for library in ("libc6", "libstdc++6", "liburing2", "libssl3"):
            self.assertRegex(control, rf"(?m)^Depends: .*{re.escape(library)}\b")
        self.assertEqual((self.directory / "control/conffiles").read_text(), "/etc/bivalved.conf\n")
        for script in ("postinst", "prerm", "postrm"):
            output("sh", "-n", self.directory / "control" / script)

    def test_lintian_has_no_errors(self):
        if shutil.which("lintian") is None:
            self.skipTest("lintian is not installed")
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", self.package], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    missing = [p for p in ("cpack", "dpkg-deb", "dpkg-shlibdeps", "nm") if shutil.which(p) is None]
    built = Path(sys.argv[1]) / "bin"
    missing += [p for p in map(os.path.basename, PROGRAMS) if not (built / p).exists()]
    if missing:
        print("not there:", *missing)
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
