"""How the whole store stands, in a few numbers for alarms: records by what became of them, and spools that are gone."""

from collections.abc import Mapping
from dataclasses import dataclass

from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.statements import statement

STATES = ("stored", "dead", "shed", "missing", "under_way")


@dataclass(frozen=True, slots=True)
class Standing:
    """`records`: by state, all of STATES. `orphaned`: epochs whose spool is gone and that nobody has retired."""

    records: Mapping[str, int]
    orphaned: int


def read_standing(connection: StoreConnection) -> Standing:
    """Add up the ledger. Raises psycopg.Error."""
    row = connection.execute(statement("standing")).fetchone()
    if row is None:
        raise AssertionError("an aggregate without groups is one row")
    *counts, orphaned = map(int, row)
    return Standing(dict(zip(STATES, counts, strict=True)), orphaned)
