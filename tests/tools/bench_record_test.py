#!/usr/bin/env python3
"""What perf/load/compare stores of a run: which cells are a record, how it is written, and that it can be drawn."""
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
PERF_LOAD = Path(__file__).resolve().parents[2] / "perf/load"
sys.path.insert(0, str(PERF_LOAD))

from bench import report  # noqa: E402  (the path must be set before)
from bench.cell import parse_cell  # noqa: E402


def measured(cell, rounds, rate=1000.0):
    """The figures of a cell on which two targets were measured this many times."""
    return report.figures({parse_cell(cell): {
        label: [{"messages_per_second": rate + number, "time_us": {"p50": 9626.5000001 + number},
                 "target_cpu_us_per_message": 50.123456789 + number}
                for number in range(rounds)]
        for label in ("haproxy", "bivalve")}})


def compare(*arguments):
    return subprocess.run([PERF_LOAD / "compare", "--no-install", "--no-build", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


class Record(unittest.TestCase):
    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="b."))
        self.addCleanup(shutil.rmtree, self.directory)

    def write(self, cells):
        path = self.directory / "compare.json"
        report.write_record(path, report.record("compare", {"cpus": 2}, cells, {"rounds": 3}, notes=[]))
        return path

    def test_a_record_has_no_cell_of_less_than_three_rounds(self):
        cells, short = report.complete(measured("10k:20:kept", 3) + measured("1k:1:new", 2))
        self.assertEqual([entry["cell"] for entry in cells], ["10k:20:kept"])
        self.assertEqual(short, ["1k:1:new"])

    def test_a_figure_of_too_few_rounds_says_how_many(self):
        self.assertIn("1,000 n=1", report.table(measured("1k:1:kept", 1)))
        self.assertIn("1,000 [1,000..1,001] n=2", report.table(measured("1k:1:kept", 2, 999.7)))
        self.assertNotIn("n=", report.table(measured("1k:1:kept", 3)))

    def test_a_cell_is_a_line_and_the_file_says_what_made_it(self):
        path = self.write(measured("10k:20:kept", 3) + measured("1k:1:new", 3))
        lines = path.read_text().splitlines()
        self.assertEqual(sum('"cell": ' in line for line in lines), 2)
        self.assertLess(len(lines), 15)
        content = json.loads(path.read_text())
        self.assertIn("perf/load/compare", content["generated"])
        figure = content["cells"][0]["targets"]["bivalve"]["figures"]["target_cpu_us_per_message"]
        self.assertEqual(figure["min"], 50.1235)

    def test_what_was_written_is_read_as_the_same_table(self):
        cells = measured("10k:20:kept", 3)
        self.assertEqual(report.table(report.read_record(self.write(cells))["cells"]), report.table(cells))

    def test_another_file_is_refused_by_name(self):
        for content, reason in (("[1]", "no record"), ("{", "no JSON"), ('{"format": 1, "cells": []}', "no cells")):
            with self.subTest(content=content):
                path = self.directory / "other.json"
                path.write_text(content)
                done = compare("--plot", path)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(f"{path}", done.stdout)
                self.assertIn(reason, done.stdout)
        self.assertIn("No such file", compare("--plot", self.directory / "none.json").stdout)

    def test_a_record_of_two_rounds_is_refused(self):
        done = compare("--record", "--rounds", "2")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("--rounds 3", done.stdout)

    def test_an_earlier_run_is_drawn_beside_its_file(self):
        if not shutil.which("gnuplot"):
            self.skipTest("gnuplot is not installed")
        done = compare("--plot", self.write(measured("10k:20:kept", 3)))
        self.assertEqual(done.returncode, 0, done.stdout)
        for name in ("compare-cpu.svg", "compare-throughput.svg"):
            self.assertIn("10 kB", (self.directory / name).read_text())


if __name__ == "__main__":
    unittest.main()
