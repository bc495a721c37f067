"""The partition of a key is the one that Kafka's own clients choose."""

import pytest

from pganalytics.schemas.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_clients(key: bytes, signed: int) -> None:
    """Values that Apache Kafka's own tests expect, as signed 32-bit numbers."""
    assert murmur2(key) == signed % 2**32


def test_partitions_are_in_range() -> None:
    found = {partition_of(f"db{number}.example:5432", 12) for number in range(1000)}
    assert found == set(range(12))
