"""Daily partitions: made ahead and on demand, dropped by retention. A day is a number of days since 1970-01-01, in UTC."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.layout import quoted
from pganalytics.sink.migrations import TABLES_LOCK, lock
from pganalytics.sink.statements import statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def partition_name(metric: str, day: int) -> str:
    """For example statements_20261231."""
    return f"{metric}_{_EPOCH + timedelta(days=day):%Y%m%d}"


def day_of(metric: str, name: str) -> int | None:
    """The day of a partition's name; None when somebody else made it."""
    prefix, digits = name[: len(metric) + 1], name[len(metric) + 1 :]
    if prefix != f"{metric}_" or len(digits) != 8 or not digits.isdecimal():
        return None
    return (datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC) - _EPOCH).days


def wanted_days(today: int, ahead: int) -> range:
    """Today, yesterday (clocks and lanes are late) and the days ahead."""
    return range(today - 1, today + ahead + 1)


def expired_days(days: Collection[int], today: int, retention_days: int) -> list[int]:
    """Days to drop: a day after the last instant at which the sink would still store a record of that day."""
    return sorted(day for day in days if day < today - retention_days - 1)


def read_days(connection: StoreConnection, metric: str) -> set[int]:
    """The days that a metric's table has."""
    rows = connection.execute(
        "select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = to_regclass($1)",
        [f"metrics.{quoted(metric)}"],
    ).fetchall()
    return {day for (name,) in rows if (day := day_of(metric, name)) is not None}


def make_day(connection: StoreConnection, metric: str, day: int) -> bool:
    """Make one partition; whether it was made: nothing happens when it is there.

    Made beside the table and then attached: that blocks neither readers nor writers of the table. It must have what the table
    has, whatever an operator added to it, or it cannot be attached: so nothing may be added between the two.
    """
    with connection.transaction():
        lock(connection, TABLES_LOCK)
        if day in read_days(connection, metric):
            return False
        name = f"metrics_daily.{quoted(partition_name(metric, day))}"
        low, high = (f"{_EPOCH + timedelta(days=each):%Y-%m-%d} 00:00:00+00" for each in (day, day + 1))
        table = f"metrics.{quoted(metric)}"
        connection.execute(f"lock table only {table} in share update exclusive mode".encode())
        like = "including storage including compression including constraints including generated"
        connection.execute(f"create table {name} (like {table} {like})".encode())
        connection.execute(f"alter table {table} attach partition {name} for values from ('{low}') to ('{high}')".encode())
    return True


def make_days(connection: StoreConnection, metric: str, days: Iterable[int]) -> int:
    """Make the partitions that are absent; how many."""
    present = read_days(connection, metric)
    return [make_day(connection, metric, day) for day in days if day not in present].count(True)


def drop_day(connection: StoreConnection, metric: str, day: int) -> int:
    """Drop one partition; its rows, which are counted per stream for the audit in the same transaction.

    The table is locked before its partition, as writers do it, or the two would deadlock.
    """
    name = f"metrics_daily.{quoted(partition_name(metric, day))}"
    with connection.transaction():
        lock(connection, TABLES_LOCK)
        if day not in read_days(connection, metric):
            return 0
        connection.execute("set local lock_timeout = '2s'")  # whoever wants the table queues behind us
        connection.execute(f"lock table only metrics.{quoted(metric)} in access exclusive mode".encode())
        connection.execute(f"lock table {name} in access exclusive mode".encode())
        counts = connection.execute(
            f"select collector, epoch, lane, count(*) from {name} group by 1, 2, 3 order by 1, 2, 3".encode()  # noqa: S608
        ).fetchall()
        if counts:
            columns = [list(column) for column in zip(*counts, strict=True)]
            connection.execute(statement("rows_dropped_add"), [metric, *columns])
        connection.execute(f"drop table {name}".encode())
    return sum(count for *_, count in counts)
