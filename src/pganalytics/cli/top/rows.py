"""Rows of the views: times in seconds, counters by second. None: not read, not known yet, or too old to speak of the present."""

from dataclasses import dataclass

from pganalytics.cli.top.fleet import Fleet, Target


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One target. `lag_s`, `lag_bytes`: of the standby that is furthest behind. `size_is_whole`:
    whether the size of each database is known that is no template."""

    target: str
    state: str
    error: str
    heartbeat_age_s: float | None
    role: str | None
    server_version: int | None
    transactions_per_s: float | None
    rollback_ratio: float | None
    hit_ratio: float | None
    active: int | None
    waiting: int | None
    idle_in_transaction: int | None
    connections: int | None
    max_connections: int | None
    blocked: int | None
    oldest_transaction_s: float | None
    lag_s: float | None
    lag_bytes: int | None
    databases: int | None
    size_bytes: int | None
    size_is_whole: bool
    rows_read_per_s: float | None
    rows_written_per_s: float | None
    temp_bytes_per_s: float | None
    deadlocks: int | None

    @property
    def standing(self) -> str:
        """The state, and why it is so."""
        return f"{self.state}: {self.error}" if self.error else self.state


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """One database."""

    target: str
    database: str
    transactions_per_s: float | None
    rollback_ratio: float | None
    hit_ratio: float | None
    backends: int
    size_bytes: int | None
    rows_read_per_s: float | None
    rows_written_per_s: float | None
    temp_bytes_per_s: float | None
    deadlocks: int
    xid_age: int | None


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One statement of one role in one database. `load`: sessions that were busy with it, on average; `share`: of the load of all
    targets of the view, whatever of it is shown."""

    target: str
    database: str
    queryid: int | None
    text: str
    share: float
    load: float
    calls_per_s: float
    ms_per_call: float | None
    rows_per_s: float
    hit_ratio: float | None
    blocks_read_per_s: float


@dataclass(frozen=True, slots=True)
class WaitRow:
    """Sessions that do, or wait for, one thing."""

    target: str
    sessions: int
    share: float
    state: str
    wait: str
    longest_query_s: float | None
    longest_transaction_s: float | None
    who: str


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A session in a chain: `level` 0 is a root, which waits for nobody. `waited_s`: how long it waits; of a root, how long its
    transaction has been open. `blocks`: how many wait for it directly."""

    target: str
    level: int
    pid: str
    waited_s: float | None
    blocks: int
    what: str
    who: str
    query: str

    @property
    def place(self) -> str:
        """The process id, under that of the blocker."""
        return f"{'  ' * min(self.level - 1, 8)}└ {self.pid}" if self.level else self.pid


Row = FleetRow | DatabaseRow | StatementRow | WaitRow | BlockRow


def targets_of(fleet: Fleet, chosen: str | None) -> list[Target]:
    """The one that is chosen, or all, by name."""
    if chosen is not None:
        return [fleet.targets[chosen]] if chosen in fleet.targets else []
    return [fleet.targets[name] for name in sorted(fleet.targets)]


def seconds(us: int | None) -> float | None:
    """From microseconds."""
    return None if us is None else us / 1e6


def rate(count: int, interval_s: float) -> float | None:
    """By second; None without an interval."""
    return count / interval_s if interval_s > 0 else None


def ratio(part: int, total: int) -> float | None:
    """None of nothing."""
    return part / total if total > 0 else None
