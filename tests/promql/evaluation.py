"""What an expression gives at a time, by PromQL's rules. Raises Unclear where Prometheus would end with an error."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from promql.history import NAME, History, Labels, Sample
from promql.language import (
    ARITHMETIC,
    COMPARISONS,
    Aggregation,
    Binary,
    Call,
    Node,
    Number,
    Refused,
    Selector,
    kind_of,
    parse,
)

Vector = dict[Labels, float]


class Unclear(ValueError):
    """An element has several partners."""


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def evaluate(text: str, history: History, at_s: float) -> Vector:
    """The vector that an expression gives; an alert is one element of it. Raises Refused, Unclear."""
    node = parse(text)
    if kind_of(node) != "vector":
        raise Refused("a rule's expression gives a vector")
    return _vector(node, history, at_s)


def _scalar(node: Node, at_s: float) -> float:
    match node:
        case Number(value):
            return value
        case Call("time"):
            return at_s
        case Binary():
            return OPERATORS[node.operator](_scalar(node.left, at_s), _scalar(node.right, at_s))
    raise AssertionError("not a scalar")


def _vector(node: Node, history: History, at_s: float) -> Vector:
    match node:
        case Selector():
            return history.now(node, at_s)
        case Call("absent", inner) if inner is not None:
            return {} if _vector(inner, history, at_s) else {_known_labels(inner): 1.0}
        case Call(function, Selector() as selector):
            return dict(_rates(history.over(selector, at_s), at_s, selector.range_s or 0, per_second=function == "rate"))
        case Aggregation():
            return _aggregate(node, _vector(node.inner, history, at_s))
        case Binary():
            return _binary(node, history, at_s)
    raise AssertionError("not a vector")


def _known_labels(node: Node) -> Labels:
    """What absent() can say of what is not there: labels that are matched by =, once each."""
    if not isinstance(node, Selector):
        return frozenset()
    names = [matcher.label for matcher in node.matchers]
    return frozenset((one.label, one.value) for one in node.matchers if one.operator == "=" and names.count(one.label) == 1)


def _rates(
    samples: Mapping[Labels, Sequence[Sample]], at_s: float, range_s: float, *, per_second: bool
) -> Iterable[tuple[Labels, float]]:
    for labels, each in samples.items():
        if len(each) > 1:
            yield _nameless(labels), increase(each, at_s, range_s) / (range_s if per_second else 1)


def increase(samples: Sequence[Sample], at_s: float, range_s: float) -> float:
    """How much a counter rose in a range, by two samples or more. A fall is a new beginning at 0. What lies between the ends of
    the range and the samples is guessed from their pace: up to 1.1 times their usual distance, else half of it, and never back
    to before the counter was 0."""
    first, last = samples[0], samples[-1]
    restarts = [before.value for before, after in pairwise(samples) if after.value < before.value]
    rise = last.value - first.value + sum(restarts)
    covered_s = last.at_s - first.at_s
    usual_s = covered_s / (len(samples) - 1)

    def reach(gap_s: float) -> float:
        return gap_s if gap_s < 1.1 * usual_s else usual_s / 2

    before_s = reach(first.at_s - (at_s - range_s))
    if rise > 0 and first.value >= 0:
        before_s = min(before_s, covered_s * first.value / rise)
    return rise * (covered_s + before_s + reach(at_s - last.at_s)) / covered_s


def _aggregate(node: Aggregation, inner: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in inner.items():
        kept = {(name, text) for name, text in _nameless(labels) if (name in node.labels) != node.without}
        groups.setdefault(frozenset(kept), []).append(value)
    over: Mapping[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "min": min, "count": len}
    return {labels: float(over[node.operator](values)) for labels, values in groups.items()}


def _binary(node: Binary, history: History, at_s: float) -> Vector:
    left_is, right_is = kind_of(node.left), kind_of(node.right)
    if "scalar" in (left_is, right_is):
        return _with_scalar(node, history, at_s, scalar_is_left=left_is == "scalar")
    left, right = _vector(node.left, history, at_s), _vector(node.right, history, at_s)
    if node.operator == "or":
        known = {_key(labels, node) for labels in left}
        return left | {labels: value for labels, value in right.items() if _key(labels, node) not in known}
    if node.operator in ("and", "unless"):
        known = {_key(labels, node) for labels in right}
        return {labels: value for labels, value in left.items() if (_key(labels, node) in known) == (node.operator == "and")}
    return _match(node, left, right)


def _with_scalar(node: Binary, history: History, at_s: float, *, scalar_is_left: bool) -> Vector:
    """A comparison keeps the elements for which it holds, as they are."""
    scalar = _scalar(node.left if scalar_is_left else node.right, at_s)
    vector = _vector(node.right if scalar_is_left else node.left, history, at_s)
    work = OPERATORS[node.operator]
    done = {labels: work(scalar, value) if scalar_is_left else work(value, scalar) for labels, value in vector.items()}
    if node.operator in COMPARISONS:
        return {labels: value for labels, value in vector.items() if done[labels]}
    return {_nameless(labels): value for labels, value in done.items()}


def _match(node: Binary, left: Vector, right: Vector) -> Vector:
    """One to one: what has no partner gives nothing."""
    partners: dict[Labels, float] = {}
    for labels, value in right.items():
        if (key := _key(labels, node)) in partners:
            raise Unclear(f"two elements of the right side match {dict(key)}")
        partners[key] = value
    used: set[Labels] = set()
    found: Vector = {}
    for labels, value in left.items():
        if (key := _key(labels, node)) not in partners:
            continue
        if key in used:
            raise Unclear(f"two elements of the left side match {dict(key)}")
        used.add(key)
        done = OPERATORS[node.operator](value, partners[key])
        if node.operator in COMPARISONS and not done:
            continue
        found[_result_labels(labels, node)] = done if node.operator in ARITHMETIC else value
    return found


def _result_labels(labels: Labels, node: Binary) -> Labels:
    kept = _nameless(labels) if node.operator in ARITHMETIC else labels
    return frozenset(pair for pair in kept if (pair[0] in node.labels) == node.on)


def _key(labels: Labels, node: Binary) -> Labels:
    return frozenset(pair for pair in _nameless(labels) if (pair[0] in node.labels) == node.on)


def _nameless(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != NAME)
