"""A record that the broker refuses for good becomes a stub, and then a smaller one; memory is bounded."""

from pganalytics.streams.bounded import Bounded
from pganalytics.streams.records import MOST_KEY_BYTES, Outgoing, stub


def test_first_the_body_goes_then_everything_but_the_error() -> None:
    refused = Outgoing("pga.admitted.normal", 3, b"db1", b"x" * 100, [("seq", b"1"), ("error", b"old")])
    first = stub(refused, "MSG_SIZE_TOO_LARGE")
    assert first == Outgoing("pga.admitted.normal", 3, b"db1", None, [("seq", b"1"), ("error", b"MSG_SIZE_TOO_LARGE")])
    second = stub(first, "MSG_SIZE_TOO_LARGE")
    assert second == Outgoing("pga.admitted.normal", 3, b"db1", None, [("error", b"MSG_SIZE_TOO_LARGE")])
    assert stub(second, "MSG_SIZE_TOO_LARGE") is None


def test_an_enormous_key_goes_too() -> None:
    refused = Outgoing("t", 0, b"k" * (MOST_KEY_BYTES + 1), None, [("error", b"E")])
    assert stub(refused, "E") == Outgoing("t", 0, None, None, [("error", b"E")])


def test_bounded_forgets_what_was_written_longest_ago() -> None:
    kept: Bounded[str, int] = Bounded(2)
    kept.put("a", 1)
    kept.put("b", 2)
    kept.put("a", 3)
    kept.put("c", 4)
    assert (kept.get("a"), kept.get("b"), kept.get("c"), len(kept)) == (3, None, 4, 2)
