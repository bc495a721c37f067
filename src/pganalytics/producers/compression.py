"""Small bodies, compressed with a context that each thread makes once: to make one costs several times what such a body does."""

import threading

import zstandard


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def compress(body: bytes, *, level: int = 3) -> bytes:
    """One zstd frame that says its size."""
    compressors = _contexts.compressors
    if level not in compressors:
        compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressors[level].compress(body)


def decompress(frame: bytes) -> bytes:
    """Raises zstandard.ZstdError."""
    return _contexts.decompressor.decompress(frame)
