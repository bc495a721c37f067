"""When a replication slot is in danger, or is one, and how much of the transaction ids is used up."""

from typing import Any

import pytest

from pganalytics.producers.risks import slots_at_risk, wraparound_share
from pganalytics.producers.tables import Table

WELL = {"wal_status": "reserved", "retained_bytes": 100, "safe_wal_size": None, "active": True}
NEW = {**WELL, "conflicting": False, "invalidation_reason": None}


@pytest.mark.parametrize("slot", [WELL, NEW], ids=["PG13", "PG17"])
@pytest.mark.parametrize(
    ("change", "at_risk"),
    [
        ({}, False),
        ({"active": False}, False),
        ({"wal_status": "extended"}, False),
        ({"wal_status": "extended", "active": False}, True),
        ({"wal_status": "extended", "active": False, "safe_wal_size": 1000}, False),
        ({"safe_wal_size": 100}, False),
        ({"safe_wal_size": 99}, True),
        ({"safe_wal_size": -5}, True),
        ({"wal_status": "unreserved"}, True),
        ({"wal_status": "lost", "retained_bytes": None}, True),
        ({"wal_status": None, "retained_bytes": None}, False),
    ],
)
def test_a_slot_is_at_risk(slot: dict[str, Any], change: dict[str, Any], at_risk: bool) -> None:
    row = slot | change
    assert slots_at_risk(Table(list(row), [tuple(row.values())])) == at_risk


@pytest.mark.parametrize("change", [{"conflicting": True}, {"invalidation_reason": "idle_timeout"}])
def test_a_slot_that_was_invalidated_is_lost(change: dict[str, Any]) -> None:
    rows = [NEW, NEW | change, NEW | change]
    assert slots_at_risk(Table(list(NEW), [tuple(row.values()) for row in rows])) == 2


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ({}, None),
        ({"xid_left": None, "multixact_left": None}, None),
        ({"xid_left": 2**31}, 0),
        ({"xid_left": 2**31, "multixact_left": 2**30}, 0.5),
        ({"xid_left": 0, "multixact_left": 2**31}, 1),
    ],
)
def test_of_transaction_ids_and_multixacts_the_one_that_is_used_up_more_counts(
    values: dict[str, Any], share: float | None
) -> None:
    assert wraparound_share(values) == share
