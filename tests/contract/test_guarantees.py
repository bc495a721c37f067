"""The lists of holes and of lessons name tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["guarantees", "lessons"])
def test_every_test_that_a_document_names_is_there(document: str) -> None:
    text = (ROOT / f"docs/{document}.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", text)
    assert len(named) > 20
    absent = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert not absent
