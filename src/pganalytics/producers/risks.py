"""What a reading says of things that go wrong slowly, in a number each. Pure; `meters` shows them, alert rules compare them."""

from collections.abc import Mapping
from typing import Any

from pganalytics.producers.tables import Table

SLOTS = "replication_slots"
ALL_IDS = 2**31
"""So far transaction ids reach into the past; PostgreSQL stops writing three million before the end."""
GOING = frozenset({"unreserved", "lost"})
"""wal_status of a slot whose WAL is removed, or may be at the next checkpoint."""


def wraparound_share(values: Mapping[str, Any]) -> float | None:
    """Share of transaction ids or of multixacts that is used up, whichever is more; None where the server said neither."""
    left = [values[name] for name in ("xid_left", "multixact_left") if values.get(name) is not None]
    return 1 - min(left) / ALL_IDS if left else None


def slots_at_risk(slots: Table) -> int:
    """How many of the metric's rows are in danger, or a danger to the server's disk."""
    return sum(_is_at_risk(dict(zip(slots.names, row, strict=True))) for row in slots.rows)


def _is_at_risk(slot: Mapping[str, Any]) -> bool:
    """Lost or about to be; or past half of what `max_slot_wal_keep_size` lets it keep; or, without such a limit, past
    `max_wal_size` and read by nobody: then it fills the disk."""
    if slot["wal_status"] in GOING or slot.get("conflicting") or slot.get("invalidation_reason") is not None:
        return True
    kept, left = slot["retained_bytes"], slot["safe_wal_size"]
    if left is not None:
        return kept is not None and kept > left
    return slot["wal_status"] == "extended" and not slot["active"]
