"""A strict reader of the Prometheus text format 0.0.4: anything outside the format is an error, not a guess."""
import math
import re

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_VALUE = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]Inf|NaN")
_TYPES = ("counter", "gauge", "histogram")


class FormatError(AssertionError):
    """The text is not in the format, or breaks one of its rules."""


class Family:
    """A metric with its samples: {labels: value}, labels as a sorted tuple of pairs. A histogram has them by suffix."""

    def __init__(self, name, text):
        self.name = name
        self.help = text
        self.type = None
        self.samples = {}

    def value(self, suffix="", /, **labels):
        """The value of one sample, which must be there."""
        return self.samples[suffix, tuple(sorted(labels.items()))]

    def total(self, /, **labels):
        """The sum of all samples that have these labels, whatever other labels they have."""
        return sum(value for (suffix, have), value in self.samples.items()
                   if suffix == "" and set(labels.items()) <= set(have))

    def label_values(self, name):
        return sorted({dict(have)[name] for _, have in self.samples if name in dict(have)})


def parse(text):
    """The families by name. Raises FormatError with the line."""
    if not text.endswith("\n"):
        raise FormatError("the text does not end with a line end")
    families = {}
    family = None
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            if line.startswith("# HELP "):
                name, _, help_text = line[7:].partition(" ")
                _require(_NAME.fullmatch(name), "a bad name")
                _require(name not in families, "a family comes twice")
                _require(help_text.strip(), "a help without text")
                _require(not re.sub(r"\\\\|\\n", "", help_text).count("\\"), "a bad escape in a help text")
                _check_complete(family)
                family = families[name] = Family(name, help_text)
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                _require(family and name == family.name, "a type that does not follow its help")
                _require(family.type is None, "a second type")
                _require(kind in _TYPES, "an unknown type")
                _require((kind == "counter") == name.endswith("_total"), "counters end in _total, and nothing else does")
                family.type = kind
            else:
                _require(not line.startswith("#") and line.strip() == line and line, "neither comment nor sample")
                _sample(line, family)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}: {line!r}") from None
    _check_complete(family)
    return families


def _require(condition, problem):
    if not condition:
        raise FormatError(problem)


def _sample(line, family):
    match = _NAME.match(line)
    _require(match, "no name")
    _require(family and family.type, "a sample before its family")
    suffix = match.group()[len(family.name):]
    _require(match.group().startswith(family.name), "a sample of another family")
    _require(suffix in (("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)), "an unknown suffix")
    labels, rest = _labels(line[match.end():])
    _require(rest.startswith(" ") and _VALUE.fullmatch(rest[1:]), "not a value, and nothing else")
    value = float(rest[1:])
    names = [name for name, _ in labels]
    _require(len(set(names)) == len(names), "a label comes twice")
    _require(("le" in names) == (suffix == "_bucket"), "le belongs to buckets")
    if family.type == "counter" or suffix:
        _require(value >= 0 and not math.isinf(value), "a count below zero or without end")
    key = (suffix, tuple(sorted(labels)))
    _require(key not in family.samples, "a sample comes twice")
    family.samples[key] = value


def _labels(text):
    if not text.startswith("{"):
        return [], text
    labels, at = [], 1
    while True:
        match = _LABEL.match(text, at)
        _require(match and not match.group().startswith("__"), "a bad label name")
        at = match.end()
        _require(text[at:at + 2] == '="', "a label without a value")
        at += 2
        value = ""
        while text[at:at + 1] != '"':
            _require(at < len(text), "a label value without an end")
            if text[at] == "\\":
                at += 1
                _require(text[at:at + 1] in ("\\", '"', "n"), "a bad escape")
                value += "\n" if text[at] == "n" else text[at]
            else:
                value += text[at]
            at += 1
        labels.append((match.group(), value))
        at += 1
        if text[at:at + 1] == "}":
            return labels, text[at + 1:]
        _require(text[at:at + 1] == ",", "labels that nothing parts")
        at += 1


def _check_complete(family):
    """Checks the rules for a whole family."""
    if family is None:
        return
    _require(family.type, f"{family.name} has no type")
    label_names = {tuple(name for name, _ in labels if name != "le") for _, labels in family.samples}
    _require(len(label_names) <= 1, f"samples of {family.name} have different labels")
    if family.type != "histogram":
        return
    series = {tuple(pair for pair in labels if pair[0] != "le") for _, labels in family.samples}
    for labels in series:
        buckets = [(float(dict(have)["le"]), value) for (suffix, have), value in family.samples.items()
                   if suffix == "_bucket" and tuple(pair for pair in have if pair[0] != "le") == labels]
        _require(buckets == sorted(buckets), f"buckets of {family.name} are not in order, or shrink")
        _require(all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:])), f"buckets of {family.name} shrink")
        _require(buckets and math.isinf(buckets[-1][0]), f"{family.name} has no bucket +Inf")
        _require(("_sum", labels) in family.samples, f"{family.name} has no sum")
        _require(family.samples.get(("_count", labels)) == buckets[-1][1], f"{family.name}: +Inf is not the count")
