"""`pganalytics version`."""

from pganalytics import __version__


def run() -> None:
    """One line."""
    print(f"pganalytics {__version__}")
