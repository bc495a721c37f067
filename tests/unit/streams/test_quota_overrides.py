"""Whose quota counts does not depend on the order in which quotas were written; what cannot be used changes nothing."""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import ValidationError

from pganalytics.runtime.settings import Quota as QuotaSettings
from pganalytics.streams.quota import Account, Limits, Load, judge
from pganalytics.streams.quota_overrides import (
    BadOverride,
    Override,
    Tariff,
    in_order,
    make_override,
    merged,
    read_name,
    read_override,
)
from pganalytics.streams.quotas import Quotas, dictionaries
from unit.streams.quota_model import SECOND, NaiveCollector, Quota

DEFAULT = Quota()


def rate_of(collector: str, *names: str) -> str:
    """Which of these names counts for a collector; empty: the default."""
    overrides = {name: Override(records_per_s=float(10 + number)) for number, name in enumerate(names)}
    limits = Tariff(DEFAULT, overrides).limits_of(collector)
    by_limits = {Limits.of(merged(each, DEFAULT)): name for name, each in overrides.items()}
    return by_limits.get(limits, "")


@pytest.mark.parametrize(
    ("collector", "names", "counts"),
    [
        ("db1", (), ""),
        ("db1", ("db2", "web*"), ""),
        ("db1", ("*", "db*", "db1"), "db1"),
        ("db12", ("*", "db*", "db1"), "db*"),
        ("web", ("*", "db*", "db1"), "*"),
        ("db1", ("db?", "d*1"), "d*1"),
        ("db1", ("?b1", "d?1", "db?"), "?b1"),
        ("db1.eu:5432", ("*.eu:*", "db*", "*:5432"), "*:5432"),
        ("[::1]:5432", ("[::1]:*", "*"), "[::1]:*"),
        (":", ("[::1]:*", "*"), "*"),
        ("[::1]:5432", ("[::1]:5432", "*5432"), "[::1]:5432"),
        ("DB1", ("db*",), ""),
    ],
)
def test_the_collectors_own_then_the_most_particular_pattern_then_the_default(
    collector: str, names: tuple[str, ...], counts: str
) -> None:
    for order in permutations(names):
        assert rate_of(collector, *order) == counts


def test_the_list_is_in_the_order_in_which_quotas_are_looked_for() -> None:
    assert in_order(["*", "db*", "z", "??x", "a", "db?"]) == ["a", "z", "db*", "db?", "??x", "*"]


def test_what_is_not_set_is_as_in_the_default() -> None:
    got = merged(Override(rows_per_s=7.0), DEFAULT)
    assert (got.records_per_s, got.rows_per_s, got.bytes_per_s, got.burst_s) == (2, 7.0, 1000, 10)
    assert (got.critical_burst_s, got.ceiling_s) == (20, 90)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "EOF"),
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"{}", "set at least one of records_per_s, rows_per_s, bytes_per_s, burst_s"),
        (b'{"records_per_s": null}', "set at least one"),
        (b'{"records": 5}', "records: Extra inputs"),
        (b'{"records_per_s": 5, "ceiling_s": 5}', "ceiling_s: Extra inputs"),
        (b'{"records_per_s": "5"}', "records_per_s: Input should be a valid number"),
        (b'{"records_per_s": true}', "records_per_s: "),
        (b'{"records_per_s": 0}', "records_per_s: Input should be greater than 0"),
        (b'{"records_per_s": 1e7}', "records_per_s: Input should be less than"),
        (b'{"records_per_s": NaN}', "records_per_s: "),
        (b'{"records_per_s": Infinity}', "records_per_s: "),
        (b'{"burst_s": 0.5, "rows_per_s": -1}', "rows_per_s: Input should be greater than 0; burst_s: Input should be greater"),
    ],
)
def test_a_value_that_cannot_be_used_says_why(value: bytes, why: str) -> None:
    with pytest.raises(BadOverride, match=why):
        read_override(value)


@pytest.mark.parametrize("key", [b"", b"a b", b"\xff*", b"-db", b"{a,b}", b"*" * 201, b"a\n", "db-\u00e9*".encode()])
def test_a_name_that_cannot_be_used(key: bytes) -> None:
    with pytest.raises(BadOverride, match="neither the id of a collector nor a pattern"):
        read_name(key)


@given(st.fixed_dictionaries({}, optional={"records_per_s": st.floats(0.001, 1e6), "burst_s": st.integers(1, 86400)}))
def test_what_is_written_is_what_is_read(given_values: dict[str, float]) -> None:
    if given_values:
        override = make_override(given_values)
        assert read_override(override.encode()) == override
        assert json.loads(override.encode()) == given_values


