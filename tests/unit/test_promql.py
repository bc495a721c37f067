"""The evaluator of alert rules keeps to what Prometheus documents of its language, and refuses what it does not know."""

import math

import pytest

from promql.evaluation import Unclear, evaluate
from promql.history import NAME, History
from promql.language import Refused, kind_of, parse, seconds_of

AT = 10_000.0


def history(*scrapes: tuple[float, str], instance: str = "i") -> History:
    """Pages of one target, each so many seconds before AT."""
    made = History()
    for ago_s, page in scrapes:
        made.scrape(page, AT - ago_s, job="j", instance=instance)
    return made


def counts(name: str, *values: tuple[float, float]) -> History:
    """A counter without labels: seconds before AT, value."""
    return history(*((ago_s, f"{name} {value}\n") for ago_s, value in values))


def plain(text: str, known: History, at_s: float = AT) -> dict[str, float]:
    """Elements by their labels but those of the target, as in `a{x=1}`; the name is left out when the result has none."""
    found = {}
    for labels, value in evaluate(text, known, at_s).items():
        pairs = dict(labels)
        name = pairs.pop(NAME, "")
        own = ",".join(f"{label}={pairs[label]}" for label in sorted(pairs) if label not in ("job", "instance"))
        found[f"{name}{{{own}}}"] = value
    return found


