"""Moments as people type them."""

from datetime import UTC, datetime, timedelta

import pytest

from pganalytics.cli.times import moment, window
from pganalytics.runtime.errors import SettingsError

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-05-08", datetime(2026, 5, 8, tzinfo=UTC)),
        ("2026-05-08T10:00", datetime(2026, 5, 8, 10, tzinfo=UTC)),
        ("2026-05-08T10:00+02:00", datetime(2026, 5, 8, 8, tzinfo=UTC)),
        ("2026-05-08T10:00:00Z", datetime(2026, 5, 8, 10, tzinfo=UTC)),
    ],
)
def test_moments(text: str | None, expected: datetime | None) -> None:
    assert moment("--since", text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2", "-2h", "2 h", "1y", "999999w", "2026-13-01", "٢h"])
def test_nonsense_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="--since"):
        moment("--since", text, NOW)


def test_an_empty_window_is_refused() -> None:
    assert window("2h", "1h", NOW) == (NOW - timedelta(hours=2), NOW - timedelta(hours=1))
    with pytest.raises(SettingsError, match="not before"):
        window("1h", "2h", NOW)
