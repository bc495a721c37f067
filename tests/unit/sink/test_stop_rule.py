"""The sink stops when the fault is ours, and never for what one sender does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.identity import Identity, Lane
from pganalytics.sink.batch import Batch
from pganalytics.sink.records import Place, Poison, Reading, Reason
from pganalytics.sink.stop_rule import FAILURES, LEAST, SENDERS_OWN, WINDOW, Recent, has_failures
from unit.sink.sink_records import message, row

GOOD = None
D, S = Reason.DAMAGED, Reason.UNKNOWN_SCHEMA


def reading(collector: str, failure: Reason | None, offset: int = 0) -> Reading:
    if failure is None:
        return row(1, collector=collector, offset=offset)
    return Poison(message(offset=offset), failure, "", Identity(collector, 1, Lane.NORMAL, 1), "database")


def batch(*parts: tuple[str, Reason | None, int]) -> Batch:
    """(collector, failure, how many), evenly mixed as by the lanes."""
    left = [(name, failure, count, number) for name, failure, count in parts for number in range(count)]
    left.sort(key=lambda each: (each[3] + 0.5) / each[2])
    return Batch({}, tuple(reading(name, failure, offset) for offset, (name, failure, _, _) in enumerate(left)))


def every(count: int, failure: Reason | None, records: int, first: int = 0) -> list[tuple[str, Reason | None, int]]:
    return [(f"c{number}", failure, records) for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("parts", "stops"),
    [
        ([("c0", D, 1)], False),
        (every(5, D, 3), False),  # too few to say anything
        (every(5, D, 4), True),
        (every(6, D, 10) + every(4, GOOD, 10, 6), True),
        (every(4, D, 100), False),
        (every(1, D, 100) + every(9, GOOD, 100, 1), False),
        (every(1, D, 9000) + every(9, GOOD, 100, 1), False),  # one collector, nine tenths of all records
        (every(1, D, 900) + every(4, D, 1, 1) + every(4, GOOD, 20, 1), False),  # four others each lose one of many
        (every(5, D, 10) + every(5, GOOD, 10, 5), False),  # half is no majority
        (every(10, D, 1) + every(10, GOOD, 99), False),
        (every(50, D, 40), True),  # a batch beyond the window, all dead
        (every(50, D, 16) + every(50, GOOD, 24, 50), False),  # and one where two fifths are
        (every(9, Reason.FUTURE, 50), False),
        (every(9, Reason.TOO_OLD, 50), False),
        (every(9, Reason.KEY_DISAGREES, 50), False),
    ],
)
def test_one_batch(parts: list[tuple[str, Reason | None, int]], stops: bool) -> None:
    assert (Recent().after(batch(*parts)).trouble is not None) is stops


def test_every_reason_is_decided() -> None:
    assert set(Reason) == FAILURES | SENDERS_OWN
    assert not FAILURES & SENDERS_OWN


def test_what_is_said() -> None:
    trouble = Recent().after(batch(*every(6, S, 10), *every(1, D, 10, 6), *every(3, GOOD, 10, 7))).trouble
    assert trouble is not None
    assert (trouble.failures, trouble.records, trouble.collectors, trouble.seen) == (70, 100, 7, 10)
    assert (trouble.reason, trouble.of_reason) == (S, 60)
    assert isinstance(trouble.place, Place)


def test_a_slow_decline_is_seen_and_an_old_one_forgotten() -> None:
    recent = Recent().after(batch(*every(10, GOOD, 100)))
    declining = recent
    for _ in range(60):
        declining = declining.after(batch(*every(10, D, 1)))
    assert declining.trouble is not None
    assert recent.trouble is None, "judging does not change what was judged by"
    assert declining.after(batch(*every(10, GOOD, 100))).trouble is None


def test_a_batch_without_failures_is_none_to_stop_for() -> None:
    assert has_failures(batch(("c", D, 1)))
    assert not has_failures(batch(("c", GOOD, 1), ("d", Reason.FUTURE, 1)))


OUTCOMES = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([GOOD, D, S, Reason.FUTURE]))


@given(st.lists(st.lists(OUTCOMES, max_size=40), max_size=6))
def test_never_without_a_majority_of_five(batches: list[list[tuple[str, Reason | None]]]) -> None:
    """By a count of another kind; and the memory is bounded."""
    recent = Recent()
    counted: list[tuple[str, Reason | None]] = []
    for each in batches:
        recent = recent.after(Batch({}, tuple(reading(*one) for one in each)))
        counted += [one for one in each if one[1] is not Reason.FUTURE]
    assert len(recent.outcomes) == len(counted) <= WINDOW
    net = {name: sum(1 if bad else -1 for who, bad in counted if who == name) for name, _ in counted}
    expected = len(counted) >= LEAST and sum(net.values()) > 0 and sum(surplus > 0 for surplus in net.values()) >= 5
    assert (recent.trouble is not None) is expected
