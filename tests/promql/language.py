"""PromQL as far as our alert rules use it: words, grammar, kinds. Whatever else the language has is refused, never guessed.

Left out: `offset`, `@`, subqueries, `bool`, `group_left`, `group_right`, `%`, `^`, `atan2`, strings but in matchers, selectors
without a name, histograms.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


class Refused(ValueError):
    """The text is not PromQL, or is PromQL that this evaluator does not know."""


@dataclass(frozen=True)
class Matcher:
    """`operator`: =, !=, =~ or !~. A label that is not there is the empty text."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Number:
    """A scalar."""

    value: float


@dataclass(frozen=True)
class Selector:
    """A vector; with `range_s` the samples of so many seconds of each series."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    range_s: float | None = None


@dataclass(frozen=True)
class Call:
    """A function. `argument` is None for time()."""

    function: str
    argument: "Node | None" = None


@dataclass(frozen=True)
class Aggregation:
    """`labels`: those that stay, or that go when `without`."""

    operator: str
    labels: tuple[str, ...]
    without: bool
    inner: "Node"


@dataclass(frozen=True)
class Binary:
    """`labels`: by which elements of two vectors are matched (`on`), or all others (`ignoring`)."""

    operator: str
    left: "Node"
    right: "Node"
    on: bool = False
    labels: tuple[str, ...] = ()


Node = Number | Selector | Call | Aggregation | Binary

ARITHMETIC = frozenset({"+", "-", "*", "/"})
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})
AGGREGATIONS = frozenset({"sum", "max", "min", "count"})
OF_RANGE = frozenset({"increase", "rate"})
OF_VECTOR = frozenset({"absent"})
LEVELS = (frozenset({"or"}), frozenset({"and", "unless"}), COMPARISONS, frozenset({"+", "-"}), frozenset({"*", "/"}))
"""Operators that bind more weakly come first; those of one level group from the left."""
RESERVED = SETS | {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
WORDS = re.compile(
    r"""\s*(?:
        (?P<duration>\d+[smhdw](?:\d+[smhdw])*)(?![\w.])
        |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])
        |(?P<name>[A-Za-z_][A-Za-z0-9_:]*)
        |(?P<string>"[^"\\\n]*"|'[^'\\\n]*')
        |(?P<sign>=~|!~|==|!=|>=|<=|[-+*/<>=(){}\[\],])
    )""",
    re.VERBOSE,
)
PLAIN_PATTERN = re.compile(r"[A-Za-z0-9_.:|()*+ -]*")
"""Of these patterns RE2, which Prometheus has, and Python think alike."""


def parse(text: str) -> Node:
    """The whole text as one expression; raises Refused."""
    parser = _Parser(list(_words(text)))
    node = parser.level(0)
    parser.take("end")
    kind_of(node)
    return node


def seconds_of(duration: str) -> float:
    """For example 1h30m; raises Refused."""
    if not re.fullmatch(r"(?:\d+[smhdw])+", duration):
        raise Refused(f"no duration: {duration}")
    return sum(int(number) * UNITS_S[unit] for number, unit in re.findall(r"(\d+)([smhdw])", duration))


def kind_of(node: Node) -> str:
    """scalar, vector or range; raises Refused where kinds do not fit."""
    match node:
        case Number():
            return "scalar"
        case Selector():
            return "vector" if node.range_s is None else "range"
        case Call():
            return _kind_of_call(node)
        case Aggregation():
            _expect(node.inner, "vector", node.operator)
            return "vector"
        case Binary():
            return _kind_of_binary(node)


def _kind_of_call(call: Call) -> str:
    if call.argument is None:
        return "scalar"
    _expect(call.argument, "range" if call.function in OF_RANGE else "vector", call.function)
    return "vector"


def _kind_of_binary(node: Binary) -> str:
    kinds = kind_of(node.left), kind_of(node.right)
    if "range" in kinds:
        raise Refused(f"{node.operator} cannot take a range")
    if node.operator in SETS and "scalar" in kinds:
        raise Refused(f"{node.operator} is between vectors")
    if kinds == ("scalar", "scalar") and node.operator in COMPARISONS:
        raise Refused("two scalars are compared with `bool` only, which is not known here")
    if (node.on or node.labels) and "scalar" in kinds:
        raise Refused("matching is between vectors")
    return "vector" if "vector" in kinds else "scalar"


def _expect(node: Node, wanted: str, who: str) -> None:
    if (kind := kind_of(node)) != wanted:
        raise Refused(f"{who} takes a {wanted}, not a {kind}")


def _words(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        found = WORDS.match(text, place)
        if found is None or found.lastgroup is None:
            raise Refused(f"not known: {text[place:].strip()}")
        yield found.lastgroup, found[found.lastgroup]
        place = found.end()
    yield "end", ""


class _Parser:
    """One pass from the left, a word ahead."""

    def __init__(self, words: list[tuple[str, str]]) -> None:
        self._words = words
        self._at = 0

    def level(self, depth: int) -> Node:
        """Everything that binds as strongly as LEVELS[depth], or more strongly."""
        if depth == len(LEVELS):
            return self._atom()
        node = self.level(depth + 1)
        while self._next()[1] in LEVELS[depth] and self._next()[0] != "string":
            operator = self._pop()[1]
            on, labels = self._matching()
            node = Binary(operator, node, self.level(depth + 1), on, labels)
        return node

    def take(self, kind: str, text: str | None = None) -> str:
        """The next word, which must be this one."""
        found = self._pop()
        if found[0] != kind or (text is not None and found[1] != text):
            raise Refused(f"expected {text or kind}, found {found[1] or 'the end'}")
        return found[1]

    def _matching(self) -> tuple[bool, tuple[str, ...]]:
        if self._next() not in (("name", "on"), ("name", "ignoring")):
            return False, ()
        on = self._pop()[1] == "on"
        return on, self._labels()

    def _labels(self) -> tuple[str, ...]:
        self.take("sign", "(")
        labels = []
        while self._next() != ("sign", ")"):
            labels.append(self.take("name"))
            if self._next() != ("sign", ")"):
                self.take("sign", ",")
        self.take("sign", ")")
        if "__name__" in labels:
            raise Refused("nothing is matched or grouped by __name__ here")
        return tuple(labels)

    def _atom(self) -> Node:
        kind, text = self._pop()
        if (kind, text) == ("sign", "("):
            node = self.level(0)
            self.take("sign", ")")
            return node
        if (kind, text) == ("sign", "-"):
            return Number(-float(self.take("number")))
        if kind == "number":
            return Number(float(text))
        if kind != "name" or text in RESERVED or text.lower() in ("inf", "nan"):
            raise Refused(f"not known here: {text or 'the end'}")
        if text in AGGREGATIONS:
            return self._aggregation(text)
        return self._call(text) if self._next() == ("sign", "(") else self._selector(text)

    def _aggregation(self, operator: str) -> Node:
        grouping = self._grouping()
        self.take("sign", "(")
        inner = self.level(0)
        self.take("sign", ")")
        grouping = self._grouping() if grouping is None else grouping
        without, labels = grouping or (False, ())
        return Aggregation(operator, labels, without, inner)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        if self._next() not in (("name", "by"), ("name", "without")):
            return None
        without = self._pop()[1] == "without"
        return without, self._labels()

    def _call(self, function: str) -> Node:
        if function not in OF_RANGE | OF_VECTOR | {"time"}:
            raise Refused(f"function {function} is not known here")
        self.take("sign", "(")
        argument = None if function == "time" else self.level(0)
        self.take("sign", ")")
        return Call(function, argument)

    def _selector(self, name: str) -> Node:
        matchers = []
        if self._next() == ("sign", "{"):
            self._pop()
            while self._next() != ("sign", "}"):
                matchers.append(self._matcher())
                if self._next() != ("sign", "}"):
                    self.take("sign", ",")
            self._pop()
        range_s = None
        if self._next() == ("sign", "["):
            self._pop()
            range_s = seconds_of(self.take("duration"))
            self.take("sign", "]")
        return Selector(name, tuple(matchers), range_s)

    def _matcher(self) -> Matcher:
        label, operator = self.take("name"), self.take("sign")
        if operator not in ("=", "!=", "=~", "!~"):
            raise Refused(f"no matcher: {operator}")
        value = self.take("string")[1:-1]
        if operator.endswith("~") and not PLAIN_PATTERN.fullmatch(value):
            raise Refused(f"pattern {value}: not one that is known to mean the same everywhere")
        return Matcher(label, operator, value)

    def _next(self) -> tuple[str, str]:
        return self._words[self._at]

    def _pop(self) -> tuple[str, str]:
        found = self._words[self._at]
        self._at = min(self._at + 1, len(self._words) - 1)
        return found
