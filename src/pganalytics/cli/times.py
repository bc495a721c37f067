"""Moments as people type them. Pure: now is an argument."""

import re
from datetime import UTC, datetime, timedelta

from pganalytics.runtime.errors import SettingsError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """ISO 8601 (without an offset: UTC), or so long before now: 90s, 15m, 2h, 1d, 1w. Raises SettingsError; None stays None."""
    if text is None:
        return None
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{option} {text!r}: neither a time like 2026-05-09T12:00 nor an age like 90s, 15m, 2h, 1d"
        ) from error


def window(since: str | None, until: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """From and up to; raises SettingsError when it is empty."""
    low, high = moment("--since", since, now), moment("--until", until, now)
    if low is not None and high is not None and low >= high:
        raise SettingsError(f"--since {since} is not before --until {until}")
    return low, high
