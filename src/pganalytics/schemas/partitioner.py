"""Which partition a key lies in: Kafka's default rule, which all our producers use (`partitioner=murmur2_random`).

MurmurHash2 with 32 bits and Kafka's seed; the sign is masked off, then modulo the number of partitions.
"""

from functools import lru_cache

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit number. Source: Austin Appleby's MurmurHash2, as Kafka's clients use it."""
    length = len(data)
    whole = length & ~3
    digest = _SEED ^ length
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        digest = (digest * _MULTIPLIER & _MASK) ^ word
    if length > whole:
        digest = (digest ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    digest = (digest ^ digest >> 13) * _MULTIPLIER & _MASK
    return digest ^ digest >> 15


@lru_cache(maxsize=100_000)
def partition_of(collector: str, partitions: int) -> int:
    """The partition of a collector's records in every topic that is keyed by collector."""
    return (murmur2(collector.encode()) & 0x7FFFFFFF) % partitions
