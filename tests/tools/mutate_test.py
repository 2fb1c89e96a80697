#!/usr/bin/env python3
"""The changes that tools/mutate makes in a text. Nothing is built."""
import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

from load_program import load_program  # noqa: E402  (no file must be written beside it)

PROJECT = Path(__file__).resolve().parents[2]
mutate = load_program(PROJECT / "tools/mutate")


def turned(line, kind=None):
    """The changes of one line of a function."""
    text = f"void F() {{\n{line}\n}}\n"
    return {m.after for m in mutate.find_mutants("net/x.cc", text) if kind in (None, m.kind)}


class Changes(unittest.TestCase):
    def test_operators(self):
        self.assertEqual(turned("  x = a < b;"), {"  x = a <= b;"})
        self.assertEqual(turned("  x = a == b && c;"), {"  x = a != b && c;", "  x = a == b || c;"})
        self.assertEqual(turned("  x = a >= b ||"), {"  x = a > b ||", "  x = a >= b &&"})

    def test_templates_references_shifts_and_arrows_are_no_comparisons(self):
        self.assertEqual(turned("  auto&& x = std::max<size_t>(a, p->b << c);", "operator"), set())

    def test_steps_constants_negations_truth(self):
        self.assertEqual(turned("  x = n + 1;", "one more or less"), {"  x = n - 1;"})
        self.assertEqual(turned("  x = n + 1;", "constant"), {"  x = n + 2;", "  x = n + 0;"})
        self.assertEqual(turned("  x = 0;"), {"  x = 1;"})
        self.assertEqual(turned("  x = ++n;"), {"  x = --n;"})
        self.assertEqual(turned("  x = !done;"), {"  x = done;"})
        self.assertEqual(turned("  x = true;"), {"  x = false;"})
        self.assertEqual(turned("  x = 1'000 + 0x10 + 1.5 + uint8_t{kA2} + u8;"), set())

    def test_calls_go(self):
        self.assertEqual(turned("  server_.stream().Write(line);"), {"  ;"})
        self.assertEqual(turned("  co_await Stop(a, b);"), {"  ;"})
        self.assertEqual(turned("  if (a) Stop(b);"), {"  if (a) ;"})
        self.assertEqual(turned("  x = Call(b);"), set())
        self.assertEqual(turned("  return Call(b);"), set())
        self.assertEqual(turned("  Type name(b);"), set())

    def test_the_rest_of_a_statement_is_no_call(self):
        self.assertEqual(turned("  x = First(a) +\n      Second(b);"), set())
        self.assertEqual(turned("  First(a,\n        Second(b));"), set())

    def test_guards_go(self):
        self.assertEqual(turned("  if (a) return;"), {"  ;"})
        self.assertEqual(turned("  if (Call(a)) co_return b;"), {"  ;"})
        self.assertEqual(turned("  if (a) continue;"), {"  ;"})
        self.assertEqual(turned("  if (a) b = c;"), set())

    def test_each_changes_one_line_and_says_which(self):
        text = "int F(int a) {\n  if (a > 7) return 1;\n\n  return a - 1;\n}\n"
        lines = text.split("\n")
        found = mutate.find_mutants("net/x.cc", text)
        for mutant in found:
            self.assertEqual(lines[mutant.line - 1], mutant.before)
            self.assertNotEqual(mutant.after, mutant.before)
            self.assertNotIn("\n", mutant.after)
        self.assertEqual({m.line for m in mutate.find_mutants("net/x.cc", text)}, {2, 4})


