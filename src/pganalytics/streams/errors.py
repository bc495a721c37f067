"""Errors inside the streams. Each ends the process: reading starts again at the committed offsets, and nothing is lost.

StreamsError
├── CannotSend      the producer is broken, or a topic refuses even a stub
└── Skipped         records were skipped between broker and agent
"""


class StreamsError(Exception):
    """Ends the process; a supervisor starts it again."""


class CannotSend(StreamsError):
    """The producer is broken, or a topic refuses even a stub."""


class Skipped(StreamsError):
    """Records were skipped; committing beyond them would lose them."""
