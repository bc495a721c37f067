"""A record of the dead-letter topic, read back: the record as it was, where it lay and why it is dead. Pure.

The inverse of `letters.dead_letter`. Only the sink's own headers are taken off, which stand last: what a sender has put
before them is the record's, whatever its name.
"""

from dataclasses import dataclass, replace

from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.headers import Headers
from pganalytics.sink.letters import tidy
from pganalytics.sink.multiranges import MOST_SEQ
from pganalytics.sink.records import Message, Place

CONNECT = "__connect.errors."
OURS = tuple(CONNECT + name for name in ("topic", "partition", "offset", "exception.class.name", "exception.message"))
LEFT_OUT = "body_left_out"
MOST_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Buried:
    """`original` has the place of the copy in the dead-letter topic. `left_out`: Kafka refused it with its body."""

    original: Message
    source: Place
    reason: str
    detail: str
    left_out: bool


def exhume(message: Message) -> Buried | None:
    """What the sink buried; None when it is nothing that the sink has sent. `source.at_us` is the copy's."""
    headers = message.headers
    left_out = message.value is None and bool(headers) and headers[-1][0] == LEFT_OUT
    if left_out:
        headers = headers[:-1]
    kept, ours = headers[: -len(OURS)], headers[-len(OURS) :]
    if tuple(name for name, _ in ours) != OURS:
        return None
    topic, partition, offset, reason, detail = ((value or b"").decode("utf-8", "replace") for _, value in ours)
    if not all(number.isdecimal() and number.isascii() and len(number) <= MOST_DIGITS for number in (partition, offset)):
        return None
    source = Place(topic, int(partition), int(offset), message.place.at_us)
    return Buried(replace(message, headers=kept), source, tidy(reason), tidy(detail), left_out)


def attributed(message: Message) -> Headers | None:
    """The headers when they and the key agree on whose record it is, as the sink judges it; else None."""
    try:
        headers = Headers.decode(message.headers)
    except HeaderError:
        return None
    agree = message.key == headers.identity.collector.encode() and headers.identity.seq <= MOST_SEQ
    return headers if agree else None
