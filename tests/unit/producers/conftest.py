"""Fixtures of the tests of the spool."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pganalytics.producers.spool import Spool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    opened = Spool.open(folder)
    opened.start_epoch("a", 100)
    yield opened
    opened.close()
