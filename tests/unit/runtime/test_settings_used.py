"""No setting that is read and ignored: whatever a user may set is looked at somewhere."""

import ast
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

import pganalytics
from pganalytics.runtime import settings

ROOT = Path(pganalytics.__file__).parent


def keys() -> set[str]:
    """All keys of all sections."""
    models = [each for each in vars(settings).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    return {name for model in models if model.__module__ == settings.__name__ for name in model.model_fields}


def attributes(files: Iterable[Path]) -> set[str]:
    """Names of attributes that code looks at."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in files)
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_key_is_looked_at() -> None:
    looked_at = attributes(path for path in ROOT.rglob("*.py") if path.name != "settings.py")
    assert len(keys()) > 50
    assert keys() - looked_at == set()
    assert {"a_key_that_nobody_reads"} - looked_at  # the control
