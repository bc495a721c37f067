"""What top keeps of a snapshot: the columns that it shows."""

from array import array
from dataclasses import dataclass

NO_ID = -(2**63)
"""A queryid that is NULL: of the remainder row, and of statements that the role may not see."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat."""

    final: bool
    up: bool
    error: str
    role: str
    version: int | None
    connections: int | None
    max_connections: int | None
    oldest_transaction_us: int | None


@dataclass(frozen=True, slots=True)
class Database:
    """One database in one interval. `oid` is 0 for shared objects, which have no name."""

    oid: int
    name: str
    backends: int
    commits: int
    rollbacks: int
    hit: int
    read: int
    rows_read: int
    rows_written: int
    temp_bytes: int
    deadlocks: int
    xid_age: int | None


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions alike."""

    database: str
    user: str
    application: str
    backend: str
    state: str
    wait_type: str
    wait: str
    count: int
    longest_query_us: int | None
    longest_transaction_us: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """Somebody waits for somebody. `blocker` is a process id, or the name of a prepared transaction."""

    waiter: int
    blocker: int | str
    depth: int | None
    lock: str
    waited_us: int | None
    waiter_who: str
    waiter_query: str
    blocker_who: str
    blocker_state: str
    blocker_xact_start_us: int | None
    blocker_query: str


@dataclass(frozen=True, slots=True)
class Blocking:
    """All that wait for locks: `waiters` counts also those that are not listed."""

    waiters: int
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Standby:
    """What a receiver, or a standby itself, has not replayed."""

    name: str
    lag_us: int | None
    lag_bytes: int | None


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements of one interval, in columns: a thousand cost 60 kB. The last row may be the sum of all others."""

    entries: int
    changed: int
    coverage_time: float | None
    has_remainder: bool
    queryid: "array[int]"
    dbid: "array[int]"
    calls: "array[int]"
    time_ns: "array[int]"
    rows: "array[int]"
    hit: "array[int]"
    read: "array[int]"

    def __len__(self) -> int:
        return len(self.queryid)