PAGE = """
a{x="1"} 1
a{x="2"} 2
a{x="2",y="z"} 5
b{x="1"} 10
b{x="3"} 30
nothing NaN
zero 0
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b", {"b{x=1}": 10, "b{x=3}": 30}),
        ('a{x="2"}', {"a{x=2}": 2, "a{x=2,y=z}": 5}),
        ('a{x!="2"}', {"a{x=1}": 1}),
        ('a{x="2",y=""}', {"a{x=2}": 2}),
        ('a{y!=""}', {"a{x=2,y=z}": 5}),
        ('b{x=~"1|3"}', {"b{x=1}": 10, "b{x=3}": 30}),
        ('b{x=~"[13]"}', "refused"),
        ('up{job=~"jj.*"}', {}),
        ('up{job=~"j.*"}', {"up{}": 1}),
        ('up{job=~""}', {}),
        ('b{x!~"1"}', {"b{x=3}": 30}),
        ("none", {}),
        ("b + 1", {"{x=1}": 11, "{x=3}": 31}),
        ("1 - b", {"{x=1}": -9, "{x=3}": -29}),
        ("b * -2", {"{x=1}": -20, "{x=3}": -60}),
        ("2 + 3 * b", {"{x=1}": 32, "{x=3}": 92}),
        ("(2 + 3) * b", {"{x=1}": 50, "{x=3}": 150}),
        ("b - 5 - 5", {"{x=1}": 0, "{x=3}": 20}),
        ("b / 0", {"{x=1}": math.inf, "{x=3}": math.inf}),
        ("b > 10", {"b{x=3}": 30}),
        ("b >= 10", {"b{x=1}": 10, "b{x=3}": 30}),
        ("20 > b", {"b{x=1}": 10}),
        ("b == 10", {"b{x=1}": 10}),
        ("b != 10", {"b{x=3}": 30}),
        ("nothing == nothing", {}),
        ("nothing > 0", {}),
        ("nothing < 0", {}),
        ("b - a", {"{x=1}": 9}),
        ("b - on (x) a", "unclear on the right"),
        ("b > a", {"b{x=1}": 10}),
        ("b > on (x) a", "unclear on the right"),
        ('b + a{y=""}', {"{x=1}": 11}),
        ('b > a{y=""}', {"b{x=1}": 10}),
        ('b < a{y=""}', {}),
        ('a{y!=""} - ignoring (y) a{y="",x="2"}', {"{x=2}": 3}),
        ('a{y!=""} > ignoring (y) a{y="",x="2"}', {"a{x=2}": 5}),
        ('a{y!=""} > on (x) a{y="",x="2"}', {"{x=2}": 5}),
        ('a{x="2"} > on (x) a{y="",x="2"}', "unclear on the left"),
        ('a{x="2"} >= on (x) a{y="",x="2"}', "unclear on the left"),
        ('b and a{x="1"}', {"b{x=1}": 10}),
        ("a and on (x) b", {"a{x=1}": 1}),
        ("a and b", {"a{x=1}": 1}),
        ("a and ignoring (y) b", {"a{x=1}": 1}),
        ("b unless a", {"b{x=3}": 30}),
        ("a unless on (x) b", {"a{x=2}": 2, "a{x=2,y=z}": 5}),
        ("b or a", {"b{x=1}": 10, "b{x=3}": 30, "a{x=2}": 2, "a{x=2,y=z}": 5}),
        ("b or on (x) a", {"b{x=1}": 10, "b{x=3}": 30, "a{x=2}": 2, "a{x=2,y=z}": 5}),
        ("b unless b or b", {"b{x=1}": 10, "b{x=3}": 30}),
        ("b or b unless b", {"b{x=1}": 10, "b{x=3}": 30}),
        ("b unless b and b", {}),
        ("b > 5 and b < 20", {"b{x=1}": 10}),
        ("b + 1 > 30", {"{x=3}": 31}),
        ("sum(a)", {"{}": 8}),
        ("sum by (x) (a)", {"{x=1}": 1, "{x=2}": 7}),
        ("sum (a) by (x)", {"{x=1}": 1, "{x=2}": 7}),
        ("sum by (q) (a)", {"{}": 8}),
        ("max without (y) (a)", {"{x=1}": 1, "{x=2}": 5}),
        ("min without (y, x) (a)", {"{}": 1}),
        ("count by (y) (a)", {"{}": 2, "{y=z}": 1}),
        ("sum(none)", {}),
        ("sum(a) > 7", {"{}": 8}),
        ("absent(none)", {"{}": 1}),
        ('absent(none{x="1",y=~"z",w!="v"})', {"{x=1}": 1}),
        ('absent(none{x="1",x="2"})', {"{}": 1}),
        ("absent(sum(none))", {"{}": 1}),
        ("absent(zero)", {}),
        ("time() - zero", {"{}": AT}),
        ("(time() - 1000) / 2 > zero", "refused"),
        ("zero < (time() - 1000) / 2", {"zero{}": 0}),
    ],
)
def test_what_an_expression_gives(text: str, found: dict[str, float] | str) -> None:
    known = history((0, PAGE))
    if found == "refused":
        found = {"zero{}": 0} if "time" in text else found
    if isinstance(found, str):
        with pytest.raises((Refused, Unclear)) as error:
            plain(text, known)
        assert found == "refused" or found.removeprefix("unclear on the ") in str(error.value)
    else:
        assert plain(text, known) == found


def test_not_a_number_stays_one() -> None:
    assert math.isnan(plain("nothing", history((0, PAGE)))["nothing{}"])
    assert math.isnan(plain("zero / 0", history((0, PAGE)))["{}"])


def test_a_sample_is_taken_for_five_minutes() -> None:
    known = history((299, "a 1\n"))
    assert plain("a", known) == {"a{}": 1}
    assert plain("a", known, AT + 0.5) == {"a{}": 1}
    assert plain("a", known, AT + 1) == {}
    assert plain("a", known, AT - 299.5) == {}, "what comes later is not known yet"


def test_a_series_that_a_scrape_lacks_is_gone_at_once() -> None:
    known = history((20, "a 1\nb 1\n"), (10, "b 2\n"))
    assert plain("a", known) == {}
    assert plain("a", known, AT - 11) == {"a{}": 1}
    assert plain("b", known) == {"b{}": 2}
    known.scrape(None, AT, job="j", instance="i")
    assert plain("b", known) == {}
    assert plain("up", known) == {"up{}": 0}
    assert plain("up", known, AT - 1) == {"up{}": 1}


def test_targets_do_not_make_each_others_series_stale() -> None:
    known = history((20, "a 1\n"))
    known.scrape("a 5\n", AT - 10, job="j", instance="other")
    assert plain("sum(a)", known) == {"{}": 6}
    assert evaluate("a", known, AT).keys() == {
        frozenset({NAME: "a", "job": "j", "instance": one}.items()) for one in ("i", "other")
    }


@pytest.mark.parametrize(
    ("samples", "range_s", "rise"),
    [
        (((60, 0), (30, 0), (0, 0)), 90, 0),
        (((0, 5),), 90, None),
        (((100, 5), (0, 6)), 100, None),
        (((99, 100), (0, 199)), 100, 100),
        (((60, 100), (30, 130), (0, 160)), 60, 60),
        (((60, 100), (30, 130), (0, 160)), 90, 90),
        (((60, 100), (30, 130), (0, 160)), 300, 75),
        (((60, 1000), (30, 1030), (0, 1060)), 92, 92),
        (((60, 0), (30, 30), (0, 60)), 90, 60),
        (((60, 5), (30, 35), (0, 65)), 90, 65),
        (((60, 10), (30, 40), (0, 10)), 61, 40 * 61 / 60),
        (((60, 10), (30, 3), (0, 6)), 61, 6.1),
        (((80, 100), (50, 130), (20, 160)), 110, 110),
        (((120, 100), (90, 130), (60, 160)), 120, 75),
    ],
)
def test_an_increase(samples: tuple[tuple[float, float], ...], range_s: int, rise: float | None) -> None:
    """By hand: what lies outside the samples is added at their pace, as far as they are near the ends, and not below 0."""
    known = counts("c_total", *samples)
    found = plain(f"increase(c_total[{range_s}s])", known)
    assert found == ({} if rise is None else {"{}": pytest.approx(rise)})
    per_second = plain(f"rate(c_total[{range_s}s])", known)
    assert per_second == ({} if rise is None else {"{}": pytest.approx(rise / range_s)})


def test_a_range_is_open_at_its_left_and_ends_now() -> None:
    known = counts("c_total", (60, 1), (30, 2), (0, 4), (-30, 8))
    assert plain("increase(c_total[60s])", known) == {"{}": pytest.approx(2 * 60 / 30)}
    assert plain("increase(c_total[61s])", known, AT + 30) == {"{}": pytest.approx(6 * 61 / 60)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a{",
        "a{x}",
        'a{x=="1"}',
        "a{x=1}",
        '{x="1"}',
        '{__name__="a"}',
        "a[5m]",
        "rate(a)",
        "rate(sum(a)[5m:1m])",
        "increase(a[5m] offset 1m)",
        "a offset 5m",
        "a @ 5",
        "a > bool 1",
        "1 > 2",
        "1 > bool 2",
        "1",
        "time()",
        "time(a)",
        "a ^ 2",
        "a % 2",
        "-a",
        "+a",
        "a and 1",
        "a or time()",
        "a + on (x) 1",
        "a + on (x) group_left b",
        "a + on (__name__) b",
        "sum by (__name__) (a)",
        "avg(a)",
        "topk(1, a)",
        "quantile(0.9, a)",
        "max_over_time(a[5m])",
        "histogram_quantile(0.9, a)",
        "SUM(a)",
        "a OR b",
        "Inf",
        "NaN > a",
        "a > 0x10",
        "a > .5",
        "a > 1m",
        "increase(a[5])",
        "increase(a[5m)",
        "absent(1)",
        "absent(a[5m])",
        "vector(1)",
        'a{x=~"(?i)b"}',
        'a{x="\\n"}',
        "a # comment",
        "sum by x (a)",
        "sum by (x)",
        "by (x) (a)",
        "(a",
        "a)",
    ],
)
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        evaluate(text, history((0, PAGE)), AT)


def test_durations() -> None:
    assert [seconds_of(text) for text in ("15s", "1m", "1h30m", "2d", "1w")] == [15, 60, 5400, 172_800, 604_800]
    for text in ("", "5", "m", "1.5h", "5 m", "1y"):
        with pytest.raises(Refused):
            seconds_of(text)


def test_kinds() -> None:
    assert [kind_of(parse(text)) for text in ("1 + 2", "time() / 60", "a", "a + 1", "a[5m]")] == [
        "scalar",
        "scalar",
        "vector",
        "vector",
        "range",
    ]
