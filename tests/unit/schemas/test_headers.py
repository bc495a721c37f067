"""Headers are read exactly or refused by name."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.strategies import IDENTITIES
from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.headers import Headers, HeartbeatFacts, stamp
from pganalytics.schemas.identity import LANES, Identity, Lane, is_collector_id, make_epoch

NUMBERS = st.integers(0, 2**63 - 1)
EPOCHS = st.lists(st.integers(1, 2**63 - 1), max_size=3).map(tuple)
BEATS = st.builds(
    HeartbeatFacts,
    emitted=st.fixed_dictionaries(dict.fromkeys(LANES, NUMBERS)),
    epochs=EPOCHS,
    final=EPOCHS,
    up=st.booleans(),
    control=NUMBERS,
)
PLAIN = Headers(Identity("db1:5432", 7, Lane.NORMAL, 3), "database", 2, 100, 1000, "0123456789abcdef")


ERRORS = st.none() | st.sampled_from(["MSG_SIZE_TOO_LARGE", "_MSG_TIMED_OUT"])


@given(identity=IDENTITIES, rows=NUMBERS, size=NUMBERS, at=NUMBERS, beat=st.none() | BEATS, stamped=st.booleans(), error=ERRORS)
def test_decode_inverts_encode(
    identity: Identity, rows: int, size: int, at: int, beat: HeartbeatFacts | None, stamped: bool, error: str | None
) -> None:
    """What an agent writes is what a processor reads."""
    headers = Headers(
        identity,
        "heartbeat" if beat else "database",
        rows,
        size,
        at,
        "0123456789abcdef",
        heartbeat=beat,
        appended_at_us=5 if stamped else None,
        src_offset=0 if stamped else None,
        error=error,
    )
    wire = headers.encode()
    assert all(value.isascii() for _, value in wire)
    assert Headers.decode(wire) == headers
    assert Headers.decode([*wire, ("traceparent", b"\xff")]) == headers


@given(st.lists(st.tuples(st.sampled_from([name for name, _ in PLAIN.encode()]), st.none() | st.binary(max_size=9)), max_size=12))
def test_no_headers_crash_the_reader(wire: list[tuple[str, bytes | None]]) -> None:
    """Whatever the headers, the answer is a Headers or a HeaderError."""
    names = [name for name, _ in wire]
    if len(set(names)) < len(names) or len(names) < len(PLAIN.encode()):
        with pytest.raises(HeaderError):
            Headers.decode(wire)
    else:
        with suppress(HeaderError):
            Headers.decode(wire)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("collector", b""),
        ("collector", b"a b"),
        ("collector", "caf\u00e9".encode()),
        ("epoch", b"0"),
        ("epoch", b"-1"),
        ("epoch", b"9223372036854775808"),
        ("lane", b"urgent"),
        ("seq", b"0"),
        ("seq", b"01"),
        ("seq", b"1 "),
        ("seq", b"\xd9\xa1"),
        ("metric", b"Robert'); drop table"),
        ("rows", b"-0"),
        ("bytes", b"1e3"),
        ("collected_at", None),
        ("schema", b"0123456789ABCDEF"),
        ("error", b""),
        ("error", b"too large\n"),
    ],
)
def test_a_malformed_header_is_named(name: str, value: bytes | None) -> None:
    """The error names the header."""
    wire = [(key, text) for key, text in PLAIN.encode() if key != name]
    with pytest.raises(HeaderError, match=f"header {name}"):
        Headers.decode([*wire, (name, value)])


@pytest.mark.parametrize("name", [name for name, _ in PLAIN.encode()])
def test_an_absent_or_doubled_header_is_named(name: str) -> None:
    """Each header is there exactly once."""
    with pytest.raises(HeaderError, match=f"header {name} is absent"):
        Headers.decode([(key, text) for key, text in PLAIN.encode() if key != name])
    with pytest.raises(HeaderError, match=f"header '{name}' is there twice"):
        Headers.decode([*PLAIN.encode(), (name, b"1")])


@pytest.mark.parametrize(
    ("name", "value"), [("emitted", b"1,2"), ("emitted", b"1,,2"), ("epochs", b"1,x"), ("final", b"0"), ("up", b"yes")]
)
def test_a_malformed_heartbeat_header_is_named(name: str, value: bytes) -> None:
    """Heartbeats have five headers more."""
    beat = HeartbeatFacts(dict.fromkeys(LANES, 1), (), (), up=True, control=0)
    headers = Headers(PLAIN.identity, "heartbeat", 1, 100, 1000, PLAIN.schema, heartbeat=beat)
    with pytest.raises(HeaderError, match=f"header {name}"):
        Headers.decode([(key, value if key == name else text) for key, text in headers.encode()])


def test_none_are_absent() -> None:
    """A Kafka message without headers has None."""
    with pytest.raises(HeaderError, match="header collector is absent"):
        Headers.decode(None)


def test_stamp_is_read_back() -> None:
    """The streams add two headers."""
    headers = Headers.decode(PLAIN.encode() + stamp(1_700_000_000_000_000, 42))
    assert (headers.appended_at_us, headers.src_offset) == (1_700_000_000_000_000, 42)


@pytest.mark.parametrize("text", ["db1", "db1.example:5432", "[::1]:5432", "A/b@c-d_e"])
def test_collector_ids(text: str) -> None:
    """Names of hosts, with ports."""
    assert is_collector_id(text)


@pytest.mark.parametrize("text", ["", " a", "a b", "a\n", "a" * 201, "\u00e4", "-a", "a\x00"])
def test_no_collector_ids(text: str) -> None:
    """Nothing that a key, a header or a terminal could trip over."""
    assert not is_collector_id(text)


@given(st.integers(-5, 2**62), st.integers(0, 2**32))
def test_epochs_are_positive(now_us: int, random_bits: int) -> None:
    """Even with a clock before 1970."""
    epoch = make_epoch(now_us, random_bits)
    assert 0 < epoch < 2**63
    assert abs(epoch - max(now_us, 1)) < 1024
