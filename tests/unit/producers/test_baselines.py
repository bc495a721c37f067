"""The log of a baseline gives back exactly what was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pganalytics.producers.baselines import FULL_EVERY, BaselineDamaged, Kept, advance, restore
from pganalytics.producers.diff import Baseline
from pganalytics.producers.reading import Context

COLUMNS = ["calls", "time", "squares"]
LONGS = st.integers(-(2**63), 2**63 - 1)
ROWS = st.dictionaries(
    st.tuples(st.integers(0, 6), st.booleans(), st.sampled_from(["", "a", "ü"])),
    st.tuples(LONGS, LONGS, st.floats(allow_nan=False), LONGS),
    max_size=8,
)


def baseline_of(at: int, rows: dict[tuple[int, bool, str], tuple[int, int, float, int]]) -> Baseline:
    cells = list(rows.values())
    return Baseline(
        context=Context(at, at, "7", 1, None, at, {"dealloc": at}),
        index={key: row for row, key in enumerate(rows)},
        longs=np.array([cell[:2] for cell in cells], dtype=np.int64).reshape(len(rows), 2),
        doubles=np.array([cell[2:3] for cell in cells], dtype=np.float64).reshape(len(rows), 1),
        began_us=np.array([cell[3] for cell in cells], dtype=np.int64),
    )


def contents(baseline: Baseline) -> object:
    rows = {
        key: (baseline.longs[row].tolist(), baseline.doubles[row].tolist(), int(baseline.began_us[row]))
        for key, row in baseline.index.items()
    }
    return baseline.context, rows


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_a_log_restores_the_last_baseline(states: list[dict[tuple[int, bool, str], tuple[int, int, float, int]]]) -> None:
    log: list[bytes] = []
    kept: Kept | None = None
    for at, rows in enumerate(states):
        full, body, kept = advance(kept, baseline_of(at, rows), COLUMNS)
        assert full == (at == 0)
        log.append(body)
        restored = restore(log, COLUMNS)
        assert restored is not None
        assert restored.entries == kept.entries
        assert contents(restored.baseline) == contents(kept.baseline)


def test_a_full_one_comes_every_sixtieth_time_and_changes_are_small() -> None:
    rows = {(number, True, "x"): (number * 7919, number, 0.5, 1) for number in range(2000)}
    kept, kinds, sizes = None, [], []
    for at in range(FULL_EVERY + 2):
        rows[at, True, "x"] = (10**12 + at, at, 0.25, 1)
        full, body, kept = advance(kept, baseline_of(at, rows), COLUMNS)
        kinds.append(full)
        sizes.append(len(body))
    assert [at for at, full in enumerate(kinds) if full] == [0, FULL_EVERY]
    assert max(size for size, full in zip(sizes, kinds, strict=True) if not full) < min(sizes[0], sizes[FULL_EVERY]) / 10


def test_an_empty_log_is_no_baseline() -> None:
    assert restore([], COLUMNS) is None


@pytest.mark.parametrize("damage", [b"", b"x", b"\x28\xb5\x2f\xfd nonsense"])
def test_damage_is_told(damage: bytes) -> None:
    with pytest.raises(BaselineDamaged):
        restore([damage], COLUMNS)


def test_a_metric_with_other_counters_begins_anew() -> None:
    _, body, _ = advance(None, baseline_of(1, {}), COLUMNS)
    with pytest.raises(BaselineDamaged, match="other counters"):
        restore([body], ["calls"])
