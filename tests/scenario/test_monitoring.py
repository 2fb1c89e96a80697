"""The examples for Prometheus and Grafana name only what /metrics has."""
import json
import re
import shutil

from harness import PROJECT, ScenarioCase, compose, eicar_message, main, run_program

EXAMPLES = PROJECT / "appliance/examples/monitoring"
_METRIC = re.compile(r"\bbivalve_[a-z0-9_]+\b")
# A metric with its matchers: name{label="value",…}.
_SELECTOR = re.compile(r"\b(bivalve_[a-z0-9_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
# Labels that Prometheus adds.
_ADDED = {"job", "instance"}


def expressions(node):
    """Yields every "expr" below `node`."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "expr":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


class Monitoring(ScenarioCase):
    bivalve_only = True

    def samples(self):
        """The content of /metrics after some mail: names, each with the values of its labels."""
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            self.assertReply(client.deliver(eicar_message()), 250)
        daemon.expect_messages(received=2)
        status, body = daemon.http("/metrics")
        self.assertEqual(status, 200)
        samples = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
                values = samples.setdefault(name, {})
                for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""):
                    values.setdefault(label, set()).add(value)
        return samples

    def check(self, expression, samples):
        for name in _METRIC.findall(expression):
            self.assertIn(name, set(samples), expression)
        names = _METRIC.findall(expression)
        for name, matchers in _SELECTOR.findall(expression):
            for label, pattern in _MATCHER.findall(matchers):
                if label in _ADDED:
                    continue
                self.assertIn(label, samples[name], expression)
                # Each alternative is an existing value.
                for value in pattern.split("|"):
                    self.assertIn(value, samples[name][label], expression)
        for group in _GROUPING.findall(expression):
            for label in group.replace(" ", "").split(","):
                if label not in _ADDED:
                    self.assertTrue(any(label in samples[name] for name in names), expression)

    def test_rules_and_dashboard_use_what_there_is(self):
        samples = self.samples()
        rules = (EXAMPLES / "bivalve.rules.yml").read_text()
        # One line, or a block of lines with deeper indentation.
        alerts = re.findall(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", rules, re.M)
        self.assertEqual(len(alerts), rules.count("- alert:"))
        for block, line in alerts:
            self.check(block or line, samples)
        for name in _METRIC.findall(rules):  # also in the advice
            self.assertTrue(name in samples or f"{name}_bucket" in samples, name)
        dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
        found = list(expressions(dashboard))
        self.assertGreaterEqual(len(found), 30)
        for expression in found:
            self.check(expression, samples)
        for name in _METRIC.findall(json.dumps(dashboard)):
            self.assertIn(name, set(samples))

    def test_the_dashboards_panels_have_places_of_their_own(self):
        dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
        panels = dashboard["panels"]
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertTrue(all(0 <= x < 24 for x, _ in cells), panel["title"])
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells

    def test_promtool_finds_nothing_wrong(self):
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("promtool is not installed")
        done = run_program([promtool, "check", "config", EXAMPLES / "prometheus.yml"])
        self.assertEqual(done.returncode, 0, done.stdout.decode())


if __name__ == "__main__":
    main()
