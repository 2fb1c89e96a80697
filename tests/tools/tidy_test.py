#!/usr/bin/env python3
"""What tools/tidy says about includes between folders, the block that shows them, and co_await."""
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

from load_program import load_program  # noqa: E402  (no file must be written beside it)

PROJECT = Path(__file__).resolve().parents[2]
tidy = load_program(PROJECT / "tools/tidy")


def complaints(name, *includes):
    return [what for _, what in tidy.check_includes(name, "".join(f'#include "{i}"\n' for i in includes))]


class Includes(unittest.TestCase):
    def test_a_folder_includes_from_what_stands_below_it(self):
        for name, included in (("appliance/worker/session.cc", "appliance/stats/metrics.h"), ("net/a.cc", "core/body.h"),
                               ("appliance/worker/session.cc", "appliance/worker/session.h"),
                               ("appliance/daemon.cc", "appliance/control/control.h"),
                               ("tests/appliance/control/x_test.cc", "appliance/control/control.h")):
            with self.subTest(name=name):
                self.assertEqual(complaints(name, included), [])

    def test_an_arrow_upwards_is_named(self):
        self.assertEqual(complaints("appliance/settings/options.cc", "appliance/worker/session.h"),
                         ["appliance/settings/ must not include from appliance/worker/"])
        self.assertEqual(complaints("core/a.h", "net/b.h"), ["core/ must not include from net/"])
        self.assertEqual(complaints("appliance/worker/a.h", "tools/load/shared.h"),
                         ["appliance/worker/ must not include from tools/"])

    def test_a_file_beside_the_folders_is_not_in_them(self):
        self.assertEqual(complaints("appliance/control/a.h", "appliance/daemon.h"),
                         ["appliance/control/ must not include from appliance/"])

    def test_worker_and_process_do_not_know_each_other(self):
        self.assertTrue(complaints("appliance/worker/a.h", "appliance/process/b.h"))
        self.assertTrue(complaints("appliance/process/a.h", "appliance/worker/b.h"))

    def test_no_folder_may_include_from_one_that_includes_from_it(self):
        for folder, below in tidy.LAYERS.items():
            for other in below:
                self.assertNotIn(folder, tidy.LAYERS[other], f"{folder} and {other}")


class CoAwait(unittest.TestCase):
    """What g++ 12 makes wrong code of is named."""

    def found(self, line):
        return [text for _, text in tidy.check_co_await(None, line)]

    def test_behind_a_condition(self):
        for line in ("co_return done || co_await Send();", "if (a && !co_await Send()) Fail();", "x = a ? co_await B() : c;",
                     "x = a ? b : co_await C();"):
            self.assertIn("behind ||", "".join(self.found(line)), line)

    def test_in_front_of_one(self):
        for line in ("in_time = co_await wake.Wait(end) || !busy();", "x = co_await B(a ? 1 : 2);", "case kOne: co_await B();"):
            self.assertEqual(self.found(line), [], line)


class Picture(unittest.TestCase):
    TEXTS = {"net/a.cc": '#include "core/b.h"\n', "core/b.h": "", "tests/net/a_test.cc": '#include "net/a.h"\n'}

    def page(self, picture):
        return f"text\n{tidy.PICTURE_BEGIN}\n{picture}\n{tidy.PICTURE_END}more\n"

    def test_it_shows_what_is_included(self):
        lines = tidy.arrows(self.TEXTS).splitlines()
        self.assertIn(["net", "──►", "core"], [line.split() for line in lines])
        self.assertIn(["core"], [line.split() for line in lines])

    def test_a_page_with_the_picture_is_right(self):
        self.assertIsNone(tidy.check_picture(self.page(tidy.arrows(self.TEXTS)), tidy.arrows(self.TEXTS)))

    def test_a_page_with_another_picture_is_not(self):
        other = tidy.arrows({**self.TEXTS, "scan/c.h": '#include "core/b.h"\n'})
        self.assertIn("tools/tidy --arrows", tidy.check_picture(self.page(other), tidy.arrows(self.TEXTS)))
        self.assertIn("no place", tidy.check_picture("text\n", other))

    def test_the_page_that_is_committed(self):
        texts = tidy.source_texts(tidy.tracked_files())
        self.assertIsNone(tidy.check_picture((PROJECT / tidy.PICTURE).read_text(), tidy.arrows(texts)))


if __name__ == "__main__":
    unittest.main()
