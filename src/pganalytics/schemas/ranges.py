"""Sets of sequence numbers as sorted, disjoint, inclusive ranges. Pure; the same arithmetic as PostgreSQL's int8multirange."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Ranges:
    """An immutable set of integers. `spans` holds (low, high), both included, ascending, never touching."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> Self:
        """Union of inclusive spans in any order; a span with low > high is empty."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(span for span in spans if span[0] <= span[1]):
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def numbers(cls, numbers: Iterable[int]) -> Self:
        """The set of these numbers."""
        return cls.of((number, number) for number in numbers)

    def __or__(self, other: "Ranges") -> "Ranges":
        return Ranges.of(self.spans + other.spans)

    def __sub__(self, other: "Ranges") -> "Ranges":
        left: list[tuple[int, int]] = []
        holes = other.spans
        first = 0
        for low, high in self.spans:
            while first < len(holes) and holes[first][1] < low:
                first += 1
            at = first
            while at < len(holes) and holes[at][0] <= high:
                if low < holes[at][0]:
                    left.append((low, holes[at][0] - 1))
                low = max(low, holes[at][1] + 1)
                at += 1
            if low <= high:
                left.append((low, high))
        return Ranges(tuple(left))

    def __and__(self, other: "Ranges") -> "Ranges":
        return self - (self - other)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.spans)

    def __iter__(self) -> Iterator[int]:
        for low, high in self.spans:
            yield from range(low, high + 1)

    def __str__(self) -> str:
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in self.spans) or "none"

    def merged_outward(self, most: int) -> "Ranges":
        """At most `most` spans that cover this set, closing the smallest gaps first; the answer may be larger, never smaller."""
        if len(self.spans) <= most:
            return self
        gaps = sorted(range(1, len(self.spans)), key=lambda i: (self.spans[i][0] - self.spans[i - 1][1], i))
        close = set(gaps[: len(self.spans) - most])
        spans: list[tuple[int, int]] = []
        for i, span in enumerate(self.spans):
            if i in close:
                spans[-1] = (spans[-1][0], span[1])
            else:
                spans.append(span)
        return Ranges(tuple(spans))