@pytest.mark.parametrize("key", list(Override.model_fields))
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0, 86400.0, 86401.0, 1e6, 1.1e6, 1e9, 1.1e9, 1e10, 1.1e10])
def test_bounds_are_those_of_the_settings(key: str, value: float) -> None:
    def refuses(make: Callable[[dict[str, float]], object]) -> bool:
        try:
            make({key: value})
        except (BadOverride, ValidationError):
            return True
        return False

    assert refuses(make_override) == refuses(QuotaSettings.model_validate)


def test_dictionaries_are_ours_that_send_a_row_once_and_those_of_the_settings() -> None:
    assert {"query_text", "schema", "settings", "roles", "relations"} <= dictionaries()
    assert not dictionaries() & {"statements", "tables", "database", "heartbeat", "blocking"}
    quotas = Quotas(DEFAULT, never_shed=["mine"])
    assert quotas.is_kept("mine")
    assert quotas.is_kept("query_text")
    assert not quotas.is_kept("statements")


def test_a_record_that_cannot_be_used_is_logged_by_its_key(caplog: pytest.LogCaptureFixture) -> None:
    quotas = Quotas(DEFAULT)
    assert quotas.accept(b"db1", b'{"records_per_s": 5}')
    assert quotas.accept(b"db1", None)
    assert not quotas.accept(b"db\xff", b'{"records_per_s": 5}')
    assert not quotas.accept(b"db1", b"{}")
    told = [(getattr(each, "quota", ""), getattr(each, "reason", "")[:20]) for each in caplog.records]
    assert told == [("db\\xff", "neither the id of a "), ("db1", "set at least one of ")]


COLLECTORS = ("db1", "db2", "web-1", "web-22")
NAMES = ("db1", "web-22", "db?", "web*", "*1", "*")
loads = st.builds(
    Load,
    at_us=st.just(0),
    rows=st.sampled_from([1, 30, 2000]),
    size=st.sampled_from([10, 3000]),
    critical=st.booleans(),
    heartbeat=st.sampled_from([False, False, True]),
    kept=st.sampled_from([False, False, True]),
)


def fitting(collector: str) -> Iterator[str]:
    """Names that fit, the one that counts first: by trial of every name, and the rule of the docs."""
    if collector in NAMES:
        yield collector
    found = [name for name in NAMES if "*" in name or "?" in name if fnmatchcase(collector, name)]
    yield from sorted(found, key=lambda name: (-len(name.replace("*", "").replace("?", "")), name))


class QuotasUnderWay(RuleBasedStateMachine):
    """Records of several collectors while overrides are set, spoilt and taken back, against the rules written down once more."""

    @initialize()
    def start(self) -> None:
        self.now_us = 0
        self.quotas = Quotas(DEFAULT)
        self.topic: dict[bytes, bytes] = {}
        self.accounts: dict[str, Account] = {}
        self.written: dict[str, dict[str, float]] = {}
        self.models = {collector: NaiveCollector() for collector in COLLECTORS}

    def _write(self, name: str, value: bytes | None) -> None:
        """As the reader of the topic does it."""
        if self.quotas.accept(name.encode(), value):
            self.topic.pop(name.encode(), None)
            if value is not None:
                self.topic[name.encode()] = value
        self.quotas.take(self.topic)

    @rule(name=st.sampled_from(NAMES), records=st.sampled_from([1.0, 5.0]), burst=st.sampled_from([None, 2.0, 30.0]))
    def set(self, name: str, records: float, burst: float | None) -> None:
        self.written[name] = {"records_per_s": records} | ({"burst_s": burst} if burst else {})
        self._write(name, json.dumps(self.written[name]).encode())

    @rule(name=st.sampled_from(NAMES))
    def unset(self, name: str) -> None:
        self.written.pop(name, None)
        self._write(name, None)

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from([b"{}", b"", b'{"records_per_s": 0}', b'{"x": 1}']))
    def spoil(self, name: str, value: bytes) -> None:
        self._write(name, value)

    @rule(seconds=st.sampled_from([0.5, 7, 29.5, 30, 61, 299, 301, -5]))
    def wait(self, seconds: float) -> None:
        self.now_us = max(0, self.now_us + round(seconds * SECOND))

    @rule(collector=st.sampled_from(COLLECTORS), load=loads, times=st.sampled_from([1, 2, 25, 150]))
    def come(self, collector: str, load: Load, times: int) -> None:
        counts = next((name for name in fitting(collector) if name in self.written), None)
        quota = Quota(**self.written[counts]) if counts else DEFAULT
        for _ in range(times):
            came = Load(self.now_us, load.rows, load.size, load.critical, load.heartbeat, load.kept)
            account, verdict = judge(self.accounts.get(collector), came, self.quotas.limits_of(collector))
            self.accounts[collector] = account
            assert verdict == self.models[collector].judge(came, quota)


test_quotas_under_way = QuotasUnderWay.TestCase