class LeftAlone(unittest.TestCase):
    def check(self, text):
        self.assertEqual(list(mutate.find_mutants("net/x.cc", text)), [])

    def test_comments_and_strings(self):
        self.check("// if (a) return 1;\n/* a == b\n   true */\n")
        self.check('x = "a == 1 && true";\nx = R"(\nif (a) return 1;\n)";\n')
        self.check("x = '1';\n")
        line = '  if (x == "1 < 2" && y) Put("true !a");  // 4 < 5'
        for after in turned(line):
            self.assertTrue(after == "  if (x == \"1 < 2\" && y) ;  // 4 < 5" or '"1 < 2"' in after and '"true !a"' in after)
            self.assertIn("// 4 < 5", after)

    def test_directives_assertions_logs(self):
        self.check("#include <a/1.h>\n#if A == 1 && \\\n    B == 2\n#endif\n")
        self.check("BV_CHECK(a > 1 &&\n         b == 2);\nstatic_assert(a == 1);\n")
        self.check('Log(Severity::kError, 0, Cat("x", a + 1));\nif (a) LogText(b, 1);\nhost.say(a, true);\n')

    def test_tables_and_enumerations(self):
        self.check('constexpr std::array<T, 2> kNames = {\n    T{"a", true},\n    T{"b", 1}};\n')
        self.check("constexpr int kOther[] = {1, 2};\nconst T kThird{1, {true}};\n")
        self.check("enum class Kind : uint8_t {\n  kA = 1,\n  kB,\n};\n")
        self.assertTrue(list(mutate.find_mutants("net/x.cc", "constexpr int kOne[] = {1};\nint x = 1;\n")))


class Chosen(unittest.TestCase):
    MUTANTS = [mutate.Mutant(f"net/{n % 3}.cc", n, "constant", "0", "1") for n in range(300)]

    def test_the_same_for_the_same_seed(self):
        self.assertEqual(mutate.choose(self.MUTANTS, 7, 50), mutate.choose(self.MUTANTS, 7, 50))
        self.assertNotEqual(mutate.choose(self.MUTANTS, 7, 50), mutate.choose(self.MUTANTS, 8, 50))

    def test_as_many_as_wanted_or_all_none_twice_by_file(self):
        for count in (50, 1000):
            groups = mutate.choose(self.MUTANTS, 7, count)
            chosen = [m for group in groups for m in group]
            self.assertEqual(len(chosen), min(count, 300))
            self.assertEqual(len(set(chosen)), len(chosen))
            self.assertEqual(len(groups), 3)
            self.assertTrue(all(len({m.file for m in group}) == 1 for group in groups))


class Selected(unittest.TestCase):
    def test_by_folder_and_by_file(self):
        self.assertEqual({n.split("/")[0] for n in mutate.selected_files([])}, set(mutate.FOLDERS))
        self.assertEqual({n.split("/")[0] for n in mutate.selected_files(["net/", "scan"])}, {"net", "scan"})
        self.assertEqual(mutate.selected_files(["net/ehlo.cc"]), ["net/ehlo.cc"])
        self.assertEqual(mutate.selected_files(["core"]), [])

    def test_the_house_has_changes_in_every_folder(self):
        for folder in mutate.FOLDERS:
            files = mutate.selected_files([folder])
            self.assertTrue(any(True for f in files for _ in mutate.find_mutants(f, (PROJECT / f).read_text())), folder)


class Outcomes(unittest.TestCase):
    def test_the_table_and_the_survivors(self):
        report, out = mutate.Report(3), io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()):
            report.add(mutate.Mutant("net/a.cc", 3, "constant", "  x = 0;", "  x = 1;"), mutate.SURVIVED, None)
            report.add(mutate.Mutant("net/a.cc", 4, "guard", "  if (x) return;", "  ;"), mutate.KILLED, "net/a_test")
            report.add(mutate.Mutant("scan/b.cc", 1, "call", "F();", ";"), mutate.NOT_COMPILED, None)
        with contextlib.redirect_stdout(out):
            report.print()
        rows = {line.split()[0]: line.split()[1:] for line in out.getvalue().splitlines() if line}
        self.assertEqual((rows["net"], rows["scan"], rows["all"]), (["1", "1", "0"], ["0", "0", "1"], ["1", "1", "1"]))
        self.assertIn("net/a.cc:3 (constant)\n    - x = 0;\n    + x = 1;\n", out.getvalue())
        self.assertNotIn("a.cc:4", out.getvalue())

    def test_the_file_has_them_as_they_come(self):
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
            file = Path(directory) / "out.json"
            report = mutate.Report(2, file)
            for count, outcome in enumerate((mutate.SURVIVED, mutate.KILLED), 1):
                report.add(mutate.Mutant("net/a.cc", count, "constant", "0", "1"), outcome, None)
                found = json.loads(file.read_text())
                self.assertEqual((len(found), found[-1]["line"], found[-1]["outcome"]), (count, count, outcome))


if __name__ == "__main__":
    unittest.main()
