"""Records as top reads them, made by hand."""

from typing import Any

from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.records import Seen
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import builtin_schemas

EPOCH = 1024
S = 1_000_000
NOW = 2_000_000 * S
HOSTILE = "x\x1b[2J\u202e\n\u0007日本語\u200b"


def seen(
    collector: str, metric: str, seq: int = 1, *, epoch: int = EPOCH, at: int = NOW, every_s: int = 60, **values: Any
) -> Seen:
    """A record that was read at `at`, for an interval of `every_s` where it has counters, and came at once."""
    schema = builtin_schemas()[metric]
    zeros = {"long": 0, "double": 0.0, "string": "", "boolean": False}
    who = Identity(collector, epoch, schema.lane, seq)
    body: dict[str, Any] = {"collector": collector, "epoch": epoch, "lane": schema.lane.value, "seq": seq}
    body |= {"collected_at": at, "since": at - every_s * S if schema.counts else at, "part": 1, "parts": 1}
    body |= {field.name: [] if field.is_array else zeros[field.primitive] for field in schema.fields}
    headers = Headers(who, metric, schema.row_count(body | values), 0, at, schema.id)
    return Seen(headers, schema, body | values, appended_us=at, heard_us=at)


def fleet_of(*records: Seen) -> Fleet:
    """What is known after these."""
    fleet = Fleet()
    for each in records:
        fleet.note(each)
    return fleet


def beat(collector: str, seq: int = 1, **values: Any) -> Seen:
    """A heartbeat of a target that is well."""
    well: dict[str, Any] = {"up": True, "role": "primary", "server_version": 170010}
    return seen(collector, "heartbeat", seq, **well | values)


def statements(collector: str, seq: int = 1, **values: Any) -> Seen:
    """Two statements of a minute, and the sum of all others."""
    rows: dict[str, Any] = {
        "entries": 50,
        "changed": 9,
        "coverage_time": 0.75,
        "queryid": [7, 8, -(2**63)],
        "dbid": [5, 5, 0],
        "remainder": [False, False, True],
        "calls": [60, 600, 6],
        "total_exec_time": [30 * 10**9, 15 * 10**9, 15 * 10**9],
        "rows": [120, 0, 0],
        "shared_blks_hit": [30, 0, 0],
        "shared_blks_read": [10, 0, 0],
    }
    return seen(collector, "statements", seq, **rows | values)


def edges(collector: str, *pairs: tuple[int, int], **values: Any) -> Seen:
    """Waiters and who blocks them; all as deep as they are in the list."""
    count = len(pairs)
    rows: dict[str, Any] = {
        "waiters_total": len({waiter for waiter, _ in pairs}),
        "waiter_pid": [waiter for waiter, _ in pairs],
        "blocker_pid": [blocker for _, blocker in pairs],
        "blocker_gid": ["\0"] * count,
        "depth": list(range(1, count + 1)),
        "lock_type": ["relation"] * count,
        "lock_mode": ["ShareLock"] * count,
        "waited": [5 * S] * count,
        "blocker_xact_start": [NOW - 60 * S] * count,
    }
    return seen(collector, "blocking", **rows | values)
