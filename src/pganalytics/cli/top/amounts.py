"""Numbers for people, in few characters. Pure."""

import math

UNKNOWN = "-"
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def short(value: float | None) -> str:
    """Three digits: 0.25, 12.3, 1234, 56.7k, 12M. A little more than nothing is <0.01."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return f"-{short(-value)}"
    if value == 0:
        return "0"
    if value < 0.01:
        return "<0.01"
    if value < 10_000:
        return _digits(value)
    for unit in ("k", "M", "G", "T", "P", "E"):
        value /= 1000
        if value < 999.5:
            return _digits(value) + unit
    return "huge"


def whole(value: int | None) -> str:
    """All digits."""
    return UNKNOWN if value is None else str(value)


def size(value: float | None) -> str:
    """Bytes: 812 B, 12 MB, 1.2 GB, in powers of 1024."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return f"-{size(-value)}"
    for unit in _SIZES[:-1]:
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.0f} {_SIZES[-1]}"


def share(value: float | None) -> str:
    """A ratio in percent; 100 only when nothing lacks."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    percent = value * 100
    text = f"{percent:.1f}"
    return "99.9" if text == "100.0" and percent < 100 else text


def span(seconds: float | None) -> str:
    """A length of time: 850us, 12ms, 3.4s, 45s, 3m12s, 2h05m, 3d04h."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds == 0:
        return "0s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02}s"
    if total < 86400:
        return f"{total // 3600}h{total % 3600 // 60:02}m"
    return f"{total // 86400}d{total % 86400 // 3600:02}h"


def age(seconds: float | None) -> str:
    """A span of whole seconds."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    return f"{seconds:.0f}s" if 0 <= seconds < 59.5 else span(seconds)


def _digits(value: float) -> str:
    """In at most four characters, the point among them."""
    for decimals in (2, 1):
        text = f"{value:.{decimals}f}"
        if len(text) <= 4:
            return text
    return f"{value:.0f}"
