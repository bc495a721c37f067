"""The sink's SQL texts, one file each in `sql/statements`. Parameters are $1, $2...: a RawCursor and psql's bind take them."""

from functools import cache
from importlib import resources


@cache
def statement(name: str) -> str:
    """The text of `sql/statements/<name>.sql`."""
    return resources.files("pganalytics.sink").joinpath("sql", "statements", f"{name}.sql").read_text(encoding="utf-8")
